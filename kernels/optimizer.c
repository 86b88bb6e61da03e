/* optimizer.c - AdamW, SGD with momentum, and the sum of squares that clipping needs.
 *
 * Plain loops without an accumulator between elements: compilers turn them into vectors, and memory
 * sets their speed (28 bytes an element), so there is no slot for them.
 */
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

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

static adamw_job prepare(const shoal_adamw *o, float *p, const float *g)
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
    return j;
}

void shoal_adamw_step(const shoal_exec *ex, const shoal_adamw *o, float *p, const float *g,
                      float *m, float *v, size_t n)
{
    adamw_job j = prepare(o, p, g);
    j.m = m;
    j.v = v;
    shoal_parallel_for(ex->pool, n, STEP_RANGE, adamw_range, &j);
}

/* ---- moments in 8 bits ------------------------------------------------------------------------
 */

/* Magnitudes 0..largest as the top bits of a float: exponents of 2^-15 .. 2^0 relative to it. */
typedef struct code_format {
    unsigned mantissa; /* bits of it */
    unsigned n;        /* codes: 16 << mantissa; 0 is zero */
    float largest;     /* 2 - 2^-mantissa, code n - 1 */
} code_format;

static const code_format M_CODES = {3, 128, 1.875f};
static const code_format V_CODES = {4, 256, 1.9375f};

/* A block whose largest value is below this counts as zero: its inverse would overflow. */
#define PEAK_MIN 1e-30f

/* Bits that depend on step and position alone. (The finaliser of splitmix64) */
static uint64_t random_bits(uint64_t step, size_t i)
{
    uint64_t z = (step * UINT64_C(0x9e3779b97f4a7c15)) ^ (uint64_t)i;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static float from_bits(uint32_t bits)
{
    float x = 0.0f;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* What code 0 would be if it were not zero. */
static uint32_t lowest_bits(const code_format *f)
{
    return (UINT32_C(128) << f->mantissa) - f->n;
}

static float decode(const code_format *f, unsigned code)
{
    return code == 0 ? 0.0f : from_bits((lowest_bits(f) + code) << (23 - f->mantissa));
}

/* Code of y >= 0: one of its two neighbours, such that the expectation is y. */
static unsigned encode(const code_format *f, float y, uint32_t random)
{
    unsigned shift = 23 - f->mantissa;
    uint32_t mask = (UINT32_C(1) << shift) - 1;
    uint32_t bits = 0;
    float smallest = decode(f, 1);
    if (y < smallest) {
        return y / smallest * (float)(mask + 1) > (float)(random & mask) ? 1 : 0;
    }
    memcpy(&bits, &y, sizeof bits);
    unsigned code = ((bits + (random & mask)) >> shift) - lowest_bits(f);
    return code < f->n ? code : f->n - 1;
}

typedef struct adamw8_job {
    adamw_job adamw; /* m and v unused */
    shoal_moments8 q;
    uint64_t step;
} adamw8_job;

/* Codes of n moments, given their largest magnitudes. A v that is not zero stays above zero: m over
 * nothing would be a leap. */
static void encode_block(const adamw8_job *j, size_t begin, size_t n, const float *m,
                         const float *v, float m_peak, float v_peak)
{
    float m_unit = m_peak > PEAK_MIN ? M_CODES.largest / m_peak : 0.0f;
    float v_unit = v_peak > PEAK_MIN ? V_CODES.largest / v_peak : 0.0f;
    for (size_t i = 0; i < n; i++) {
        uint64_t random = random_bits(j->step, begin + i);
        unsigned cm = encode(&M_CODES, fabsf(m[i]) * m_unit, (uint32_t)random);
        unsigned cv = encode(&V_CODES, v[i] * v_unit, (uint32_t)(random >> 32));
        j->q.m[begin + i] = (uint8_t)(cm | (m[i] < 0.0f ? 128u : 0u));
        j->q.v[begin + i] = (uint8_t)(cv == 0 && v[i] > 0.0f ? 1 : cv);
    }
    j->q.m_peak[begin / SHOAL_MOMENT_BLOCK] = m_peak > PEAK_MIN ? m_peak : 0.0f;
    j->q.v_peak[begin / SHOAL_MOMENT_BLOCK] = v_peak > PEAK_MIN ? v_peak : 0.0f;
}

/* Expands the moments of a block, steps as adamw_range does, and packs them again. */
static void adamw8_block(const adamw8_job *j, size_t begin, size_t n)
{
    const adamw_job *a = &j->adamw;
    float m[SHOAL_MOMENT_BLOCK];
    float v[SHOAL_MOMENT_BLOCK];
    float m_unit = j->q.m_peak[begin / SHOAL_MOMENT_BLOCK] / M_CODES.largest;
    float v_unit = j->q.v_peak[begin / SHOAL_MOMENT_BLOCK] / V_CODES.largest;
    float m_peak = 0.0f;
    float v_peak = 0.0f;
    for (size_t i = 0; i < n; i++) {
        unsigned code = j->q.m[begin + i];
        float old = decode(&M_CODES, code & 127u) * m_unit;
        float g = a->g[begin + i] * a->grad_scale;
        m[i] = a->beta1 * ((code & 128u) != 0 ? -old : old) + (1.0f - a->beta1) * g;
        v[i] =
            a->beta2 * (decode(&V_CODES, j->q.v[begin + i]) * v_unit) + (1.0f - a->beta2) * (g * g);
        m_peak = fmaxf(m_peak, fabsf(m[i]));
        v_peak = fmaxf(v_peak, v[i]);
        float step = a->lr_step * m[i] / (sqrtf(v[i]) * a->v_unbias + a->eps);
        a->p[begin + i] = a->p[begin + i] * a->decay - step;
    }
    encode_block(j, begin, n, m, v, m_peak, v_peak);
}

static void adamw8_range(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const adamw8_job *j = ctx;
    for (size_t i = begin; i < end; i += SHOAL_MOMENT_BLOCK) {
        adamw8_block(j, i, end - i < SHOAL_MOMENT_BLOCK ? end - i : SHOAL_MOMENT_BLOCK);
    }
}

void shoal_adamw8_step(const shoal_exec *ex, const shoal_adamw *o, float *p, const float *g,
                       const shoal_moments8 *q, size_t n)
{
    adamw8_job j = {.adamw = prepare(o, p, g), .q = *q, .step = o->step};
    shoal_parallel_for(ex->pool, n, STEP_RANGE, adamw8_range, &j);
}

/* ---- momentum ---------------------------------------------------------------------------------
 */

typedef struct sgd_job {
    float lr, decay, momentum, grad_scale;
    float *restrict p;
    const float *restrict g;
    float *restrict m;
} sgd_job;

static void sgd_range(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const sgd_job j = *(const sgd_job *)ctx;
    for (size_t i = begin; i < end; i++) {
        float m = j.momentum * j.m[i] + j.g[i] * j.grad_scale;
        j.m[i] = m;
        j.p[i] = j.p[i] * j.decay - j.lr * m;
    }
}

void shoal_sgd_step(const shoal_exec *ex, const shoal_adamw *o, float *p, const float *g, float *m,
                    size_t n)
{
    sgd_job j = {.lr = o->lr, .momentum = o->beta1, .grad_scale = o->grad_scale};
    j.decay = (float)(1.0 - (double)o->lr * (double)o->weight_decay);
    j.p = p;
    j.g = g;
    j.m = m;
    shoal_parallel_for(ex->pool, n, STEP_RANGE, sgd_range, &j);
}

/* ---- norm -------------------------------------------------------------------------------------
 */

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
