/* test_sampler.c - cuts and frequencies against their definitions, on small distributions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "lora/infer/sampler.h"

enum { V = 50, DRAWS = 40000 };

static void random_logits(uint64_t seed, float *logits)
{
    shoal_rng rng = shoal_rng_init(seed);
    for (size_t i = 0; i < V; i++) {
        logits[i] = 2.0f * (float)shoal_rng_normal(&rng);
    }
}

typedef struct ranked {
    double p;
    size_t id;
} ranked;

static int by_probability(const void *a, const void *b)
{
    const ranked *x = a;
    const ranked *y = b;
    if (x->p != y->p) return x->p > y->p ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static void normalise(ranked *r, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += r[i].p;
    }
    for (size_t i = 0; i < n; i++) {
        r[i].p /= sum;
    }
}

/* The distribution by the book: full sort, one cut after the other. p [V]. */
static void expected(const shoal_sampling *how, const float *logits, double *p)
{
    ranked r[V];
    for (size_t i = 0; i < V; i++) {
        r[i] = (ranked){exp((double)logits[i] / (double)how->temperature), i};
    }
    qsort(r, V, sizeof *r, by_probability);
    size_t n = how->top_k > 0 && how->top_k < V ? how->top_k : V;
    normalise(r, n);
    if (how->top_p > 0.0f && how->top_p < 1.0f) {
        double sum = 0.0;
        size_t keep = 0;
        while (keep < n && sum < (double)how->top_p) {
            sum += r[keep++].p;
        }
        n = keep;
        normalise(r, n);
    }
    size_t keep = 0;
    while (keep < n && r[keep].p >= (double)how->min_p * r[0].p) {
        keep++;
    }
    normalise(r, keep);
    memset(p, 0, V * sizeof *p);
    for (size_t i = 0; i < keep; i++) {
        p[r[i].id] = r[i].p;
    }
}

static void check_frequencies(shoal_sampling how)
{
    float logits[V];
    double want[V];
    size_t seen[V] = {0};
    random_logits(how.seed, logits);
    expected(&how, logits, want);
    shoal_sampler *s = NULL;
    assert_int_equal(shoal_sampler_open(&s, &how, V, NULL), SHOAL_OK);
    for (size_t i = 0; i < DRAWS; i++) {
        int32_t id = shoal_sampler_next(s, logits);
        assert_in_range(id, 0, V - 1);
        seen[id]++;
    }
    shoal_sampler_close(s);
    for (size_t i = 0; i < V; i++) {
        double mean = want[i] * DRAWS;
        double sigma = sqrt(mean * (1.0 - want[i]));
        if (want[i] == 0.0) assert_int_equal(seen[i], 0);
        assert_true(fabs((double)seen[i] - mean) <= 5.0 * sigma + 1e-6);
    }
}

static void frequencies_follow_the_definition(void **state)
{
    (void)state;
    check_frequencies((shoal_sampling){.temperature = 1.0f, .seed = 1});
    check_frequencies((shoal_sampling){.temperature = 0.5f, .seed = 2});
    check_frequencies((shoal_sampling){.temperature = 1.0f, .top_k = 5, .seed = 3});
    check_frequencies((shoal_sampling){.temperature = 1.0f, .top_p = 0.7f, .seed = 4});
    check_frequencies((shoal_sampling){.temperature = 1.0f, .min_p = 0.1f, .seed = 5});
    check_frequencies((shoal_sampling){.temperature = 1.5f, .top_k = 10, .top_p = 0.8f, .seed = 6});
    check_frequencies((shoal_sampling){
        .temperature = 0.8f, .top_k = 20, .top_p = 0.9f, .min_p = 0.05f, .seed = 7});
    check_frequencies((shoal_sampling){.temperature = 1.0f, .top_k = 1, .seed = 8});
    check_frequencies(
        (shoal_sampling){.temperature = 1.0f, .top_p = 0.95f, .min_p = 0.2f, .seed = 9});
}

static void greedy_takes_the_best_and_the_first(void **state)
{
    (void)state;
    const float logits[] = {-3.0f, 2.0f, NAN, 2.0f, 1.0f};
    assert_int_equal(shoal_argmax(logits, 5), 1);
    const float none[] = {NAN, NAN};
    assert_int_equal(shoal_argmax(none, 2), 0);
    shoal_sampler *s = NULL;
    shoal_sampling how = {.temperature = 0.0f, .top_k = 3};
    assert_int_equal(shoal_sampler_open(&s, &how, 5, NULL), SHOAL_OK);
    assert_int_equal(shoal_sampler_next(s, logits), 1);
    shoal_sampler_close(s);
}

/* Impossible and broken logits are never chosen and never crash. */
static void odd_logits_are_survived(void **state)
{
    (void)state;
    const float odd[] = {-INFINITY, 1.0f, NAN, -INFINITY};
    const float broken[] = {NAN, NAN, NAN, NAN};
    const shoal_sampling hows[] = {
        {.temperature = 1.0f},
        {.temperature = 1.0f, .top_k = 3},
        {.temperature = 1.0f, .top_p = 0.9f},
        {.temperature = 1.0f, .min_p = 0.1f},
    };
    for (size_t i = 0; i < sizeof hows / sizeof hows[0]; i++) {
        shoal_sampler *s = NULL;
        assert_int_equal(shoal_sampler_open(&s, &hows[i], 4, NULL), SHOAL_OK);
        for (size_t k = 0; k < 100; k++) {
            assert_int_equal(shoal_sampler_next(s, odd), 1);
            assert_int_equal(shoal_sampler_next(s, broken), 0);
        }
        shoal_sampler_close(s);
    }
}

/* The same seed gives the same tokens, and a draw uses one number whatever the cuts. */
static void draws_use_one_number_each(void **state)
{
    (void)state;
    float logits[V];
    random_logits(3, logits);
    shoal_sampling how = {.temperature = 1.0f, .seed = 77};
    shoal_rng rng = shoal_rng_init(77);
    double p[V];
    expected(&how, logits, p);
    shoal_sampler *s = NULL;
    assert_int_equal(shoal_sampler_open(&s, &how, V, NULL), SHOAL_OK);
    uint64_t before = shoal_mem_count();
    for (size_t i = 0; i < 500; i++) {
        double left = shoal_rng_double(&rng);
        size_t want = 0;
        while (want + 1 < V && left >= p[want]) {
            left -= p[want++];
        }
        assert_int_equal(shoal_sampler_next(s, logits), want);
    }
    assert_int_equal(shoal_mem_count(), before);
    shoal_sampler_close(s);
}

static void settings_out_of_range_are_refused(void **state)
{
    (void)state;
    const shoal_sampling bad[] = {
        {.temperature = -1.0f},
        {.temperature = NAN},
        {.temperature = INFINITY},
        {.temperature = 1.0f, .top_p = 1.5f},
        {.temperature = 1.0f, .top_p = NAN},
        {.temperature = 1.0f, .min_p = -0.1f},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        shoal_sampler *s = NULL;
        shoal_error err = {0};
        assert_int_equal(shoal_sampler_open(&s, &bad[i], V, &err), SHOAL_ERR_ARG);
        assert_null(s);
        assert_true(err.hint[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frequencies_follow_the_definition),
        cmocka_unit_test(greedy_takes_the_best_and_the_first),
        cmocka_unit_test(odd_logits_are_survived),
        cmocka_unit_test(draws_use_one_number_each),
        cmocka_unit_test(settings_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
