#define _GNU_SOURCE /* dladdr */
#include "policy/gemm.h"

#include <dlfcn.h>
#include <gsl/gsl_cblas.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* OpenBLAS's own header does not compile beside GSL's. */
void openblas_set_num_threads(int threads);
char *openblas_get_corename(void);

static const char *kernel = "";

void gemm_part(float *c, int c_row, const float *a, int a_row, const float *b, int b_row, int m,
               int n, int k, bool transpose_a, bool transpose_b, float alpha, float beta)
{
    if (m == 0 || n == 0) return;
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
                transpose_b ? CblasTrans : CblasNoTrans, m, n, k, alpha, a, a_row, b, b_row, beta,
                c, c_row);
}

/* Before it multiplies, OpenBLAS copies both matrices into an order of its own; to copy a large one
 * for a few rows takes as long as to multiply by it. Its AVX-512 kernels leave that out in products
 * of at most 10^6 multiplications. So there a product of few rows is cut into such, by columns. */
static bool small_products; /* the kernel is one of those */
enum { FEW_ROWS = 64, SMALL_PRODUCT = 1000000, LEAST_COLUMNS = 32 };

static int columns_at_once(int m, int n, int k)
{
    int columns = n;
    while ((int64_t)m * columns * k > SMALL_PRODUCT) {
        if (m > FEW_ROWS || columns % (2 * LEAST_COLUMNS) != 0) return n;
        columns /= 2;
    }
    return columns;
}

void gemm(float *c, const float *a, const float *b, int m, int n, int k, bool transpose_a,
          bool transpose_b, float beta)
{
    const int columns = small_products && !transpose_a ? columns_at_once(m, n, k) : n;
    const int a_row = transpose_a ? m : k, b_row = transpose_b ? k : n;
    const ptrdiff_t b_column = transpose_b ? k : 1;
    for (int j = 0; j < n; j += columns) {
        gemm_part(c + j, n, a, a_row, b + j * b_column, b_row, m, columns, k, transpose_a,
                  transpose_b, 1.0f, beta);
    }
}

/* The largest difference between sgemm and the same product in doubles. */
static double product_error(void)
{
    enum { M = 19, N = 35, K = 67 };
    float a[M * K], b[K * N], c[M * N];
    for (int i = 0; i < M * K; i++) a[i] = (float)((i * 37 + 11) % 101 - 50) / 97.0f;
    for (int i = 0; i < K * N; i++) b[i] = (float)((i * 53 + 29) % 103 - 51) / 99.0f;
    gemm(c, a, b, M, N, K, false, false, 0.0f);
    double worst = 0.0;
    for (int i = 0; i < M; i++) {
        for (int j = 0; j < N; j++) {
            double exact = 0.0;
            for (int k = 0; k < K; k++) exact += (double)a[i * K + k] * (double)b[k * N + j];
            worst = fmax(worst, fabs((double)c[i * N + j] - exact));
        }
    }
    return worst;
}

Status gemm_setup(void)
{
    void (*const sgemm)(void) = (void (*)(void))cblas_sgemm;
    Dl_info owner;
    void *address;
    memcpy(&address, &sgemm, sizeof address);
    if (dladdr(address, &owner) == 0 || strstr(owner.dli_fname, "openblas") == NULL) {
        return status_fail(STATUS_FAILED, "the BLAS in use is %s, not OpenBLAS",
                           owner.dli_fname != NULL ? owner.dli_fname : "unknown");
    }
    openblas_set_num_threads(1);
    const double error = product_error();
    if (!(error <= 8e-6)) {
        return status_fail(STATUS_FAILED, "OpenBLAS (%s) is %g off on a small product",
                           openblas_get_corename(), error);
    }
    kernel = openblas_get_corename();
    small_products = strcmp(kernel, "SkylakeX") == 0 || strcmp(kernel, "Cooperlake") == 0;
    return STATUS_OK;
}

const char *gemm_kernel(void)
{
    return kernel;
}

void gemm_own_threads(int threads)
{
    openblas_set_num_threads(threads);
}
