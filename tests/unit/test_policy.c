/* test_policy.c - what a device demands of a round: kept, ranged, and never weaker by accident. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "client/policy.h"
#include "kernels/base/file.h"
#include "tests/support/temp_dir.h"

typedef struct fixture {
    char dir[TEMP_DIR_MAX];
    char path[TEMP_DIR_MAX + 16];
    shoal_store store;
} fixture;

static int set_up(void **state)
{
    fixture *f = test_calloc(1, sizeof *f);
    temp_dir_make(f->dir);
    (void)snprintf(f->path, sizeof f->path, "%s/policy", f->dir);
    assert_int_equal(shoal_store_open(&f->store, f->dir, NULL), SHOAL_OK);
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

static void assert_default(const shoal_sa_policy *p)
{
    shoal_sa_policy d = shoal_sa_policy_default();
    assert_int_equal(p->n_min, 32);
    assert_int_equal(p->ring_bits_min, d.ring_bits_min);
    assert_true(p->clip_norm_max == d.clip_norm_max);
    assert_int_equal(p->weight_max, d.weight_max);
}

static void write_policy(const fixture *f, const char *text)
{
    assert_int_equal(shoal_file_write_atomic(f->path, text, strlen(text), 0600, NULL), SHOAL_OK);
}

static void no_file_means_the_defaults(void **state)
{
    fixture *f = *state;
    shoal_sa_policy p;
    assert_int_equal(shoal_policy_load(&f->store, &p, NULL), SHOAL_OK);
    assert_default(&p);
    assert_false(shoal_policy_is_weak(32));
    assert_true(shoal_policy_is_weak(31));
}

static void demands_are_kept_and_can_be_taken_back(void **state)
{
    fixture *f = *state;
    struct stat sb;
    shoal_sa_policy p = shoal_sa_policy_default(), back;
    p.n_min = 50;
    p.ring_bits_min = 20;
    p.clip_norm_max = 1.0 / 3.0;
    p.weight_max = 77;
    p.committee_min = 200;
    p.security_bits = 80;
    p.new_percent_max = 25;
    p.new_s = 7200;
    assert_int_equal(shoal_policy_save(&f->store, &p, NULL), SHOAL_OK);
    assert_int_equal(stat(f->path, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0600);
    assert_int_equal(shoal_policy_load(&f->store, &back, NULL), SHOAL_OK);
    assert_int_equal(back.n_min, 50);
    assert_int_equal(back.ring_bits_min, 20);
    assert_true(back.clip_norm_max == 1.0 / 3.0);
    assert_int_equal(back.weight_max, 77);
    assert_int_equal(back.committee_min, 200);
    assert_int_equal(back.security_bits, 80);
    assert_int_equal(back.new_percent_max, 25);
    assert_int_equal(back.new_s, 7200);
    assert_int_equal(shoal_policy_reset(&f->store, NULL), SHOAL_OK);
    assert_int_equal(shoal_policy_reset(&f->store, NULL), SHOAL_OK);
    assert_int_equal(shoal_policy_load(&f->store, &back, NULL), SHOAL_OK);
    assert_default(&back);
}

/* A value that cannot be is an error, and what comes back with it is the default. */
static void a_damaged_policy_is_refused(void **state)
{
    fixture *f = *state;
    static const char *const bad[] = {"min_cohort 0\n",
                                      "min_cohort 2\n",
                                      "min_cohort -5\n",
                                      "min_cohort 32",
                                      "min_cohort 4294967328\n",
                                      "min_cohort x\n",
                                      "min_ring_bits 15\n",
                                      "min_ring_bits 33\n",
                                      "max_clip nan\n",
                                      "max_clip -1\n",
                                      "max_clip 0\n",
                                      "max_clip inf\n",
                                      "max_weight 0\n",
                                      "max_weight 1e3\n",
                                      "max_weight 4294967296\n",
                                      "max_new_percent 101\n",
                                      "min_committee 0\n",
                                      "min_committee 257\n",
                                      "security_bits 0\n",
                                      "security_bits 19\n",
                                      "garbage\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        shoal_sa_policy p;
        shoal_error err = {0};
        write_policy(f, bad[i]);
        if (shoal_policy_load(&f->store, &p, &err) != SHOAL_ERR_FORMAT) fail_msg("%s", bad[i]);
        assert_default(&p);
        assert_non_null(strstr(err.hint, "shoal policy --reset"));
    }
    shoal_sa_policy p = shoal_sa_policy_default();
    p.n_min = 2;
    assert_int_equal(shoal_policy_save(&f->store, &p, NULL), SHOAL_ERR_ARG);
}

/* One demand alone, and lines of a later version. */
static void what_is_not_there_has_its_default(void **state)
{
    fixture *f = *state;
    shoal_sa_policy p;
    write_policy(f, "max_weight 5\nof_a_later_version yes\n");
    assert_int_equal(shoal_policy_load(&f->store, &p, NULL), SHOAL_OK);
    assert_int_equal(p.n_min, 32);
    assert_int_equal(p.weight_max, 5);
}

/* A full disk leaves the demands as they were. */
static void a_policy_is_replaced_whole(void **state)
{
    fixture *f = *state;
    shoal_sa_policy p = shoal_sa_policy_default(), back;
    p.n_min = 40;
    assert_int_equal(shoal_policy_save(&f->store, &p, NULL), SHOAL_OK);
    p.n_min = 3;
    shoal_file_fail_at(1, ENOSPC);
    assert_int_not_equal(shoal_policy_save(&f->store, &p, NULL), SHOAL_OK);
    shoal_file_fail_at(0, 0);
    assert_int_equal(shoal_policy_load(&f->store, &back, NULL), SHOAL_OK);
    assert_int_equal(back.n_min, 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_file_means_the_defaults, set_up, tear_down),
        cmocka_unit_test_setup_teardown(demands_are_kept_and_can_be_taken_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_policy_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_there_has_its_default, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_policy_is_replaced_whole, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
