/* rowops_check.c - self-check of the row slots: each replaced slot against C on one fixed input.
 *
 * This guards against a wrong build or a faulty processor, in a few microseconds at start; the unit
 * tests do the thorough comparison. Values are of order one and sums are short, so an honest
 * difference in rounding stays far below TOLERANCE.
 */
#include "kernels/table.h"

#include <math.h>
#include <string.h>

enum { LEN = 67 }; /* odd: reaches the tail code of every vector width */

static const float TOLERANCE = 1e-4f;

/* Deterministic values in (-2, 2); `salt` tells arrays apart. */
static void fill(float *x, size_t n, uint32_t salt)
{
    uint32_t state = salt * 2654435761u + 12345u;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) * (4.0f / 16777216.0f) - 2.0f;
    }
}

static bool same(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!(fabsf(a[i] - b[i]) <= TOLERANCE * (1.0f + fabsf(a[i])))) return false;
    }
    return true;
}

static bool check_nt(const shoal_table *c, const shoal_table *t)
{
    float a[5 * LEN], b[7 * LEN], y[2][5 * 7];
    fill(a, 5 * LEN, 1);
    fill(b, 7 * LEN, 2);
    c->dense_nt(5, 7, LEN, a, LEN, b, LEN, y[0], 7);
    t->dense_nt(5, 7, LEN, a, LEN, b, LEN, y[1], 7);
    return same(y[0], y[1], 5 * 7);
}

static bool check_nn(const shoal_table *c, const shoal_table *t)
{
    float a[5 * 7], b[7 * LEN], y[2][5 * LEN];
    fill(a, 5 * 7, 1);
    fill(b, 7 * LEN, 2);
    fill(y[0], 5 * LEN, 3);
    memcpy(y[1], y[0], sizeof y[0]);
    c->dense_nn(5, LEN, 7, 0.5f, a, 1, 5, b, LEN, y[0], LEN);
    t->dense_nn(5, LEN, 7, 0.5f, a, 1, 5, b, LEN, y[1], LEN);
    return same(y[0], y[1], 5 * LEN);
}

static bool check_transpose(const shoal_table *c, const shoal_table *t)
{
    float a[LEN * 9], y[2][LEN * 9];
    fill(a, LEN * 9, 1);
    c->dense_transpose(LEN, 9, a, 9, y[0], LEN);
    t->dense_transpose(LEN, 9, a, 9, y[1], LEN);
    return memcmp(y[0], y[1], sizeof y[0]) == 0;
}

static bool check_half_rows(const shoal_table *c, const shoal_table *t)
{
    uint16_t half[3 * LEN];
    float y[2][2 * LEN];
    for (size_t i = 0; i < 3 * LEN; i++) {
        half[i] = (uint16_t)(i * 151); /* 0 to 30200: subnormals up to near the largest */
    }
    c->half_rows(half, LEN + 5, 2, LEN, y[0]);
    t->half_rows(half, LEN + 5, 2, LEN, y[1]);
    return memcmp(y[0], y[1], sizeof y[0]) == 0;
}

/* A cache of WIDTH values a row in both types, and what C's dense products make of it expanded. */
enum { KEYS = 7, QUERIES = 5, WIDTH = 64 };

static bool check_scores(const shoal_table *c, shoal_type type, shoal_scores_fn *slot)
{
    uint16_t cache[KEYS * WIDTH]; /* large enough for either type */
    float x[KEYS * WIDTH], q[QUERIES * WIDTH], s[2][QUERIES * KEYS];
    size_t row = shoal_type_row_bytes(shoal_type_get(type), WIDTH);
    fill(x, KEYS * WIDTH, 1);
    fill(q, QUERIES * WIDTH, 2);
    shoal_quantize(type, x, cache, KEYS * WIDTH);
    shoal_dequantize(type, cache, x, KEYS * WIDTH);
    c->dense_nt(QUERIES, KEYS, WIDTH, q, WIDTH, x, WIDTH, s[0], KEYS);
    slot(QUERIES, KEYS, WIDTH, q, cache, row, s[1], KEYS);
    return same(s[0], s[1], QUERIES * KEYS);
}

static bool check_values(const shoal_table *c, shoal_type type, shoal_values_fn *slot)
{
    uint16_t cache[KEYS * WIDTH];
    float x[KEYS * WIDTH], w[QUERIES * KEYS], y[2][QUERIES * WIDTH];
    size_t row = shoal_type_row_bytes(shoal_type_get(type), WIDTH);
    fill(x, KEYS * WIDTH, 1);
    fill(w, QUERIES * KEYS, 2);
    fill(y[0], QUERIES * WIDTH, 3);
    memcpy(y[1], y[0], sizeof y[0]);
    shoal_quantize(type, x, cache, KEYS * WIDTH);
    shoal_dequantize(type, cache, x, KEYS * WIDTH);
    c->dense_nn(QUERIES, WIDTH, KEYS, 1.0f, w, KEYS, 1, x, WIDTH, y[0], WIDTH);
    slot(QUERIES, KEYS, WIDTH, w, KEYS, cache, row, y[1]);
    return same(y[0], y[1], QUERIES * WIDTH);
}

static bool check_scores_f16(const shoal_table *c, const shoal_table *t)
{
    return check_scores(c, SHOAL_TYPE_F16, t->scores_f16);
}

static bool check_scores_q8(const shoal_table *c, const shoal_table *t)
{
    return check_scores(c, SHOAL_TYPE_Q8_0, t->scores_q8);
}

static bool check_values_f16(const shoal_table *c, const shoal_table *t)
{
    return check_values(c, SHOAL_TYPE_F16, t->values_f16);
}

static bool check_values_q8(const shoal_table *c, const shoal_table *t)
{
    return check_values(c, SHOAL_TYPE_Q8_0, t->values_q8);
}

static bool check_softmax_tile(const shoal_table *c, const shoal_table *t)
{
    float s[2][64], state[2][3] = {{0.5f, 1.5f}, {0.5f, 1.5f}};
    fill(s[0], 64, 1);
    memcpy(s[1], s[0], sizeof s[0]);
    state[0][2] = c->softmax_tile(s[0], 3, 55, 61, &state[0][0], &state[0][1]);
    state[1][2] = t->softmax_tile(s[1], 3, 55, 61, &state[1][0], &state[1][1]);
    return same(s[0], s[1], 61) && same(state[0], state[1], 3);
}

static bool check_softmax_grad(const shoal_table *c, const shoal_table *t)
{
    float s[2][64], dp[2][64];
    fill(s[0], 64, 1);
    fill(dp[0], 64, 2);
    memcpy(s[1], s[0], sizeof s[0]);
    memcpy(dp[1], dp[0], sizeof dp[0]);
    c->softmax_grad(s[0], dp[0], 3, 55, 61, 2.0f, 0.25f);
    t->softmax_grad(s[1], dp[1], 3, 55, 61, 2.0f, 0.25f);
    return same(s[0], s[1], 61) && same(dp[0], dp[1], 61);
}

static bool check_rmsnorm(const shoal_table *c, const shoal_table *t)
{
    float x[LEN], w[LEN], y[2][LEN + 1];
    fill(x, LEN, 1);
    fill(w, LEN, 2);
    y[0][LEN] = c->rmsnorm(x, w, 1e-5f, LEN, y[0]);
    y[1][LEN] = t->rmsnorm(x, w, 1e-5f, LEN, y[1]);
    return same(y[0], y[1], LEN + 1);
}

static bool check_rmsnorm_grad(const shoal_table *c, const shoal_table *t)
{
    float x[LEN], w[LEN], dy[LEN], dx[2][LEN];
    fill(x, LEN, 1);
    fill(w, LEN, 2);
    fill(dy, LEN, 3);
    fill(dx[0], LEN, 4);
    memcpy(dx[1], dx[0], sizeof dx[0]);
    c->rmsnorm_grad(x, w, 0.8f, dy, LEN, dx[0], true);
    t->rmsnorm_grad(x, w, 0.8f, dy, LEN, dx[1], true);
    return same(dx[0], dx[1], LEN);
}

static bool check_swiglu(const shoal_table *c, const shoal_table *t)
{
    float g[LEN], u[LEN], y[2][LEN];
    fill(g, LEN, 1);
    fill(u, LEN, 2);
    c->swiglu(g, u, LEN, y[0]);
    t->swiglu(g, u, LEN, y[1]);
    return same(y[0], y[1], LEN);
}

static bool check_swiglu_grad(const shoal_table *c, const shoal_table *t)
{
    float g[LEN], u[LEN], dy[LEN], d[2][2][LEN];
    fill(g, LEN, 1);
    fill(u, LEN, 2);
    fill(dy, LEN, 3);
    c->swiglu_grad(g, u, dy, LEN, d[0][0], d[0][1]);
    t->swiglu_grad(g, u, dy, LEN, d[1][0], d[1][1]);
    return same(d[0][0], d[1][0], LEN) && same(d[0][1], d[1][1], LEN);
}

static bool check_geglu(const shoal_table *c, const shoal_table *t)
{
    float g[LEN], u[LEN], y[2][LEN];
    fill(g, LEN, 1);
    fill(u, LEN, 2);
    c->geglu(g, u, LEN, y[0]);
    t->geglu(g, u, LEN, y[1]);
    return same(y[0], y[1], LEN);
}

static bool check_geglu_grad(const shoal_table *c, const shoal_table *t)
{
    float g[LEN], u[LEN], dy[LEN], d[2][2][LEN];
    fill(g, LEN, 1);
    fill(u, LEN, 2);
    fill(dy, LEN, 3);
    c->geglu_grad(g, u, dy, LEN, d[0][0], d[0][1]);
    t->geglu_grad(g, u, dy, LEN, d[1][0], d[1][1]);
    return same(d[0][0], d[1][0], LEN) && same(d[0][1], d[1][1], LEN);
}

static bool check_softcap(const shoal_table *c, const shoal_table *t)
{
    float x[LEN], y[2][LEN];
    fill(x, LEN, 1);
    c->softcap(x, LEN, 1.5f, y[0]);
    t->softcap(x, LEN, 1.5f, y[1]);
    return same(y[0], y[1], LEN);
}

static bool check_softcap_grad(const shoal_table *c, const shoal_table *t)
{
    float y[LEN], dy[2][LEN];
    fill(y, LEN, 1);
    fill(dy[0], LEN, 2);
    memcpy(dy[1], dy[0], sizeof dy[0]);
    c->softcap_grad(y, LEN, 3.0f, dy[0]);
    t->softcap_grad(y, LEN, 3.0f, dy[1]);
    return same(dy[0], dy[1], LEN);
}

static bool check_row_max(const shoal_table *c, const shoal_table *t)
{
    float x[LEN];
    fill(x, LEN, 1);
    return c->row_max(x, LEN) == t->row_max(x, LEN);
}

static bool check_row_exp_sum(const shoal_table *c, const shoal_table *t)
{
    float x[LEN];
    fill(x, LEN, 1);
    double a = c->row_exp_sum(x, LEN, 0.5f), b = t->row_exp_sum(x, LEN, 0.5f);
    return fabs(a - b) <= (double)TOLERANCE * a;
}

static bool check_row_softmax(const shoal_table *c, const shoal_table *t)
{
    float x[2][LEN];
    fill(x[0], LEN, 1);
    memcpy(x[1], x[0], sizeof x[0]);
    c->row_softmax(x[0], LEN, 0.5f, 0.75f);
    t->row_softmax(x[1], LEN, 0.5f, 0.75f);
    return same(x[0], x[1], LEN);
}

static bool check_half_put(const shoal_table *c, const shoal_table *t)
{
    float x[LEN];
    uint16_t y[2][LEN];
    fill(x, LEN, 1);
    x[3] = 1e9f;
    float a = c->half_put(x, LEN, y[0]), b = t->half_put(x, LEN, y[1]);
    return memcmp(&a, &b, sizeof a) == 0 && memcmp(y[0], y[1], sizeof y[0]) == 0;
}

static bool check_half_take(const shoal_table *c, const shoal_table *t)
{
    float x[2][LEN];
    uint16_t half[LEN];
    fill(x[0], LEN, 1);
    float scale = c->half_put(x[0], LEN, half);
    c->half_take(half, LEN, scale, x[0]);
    t->half_take(half, LEN, scale, x[1]);
    return memcmp(x[0], x[1], sizeof x[0]) == 0;
}

static bool check_chacha(const shoal_table *c, const shoal_table *t)
{
    enum { WORDS = 3 * 128 + 37 };
    const uint32_t key[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    uint32_t acc[2][WORDS] = {{0}};
    c->chacha(key, 9, acc[0], WORDS, true);
    t->chacha(key, 9, acc[1], WORDS, true);
    return memcmp(acc[0], acc[1], sizeof acc[0]) == 0;
}

static bool check_ring_add(const shoal_table *c, const shoal_table *t)
{
    enum { GROUPS = 3 };
    uint8_t packed[GROUPS * 32 + 8];
    for (size_t i = 0; i < sizeof packed; i++) {
        packed[i] = (uint8_t)(i * 151 + 7);
    }
    for (uint32_t bits = 16; bits <= 32; bits++) {
        uint32_t acc[2][GROUPS * 8] = {{0}};
        c->ring_add(packed, bits, acc[0], GROUPS);
        t->ring_add(packed, bits, acc[1], GROUPS);
        if (memcmp(acc[0], acc[1], sizeof acc[0]) != 0) return false;
    }
    return true;
}

#define CHECK(slot)                                      \
    {                                                    \
#slot, offsetof(shoal_table, slot), check_##slot \
    }

const shoal_slot_check shoal_rowops_checks[] = {
    {"dense_nt", offsetof(shoal_table, dense_nt), check_nt},
    {"dense_nn", offsetof(shoal_table, dense_nn), check_nn},
    {"dense_transpose", offsetof(shoal_table, dense_transpose), check_transpose},
    CHECK(half_rows),
    CHECK(half_put),
    CHECK(half_take),
    CHECK(scores_f16),
    CHECK(scores_q8),
    CHECK(values_f16),
    CHECK(values_q8),
    CHECK(softmax_tile),
    CHECK(softmax_grad),
    CHECK(rmsnorm),
    CHECK(rmsnorm_grad),
    CHECK(swiglu),
    CHECK(swiglu_grad),
    CHECK(geglu),
    CHECK(geglu_grad),
    CHECK(softcap),
    CHECK(softcap_grad),
    CHECK(row_max),
    CHECK(row_exp_sum),
    CHECK(row_softmax),
    CHECK(chacha),
    CHECK(ring_add),
    {NULL, 0, NULL},
};
