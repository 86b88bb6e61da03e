/* head.c - output norm, head and cross-entropy over the rows that have a target.
 *
 * All these rows meet the vocabulary in slices. Their softmax runs along with its greatest logit so
 * far, and so does the sum of the head's rows that it weighs, as attention does with keys and
 * values: one pass gives loss and gradient, each weight is expanded once for all rows, and logits
 * exist for one slice at a time, in scratch that blocks use. Prompts cost nothing here. (The idea
 * of Wijmans et al. 2024, "Cut your losses", with the pass over tiles of logits saved.)
 */
#include <string.h>

#include "lora/train/step.h"

/* Copies the stream's rows of supervised positions together. */
static void gather_rows(const shoal_step *s)
{
    const shoal_pack *pack = &s->ws->pack;
    size_t D = s->m->cfg.n_embd;
    const float *x = shoal_block_input(s, s->m->cfg.n_layer);
    for (size_t i = 0; i < pack->n_sup; i++) {
        memcpy(s->ws->head_x + i * D, x + pack->sup_row[i] * D, D * sizeof *x);
        s->ws->head_softmax[i] = SHOAL_SOFTMAX_ROW_INIT;
    }
}

/* And their gradients to their places in dx; those of other rows are 0. */
static void scatter_rows(const shoal_step *s, const float *rows)
{
    const shoal_pack *pack = &s->ws->pack;
    size_t D = s->m->cfg.n_embd;
    memset(s->ws->dx, 0, s->T * D * sizeof *s->ws->dx);
    for (size_t i = 0; i < pack->n_sup; i++) {
        memcpy(s->ws->dx + pack->sup_row[i] * D, rows + i * D, D * sizeof *rows);
    }
}

/* Folds in the slice `w` of the head, that begins at token `first`; acc NULL: the loss alone. */
static void fold_slice(const shoal_step *s, const shoal_act *act, const shoal_mat *w, size_t first,
                       float *acc)
{
    const shoal_config *c = &s->m->cfg;
    shoal_workspace *ws = s->ws;
    size_t n = ws->pack.n_sup;
    shoal_matmul(s->ex, act, &w, &ws->logits, 1);
    if (ws->capped != NULL) {
        shoal_softcap_fwd(s->ex, ws->logits, n * w->rows, c->logit_softcap, ws->logits);
        memcpy(ws->capped, ws->logits, n * w->rows * sizeof *ws->logits);
    }
    shoal_softmax_fold(s->ex, ws->logits, n, first, w->rows, ws->pack.sup_target, ws->head_softmax,
                       acc, c->n_embd);
    if (acc == NULL) return;
    if (ws->capped != NULL) {
        shoal_softcap_bwd(s->ex, ws->capped, n * w->rows, c->logit_softcap, ws->logits);
    }
    shoal_act d_logits;
    shoal_act_prepare(s->ex, &d_logits, SHOAL_ACT_16BIT, ws->logits, n, w->rows, ws->head_packed);
    shoal_matmul_dx(s->ex, w, &d_logits, acc, true);
}

static void fold_vocabulary(const shoal_step *s, float *acc)
{
    const shoal_config *c = &s->m->cfg;
    shoal_workspace *ws = s->ws;
    shoal_act act;
    size_t slice = shoal_head_slice(c);
    shoal_rmsnorm_fwd(s->ex, ws->head_x, s->m->out_norm, c->norm_eps, ws->pack.n_sup, c->n_embd,
                      ws->norm, ws->head_rstd);
    shoal_act_prepare(s->ex, &act, SHOAL_ACT_16BIT, ws->norm, ws->pack.n_sup, c->n_embd,
                      ws->packed);
    for (size_t first = 0; first < c->n_vocab; first += slice) {
        size_t n = c->n_vocab - first < slice ? c->n_vocab - first : slice;
        shoal_mat w = shoal_mat_rows(&s->m->head, first, n);
        fold_slice(s, &act, &w, first, acc);
    }
}

/* From the sums in acc to the gradient of row i's normalised input: the softmax's mean of the
 * head's rows less the target's own, both without the target's share of the mean, which cancels.
 * `row` has room for [D]. */
static void finish_row(const shoal_step *s, size_t i, float weight, float *acc, float *row)
{
    const shoal_config *c = &s->m->cfg;
    const shoal_softmax_row *softmax = &s->ws->head_softmax[i];
    double total = 0.0;
    double at_target = -shoal_softmax_others(softmax, &total);
    if (c->logit_softcap > 0.0f) {
        double y = (double)softmax->target / (double)c->logit_softcap;
        at_target *= 1.0 - y * y;
    }
    float scale = (float)((double)weight / total);
    float own = (float)((double)weight * at_target);
    shoal_mat_row(&s->m->head, (size_t)s->ws->pack.sup_target[i], row);
    for (size_t d = 0; d < c->n_embd; d++) {
        acc[d] = scale * acc[d] + own * row[d];
    }
}

/* To the gradient of the gathered rows, in place. */
static void head_backward(const shoal_step *s, float weight, float *acc)
{
    const shoal_config *c = &s->m->cfg;
    shoal_workspace *ws = s->ws;
    for (size_t i = 0; i < ws->pack.n_sup; i++) {
        finish_row(s, i, weight, acc + i * c->n_embd, ws->norm);
    }
    shoal_rmsnorm_bwd(s->ex, ws->head_x, s->m->out_norm, ws->head_rstd, acc, ws->pack.n_sup,
                      c->n_embd, acc, false);
}

void shoal_step_head(const shoal_step *s, float weight, double *nll, double *nll_sum)
{
    const shoal_pack *pack = &s->ws->pack;
    float *acc = weight != 0.0f ? s->ws->dnorm : NULL;

    gather_rows(s);
    fold_vocabulary(s, acc);
    for (size_t i = 0; i < pack->n_sup; i++) {
        double row = shoal_softmax_nll(&s->ws->head_softmax[i]);
        *nll_sum += row;
        if (nll != NULL) {
            nll[pack->sup_sample[i]] += row;
        }
    }
    if (acc != NULL) {
        head_backward(s, weight, acc);
        scatter_rows(s, acc);
    }
}
