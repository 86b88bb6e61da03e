/* test_quant.c - element types, binary16, and the block formats against published vectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/cpu.h"
#include "kernels/base/rng.h"
#include "kernels/matmul.h"
#include "kernels/table.h"
#include "tests/support/guarded.h"

static const shoal_type types[] = {
    SHOAL_TYPE_F32,  SHOAL_TYPE_F16,    SHOAL_TYPE_BF16, SHOAL_TYPE_Q4_0,
    SHOAL_TYPE_Q4_1, SHOAL_TYPE_Q5_0,   SHOAL_TYPE_Q5_1, SHOAL_TYPE_Q8_0,
    SHOAL_TYPE_Q2_K, SHOAL_TYPE_Q3_K,   SHOAL_TYPE_Q4_K, SHOAL_TYPE_Q5_K,
    SHOAL_TYPE_Q6_K, SHOAL_TYPE_IQ4_NL, SHOAL_TYPE_Q4_A, SHOAL_TYPE_Q6_A};
enum { N_TYPES = sizeof types / sizeof types[0] };

static const uint32_t levels[] = {0, SHOAL_CPU_ALL};
enum { N_LEVELS = 2 };

/* ---- types ------------------------------------------------------------------------------------
 */

static void types_are_known_by_gguf_number(void **state)
{
    (void)state;
    assert_string_equal(shoal_type_get(3)->name, "Q4_1");
    assert_string_equal(shoal_type_get(8)->name, "Q8_0");
    assert_null(shoal_type_get(4));
    assert_string_equal(shoal_type_get(12)->name, "Q4_K");
    assert_string_equal(shoal_type_get(30)->name, "BF16");
    assert_null(shoal_type_get(15));
    assert_null(shoal_type_get(UINT32_MAX));
}

static void types_are_known_by_name(void **state)
{
    (void)state;
    shoal_type t = SHOAL_TYPE_F32;
    assert_true(shoal_type_parse("q4_k", &t) && t == SHOAL_TYPE_Q4_K);
    assert_true(shoal_type_parse("P8_0", &t) && t == SHOAL_TYPE_P8_0);
    assert_false(shoal_type_parse("Q4", &t));
    assert_false(shoal_type_parse("Q4_K_M", &t));
    assert_false(shoal_type_parse("", &t));
    assert_int_equal(t, SHOAL_TYPE_P8_0);
}

static void row_bytes_are_checked(void **state)
{
    (void)state;
    assert_int_equal(shoal_type_row_bytes(shoal_type_get(SHOAL_TYPE_Q4_0), 64), 36);
    assert_int_equal(shoal_type_row_bytes(shoal_type_get(SHOAL_TYPE_Q4_1), 576), 360);
    assert_int_equal(shoal_type_row_bytes(shoal_type_get(SHOAL_TYPE_Q8_0), 576), 612);
    assert_int_equal(shoal_type_row_bytes(shoal_type_get(SHOAL_TYPE_F16), 5), 10);
    assert_int_equal(shoal_type_row_bytes(shoal_type_get(SHOAL_TYPE_Q6_K), 512), 420);
    assert_int_equal(shoal_type_row_bytes(shoal_type_get(SHOAL_TYPE_Q6_K), 576), 0);
    assert_int_equal(shoal_type_row_bytes(shoal_type_get(SHOAL_TYPE_Q4_0), 33), 0);
    assert_int_equal(shoal_type_row_bytes(shoal_type_get(SHOAL_TYPE_F32), SIZE_MAX / 2), 0);
    assert_int_equal(shoal_type_row_bytes(shoal_type_get(SHOAL_TYPE_Q8_0), SIZE_MAX / 32 * 32), 0);
}

/* ---- binary16 ---------------------------------------------------------------------------------
 */

/* Value of a finite binary16 from its definition (IEEE 754-2019, 3.4). */
static double half_value(uint16_t h)
{
    int exponent = (h >> 10) & 31;
    int fraction = h & 0x3ff;
    double v = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    return (h & 0x8000) != 0 ? -v : v;
}

static void every_half_survives_a_round_trip(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = shoal_f16_to_f32((uint16_t)h);
        if ((h & 0x7c00) == 0x7c00 && (h & 0x3ff) != 0) {
            assert_true(isnan(f) && isnan(shoal_f16_to_f32(shoal_f32_to_f16(f))));
            continue;
        }
        if ((h & 0x7c00) != 0x7c00) {
            assert_true((double)f == half_value((uint16_t)h));
        }
        assert_int_equal(shoal_f32_to_f16(f), h);
    }
    assert_true(isinf(shoal_f16_to_f32(0x7c00)) && shoal_f16_to_f32(0xfc00) < 0);
}

/* Between neighbours a < b every float goes to the nearer, a tie to the even one. */
static void floats_round_to_nearest_even_half(void **state)
{
    (void)state;
    for (uint16_t h = 0; h < 0x7bff; h++) {
        float a = shoal_f16_to_f32(h);
        float b = shoal_f16_to_f32((uint16_t)(h + 1));
        float middle = a + (b - a) * 0.5f; /* exact: one bit more than a half has */
        uint16_t even = (uint16_t)(h + (h & 1));
        assert_int_equal(shoal_f32_to_f16(middle), even);
        assert_int_equal(shoal_f32_to_f16(nextafterf(middle, a)), h);
        assert_int_equal(shoal_f32_to_f16(nextafterf(middle, b)), h + 1);
        assert_int_equal(shoal_f32_to_f16(-middle), even | 0x8000);
    }
    assert_int_equal(shoal_f32_to_f16(65519.0f), 0x7bff);
    assert_int_equal(shoal_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(shoal_f32_to_f16(1e38f), 0x7c00);
    assert_int_equal(shoal_f32_to_f16(1e-30f), 0);
}

/* ---- expansion --------------------------------------------------------------------------------
 */

/* Expands `bytes` at every level and compares with `want`, bit for bit. */
static void expect_values(shoal_type type, const uint8_t *bytes, size_t n_bytes, const float *want,
                          size_t n)
{
    for (size_t i = 0; i < N_LEVELS; i++) {
        shoal_table table;
        shoal_table_select(&table, levels[i]);
        guarded in = guarded_open(n_bytes, 7);
        guarded out = guarded_open(n * sizeof(float), 4 * i);
        memcpy(in.p, bytes, n_bytes);
        table.dequant[type](in.p, 0, out.p, n);
        assert_memory_equal(out.p, want, n * sizeof(float));
        assert_true(guarded_intact(&out));
        guarded_close(&in);
        guarded_close(&out);
    }
    float *plain = malloc(n * sizeof *plain);
    shoal_dequantize(type, bytes, plain, n);
    assert_memory_equal(plain, want, n * sizeof(float));
    free(plain);
}

/* One published block (or row of halves): {"hex", "values"}. */
static void check_vector(shoal_type type, json_t *block)
{
    const char *hex = json_string_value(json_object_get(block, "hex"));
    json_t *values = json_object_get(block, "values");
    size_t n = json_array_size(values);
    size_t n_bytes = shoal_type_row_bytes(shoal_type_get((uint32_t)type), n);
    uint8_t bytes[256];
    float want[256];
    assert_true(n > 0 && n <= 256 && n_bytes <= sizeof bytes);
    assert_true(shoal_hex_decode(hex, bytes, n_bytes));
    for (size_t i = 0; i < n; i++) {
        want[i] = (float)json_number_value(json_array_get(values, i));
    }
    expect_values(type, bytes, n_bytes, want, n);
}

static void published_blocks_expand_bit_for_bit(void **state)
{
    json_t *all = json_object_get(*state, "types");
    for (size_t i = 0; i < N_TYPES; i++) {
        json_t *blocks = json_object_get(
            json_object_get(all, shoal_type_get((uint32_t)types[i])->name), "blocks");
        bool own = types[i] == SHOAL_TYPE_Q4_A || types[i] == SHOAL_TYPE_Q6_A;
        assert_true(own || types[i] == SHOAL_TYPE_F32 || json_array_size(blocks) >= 8);
        for (size_t b = 0; b < json_array_size(blocks); b++) {
            check_vector(types[i], json_array_get(blocks, b));
        }
    }
}

/* Random bytes, all lengths, unaligned: every level equals C, inside its buffer. */
static void levels_expand_alike(void **state)
{
    (void)state;
    shoal_rng rng = shoal_rng_init(11);
    for (size_t i = 0; i < N_TYPES; i++) {
        const shoal_type_info *info = shoal_type_get((uint32_t)types[i]);
        size_t most = info->block > 32 ? 3 * info->block : 130 + 5 * info->block;
        for (size_t n = info->block; n <= most; n += info->block) {
            uint8_t bytes[2048];
            float want[768];
            size_t n_bytes = shoal_type_row_bytes(info, n);
            fill_weights(&rng, types[i], 1, n, bytes);
            shoal_dequantize(types[i], bytes, want, n);
            expect_values(types[i], bytes, n_bytes, want, n);
        }
    }
}

/* A K block can be entered at any of its sub-blocks; legacy and plain rows at any block. */
static void rows_expand_from_any_sub_block(void **state)
{
    (void)state;
    shoal_rng rng = shoal_rng_init(13);
    enum { N = 768 };
    for (size_t i = 0; i < N_TYPES * N_LEVELS; i++) {
        shoal_type type = types[i / N_LEVELS];
        shoal_table table;
        shoal_table_select(&table, levels[i % N_LEVELS]);
        uint8_t bytes[N * 4];
        float whole[N], some[N];
        fill_weights(&rng, type, 1, N, bytes);
        shoal_dequantize(type, bytes, whole, N);
        shoal_mat w = {bytes, type, 1, N, shoal_type_row_bytes(shoal_type_get((uint32_t)type), N)};
        for (size_t from = 0; from < N; from += 32) {
            for (size_t n = 32; n <= N - from && n <= 320; n += 32) {
                shoal_mat_expand(&table, &w, 0, from, some, n);
                assert_memory_equal(some, whole + from, n * sizeof *some);
            }
        }
    }
}

/* The interleaved layout, byte by byte: files depend on it. */
static void packed_groups_lie_as_documented(void **state)
{
    (void)state;
    uint8_t rows[8 * 40], packed[8 * 40];
    for (size_t i = 0; i < sizeof rows; i++) {
        rows[i] = (uint8_t)(i * 7 + i / 40);
    }
    shoal_pack_group(SHOAL_TYPE_P4_1, rows, 40, 64, packed);
    for (size_t b = 0; b < 2; b++) {
        for (size_t r = 0; r < 8; r++) {
            const uint8_t *from = rows + 40 * r + 20 * b;
            const uint8_t *to = packed + 160 * b;
            assert_memory_equal(to + 2 * r, from, 2);
            assert_memory_equal(to + 16 + 2 * r, from + 2, 2);
            for (size_t j = 0; j < 4; j++) {
                assert_memory_equal(to + 32 + 32 * j + 4 * r, from + 4 + 4 * j, 4);
            }
        }
    }
    assert_int_equal(shoal_type_packed(SHOAL_TYPE_Q8_0), 252);
    assert_int_equal(shoal_type_plain(SHOAL_TYPE_P4_0), SHOAL_TYPE_Q4_0);
    assert_int_equal(shoal_type_packed(SHOAL_TYPE_Q6_K), SHOAL_TYPE_Q6_K);
    assert_int_equal(shoal_type_get(250)->group, 8);
    assert_false(shoal_type_writable(SHOAL_TYPE_P4_0));
}

/* Affine blocks by hand: s = 13 * 32 + 16 is d = 1.5. */
static void affine_blocks_mean_what_is_documented(void **state)
{
    (void)state;
    uint8_t block[26] = {0};
    float out[32];
    unsigned word = (13 * 32 + 16) << 7 | 5;
    block[0] = (uint8_t)(word & 0xff);
    block[1] = (uint8_t)(word >> 8);
    block[2 + 3] = 0xa7;  /* weight 3: 7, weight 19: 10 */
    block[18 + 3] = 0x86; /* weight 3: 2 << 4, 11: 1 << 4, 19: 0, 27: 2 << 4 */
    shoal_dequantize(SHOAL_TYPE_Q4_A, block, out, 32);
    assert_true(out[0] == (float)(1.5 * (0 - 5.0 / 8)));
    assert_true(out[3] == (float)(1.5 * (7 - 5.0 / 8)));
    assert_true(out[19] == (float)(1.5 * (10 - 5.0 / 8)));
    shoal_dequantize(SHOAL_TYPE_Q6_A, block, out, 32);
    assert_true(out[3] == (float)(1.5 * (39 - 5.0 / 2)));
    assert_true(out[11] == (float)(1.5 * (16 - 5.0 / 2)));
    assert_true(out[19] == (float)(1.5 * (10 - 5.0 / 2)));
    assert_true(out[27] == (float)(1.5 * (32 - 5.0 / 2)));
    block[0] = block[1] = 0xff;
    shoal_dequantize(SHOAL_TYPE_Q4_A, block, out, 32);
    assert_true(out[0] == (float)(-7.875 * 127 / 8));
    assert_true(shoal_type_span(SHOAL_TYPE_P4_A) == 7.875f * 15);
}

/* ---- quantisation ------------------------------------------------------------------------------
 */

/* Root mean square error of normal values, as a fraction of theirs, that a type may have: a few per
 * cent above what the search reaches. */
typedef struct quality {
    shoal_type type;
    double rms;
} quality;

static const quality qualities[] = {
    {SHOAL_TYPE_F32, 0},       {SHOAL_TYPE_F16, 0x1p-11}, {SHOAL_TYPE_BF16, 0x1p-8},
    {SHOAL_TYPE_Q4_0, 0.085},  {SHOAL_TYPE_Q4_1, 0.074},  {SHOAL_TYPE_Q5_0, 0.0425},
    {SHOAL_TYPE_Q5_1, 0.0365}, {SHOAL_TYPE_Q8_0, 0.0067}, {SHOAL_TYPE_Q4_K, 0.076},
    {SHOAL_TYPE_Q5_K, 0.039},  {SHOAL_TYPE_Q6_K, 0.0185}, {SHOAL_TYPE_Q4_A, 0.0745},
    {SHOAL_TYPE_Q6_A, 0.0185},
};
enum { N_QUALITIES = sizeof qualities / sizeof qualities[0], QUALITY_N = 256 };

static void quantisers_are_as_good_as_the_search_makes_them(void **state)
{
    (void)state;
    shoal_rng rng = shoal_rng_init(5);
    for (size_t i = 0; i < N_QUALITIES; i++) {
        double error = 0, all = 0;
        for (int round = 0; round < 210; round++) {
            float x[QUALITY_N], back[QUALITY_N];
            uint8_t row[QUALITY_N * 4];
            double sigma = pow(10, round % 5 - 2);
            sigma = fmin(sigma, 0.1 * (double)shoal_type_span(qualities[i].type));
            fill_normal(&rng, x, QUALITY_N, sigma);
            shoal_quantize(qualities[i].type, x, row, QUALITY_N);
            shoal_dequantize(qualities[i].type, row, back, QUALITY_N);
            for (size_t j = 0; j < QUALITY_N; j++) {
                double e = ((double)back[j] - (double)x[j]) / sigma;
                double v = (double)x[j] / sigma;
                if (fabs(e) > 12 * qualities[i].rms) fail_msg("type %zu: error %g", i, e);
                error += e * e;
                all += v * v;
            }
        }
        double rms = sqrt(error / all);
        if (!(rms <= qualities[i].rms)) {
            fail_msg("%s: rms %g", shoal_type_get((uint32_t)qualities[i].type)->name, rms);
        }
    }
}

/* Each type the header names can be written, and nothing else. */
static void writable_types_are_the_named_ones(void **state)
{
    (void)state;
    size_t writable = 0;
    for (size_t i = 0; i < N_TYPES; i++) {
        writable += shoal_type_writable(types[i]) ? 1 : 0;
    }
    assert_int_equal(writable, N_QUALITIES);
    for (size_t i = 0; i < N_QUALITIES; i++) {
        assert_true(shoal_type_writable(qualities[i].type));
    }
}

/* Expanded published blocks, quantised again, give the same values: these types keep a range. */
static void requantised_reference_blocks_keep_their_values(void **state)
{
    json_t *all = json_object_get(*state, "types");
    const shoal_type stable[] = {SHOAL_TYPE_Q4_1, SHOAL_TYPE_Q5_1, SHOAL_TYPE_Q8_0};
    for (size_t i = 0; i < sizeof stable / sizeof stable[0]; i++) {
        json_t *blocks = json_object_get(
            json_object_get(all, shoal_type_get((uint32_t)stable[i])->name), "blocks");
        for (size_t b = 0; b < 8; b++) {
            json_t *values = json_object_get(json_array_get(blocks, b), "values");
            float x[32], back[32], peak = 0;
            uint8_t row[34];
            for (size_t j = 0; j < 32; j++) {
                x[j] = (float)json_number_value(json_array_get(values, j));
                peak = fmaxf(peak, fabsf(x[j]));
            }
            shoal_quantize(stable[i], x, row, 32);
            shoal_dequantize(stable[i], row, back, 32);
            for (size_t j = 0; j < 32; j++) {
                assert_true(fabsf(back[j] - x[j]) <= peak * 0x1p-9f);
            }
        }
    }
}

static void odd_input_quantises_without_harm(void **state)
{
    (void)state;
    const float odd[] = {0.0f, -0.0f, 1e-45f, 3e38f, INFINITY, -INFINITY, NAN};
    for (size_t i = 0; i < N_QUALITIES; i++) {
        const shoal_type_info *info = shoal_type_get((uint32_t)qualities[i].type);
        for (size_t v = 0; v < sizeof odd / sizeof odd[0]; v++) {
            float x[256];
            guarded row = guarded_open(shoal_type_row_bytes(info, 256), 3);
            for (size_t j = 0; j < 256; j++) {
                x[j] = j % 3 == 0 ? odd[v] : 0.0f;
            }
            shoal_quantize(info->type, x, row.p, 256);
            assert_true(guarded_intact(&row));
            guarded_close(&row);
        }
    }
}

int main(void)
{
    const char *shared = getenv("SHOAL_SHARED");
    char path[1024];
    snprintf(path, sizeof path, "%s/vectors/dequant.json", shared != NULL ? shared : "../shared");
    json_t *vectors = json_load_file(path, 0, NULL);
    const struct CMUnitTest own[] = {
        cmocka_unit_test(types_are_known_by_gguf_number),
        cmocka_unit_test(types_are_known_by_name),
        cmocka_unit_test(row_bytes_are_checked),
        cmocka_unit_test(every_half_survives_a_round_trip),
        cmocka_unit_test(floats_round_to_nearest_even_half),
        cmocka_unit_test(levels_expand_alike),
        cmocka_unit_test(affine_blocks_mean_what_is_documented),
        cmocka_unit_test(packed_groups_lie_as_documented),
        cmocka_unit_test(rows_expand_from_any_sub_block),
        cmocka_unit_test(quantisers_are_as_good_as_the_search_makes_them),
        cmocka_unit_test(writable_types_are_the_named_ones),
        cmocka_unit_test(odd_input_quantises_without_harm),
    };
    const struct CMUnitTest published[] = {
        cmocka_unit_test_prestate(published_blocks_expand_bit_for_bit, vectors),
        cmocka_unit_test_prestate(requantised_reference_blocks_keep_their_values, vectors),
    };
    int failed = cmocka_run_group_tests(own, NULL, NULL);
    if (vectors == NULL) {
        fprintf(stderr, "skipped: %s is missing\n", path);
        return failed != 0 ? failed : 77;
    }
    failed += cmocka_run_group_tests(published, NULL, NULL);
    json_decref(vectors);
    return failed;
}
