/* pointwise.c - rmsnorm, rotary positions, gated units, soft-caps and sums, forward and backward.
 */
#include "kernels/kernels.h"

#include <math.h>

#include "kernels/expf.h"
#include "kernels/rowops.h"
#include "kernels/table.h"

/* Values a range takes: a few microseconds of work, against about two for waking a worker. */
enum { RANGE_VALUES = 8192, ADD_RANGE_VALUES = 32768 };

static size_t row_grain(size_t values_per_row)
{
    return values_per_row >= RANGE_VALUES ? 1 : RANGE_VALUES / values_per_row;
}

/* ---- rmsnorm -----------------------------------------------------------------------------------
 */

typedef struct norm_job {
    const shoal_table *k;
    const float *x, *w, *rstd, *dy;
    float eps;
    size_t D;
    float *y, *rstd_out, *dx;
    bool accumulate;
} norm_job;

float shoal_rmsnorm_c(const float *x, const float *w, float eps, size_t D, float *y)
{
    float lane[SHOAL_LANES] = {0};
    for (size_t i = 0; i < D; i++) {
        lane[i % SHOAL_LANES] += x[i] * x[i];
    }
    float rstd = 1.0f / sqrtf(shoal_lane_sum(lane) / (float)D + eps);
    for (size_t i = 0; i < D; i++) {
        y[i] = x[i] * rstd * w[i];
    }
    return rstd;
}

/* With g = w * dy:  dx = rstd * g - x * rstd^3 / D * <g, x>. */
void shoal_rmsnorm_grad_c(const float *x, const float *w, float rstd, const float *dy, size_t D,
                          float *dx, bool accumulate)
{
    float lane[SHOAL_LANES] = {0};
    for (size_t i = 0; i < D; i++) {
        lane[i % SHOAL_LANES] += w[i] * dy[i] * x[i];
    }
    float along = shoal_lane_sum(lane) * rstd * rstd * rstd / (float)D;
    for (size_t i = 0; i < D; i++) {
        float d = w[i] * dy[i] * rstd - x[i] * along;
        dx[i] = accumulate ? dx[i] + d : d;
    }
}

static void norm_rows(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const norm_job *j = ctx;
    for (size_t t = begin; t < end; t++) {
        float rstd = j->k->rmsnorm(j->x + t * j->D, j->w, j->eps, j->D, j->y + t * j->D);
        if (j->rstd_out != NULL) {
            j->rstd_out[t] = rstd;
        }
    }
}

void shoal_rmsnorm_fwd(const shoal_exec *ex, const float *x, const float *w, float eps, size_t T,
                       size_t D, float *y, float *rstd)
{
    norm_job j = {.k = ex->table, .x = x, .w = w, .eps = eps, .D = D, .y = y, .rstd_out = rstd};
    shoal_parallel_for(ex->pool, T, row_grain(D), norm_rows, &j);
}

static void norm_grad_rows(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const norm_job *j = ctx;
    for (size_t t = begin; t < end; t++) {
        size_t at = t * j->D;
        j->k->rmsnorm_grad(j->x + at, j->w, j->rstd[t], j->dy + at, j->D, j->dx + at,
                           j->accumulate);
    }
}

void shoal_rmsnorm_bwd(const shoal_exec *ex, const float *x, const float *w, const float *rstd,
                       const float *dy, size_t T, size_t D, float *dx, bool accumulate)
{
    norm_job j = {.k = ex->table, .x = x, .w = w, .rstd = rstd, .dy = dy, .D = D, .dx = dx};
    j.accumulate = accumulate;
    shoal_parallel_for(ex->pool, T, row_grain(D), norm_grad_rows, &j);
}

/* ---- rotary positions ---------------------------------------------------------------------------
 */

typedef struct rope_job {
    shoal_rope_style style;
    float *x;
    const float *cs;
    size_t heads, E;
    bool inverse;
} rope_job;

void shoal_rope_table(const uint32_t *pos, const float *inv_freq, size_t T, size_t E, float *cs)
{
    for (size_t t = 0; t < T; t++) {
        for (size_t i = 0; i < E / 2; i++) {
            float angle = (float)pos[t] * inv_freq[i];
            *cs++ = cosf(angle);
            *cs++ = sinf(angle);
        }
    }
}

/* `sign` is 1 forward and -1 backward: the transpose of a rotation turns the other way. */
static void rotate_pairs(float *x, const float *cs, size_t half, float sign)
{
    for (size_t i = 0; i < half; i++) {
        float c = cs[2 * i], s = sign * cs[2 * i + 1];
        float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * c - b * s;
        x[2 * i + 1] = a * s + b * c;
    }
}

static void rotate_halves(float *x, const float *cs, size_t half, float sign)
{
    float *y = x + half;
    for (size_t i = 0; i < half; i++) {
        float c = cs[2 * i], s = sign * cs[2 * i + 1];
        float a = x[i], b = y[i];
        x[i] = a * c - b * s;
        y[i] = a * s + b * c;
    }
}

static void rope_rows(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const rope_job *j = ctx;
    float sign = j->inverse ? -1.0f : 1.0f;
    size_t half = j->E / 2;
    for (size_t t = begin; t < end; t++) {
        for (size_t h = 0; h < j->heads; h++) {
            float *x = j->x + (t * j->heads + h) * j->E;
            if (j->style == SHOAL_ROPE_PAIRS) {
                rotate_pairs(x, j->cs + t * j->E, half, sign);
            } else {
                rotate_halves(x, j->cs + t * j->E, half, sign);
            }
        }
    }
}

void shoal_rope(const shoal_exec *ex, shoal_rope_style style, float *x, const float *cs, size_t T,
                size_t heads, size_t E, bool inverse)
{
    rope_job j = {style, x, cs, heads, E, inverse};
    shoal_parallel_for(ex->pool, T, row_grain(heads * E), rope_rows, &j);
}

/* ---- gated units -------------------------------------------------------------------------------
 */

typedef struct elementwise_job {
    const shoal_table *k;
    const float *a, *b, *dy;
    float *out, *out2;
    float cap;
    size_t width; /* of a row */
} elementwise_job;

void shoal_swiglu_c(const float *g, const float *u, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = g[i] / (1.0f + shoal_expf(-g[i])) * u[i];
    }
}

/* With s = sigmoid(g):  du = dy * g * s,  dg = dy * u * s * (1 + g * (1 - s)). */
void shoal_swiglu_grad_c(const float *g, const float *u, const float *dy, size_t n, float *dg,
                         float *du)
{
    for (size_t i = 0; i < n; i++) {
        float gi = g[i], d = dy[i];
        float s = 1.0f / (1.0f + shoal_expf(-gi));
        float slope = s * (1.0f + gi * (1.0f - s));
        float to_gate = d * u[i] * slope;
        du[i] = d * (gi * s);
        dg[i] = to_gate;
    }
}

static void swiglu_range(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const elementwise_job *j = ctx;
    j->k->swiglu(j->a + begin, j->b + begin, end - begin, j->out + begin);
}

void shoal_swiglu_fwd(const shoal_exec *ex, const float *g, const float *u, size_t n, float *y)
{
    elementwise_job j = {.k = ex->table, .a = g, .b = u, .out = y};
    shoal_parallel_for(ex->pool, n, RANGE_VALUES, swiglu_range, &j);
}

static void swiglu_grad_range(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const elementwise_job *j = ctx;
    j->k->swiglu_grad(j->a + begin, j->b + begin, j->dy + begin, end - begin, j->out + begin,
                      j->out2 + begin);
}

void shoal_swiglu_bwd(const shoal_exec *ex, const float *g, const float *u, const float *dy,
                      size_t n, float *dg, float *du)
{
    elementwise_job j = {.k = ex->table, .a = g, .b = u, .dy = dy, .out = dg, .out2 = du};
    shoal_parallel_for(ex->pool, n, RANGE_VALUES, swiglu_grad_range, &j);
}

/* s = sigmoid(z), z = 2 sqrt(2 / pi) (x + 0.044715 x^3): gelu(x) = x s. `slope`, when not NULL,
 * gets gelu'(x) = s + x s (1 - s) z'. */
static inline float gelu_weight(float x, float *slope)
{
    float t = x < -SHOAL_GELU_FAR ? -SHOAL_GELU_FAR : x;
    t = t > SHOAL_GELU_FAR ? SHOAL_GELU_FAR : t;
    float square = t * t;
    float z = t * (SHOAL_GELU_LINEAR + SHOAL_GELU_CUBIC * square);
    float s = 1.0f / (1.0f + shoal_expf(-z));
    if (slope != NULL) {
        *slope = s + t * s * (1.0f - s) * (SHOAL_GELU_LINEAR + 3.0f * SHOAL_GELU_CUBIC * square);
    }
    return s;
}

void shoal_geglu_c(const float *g, const float *u, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = g[i] * gelu_weight(g[i], NULL) * u[i];
    }
}

void shoal_geglu_grad_c(const float *g, const float *u, const float *dy, size_t n, float *dg,
                        float *du)
{
    for (size_t i = 0; i < n; i++) {
        float gi = g[i], d = dy[i], slope;
        float s = gelu_weight(gi, &slope);
        float to_gate = d * u[i] * slope;
        du[i] = d * (gi * s);
        dg[i] = to_gate;
    }
}

static void geglu_range(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const elementwise_job *j = ctx;
    j->k->geglu(j->a + begin, j->b + begin, end - begin, j->out + begin);
}

void shoal_geglu_fwd(const shoal_exec *ex, const float *g, const float *u, size_t n, float *y)
{
    elementwise_job j = {.k = ex->table, .a = g, .b = u, .out = y};
    shoal_parallel_for(ex->pool, n, RANGE_VALUES, geglu_range, &j);
}

static void geglu_grad_range(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const elementwise_job *j = ctx;
    j->k->geglu_grad(j->a + begin, j->b + begin, j->dy + begin, end - begin, j->out + begin,
                     j->out2 + begin);
}

void shoal_geglu_bwd(const shoal_exec *ex, const float *g, const float *u, const float *dy,
                     size_t n, float *dg, float *du)
{
    elementwise_job j = {.k = ex->table, .a = g, .b = u, .dy = dy, .out = dg, .out2 = du};
    shoal_parallel_for(ex->pool, n, RANGE_VALUES, geglu_grad_range, &j);
}

/* ---- soft-caps --------------------------------------------------------------------------------
 */

/* tanh(t) = 1 - 2 / (1 + e^2t): an error of half a unit of 1, so of cap, in all. */
void shoal_softcap_c(const float *x, size_t n, float cap, float *y)
{
    float twice = 2.0f / cap;
    for (size_t i = 0; i < n; i++) {
        y[i] = cap * (1.0f - 2.0f / (1.0f + shoal_expf(x[i] * twice)));
    }
}

void shoal_softcap_grad_c(const float *y, size_t n, float cap, float *dy)
{
    float inv = 1.0f / cap;
    for (size_t i = 0; i < n; i++) {
        float t = y[i] * inv;
        dy[i] *= 1.0f - t * t;
    }
}

static void softcap_range(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const elementwise_job *j = ctx;
    j->k->softcap(j->a + begin, end - begin, j->cap, j->out + begin);
}

void shoal_softcap_fwd(const shoal_exec *ex, const float *x, size_t n, float cap, float *y)
{
    elementwise_job j = {.k = ex->table, .a = x, .out = y, .cap = cap};
    shoal_parallel_for(ex->pool, n, RANGE_VALUES, softcap_range, &j);
}

static void softcap_grad_range(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const elementwise_job *j = ctx;
    j->k->softcap_grad(j->a + begin, end - begin, j->cap, j->out + begin);
}

void shoal_softcap_bwd(const shoal_exec *ex, const float *y, size_t n, float cap, float *dy)
{
    elementwise_job j = {.k = ex->table, .a = y, .out = dy, .cap = cap};
    shoal_parallel_for(ex->pool, n, RANGE_VALUES, softcap_grad_range, &j);
}

/* ---- sums --------------------------------------------------------------------------------------
 */

static void add_range(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const elementwise_job *j = ctx;
    for (size_t i = begin; i < end; i++) {
        j->out[i] += j->a[i];
    }
}

void shoal_add(const shoal_exec *ex, const float *x, size_t n, float *y)
{
    elementwise_job j = {.a = x, .out = y};
    shoal_parallel_for(ex->pool, n, ADD_RANGE_VALUES, add_range, &j);
}

static void bias_rows(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const elementwise_job *j = ctx;
    for (size_t t = begin; t < end; t++) {
        float *row = j->out + t * j->width;
        for (size_t i = 0; i < j->width; i++) {
            row[i] += j->a[i];
        }
    }
}

void shoal_add_bias(const shoal_exec *ex, const float *b, size_t T, size_t M, float *y)
{
    elementwise_job j = {.a = b, .out = y, .width = M};
    shoal_parallel_for(ex->pool, T, row_grain(M), bias_rows, &j);
}
