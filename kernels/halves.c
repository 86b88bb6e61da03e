/* halves.c - arrays of rows that are put away in half the bytes, and taken out again. See halves.h.
 */
#include "kernels/halves.h"

#include <assert.h>

#include "kernels/kernels.h"
#include "kernels/matmul.h"

enum { ROW_GRAIN = 16 }; /* rows of a parallel range */

_Static_assert((size_t)SHOAL_HALVES_MAX * sizeof(uint16_t) <= SHOAL_SCRATCH_FLOATS * sizeof(float),
               "a row put away fits a worker's scratch");

float shoal_half_put_c(const float *x, size_t n, uint16_t *out)
{
    float peak = 0.0f;
    for (size_t i = 0; i < n; i++) {
        peak = fmaxf(peak, fabsf(x[i]));
    }
    int exponent = shoal_half_exponent(peak);
    float in = shoal_half_power(SHOAL_HALF_TOP - exponent);
    for (size_t i = 0; i < n; i++) {
        out[i] = shoal_f32_to_f16(x[i] * in);
    }
    return shoal_half_power(exponent - SHOAL_HALF_TOP);
}

void shoal_half_take_c(const uint16_t *in, size_t n, float scale, float *x)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = shoal_f16_to_f32(in[i]) * scale;
    }
}

typedef struct halves_job {
    const shoal_exec *ex;
    const float *x;
    float *to;
    const uint16_t *in;
    uint16_t *out;
    const float *scale;
    float *scale_out;
    size_t N;
} halves_job;

static void put_rows(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const halves_job *j = ctx;
    for (size_t t = begin; t < end; t++) {
        j->scale_out[t] = j->ex->table->half_put(j->x + t * j->N, j->N, j->out + t * j->N);
    }
}

static void take_rows(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const halves_job *j = ctx;
    for (size_t t = begin; t < end; t++) {
        j->ex->table->half_take(j->in + t * j->N, j->N, j->scale[t], j->to + t * j->N);
    }
}

static void round_rows(void *ctx, size_t begin, size_t end, unsigned worker)
{
    const halves_job *j = ctx;
    uint16_t *room = (uint16_t *)(void *)shoal_exec_scratch(j->ex, worker);
    for (size_t t = begin; t < end; t++) {
        float *x = j->to + t * j->N;
        float scale = j->ex->table->half_put(x, j->N, room);
        j->ex->table->half_take(room, j->N, scale, x);
    }
}

void shoal_halves_put(const shoal_exec *ex, const float *x, size_t T, size_t N, uint16_t *out,
                      float *scale)
{
    halves_job j = {.ex = ex, .x = x, .out = out, .scale_out = scale, .N = N};
    shoal_parallel_for(ex->pool, T, ROW_GRAIN, put_rows, &j);
}

void shoal_halves_take(const shoal_exec *ex, const uint16_t *in, const float *scale, size_t T,
                       size_t N, float *x)
{
    halves_job j = {.ex = ex, .in = in, .scale = scale, .to = x, .N = N};
    shoal_parallel_for(ex->pool, T, ROW_GRAIN, take_rows, &j);
}

void shoal_halves_round(const shoal_exec *ex, float *x, size_t T, size_t N)
{
    assert(N <= SHOAL_HALVES_MAX);
    halves_job j = {.ex = ex, .to = x, .N = N};
    shoal_parallel_for(ex->pool, T, ROW_GRAIN, round_rows, &j);
}
