/* bench_rows.c - a training step's work beside its large products, part by part.
 *
 * Usage: bench_rows [threads] [tokens] [sample-tokens] [rank] [cpu-mask]
 * One layer of SmolLM2-135M: milliseconds (best of many runs) and, where multiply-adds are what it
 * does, 10^9 of them a second. The sum is what 30 layers cost a step, backward with recomputed
 * norms and gates included.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/kernels.h"

enum { LAYERS = 30, D = 576, KV = 192, F = 1536, HEADS = 9, KV_HEADS = 3, E = 64, RUNS = 15 };

typedef struct bench {
    shoal_exec ex;
    size_t T, sample, R;
    uint32_t *first;
    float *A, *B, *dA, *dB; /* [R, F] and [F, R] */
    float *x, *y, *dy, *dx; /* [T, F] */
    float *h, *dh;          /* [T, R] */
    float *w, *rstd, *cs, *lse, *delta;
    double sum_ms;
} bench;

typedef void part_fn(bench *b, size_t N, size_t M);

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static float *values(size_t n, uint64_t seed)
{
    float *p = shoal_alloc_aligned(n * sizeof *p);
    if (p == NULL) {
        fprintf(stderr, "error: out of memory\n");
        exit(1);
    }
    shoal_rng rng = shoal_rng_init(seed);
    for (size_t i = 0; i < n; i++) {
        p[i] = (float)(0.1 * shoal_rng_normal(&rng));
    }
    return p;
}

/* Runs a part that a layer does `times` times; `products` multiply-adds each, 0 for none. */
static void measure(bench *b, const char *what, part_fn *part, size_t N, size_t M, size_t times,
                    double products)
{
    double best = 1e9;
    for (int run = 0; run < RUNS; run++) {
        double start = now_s();
        part(b, N, M);
        double took = now_s() - start;
        best = took < best ? took : best;
    }
    b->sum_ms += 1e3 * best * (double)times;
    printf("%-28s %zu x %7.3f ms", what, times, 1e3 * best);
    if (products > 0) {
        printf("  %6.1f GMAC/s", 1e-9 * products / best);
    }
    printf("\n");
}

static void lowrank_fwd(bench *b, size_t N, size_t M)
{
    shoal_lowrank_fwd(&b->ex, b->A, b->B, b->R, N, M, 2.0f, b->x, b->T, b->h, b->y);
}

static void lowrank_bwd(bench *b, size_t N, size_t M)
{
    shoal_lowrank_bwd(&b->ex, b->A, b->B, b->R, N, M, 2.0f, b->x, b->h, b->dy, b->T, b->dh, b->dA,
                      b->dB, b->dx);
}

/* Queries, keys and values side by side in one array. */
static shoal_attn attn_of(const bench *b)
{
    return (shoal_attn){.T = b->T,
                        .H = HEADS,
                        .K = KV_HEADS,
                        .E = E,
                        .scale = 0.125f,
                        .q = b->x,
                        .k = b->x + b->T * D,
                        .v = b->x + b->T * (D + KV),
                        .kv_type = SHOAL_TYPE_F32,
                        .first = b->first};
}

static void attn_fwd(bench *b, size_t N, size_t M)
{
    (void)N, (void)M;
    shoal_attn a = attn_of(b);
    shoal_attn_fwd(&b->ex, &a, b->y, b->lse);
}

static void attn_bwd(bench *b, size_t N, size_t M)
{
    (void)N, (void)M;
    shoal_attn a = attn_of(b);
    shoal_attn_bwd(&b->ex, &a, b->y, b->lse, b->dy, b->delta, b->dx, b->dx + b->T * D,
                   b->dx + b->T * (D + KV));
}

static void norm_fwd(bench *b, size_t N, size_t M)
{
    (void)M;
    shoal_rmsnorm_fwd(&b->ex, b->x, b->w, 1e-5f, b->T, N, b->y, b->rstd);
}

static void norm_bwd(bench *b, size_t N, size_t M)
{
    (void)M;
    shoal_rmsnorm_bwd(&b->ex, b->x, b->w, b->rstd, b->dy, b->T, N, b->dx, true);
}

static void rope(bench *b, size_t N, size_t M)
{
    (void)M;
    shoal_rope(&b->ex, SHOAL_ROPE_PAIRS, b->dx, b->cs, b->T, N / E, E, false);
}

static void gate_fwd(bench *b, size_t N, size_t M)
{
    (void)M;
    shoal_swiglu_fwd(&b->ex, b->x, b->dy, b->T * N, b->y);
}

static void gate_bwd(bench *b, size_t N, size_t M)
{
    (void)M;
    shoal_swiglu_bwd(&b->ex, b->x, b->y, b->dy, b->T * N, b->dx, b->y);
}

static void add(bench *b, size_t N, size_t M)
{
    (void)M;
    shoal_add(&b->ex, b->x, b->T * N, b->dx);
}

static void lowrank_parts(bench *b)
{
    static const struct {
        const char *fwd, *bwd;
        size_t N, M, times;
    } pairs[] = {{"lowrank fwd q o", "lowrank bwd q o", D, D, 2},
                 {"lowrank fwd k v", "lowrank bwd k v", D, KV, 2},
                 {"lowrank fwd gate up", "lowrank bwd gate up", D, F, 2},
                 {"lowrank fwd down", "lowrank bwd down", F, D, 1}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        double products = (double)(b->T * b->R * (pairs[i].N + pairs[i].M));
        measure(b, pairs[i].fwd, lowrank_fwd, pairs[i].N, pairs[i].M, pairs[i].times, products);
        measure(b, pairs[i].bwd, lowrank_bwd, pairs[i].N, pairs[i].M, pairs[i].times, 2 * products);
    }
}

/* Products of attention are counted as if no tile were larger than what its rows see. */
static void attention_parts(bench *b)
{
    double seen = 0.0;
    for (size_t t = 0; t < b->T; t++) {
        seen += (double)(t - b->first[t] + 1);
    }
    measure(b, "attention fwd", attn_fwd, 0, 0, 1, 2 * seen * D);
    measure(b, "attention bwd", attn_bwd, 0, 0, 1, 5 * seen * D);
}

static void pointwise_parts(bench *b)
{
    measure(b, "rmsnorm fwd", norm_fwd, D, 0, 4, 0);
    measure(b, "rmsnorm bwd", norm_bwd, D, 0, 2, 0);
    measure(b, "rope q", rope, D, 0, 2, 0);
    measure(b, "rope k", rope, KV, 0, 2, 0);
    measure(b, "swiglu fwd", gate_fwd, F, 0, 2, 0);
    measure(b, "swiglu bwd", gate_bwd, F, 0, 1, 0);
    measure(b, "add", add, D, 0, 2, 0);
}

static size_t argument(int argc, char **argv, int i, size_t otherwise)
{
    return i < argc ? (size_t)strtoul(argv[i], NULL, 10) : otherwise;
}

static void open_arrays(bench *b)
{
    size_t T = b->T;
    b->A = values(b->R * F, 1), b->B = values(F * b->R, 2);
    b->dA = values(b->R * F, 3), b->dB = values(F * b->R, 4);
    b->x = values(T * F, 5), b->y = values(T * F, 6);
    b->dy = values(T * F, 7), b->dx = values(T * F, 8);
    b->h = values(T * b->R, 9), b->dh = values(T * b->R, 10);
    b->w = values(F, 11), b->rstd = values(T, 12), b->cs = values(T * E, 13);
    b->lse = values(T * HEADS, 14), b->delta = values(T * HEADS, 15);
    b->first = shoal_alloc(T * sizeof *b->first);
    for (size_t t = 0; t < T && b->first != NULL; t++) {
        b->first[t] = (uint32_t)(t / b->sample * b->sample);
    }
}

static void close_arrays(bench *b)
{
    float *all[] = {b->A, b->B,  b->dA, b->dB,   b->x,  b->y,   b->dy,   b->dx,
                    b->h, b->dh, b->w,  b->rstd, b->cs, b->lse, b->delta};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        shoal_free_aligned(all[i]);
    }
    shoal_free(b->first);
}

int main(int argc, char **argv)
{
    bench b = {.T = argument(argc, argv, 2, 512), .R = argument(argc, argv, 4, 8)};
    shoal_pool *pool = NULL;
    uint32_t mask = SHOAL_CPU_ALL;
    b.sample = argument(argc, argv, 3, 64);
    if ((argc > 5 && !shoal_cpu_mask_parse(argv[5], &mask)) || b.T == 0 || b.sample == 0 ||
        b.R == 0 ||
        shoal_pool_open(&pool, (unsigned)argument(argc, argv, 1, 1), NULL) != SHOAL_OK ||
        shoal_exec_open(&b.ex, pool, mask, false, NULL) != SHOAL_OK) {
        fprintf(stderr, "usage: bench_rows [threads] [tokens] [sample-tokens] [rank] [mask]\n");
        return 2;
    }
    open_arrays(&b);
    printf("kernels %s, %u threads, %zu tokens in samples of %zu, rank %zu\n",
           shoal_exec_name(&b.ex), shoal_pool_size(pool), b.T, b.sample, b.R);
    lowrank_parts(&b);
    double lowrank_ms = b.sum_ms;
    attention_parts(&b);
    double attention_ms = b.sum_ms - lowrank_ms;
    pointwise_parts(&b);
    printf("%d layers: lowrank %.1f ms, attention %.1f ms, pointwise %.1f ms, sections %llu\n",
           LAYERS, LAYERS * lowrank_ms, LAYERS * attention_ms,
           LAYERS * (b.sum_ms - lowrank_ms - attention_ms), shoal_pool_sections(pool) / RUNS);
    close_arrays(&b);
    shoal_exec_close(&b.ex);
    shoal_pool_close(pool);
    return 0;
}
