/* bench_kernels.c - speed of the matrix products on the shapes of SmolLM2-135M.
 *
 * Best of several runs, weights cycled through a working set larger than the caches (30 layers) for
 * the decode rows. Prints milliseconds, GB/s of weights read and multiply-adds a second.
 * Usage: bench_kernels [threads] [cpu-mask] [layer-type] [head-type]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/kernels.h"

enum { LAYERS = 30, D = 576, KV = 192, F = 1536, V = 49152, T_MAX = 512, PROJS = 7 };

typedef struct bench {
    shoal_exec ex;
    shoal_mat layers[LAYERS][PROJS]; /* q k v o gate up down */
    shoal_mat head;
    float *x, *y[4];
    shoal_act_kind kind; /* of groups and dx */
    void *packed;
} bench;

static const size_t shapes[PROJS][2] = {{D, D}, {KV, D}, {KV, D}, {D, D}, {F, D}, {F, D}, {D, F}};

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void *need(size_t bytes)
{
    void *p = shoal_alloc_aligned(bytes);
    if (p == NULL) {
        fprintf(stderr, "error: out of memory\n");
        exit(1);
    }
    return p;
}

static shoal_mat make_mat(shoal_rng *rng, shoal_type type, size_t rows, size_t cols)
{
    size_t row_bytes = shoal_type_row_bytes(shoal_type_get((uint32_t)type), cols);
    unsigned char *w = need(rows * row_bytes);
    float *row = need(cols * sizeof *row);
    for (size_t i = 0; i < cols; i++) {
        row[i] = (float)(0.05 * shoal_rng_normal(rng));
    }
    shoal_quantize(type, row, w, cols);
    for (size_t r = 1; r < rows; r++) {
        memcpy(w + r * row_bytes, w, row_bytes);
    }
    shoal_free_aligned(row);
    return (shoal_mat){w, type, rows, cols, row_bytes};
}

/* The same bytes in the packed form of the type, where asked for and there is one. */
static shoal_mat pack_mat(shoal_mat w, shoal_type wanted)
{
    if (wanted == w.type) return w;
    unsigned char *out = need(w.rows * w.row_bytes);
    for (size_t r = 0; r < w.rows; r += 8) {
        shoal_pack_group(wanted, (const char *)w.data + r * w.row_bytes, w.row_bytes, w.cols,
                         out + r * w.row_bytes);
    }
    w.data = out;
    w.type = wanted;
    return w;
}

static shoal_type layer_type = SHOAL_TYPE_Q4_1, head_type = SHOAL_TYPE_Q8_0;

static shoal_mat make_type(shoal_rng *rng, shoal_type type, size_t rows, size_t cols)
{
    return pack_mat(make_mat(rng, shoal_type_plain(type), rows, cols), type);
}

static double bits_of(shoal_type type)
{
    const shoal_type_info *info = shoal_type_get((uint32_t)type);
    return 8.0 * (double)info->block_bytes / (double)info->block;
}

static void bench_open(bench *b, shoal_pool *pool, uint32_t mask, bool exact)
{
    shoal_error err = {0};
    shoal_rng rng = shoal_rng_init(1);
    if (shoal_exec_open(&b->ex, pool, mask, exact, &err) != SHOAL_OK) {
        fprintf(stderr, "error: %s\n", err.msg);
        exit(1);
    }
    if (b->x != NULL) return; /* the second exec reads the same arrays */
    for (size_t l = 0; l < LAYERS; l++) {
        for (size_t p = 0; p < PROJS; p++) {
            b->layers[l][p] = make_type(&rng, layer_type, shapes[p][0], shapes[p][1]);
        }
    }
    b->head = make_type(&rng, head_type, V, D);
    b->x = need((size_t)T_MAX * F * sizeof(float));
    for (size_t i = 0; i < (size_t)T_MAX * F; i++) {
        b->x[i] = (float)shoal_rng_normal(&rng);
    }
    for (size_t i = 0; i < 4; i++) {
        b->y[i] = need((size_t)T_MAX * F * sizeof(float));
    }
    b->packed = need(shoal_act_bytes(SHOAL_ACT_16BIT, T_MAX, F));
}

/* One group of products: matrices [first, first + n) of a layer. */
static void group(bench *b, size_t layer, size_t first, size_t n, size_t T)
{
    const shoal_mat *w[4];
    for (size_t i = 0; i < n; i++) {
        w[i] = &b->layers[layer][first + i];
    }
    shoal_act a;
    shoal_act_prepare(&b->ex, &a, b->kind, b->x, T, w[0]->cols, b->packed);
    shoal_matmul(&b->ex, &a, w, b->y, n);
}

static void run_layers(bench *b, size_t T)
{
    for (size_t l = 0; l < LAYERS; l++) {
        group(b, l, 0, 3, T);
        group(b, l, 3, 1, T);
        group(b, l, 4, 2, T);
        group(b, l, 6, 1, T);
    }
}

static void run_head(bench *b, size_t T)
{
    static float *logits;
    if (logits == NULL) {
        logits = need((size_t)16 * V * sizeof(float));
    }
    const shoal_mat *w[1] = {&b->head};
    shoal_act a;
    shoal_act_prepare(&b->ex, &a, SHOAL_ACT_8BIT, b->x, T, D, b->packed);
    shoal_matmul(&b->ex, &a, w, &logits, 1);
}

/* All that a token reads. */
static void run_token(bench *b, size_t T)
{
    run_layers(b, T);
    run_head(b, T);
}

static void run_dx(bench *b, size_t T)
{
    for (size_t l = 0; l < 4; l++) {
        for (size_t p = 0; p < PROJS; p++) {
            const shoal_mat *w = &b->layers[l][p];
            shoal_act dy;
            shoal_act_prepare(&b->ex, &dy, b->kind, b->x, T, w->rows, b->packed);
            shoal_matmul_dx(&b->ex, w, &dy, b->y[0], false);
        }
    }
}

static double weights_per_layer(void)
{
    double n = 0;
    for (size_t p = 0; p < PROJS; p++) {
        n += (double)(shapes[p][0] * shapes[p][1]);
    }
    return n;
}

typedef void run_fn(bench *b, size_t T);

static void report(bench *b, const char *what, run_fn *run, size_t T, double weights, double bits)
{
    double best = 1e9;
    double begin = now_s();
    for (int i = 0; i < 3 || now_s() - begin < 0.4; i++) {
        double t = now_s();
        run(b, T);
        t = now_s() - t;
        best = t < best ? t : best;
    }
    printf("%-14s T=%-4zu %9.3f ms %8.2f GB/s %8.2f GMAC/s\n", what, T, best * 1e3,
           weights * bits / 8 / best * 1e-9, weights * (double)T / best * 1e-9);
}

int main(int argc, char **argv)
{
    static bench b;
    unsigned threads = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1;
    uint32_t mask = SHOAL_CPU_ALL;
    shoal_pool *pool = NULL;
    shoal_error err = {0};
    if ((argc > 2 && !shoal_cpu_mask_parse(argv[2], &mask)) ||
        (argc > 3 && !shoal_type_parse(argv[3], &layer_type)) ||
        (argc > 4 && !shoal_type_parse(argv[4], &head_type)) ||
        shoal_pool_open(&pool, threads, &err) != SHOAL_OK) {
        fprintf(stderr, "usage: bench_kernels [threads] [cpu-mask] [layer-type] [head-type]\n");
        return 2;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    double layer = weights_per_layer();
    if (D % shoal_type_get((uint32_t)layer_type)->block != 0 ||
        D % shoal_type_get((uint32_t)head_type)->block != 0) {
        fprintf(stderr, "error: a row of this model has %d columns, no whole blocks of that type\n",
                D);
        return 2;
    }
    double bits = bits_of(layer_type), head_bits = bits_of(head_type);
    b.kind = SHOAL_ACT_8BIT;
    bench_open(&b, pool, mask, false);
    printf("kernels %s, %u threads, layers %s, head %s\n", shoal_exec_name(&b.ex), threads,
           shoal_type_get((uint32_t)layer_type)->name, shoal_type_get((uint32_t)head_type)->name);
    for (size_t T = 1; T <= 8; T++) {
        report(&b, "layers", run_layers, T, LAYERS * layer, bits);
    }
    double all = LAYERS * layer + (double)V * D;
    double all_bits = (LAYERS * layer * bits + (double)V * D * head_bits) / all;
    for (size_t T = 1; T <= 8; T *= 2) {
        report(&b, "token", run_token, T, all, all_bits);
    }
    for (size_t T = 1; T <= 8; T *= 2) {
        report(&b, "head", run_head, T, (double)V * D, head_bits);
    }
    report(&b, "prefill", run_layers, 512, LAYERS * layer, bits);
    b.kind = SHOAL_ACT_16BIT;
    for (size_t T = 64; T <= T_MAX; T *= 2) {
        report(&b, "16 bit", run_layers, T, LAYERS * layer, bits);
        report(&b, "16-bit dx", run_dx, T, 4 * layer, bits);
    }
    shoal_exec_close(&b.ex);
    bench_open(&b, pool, mask, true);
    report(&b, "exact decode", run_layers, 1, LAYERS * layer, bits);
    report(&b, "exact prefill", run_layers, 128, LAYERS * layer, bits);
    report(&b, "dx (4 layers)", run_dx, 256, 4 * layer, bits);
    shoal_exec_close(&b.ex);
    shoal_pool_close(pool);
    return 0;
}
