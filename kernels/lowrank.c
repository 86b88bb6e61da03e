/* lowrank.c - the pair of thin matrices of a LoRA adapter (Hu et al. 2021, section 4.1).
 *
 * B [M, R] is stored with rank innermost, which is the wrong way round for vectors of outputs, so
 * tiles of it are turned around in a small stack buffer and used for a block of rows. The forward
 * and dx run over blocks of rows; dA and dB run over tiles of their columns, each summing over the
 * rows in order, so no result depends on the number of threads. Under dropout x is thinned into a
 * worker's scratch, a few rows or a tile of columns at a time.
 */
#include "kernels/kernels.h"

#include <string.h>

#include "kernels/lowrank.h"

enum {
    ROW_GRAIN = 64,    /* rows of x a range takes: pays for turning B around once a range */
    COL_TILE = 64,     /* columns of dA and dB a range takes; widest tile of B^T */
    RANK_TILE = 32,    /* ranks of dB^T gathered at a time */
    RANK_CHUNK = 256,  /* ranks of B^T on the stack at a time */
    TILE_FLOATS = 2048 /* 8 KiB of stack */
};

_Static_assert((size_t)SHOAL_DROPOUT_MAX_COLS <= SHOAL_SCRATCH_FLOATS,
               "a thinned row fits into scratch");
_Static_assert(COL_TILE % SHOAL_DROPOUT_BLOCK == 0, "tiles of dA begin where bits are drawn");

typedef struct lowrank_job {
    const shoal_exec *ex;
    const shoal_table *k;
    const shoal_dropout *drop; /* NULL: none */
    const float *A, *B, *x, *dy;
    const float *h; /* backward only: h as the forward left it */
    size_t R, N, M, T;
    float scale;
    float *h_out, *y, *dh, *dA, *dB, *dx;
} lowrank_job;

void shoal_lowrank_add(const shoal_table *t, size_t T, size_t M, size_t R, float scale,
                       const float *h, const float *B, float *y, size_t ldy)
{
    float turned[TILE_FLOATS];
    for (size_t r0 = 0; r0 < R; r0 += RANK_CHUNK) {
        size_t ranks = R - r0 < RANK_CHUNK ? R - r0 : RANK_CHUNK;
        size_t width = ranks <= TILE_FLOATS / COL_TILE ? COL_TILE : TILE_FLOATS / RANK_CHUNK;
        for (size_t m = 0; m < M; m += width) {
            size_t cols = M - m < width ? M - m : width;
            t->dense_transpose(cols, ranks, B + m * R + r0, R, turned, width);
            t->dense_nn(T, cols, ranks, scale, h + r0, R, 1, turned, width, y + m, ldy);
        }
    }
}

/* Rows of width `cols` that a worker's scratch holds, of those from t to end. */
static size_t rows_at_once(size_t cols, size_t t, size_t end)
{
    size_t most = SHOAL_SCRATCH_FLOATS / cols;
    return end - t < most ? end - t : most;
}

/* h of rows whose x is thinned. */
static void thinned_h(const lowrank_job *j, size_t begin, size_t end, float *room)
{
    size_t n = 0;
    for (size_t t = begin; t < end; t += n) {
        n = rows_at_once(j->N, t, end);
        shoal_dropout_apply(j->drop, t, n, 0, j->N, j->x + t * j->N, j->N, room, j->N);
        j->k->dense_nt(n, j->R, j->N, room, j->N, j->A, j->N, j->h_out + t * j->R, j->R);
    }
}

static void forward_rows(void *ctx, size_t begin, size_t end, unsigned worker)
{
    const lowrank_job *j = ctx;
    size_t rows = end - begin;
    float *h = j->h_out + begin * j->R;
    if (j->drop != NULL) {
        thinned_h(j, begin, end, shoal_exec_scratch(j->ex, worker));
    } else {
        j->k->dense_nt(rows, j->R, j->N, j->x + begin * j->N, j->N, j->A, j->N, h, j->R);
    }
    shoal_lowrank_add(j->k, rows, j->M, j->R, j->scale, h, j->B, j->y + begin * j->M, j->M);
}

void shoal_lowrank_fwd(const shoal_exec *ex, const float *A, const float *B, size_t R, size_t N,
                       size_t M, float scale, const float *x, size_t T, float *h, float *y)
{
    shoal_lowrank_fwd_dropout(ex, NULL, A, B, R, N, M, scale, x, T, h, y);
}

void shoal_lowrank_fwd_dropout(const shoal_exec *ex, const shoal_dropout *drop, const float *A,
                               const float *B, size_t R, size_t N, size_t M, float scale,
                               const float *x, size_t T, float *h, float *y)
{
    lowrank_job j = {.ex = ex, .k = ex->table, .A = A, .B = B, .R = R, .N = N, .M = M, .T = T};
    j.drop = drop;
    j.x = x;
    j.scale = scale;
    j.h_out = h;
    j.y = y;
    shoal_parallel_for(ex->pool, T, ROW_GRAIN, forward_rows, &j);
}

/* dx += what of dh A comes back through the mask. */
static void thinned_dx(const lowrank_job *j, size_t begin, size_t end, float *room)
{
    size_t n = 0;
    for (size_t t = begin; t < end; t += n) {
        n = rows_at_once(j->N, t, end);
        memset(room, 0, n * j->N * sizeof *room);
        j->k->dense_nn(n, j->N, j->R, 1.0f, j->dh + t * j->R, j->R, 1, j->A, j->N, room, j->N);
        shoal_dropout_add(j->drop, t, n, 0, j->N, room, j->N, j->dx + t * j->N, j->N);
    }
}

/* dh = scale * dy B, dx += dh A for a block of rows. */
static void backward_rows(void *ctx, size_t begin, size_t end, unsigned worker)
{
    const lowrank_job *j = ctx;
    size_t rows = end - begin;
    float *dh = j->dh + begin * j->R;
    memset(dh, 0, rows * j->R * sizeof *dh);
    j->k->dense_nn(rows, j->R, j->M, j->scale, j->dy + begin * j->M, j->M, 1, j->B, j->R, dh, j->R);
    if (j->dx != NULL && j->drop != NULL) {
        thinned_dx(j, begin, end, shoal_exec_scratch(j->ex, worker));
    } else if (j->dx != NULL) {
        j->k->dense_nn(rows, j->N, j->R, 1.0f, dh, j->R, 1, j->A, j->N, j->dx + begin * j->N, j->N);
    }
}

/* dA [R, n0 .. n0 + cols) += dh^T x; room is scratch for the thinned x. */
static void add_da(const lowrank_job *j, size_t n0, size_t cols, float *room)
{
    size_t n = 0;
    for (size_t t = 0; j->drop != NULL && t < j->T; t += n) {
        n = rows_at_once(COL_TILE, t, j->T);
        const float *x = j->x + t * j->N + n0;
        shoal_dropout_apply(j->drop, t, n, n0, cols, x, j->N, room, COL_TILE);
        j->k->dense_nn(j->R, cols, n, 1.0f, j->dh + t * j->R, 1, j->R, room, COL_TILE, j->dA + n0,
                       j->N);
    }
    if (j->drop != NULL) {
        return;
    }
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
    const lowrank_job *j = ctx;
    size_t tiles_a = tiles_of_a(j);
    for (size_t i = begin; i < end; i++) {
        bool in_a = i < tiles_a;
        size_t first = (in_a ? i : i - tiles_a) * COL_TILE;
        size_t width = in_a ? j->N : j->M;
        size_t cols = width - first < COL_TILE ? width - first : COL_TILE;
        if (in_a) {
            add_da(j, first, cols, shoal_exec_scratch(j->ex, worker));
        } else {
            add_db(j, first, cols);
        }
    }
}

void shoal_lowrank_bwd(const shoal_exec *ex, const float *A, const float *B, size_t R, size_t N,
                       size_t M, float scale, const float *x, const float *h, const float *dy,
                       size_t T, float *dh, float *dA, float *dB, float *dx)
{
    shoal_lowrank_bwd_dropout(ex, NULL, A, B, R, N, M, scale, x, h, dy, T, dh, dA, dB, dx);
}

void shoal_lowrank_bwd_dropout(const shoal_exec *ex, const shoal_dropout *drop, const float *A,
                               const float *B, size_t R, size_t N, size_t M, float scale,
                               const float *x, const float *h, const float *dy, size_t T, float *dh,
                               float *dA, float *dB, float *dx)
{
    lowrank_job j = {.ex = ex, .k = ex->table, .A = A, .B = B, .R = R, .N = N, .M = M, .T = T};
    j.drop = drop;
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
