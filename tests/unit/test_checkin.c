/* The decision table of a check-in, row by row. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "aggregator/checkin.h"

static const shoal_db_task RUNNING = {.state = SHOAL_TASK_RUNNING, .version = 3, .last_round = 9};

static shoal_checkin_decision decide(shoal_checkin_view v, shoal_checkin_request q)
{
    v.task = v.task != NULL ? v.task : &RUNNING;
    v.poll_ms = 100;
    return shoal_checkin_decide(&v, &q);
}

static void test_task_state(void **state)
{
    (void)state;
    shoal_db_task t = RUNNING;
    shoal_checkin_request ready = {.adapter_version = 3, .trained = true};
    t.state = SHOAL_TASK_STOPPED;
    assert_int_equal(decide((shoal_checkin_view){.task = &t}, ready).answer, SHOAL_ANSWER_WAIT);
    t.state = SHOAL_TASK_FINISHED;
    shoal_checkin_decision d = decide((shoal_checkin_view){.task = &t}, ready);
    assert_int_equal(d.answer, SHOAL_ANSWER_WAIT);
    assert_true(d.retry_after_ms > 60000);
    assert_true(d.retry_after_ms <= SHOAL_LIMIT_RETRY_MS);
    assert_true(strlen(d.reason) > 0 && strlen(d.reason) < SHOAL_LIMIT_TEXT);
}

static void test_no_update(void **state)
{
    (void)state;
    shoal_checkin_request q = {.adapter_version = 3};
    assert_int_equal(decide((shoal_checkin_view){0}, q).answer, SHOAL_ANSWER_TRAIN);
    shoal_checkin_view gathering = {.session = true, .gathering = true, .session_round = 9};
    assert_int_equal(decide(gathering, q).answer, SHOAL_ANSWER_TRAIN);
    shoal_checkin_view summing = {.session = true, .session_round = 9};
    assert_int_equal(decide(summing, q).answer, SHOAL_ANSWER_WAIT);
    q = (shoal_checkin_request){.adapter_version = 2, .trained = true}; /* an old update is none */
    assert_int_equal(decide((shoal_checkin_view){0}, q).answer, SHOAL_ANSWER_TRAIN);
}

static void test_rounds_of_a_day(void **state)
{
    (void)state;
    shoal_checkin_request q = {.adapter_version = 3, .trained = true, .last_round = 8};
    shoal_checkin_view v = {.session = true, .gathering = true, .session_round = 9};
    assert_int_equal(decide(v, q).answer, SHOAL_ANSWER_JOIN);
    v.quota_ms = 5000000;
    shoal_checkin_decision d = decide(v, q);
    assert_int_equal(d.answer, SHOAL_ANSWER_WAIT);
    assert_int_equal(d.retry_after_ms, 5000000);
    q.trained = false; /* nor does it train for nothing */
    assert_int_equal(decide(v, q).answer, SHOAL_ANSWER_WAIT);
}

static void test_update_ready(void **state)
{
    (void)state;
    shoal_checkin_request q = {.adapter_version = 3, .trained = true, .last_round = 8};
    assert_int_equal(decide((shoal_checkin_view){0}, q).answer, SHOAL_ANSWER_OPEN);
    shoal_checkin_view v = {.session = true, .gathering = true, .session_round = 9};
    assert_int_equal(decide(v, q).answer, SHOAL_ANSWER_JOIN);
    v.member = true;
    assert_int_equal(decide(v, q).answer, SHOAL_ANSWER_WAIT);
    v.member = false;
    q.last_round = 9; /* it was in that round before a crash and must not join it again */
    assert_int_equal(decide(v, q).answer, SHOAL_ANSWER_WAIT);
    v.gathering = false;
    q.last_round = 8;
    assert_int_equal(decide(v, q).answer, SHOAL_ANSWER_WAIT);
}

/* The database was restored from an old copy: the device would refuse every lower round. */
static void test_device_is_ahead(void **state)
{
    (void)state;
    shoal_checkin_request q = {.adapter_version = 3, .trained = true, .last_round = 10};
    assert_int_equal(decide((shoal_checkin_view){0}, q).answer, SHOAL_ANSWER_WAIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_task_state), cmocka_unit_test(test_no_update),
        cmocka_unit_test(test_rounds_of_a_day), cmocka_unit_test(test_update_ready),
        cmocka_unit_test(test_device_is_ahead)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
