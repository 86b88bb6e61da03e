/* arm.h - what the files of this folder give the staircase in init.c.
 *
 * Layer: kernels/arm, internal. Threads: pure.
 */
#ifndef SHOAL_KERNELS_ARM_ARM_H
#define SHOAL_KERNELS_ARM_ARM_H

#include "kernels/table.h"

/* The 8-bit products of each level by type; NULL where C is kept. */
extern shoal_dot_q8_fn *const shoal_dot_neon[SHOAL_TYPE_SLOTS];
extern shoal_dot_q8_fn *const shoal_dot_dotprod[SHOAL_TYPE_SLOTS];
extern shoal_dot_q8_fn *const shoal_dot_i8mm[SHOAL_TYPE_SLOTS]; /* for n = 1 it calls dotprod's */

void shoal_gemm_init_neon(shoal_table *t);
void shoal_quant_init_neon(shoal_table *t);
void shoal_rowops_init_neon(shoal_table *t);

#endif
