/* What makes a file readable for people and for other programs: attributes, text, scales. */
#include "data/store/private.h"

#include "data/memory.h"
#include "data/utf8.h"

#include <hdf5_hl.h>
#include <string.h>

/* Variable-length UTF-8: the type that h5py gives back as text, not as bytes. */
static Status make_text_type(hid_t *type)
{
    *type = H5Tcopy(H5T_C_S1);
    if (*type < 0 || H5Tset_size(*type, H5T_VARIABLE) < 0 ||
        H5Tset_cset(*type, H5T_CSET_UTF8) < 0) {
        return hdf5_fail(STATUS_IO, "cannot prepare", "text");
    }
    return STATUS_OK;
}

/* Every text, cleaned and with a NUL; then the pointers to them. */
static Status clean_texts(Bytes *clean, const char ***pointers, const Texts *texts)
{
    void *block;
    TRY(memory_claim(&block, (size_t)texts->count * sizeof(char *)));
    *pointers = block;

    for (int i = 0; i < texts->count; i++) {
        size_t count;
        const char *text = texts_at(texts, i, &count);
        TRY(utf8_append(clean, text, count));
        TRY(bytes_append(clean, "", 1));
    }
    const char *at = clean->data;
    for (int i = 0; i < texts->count; i++) {
        (*pointers)[i] = at;
        at += strlen(at) + 1;
    }
    return STATUS_OK;
}

Status store_put_texts(StoreImage *image, const char *name, const Texts *texts)
{
    Bytes clean = {0};
    const char **pointers = NULL;
    hid_t type = H5I_INVALID_HID;
    Status status = clean_texts(&clean, &pointers, texts);
    if (status == STATUS_OK) status = make_text_type(&type);
    if (status == STATUS_OK) {
        const size_t extent = (size_t)texts->count;
        status = image_put(image, name, type, type, 1, &extent, pointers, false);
    }
    if (type >= 0) H5Tclose(type);
    memory_release(pointers);
    bytes_free(&clean);
    return image_result(image, status);
}

/* `count` 0: a scalar. */
static Status put_attribute(StoreImage *image, const char *name, const char *key, hid_t disk_type,
                            hid_t memory_type, hsize_t count, const void *data)
{
    const hid_t object = H5Oopen(image->file, name, H5P_DEFAULT);
    if (object < 0) return image_result(image, hdf5_fail(STATUS_IO, "cannot open", name));

    Status status = STATUS_OK;
    hid_t attribute = H5I_INVALID_HID;
    const hid_t space = count == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &count, NULL);
    if (space >= 0) {
        attribute = H5Acreate2(object, key, disk_type, space, H5P_DEFAULT, H5P_DEFAULT);
    }
    if (attribute < 0) {
        status = hdf5_fail(STATUS_IO, "cannot create attribute", key);
    } else if (H5Awrite(attribute, memory_type, data) < 0) {
        status = hdf5_fail(STATUS_IO, "cannot write attribute", key);
    }
    if (attribute >= 0 && H5Aclose(attribute) < 0 && status == STATUS_OK) {
        status = hdf5_fail(STATUS_IO, "cannot close attribute", key);
    }
    if (space >= 0) H5Sclose(space);
    if (H5Oclose(object) < 0 && status == STATUS_OK) {
        status = hdf5_fail(STATUS_IO, "cannot close", name);
    }
    return image_result(image, status_context(status, "%s", name));
}

Status store_put_text(StoreImage *image, const char *name, const char *key, const char *text)
{
    Bytes clean = {0};
    hid_t type = H5I_INVALID_HID;
    Status status = utf8_append(&clean, text, strlen(text));
    if (status == STATUS_OK) status = make_text_type(&type);
    if (status == STATUS_OK) {
        const char *pointer = clean.data != NULL ? clean.data : "";
        status = put_attribute(image, name, key, type, type, 0, &pointer);
    }
    if (type >= 0) H5Tclose(type);
    bytes_free(&clean);
    return image_result(image, status);
}

Status store_put_number(StoreImage *image, const char *name, const char *key, double value)
{
    return put_attribute(image, name, key, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, 0, &value);
}

Status store_put_integer(StoreImage *image, const char *name, const char *key, int64_t value)
{
    return put_attribute(image, name, key, H5T_STD_I64LE, H5T_NATIVE_INT64, 0, &value);
}

Status store_put_digest(StoreImage *image, const char *name, const char *key, Digest digest)
{
    const uint64_t half[2] = {digest.high, digest.low};
    return put_attribute(image, name, key, H5T_STD_U64LE, H5T_NATIVE_UINT64, 2, half);
}

static Status attach_scale(hid_t scale_set, hid_t set, const char *scale)
{
    const htri_t is_scale = H5DSis_scale(scale_set);
    if (is_scale < 0 || (!is_scale && H5DSset_scale(scale_set, scale + 1) < 0)) {
        return hdf5_fail(STATUS_IO, "cannot make a scale of", scale);
    }
    if (H5DSattach_scale(set, scale_set, 0) < 0) {
        return hdf5_fail(STATUS_IO, "cannot attach scale", scale);
    }
    return STATUS_OK;
}

Status store_put_scale(StoreImage *image, const char *scale, const char *name)
{
    Status status = STATUS_OK;
    const hid_t scale_set = H5Dopen2(image->file, scale, H5P_DEFAULT);
    if (scale_set < 0) return image_result(image, hdf5_fail(STATUS_IO, "cannot open", scale));
    const hid_t set = H5Dopen2(image->file, name, H5P_DEFAULT);
    if (set < 0) {
        status = hdf5_fail(STATUS_IO, "cannot open", name);
    } else {
        status = attach_scale(scale_set, set, scale);
    }
    if (set >= 0 && H5Dclose(set) < 0 && status == STATUS_OK) {
        status = hdf5_fail(STATUS_IO, "cannot close", name);
    }
    if (H5Dclose(scale_set) < 0 && status == STATUS_OK) {
        status = hdf5_fail(STATUS_IO, "cannot close", scale);
    }
    return image_result(image, status);
}
