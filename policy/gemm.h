/* The only door to BLAS: GSL's interface, OpenBLAS underneath, one thread (threads are ours). */
#ifndef POLICY_GEMM_H
#define POLICY_GEMM_H

#include "data/status.h"

#include <stdbool.h>

/* Row-major C (m, n) = op(A) op(B) + beta C, where op transposes when asked; k is the inner size. */
void gemm(float *c, const float *a, const float *b, int m, int n, int k, bool transpose_a,
          bool transpose_b, float beta);

/* Refuses any BLAS but OpenBLAS, sets it to one thread and checks a small product against doubles
 * (at most 8e-6 off). Call once before any other. STATUS_FAILED. */
Status gemm_setup(void);
const char *gemm_kernel(void); /* the kernel OpenBLAS picked, "Haswell"; "" before gemm_setup */

#endif
