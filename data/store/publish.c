#include "data/store/private.h"

#include "data/memory.h"

/* The file's bytes as they would stand on a disk. */
static Status take_image(void **bytes, size_t *count, const StoreImage *image)
{
    if (image->failed) {
        return status_fail(STATUS_BROKEN, "not published: writing a part of it failed");
    }
    if (H5Fflush(image->file, H5F_SCOPE_GLOBAL) < 0) {
        return hdf5_fail(STATUS_IO, "cannot flush", "the image");
    }
    const ssize_t size = H5Fget_file_image(image->file, NULL, 0);
    if (size <= 0) return hdf5_fail(STATUS_IO, "cannot measure", "the image");
    if ((size_t)size > STORE_FILE_MAX) {
        return status_fail(STATUS_FAILED, "%zd bytes in one file, at most %zu", size,
                           STORE_FILE_MAX);
    }
    TRY(memory_claim(bytes, (size_t)size));
    *count = (size_t)size;
    if (H5Fget_file_image(image->file, *bytes, *count) != size) {
        return hdf5_fail(STATUS_IO, "cannot take", "the image");
    }
    return STATUS_OK;
}

static herr_t pass_over(hid_t object, const char *name, const H5O_info_t *facts, void *context)
{
    (void)object, (void)name, (void)facts, (void)context;
    return 0;
}

/* Opens the bytes and every object's header in them. */
static Status check_whole(void *bytes, size_t count)
{
    hid_t file;
    TRY(hdf5_open_image(&file, bytes, count));
    Status status = STATUS_OK;
    if (H5Ovisit2(file, H5_INDEX_NAME, H5_ITER_NATIVE, pass_over, NULL, H5O_INFO_BASIC) < 0) {
        status = hdf5_fail(STATUS_DATA, "cannot read back", "the image");
    }
    if (H5Fclose(file) < 0 && status == STATUS_OK) {
        status = hdf5_fail(STATUS_DATA, "cannot close", "the image");
    }
    return status;
}

static Status close_image(StoreImage *image)
{
    const hid_t file = image->file;
    image->file = H5I_INVALID_HID; /* whatever comes of it: a second close would crash */
    const herr_t closed = H5Fclose(file);
    const Status status =
        closed < 0 ? hdf5_fail(STATUS_IO, "cannot close", "the image") : STATUS_OK;
    store_discard(image);
    return status;
}

Status store_publish(StoreImage *image, const char *path, Digest *digest)
{
    void *bytes = NULL;
    size_t count = 0;
    store_setup();
    Status status = take_image(&bytes, &count, image);
    if (status == STATUS_OK) {
        status = close_image(image);
    } else {
        store_discard(image);
    }
    if (status == STATUS_OK && check_whole(bytes, count) != STATUS_OK) {
        status = status_context(STATUS_BROKEN, "not whole");
    }
    status = status_context(status, "%s", path);

    if (status == STATUS_OK && digest != NULL) *digest = digest_of(bytes, count);
    if (status == STATUS_OK) status = io_publish(path, bytes, count);
    memory_release(bytes);
    return status;
}
