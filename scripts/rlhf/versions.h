/* Versions of the program and what it stands on, for run.json and `rlhf version`. */
#ifndef SCRIPTS_RLHF_VERSIONS_H
#define SCRIPTS_RLHF_VERSIONS_H

#include "data/json.h"

#include <gsl/gsl_version.h>

/* Members rlhf, hdf5, gsl, blas, blas_kernel of the object being written. */
void versions_write(JsonWriter *json);

#endif
