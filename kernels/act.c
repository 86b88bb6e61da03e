/* act.c - rows of activations, packed to 8 bit for the integer products. Layout: table.h. The
 * 16-bit kind is in gemm16.c.
 */
#include "kernels/act.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernels/gemm16.h"

static float block_peak(const float *x)
{
    float peak = 0.0f;
    for (size_t j = 0; j < SHOAL_QBLOCK; j++) {
        peak = fmaxf(peak, fabsf(x[j]));
    }
    return peak;
}

/* Packs 32 values; ds as in table.h. Rounds to nearest even, as SIMD conversions do. */
static void pack_block(const float *x, int8_t *q, float ds[2])
{
    float peak = block_peak(x);
    float scale = peak > SHOAL_ACT_PEAK_MIN ? 127.0f / peak : 0.0f;
    float d = peak > SHOAL_ACT_PEAK_MIN ? peak / 127.0f : 0.0f;
    int sum = 0;
    for (size_t j = 0; j < SHOAL_QBLOCK; j++) {
        float v = fminf(fmaxf(x[j] * scale, -127.0f), 127.0f);
        q[j] = (int8_t)lrintf(v);
        sum += q[j];
    }
    ds[0] = d;
    ds[1] = d * (float)sum;
}

void shoal_act_pack_c(const float *x, size_t n, size_t N, void *tile)
{
    int8_t *block = tile;
    for (size_t b = 0; b < N / SHOAL_QBLOCK; b++, block += n * SHOAL_ACT_BLOCK_BYTES) {
        int8_t *scales = block + n * SHOAL_QBLOCK;
        for (size_t t = 0; t < n; t++) {
            float ds[2];
            pack_block(x + t * N + b * SHOAL_QBLOCK, block + t * SHOAL_QBLOCK, ds);
            memcpy(scales + t * sizeof ds, ds, sizeof ds);
        }
    }
}

const void *shoal_act_tile(const shoal_act *a, size_t t0)
{
    return (const char *)a->packed + t0 * (a->N / SHOAL_QBLOCK) * SHOAL_ACT_BLOCK_BYTES;
}

typedef struct pack_job {
    const shoal_table *table;
    shoal_act *a;
} pack_job;

static void pack_tiles(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const pack_job *job = ctx;
    const shoal_act *a = job->a;
    for (size_t i = begin; i < end; i++) {
        size_t t0 = i * SHOAL_ACT_TILE;
        size_t n = a->T - t0 < SHOAL_ACT_TILE ? a->T - t0 : SHOAL_ACT_TILE;
        char *tile = (char *)a->packed + t0 * (a->N / SHOAL_QBLOCK) * SHOAL_ACT_BLOCK_BYTES;
        job->table->act_pack(a->x + t0 * a->N, n, a->N, tile);
    }
}

static void prepare8(const shoal_exec *ex, shoal_act *a)
{
    pack_job job = {.table = ex->table, .a = a};
    size_t tiles = (a->T + SHOAL_ACT_TILE - 1) / SHOAL_ACT_TILE;
    shoal_parallel_for(ex->pool, tiles, 1, pack_tiles, &job);
}

void shoal_act_prepare(const shoal_exec *ex, shoal_act *a, shoal_act_kind kind, const float *x,
                       size_t T, size_t N, void *packed)
{
    *a = (shoal_act){.x = x, .T = T, .N = N, .packed = packed};
    if (ex->exact) return;
    a->kind = kind == SHOAL_ACT_16BIT && ex->table->gemm16 == NULL ? SHOAL_ACT_F32 : kind;
    /* Only block formats read 8-bit rows, and their N is a multiple of the block. */
    if (a->kind == SHOAL_ACT_8BIT && N % SHOAL_QBLOCK == 0) prepare8(ex, a);
    if (a->kind == SHOAL_ACT_16BIT) shoal_act16_prepare(ex, a);
}

size_t shoal_act_bytes(shoal_act_kind kind, size_t T, size_t N)
{
    size_t bytes = 0;
    if (kind == SHOAL_ACT_8BIT) bytes = T * (N / SHOAL_QBLOCK) * SHOAL_ACT_BLOCK_BYTES;
    if (kind == SHOAL_ACT_16BIT) bytes = shoal_act16_bytes(T, N);
    return (bytes + 63) / 64 * 64;
}
