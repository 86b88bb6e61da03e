/* regularize.c - see regularize.h. */
#include "lora/train/regularize.h"

#include <math.h>

enum { SALT_EMBEDDING = 0 }; /* those of projections follow */

const shoal_dropout *shoal_step_dropout(const shoal_step *s, size_t layer, shoal_proj p,
                                        shoal_dropout *place)
{
    if (!s->learns || s->plan->dropout == 0) {
        return NULL;
    }
    uint64_t salt = layer * SHOAL_N_PROJ + (size_t)p + 1;
    *place = (shoal_dropout){s->ws->pack.key, salt, s->plan->dropout};
    return place;
}

void shoal_step_embed_noise(const shoal_step *s, size_t t, float *x)
{
    if (!s->learns || !(s->plan->neftune > 0.0)) {
        return;
    }
    const shoal_pack *pack = &s->ws->pack;
    size_t D = s->m->cfg.n_embd;
    double scale = s->plan->neftune / sqrt((double)pack->length[t] * (double)D);
    shoal_uniform_add(shoal_noise_key(pack->key[t], SALT_EMBEDDING), (float)scale, D, x);
}
