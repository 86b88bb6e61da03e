/* test_lane.c - the order of work beside the loop: control before bulk, and bulk all the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "aggregator/lane.h"

enum { JOBS_MAX = 64 };

typedef struct bench {
    shoal_loop *loop;
    shoal_lane *lane;
    char order[JOBS_MAX + 1]; /* 'c' or 'b', as they were done */
    size_t n, expected;
} bench;

typedef struct job {
    bench *b;
    char kind;
} job;

static void work(void *ctx)
{
    (void)ctx;
}

static void done(void *ctx)
{
    job *j = ctx;
    bench *b = j->b;
    b->order[b->n++] = j->kind;
    if (b->n == b->expected) shoal_loop_stop(b->loop);
}

static void push(job *j)
{
    shoal_lane *lane = j->b->lane;
    assert_int_equal(j->kind == 'b' ? shoal_lane_push_bulk(lane, j, work, done, j, NULL)
                                    : shoal_lane_push(lane, j, work, done, j, NULL),
                     SHOAL_OK);
}

/* Queues these kinds at once; the order they were done in. The first starts before there are
 * others. */
static void run(const char *kinds, char order[JOBS_MAX + 1])
{
    bench b = {.expected = strlen(kinds)};
    job jobs[JOBS_MAX];
    assert_int_equal(shoal_loop_open(&b.loop, NULL), SHOAL_OK);
    assert_int_equal(shoal_lane_open(&b.lane, b.loop, NULL), SHOAL_OK);
    for (size_t i = 0; i < b.expected; i++) {
        jobs[i] = (job){&b, kinds[i]};
        push(&jobs[i]);
    }
    assert_true(shoal_lane_busy(b.lane, NULL));
    shoal_loop_run(b.loop);
    assert_false(shoal_lane_busy(b.lane, NULL));
    memcpy(order, b.order, sizeof b.order);
    shoal_loop_close(b.loop);
    shoal_lane_close(b.lane);
}

static void control_goes_before_waiting_bulk(void **state)
{
    (void)state;
    char order[JOBS_MAX + 1];
    run("bbbbccc", order);
    assert_string_equal(order, "bcccbbb");
    run("cbcbcb", order);
    assert_string_equal(order, "cccbbb");
}

/* A flood of control messages slows bulk down and does not stop it. */
static void bulk_has_its_turns(void **state)
{
    (void)state;
    char order[JOBS_MAX + 1];
    run("bbbcccccccccccccccccccc", order);
    assert_string_equal(order, "bccccccccbccccccccbcccc");
    assert_int_equal(SHOAL_LANE_TURNS, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(control_goes_before_waiting_bulk),
                                       cmocka_unit_test(bulk_has_its_turns)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
