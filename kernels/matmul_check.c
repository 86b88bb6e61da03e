/* matmul_check.c - self-checks of the matrix product slots: small fixed inputs, both tables.
 *
 * Shapes cover a full vector of rows and a tail, more than one block, and more than one column.
 * Bounds: a sum of n products in any order is off by at most n * eps * sum |a b| (Higham
 * 2002, 3.1); conversions and 8-bit packing must agree exactly.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/blocks.h"
#include "kernels/matmul.h"

enum {
    CHECK_ROWS = 19,    /* outputs: two vectors of 8 and a tail */
    CHECK_GROUPED = 16, /* of packed types, which have no tail */
    CHECK_N = 64,
    CHECK_T = 5,
    CHECK_WIDE = SHOAL_KBLOCK,
    CHECK_BYTES = CHECK_ROWS * SHOAL_Q6_K_BYTES /* the most bytes a checked row has */
};

/* A fixed sequence of values in [-1, 1). */
static void fill_floats(float *x, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(seed >> 8) * 0x1p-23f - 1.0f;
    }
}

/* Weights a row in the check of a type: a super-block for K types. */
static size_t check_width(shoal_type type)
{
    size_t block = shoal_type_get((uint32_t)type)->block;
    return block > CHECK_N ? block : CHECK_N;
}

/* Fixed bytes with the scales set so that weights stay below 1 in magnitude. */
static void fill_blocks(shoal_type type, uint8_t *w, size_t bytes)
{
    static const uint8_t small[2] = {0x00, 0x0c}; /* 2^-12 */
    size_t block_bytes = shoal_type_get((uint32_t)type)->block_bytes;
    size_t at[2];
    uint32_t seed = 7;
    shoal_block_scales(type, at);
    for (size_t i = 0; i < bytes; i++) {
        seed = seed * 1664525u + 1013904223u;
        w[i] = (uint8_t)(seed >> 24);
    }
    for (size_t b = 0; b < bytes; b += block_bytes) {
        for (size_t i = 0; i < 2 && at[i] != SIZE_MAX; i++) {
            memcpy(w + b + at[i], small, sizeof small);
        }
    }
}

/* Rows of fixed weights of a type; returns the bytes of a row. */
static size_t fill_weights(shoal_type type, uint8_t *w)
{
    size_t row_bytes = shoal_type_row_bytes(shoal_type_get((uint32_t)type), check_width(type));
    fill_blocks(type, w, CHECK_ROWS * row_bytes);
    return row_bytes;
}

/* |values| of both operands are at most about 1 here, so sum |a b| <= n. */
static bool close_enough(const float *a, const float *b, size_t n, size_t terms)
{
    float bound = 2.0f * (float)(terms * terms) * FLT_EPSILON;
    for (size_t i = 0; i < n; i++) {
        if (!(fabsf(a[i] - b[i]) <= bound)) return false;
    }
    return true;
}

static bool check_act_pack(const shoal_table *c, const shoal_table *t)
{
    enum { BYTES = CHECK_T * (CHECK_N / SHOAL_QBLOCK) * SHOAL_ACT_BLOCK_BYTES };
    float x[CHECK_T * CHECK_N];
    uint8_t want[BYTES];
    uint8_t got[BYTES];
    fill_floats(x, CHECK_T * CHECK_N, 1);
    c->act_pack(x, CHECK_T, CHECK_N, want);
    t->act_pack(x, CHECK_T, CHECK_N, got);
    return memcmp(want, got, BYTES) == 0;
}

static bool check_dot(const shoal_table *c, const shoal_table *t, shoal_type type)
{
    uint8_t w[CHECK_BYTES];
    uint8_t tile[CHECK_T * (CHECK_WIDE / SHOAL_QBLOCK) * SHOAL_ACT_BLOCK_BYTES];
    float x[CHECK_T * CHECK_WIDE];
    float want[CHECK_T * CHECK_ROWS];
    float got[CHECK_T * CHECK_ROWS];
    size_t row_bytes = fill_weights(type, w);
    size_t n = check_width(type);
    size_t blocks = n / SHOAL_QBLOCK;
    fill_floats(x, CHECK_T * n, 2);
    c->act_pack(x, CHECK_T, n, tile);
    c->dot_q8[type](w, row_bytes, CHECK_ROWS, blocks, tile, CHECK_T, want, CHECK_ROWS);
    t->dot_q8[type](w, row_bytes, CHECK_ROWS, blocks, tile, CHECK_T, got, CHECK_ROWS);
    return close_enough(want, got, CHECK_T * CHECK_ROWS, CHECK_N);
}

/* Two groups of a packed type: the plain type's bytes interleaved. Returns the bytes of a row. */
static size_t fill_packed(shoal_type type, uint8_t *packed)
{
    uint8_t w[CHECK_BYTES];
    size_t row_bytes = fill_weights(shoal_type_plain(type), w);
    for (size_t r = 0; r < CHECK_GROUPED; r += SHOAL_LANES) {
        shoal_pack_group(type, w + r * row_bytes, row_bytes, CHECK_N, packed + r * row_bytes);
    }
    return row_bytes;
}

static bool check_dot_packed(const shoal_table *c, const shoal_table *t, shoal_type type)
{
    uint8_t w[CHECK_BYTES], tile[CHECK_T * (CHECK_N / SHOAL_QBLOCK) * SHOAL_ACT_BLOCK_BYTES];
    float x[CHECK_T * CHECK_N], want[CHECK_T * CHECK_GROUPED], got[CHECK_T * CHECK_GROUPED];
    size_t row_bytes = fill_packed(type, w), blocks = CHECK_N / SHOAL_QBLOCK;
    fill_floats(x, CHECK_T * CHECK_N, 2);
    c->act_pack(x, CHECK_T, CHECK_N, tile);
    c->dot_q8[type](w, row_bytes, CHECK_GROUPED, blocks, tile, CHECK_T, want, CHECK_GROUPED);
    t->dot_q8[type](w, row_bytes, CHECK_GROUPED, blocks, tile, CHECK_T, got, CHECK_GROUPED);
    return close_enough(want, got, CHECK_T * CHECK_GROUPED, CHECK_N);
}

static bool check_dequant_packed(const shoal_table *c, const shoal_table *t, shoal_type type)
{
    uint8_t w[CHECK_BYTES];
    float want[CHECK_N], got[CHECK_N];
    fill_packed(type, w);
    for (size_t lane = 0; lane < SHOAL_LANES; lane++) {
        c->dequant[type](w, lane, want, CHECK_N);
        t->dequant[type](w, lane, got, CHECK_N);
        if (memcmp(want, got, sizeof want) != 0) return false;
    }
    return true;
}

static bool check_dequant(const shoal_table *c, const shoal_table *t, shoal_type type)
{
    uint8_t w[CHECK_BYTES];
    float want[CHECK_WIDE];
    float got[CHECK_WIDE];
    size_t n = check_width(type);
    fill_weights(type, w);
    c->dequant[type](w, 0, want, n);
    t->dequant[type](w, 0, got, n);
    return memcmp(want, got, n * sizeof *want) == 0;
}

static bool check_panel(const shoal_table *c, const shoal_table *t)
{
    enum { K = 19, N = 13 };
    float rows[N * K];
    float want[K * SHOAL_PANEL];
    float got[K * SHOAL_PANEL];
    fill_floats(rows, N * K, 3);
    c->panel(rows, K, N, K, want);
    t->panel(rows, K, N, K, got);
    return memcmp(want, got, sizeof want) == 0;
}

static bool check_gemm_panel(const shoal_table *c, const shoal_table *t)
{
    enum { K = 33, T = 8, COLS = 13 };
    float a[T * K];
    float panel[K * SHOAL_PANEL];
    float want[T * COLS];
    float got[T * COLS];
    fill_floats(a, T * K, 4);
    fill_floats(panel, K * SHOAL_PANEL, 5);
    fill_floats(want, T * COLS, 6);
    memcpy(got, want, sizeof got);
    c->gemm_panel(a, K, T, panel, K, want, COLS, COLS, true);
    t->gemm_panel(a, K, T, panel, K, got, COLS, COLS, true);
    return close_enough(want, got, T * COLS, K);
}

/* The chain of a 16-bit product, from f32 to f32: every step has the same bits at all levels. The
 * last slot may be NULL: the level multiplies in f32. */
static bool check_16bit(const shoal_table *c, const shoal_table *t)
{
    enum { T = 7, K = 21 };
    float x[T * K], w[SHOAL_PANEL * K], scales[2][T];
    int16_t codes[2][T * (K + 1)];
    float y[2][T * SHOAL_PANEL] = {{0}};
    fill_floats(x, T * K, 1);
    fill_floats(w, SHOAL_PANEL * K, 2);
    for (size_t i = 0; i < 2; i++) {
        const shoal_table *level = i == 0 ? c : t;
        shoal_panel16 panel;
        level->pack16(x, K, T, K, codes[i], scales[i]);
        level->panel16_rows(w, K, SHOAL_PANEL, K, &panel);
        shoal_sums16 sums = {y[i], y[i], SHOAL_PANEL, SHOAL_PANEL};
        c->gemm16(codes[i], scales[i], T, &panel, K, sums, SHOAL_PANEL);
        level->panel16_cols(w, SHOAL_PANEL, SHOAL_PANEL, K, &panel);
        if (t->gemm16 == NULL) continue;
        level->gemm16(codes[i], scales[i], T, &panel, K, sums, SHOAL_PANEL);
    }
    return memcmp(codes[0], codes[1], sizeof codes[0]) == 0 &&
           memcmp(scales[0], scales[1], sizeof scales[0]) == 0 &&
           memcmp(y[0], y[1], sizeof y[0]) == 0;
}

#define TYPE_CHECKS(type)                                                        \
    static bool check_dot_##type(const shoal_table *c, const shoal_table *t)     \
    {                                                                            \
        return check_dot(c, t, SHOAL_TYPE_##type);                               \
    }                                                                            \
    static bool check_dequant_##type(const shoal_table *c, const shoal_table *t) \
    {                                                                            \
        return check_dequant(c, t, SHOAL_TYPE_##type);                           \
    }

TYPE_CHECKS(Q4_0)
TYPE_CHECKS(Q4_1)
TYPE_CHECKS(Q5_0)
TYPE_CHECKS(Q5_1)
TYPE_CHECKS(Q8_0)
TYPE_CHECKS(IQ4_NL)
TYPE_CHECKS(Q4_A)
TYPE_CHECKS(Q6_A)
TYPE_CHECKS(Q2_K)
TYPE_CHECKS(Q3_K)
TYPE_CHECKS(Q4_K)
TYPE_CHECKS(Q5_K)
TYPE_CHECKS(Q6_K)

static bool check_dequant_F16(const shoal_table *c, const shoal_table *t)
{
    return check_dequant(c, t, SHOAL_TYPE_F16);
}

static bool check_dequant_BF16(const shoal_table *c, const shoal_table *t)
{
    return check_dequant(c, t, SHOAL_TYPE_BF16);
}

#define PACKED_CHECK(type)                                                       \
    static bool check_dot_##type(const shoal_table *c, const shoal_table *t)     \
    {                                                                            \
        return check_dot_packed(c, t, SHOAL_TYPE_##type);                        \
    }                                                                            \
    static bool check_dequant_##type(const shoal_table *c, const shoal_table *t) \
    {                                                                            \
        return check_dequant_packed(c, t, SHOAL_TYPE_##type);                    \
    }

PACKED_CHECK(P4_0)
PACKED_CHECK(P4_1)
PACKED_CHECK(P8_0)
PACKED_CHECK(P4_A)
PACKED_CHECK(P6_A)

/* The two slots a type has. */
#define TYPE_SLOTS(type)                                                                          \
    {"dot " #type, offsetof(shoal_table, dot_q8[SHOAL_TYPE_##type]), check_dot_##type},           \
    {                                                                                             \
        "dequant " #type, offsetof(shoal_table, dequant[SHOAL_TYPE_##type]), check_dequant_##type \
    }

const shoal_slot_check shoal_matmul_checks[] = {
    {"act_pack", offsetof(shoal_table, act_pack), check_act_pack},
    TYPE_SLOTS(Q4_0),
    TYPE_SLOTS(Q4_1),
    TYPE_SLOTS(Q5_0),
    TYPE_SLOTS(Q5_1),
    TYPE_SLOTS(Q8_0),
    TYPE_SLOTS(IQ4_NL),
    TYPE_SLOTS(Q4_A),
    TYPE_SLOTS(Q6_A),
    TYPE_SLOTS(Q2_K),
    TYPE_SLOTS(Q3_K),
    TYPE_SLOTS(Q4_K),
    TYPE_SLOTS(Q5_K),
    TYPE_SLOTS(Q6_K),
    TYPE_SLOTS(P4_0),
    TYPE_SLOTS(P4_1),
    TYPE_SLOTS(P8_0),
    TYPE_SLOTS(P4_A),
    TYPE_SLOTS(P6_A),
    {"dequant F16", offsetof(shoal_table, dequant[SHOAL_TYPE_F16]), check_dequant_F16},
    {"dequant BF16", offsetof(shoal_table, dequant[SHOAL_TYPE_BF16]), check_dequant_BF16},
    {"panel", offsetof(shoal_table, panel), check_panel},
    {"gemm_panel", offsetof(shoal_table, gemm_panel), check_gemm_panel},
    {"pack16", offsetof(shoal_table, pack16), check_16bit},
    {"panel16_rows", offsetof(shoal_table, panel16_rows), check_16bit},
    {"panel16_cols", offsetof(shoal_table, panel16_cols), check_16bit},
    {"gemm16", offsetof(shoal_table, gemm16), check_16bit},
    {NULL, 0, NULL},
};
