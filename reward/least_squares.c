#include "reward/least_squares.h"

#include <gsl/gsl_errno.h>
#include <gsl/gsl_multifit.h>
#include <math.h>

/* Singular values below this share of the largest count as nothing. */
static const double tolerance = 1e-9;

Status least_squares(double *coefficient, double *covariance, double *residual,
                     const double *design, const double *value, int rows, int columns)
{
    const size_t n = (size_t)rows, p = (size_t)columns;
    if (rows <= columns) {
        return status_fail(STATUS_DATA, "%d points do not determine %d coefficients", rows,
                           columns);
    }
    gsl_multifit_linear_workspace *work = gsl_multifit_linear_alloc(n, p);
    if (work == NULL) {
        return status_fail(STATUS_FAILED, "cannot allocate a fit of %d points", rows);
    }
    const gsl_matrix_const_view x = gsl_matrix_const_view_array(design, n, p);
    const gsl_vector_const_view y = gsl_vector_const_view_array(value, n);
    gsl_vector_view c = gsl_vector_view_array(coefficient, p);
    gsl_matrix_view cov = gsl_matrix_view_array(covariance, p, p);
    size_t rank = 0;
    const int failed = gsl_multifit_linear_tsvd(&x.matrix, &y.vector, tolerance, &c.vector,
                                                &cov.matrix, residual, &rank, work);
    gsl_multifit_linear_free(work);
    if (failed != GSL_SUCCESS || !isfinite(*residual)) {
        return status_fail(STATUS_DATA, "the fit failed: %s",
                           failed != GSL_SUCCESS ? gsl_strerror(failed) : "not finite");
    }
    if (rank < p) {
        return status_fail(STATUS_DATA, "the points tell only %d of %d coefficients apart",
                           (int)rank, columns);
    }
    return STATUS_OK;
}
