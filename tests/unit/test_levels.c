/* test_levels.c - x86 levels above AVX2 give its bits, where the sums and their order are the same.
 *
 * Integer sums are exact at every level and the f32 operations come in one order, so the 8-bit
 * products must agree to the last bit; so must products and values with one order by contract.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "kernels/base/cpu.h"
#include "kernels/base/rng.h"
#include "kernels/blocks.h"
#include "kernels/table.h"
#include "tests/support/kernel_test.h"

static const shoal_type quants[] = {
    SHOAL_TYPE_Q4_0,   SHOAL_TYPE_Q4_1, SHOAL_TYPE_Q5_0, SHOAL_TYPE_Q5_1, SHOAL_TYPE_Q8_0,
    SHOAL_TYPE_IQ4_NL, SHOAL_TYPE_Q2_K, SHOAL_TYPE_Q3_K, SHOAL_TYPE_Q4_K, SHOAL_TYPE_Q5_K,
    SHOAL_TYPE_Q6_K,   SHOAL_TYPE_P4_0, SHOAL_TYPE_P4_1, SHOAL_TYPE_P8_0, SHOAL_TYPE_Q4_A,
    SHOAL_TYPE_Q6_A,   SHOAL_TYPE_P4_A, SHOAL_TYPE_P6_A};
enum { N_QUANTS = sizeof quants / sizeof quants[0], ROWS = 40, HEIGHT = 32 };

/* Tables of AVX2 and of the i-th level above it; false when there is none. */
static bool tables(size_t i, shoal_table *avx2, shoal_table *upper)
{
    shoal_table_select(avx2, SHOAL_CPU_AVX2);
    for (size_t level = 0; level < kt_levels(); level++) {
        if ((kt_level(level) & ~(uint32_t)SHOAL_CPU_AVX2) == 0 || i-- > 0) continue;
        shoal_table_select(upper, kt_level(level));
        return true;
    }
    return false;
}

/* Random rows of a type, interleaved for packed ones; the bytes of a row. */
static size_t random_rows(shoal_type type, size_t N, uint64_t seed, void *w)
{
    shoal_rng rng = shoal_rng_init(seed);
    shoal_type plain = shoal_type_plain(type);
    size_t row_bytes = shoal_type_row_bytes(shoal_type_get((uint32_t)plain), N);
    fill_weights(&rng, plain, ROWS, N, w);
    if (plain == type) return row_bytes;
    unsigned char *copy = malloc(ROWS * row_bytes);
    assert_non_null(copy);
    memcpy(copy, w, ROWS * row_bytes);
    for (size_t r = 0; r < ROWS; r += 8) {
        shoal_pack_group(type, copy + r * row_bytes, row_bytes, N,
                         (unsigned char *)w + r * row_bytes);
    }
    free(copy);
    return row_bytes;
}

/* Every number of rows and some heights of one type. */
static void compare_dots(const shoal_table *avx2, const shoal_table *upper, shoal_type type,
                         size_t N)
{
    static const size_t heights[] = {1, 2, 3, 4, 8, 13, HEIGHT};
    fenced w = fenced_open(ROWS * shoal_type_row_bytes(shoal_type_get((uint32_t)type), N));
    size_t row_bytes = random_rows(type, N, N + (size_t)type, w.p);
    size_t step = shoal_type_get((uint32_t)type)->group;
    kt_buf x = kt_buf_random(HEIGHT * N, 1, N);
    x.p[0] = 300.0f;
    for (size_t h = 0; h < sizeof heights / sizeof heights[0]; h++) {
        size_t T = heights[h];
        guarded tile = guarded_open(T * N / 32 * SHOAL_ACT_BLOCK_BYTES, 4);
        avx2->act_pack(x.p, T, N, tile.p);
        for (size_t M = step; M <= ROWS; M += step) {
            kt_buf y[2] = {kt_buf_open(T * M, 0), kt_buf_open(T * M, 3)};
            const char *from = (const char *)w.p + (ROWS - M) * row_bytes; /* up to the fence */
            avx2->dot_q8[type](from, row_bytes, M, N / 32, tile.p, T, y[0].p, M);
            upper->dot_q8[type](from, row_bytes, M, N / 32, tile.p, T, y[1].p, M);
            kt_same_bits(y[1].p, y[0].p, T * M);
            kt_buf_close(&y[0]);
            kt_buf_close(&y[1]);
        }
        guarded_close(&tile);
    }
    kt_buf_close(&x);
    fenced_close(&w);
}

static void products_have_the_bits_of_avx2(void **state)
{
    (void)state;
    shoal_table avx2, upper;
    assert_true(tables(0, &avx2, &upper));
    for (size_t i = 0; tables(i, &avx2, &upper); i++) {
        for (size_t t = 0; t < N_QUANTS; t++) {
            size_t block = shoal_type_get((uint32_t)quants[t])->block;
            compare_dots(&avx2, &upper, quants[t], block);
            compare_dots(&avx2, &upper, quants[t], block == 32 ? 416 : 768);
        }
    }
}

enum { WIDTH = 256, WIDTH_BYTES = WIDTH / 32 * SHOAL_Q8_0_BYTES }; /* the widest row */

/* 16 rows of blocks that are one byte repeated, with d = dmin = 1; the bytes of a row. */
static size_t extreme_rows(shoal_type type, int byte, unsigned char *w)
{
    static unsigned char plain_rows[16 * WIDTH_BYTES];
    shoal_type plain = shoal_type_plain(type);
    const shoal_type_info *info = shoal_type_get((uint32_t)plain);
    size_t row_bytes = shoal_type_row_bytes(info, WIDTH), at[2];
    unsigned char *to = plain == type ? w : plain_rows;
    memset(to, byte, 16 * row_bytes);
    shoal_block_scales(plain, at);
    for (size_t b = 0; b < 16 * row_bytes; b += info->block_bytes) {
        for (size_t i = 0; i < 2 && at[i] != SIZE_MAX; i++) {
            memcpy(to + b + at[i], "\x00\x3c", 2); /* 1.0 */
        }
    }
    for (size_t r = 0; plain != type && r < 16; r += 8) {
        shoal_pack_group(type, to + r * row_bytes, row_bytes, WIDTH, w + r * row_bytes);
    }
    return row_bytes;
}

static void extremes_have_the_bits_of_avx2(void **state)
{
    (void)state;
    static const int bytes[] = {0x00, 0x7f, 0x80, 0xff, 0xf0, 0x0f};
    shoal_table avx2, upper;
    static float x[2 * WIDTH], y[2][2 * 16];
    static unsigned char w[16 * WIDTH_BYTES], tile[2 * WIDTH / 32 * SHOAL_ACT_BLOCK_BYTES];
    for (size_t i = 0; i < 2 * WIDTH; i++) {
        x[i] = i % 3 != 0 && i > WIDTH ? -127.0f : 127.0f;
    }
    for (size_t k = 0; tables(k / (6 * N_QUANTS), &avx2, &upper); k++) {
        shoal_type type = quants[k / 6 % N_QUANTS];
        size_t row_bytes = extreme_rows(type, bytes[k % 6], w);
        avx2.act_pack(x, 2, WIDTH, tile);
        avx2.dot_q8[type](w, row_bytes, 16, WIDTH / 32, tile, 2, y[0], 16);
        upper.dot_q8[type](w, row_bytes, 16, WIDTH / 32, tile, 2, y[1], 16);
        kt_same_bits(y[1], y[0], 2 * 16);
    }
}

/* c (+)= a panel and c += s a b at every width up to 130 and some heights. */
static void f32_products_have_the_bits_of_avx2(void **state)
{
    (void)state;
    enum { T = 41, WIDE = 130 };
    shoal_table avx2, upper;
    for (size_t i = 0; tables(i / (WIDE + 1), &avx2, &upper); i++) {
        size_t n = i % (WIDE + 1), m = i * 7 % (T + 1), k = i * 5 % 67;
        size_t cols = n % SHOAL_PANEL + 1;
        kt_buf a = kt_buf_random(T * 70, 1, i), b = kt_buf_random(70 * WIDE, 3, i + 1);
        kt_buf y[2] = {kt_buf_random(m * n, 0, 9), kt_buf_random(m * n, 3, 9)};
        avx2.dense_nn(m, n, k, 0.7f, a.p, 70, 1, b.p, WIDE, y[0].p, n);
        upper.dense_nn(m, n, k, 0.7f, a.p, 70, 1, b.p, WIDE, y[1].p, n);
        kt_same_bits(y[1].p, y[0].p, m * n);
        kt_buf c[2] = {kt_buf_random(m * cols, 0, 8), kt_buf_random(m * cols, 5, 8)};
        avx2.gemm_panel(a.p, 70, m, b.p, k, c[0].p, cols, cols, i % 2 == 0);
        upper.gemm_panel(a.p, 70, m, b.p, k, c[1].p, cols, cols, i % 2 == 0);
        kt_same_bits(c[1].p, c[0].p, m * cols);
        for (size_t j = 0; j < 2; j++) {
            kt_buf_close(&y[j]);
            kt_buf_close(&c[j]);
        }
        kt_buf_close(&a);
        kt_buf_close(&b);
    }
}

/* y [4 n] = four results of one table on n values; x [3 n] in (-1, 1). */
static void run_values(const shoal_table *t, const float *x, size_t n, float *y)
{
    float *scaled = y + 3 * n; /* also the place of the fourth result */
    for (size_t i = 0; i < n; i++) {
        scaled[i] = 120 * x[i]; /* past both ends of exp */
    }
    t->swiglu(scaled, x + n, n, y);
    t->geglu(scaled, x + n, n, y + n);
    t->softcap(scaled, n, 30.0f, y + 2 * n);
    t->softcap_grad(y + 2 * n, n, 30.0f, y);
    t->row_softmax(scaled, n, 3.0f, 0.25f);
}

/* y [4 n] = the gradients of both gated units. */
static void run_grads(const shoal_table *t, const float *x, size_t n, float *y)
{
    t->swiglu_grad(x, x + n, x + 2 * n, n, y, y + n);
    t->geglu_grad(x, x + n, x + 2 * n, n, y + 2 * n, y + 3 * n);
}

static void values_have_the_bits_of_avx2(void **state)
{
    (void)state;
    shoal_table avx2, upper;
    for (size_t i = 0; tables(i / 131, &avx2, &upper); i++) {
        size_t n = i % 131;
        kt_buf x = kt_buf_random(3 * n, 1, i);
        kt_buf y[2] = {kt_buf_open(4 * n, 0), kt_buf_open(4 * n, 3)};
        run_values(&avx2, x.p, n, y[0].p);
        run_values(&upper, x.p, n, y[1].p);
        kt_same_bits(y[1].p, y[0].p, 4 * n);
        run_grads(&avx2, x.p, n, y[0].p);
        run_grads(&upper, x.p, n, y[1].p);
        kt_same_bits(y[1].p, y[0].p, 4 * n);
        kt_buf_close(&x);
        kt_buf_close(&y[0]);
        kt_buf_close(&y[1]);
    }
}

static void half_rows_have_the_bits_of_avx2(void **state)
{
    (void)state;
    shoal_table avx2, upper;
    for (size_t i = 0; tables(i / 131, &avx2, &upper); i++) {
        size_t n = i % 131, ld = n + 3, rows = 3;
        fenced in = fenced_open((2 * ld + n) * sizeof(uint16_t));
        uint16_t *half = in.p;
        for (size_t j = 0; j < 2 * ld + n; j++) {
            half[j] = (uint16_t)((j * 40503u + i) & 0x7bff); /* finite */
        }
        kt_buf y[2] = {kt_buf_open(rows * n, 0), kt_buf_open(rows * n, 3)};
        avx2.half_rows(half, ld, rows, n, y[0].p);
        upper.half_rows(half, ld, rows, n, y[1].p);
        kt_same_bits(y[1].p, y[0].p, rows * n);
        kt_buf_close(&y[0]);
        kt_buf_close(&y[1]);
        fenced_close(&in);
    }
}

static void streams_have_the_bits_of_avx2(void **state)
{
    (void)state;
    enum { WORDS = 1200 };
    static const uint32_t key[8] = {1, 2, 3, 4, 5, 6, 7, 0x80000000u};
    static uint32_t acc[2][WORDS];
    shoal_table avx2, upper;
    for (size_t i = 0; tables(i / WORDS, &avx2, &upper); i++) {
        size_t n = i % WORDS;
        memset(acc, (int)n, sizeof acc);
        avx2.chacha(key, (uint32_t)(n * 77777u), acc[0], n, n % 2 != 0);
        upper.chacha(key, (uint32_t)(n * 77777u), acc[1], n, n % 2 != 0);
        assert_memory_equal(acc[1], acc[0], sizeof acc[0]);
    }
}

/* The comparisons above compare something. */
static void upper_levels_replace_their_slots(void **state)
{
    (void)state;
    shoal_table avx2, upper;
    for (size_t i = 0; tables(i, &avx2, &upper); i++) {
        for (size_t t = 0; t < N_QUANTS; t++) {
            assert_true(upper.dot_q8[quants[t]] != avx2.dot_q8[quants[t]]);
        }
        bool wide = strcmp(upper.name, "avx512") == 0;
        assert_int_equal(upper.gemm_panel != avx2.gemm_panel, wide);
        assert_int_equal(upper.dense_nn != avx2.dense_nn, wide);
        assert_int_equal(upper.swiglu != avx2.swiglu, wide);
        assert_int_equal(upper.row_softmax != avx2.row_softmax, wide);
        assert_int_equal(upper.half_rows != avx2.half_rows, wide);
        assert_int_equal(upper.chacha != avx2.chacha, wide);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_have_the_bits_of_avx2),
        cmocka_unit_test(upper_levels_replace_their_slots),
        cmocka_unit_test(extremes_have_the_bits_of_avx2),
        cmocka_unit_test(f32_products_have_the_bits_of_avx2),
        cmocka_unit_test(values_have_the_bits_of_avx2),
        cmocka_unit_test(half_rows_have_the_bits_of_avx2),
        cmocka_unit_test(streams_have_the_bits_of_avx2),
    };
    if ((shoal_cpu_flags() & (SHOAL_CPU_AVXVNNI | SHOAL_CPU_AVX512)) == 0) {
        print_message("skipped: no AVX-VNNI or AVX-512 on this machine\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
