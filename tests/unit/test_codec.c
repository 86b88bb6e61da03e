/* test_codec.c - clipping, rounding, overflow proof, packing. */
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
#include "proto/sa.h"
#include "tests/support/vec_file.h"

enum { DIM = 1000 };

static shoal_exec g_ex;

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

static shoal_codec codec(uint32_t bits, double clip)
{
    shoal_codec c = {
        .dim = DIM, .ring_bits = bits, .clip_norm = clip, .weight_max = 4, .n_max = 10};
    assert_int_equal(shoal_codec_fit_scale(&c, NULL), SHOAL_OK);
    return c;
}

static shoal_status encode(const shoal_codec *c, const float *x, uint32_t weight,
                           const uint8_t seed[32], uint32_t *words, shoal_codec_stats *stats,
                           shoal_error *err)
{
    static const uint8_t signs[32] = {77};
    shoal_codec_keys keys = {.rounding = seed, .rotation = signs};
    return shoal_codec_encode(&g_ex, c, x, weight, &keys, words, stats, err);
}

static void fill(float *x, uint64_t seed, double size)
{
    shoal_rng r = shoal_rng_init(seed);
    for (size_t i = 0; i < DIM; i++) {
        x[i] = (float)(size * shoal_rng_normal(&r));
    }
}

/* A sum of 10 encodings decodes to the weighted mean within the rounding error of one unit each. */
static void test_round_trip(void **state)
{
    (void)state;
    static float x[10][DIM];
    static float mean[DIM];
    static uint32_t words[DIM + 1];
    static uint32_t sum[DIM + 1];
    shoal_codec c = codec(32, 50.0);
    memset(sum, 0, sizeof sum);
    double total = 0;
    for (size_t k = 0; k < 10; k++) {
        uint8_t seed[32] = {(uint8_t)k};
        uint32_t weight = (uint32_t)(k % 4 + 1);
        fill(x[k], k, 0.5);
        assert_int_equal(encode(&c, x[k], weight, seed, words, NULL, NULL), SHOAL_OK);
        for (size_t i = 0; i <= DIM; i++) {
            sum[i] += words[i];
        }
        total += (double)weight;
    }
    uint64_t weight_sum = 0;
    assert_int_equal(shoal_codec_decode(&g_ex, &c, NULL, sum, mean, &weight_sum, NULL), SHOAL_OK);
    assert_int_equal(weight_sum, (uint64_t)total);
    for (size_t i = 0; i < DIM; i++) {
        double want = 0;
        for (size_t k = 0; k < 10; k++) {
            want += (double)(k % 4 + 1) * (double)x[k][i] / total;
        }
        double bound = 10.0 / (ldexp(1.0, c.scale_log2) * total) + 1e-6;
        assert_true(fabs((double)mean[i] - want) <= bound);
    }
}

static void test_clips_to_the_norm(void **state)
{
    (void)state;
    static float x[DIM];
    static float mean[DIM];
    static uint32_t words[DIM + 1];
    shoal_codec c = codec(32, 1.0);
    shoal_codec_stats stats;
    uint64_t weight = 0;
    uint8_t seed[32] = {1};
    fill(x, 1, 3.0);
    assert_int_equal(encode(&c, x, 4, seed, words, &stats, NULL), SHOAL_OK);
    assert_true(stats.clipped && stats.norm > 80.0);
    assert_int_equal(shoal_codec_decode(&g_ex, &c, NULL, words, mean, &weight, NULL), SHOAL_OK);
    double norm = 0;
    for (size_t i = 0; i < DIM; i++) {
        norm += (double)mean[i] * (double)mean[i];
    }
    assert_true(fabs(sqrt(norm) - 1.0) < 1e-3);
}

/* Rounding is unbiased: the mean of many encodings of 0.3 units is 0.3 (sd of it 0.0046 / sqrt 10).
 */
static void test_rounding_is_unbiased(void **state)
{
    (void)state;
    static float x[DIM];
    static uint32_t words[DIM + 1];
    shoal_codec c = codec(20, 100.0);
    double unit = ldexp(1.0, -c.scale_log2);
    for (size_t i = 0; i < DIM; i++) {
        x[i] = (float)(0.3 * unit) * (i % 2 == 0 ? 1.0F : -1.0F);
    }
    double sum = 0;
    for (size_t k = 0; k < 10; k++) {
        uint8_t seed[32] = {9, (uint8_t)k};
        assert_int_equal(encode(&c, x, 1, seed, words, NULL, NULL), SHOAL_OK);
        for (size_t i = 0; i < DIM; i++) {
            sum += (double)(int32_t)words[i] * (i % 2 == 0 ? 1.0 : -1.0);
        }
    }
    assert_true(fabs(sum / (10.0 * DIM) - 0.3) < 0.03);
}

static void test_same_seed_same_words(void **state)
{
    (void)state;
    static float x[DIM];
    static uint32_t a[DIM + 1];
    static uint32_t b[DIM + 1];
    shoal_codec c = codec(24, 10.0);
    uint8_t seed[32] = {5};
    fill(x, 3, 0.1);
    assert_int_equal(encode(&c, x, 2, seed, a, NULL, NULL), SHOAL_OK);
    assert_int_equal(encode(&c, x, 2, seed, b, NULL, NULL), SHOAL_OK);
    assert_memory_equal(a, b, sizeof a);
    seed[0]++;
    assert_int_equal(encode(&c, x, 2, seed, b, NULL, NULL), SHOAL_OK);
    assert_memory_not_equal(a, b, sizeof a);
}

/* Spec 5.6.4 */
static void test_refuses_what_is_not_a_number(void **state)
{
    (void)state;
    static float x[DIM];
    static uint32_t words[DIM + 1];
    shoal_codec c = codec(24, 1.0);
    uint8_t seed[32] = {0};
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t k = 0; k < 3; k++) {
        fill(x, k, 0.1);
        x[DIM - 1] = bad[k];
        memset(words, 0xff, sizeof words);
        assert_int_equal(encode(&c, x, 1, seed, words, NULL, NULL), SHOAL_ERR_FORMAT);
        for (size_t i = 0; i <= DIM; i++) {
            assert_int_equal(words[i], 0);
        }
    }
    fill(x, 1, 0.1);
    assert_int_equal(encode(&c, x, 0, seed, words, NULL, NULL), SHOAL_ERR_ARG);
    assert_int_equal(encode(&c, x, 5, seed, words, NULL, NULL), SHOAL_ERR_ARG);
    /* The largest floats are finite, and their norm fits a double. */
    for (size_t i = 0; i < DIM; i++) {
        x[i] = 3e38F;
    }
    assert_int_equal(encode(&c, x, 4, seed, words, NULL, NULL), SHOAL_OK);
}

/* Spec 5.1.1. The fitted scale is the largest that cannot wrap: the worst case stays inside, one
 * more does not.
 */
static void test_overflow_is_refused(void **state)
{
    (void)state;
    static float x[DIM];
    static uint32_t words[DIM + 1];
    for (uint32_t bits = 16; bits <= 32; bits += 4) {
        shoal_codec c = codec(bits, 0.7);
        uint8_t seed[32] = {(uint8_t)bits};
        memset(x, 0, sizeof x);
        x[17] = 100.0F; /* the whole norm in one coordinate */
        assert_int_equal(encode(&c, x, 4, seed, words, NULL, NULL), SHOAL_OK);
        assert_true((int64_t)words[17] * 10 < (int64_t)1 << (bits - 1));
        c.scale_log2++;
        assert_int_equal(shoal_codec_check(&c, NULL), SHOAL_ERR_ARG);
    }
    shoal_codec c = codec(16, 1.0);
    c.weight_max = 1u << 20;
    assert_int_equal(shoal_codec_fit_scale(&c, NULL), SHOAL_ERR_ARG);
    c = codec(16, 1.0);
    c.ring_bits = 33;
    assert_int_equal(shoal_codec_check(&c, NULL), SHOAL_ERR_ARG);
    c.ring_bits = 32;
    c.clip_norm = NAN;
    assert_int_equal(shoal_codec_check(&c, NULL), SHOAL_ERR_ARG);
}

static void test_packing(void **state)
{
    (void)state;
    uint32_t words[77];
    uint32_t back[77];
    uint8_t packed[4 * 77];
    shoal_rng r = shoal_rng_init(4);
    shoal_exec ex;
    assert_int_equal(shoal_exec_open(&ex, NULL, SHOAL_CPU_ALL, false, NULL), SHOAL_OK);
    for (uint32_t bits = 16; bits <= 32; bits++) {
        uint32_t mask = bits == 32 ? UINT32_MAX : (1u << bits) - 1u;
        for (size_t n = 0; n <= 77; n++) {
            size_t bytes = shoal_packed_bytes(n, bits);
            assert_int_equal(bytes, (n * bits + 7) / 8);
            for (size_t i = 0; i < n; i++) {
                words[i] = (uint32_t)shoal_rng_u64(&r);
            }
            shoal_pack(words, n, bits, packed);
            memset(back, 0, sizeof back);
            assert_int_equal(shoal_packed_add(&ex, packed, bytes, n, bits, back, NULL), SHOAL_OK);
            for (size_t i = 0; i < n; i++) {
                assert_int_equal(back[i], words[i] & mask);
            }
            assert_int_equal(shoal_packed_add(&ex, packed, bytes, n, bits, back, NULL), SHOAL_OK);
            for (size_t i = 0; i < n; i++) {
                assert_int_equal(back[i] & mask, (2 * words[i]) & mask);
            }
            memcpy(words, back, sizeof words);
            assert_int_equal(shoal_packed_add(&ex, packed, bytes + 1, n, bits, back, NULL),
                             SHOAL_ERR_FORMAT);
            if (n * bits % 8 != 0) {
                packed[bytes - 1] |= 0x80;
                assert_int_equal(shoal_packed_add(&ex, packed, bytes, n, bits, back, NULL),
                                 SHOAL_ERR_FORMAT);
            }
            assert_memory_equal(words, back, sizeof words);
        }
    }
    shoal_exec_close(&ex);
}

static void load_key(vec_file *f, uint32_t words[8])
{
    uint8_t key[32];
    vec_bytes(f, key, sizeof key);
    shoal_cursor c = shoal_cursor_init(key, sizeof key);
    for (size_t i = 0; i < 8; i++) {
        words[i] = shoal_cursor_u32(&c);
    }
}

/* What `n` 32-bit values are, byte by byte, is in the next field of the line. */
static void check_hash(vec_file *f, const void *values, size_t n)
{
    uint8_t want[32], got[32];
    vec_bytes(f, want, sizeof want);
    assert_int_equal(shoal_sha256(values, n * 4, got, NULL), SHOAL_OK);
    assert_memory_equal(got, want, sizeof got);
}

/* One case: the finest scale that fits, the words, the mean. */
static void check_vector(vec_file *f)
{
    uint32_t v[8], key[8];
    uint8_t clip[8], ctx[32], seed[32], signs[32];
    uint64_t weight = 0;
    for (size_t k = 0; k < 8; k++) {
        v[k] = (uint32_t)vec_number(f);
    }
    vec_bytes(f, clip, sizeof clip);
    vec_bytes(f, ctx, sizeof ctx);
    vec_bytes(f, seed, sizeof seed);
    load_key(f, key);
    shoal_codec c = {
        .dim = v[0], .ring_bits = v[1], .weight_max = v[3], .n_max = v[4], .rotation = v[5]};
    memcpy(&c.clip_norm, clip, sizeof clip);
    assert_int_equal(shoal_codec_fit_scale(&c, NULL), SHOAL_OK);
    assert_int_equal(c.scale_log2 + 100, v[2]);
    uint32_t *words = shoal_calloc(c.dim + 1, sizeof *words);
    float *x = shoal_calloc(c.dim, sizeof *x);
    assert_true(shoal_chacha_add(&g_ex, key, 0, words, c.dim, false));
    for (size_t i = 0; i < c.dim; i++) {
        x[i] = (float)ldexp((double)(int32_t)words[i], -(int)v[7]);
    }
    assert_int_equal(shoal_sa_rotation_key(ctx, signs, NULL), SHOAL_OK);
    shoal_codec_keys keys = {.rounding = seed, .rotation = signs};
    assert_int_equal(shoal_codec_encode(&g_ex, &c, x, v[6], &keys, words, NULL, NULL), SHOAL_OK);
    check_hash(f, words, c.dim + 1);
    assert_int_equal(shoal_codec_decode(&g_ex, &c, signs, words, x, &weight, NULL), SHOAL_OK);
    assert_int_equal(weight, v[6]);
    check_hash(f, x, c.dim);
    shoal_free(words);
    shoal_free(x);
}

/* The reference's words and means, bit for bit: Spec 5.6.4, Spec 5.6.5, Spec 5.6.6. */
static void test_vectors(void **state)
{
    (void)state;
    vec_file f;
    size_t rows = 0;
    if (!vec_open(&f, "tests/kat/codec.vec")) skip();
    for (; vec_next_line(&f); rows++) {
        check_vector(&f);
    }
    vec_close(&f);
    assert_int_equal(rows, 11);
}

static void test_impossible_weight(void **state)
{
    (void)state;
    static uint32_t sum[DIM + 1];
    static float mean[DIM];
    uint64_t weight = 0;
    shoal_codec c = codec(24, 1.0);
    sum[DIM] = 0;
    assert_int_equal(shoal_codec_decode(&g_ex, &c, NULL, sum, mean, &weight, NULL),
                     SHOAL_ERR_FORMAT);
    sum[DIM] = 41;
    assert_int_equal(shoal_codec_decode(&g_ex, &c, NULL, sum, mean, &weight, NULL),
                     SHOAL_ERR_FORMAT);
    sum[DIM] = 0xffffff;
    assert_int_equal(shoal_codec_decode(&g_ex, &c, NULL, sum, mean, &weight, NULL),
                     SHOAL_ERR_FORMAT);
    sum[DIM] = 40;
    assert_int_equal(shoal_codec_decode(&g_ex, &c, NULL, sum, mean, &weight, NULL), SHOAL_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_clips_to_the_norm),
        cmocka_unit_test(test_rounding_is_unbiased),
        cmocka_unit_test(test_same_seed_same_words),
        cmocka_unit_test(test_refuses_what_is_not_a_number),
        cmocka_unit_test(test_overflow_is_refused),
        cmocka_unit_test(test_packing),
        cmocka_unit_test(test_impossible_weight),
        cmocka_unit_test(test_vectors),
    };
    return cmocka_run_group_tests(tests, open_exec, close_exec);
}
