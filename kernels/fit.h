/* fit.h - scale and minimum of a few weights by search, for the quantisers.
 *
 * Both try a handful of steps around the one that spans the range, round to codes, and solve for
 * the weighted least-squares scale (and minimum) of these codes; the best of all is kept. An error
 * counts (rms + |x|) times, so that large weights keep more of their precision.
 *
 * Layer: kernels/, private. Threads: pure.
 */
#ifndef SHOAL_KERNELS_FIT_H
#define SHOAL_KERNELS_FIT_H

#include <stddef.h>
#include <stdint.h>

enum { SHOAL_FIT_MAX = 32 }; /* most weights fitted together */

/* d such that x is about d * code, codes lo..hi, lo < 0 < hi, -lo > hi. 0 for x all zero. */
float shoal_fit_scale(const float *x, size_t n, int lo, int hi);

/* d >= 0 and m such that x is about d * code + m, codes 0..top. With `below`, m <= 0. */
void shoal_fit_affine(const float *x, size_t n, int top, int below, float *d, float *m);

/* The nearest integer in lo..hi; lo for a NaN. */
int shoal_nearest(float v, int lo, int hi);

#endif
