/* A filter as a plugin of HDF5: what a file may ask the library to load from HDF5_PLUGIN_PATH, and
 * what the program must not let it load. For tests/test_confinement.c. */
#include <H5PLextern.h>

enum { FILTER = 32015 }; /* zstd's number: not one of the library's own */

static size_t pass(unsigned flags, size_t count, const unsigned values[], size_t bytes,
                   size_t *room, void **block)
{
    (void)flags, (void)count, (void)values, (void)room, (void)block;
    return bytes;
}

static const H5Z_class2_t filter = {
    .version = H5Z_CLASS_T_VERS,
    .id = FILTER,
    .encoder_present = 1,
    .decoder_present = 1,
    .name = "a stranger's code",
    .filter = pass,
};

H5PL_type_t H5PLget_plugin_type(void)
{
    return H5PL_TYPE_FILTER;
}

const void *H5PLget_plugin_info(void)
{
    return &filter;
}
