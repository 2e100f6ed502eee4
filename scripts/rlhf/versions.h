/* Versions of the program and what it stands on, for run.json and `rlhf version`. */
#ifndef SCRIPTS_RLHF_VERSIONS_H
#define SCRIPTS_RLHF_VERSIONS_H

#include "data/json.h"
#include "data/manifest.h"

#include <gsl/gsl_version.h>

/* Members rlhf, sources, hdf5, gsl, blas, blas_kernel of the object being written. */
void versions_write(JsonWriter *json);

/* What the bits of a run depend on beside its settings and data: "rlhf 0.1.0 (sources 1a2b3c4d),
 * BLAS kernel Haswell". */
void versions_made_by(char text[MADE_BY]);

#endif
