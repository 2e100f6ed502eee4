#include "data/store/private.h"

#include <stdio.h>
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

/* The core driver would copy an image twice; these hand it the caller's bytes, which are only read
 * and only freed by the caller. (H5LTopen_file_image does the same and leaks at each open.) */
static void *lend(size_t size, H5FD_file_image_op_t deed, void *bytes)
{
    (void)size, (void)deed;
    return bytes;
}

static void *keep(void *to, const void *from, size_t size, H5FD_file_image_op_t deed, void *bytes)
{
    (void)from, (void)size, (void)deed, (void)bytes;
    return to;
}

static void *refuse_to_grow(void *old, size_t size, H5FD_file_image_op_t deed, void *bytes)
{
    (void)old, (void)size, (void)deed, (void)bytes;
    return NULL;
}

static herr_t give_back(void *old, H5FD_file_image_op_t deed, void *bytes)
{
    (void)old, (void)deed, (void)bytes;
    return 0;
}

static void *same(void *bytes)
{
    return bytes;
}

static herr_t leave(void *bytes)
{
    (void)bytes;
    return 0;
}

Status hdf5_open_image(hid_t *file, void *bytes, size_t count)
{
    static unsigned images;
    char name[64];
    snprintf(name, sizeof name, "/dev/null/open-%u", images++);

    H5FD_file_image_callbacks_t lending = {
        .image_malloc = lend,
        .image_memcpy = keep,
        .image_realloc = refuse_to_grow,
        .image_free = give_back,
        .udata_copy = same,
        .udata_free = leave,
        .udata = bytes,
    };
    *file = H5I_INVALID_HID;
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    Status status = STATUS_OK;
    if (access < 0 || H5Pset_fapl_core(access, 1 << 16, false) < 0 ||
        H5Pset_file_image_callbacks(access, &lending) < 0 ||
        H5Pset_file_image(access, bytes, count) < 0) {
        status = hdf5_fail(STATUS_FAILED, "cannot prepare to open", "the file");
    } else {
        *file = H5Fopen(name, H5F_ACC_RDONLY, access);
        if (*file < 0) status = hdf5_fail(STATUS_DATA, "cannot open", "the file");
    }
    if (access >= 0) H5Pclose(access);
    return status;
}
