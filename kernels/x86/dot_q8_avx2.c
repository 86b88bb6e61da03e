/* dot_q8_avx2.c - formats with blocks of 32 weights times 8-bit activations. See dot_avx2.h. */
#include "kernels/matmul.h"
#include "kernels/x86/dot_pair_avx2.h"
#include "kernels/x86/unpack_legacy.h"

SHOAL_DOT_PAIR_AVX2(q4_0, Q4_0, add_q4, false, 1, false)
SHOAL_DOT_PAIR_AVX2(q4_1, Q4_1, add_q4, false, 1, false)
SHOAL_DOT_PAIR_AVX2(q5_0, Q5_0, add_q5, true, 1, false)
SHOAL_DOT_PAIR_AVX2(q5_1, Q5_1, add_q5, true, 1, false)
SHOAL_DOT_AVX2(q8_0, Q8_0, add_q8, 1, false)
SHOAL_DOT_AVX2(iq4_nl, IQ4_NL, add_q8, 1, false)
SHOAL_DOT_PAIR_AVX2(p4_0, Q4_0, add_q4, false, 1, true)
SHOAL_DOT_PAIR_AVX2(p4_1, Q4_1, add_q4, false, 1, true)
SHOAL_DOT_AVX2(p8_0, Q8_0, add_q8, 1, true)
SHOAL_DOT_PAIR_AVX2(q4_a, Q4_A, add_q4, false, 1, false)
SHOAL_DOT_AVX2(q6_a, Q6_A, add_q6, 1, false)
SHOAL_DOT_PAIR_AVX2(p4_a, Q4_A, add_q4, false, 1, true)
SHOAL_DOT_AVX2(p6_a, Q6_A, add_q6, 1, true)

void shoal_dot_init_avx2(shoal_table *t)
{
    t->dot_q8[SHOAL_TYPE_Q4_0] = dot_q4_0;
    t->dot_q8[SHOAL_TYPE_Q4_1] = dot_q4_1;
    t->dot_q8[SHOAL_TYPE_Q5_0] = dot_q5_0;
    t->dot_q8[SHOAL_TYPE_Q5_1] = dot_q5_1;
    t->dot_q8[SHOAL_TYPE_Q8_0] = dot_q8_0;
    t->dot_q8[SHOAL_TYPE_IQ4_NL] = dot_iq4_nl;
    t->dot_q8[SHOAL_TYPE_P4_0] = dot_p4_0;
    t->dot_q8[SHOAL_TYPE_P4_1] = dot_p4_1;
    t->dot_q8[SHOAL_TYPE_P8_0] = dot_p8_0;
    t->dot_q8[SHOAL_TYPE_Q4_A] = dot_q4_a;
    t->dot_q8[SHOAL_TYPE_Q6_A] = dot_q6_a;
    t->dot_q8[SHOAL_TYPE_P4_A] = dot_p4_a;
    t->dot_q8[SHOAL_TYPE_P6_A] = dot_p6_a;
    shoal_dot_k_init_avx2(t);
}
