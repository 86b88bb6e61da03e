/* init.h - fillers of the x86 levels, one a family; more of AVX2 are in matmul.h, gemm.h, table.h.
 *
 * The files of levels above AVX2 exist only where the compiler knows its instructions
 * (kernels/CMakeLists.txt). Layer: kernels/x86, internal.
 */
#ifndef SHOAL_KERNELS_X86_INIT_H
#define SHOAL_KERNELS_X86_INIT_H

#include "kernels/table.h"

void shoal_expand_init_avx2(shoal_table *t);

void shoal_dot_init_avxvnni(shoal_table *t);
void shoal_dot_init_avx512(shoal_table *t);
extern shoal_dot_q8_fn *const shoal_dot_few_avx512[SHOAL_TYPE_SLOTS];
void shoal_gemm_init_avx512(shoal_table *t);
void shoal_gemm16_init_avx512(shoal_table *t);
void shoal_dense_init_avx512(shoal_table *t);
void shoal_pointwise_init_avx512(shoal_table *t);
void shoal_chacha_init_avx512(shoal_table *t);

#endif
