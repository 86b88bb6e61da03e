/* Learning-rate schedules: end points, warm-up, monotony, names. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lora/train/schedule.h"

static void assert_near(float got, double want)
{
    if (fabs((double)got - want) > 1e-6 * fabs(want) + 1e-12) {
        fail_msg("%.9g instead of %.9g", (double)got, want);
    }
}

static void test_warmup(void **state)
{
    (void)state;
    shoal_schedule s = {SHOAL_SCHEDULE_CONSTANT, 1e-3f, 0.0f, 4, 10};
    assert_near(shoal_schedule_lr(&s, 1), 0.25e-3);
    assert_near(shoal_schedule_lr(&s, 3), 0.75e-3);
    assert_near(shoal_schedule_lr(&s, 4), 1e-3);
    assert_near(shoal_schedule_lr(&s, 10), 1e-3);
}

static void test_linear(void **state)
{
    (void)state;
    shoal_schedule s = {SHOAL_SCHEDULE_LINEAR, 1.0f, 0.2f, 0, 8};
    assert_near(shoal_schedule_lr(&s, 1), 1.0);
    assert_near(shoal_schedule_lr(&s, 5), 0.6);
    assert_near(shoal_schedule_lr(&s, 8), 0.3); /* 0.2 would be step 9 */
    assert_near(shoal_schedule_lr(&s, 800), 0.3);
}

static void test_cosine(void **state)
{
    (void)state;
    shoal_schedule s = {SHOAL_SCHEDULE_COSINE, 1.0f, 0.0f, 10, 109};
    assert_near(shoal_schedule_lr(&s, 10), 1.0);
    assert_near(shoal_schedule_lr(&s, 60), 0.5);
    float before = 2.0f;
    for (uint64_t step = 10; step <= 109; step++) {
        float lr = shoal_schedule_lr(&s, step);
        assert_true(lr < before && lr > 0.0f);
        before = lr;
    }
}

/* Runs of a step or two, or all warm-up, must still train. */
static void test_short_runs(void **state)
{
    (void)state;
    for (int kind = SHOAL_SCHEDULE_CONSTANT; kind <= SHOAL_SCHEDULE_COSINE; kind++) {
        for (uint64_t total = 1; total <= 3; total++) {
            for (uint64_t warmup = 0; warmup <= total; warmup++) {
                shoal_schedule s = {(shoal_schedule_kind)kind, 1.0f, 0.0f, warmup, total};
                for (uint64_t step = 1; step <= total; step++) {
                    float lr = shoal_schedule_lr(&s, step);
                    assert_true(lr > 0.0f && lr <= 1.0f);
                }
            }
        }
    }
}

static void test_names(void **state)
{
    (void)state;
    shoal_schedule_kind kind;
    assert_true(shoal_schedule_parse("cosine", &kind));
    assert_int_equal(kind, SHOAL_SCHEDULE_COSINE);
    assert_true(shoal_schedule_parse("linear", &kind));
    assert_int_equal(kind, SHOAL_SCHEDULE_LINEAR);
    assert_true(shoal_schedule_parse("constant", &kind));
    assert_int_equal(kind, SHOAL_SCHEDULE_CONSTANT);
    assert_false(shoal_schedule_parse("cosin", &kind));
    assert_false(shoal_schedule_parse("", &kind));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_warmup), cmocka_unit_test(test_linear),
        cmocka_unit_test(test_cosine), cmocka_unit_test(test_short_runs),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
