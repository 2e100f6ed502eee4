#include "data/store/private.h"

#include <hdf5_hl.h>
#include <stdlib.h>

size_t store_type_size(StoreType type)
{
    switch (type) {
    case STORE_U8:
        return 1;
    case STORE_I32:
    case STORE_F32:
        return 4;
    case STORE_I64:
    case STORE_U64:
    case STORE_F64:
        return 8;
    }
    return 0;
}

hid_t hdf5_disk_type(StoreType type)
{
    switch (type) {
    case STORE_U8:
        return H5T_STD_U8LE;
    case STORE_I32:
        return H5T_STD_I32LE;
    case STORE_I64:
        return H5T_STD_I64LE;
    case STORE_U64:
        return H5T_STD_U64LE;
    case STORE_F32:
        return H5T_IEEE_F32LE;
    case STORE_F64:
        return H5T_IEEE_F64LE;
    }
    return H5I_INVALID_HID;
}

hid_t hdf5_memory_type(StoreType type)
{
    switch (type) {
    case STORE_U8:
        return H5T_NATIVE_UINT8;
    case STORE_I32:
        return H5T_NATIVE_INT32;
    case STORE_I64:
        return H5T_NATIVE_INT64;
    case STORE_U64:
        return H5T_NATIVE_UINT64;
    case STORE_F32:
        return H5T_NATIVE_FLOAT;
    case STORE_F64:
        return H5T_NATIVE_DOUBLE;
    }
    return H5I_INVALID_HID;
}

const char *hdf5_type_name(StoreType type)
{
    static const char *const names[] = {
        [STORE_U8] = "uint8",   [STORE_I32] = "int32",   [STORE_I64] = "int64",
        [STORE_U64] = "uint64", [STORE_F32] = "float32", [STORE_F64] = "float64",
    };
    return names[type];
}

void store_setup(void)
{
    static bool done;
    if (!done) {
        /* First of all calls: after a failed close the library's exit handler crashes. */
        H5dont_atexit();
        H5PLset_loading_state(0);
        unsetenv("HDF5_PLUGIN_PATH");
        done = true;
    }
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL); /* each thread has an error stack of its own */
}

static herr_t keep_first(unsigned index, const H5E_error2_t *record, void *context)
{
    if (index == 0) {
        snprintf(context, 256, "%s", record->desc != NULL ? record->desc : "unknown error");
    }
    return 0;
}

Status hdf5_fail(Status code, const char *what, const char *name)
{
    char reason[256] = "unknown error";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, reason);
    return status_fail(code, "%s %s: %s", what, name, reason);
}

Status hdf5_open_image(hid_t *file, void *bytes, size_t count)
{
    *file =
        H5LTopen_file_image(bytes, count, H5LT_FILE_IMAGE_DONT_COPY | H5LT_FILE_IMAGE_DONT_RELEASE);
    if (*file < 0) return hdf5_fail(STATUS_DATA, "cannot open", "the file");
    return STATUS_OK;
}
