/* head.c - output norm, head and cross-entropy over the rows that have a target.
 *
 * Logits exist for plan.head_rows rows at a time and are turned in place into their gradient, so
 * memory for [T, V] is never needed and prompts cost nothing here. (The idea of Wijmans et al.
 * 2024, "Cut your losses", by rows instead of by tiles.)
 */
#include <string.h>

#include "lora/train/step.h"

/* Copies the stream's rows of supervised positions [from, from + n) together. */
static void gather_rows(const shoal_step *s, size_t from, size_t n)
{
    size_t D = s->m->cfg.n_embd;
    const float *x = shoal_block_input(s, s->m->cfg.n_layer);
    for (size_t i = 0; i < n; i++) {
        memcpy(s->ws->head_x + i * D, x + s->ws->pack.sup_row[from + i] * D, D * sizeof *x);
    }
}

/* And their gradients back to their places in dx. */
static void scatter_rows(const shoal_step *s, const float *rows, size_t from, size_t n)
{
    size_t D = s->m->cfg.n_embd;
    for (size_t i = 0; i < n; i++) {
        memcpy(s->ws->dx + s->ws->pack.sup_row[from + i] * D, rows + i * D, D * sizeof *rows);
    }
}

static void head_forward(const shoal_step *s, size_t n)
{
    const shoal_config *c = &s->m->cfg;
    shoal_workspace *ws = s->ws;
    const shoal_mat *w = &s->m->head;
    shoal_act act;
    shoal_rmsnorm_fwd(s->ex, ws->head_x, s->m->out_norm, c->norm_eps, n, c->n_embd, ws->head_norm,
                      ws->head_rstd);
    shoal_act_prepare(s->ex, &act, ws->head_norm, n, c->n_embd, ws->packed);
    shoal_matmul(s->ex, &act, &w, &ws->logits, 1);
    if (ws->capped != NULL) {
        shoal_softcap_fwd(s->ex, ws->logits, n * c->n_vocab, c->logit_softcap, ws->capped);
        memcpy(ws->logits, ws->capped, n * c->n_vocab * sizeof *ws->logits);
    }
}

/* From the gradient of the logits to that of the gathered rows, which takes head_norm's place. */
static const float *head_backward(const shoal_step *s, size_t n)
{
    const shoal_config *c = &s->m->cfg;
    shoal_workspace *ws = s->ws;
    if (ws->capped != NULL) {
        shoal_softcap_bwd(s->ex, ws->capped, n * c->n_vocab, c->logit_softcap, ws->logits);
    }
    shoal_matmul_dx(s->ex, &s->m->head, ws->logits, n, ws->head_dnorm, false);
    shoal_rmsnorm_bwd(s->ex, ws->head_x, s->m->out_norm, ws->head_rstd, ws->head_dnorm, n,
                      c->n_embd, ws->head_norm, false);
    return ws->head_norm;
}

void shoal_step_head(const shoal_step *s, float weight, double *nll, double *nll_sum)
{
    const shoal_pack *pack = &s->ws->pack;
    size_t D = s->m->cfg.n_embd;
    bool backward = weight != 0.0f;

    if (backward) {
        memset(s->ws->dx, 0, s->T * D * sizeof *s->ws->dx);
    }
    for (size_t from = 0; from < pack->n_sup; from += s->plan->head_rows) {
        size_t left = pack->n_sup - from;
        size_t n = left < s->plan->head_rows ? left : s->plan->head_rows;
        gather_rows(s, from, n);
        head_forward(s, n);
        shoal_cross_entropy(s->ex, s->ws->logits, pack->sup_target + from, n, s->m->cfg.n_vocab,
                            weight, s->ws->head_nll, NULL);
        for (size_t i = 0; i < n; i++) {
            *nll_sum += s->ws->head_nll[i];
            if (nll != NULL) {
                nll[pack->sup_sample[from + i]] += s->ws->head_nll[i];
            }
        }
        if (backward) {
            scatter_rows(s, head_backward(s, n), from, n);
        }
    }
}
