/* optimizer.c - AdamW and the sum of squares that clipping needs.
 *
 * Plain loops without an accumulator between elements: compilers turn them into vectors, and memory
 * sets their speed (28 bytes an element), so there is no slot for them.
 */
#include "kernels/kernels.h"

#include <math.h>

#include "kernels/rowops.h"

enum {
    STEP_RANGE = 8192,    /* values a range of AdamW takes */
    SUM_RANGE_MIN = 4096, /* values of a partial sum, at least */
    SUM_RANGES_MAX = 256  /* partial sums kept, at most */
};

typedef struct adamw_job {
    float lr_step;  /* lr / (1 - beta1^step) */
    float decay;    /* 1 - lr * weight_decay */
    float v_unbias; /* 1 / sqrt(1 - beta2^step) */
    float beta1, beta2, eps, grad_scale;
    float *restrict p;
    const float *restrict g;
    float *restrict m;
    float *restrict v;
} adamw_job;

static void adamw_range(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const adamw_job j = *(const adamw_job *)ctx;
    for (size_t i = begin; i < end; i++) {
        float g = j.g[i] * j.grad_scale;
        float m = j.beta1 * j.m[i] + (1.0f - j.beta1) * g;
        float v = j.beta2 * j.v[i] + (1.0f - j.beta2) * (g * g);
        j.m[i] = m;
        j.v[i] = v;
        j.p[i] = j.p[i] * j.decay - j.lr_step * m / (sqrtf(v) * j.v_unbias + j.eps);
    }
}

void shoal_adamw_step(const shoal_exec *ex, const shoal_adamw *o, float *p, const float *g,
                      float *m, float *v, size_t n)
{
    double step = (double)o->step;
    double unbias1 = 1.0 - pow((double)o->beta1, step);
    double unbias2 = 1.0 - pow((double)o->beta2, step);
    adamw_job j = {.beta1 = o->beta1, .beta2 = o->beta2, .eps = o->eps};
    j.lr_step = (float)((double)o->lr / unbias1);
    j.decay = (float)(1.0 - (double)o->lr * (double)o->weight_decay);
    j.v_unbias = (float)(1.0 / sqrt(unbias2));
    j.grad_scale = o->grad_scale;
    j.p = p;
    j.g = g;
    j.m = m;
    j.v = v;
    shoal_parallel_for(ex->pool, n, STEP_RANGE, adamw_range, &j);
}

typedef struct sum_job {
    const float *x;
    size_t range;
    double partial[SUM_RANGES_MAX];
} sum_job;

static void sum_range(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    sum_job *j = ctx;
    double lane[SHOAL_LANES] = {0};
    size_t i = begin;
    for (; i + SHOAL_LANES <= end; i += SHOAL_LANES) {
        for (size_t l = 0; l < SHOAL_LANES; l++) {
            double x = (double)j->x[i + l];
            lane[l] += x * x;
        }
    }
    for (size_t l = 0; i + l < end; l++) {
        double x = (double)j->x[i + l];
        lane[l] += x * x;
    }
    j->partial[begin / j->range] =
        ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

double shoal_sum_squares(const shoal_exec *ex, const float *x, size_t n)
{
    sum_job j = {.x = x, .range = SUM_RANGE_MIN};
    while ((n + j.range - 1) / j.range > SUM_RANGES_MAX) {
        j.range *= 2;
    }
    shoal_parallel_for(ex->pool, n, j.range, sum_range, &j);
    double total = 0;
    for (size_t i = 0; i * j.range < n; i++) {
        total += j.partial[i];
    }
    return total;
}
