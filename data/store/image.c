#include "data/store/private.h"

#include "data/memory.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* GROWTH and CONVERTED (texts at a time) are claimed and zeroed for the smallest file too. */
enum { CHUNK_BYTES = 1 << 18, DEFLATE_LEVEL = 4, GROWTH = 1 << 16, CONVERTED = 1 << 14 };

/* Order of creation is kept since netCDF-4 reads it; times are not, since equal contents are to
 * give equal bytes. */
static Status set_order_without_times(hid_t properties)
{
    if (H5Pset_attr_creation_order(properties, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED) < 0 ||
        H5Pset_obj_track_times(properties, false) < 0) {
        return hdf5_fail(STATUS_IO, "cannot prepare", "object");
    }
    return STATUS_OK;
}

static Status set_group(hid_t properties)
{
    TRY(set_order_without_times(properties));
    if (H5Pset_link_creation_order(properties, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED) < 0) {
        return hdf5_fail(STATUS_IO, "cannot prepare", "group");
    }
    return STATUS_OK;
}

/* In memory only. With a low bound of V18 the checksum of the image's superblock is wrong (HDF5
 * issue 1915), hence EARLIEST. */
static Status set_access(hid_t properties)
{
    if (H5Pset_fapl_core(properties, GROWTH, false) < 0 ||
        H5Pset_libver_bounds(properties, H5F_LIBVER_EARLIEST, H5F_LIBVER_V18) < 0 ||
        H5Pset_fclose_degree(properties, H5F_CLOSE_SEMI) < 0) {
        return hdf5_fail(STATUS_IO, "cannot prepare", "file");
    }
    return STATUS_OK;
}

static Status create_file(StoreImage *image)
{
    /* The library tells open images apart by name; none of these can lie on a disk. */
    static unsigned images;
    char name[64];
    snprintf(name, sizeof name, "/dev/null/image-%u", images++);

    const hid_t creation = H5Pcreate(H5P_FILE_CREATE);
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    image->group_properties = H5Pcreate(H5P_GROUP_CREATE);
    image->transfer = H5Pcreate(H5P_DATASET_XFER);

    Status status = STATUS_OK;
    if (creation < 0 || access < 0 || image->group_properties < 0 || image->transfer < 0 ||
        H5Pset_buffer(image->transfer, CONVERTED, NULL, NULL) < 0) {
        status = hdf5_fail(STATUS_IO, "cannot prepare", "file");
    }
    if (status == STATUS_OK) status = set_group(creation);
    if (status == STATUS_OK) status = set_group(image->group_properties);
    if (status == STATUS_OK) status = set_access(access);
    if (status == STATUS_OK) {
        image->file = H5Fcreate(name, H5F_ACC_EXCL, creation, access);
        if (image->file < 0) status = hdf5_fail(STATUS_IO, "cannot create", "file in memory");
    }
    if (access >= 0) H5Pclose(access);
    if (creation >= 0) H5Pclose(creation);
    return status;
}

Status store_create(StoreImage **image)
{
    store_setup();
    void *block;
    *image = NULL;
    TRY(memory_claim(&block, sizeof **image));
    StoreImage *made = block;
    made->file = made->group_properties = made->transfer = H5I_INVALID_HID;

    const Status status = create_file(made);
    if (status != STATUS_OK) {
        store_discard(made);
        return status;
    }
    *image = made;
    return STATUS_OK;
}

void store_discard(StoreImage *image)
{
    if (image == NULL) return;
    if (image->file >= 0) H5Fclose(image->file);
    if (image->group_properties >= 0) H5Pclose(image->group_properties);
    if (image->transfer >= 0) H5Pclose(image->transfer);
    memory_release(image);
}

Status image_result(StoreImage *image, Status status)
{
    if (status != STATUS_OK) image->failed = true;
    return status;
}

/* The groups in front of the last slash of `name`, where they are missing. */
static Status make_groups(StoreImage *image, const char *name)
{
    char group[STORE_NAME];
    for (const char *slash = strchr(name + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        memcpy(group, name, (size_t)(slash - name));
        group[slash - name] = '\0';

        const htri_t there = H5Lexists(image->file, group, H5P_DEFAULT);
        if (there < 0) return hdf5_fail(STATUS_IO, "cannot look for group", group);
        if (there) continue;
        const hid_t made =
            H5Gcreate2(image->file, group, H5P_DEFAULT, image->group_properties, H5P_DEFAULT);
        if (made < 0) return hdf5_fail(STATUS_IO, "cannot create group", group);
        if (H5Gclose(made) < 0) return hdf5_fail(STATUS_IO, "cannot close group", group);
    }
    return STATUS_OK;
}

/* Chunks of at most CHUNK_BYTES: the slowest dimensions are halved first. */
static void cut_chunk(hsize_t *chunk, int rank, size_t size)
{
    hsize_t bytes = size;
    for (int i = 0; i < rank; i++) bytes *= chunk[i];
    for (int i = 0; i < rank; i++) {
        while (bytes > CHUNK_BYTES && chunk[i] > 1) {
            bytes /= chunk[i];
            chunk[i] = (chunk[i] + 1) / 2;
            bytes *= chunk[i];
        }
    }
}

static Status set_packed(hid_t properties, int rank, const hsize_t *extent, size_t size)
{
    hsize_t chunk[STORE_RANK_MAX];
    memcpy(chunk, extent, (size_t)rank * sizeof *chunk);
    cut_chunk(chunk, rank, size);
    if (H5Pset_chunk(properties, rank, chunk) < 0 || H5Pset_shuffle(properties) < 0 ||
        H5Pset_deflate(properties, DEFLATE_LEVEL) < 0 || H5Pset_fletcher32(properties) < 0) {
        return hdf5_fail(STATUS_IO, "cannot prepare", "chunks");
    }
    return STATUS_OK;
}

/* A dataset whose type, space and properties are made; closes nothing of theirs. */
static Status write_dataset(StoreImage *image, const char *name, hid_t disk_type, hid_t memory_type,
                            hid_t space, hid_t properties, const void *data)
{
    const hid_t set =
        H5Dcreate2(image->file, name, disk_type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    if (set < 0) return hdf5_fail(STATUS_IO, "cannot create dataset", name);

    Status status = STATUS_OK;
    if (H5Sget_simple_extent_npoints(space) > 0 &&
        H5Dwrite(set, memory_type, H5S_ALL, H5S_ALL, image->transfer, data) < 0) {
        status = hdf5_fail(STATUS_IO, "cannot write dataset", name);
    }
    /* A chunk that could not be packed is often reported only now. */
    if (H5Dclose(set) < 0 && status == STATUS_OK) {
        status = hdf5_fail(STATUS_IO, "cannot close dataset", name);
    }
    return status;
}

Status image_put(StoreImage *image, const char *name, hid_t disk_type, hid_t memory_type, int rank,
                 const size_t *extent, const void *data, bool packed)
{
    assert(name[0] == '/' && strlen(name) < STORE_NAME);
    assert(rank >= 0 && rank <= STORE_RANK_MAX);
    TRY(make_groups(image, name));

    hsize_t size[STORE_RANK_MAX] = {0};
    bool empty = rank == 0; /* nothing to cut into chunks */
    for (int i = 0; i < rank; i++) {
        size[i] = extent[i];
        empty = empty || extent[i] == 0;
    }
    const hid_t space = rank == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(rank, size, NULL);
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);

    Status status = STATUS_OK;
    if (space < 0 || properties < 0) status = hdf5_fail(STATUS_IO, "cannot prepare dataset", name);
    if (status == STATUS_OK) status = set_order_without_times(properties);
    if (status == STATUS_OK && packed && !empty) {
        status = set_packed(properties, rank, size, H5Tget_size(disk_type));
    }
    if (status == STATUS_OK) {
        status = write_dataset(image, name, disk_type, memory_type, space, properties, data);
    }
    if (properties >= 0) H5Pclose(properties);
    if (space >= 0) H5Sclose(space);
    return status;
}

Status store_put(StoreImage *image, const char *name, StoreType type, int rank,
                 const size_t *extent, const void *data, bool packed)
{
    return image_result(image, image_put(image, name, hdf5_disk_type(type), hdf5_memory_type(type),
                                         rank, extent, data, packed));
}
