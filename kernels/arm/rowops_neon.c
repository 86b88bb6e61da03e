/* rowops_neon.c - puts the NEON row slots into the table. */
#include "kernels/arm/rowops_neon.h"

#include "kernels/arm/arm.h"

void shoal_rowops_init_neon(shoal_table *t)
{
    t->dense_nt = shoal_dense_nt_neon;
    t->dense_nn = shoal_dense_nn_neon;
    t->dense_transpose = shoal_dense_transpose_neon;
    t->half_rows = shoal_half_rows_neon;
    t->half_put = shoal_half_put_neon;
    t->half_take = shoal_half_take_neon;
    t->scores_f16 = shoal_scores_f16_neon;
    t->scores_q8 = shoal_scores_q8_neon;
    t->values_f16 = shoal_values_f16_neon;
    t->values_q8 = shoal_values_q8_neon;
    t->softmax_tile = shoal_softmax_tile_neon;
    t->softmax_grad = shoal_softmax_grad_neon;
    t->rmsnorm = shoal_rmsnorm_neon;
    t->rmsnorm_grad = shoal_rmsnorm_grad_neon;
    t->swiglu = shoal_swiglu_neon;
    t->swiglu_grad = shoal_swiglu_grad_neon;
    t->geglu = shoal_geglu_neon;
    t->geglu_grad = shoal_geglu_grad_neon;
    t->softcap = shoal_softcap_neon;
    t->softcap_grad = shoal_softcap_grad_neon;
    t->row_max = shoal_row_max_neon;
    t->row_exp_sum = shoal_row_exp_sum_neon;
    t->row_softmax = shoal_row_softmax_neon;
    t->chacha = shoal_chacha_neon;
}
