/* How many sessions a device may join in a day. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "aggregator/quota.h"
#include "kernels/base/rng.h"

enum { NOW = 1000000, DAY = 24 * 3600 };

static void fill(uint64_t seed, uint8_t *out, size_t n)
{
    shoal_rng rng = shoal_rng_init(seed);
    for (size_t i = 0; i < n; i++) {
        out[i] = (uint8_t)shoal_rng_u64(&rng);
    }
}

static bool take(shoal_quota *q, uint64_t device, uint64_t session, int64_t now_s)
{
    uint8_t id[SHOAL_ID_BYTES], session_id[SHOAL_SA_SESSION_BYTES];
    fill(device, id, sizeof id);
    fill(~session, session_id, sizeof session_id);
    return shoal_quota_take(q, id, session_id, now_s);
}

static int64_t wait_s(const shoal_quota *q, uint64_t device, int64_t now_s)
{
    uint8_t id[SHOAL_ID_BYTES];
    fill(device, id, sizeof id);
    return shoal_quota_wait_s(q, id, now_s);
}

static void test_a_day(void **state)
{
    (void)state;
    shoal_quota *q = shoal_quota_open(3);
    assert_non_null(q);
    assert_int_equal(wait_s(q, 1, NOW), 0);
    assert_true(take(q, 1, 1, NOW));
    assert_true(take(q, 1, 1, NOW + 1)); /* its message came twice */
    assert_true(take(q, 1, 2, NOW + 2));
    assert_int_equal(wait_s(q, 1, NOW + 2), 0);
    assert_true(take(q, 1, 3, NOW + 3));
    assert_true(take(q, 1, 3, NOW + 3));
    assert_false(take(q, 1, 4, NOW + 4));
    assert_int_equal(wait_s(q, 1, NOW + 4), DAY - 4);
    assert_true(take(q, 2, 4, NOW + 4)); /* another device */
    assert_false(take(q, 1, 5, NOW + DAY - 1));
    assert_int_equal(wait_s(q, 1, NOW + DAY - 1), 1);
    assert_int_equal(wait_s(q, 1, NOW + DAY), 0);
    assert_true(take(q, 1, 5, NOW + DAY));
    assert_true(take(q, 1, 6, NOW + DAY));
    shoal_quota_close(q);
}

static void test_clock_set_back(void **state)
{
    (void)state;
    shoal_quota *q = shoal_quota_open(1);
    assert_non_null(q);
    assert_true(take(q, 1, 1, NOW));
    assert_false(take(q, 1, 2, NOW - 5 * DAY));
    assert_int_equal(wait_s(q, 1, NOW - 5 * DAY), DAY); /* no longer than that at a time */
    shoal_quota_close(q);
}

static void test_no_limit(void **state)
{
    (void)state;
    shoal_quota *q = shoal_quota_open(0);
    assert_non_null(q);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_true(take(q, 1, i, NOW));
    }
    assert_int_equal(wait_s(q, 1, NOW), 0);
    shoal_quota_close(q);
}

/* Thousands of devices over several days: each is counted right while the table is made anew. */
static void test_many_devices(void **state)
{
    (void)state;
    enum { DEVICES = 5000 };
    shoal_quota *q = shoal_quota_open(2);
    assert_non_null(q);
    for (int64_t day = 0; day < 3; day++) {
        int64_t now_s = NOW + day * 2 * DAY;
        for (uint64_t i = 0; i < DEVICES; i++) {
            assert_true(take(q, 1000 * DEVICES * (uint64_t)day + i, 1, now_s));
        }
        for (uint64_t i = 0; i < DEVICES; i++) {
            assert_true(take(q, 1000 * DEVICES * (uint64_t)day + i, 2, now_s + 1));
            assert_false(take(q, 1000 * DEVICES * (uint64_t)day + i, 3, now_s + 2));
        }
    }
    shoal_quota_close(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_day), cmocka_unit_test(test_clock_set_back),
        cmocka_unit_test(test_no_limit), cmocka_unit_test(test_many_devices)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
