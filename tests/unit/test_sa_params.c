/* test_sa_params.c - neighbours and thresholds by population: the published table, the failure
 * probabilities themselves computed another way, and the range a descriptor serves.
 *
 * Table: values of the graph parameter finder of google-parfait/federated-compute (fcp/secagg), at
 * statistical security 2^-40 and failure 2^-20, which the rules in sa_params.h must reproduce. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "proto/sa.h"
#include "proto/sa_params.h"

typedef struct row {
    double corrupt, dropout;
    uint32_t bits;
    bool semi_honest;
    size_t n, k, t;
} row;

/* Semi-malicious: corrupt, drop-out (columns), then n by n. */
static const double COLUMNS[8][2] = {{0.01, 0.10}, {0.05, 0.05}, {0.05, 0.10}, {0.05, 0.15},
                                     {0.05, 0.20}, {0.10, 0.10}, {0.10, 0.15}, {0.20, 0.20}};
static const size_t TABLE[8][17] = {
    {50, 12, 7, 8, 6, 14, 9, 18, 11, 24, 14, 16, 11, 20, 13, 32, 22},
    {100, 22, 12, 16, 11, 26, 16, 34, 20, 44, 25, 32, 22, 42, 27, 62, 42},
    {128, 22, 12, 20, 14, 30, 19, 42, 25, 52, 30, 38, 26, 50, 32, 76, 51},
    {256, 32, 18, 34, 24, 48, 31, 62, 38, 82, 48, 62, 43, 82, 54, 144, 98},
    {512, 40, 23, 44, 31, 66, 44, 90, 57, 122, 74, 82, 57, 114, 76, 220, 150},
    {1000, 54, 33, 52, 37, 78, 52, 106, 67, 148, 90, 96, 67, 138, 92, 302, 206},
    {2000, 60, 37, 56, 40, 84, 56, 120, 76, 172, 105, 106, 74, 156, 104, 374, 255},
    {5000, 68, 42, 58, 41, 90, 60, 134, 85, 192, 117, 116, 81, 174, 116, 442, 301},
};

static const row MORE[] = {
    /* semi-honest; "33 %" of the source is a third */
    {0.05, 0.20, 40, true, 1000, 50, 21},
    {0.20, 0.20, 40, true, 1000, 98, 54},
    {1.0 / 3, 1.0 / 3, 40, true, 1000, 292, 154},
    {0.05, 0.20, 40, true, 10000, 60, 25},
    {0.20, 0.20, 40, true, 10000, 122, 67},
    {1.0 / 3, 1.0 / 3, 40, true, 10000, 442, 231},
    {0.05, 0.20, 40, true, 1000000, 70, 29},
    {0.20, 0.20, 40, true, 1000000, 144, 78},
    {1.0 / 3, 1.0 / 3, 40, true, 1000000, 538, 280},
    /* 80 bits, semi-malicious */
    {0.05, 0.10, 80, false, 256, 48, 31},
    {0.05, 0.10, 80, false, 512, 72, 49},
    {0.05, 0.10, 80, false, 1000, 94, 65},
    {0.05, 0.10, 80, false, 2000, 106, 74},
    {0.05, 0.10, 80, false, 5000, 114, 79},
    {0.10, 0.10, 80, false, 1000, 120, 87},
    {0.10, 0.10, 80, false, 5000, 152, 110},
};
enum { MORE_N = sizeof MORE / sizeof MORE[0] };

static shoal_sa_rules rules_of(const row *r)
{
    return (shoal_sa_rules){.corrupt = r->corrupt,
                            .dropout = r->dropout,
                            .security_bits = r->bits,
                            .failure_bits = 20,
                            .semi_honest = r->semi_honest};
}

static void each_row(void (*check)(const row *r))
{
    for (size_t line = 0; line < 8; line++) {
        for (size_t c = 0; c < 8; c++) {
            const size_t *kt = &TABLE[line][1 + 2 * c];
            check(&(row){COLUMNS[c][0], COLUMNS[c][1], 40, false, TABLE[line][0], kt[0], kt[1]});
        }
    }
    for (size_t i = 0; i < MORE_N; i++) {
        check(&MORE[i]);
    }
}

static void check_found(const row *r)
{
    size_t k = 0, t = 0;
    shoal_sa_rules rules = rules_of(r);
    assert_true(shoal_sa_params_find(&rules, r->n, &k, &t));
    if (k != r->k || t != r->t) {
        fail_msg("n %zu, %g/%g, %u bits: %zu,%zu instead of %zu,%zu", r->n, r->corrupt, r->dropout,
                 r->bits, k, t, r->k, r->t);
    }
}

static void test_table(void **state)
{
    (void)state;
    each_row(check_found);
}

/* Pr[at least x of k draws are marked], of n with `marked` marked: by the ratio of neighbouring
 * terms from the first one, which is a product of k factors. No logarithms, no factorials. */
static long double tail(size_t n, size_t marked, size_t k, size_t x)
{
    size_t first = k > n - marked ? k - (n - marked) : 0;
    long double term = 1.0L, sum = 0.0L;
    for (size_t i = 0; i < k - first; i++) { /* Pr[exactly `first`], first = 0 but for tiny n */
        term *= (long double)(n - marked - i) / (long double)(n - i);
    }
    for (size_t i = 0; i < first; i++) {
        term *= (long double)(k - i) / (long double)(n - (k - first) - i) *
                (long double)(marked - i) / (long double)(i + 1);
    }
    for (size_t i = first; i <= k && i <= marked; i++) {
        if (i >= x) sum += term;
        term *= (long double)(marked - i) * (long double)(k - i) /
                ((long double)(i + 1) * (long double)(n - marked - k + i + 1));
    }
    return sum;
}

static size_t part(double share, size_t n)
{
    return (size_t)floor(share * (double)n + 1e-9);
}

/* A client's neighbours: the server gets both secrets with c corrupt ones when 2t <= k + c. */
static long double both_secrets(const row *r, size_t k, size_t t)
{
    size_t corrupt = part(r->corrupt, r->n);
    size_t enough = r->semi_honest ? t : 2 * t > k ? 2 * t - k : 0;
    return (long double)r->n * tail(r->n, corrupt, k, enough);
}

static long double too_few_stay(const row *r, size_t k, size_t t)
{
    return (long double)r->n * tail(r->n, part(r->dropout, r->n), k, k - t + 1);
}

/* Pr[all of two given runs of k/2 on the ring are among the lost], times the pairs of runs. */
static long double falls_apart(const row *r, size_t k)
{
    size_t lost = part(r->corrupt, r->n) + part(r->dropout, r->n);
    long double p = (long double)r->n * (long double)(r->n - k - 1) / 2.0L;
    for (size_t i = 0; i < k; i++) {
        p *= lost > i ? (long double)(lost - i) / (long double)(r->n - i) : 0.0L;
    }
    return p;
}

/* Of each row: both bad events are as rare as promised, and with two neighbours fewer no threshold
 * would keep both so. */
static void check_probabilities(const row *r)
{
    long double broken = exp2l(-(long double)r->bits - 1.0L), failed = exp2l(-20.0L);
    assert_true(both_secrets(r, r->k, r->t) <= broken);
    assert_true(too_few_stay(r, r->k, r->t) <= failed);
    assert_true(falls_apart(r, r->k) <= broken);
    assert_true(both_secrets(r, r->k, r->t - 1) > broken);
    size_t k = r->k - 2;
    for (size_t t = 1; t <= k; t++) {
        assert_false(both_secrets(r, k, t) <= broken && too_few_stay(r, k, t) <= failed &&
                     falls_apart(r, k) <= broken);
    }
}

static void test_probabilities(void **state)
{
    (void)state;
    each_row(check_probabilities);
}

/* The tail above against counting: 3 marked of 7, 4 draws, all 35 subsets. */
static void test_tail(void **state)
{
    (void)state;
    static const int AT_LEAST[] = {35, 34, 22, 4, 0};
    for (size_t x = 0; x <= 4; x++) {
        assert_float_equal((float)tail(7, 3, 4, x), (float)AT_LEAST[x] / 35.0F, 1e-6);
    }
    assert_float_equal((float)tail(5, 4, 3, 2), 1.0F, 1e-6); /* two of the three at least */
    assert_float_equal((float)tail(5, 4, 3, 3), 0.4F, 1e-6);
}

/* What one descriptor says serves every roster down to the size where the graph is complete. */
static void test_every_roster_size(void **state)
{
    (void)state;
    static const size_t SIZES[][2] = {{67, 100}, {3, 128}, {342, 512}, {400, 1000}, {2700, 4096}};
    shoal_sa_rules rules = shoal_sa_rules_default();
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        size_t k = 0, t = 0, least_k = 0, least_t = 0;
        assert_true(shoal_sa_params_find(&rules, SIZES[i][1], &least_k, &least_t));
        assert_true(shoal_sa_params_find_range(&rules, SIZES[i][0], SIZES[i][1], SHOAL_LIMIT_DEGREE,
                                               &k, &t));
        assert_in_range(k, least_k, least_k + 8);
        for (size_t n = SIZES[i][0] > k ? SIZES[i][0] : k + 1; n <= SIZES[i][1]; n += 1 + n / 50) {
            row r = {0.05, 0.10, 40, false, n, k, t};
            assert_true(both_secrets(&r, k, t) <= exp2l(-41.0L));
            assert_true(too_few_stay(&r, k, t) <= exp2l(-20.0L));
            assert_true(n <= k + 1 || falls_apart(&r, k) <= exp2l(-41.0L));
            assert_true(shoal_sa_params_private(&rules, n, k, t));
        }
        assert_false(shoal_sa_params_private(&rules, SIZES[i][1], k, k / 2 + 1));
        assert_false(shoal_sa_params_private(&rules, SIZES[i][1], k, least_t - 1));
    }
}

/* Spec 5.8.1: two sets would need 2q - m double signers. */
static void test_committee(void **state)
{
    (void)state;
    shoal_sa_rules rules = shoal_sa_rules_default();
    for (size_t m = 96; m <= 256; m += 16) {
        for (size_t n = m + 1; n <= 4096; n = 2 * n) {
            size_t q = shoal_sa_threshold(m);
            double both = shoal_sa_params_equivocation(&rules, n, m);
            double none = shoal_sa_params_no_quorum(&rules, n, m);
            long double want = tail(n, part(rules.corrupt, n), m, 2 * q - m);
            long double gone = tail(n, part(rules.dropout, n), m, m - q + 1);
            assert_true(want == 0.0L ? both < -1000
                                     : fabsl(log2l(want) - (long double)both) < 1e-6);
            assert_true(gone == 0.0L ? none < -1000
                                     : fabsl(log2l(gone) - (long double)none) < 1e-6);
        }
    }
    assert_int_equal(shoal_sa_params_committee(&rules, 1000, SHOAL_LIMIT_COMMITTEE), 128);
    assert_true(shoal_sa_params_equivocation(&rules, 1000, 128) < -100);
    rules.corrupt = 0.10;
    assert_true(fabs(shoal_sa_params_equivocation(&rules, 1000, 128) + 53) < 1);
    rules.dropout = 0.20; /* 128 would too often be left with too few */
    size_t m = shoal_sa_params_committee(&rules, 1000, SHOAL_LIMIT_COMMITTEE);
    assert_in_range(m, 129, SHOAL_LIMIT_COMMITTEE);
    rules.dropout = 0.34;
    assert_int_equal(shoal_sa_params_committee(&rules, 1000, SHOAL_LIMIT_COMMITTEE), 0);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    size_t k, t;
    shoal_sa_rules rules = shoal_sa_rules_default();
    rules.corrupt = 0.31;
    rules.dropout = 0.30; /* g + 2d above 0.9 */
    assert_false(shoal_sa_params_find(&rules, 1000, &k, &t));
    assert_false(shoal_sa_params_private(&rules, 1000, 998, 900));
    rules.semi_honest = true;
    assert_true(shoal_sa_params_find(&rules, 1000, &k, &t));
    rules.corrupt = 0.61;
    assert_false(shoal_sa_params_find(&rules, 1000, &k, &t));
    rules.corrupt = -0.1;
    assert_false(shoal_sa_params_find(&rules, 1000, &k, &t));
    rules = shoal_sa_rules_default();
    assert_false(shoal_sa_params_find(&rules, 3, &k, &t)); /* no even number below 2 */
    assert_false(shoal_sa_params_find_range(&rules, 400, 1000, 60, &k, &t));
    assert_false(shoal_sa_params_private(&rules, 100, 100, 60));
    assert_false(shoal_sa_params_private(&rules, 100, 26, 27));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tail),          cmocka_unit_test(test_table),
        cmocka_unit_test(test_probabilities), cmocka_unit_test(test_every_roster_size),
        cmocka_unit_test(test_committee),     cmocka_unit_test(test_what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
