/* rowops_avx2.c - puts the AVX2 row slots into the table. */
#include "kernels/x86/rowops_avx2.h"

#include "kernels/rowops.h"
#include "kernels/table.h"

void shoal_rowops_init_avx2(shoal_table *t)
{
    t->dense_nt = shoal_dense_nt_avx2;
    t->dense_nn = shoal_dense_nn_avx2;
    t->dense_transpose = shoal_dense_transpose_avx2;
    t->half_rows = shoal_half_rows_avx2;
    t->half_put = shoal_half_put_avx2;
    t->half_take = shoal_half_take_avx2;
    t->scores_f16 = shoal_scores_f16_avx2;
    t->scores_q8 = shoal_scores_q8_avx2;
    t->values_f16 = shoal_values_f16_avx2;
    t->values_q8 = shoal_values_q8_avx2;
    t->softmax_tile = shoal_softmax_tile_avx2;
    t->softmax_grad = shoal_softmax_grad_avx2;
    t->rmsnorm = shoal_rmsnorm_avx2;
    t->rmsnorm_grad = shoal_rmsnorm_grad_avx2;
    t->swiglu = shoal_swiglu_avx2;
    t->swiglu_grad = shoal_swiglu_grad_avx2;
    t->geglu = shoal_geglu_avx2;
    t->geglu_grad = shoal_geglu_grad_avx2;
    t->softcap = shoal_softcap_avx2;
    t->softcap_grad = shoal_softcap_grad_avx2;
    t->row_max = shoal_row_max_avx2;
    t->row_exp_sum = shoal_row_exp_sum_avx2;
    t->row_softmax = shoal_row_softmax_avx2;
    t->chacha = shoal_chacha_avx2;
    t->ring_add = shoal_ring_add_avx2;
}
