/* test_rotate.c - the rotation of updates: orthonormal, as written, undone exactly enough, and what
 * it buys a narrow ring. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "proto/codec.h"
#include "proto/rotate.h"

enum { MAX_DIM = 70000 };

static shoal_exec g_ex;
static float g_x[MAX_DIM], g_y[MAX_DIM];
static const uint8_t KEY[32] = {3, 1, 4, 1, 5};

static int open_exec(void **state)
{
    (void)state;
    return shoal_exec_open(&g_ex, NULL, SHOAL_CPU_ALL, false, NULL) == SHOAL_OK ? 0 : -1;
}

static int close_exec(void **state)
{
    (void)state;
    shoal_exec_close(&g_ex);
    return 0;
}

static void fill(float *x, size_t n, uint64_t seed)
{
    shoal_rng r = shoal_rng_init(seed);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)shoal_rng_normal(&r);
    }
}

static double norm_of(const float *x, size_t n)
{
    return sqrt(shoal_sum_squares(&g_ex, x, n));
}

static void turn(uint32_t b, float *x, size_t n)
{
    assert_int_equal(shoal_rotate(&g_ex, b, KEY, x, n, NULL), SHOAL_OK);
}

static void turn_back(uint32_t b, float *x, size_t n)
{
    assert_int_equal(shoal_rotate_back(&g_ex, b, KEY, x, n, NULL), SHOAL_OK);
}

/* Whole blocks, one left over, many left over: the length stays, nothing is lost. */
static void test_there_and_back(void **state)
{
    (void)state;
    const size_t dims[] = {1024, 1025, 2047, 4096, 5000, MAX_DIM};
    for (size_t k = 0; k < sizeof dims / sizeof dims[0]; k++) {
        for (uint32_t b = 10; shoal_rotation_valid(b, dims[k]); b += 2) {
            size_t n = dims[k];
            fill(g_x, n, b);
            memcpy(g_y, g_x, n * sizeof *g_y);
            turn(b, g_y, n);
            assert_memory_not_equal(g_x, g_y, n * sizeof *g_y);
            assert_true(fabs(norm_of(g_y, n) / norm_of(g_x, n) - 1) < 1e-7);
            turn_back(b, g_y, n);
            for (size_t i = 0; i < n; i++) {
                assert_true(fabs((double)g_y[i] - (double)g_x[i]) < 2e-6);
            }
        }
    }
}

/* Against the definition: row i of the transform is (-1)^popcount(i & j). The signs are found from
 * the columns, which one-hot vectors show. */
static void test_is_a_hadamard_transform(void **state)
{
    (void)state;
    enum { B = 1024 };
    for (size_t j = 0; j < B; j += 41) {
        memset(g_x, 0, B * sizeof *g_x);
        g_x[j] = 1;
        turn(10, g_x, B);
        float sign = g_x[0] * 32;
        assert_true(sign == 1 || sign == -1);
        for (size_t i = 0; i < B; i++) {
            unsigned odd = 0;
            for (size_t both = i & j; both != 0; both &= both - 1) {
                odd ^= 1;
            }
            assert_true(g_x[i] == (odd ? -sign : sign) / 32);
        }
    }
}

/* Half of the signs are negative, blocks have signs of their own, and so has every key. */
static void test_signs_are_random(void **state)
{
    (void)state;
    enum { N = 4096 };
    uint8_t other[32] = {9};
    int negative = 0, same_block = 0, same_key = 0;
    for (size_t j = 0; j < 1024; j++) {
        memset(g_x, 0, N * sizeof *g_x);
        g_x[j] = 1;
        g_x[1024 + j] = 1;
        memcpy(g_y, g_x, N * sizeof *g_y);
        turn(10, g_x, N);
        assert_int_equal(shoal_rotate(&g_ex, 10, other, g_y, N, NULL), SHOAL_OK);
        negative += g_x[0] < 0;
        same_block += (g_x[0] < 0) == (g_x[1024] < 0);
        same_key += (g_x[0] < 0) == (g_y[0] < 0);
    }
    assert_in_range(negative, 432, 592); /* 5 sd */
    assert_in_range(same_block, 432, 592);
    assert_in_range(same_key, 432, 592);
}

static void test_parameters(void **state)
{
    (void)state;
    assert_true(shoal_rotation_valid(0, 1));
    assert_true(shoal_rotation_valid(10, 1024));
    assert_false(shoal_rotation_valid(10, 1023));
    assert_false(shoal_rotation_valid(11, 1 << 20));
    assert_false(shoal_rotation_valid(8, 1 << 20));
    assert_true(shoal_rotation_valid(20, 1 << 20));
    assert_false(shoal_rotation_valid(22, (size_t)1 << 30));
    assert_false(shoal_rotation_valid(UINT32_MAX - 1, (size_t)1 << 30));
    assert_int_equal(shoal_rotation_fit(1000), 0);
    assert_int_equal(shoal_rotation_fit(5000), 12);
    assert_int_equal(shoal_rotation_fit(1 << 22), 16);
    assert_int_equal(shoal_rotate(&g_ex, 0, KEY, g_x, 4096, NULL), SHOAL_ERR_ARG);
    assert_int_equal(shoal_rotate(&g_ex, 10, KEY, g_x, 1000, NULL), SHOAL_ERR_ARG);
}

/* ---- in the codec ---- */

static shoal_codec codec(uint32_t dim, uint32_t bits, uint32_t rotation)
{
    shoal_codec c = {.dim = dim,
                     .ring_bits = bits,
                     .clip_norm = 1.0,
                     .weight_max = 4,
                     .n_max = 10,
                     .rotation = rotation};
    assert_int_equal(shoal_codec_fit_scale(&c, NULL), SHOAL_OK);
    return c;
}

/* Largest magnitude of a word of an encoding, as a signed value. */
static double encode(const shoal_codec *c, const float *x, uint32_t weight, uint32_t *words,
                     shoal_codec_stats *stats)
{
    uint8_t seed[32] = {8};
    shoal_codec_keys keys = {.rounding = seed, .rotation = KEY};
    assert_int_equal(shoal_codec_encode(&g_ex, c, x, weight, &keys, words, stats, NULL), SHOAL_OK);
    double largest = 0;
    for (size_t i = 0; i < c->dim; i++) {
        largest = fmax(largest, fabs((double)(int32_t)words[i]));
    }
    return largest;
}

/* L2 distance of the decoded from the coded. */
static double error_of(uint32_t bits, uint32_t rotation, const float *x, size_t n)
{
    uint32_t *words = shoal_alloc((n + 1) * sizeof *words);
    uint64_t weight = 0;
    shoal_codec_stats stats;
    shoal_codec c = codec((uint32_t)n, bits, rotation);
    (void)encode(&c, x, 4, words, &stats);
    assert_false(stats.clipped);
    assert_int_equal(stats.cut, 0);
    assert_int_equal(shoal_codec_decode(&g_ex, &c, KEY, words, g_y, &weight, NULL), SHOAL_OK);
    assert_int_equal(weight, 4);
    for (size_t i = 0; i < n; i++) {
        g_y[i] -= x[i];
    }
    shoal_free(words);
    return norm_of(g_y, n);
}

/* A dense update and one with a single coordinate come back. With blocks of 2^16 the steps of a
 * ring of 16 bits are 2^5 times as fine (sqrt(2^16) / 8), and so is the error of the dense one. */
static void test_a_narrow_ring_loses_less(void **state)
{
    (void)state;
    for (int sparse = 0; sparse < 2; sparse++) {
        fill(g_x, MAX_DIM, 4);
        if (sparse) memset(g_x + 1, 0, (MAX_DIM - 1) * sizeof *g_x);
        float scale = (float)(0.999 / norm_of(g_x, MAX_DIM));
        for (size_t i = 0; i < MAX_DIM; i++) {
            g_x[i] *= scale;
        }
        double rotated = error_of(16, 16, g_x, MAX_DIM);
        assert_true(rotated < 0.002);
        if (!sparse) assert_true(error_of(16, 0, g_x, MAX_DIM) > 25 * rotated);
    }
    assert_int_equal(codec(MAX_DIM, 16, 16).scale_log2, codec(MAX_DIM, 16, 0).scale_log2 + 5);
}

/* Spec 5.1.1, Spec 5.6.4. An update made to fall into one coordinate when it is rotated is cut to
 * the bound of the proof: the weighted sum of n_max such ones stays inside the ring. */
static void test_a_bent_update_is_cut(void **state)
{
    (void)state;
    enum { N = 5000 };
    static uint32_t words[N + 1];
    for (uint32_t bits = 16; bits <= 32; bits += 8) {
        shoal_codec c = codec(N, bits, 12);
        shoal_codec_stats stats;
        memset(g_x, 0, sizeof g_x);
        g_x[7] = 1;
        turn_back(12, g_x, N); /* so that rotating it gives the unit vector again */
        double largest = encode(&c, g_x, 4, words, &stats);
        assert_int_equal(stats.cut, 1);
        assert_true(largest * 10 < ldexp(1.0, (int)bits - 1));
        assert_true(largest * 10 > ldexp(1.0, (int)bits - 3));
        c.scale_log2++;
        assert_int_equal(shoal_codec_check(&c, NULL), SHOAL_ERR_ARG);
    }
}

/* Enormous and subnormal values: clipped before anything is added up, no infinity on the way. */
static void test_extreme_values(void **state)
{
    (void)state;
    enum { N = 2048 };
    static uint32_t words[N + 1];
    shoal_codec c = codec(N, 24, 10);
    shoal_codec_stats stats;
    for (size_t i = 0; i < N; i++) {
        g_x[i] = i % 2 == 0 ? 3e38F : -3e38F;
    }
    assert_true(encode(&c, g_x, 4, words, &stats) > 0);
    assert_true(stats.clipped);
    for (size_t i = 0; i < N; i++) {
        g_x[i] = 1e-44F;
    }
    assert_true(encode(&c, g_x, 4, words, &stats) == 0);
    assert_int_equal(words[N], 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_is_a_hadamard_transform),
        cmocka_unit_test(test_signs_are_random),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_a_narrow_ring_loses_less),
        cmocka_unit_test(test_a_bent_update_is_cut),
        cmocka_unit_test(test_extreme_values),
    };
    return cmocka_run_group_tests(tests, open_exec, close_exec);
}
