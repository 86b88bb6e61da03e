/* test_budget.c - the account of bytes: months, crashes, bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/budget.h"
#include "client/policy.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "tests/support/temp_dir.h"

static int64_t g_now_s;
static int64_t clock_s(void)
{
    return g_now_s;
}

enum { MB = 1000000 };
static const int64_t NOVEMBER = 1795000000; /* 2026-11-18 */
static const int64_t DECEMBER = 1796083200; /* 2026-12-01 00:00 UTC */

typedef struct fixture {
    char dir[TEMP_DIR_MAX];
    shoal_store store;
} fixture;

static int set_up(void **state)
{
    fixture *f = test_calloc(1, sizeof *f);
    temp_dir_make(f->dir);
    assert_int_equal(shoal_store_open(&f->store, f->dir, NULL), SHOAL_OK);
    g_now_s = NOVEMBER;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    temp_dir_remove(f->dir);
    test_free(f);
    return 0;
}

static shoal_budget open_budget(const fixture *f, uint64_t round, uint64_t month)
{
    shoal_budget b;
    shoal_budget_limits l = {round, month};
    assert_int_equal(shoal_budget_open(&b, &f->store, &l, clock_s, NULL), SHOAL_OK);
    return b;
}

static shoal_status spend(shoal_budget *b, uint64_t sent, uint64_t received)
{
    shoal_net_meter m = shoal_budget_meter(b);
    shoal_status st = m.before(m.ctx, sent + received, sent + received, NULL);
    if (st == SHOAL_OK) m.after(m.ctx, sent, received);
    return st;
}

static void months_of_the_calendar(void **state)
{
    (void)state;
    assert_int_equal(shoal_month_of(0), 1970 * 12);
    assert_int_equal(shoal_month_of(NOVEMBER), 2026 * 12 + 10);
    assert_int_equal(shoal_month_of(DECEMBER - 1), 2026 * 12 + 10);
    assert_int_equal(shoal_month_of(DECEMBER), 2026 * 12 + 11);
    assert_int_equal(shoal_month_left_s(DECEMBER - 1), 1);
    assert_int_equal(shoal_month_left_s(DECEMBER), 31 * 86400);
    assert_int_equal(shoal_month_left_s(1709078400), 2 * 86400); /* 2024-02-28 */
    assert_int_equal(shoal_month_left_s(1772236800), 86400);     /* 2026-02-28 */
}

static void what_was_used_is_kept(void **state)
{
    fixture *f = *state;
    shoal_budget b = open_budget(f, 0, 0);
    assert_int_equal(spend(&b, 3 * MB, 5 * MB), SHOAL_OK);
    assert_int_equal(spend(&b, 1, 2), SHOAL_OK);
    assert_int_equal(shoal_budget_close(&b, NULL), SHOAL_OK);
    b = open_budget(f, 0, 0);
    assert_int_equal(b.sent, 3 * MB + 1);
    assert_int_equal(b.received, 5 * MB + 2);
}

/* Killed at any point: what the file says is at least what was used, and by 2 MB at most more than
 * a request needed. */
static void a_crash_never_counts_too_little(void **state)
{
    fixture *f = *state;
    uint64_t used = 0, said = 0;
    for (uint64_t i = 1; i < 40; i++) {
        shoal_budget b = open_budget(f, 0, 0);
        assert_true(b.sent + b.received >= used);
        assert_true(b.sent + b.received >= said); /* it never goes back */
        used = b.sent + b.received;
        for (uint64_t k = 0; k < i % 5; k++) {
            assert_int_equal(spend(&b, i * 10000, k * 7000), SHOAL_OK);
            used += i * 10000 + k * 7000;
        }
        said = used; /* and no close */
        b = open_budget(f, 0, 0);
        assert_true(b.sent + b.received >= used);
        assert_true(b.sent + b.received <= used + 2 * MB);
    }
}

static void a_request_that_cannot_be_counted_is_not_made(void **state)
{
    fixture *f = *state;
    shoal_budget b = open_budget(f, 0, 0);
    shoal_file_fail_at(1, ENOSPC);
    assert_int_equal(spend(&b, 100, 100), SHOAL_ERR_FULL);
    shoal_file_fail_at(0, 0);
    assert_int_equal(spend(&b, 100, 100), SHOAL_OK);
}

static void a_month_begins_from_nothing_and_none_comes_back(void **state)
{
    fixture *f = *state;
    shoal_budget b = open_budget(f, 0, 10 * MB);
    assert_int_equal(spend(&b, 9 * MB, 0), SHOAL_OK);
    assert_int_equal(spend(&b, 2 * MB, 0), SHOAL_ERR_DENIED);
    assert_int_equal(shoal_budget_check(&b, 2 * MB, NULL), SHOAL_ERR_DENIED);
    assert_true(shoal_budget_is_later(&b));
    assert_int_equal(shoal_budget_close(&b, NULL), SHOAL_OK);
    g_now_s = DECEMBER;
    b = open_budget(f, 0, 10 * MB);
    assert_int_equal(b.sent, 0);
    assert_int_equal(shoal_budget_check(&b, 2 * MB, NULL), SHOAL_OK);
    assert_int_equal(spend(&b, 9 * MB, 0), SHOAL_OK);
    assert_int_equal(shoal_budget_close(&b, NULL), SHOAL_OK);
    g_now_s = NOVEMBER; /* a clock set back does not give the month back */
    b = open_budget(f, 0, 10 * MB);
    assert_int_equal(b.sent, 9 * MB);
    assert_int_equal(spend(&b, 2 * MB, 0), SHOAL_ERR_DENIED);
    g_now_s = DECEMBER + 40 * 86400; /* and one that goes on does, in mid-run */
    assert_int_equal(spend(&b, 2 * MB, 0), SHOAL_OK);
    assert_int_equal(b.sent, 2 * MB);
}

static void a_round_has_its_own_bound(void **state)
{
    fixture *f = *state;
    shoal_error err = {0};
    shoal_budget b = open_budget(f, 4 * MB, 0);
    assert_int_equal(shoal_budget_check(&b, 5 * MB, &err), SHOAL_ERR_DENIED);
    assert_non_null(strstr(err.hint, "--budget-round"));
    assert_false(shoal_budget_is_later(&b)); /* waiting does not help */
    assert_int_equal(shoal_budget_check(&b, 4 * MB, NULL), SHOAL_OK);
    assert_int_equal(spend(&b, 9 * MB, 0), SHOAL_OK); /* before it, a round's bound is no bound */
    shoal_budget_begin_round(&b);
    assert_int_equal(spend(&b, 3 * MB, 0), SHOAL_OK);
    g_now_s = DECEMBER; /* the turn of a month does not give a round a second budget */
    assert_int_equal(spend(&b, 2 * MB, 0), SHOAL_ERR_DENIED);
    assert_int_equal(spend(&b, MB, 0), SHOAL_OK);
    assert_int_equal(spend(&b, 1, 0), SHOAL_ERR_DENIED);
    shoal_budget_end_round(&b);
    assert_int_equal(shoal_budget_check(&b, 4 * MB, NULL), SHOAL_OK);
}

/* The next start knows what a round was expected to cost, before it sends anything. */
static void the_last_estimate_is_kept(void **state)
{
    fixture *f = *state;
    shoal_budget b = open_budget(f, 0, 10 * MB);
    assert_int_equal(shoal_budget_check(&b, 0, NULL), SHOAL_OK);
    assert_int_equal(shoal_budget_check(&b, 6 * MB, NULL), SHOAL_OK);
    assert_int_equal(spend(&b, 5 * MB, 0), SHOAL_OK);
    assert_int_equal(shoal_budget_close(&b, NULL), SHOAL_OK);
    b = open_budget(f, 0, 10 * MB);
    assert_int_equal(shoal_budget_check(&b, 0, NULL), SHOAL_ERR_DENIED);
    b = open_budget(f, 0, 12 * MB);
    assert_int_equal(shoal_budget_check(&b, 0, NULL), SHOAL_OK);
}

static void a_damaged_account_is_not_an_empty_one(void **state)
{
    fixture *f = *state;
    static const char *const bad[] = {"month 5\n", "garbage\n", "month 24322\nsent -1\n",
                                      "month 243",
                                      "month 1\nsent 1\nreceived 1\nahead x\nround_bytes 0\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char path[SHOAL_PATH_MAX];
        shoal_budget b;
        shoal_budget_limits l = {0};
        shoal_error err = {0};
        assert_int_equal(shoal_store_path(&f->store, path, NULL, "traffic"), SHOAL_OK);
        assert_int_equal(shoal_file_write_atomic(path, bad[i], strlen(bad[i]), 0600, NULL),
                         SHOAL_OK);
        assert_int_equal(shoal_budget_open(&b, &f->store, &l, clock_s, &err), SHOAL_ERR_FORMAT);
        assert_non_null(strstr(err.hint, "traffic"));
    }
}

static void bounds_are_kept_beside_the_policy(void **state)
{
    fixture *f = *state;
    shoal_budget_limits l = {7 * MB, 0}, back;
    shoal_sa_policy p = shoal_sa_policy_default();
    assert_int_equal(shoal_policy_load_budget(&f->store, &back, NULL), SHOAL_OK);
    assert_int_equal(back.round, 0);
    p.n_min = 40;
    assert_int_equal(shoal_policy_save(&f->store, &p, NULL), SHOAL_OK);
    assert_int_equal(shoal_policy_save_budget(&f->store, &l, NULL), SHOAL_OK);
    p.n_min = 50;
    assert_int_equal(shoal_policy_save(&f->store, &p, NULL), SHOAL_OK);
    assert_int_equal(shoal_policy_load_budget(&f->store, &back, NULL), SHOAL_OK);
    assert_int_equal(back.round, 7 * MB);
    assert_int_equal(back.month, 0);
    assert_int_equal(shoal_policy_load(&f->store, &p, NULL), SHOAL_OK);
    assert_int_equal(p.n_min, 50);
}

static void a_round_costs_at_least_its_input_and_the_next_version(void **state)
{
    (void)state;
    shoal_round_size s = {.words = 2400001,
                          .ring_bits = 20,
                          .cohort = 64,
                          .peers = 64,
                          .adapter_bytes = 9600000,
                          .downloads = 1};
    uint64_t once = shoal_round_bytes(&s);
    assert_in_range(once, 6000003 + 9600000, (6000003 + 9600000) * 103 / 100 + 300000);
    s.downloads = 2;
    assert_true(shoal_round_bytes(&s) > once + 9600000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(months_of_the_calendar),
        cmocka_unit_test_setup_teardown(what_was_used_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_crash_never_counts_too_little, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_request_that_cannot_be_counted_is_not_made, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_month_begins_from_nothing_and_none_comes_back, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_round_has_its_own_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_last_estimate_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_account_is_not_an_empty_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bounds_are_kept_beside_the_policy, set_up, tear_down),
        cmocka_unit_test(a_round_costs_at_least_its_input_and_the_next_version)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
