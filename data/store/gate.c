#include "data/store/private.h"

#include <stdio.h>
#include <string.h>

enum { ATTRIBUTE_BYTES_MAX = 1 << 16, FILTERS_MAX = 3 };

Status gate_context(Status status, const StoreField *field)
{
    if (field->attribute == NULL) return status_context(status, "%s", field->name);
    return status_context(status, "%s: attribute %s", field->name, field->attribute);
}

Status gate_measure(size_t *bytes, const size_t *extent, const StoreField *field)
{
    *bytes = store_type_size(field->type);
    for (int i = 0; i < field->rank; i++) {
        if (field->extent[i] >= 0 && extent[i] != (size_t)field->extent[i]) {
            return status_fail(STATUS_DATA, "dimension %d is %zu, not %lld", i, extent[i],
                               (long long)field->extent[i]);
        }
        if (__builtin_mul_overflow(*bytes, extent[i], bytes)) {
            return status_fail(STATUS_DATA, "more elements than can be counted");
        }
    }
    return STATUS_OK;
}

static const char *link_name(H5L_type_t type)
{
    if (type == H5L_TYPE_SOFT) return "a soft link";
    if (type == H5L_TYPE_EXTERNAL) return "an external link";
    return "a link of an unknown kind";
}

/* Opens `part` in the group `here`; *next stays invalid where there is no such thing. */
static Status open_part(hid_t *next, hid_t here, const char *part)
{
    *next = H5I_INVALID_HID;
    if (H5Iget_type(here) != H5I_GROUP) {
        return status_fail(STATUS_DATA, "what should hold %s is not a group", part);
    }
    const htri_t there = H5Lexists(here, part, H5P_DEFAULT);
    if (there < 0) return hdf5_fail(STATUS_DATA, "cannot look for", part);
    if (!there) return STATUS_OK;

    H5L_info_t link;
    if (H5Lget_info(here, part, &link, H5P_DEFAULT) < 0) {
        return hdf5_fail(STATUS_DATA, "cannot look at", part);
    }
    if (link.type != H5L_TYPE_HARD) {
        return status_fail(STATUS_DATA, "%s is %s, which is not followed", part,
                           link_name(link.type));
    }
    *next = H5Oopen(here, part, H5P_DEFAULT);
    return *next < 0 ? hdf5_fail(STATUS_DATA, "cannot open", part) : STATUS_OK;
}

/* Walks the path one name at a time; *object stays invalid where a name is missing. */
static Status open_path(hid_t *object, hid_t file, const char *path)
{
    *object = H5I_INVALID_HID;
    hid_t here = H5Gopen2(file, "/", H5P_DEFAULT);
    if (here < 0) return hdf5_fail(STATUS_DATA, "cannot open", "/");

    Status status = STATUS_OK;
    const char *at = path + strspn(path, "/");
    while (*at != '\0' && here >= 0 && status == STATUS_OK) {
        char part[STORE_NAME];
        const size_t length = strcspn(at, "/");
        snprintf(part, sizeof part, "%.*s", (int)length, at);
        at += length + strspn(at + length, "/");

        hid_t next;
        status = open_part(&next, here, part);
        H5Oclose(here);
        here = next;
    }
    *object = here;
    return status;
}

static const char *filter_name(H5Z_filter_t filter, char text[32])
{
    if (filter == H5Z_FILTER_SZIP) return "szip";
    if (filter == H5Z_FILTER_NBIT) return "nbit";
    if (filter == H5Z_FILTER_SCALEOFFSET) return "scaleoffset";
    snprintf(text, 32, "%d", (int)filter);
    return text;
}

static Status check_filters(hid_t properties)
{
    const int filters = H5Pget_nfilters(properties);
    if (filters < 0 || filters > FILTERS_MAX) {
        return status_fail(STATUS_DATA, "%d filters, at most %d", filters, FILTERS_MAX);
    }
    for (int i = 0; i < filters; i++) {
        unsigned flags, detail;
        size_t values = 0;
        const H5Z_filter_t filter =
            H5Pget_filter2(properties, (unsigned)i, &flags, &values, NULL, 0, NULL, &detail);
        if (filter < 0) return hdf5_fail(STATUS_DATA, "cannot look at", "its filters");
        if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE &&
            filter != H5Z_FILTER_FLETCHER32) {
            char text[32];
            return status_fail(STATUS_DATA, "filter %s is not one of ours",
                               filter_name(filter, text));
        }
    }
    return STATUS_OK;
}

static Status check_chunk(hid_t properties, const StoreField *field)
{
    hsize_t chunk[H5S_MAX_RANK];
    const int rank = H5Pget_chunk(properties, H5S_MAX_RANK, chunk);
    if (rank != field->rank) {
        return status_fail(STATUS_DATA, "its chunks have rank %d, not %d", rank, field->rank);
    }
    size_t bytes = store_type_size(field->type);
    for (int i = 0; i < rank; i++) {
        if (chunk[i] == 0 || __builtin_mul_overflow(bytes, chunk[i], &bytes) ||
            bytes > STORE_CHUNK_MAX) {
            return status_fail(STATUS_DATA, "its chunks are empty or larger than %zu bytes",
                               STORE_CHUNK_MAX);
        }
    }
    return STATUS_OK;
}

/* Where the values lie: in this file, in one of three layouts, packed by filters we know. */
static Status check_storage(hid_t properties, const StoreField *field)
{
    if (H5Pget_external_count(properties) != 0) {
        return status_fail(STATUS_DATA, "its values lie in another file, which is not opened");
    }
    switch (H5Pget_layout(properties)) {
    case H5D_COMPACT:
    case H5D_CONTIGUOUS:
        return check_filters(properties);
    case H5D_CHUNKED:
        TRY(check_filters(properties));
        return check_chunk(properties, field);
    case H5D_VIRTUAL:
        return status_fail(STATUS_DATA, "it is a virtual dataset, which is not followed");
    default:
        return status_fail(STATUS_DATA, "its layout is unknown");
    }
}

static const char *class_name(H5T_class_t class, bool variable)
{
    switch (class) {
    case H5T_STRING:
        return variable ? "text of any length" : "text";
    case H5T_VLEN:
        return "a list of any length";
    case H5T_COMPOUND:
        return "compound";
    case H5T_REFERENCE:
        return "a reference";
    case H5T_ARRAY:
        return "an array";
    case H5T_ENUM:
        return "an enumeration";
    default:
        return "no plain number";
    }
}

static void describe_type(char text[64], hid_t type)
{
    const H5T_class_t class = H5Tget_class(type);
    const size_t bits = 8 * H5Tget_size(type);
    if (class == H5T_INTEGER || class == H5T_FLOAT) {
        const char *end = H5Tget_order(type) == H5T_ORDER_BE ? "big-endian " : "";
        const char *kind = class == H5T_FLOAT               ? "float"
                           : H5Tget_sign(type) == H5T_SGN_2 ? "int"
                                                            : "uint";
        snprintf(text, 64, "%s%s%zu", end, kind, bits);
    } else {
        snprintf(text, 64, "%s", class_name(class, H5Tis_variable_str(type) > 0));
    }
}

/* The exact type: nothing is converted. */
static Status check_type(hid_t type, const StoreField *field)
{
    const htri_t same = H5Tequal(type, hdf5_disk_type(field->type));
    if (same < 0) return hdf5_fail(STATUS_DATA, "cannot look at", "its type");
    if (same) return STATUS_OK;
    char text[64];
    describe_type(text, type);
    return status_fail(STATUS_DATA, "type is %s, not %s", text, hdf5_type_name(field->type));
}

static Status check_space(GateItem *item, hid_t space, const StoreField *field)
{
    const H5S_class_t class = H5Sget_simple_extent_type(space);
    if (class != H5S_SIMPLE && class != H5S_SCALAR) {
        return status_fail(STATUS_DATA, "it has no shape");
    }
    const int rank = H5Sget_simple_extent_ndims(space);
    if (rank != field->rank) {
        return status_fail(STATUS_DATA, "rank is %d, not %d", rank, field->rank);
    }
    hsize_t extent[STORE_RANK_MAX] = {0};
    if (H5Sget_simple_extent_dims(space, extent, NULL) < 0) {
        return hdf5_fail(STATUS_DATA, "cannot look at", "its shape");
    }
    for (int i = 0; i < rank; i++) item->extent[i] = extent[i];
    return gate_measure(&item->bytes, item->extent, field);
}

/* A file cannot make us claim far more memory than it has bytes. */
static Status check_stored(const GateItem *item, hid_t set, hid_t properties)
{
    const hsize_t stored = H5Dget_storage_size(set);
    if (H5Pget_layout(properties) != H5D_CHUNKED && stored != item->bytes) {
        return status_fail(STATUS_DATA, "it stores %llu bytes, not %zu", (unsigned long long)stored,
                           item->bytes);
    }
    if (item->bytes > STORE_RATIO_FREE && item->bytes / STORE_RATIO_MAX > stored) {
        return status_fail(STATUS_DATA, "it declares %zu bytes and stores %llu", item->bytes,
                           (unsigned long long)stored);
    }
    return STATUS_OK;
}

/* `properties` is negative for an attribute. */
static Status check_header(GateItem *item, hid_t type, hid_t space, hid_t properties,
                           const StoreField *field)
{
    if (type < 0 || space < 0) return hdf5_fail(STATUS_DATA, "cannot look at", "its header");
    if (properties >= 0) TRY(check_storage(properties, field));
    TRY(check_space(item, space, field));
    TRY(check_type(type, field));
    return STATUS_OK;
}

static Status find_dataset(GateItem *item, hid_t object, const StoreField *field)
{
    if (H5Iget_type(object) != H5I_DATASET) return status_fail(STATUS_DATA, "not a dataset");
    const hid_t properties = H5Dget_create_plist(object);
    if (properties < 0) return hdf5_fail(STATUS_DATA, "cannot look at", "its layout");
    const hid_t type = H5Dget_type(object);
    const hid_t space = H5Dget_space(object);

    Status status = check_header(item, type, space, properties, field);
    if (status == STATUS_OK) status = check_stored(item, object, properties);

    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    H5Pclose(properties);
    return status;
}

static Status check_attribute(GateItem *item, hid_t attribute, const StoreField *field)
{
    const hid_t type = H5Aget_type(attribute);
    const hid_t space = H5Aget_space(attribute);
    Status status = check_header(item, type, space, H5I_INVALID_HID, field);
    if (status == STATUS_OK && item->bytes > ATTRIBUTE_BYTES_MAX) {
        status =
            status_fail(STATUS_DATA, "%zu bytes, at most %d", item->bytes, ATTRIBUTE_BYTES_MAX);
    }
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    return status;
}

/* Leaves item->object open where the attribute is there. */
static Status find_attribute(GateItem *item, hid_t object, const StoreField *field)
{
    const htri_t there = H5Aexists(object, field->attribute);
    if (there < 0) return hdf5_fail(STATUS_DATA, "cannot look at", "the attributes");
    if (!there) return STATUS_OK;
    item->object = H5Aopen(object, field->attribute, H5P_DEFAULT);
    if (item->object < 0) return hdf5_fail(STATUS_DATA, "cannot open", "it");
    return check_attribute(item, item->object, field);
}

static Status find_in(GateItem *item, hid_t file, const StoreField *field)
{
    hid_t object;
    Status status = open_path(&object, file, field->name);
    if (status != STATUS_OK || object < 0) return status;
    if (field->attribute == NULL) {
        item->object = object;
        return find_dataset(item, object, field);
    }
    status = find_attribute(item, object, field);
    H5Oclose(object);
    return status;
}

Status gate_find(GateItem *item, size_t *budget, hid_t file, const StoreField *field)
{
    *item = (GateItem){.object = H5I_INVALID_HID};
    Status status = find_in(item, file, field);
    item->present = item->object >= 0;
    if (status == STATUS_OK && !item->present && !field->optional) {
        status = status_fail(STATUS_DATA, "missing");
    }
    if (status == STATUS_OK && item->bytes > *budget) {
        status = status_fail(STATUS_DATA, "%zu bytes are too many: %zu are left for this file",
                             item->bytes, *budget);
    }
    if (status == STATUS_OK) *budget -= item->bytes;
    return gate_context(status, field);
}

Status gate_read(void *data, const GateItem *item, const StoreField *field)
{
    if (item->bytes == 0) return STATUS_OK;
    const hid_t type = hdf5_memory_type(field->type);
    const herr_t got = field->attribute != NULL
                           ? H5Aread(item->object, type, data)
                           : H5Dread(item->object, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
    if (got < 0) return gate_context(hdf5_fail(STATUS_DATA, "cannot read", "its values"), field);
    return STATUS_OK;
}

void gate_close(GateItem *item, const StoreField *field)
{
    if (item->object < 0) return;
    if (field->attribute != NULL) {
        H5Aclose(item->object);
    } else {
        H5Oclose(item->object);
    }
    item->object = H5I_INVALID_HID;
}
