/* test_arm_levels.c - NEON, dotprod and i8mm give the same bits for every format and shape.
 *
 * Block sums are exact integers and the f32 operations after them the same in one order, so neither
 * the level nor the number of rows that are computed together may change a result.
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
#include "kernels/table.h"
#include "tests/support/kernel_test.h"

static const shoal_type quants[] = {
    SHOAL_TYPE_Q4_0,   SHOAL_TYPE_Q4_1, SHOAL_TYPE_Q5_0, SHOAL_TYPE_Q5_1, SHOAL_TYPE_Q8_0,
    SHOAL_TYPE_IQ4_NL, SHOAL_TYPE_Q2_K, SHOAL_TYPE_Q3_K, SHOAL_TYPE_Q4_K, SHOAL_TYPE_Q5_K,
    SHOAL_TYPE_Q6_K,   SHOAL_TYPE_P4_0, SHOAL_TYPE_P4_1, SHOAL_TYPE_P8_0, SHOAL_TYPE_Q4_A,
    SHOAL_TYPE_Q6_A,   SHOAL_TYPE_P4_A, SHOAL_TYPE_P6_A};
enum { N_QUANTS = sizeof quants / sizeof quants[0], ROWS = 24, HEIGHT = 5, WIDTH = 512 };

typedef struct product {
    fenced w; /* a read past the last row ends the program */
    size_t row_bytes;
    shoal_type type;
} product;

/* Random rows of a type, interleaved for packed ones. */
static product product_open(shoal_type type)
{
    shoal_rng rng = shoal_rng_init((uint64_t)type);
    shoal_type plain = shoal_type_plain(type);
    product p = {.type = type};
    p.row_bytes = shoal_type_row_bytes(shoal_type_get((uint32_t)plain), WIDTH);
    p.w = fenced_open(ROWS * p.row_bytes);
    unsigned char *rows = malloc(ROWS * p.row_bytes), *to = p.w.p;
    assert_non_null(rows);
    fill_weights(&rng, plain, ROWS, WIDTH, rows);
    memcpy(to, rows, ROWS * p.row_bytes);
    for (size_t r = 0; plain != type && r < ROWS; r += 8) {
        shoal_pack_group(type, rows + r * p.row_bytes, p.row_bytes, WIDTH, to + r * p.row_bytes);
    }
    free(rows);
    return p;
}

/* y [T, M] for the last M rows of the weights, so that they end at the fence. */
static void run(const shoal_table *t, const product *p, const float *x, size_t T, size_t M,
                float *y)
{
    static unsigned char tile[HEIGHT * WIDTH / 32 * SHOAL_ACT_BLOCK_BYTES];
    const char *from = (const char *)p->w.p + (ROWS - M) * p->row_bytes;
    t->act_pack(x, T, WIDTH, tile);
    t->dot_q8[p->type](from, p->row_bytes, M, WIDTH / 32, tile, T, y, M);
}

/* want [HEIGHT, M] was computed row by row at the lowest level. */
static void compare(const shoal_table *t, const product *p, const float *x, size_t M,
                    const float *want)
{
    for (size_t T = 1; T <= HEIGHT; T++) {
        kt_buf y = kt_buf_open(T * M, 3);
        run(t, p, x, T, M, y.p);
        kt_same_bits(y.p, want, T * M);
        kt_buf_close(&y);
    }
}

static void levels_and_shapes_give_the_same_bits(void **state)
{
    (void)state;
    shoal_table neon;
    kt_buf x = kt_buf_random(HEIGHT * WIDTH, 1, 5);
    x.p[WIDTH] = 300.0f; /* an outlier */
    shoal_table_select(&neon, SHOAL_CPU_NEON);
    for (size_t i = 0; i < N_QUANTS; i++) {
        product p = product_open(quants[i]);
        size_t step = shoal_type_get((uint32_t)p.type)->group;
        for (size_t M = step; M <= ROWS; M += step > 1 ? step : 6) { /* tails of 1, 7, 5, 3 */
            float want[HEIGHT * ROWS];
            for (size_t t = 0; t < HEIGHT; t++) {
                run(&neon, &p, x.p + t * WIDTH, 1, M, want + t * M);
            }
            for (size_t level = 1; level < kt_levels(); level++) {
                shoal_table t;
                shoal_table_select(&t, kt_level(level));
                compare(&t, &p, x.p, M, want);
            }
        }
        fenced_close(&p.w);
    }
    kt_buf_close(&x);
}

/* A level that fell back to C, or to the one below, would pass the comparison. */
static void levels_bring_products_of_their_own(void **state)
{
    (void)state;
    shoal_table below, t;
    shoal_table_select(&below, 0);
    for (size_t level = 1; level < kt_levels(); level++, below = t) {
        shoal_table_select(&t, kt_level(level));
        for (size_t i = 0; i < N_QUANTS; i++) {
            assert_true(t.dot_q8[quants[i]] != below.dot_q8[quants[i]]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_and_shapes_give_the_same_bits),
        cmocka_unit_test(levels_bring_products_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
