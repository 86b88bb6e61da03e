/* optim.c - sizes, names and steps of the optimisers. */
#include "lora/train/optim.h"

#include <string.h>

#include "kernels/base/mem.h"

static const char *const NAMES[SHOAL_OPTIMIZER_KINDS] = {
    [SHOAL_OPTIMIZER_ADAMW] = "adamw",
    [SHOAL_OPTIMIZER_ADAMW8] = "adamw8",
    [SHOAL_OPTIMIZER_SGD] = "sgd",
};

bool shoal_optimizer_parse(const char *text, shoal_optimizer *kind)
{
    for (size_t i = 0; i < SHOAL_OPTIMIZER_KINDS; i++) {
        if (strcmp(text, NAMES[i]) == 0) {
            *kind = (shoal_optimizer)i;
            return true;
        }
    }
    return false;
}

const char *shoal_optimizer_name(shoal_optimizer kind)
{
    return NAMES[kind];
}

static size_t blocks_of(size_t n)
{
    return n / SHOAL_MOMENT_BLOCK + (n % SHOAL_MOMENT_BLOCK != 0);
}

bool shoal_optim_size(shoal_optim *o, shoal_optimizer kind, size_t n)
{
    size_t bytes = 0;
    memset(o, 0, sizeof *o);
    o->kind = kind;
    o->n = n;
    if (!shoal_mul_size(n, 2 * sizeof(float), &bytes)) { /* the largest kind */
        return false;
    }
    bool packed = kind == SHOAL_OPTIMIZER_ADAMW8;
    o->n_floats = packed ? 2 * blocks_of(n) : kind == SHOAL_OPTIMIZER_SGD ? n : 2 * n;
    o->n_codes = packed ? 2 * n : 0;
    return true;
}

void shoal_optim_reset(shoal_optim *o)
{
    o->step = 0;
    memset(o->floats, 0, o->n_floats * sizeof *o->floats);
    if (o->n_codes > 0) {
        memset(o->codes, 0, o->n_codes);
    }
}

void shoal_optim_update(const shoal_optim *o, const shoal_exec *ex, const shoal_adamw *h, size_t at,
                        size_t n, float *p, const float *g)
{
    shoal_adamw now = *h;
    now.step = o->step;
    if (o->kind == SHOAL_OPTIMIZER_SGD) {
        shoal_sgd_step(ex, &now, p, g, o->floats + at, n);
    } else if (o->kind == SHOAL_OPTIMIZER_ADAMW8) {
        float *peaks = o->floats + at / SHOAL_MOMENT_BLOCK;
        uint8_t *codes = o->codes + at;
        shoal_moments8 q = {codes, codes + o->n, peaks, peaks + blocks_of(o->n)};
        shoal_adamw8_step(ex, &now, p, g, &q, n);
    } else {
        shoal_adamw_step(ex, &now, p, g, o->floats + at, o->floats + o->n + at, n);
    }
}
