/* What writing and reading a network's files share: policy/network_file.c and
 * policy/network_file_read.c. */
#ifndef POLICY_NETWORK_FILE_PRIVATE_H
#define POLICY_NETWORK_FILE_PRIVATE_H

#include "data/store/store.h"
#include "policy/network_file.h"

/* One dataset of weights: a layer of one row of the weight list. */
typedef struct NetworkTensor {
    char name[STORE_NAME];
    int rank;
    size_t extent[2];
    size_t start, size; /* in Model.flat */
} NetworkTensor;

extern const double network_norm_epsilon;

/* All datasets of a shape, scalar heads first: the first file must tell which head there is. To be
 * released. */
Status network_tensors(NetworkTensor **tensors, int *count, ModelShape shape);

/* "policy.h5", "policy-2.h5", ... of parts 0, 1, ... */
void network_file_name(char text[128], const char *name, int part);

#endif
