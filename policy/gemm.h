/* The only door to BLAS: GSL's interface, OpenBLAS underneath, one thread (threads are ours). */
#ifndef POLICY_GEMM_H
#define POLICY_GEMM_H

#include "data/status.h"

#include <stdbool.h>

/* Row-major C (m, n) = op(A) op(B) + beta C; op transposes when asked, k is the inner size. */
void gemm(float *c, const float *a, const float *b, int m, int n, int k, bool transpose_a,
          bool transpose_b, float beta);

/* The same on parts of larger matrices: `*_row` floats from one row to the next, as they lie in
 * memory; C = alpha op(A) op(B) + beta C. */
void gemm_part(float *c, int c_row, const float *a, int a_row, const float *b, int b_row, int m,
               int n, int k, bool transpose_a, bool transpose_b, float alpha, float beta);

/* Refuses any BLAS but OpenBLAS, sets it to one thread and checks a small product against doubles
 * (at most 8e-6 off). Call once before any other. STATUS_FAILED. */
Status gemm_setup(void);
const char *gemm_kernel(void); /* the kernel OpenBLAS picked, "Haswell"; "" before gemm_setup */

/* Products on `threads` of OpenBLAS's own threads from here on, 1 again afterwards. Only for
 * measuring what the machine can do: with more than one, bits depend on their number. */
void gemm_own_threads(int threads);

#endif
