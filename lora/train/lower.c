/* lower.c - layers below the adapter: which rows must be computed, and that they do not depend on
 * the packing. */
#include "lora/train/lower.h"

#include <string.h>

#include "lora/model/arch.h"
#include "lora/model/residency.h"
#include "lora/train/lower_cache.h"

/* ---- attention, sample by sample --------------------------------------------------------------
 */

/* Rows of one sample (or of a beginning that samples share) in a pack: [from, from + n) follow its
 * first `shared` rows, which lie from `base` on. */
typedef struct run {
    size_t from, n;
    size_t base, shared;
} run;

/* The run that begins at row t. */
static run run_at(const shoal_pack *p, size_t t)
{
    run r = {.from = t, .n = 1, .base = p->first[t], .shared = p->hole[t] - p->first[t]};
    for (size_t u = t + 1; u < p->n_rows && p->first[u] == p->first[t] &&
                           p->hole[u] == p->hole[t] && p->hole_end[u] == p->hole_end[t];
         u++) {
        r.n++;
    }
    return r;
}

/* Keys or values of a run's sample, end to end: in `x` itself, or gathered in `room`. */
static const float *rows_of_sample(const run *r, const float *x, size_t width, float *room)
{
    if (r->shared == 0) return x + r->from * width;
    if (r->base + r->shared == r->from) return x + r->base * width;
    memcpy(room, x + r->base * width, r->shared * width * sizeof *x);
    memcpy(room + r->shared * width, x + r->from * width, r->n * width * sizeof *x);
    return room;
}

void shoal_lower_attention(const shoal_step *s, size_t layer, const shoal_tape *tp)
{
    const shoal_config *c = &s->m->cfg;
    size_t q_width = c->n_head * c->head_dim;
    size_t kv_width = c->n_head_kv * c->head_dim;
    run r;
    for (size_t t = 0; t < s->T; t += r.n) {
        r = run_at(s->apart, t);
        const shoal_attn attn = {
            .T = r.n,
            .H = c->n_head,
            .K = c->n_head_kv,
            .E = c->head_dim,
            .scale = c->attn_scale,
            .softcap = c->attn_softcap,
            .q = tp->q + t * q_width,
            .k = rows_of_sample(&r, tp->k, kv_width, s->ws->dk), /* free in a forward */
            .v = rows_of_sample(&r, tp->v, kv_width, s->ws->dv),
            .kv_type = SHOAL_TYPE_F32,
            .n_past = r.shared,
            .first = s->m->layers[layer].local ? s->apart->first_local + t : NULL,
        };
        shoal_attn_fwd(s->ex, &attn, tp->o + t * q_width, NULL);
    }
}

/* ---- which rows are needed --------------------------------------------------------------------
 */

static void number_rows(shoal_lower_cache *c, const shoal_pack *p)
{
    run r;
    for (size_t t = 0; t < p->n_rows; t += r.n) {
        r = run_at(p, t);
        shoal_row_index_find(&c->index, p->ids + r.base, r.shared, p->ids + t, r.n, c->number + t);
    }
}

/* Marks the rows that the file lacks, and for each of them what its sample has before it. Numbers
 * them in order in c->at; returns how many they are. */
static size_t choose_rows(shoal_lower_cache *c, const shoal_pack *p)
{
    run r;
    size_t n = 0;
    memset(c->at, 0xff, p->n_rows * sizeof *c->at); /* SHOAL_ROW_NONE */
    for (size_t t = 0; t < p->n_rows; t += r.n) {
        r = run_at(p, t);
        bool all = true;
        for (size_t i = t; i < t + r.n && all; i++) {
            all = shoal_row_store_has(&c->store, c->number[i]);
        }
        if (all) continue;
        memset(c->at + t, 0, r.n * sizeof *c->at);
        memset(c->at + r.base, 0, r.shared * sizeof *c->at);
    }
    for (size_t t = 0; t < p->n_rows; t++) {
        if (c->at[t] != SHOAL_ROW_NONE) c->at[t] = (uint32_t)n++;
    }
    return n;
}

/* The chosen rows of p, moved together. */
static const shoal_pack *gather(shoal_lower_cache *c, const shoal_pack *p, size_t n)
{
    shoal_pack *to = &c->rows;
    if (n == p->n_rows) return p;
    to->n_rows = n;
    for (size_t t = 0; t < p->n_rows; t++) {
        uint32_t at = c->at[t];
        if (at == SHOAL_ROW_NONE) continue;
        uint32_t base = c->at[p->first[t]];
        to->ids[at] = p->ids[t];
        to->pos[at] = p->pos[t];
        to->first[at] = base;
        to->hole[at] = base + (p->hole[t] - p->first[t]);
        to->hole_end[at] = c->at[p->hole_end[t]];
    }
    return to;
}

/* ---- computing and reading --------------------------------------------------------------------
 */

/* Positions as if every sample began at row 0. */
static void place_rows(const shoal_step *s)
{
    const shoal_config *c = &s->m->cfg;
    const shoal_pack *p = s->apart;
    shoal_rope_table(p->pos, s->m->inv_freq, s->T, c->head_dim, s->ws->cs);
    if (s->ws->cs_local != s->ws->cs) {
        shoal_rope_table(p->pos, s->m->inv_freq_local, s->T, c->head_dim, s->ws->cs_local);
    }
    for (size_t t = 0; t < s->T && p->first_local != NULL; t++) {
        p->first_local[t] = (uint32_t)shoal_window_first(c, p->pos[t]);
    }
}

/* Runs the layers below the adapter over `rows`, which lie at the beginning of the block input. */
static bool compute(const shoal_step *s, const shoal_pack *rows)
{
    shoal_step low = *s;
    low.T = rows->n_rows;
    low.apart = rows;
    shoal_step_embed(&low, rows->ids);
    if (s->plan->first_layer == 0) return true;
    place_rows(&low);
    return shoal_step_layers(&low, 0, s->plan->first_layer);
}

/* Rounds computed row i and keeps it under its number, if it has one. */
static void finish_row(const shoal_step *s, shoal_lower_cache *c, float *x, uint32_t number)
{
    size_t D = s->m->cfg.n_embd;
    int32_t exponent = s->ex->exact ? 0 : shoal_row_round(x, D);
    if (number != SHOAL_ROW_NONE) shoal_row_store_put(&c->store, number, x, exponent);
}

/* Finishes the computed rows and moves them to where they belong, from the last on, as none moves
 * down. */
static void spread(const shoal_step *s, shoal_lower_cache *c, const shoal_pack *p, float *x)
{
    size_t D = s->m->cfg.n_embd;
    for (size_t t = 0; t < p->n_rows; t++) { /* in order: neighbours are written together */
        if (c->at[t] != SHOAL_ROW_NONE) finish_row(s, c, x + c->at[t] * D, c->number[t]);
    }
    shoal_row_store_flush(&c->store);
    for (size_t t = p->n_rows; t-- > 0;) {
        if (c->at[t] != SHOAL_ROW_NONE) memmove(x + t * D, x + c->at[t] * D, D * sizeof *x);
    }
}

/* Reads the rows that were not computed; false when the file did not have one after all. */
static bool read_rest(shoal_lower_cache *c, const shoal_pack *p, size_t D, float *x)
{
    bool all = true;
    for (size_t t = 0; t < p->n_rows;) {
        size_t n = 1;
        if (c->at[t] == SHOAL_ROW_NONE) {
            while (t + n < p->n_rows && c->at[t + n] == SHOAL_ROW_NONE &&
                   c->number[t + n] == c->number[t] + n) {
                n++;
            }
            all = shoal_row_store_get(&c->store, c->number[t], n, x + t * D) && all;
        }
        t += n;
    }
    return all;
}

static bool forward_with_cache(const shoal_step *s, shoal_lower_cache *c, float *x)
{
    const shoal_pack *p = &s->ws->pack;
    number_rows(c, p);
    for (;;) { /* again only when the file loses rows; each time it has fewer to lose */
        size_t n = choose_rows(c, p);
        shoal_residency_use_from(s->m, n > 0 ? 0 : s->plan->first_layer);
        if (n > 0) {
            if (!compute(s, gather(c, p, n))) return false;
            spread(s, c, p, x);
        }
        c->rows_computed += n;
        if (read_rest(c, p, s->m->cfg.n_embd, x)) {
            c->rows_read += p->n_rows - n;
            return true;
        }
    }
}

bool shoal_lower_forward(const shoal_step *s)
{
    float *x = shoal_block_input(s, 0);
    bool noise = s->learns && s->plan->neftune > 0.0; /* no two epochs are alike */
    if (s->plan->first_layer > 0 && s->cache != NULL && !noise) {
        return forward_with_cache(s, s->cache, x);
    }
    return compute(s, &s->ws->pack);
}
