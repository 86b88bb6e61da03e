/* compact.h - portable slots of compact.c; contracts in table.h.
 *
 * Layer: kernels/, internal. Threads: pure.
 */
#ifndef SHOAL_KERNELS_COMPACT_H
#define SHOAL_KERNELS_COMPACT_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/table.h"

#define SHOAL_HALF_MAX 65504.0f /* the largest binary16 */

void shoal_half_pack_c(const float *x, size_t n, uint16_t *out);
void shoal_q8_pack_c(const float *x, size_t blocks, uint8_t *out);
void shoal_compact_init_c(shoal_table *t);
void shoal_compact_init_avx2(shoal_table *t);
void shoal_compact_init_neon(shoal_table *t);

#endif
