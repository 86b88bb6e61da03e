/* keep.c - block inputs and tapes put away and taken out. See keep.h. */
#include "lora/train/keep.h"

static shoal_halves *kept_input(const shoal_step *s, size_t layer)
{
    return &s->ws->inputs_kept[layer - s->plan->first_layer];
}

/* Of a block that keeps its tape: counted from the lowest. */
static size_t tape_index(const shoal_step *s, size_t layer)
{
    return layer + s->ws->n_tapes - s->m->cfg.n_layer;
}

/* The topmost block's tape stays where it was computed: its backward comes next. */
static bool is_put_away(const shoal_step *s, size_t layer)
{
    return shoal_block_keeps_tape(s, layer) && tape_index(s, layer) + 1 < s->ws->n_tapes;
}

void shoal_keep_input(const shoal_step *s, size_t layer)
{
    size_t D = s->m->cfg.n_embd;
    float *x = shoal_block_input(s, layer);
    if (s->plan->exact) return;
    if (!s->learns) { /* a loss that is only measured is that of the same numbers */
        shoal_halves_round(s->ex, x, s->T, D);
        return;
    }
    shoal_halves *kept = kept_input(s, layer);
    shoal_halves_put(s->ex, x, s->T, D, kept->codes, kept->scale);
    shoal_halves_take(s->ex, kept->codes, kept->scale, s->T, D, x);
}

const float *shoal_take_input(const shoal_step *s, size_t layer)
{
    float *x = shoal_block_input(s, layer);
    if (s->plan->exact) return x;
    const shoal_halves *kept = kept_input(s, layer);
    shoal_halves_take(s->ex, kept->codes, kept->scale, s->T, s->m->cfg.n_embd, x);
    return x;
}

void shoal_keep_tape(const shoal_step *s, size_t layer)
{
    if (s->plan->exact || !s->learns || !is_put_away(s, layer)) return;
    shoal_kept *kept = &s->ws->kept[tape_index(s, layer)];
    shoal_tape_array arrays[SHOAL_TAPE_ARRAYS];
    size_t n = shoal_tape_arrays(&s->m->cfg, shoal_block_tape(s, layer), arrays);
    for (size_t i = 0; i < n; i++) {
        shoal_halves_put(s->ex, *arrays[i].at, s->T, arrays[i].width, kept->part[i].codes,
                         kept->part[i].scale);
    }
}

shoal_tape *shoal_take_tape(const shoal_step *s, size_t layer)
{
    shoal_tape *tp = shoal_block_tape(s, layer);
    bool recompute = !shoal_block_keeps_tape(s, layer);
    bool put_away = is_put_away(s, layer);
    if (recompute) shoal_block_recompute(s, layer, tp);
    if (s->plan->exact) return tp;
    shoal_tape_array arrays[SHOAL_TAPE_ARRAYS];
    size_t n = shoal_tape_arrays(&s->m->cfg, tp, arrays);
    for (size_t i = 0; i < n; i++) {
        float *x = *arrays[i].at;
        if (put_away) {
            const shoal_halves *part = &s->ws->kept[tape_index(s, layer)].part[i];
            shoal_halves_take(s->ex, part->codes, part->scale, s->T, arrays[i].width, x);
        } else {
            shoal_halves_round(s->ex, x, s->T, arrays[i].width);
        }
    }
    return tp;
}
