/* lowrank.c - the pair of thin matrices of a LoRA adapter (Hu et al. 2021, section 4.1).
 *
 * B [M, R] is stored with rank innermost, which is the wrong way round for vectors of outputs, so
 * tiles of it are turned around in a small stack buffer and used for a block of rows. The forward
 * and dx run over blocks of rows; dA and dB run over tiles of their columns, each summing over the
 * rows in order, so no result depends on the number of threads.
 */
#include "kernels/kernels.h"

#include <string.h>

#include "kernels/table.h"

enum {
    ROW_GRAIN = 64,    /* rows of x a range takes: pays for turning B around once a range */
    COL_TILE = 64,     /* columns of dA and dB a range takes; widest tile of B^T */
    RANK_TILE = 32,    /* ranks of dB^T gathered at a time */
    RANK_CHUNK = 256,  /* ranks of B^T on the stack at a time */
    TILE_FLOATS = 2048 /* 8 KiB of stack */
};

typedef struct lowrank_job {
    const shoal_table *k;
    const float *A, *B, *x, *dy;
    const float *h; /* backward only: h as the forward left it */
    size_t R, N, M, T;
    float scale;
    float *h_out, *y, *dh, *dA, *dB, *dx;
} lowrank_job;

/* y [rows, M] += scale * h [rows, R] B^T. */
static void add_up(const lowrank_job *j, size_t rows, const float *h, float *y)
{
    float turned[TILE_FLOATS];
    for (size_t r0 = 0; r0 < j->R; r0 += RANK_CHUNK) {
        size_t ranks = j->R - r0 < RANK_CHUNK ? j->R - r0 : RANK_CHUNK;
        size_t width = ranks <= TILE_FLOATS / COL_TILE ? COL_TILE : TILE_FLOATS / RANK_CHUNK;
        for (size_t m = 0; m < j->M; m += width) {
            size_t cols = j->M - m < width ? j->M - m : width;
            j->k->dense_transpose(cols, ranks, j->B + m * j->R + r0, j->R, turned, width);
            j->k->dense_nn(rows, cols, ranks, j->scale, h + r0, j->R, 1, turned, width, y + m,
                           j->M);
        }
    }
}

static void forward_rows(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const lowrank_job *j = ctx;
    size_t rows = end - begin;
    float *h = j->h_out + begin * j->R;
    j->k->dense_nt(rows, j->R, j->N, j->x + begin * j->N, j->N, j->A, j->N, h, j->R);
    add_up(j, rows, h, j->y + begin * j->M);
}

void shoal_lowrank_fwd(const shoal_exec *ex, const float *A, const float *B, size_t R, size_t N,
                       size_t M, float scale, const float *x, size_t T, float *h, float *y)
{
    lowrank_job j = {.k = ex->table, .A = A, .B = B, .x = x, .R = R, .N = N, .M = M, .T = T};
    j.scale = scale;
    j.h_out = h;
    j.y = y;
    shoal_parallel_for(ex->pool, T, ROW_GRAIN, forward_rows, &j);
}

/* dh = scale * dy B, dx += dh A for a block of rows. */
static void backward_rows(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const lowrank_job *j = ctx;
    size_t rows = end - begin;
    float *dh = j->dh + begin * j->R;
    memset(dh, 0, rows * j->R * sizeof *dh);
    j->k->dense_nn(rows, j->R, j->M, j->scale, j->dy + begin * j->M, j->M, 1, j->B, j->R, dh, j->R);
    if (j->dx != NULL) {
        j->k->dense_nn(rows, j->N, j->R, 1.0f, dh, j->R, 1, j->A, j->N, j->dx + begin * j->N, j->N);
    }
}

/* dA [R, n0 .. n0 + cols) += dh^T x */
static void add_da(const lowrank_job *j, size_t n0, size_t cols)
{
    j->k->dense_nn(j->R, cols, j->T, 1.0f, j->dh, 1, j->R, j->x + n0, j->N, j->dA + n0, j->N);
}

/* dB [m0 .. m0 + cols, R] += scale * dy^T h, formed as its transpose so that vectors run over m. */
static void add_db(const lowrank_job *j, size_t m0, size_t cols)
{
    float sum[RANK_TILE * COL_TILE];
    for (size_t r0 = 0; r0 < j->R; r0 += RANK_TILE) {
        size_t ranks = j->R - r0 < RANK_TILE ? j->R - r0 : RANK_TILE;
        memset(sum, 0, ranks * COL_TILE * sizeof *sum);
        j->k->dense_nn(ranks, cols, j->T, j->scale, j->h + r0, 1, j->R, j->dy + m0, j->M, sum,
                       COL_TILE);
        for (size_t m = 0; m < cols; m++) {
            float *db = j->dB + (m0 + m) * j->R + r0;
            for (size_t r = 0; r < ranks; r++) {
                db[r] += sum[r * COL_TILE + m];
            }
        }
    }
}

/* None when A is frozen. */
static size_t tiles_of_a(const lowrank_job *j)
{
    return j->dA == NULL ? 0 : (j->N + COL_TILE - 1) / COL_TILE;
}

/* Tiles of columns: those of A first, then those of B^T. */
static void backward_tiles(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const lowrank_job *j = ctx;
    size_t tiles_a = tiles_of_a(j);
    for (size_t i = begin; i < end; i++) {
        bool in_a = i < tiles_a;
        size_t first = (in_a ? i : i - tiles_a) * COL_TILE;
        size_t width = in_a ? j->N : j->M;
        size_t cols = width - first < COL_TILE ? width - first : COL_TILE;
        if (in_a) {
            add_da(j, first, cols);
        } else {
            add_db(j, first, cols);
        }
    }
}

void shoal_lowrank_bwd(const shoal_exec *ex, const float *A, const float *B, size_t R, size_t N,
                       size_t M, float scale, const float *x, const float *h, const float *dy,
                       size_t T, float *dh, float *dA, float *dB, float *dx)
{
    lowrank_job j = {.k = ex->table, .A = A, .B = B, .R = R, .N = N, .M = M, .T = T};
    j.scale = scale;
    j.x = x;
    j.h = h;
    j.dy = dy;
    j.dh = dh;
    j.dA = dA;
    j.dB = dB;
    j.dx = dx;
    shoal_parallel_for(ex->pool, T, ROW_GRAIN, backward_rows, &j);
    size_t tiles = tiles_of_a(&j) + (M + COL_TILE - 1) / COL_TILE;
    shoal_parallel_for(ex->pool, tiles, 1, backward_tiles, &j);
}
