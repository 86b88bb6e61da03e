/* slope.c - see slope.h. */
#include "tests/support/slope.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

typedef struct line {
    slope_loss_fn *loss;
    void *ctx;
    float *p;       /* [n] */
    const float *d; /* [n] direction */
    size_t n;
} line;

/* Central difference of the loss at p along d, of total length 2h. */
static double central(const line *l, double h)
{
    float kept[SLOPE_MAX];
    memcpy(kept, l->p, l->n * sizeof *l->p);
    double loss[2];
    for (size_t side = 0; side < 2; side++) {
        double step = side == 0 ? h : -h;
        for (size_t i = 0; i < l->n; i++) {
            l->p[i] = (float)((double)kept[i] + step * (double)l->d[i]);
        }
        loss[side] = l->loss(l->ctx);
    }
    memcpy(l->p, kept, l->n * sizeof *l->p);
    return (loss[0] - loss[1]) / (2.0 * h);
}

/* Two central differences, extrapolated so that the error falls with h^4 (deep models bend too much
 * for one). */
static double slope(const line *l, double h)
{
    return (4.0 * central(l, 0.5 * h) - central(l, h)) / 3.0;
}

void slope_check(slope_loss_fn *loss, void *ctx, float *p, size_t n, const float *grad,
                 shoal_rng *rng)
{
    float g[SLOPE_MAX];
    float d[SLOPE_MAX] = {0};
    line l = {loss, ctx, p, d, n};
    double norm = 0.0;
    assert_true(n <= SLOPE_MAX);
    memcpy(g, grad, n * sizeof *g); /* computing the loss may write it anew */
    for (size_t i = 0; i < n; i++) {
        norm += (double)g[i] * (double)g[i];
    }
    norm = sqrt(norm);
    assert_true(norm > 1e-4);
    for (size_t i = 0; i < n; i++) {
        d[i] = (float)((double)g[i] / norm);
    }
    double along = slope(&l, 2e-2);
    double random_want = 0.0;
    for (size_t i = 0; i < n; i++) {
        d[i] = (shoal_rng_u64(rng) & 1) != 0 ? 0.05f : -0.05f;
        random_want += (double)g[i] * (double)d[i];
    }
    double random = slope(&l, 2e-1);
    if (fabs(along - norm) > 3e-3 * norm || fabs(random - random_want) > 2e-2 * norm) {
        fail_msg("slopes %g, %g instead of %g, %g", along, random, norm, random_want);
    }
}
