/* dot_k_avx2.c - K quants (super-blocks of 256) times 8-bit activations. See dot_avx2.h. */
#include "kernels/matmul.h"
#include "kernels/x86/dot_pair_avx2.h"
#include "kernels/x86/unpack_k.h"

/* The macro names the unpacker after the type. */
#define unpack_q2_k shoal_unpack8_q2_k
#define unpack_q3_k shoal_unpack8_q3_k
#define unpack_q4_k shoal_unpack8_q4_k
#define unpack_q5_k shoal_unpack8_q5_k
#define unpack_q6_k shoal_unpack8_q6_k

SHOAL_DOT_AVX2(q2_k, Q2_K, add_half_min, 8, false)
SHOAL_DOT_AVX2(q3_k, Q3_K, add_half, 8, false)
SHOAL_DOT_PAIR_AVX2(q4_k, Q4_K, add_q4, false, 8, false)
SHOAL_DOT_PAIR_AVX2(q5_k, Q5_K, add_q5, true, 8, false)
SHOAL_DOT_AVX2(q6_k, Q6_K, add_half, 8, false)

void shoal_dot_k_init_avx2(shoal_table *t)
{
    t->dot_q8[SHOAL_TYPE_Q2_K] = dot_q2_k;
    t->dot_q8[SHOAL_TYPE_Q3_K] = dot_q3_k;
    t->dot_q8[SHOAL_TYPE_Q4_K] = dot_q4_k;
    t->dot_q8[SHOAL_TYPE_Q5_K] = dot_q5_k;
    t->dot_q8[SHOAL_TYPE_Q6_K] = dot_q6_k;
}
