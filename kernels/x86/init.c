/* init.c - the x86 staircase: each level replaces what it does better than the one below. */
#include "kernels/base/cpu.h"
#include "kernels/gemm.h"
#include "kernels/matmul.h"
#include "kernels/table.h"

void shoal_table_init_x86(shoal_table *t, uint32_t flags)
{
    if ((flags & SHOAL_CPU_AVX2) == 0) return;
    t->name = "avx2";
    shoal_quant_init_avx2(t);
    shoal_dot_init_avx2(t);
    shoal_gemm_init_avx2(t);
    shoal_rowops_init_avx2(t);
}
