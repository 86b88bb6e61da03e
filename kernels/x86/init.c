/* init.c - the x86 staircase: each level replaces what it does better than the one below.
 *
 * AVX-VNNI and AVX-512 are separate: a processor may have either one, or both.
 */
#include "kernels/x86/init.h"

#include "kernels/base/cpu.h"
#include "kernels/gemm.h"
#include "kernels/gemm16.h"
#include "kernels/matmul.h"

static void init_avx2(shoal_table *t)
{
    t->name = "avx2";
    shoal_quant_init_avx2(t);
    shoal_expand_init_avx2(t);
    shoal_dot_init_avx2(t);
    shoal_gemm_init_avx2(t);
    shoal_gemm16_init_avx2(t);
    shoal_rowops_init_avx2(t);
}

void shoal_table_init_x86(shoal_table *t, uint32_t flags)
{
    if ((flags & SHOAL_CPU_AVX2) == 0) return;
    init_avx2(t);
#ifdef SHOAL_X86_AVXVNNI
    if ((flags & SHOAL_CPU_AVXVNNI) != 0) {
        t->name = "avxvnni";
        shoal_dot_init_avxvnni(t);
    }
#endif
#ifdef SHOAL_X86_AVX512
    if ((flags & SHOAL_CPU_AVX512) != 0) {
        t->name = "avx512";
        shoal_dot_init_avx512(t);
        shoal_gemm_init_avx512(t);
        shoal_gemm16_init_avx512(t);
        shoal_dense_init_avx512(t);
        shoal_pointwise_init_avx512(t);
        shoal_chacha_init_avx512(t);
    }
#endif
}
