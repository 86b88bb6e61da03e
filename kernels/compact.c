/* compact.c - arrays of f32 that are put away in fewer bytes, and taken out again.
 *
 * Binary16, or blocks of 32 codes in 8 bits under one binary16 scale (Q8_0). Unlike shoal_quantize,
 * which makes files and searches for the best scale, this is fast, and what is too large for a
 * binary16 becomes its largest number instead of infinity.
 */
#include "kernels/compact.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernels/blocks.h"
#include "kernels/kernels.h"
#include "kernels/matmul.h"

enum { RANGE = 8192 }; /* values of a parallel range: whole blocks */

static float clamp_half(float v)
{
    v = v > SHOAL_HALF_MAX ? SHOAL_HALF_MAX : v;
    return v < -SHOAL_HALF_MAX ? -SHOAL_HALF_MAX : v;
}

void shoal_half_pack_c(const float *x, size_t n, uint16_t *out)
{
    float part[SHOAL_QBLOCK];
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK) {
        size_t m = n - i < SHOAL_QBLOCK ? n - i : SHOAL_QBLOCK;
        for (size_t j = 0; j < m; j++) {
            part[j] = clamp_half(x[i + j]);
        }
        shoal_halves_store(part, (uint8_t *)(out + i), m);
    }
}

void shoal_q8_pack_c(const float *x, size_t blocks, uint8_t *out)
{
    for (; blocks > 0; blocks--, x += SHOAL_QBLOCK, out += SHOAL_Q8_0_BYTES) {
        float peak = 0.0f;
        for (size_t j = 0; j < SHOAL_QBLOCK; j++) {
            peak = fmaxf(peak, fabsf(x[j]));
        }
        shoal_store_f16(out, clamp_half(peak / 127.0f));
        float d = shoal_load_f16(out);
        float scale = d > 0.0f ? 1.0f / d : 0.0f;
        for (size_t j = 0; j < SHOAL_QBLOCK; j++) {
            float v = fminf(fmaxf(x[j] * scale, -127.0f), 127.0f);
            out[2 + j] = (uint8_t)(int8_t)lrintf(v);
        }
    }
}

void shoal_compact_init_c(shoal_table *t)
{
    t->half_pack = shoal_half_pack_c;
    t->q8_pack = shoal_q8_pack_c;
}

/* Bytes of n values, and so where value n lies. */
size_t shoal_compact_bytes(shoal_type type, size_t n)
{
    switch (type) {
    case SHOAL_TYPE_F16: return n * sizeof(uint16_t);
    case SHOAL_TYPE_Q8_0: return (n + SHOAL_QBLOCK - 1) / SHOAL_QBLOCK * SHOAL_Q8_0_BYTES;
    default: return n * sizeof(float);
    }
}

typedef struct compact_job {
    const shoal_table *k;
    shoal_type type;
    const float *x;
    const uint8_t *in;
    float *to;
    uint8_t *out;
    size_t n;
} compact_job;

/* Range i of n values is [*from, *from + the result). */
static size_t range_at(const compact_job *j, size_t i, size_t *from)
{
    *from = i * RANGE;
    return j->n - *from < RANGE ? j->n - *from : RANGE;
}

static void pack_q8(const shoal_table *k, const float *x, size_t n, uint8_t *out)
{
    size_t whole = n / SHOAL_QBLOCK;
    k->q8_pack(x, whole, out);
    if (n % SHOAL_QBLOCK != 0) {
        float rest[SHOAL_QBLOCK] = {0};
        memcpy(rest, x + whole * SHOAL_QBLOCK, n % SHOAL_QBLOCK * sizeof *x);
        k->q8_pack(rest, 1, out + whole * SHOAL_Q8_0_BYTES);
    }
}

static void unpack_q8(const shoal_table *k, const uint8_t *in, size_t n, float *x)
{
    size_t whole = n - n % SHOAL_QBLOCK;
    k->dequant[SHOAL_TYPE_Q8_0](in, 0, x, whole);
    if (n > whole) {
        float rest[SHOAL_QBLOCK];
        in += shoal_compact_bytes(SHOAL_TYPE_Q8_0, whole);
        k->dequant[SHOAL_TYPE_Q8_0](in, 0, rest, SHOAL_QBLOCK);
        memcpy(x + whole, rest, (n - whole) * sizeof *x);
    }
}

static void pack_ranges(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const compact_job *j = ctx;
    for (size_t i = begin; i < end; i++) {
        size_t from = 0;
        size_t n = range_at(j, i, &from);
        uint8_t *out = j->out + shoal_compact_bytes(j->type, from);
        switch (j->type) {
        case SHOAL_TYPE_F16: j->k->half_pack(j->x + from, n, (uint16_t *)(void *)out); break;
        case SHOAL_TYPE_Q8_0: pack_q8(j->k, j->x + from, n, out); break;
        default: memcpy(out, j->x + from, n * sizeof *j->x); break;
        }
    }
}

static void unpack_ranges(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const compact_job *j = ctx;
    for (size_t i = begin; i < end; i++) {
        size_t from = 0;
        size_t n = range_at(j, i, &from);
        const uint8_t *in = j->in + shoal_compact_bytes(j->type, from);
        switch (j->type) {
        case SHOAL_TYPE_F16: j->k->dequant[SHOAL_TYPE_F16](in, 0, j->to + from, n); break;
        case SHOAL_TYPE_Q8_0: unpack_q8(j->k, in, n, j->to + from); break;
        default: memcpy(j->to + from, in, n * sizeof *j->to); break;
        }
    }
}

void shoal_compact(const shoal_exec *ex, shoal_type type, const float *x, size_t n, void *out)
{
    assert(type == SHOAL_TYPE_F32 || type == SHOAL_TYPE_F16 || type == SHOAL_TYPE_Q8_0);
    compact_job j = {.k = ex->table, .type = type, .x = x, .out = out, .n = n};
    shoal_parallel_for(ex->pool, (n + RANGE - 1) / RANGE, 1, pack_ranges, &j);
}

void shoal_compact_expand(const shoal_exec *ex, shoal_type type, const void *in, size_t n, float *x)
{
    assert(type == SHOAL_TYPE_F32 || type == SHOAL_TYPE_F16 || type == SHOAL_TYPE_Q8_0);
    compact_job j = {.k = ex->table, .type = type, .in = in, .to = x, .n = n};
    shoal_parallel_for(ex->pool, (n + RANGE - 1) / RANGE, 1, unpack_ranges, &j);
}
