/* gradcheck.h - analytic gradients against finite differences in double.
 *
 * Threads: pure, apart from what the callback does.
 */
#ifndef SHOAL_TESTS_SUPPORT_GRADCHECK_H
#define SHOAL_TESTS_SUPPORT_GRADCHECK_H

#include <stddef.h>

/* The scalar loss as a function of x [n], everything in double. */
typedef double gradcheck_fn(void *ctx, const double *x, size_t n);

/* Largest difference between analytic[i] and the central difference (f(x + h) - f(x - h)) / 2h at
 * h = 1e-4 (error about 1e-8 for values of order one), divided by the largest numeric gradient
 * (or 0.01 where that is larger: gradients that vanish are compared absolutely).
 * x is changed one element at a time and restored. */
double gradcheck(gradcheck_fn *f, void *ctx, double *x, size_t n, const float *analytic);

#endif
