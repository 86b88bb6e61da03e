/* rowops.c - fills the row slots of the table with portable C. */
#include "kernels/rowops.h"

#include "kernels/attention_tile.h"
#include "kernels/dense.h"
#include "kernels/halves.h"
#include "kernels/table.h"

void shoal_rowops_init_c(shoal_table *t)
{
    t->dense_nt = shoal_dense_nt_c;
    t->dense_nn = shoal_dense_nn_c;
    t->dense_transpose = shoal_dense_transpose_c;
    t->half_rows = shoal_half_rows_c;
    t->half_put = shoal_half_put_c;
    t->half_take = shoal_half_take_c;
    t->softmax_tile = shoal_softmax_tile_c;
    t->softmax_grad = shoal_softmax_grad_c;
    t->rmsnorm = shoal_rmsnorm_c;
    t->rmsnorm_grad = shoal_rmsnorm_grad_c;
    t->swiglu = shoal_swiglu_c;
    t->swiglu_grad = shoal_swiglu_grad_c;
    t->geglu = shoal_geglu_c;
    t->geglu_grad = shoal_geglu_grad_c;
    t->softcap = shoal_softcap_c;
    t->softcap_grad = shoal_softcap_grad_c;
    t->row_max = shoal_row_max_c;
    t->row_exp_sum = shoal_row_exp_sum_c;
    t->row_softmax = shoal_row_softmax_c;
    t->chacha = shoal_chacha_c;
    t->ring_add = shoal_ring_add_c;
}
