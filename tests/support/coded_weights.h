/* coded_weights.h - random weights of a type drawn as the codes of its blocks.
 *
 * Nothing is quantised and nothing but integers is random: the bytes are the same on every machine
 * and whatever the quantiser does, so results for them can be frozen in a file.
 *
 * Layer: tests. Threads: one owner of the rng.
 */
#ifndef SHOAL_TESTS_SUPPORT_CODED_WEIGHTS_H
#define SHOAL_TESTS_SUPPORT_CODED_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/rng.h"
#include "kernels/quant.h"

/* n values around `mean` with a deviation of about `std`. */
void coded_values(shoal_rng *rng, float mean, float std, float *x, size_t n);

/* Rows of a type, one behind the other, with a mean near 0 and a deviation of about std. Packed
 * types (rows a multiple of 8) draw what their plain form does. False for types not known here and
 * when memory is out. */
bool coded_weights(shoal_rng *rng, shoal_type type, float std, size_t rows, size_t cols,
                   unsigned char *out);

#endif
