/* Ordinary least squares by GSL's singular value decomposition, for fits that people look at. */
#ifndef REWARD_LEAST_SQUARES_H
#define REWARD_LEAST_SQUARES_H

#include "data/status.h"

/* The coefficients b that minimise sum over rows of (value - design b)^2, and what is known of
 * them if the rows' errors are independent and alike:
 *
 *   covariance = residual / (rows - columns) (design^T design)^-1
 *
 *   coefficient (columns), covariance (columns, columns), *residual: the sum that is left
 *   design (rows, columns), value (rows)
 *
 * Not more rows than columns, columns that say the same, values that are not finite:
 * STATUS_DATA. */
Status least_squares(double *coefficient, double *covariance, double *residual,
                     const double *design, const double *value, int rows, int columns);

#endif
