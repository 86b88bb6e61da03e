/* slope.h - a trainer's gradient of one matrix against slopes of its loss.
 *
 * Failures are cmocka assertions.
 */
#ifndef SHOAL_TESTS_SUPPORT_SLOPE_H
#define SHOAL_TESTS_SUPPORT_SLOPE_H

#include <stddef.h>

#include "kernels/base/rng.h"

enum { SLOPE_MAX = 1024 };

/* The loss with the parameters as they are now. */
typedef double slope_loss_fn(void *ctx);

/* The parameters p [n], n <= SLOPE_MAX: grad explains the slope of the loss along itself and along
 * a random direction. p is changed and restored. */
void slope_check(slope_loss_fn *loss, void *ctx, float *p, size_t n, const float *grad,
                 shoal_rng *rng);

#endif
