/* test_sa_faults.c - a session in which one allocation, or all from one on, or one draw of random
 * bytes fails, for every such point there is: each call refuses cleanly, a device that failed says
 * nothing more, and the end is the exact sum of the inputs accepted, or a refusal. Leaks are the
 * address sanitizer's to find. Spec 6.3.
 *
 * Built twice: with cheap_crypto.c, where a session costs nothing, and with the real primitives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "tests/support/sa_cohort.h"

enum { DEVICES = 5, DIM = 12 };

static cohort g;

/* ---- a session in which anything may fail ---- */

typedef struct outcome {
    bool said[DEVICES][SHOAL_SA_DONE];
    bool failed[DEVICES]; /* its machine has ended */
    unsigned in_sum;
} outcome;

/* Hands over what a device said. A refusal for want of memory changes nothing: once more. */
static bool deliver(size_t i, shoal_sa_stage stage)
{
    shoal_status st = cohort_send(&g, i, stage);
    if (st == SHOAL_ERR_NOMEM) st = cohort_send(&g, i, stage);
    return st == SHOAL_OK;
}

static void act(outcome *o, size_t i, shoal_sa_stage stage)
{
    const shoal_sa_client *k = g.dev[i].client;
    shoal_status st = cohort_answer(&g, i, stage);
    if (o->failed[i]) {
        assert_int_not_equal(st, SHOAL_OK); /* nothing after a failure */
        assert_int_equal(g.dev[i].sent[stage].len, 0);
        return;
    }
    if (st == SHOAL_ERR_NOMEM && shoal_sa_client_stage(k) != SHOAL_SA_FAILED) {
        st = cohort_answer(&g, i,
                           stage); /* the message was not to be had; the device has not begun */
    }
    o->failed[i] = shoal_sa_client_stage(k) == SHOAL_SA_FAILED;
    if (st != SHOAL_OK) {
        assert_int_equal(g.dev[i].sent[stage].len, 0);
        return;
    }
    o->said[i][stage] = deliver(i, stage);
    if (stage == SHOAL_SA_INPUT && o->said[i][stage]) o->in_sum |= 1u << i;
}

/* True when the session came to its sum. */
static bool play(outcome *o)
{
    memset(o, 0, sizeof *o);
    for (shoal_sa_stage stage = SHOAL_SA_ADVERTISE; stage < SHOAL_SA_DONE; stage++) {
        for (size_t i = 0; i < DEVICES; i++) {
            if (stage == SHOAL_SA_ADVERTISE || o->said[i][stage - 1] ||
                (stage == SHOAL_SA_UNMASK && o->said[i][SHOAL_SA_INPUT])) {
                act(o, i, stage);
            }
        }
        if (shoal_sa_server_advance(g.server, true, &g.err) != SHOAL_OK) break;
    }
    return shoal_sa_server_stage(g.server) == SHOAL_SA_DONE;
}

/* Opens a fresh session with every device's randomness as at first. */
static void fresh(void)
{
    for (size_t i = 0; i < DEVICES; i++) {
        test_entropy_init(&g.dev[i].entropy, 900 + i);
    }
    cohort_start(&g);
}

static void check_end(const outcome *o, bool done)
{
    if (done) {
        cohort_check_sum(&g, o->in_sum);
    } else {
        assert_null(shoal_sa_server_sum(g.server));
        assert_int_equal(shoal_sa_server_stage(g.server), SHOAL_SA_FAILED);
        assert_true(shoal_sa_server_reason(g.server)[0] != '\0');
    }
}

static int open_cohort(void **state)
{
    (void)state;
    cohort_open(&g, DEVICES, DIM, 11);
    return 0;
}

static int close_cohort(void **state)
{
    (void)state;
    cohort_close(&g);
    return 0;
}

/* ---- what fails ---- */

static uint64_t allocations_of_a_session(void)
{
    outcome o;
    fresh();
    uint64_t before = shoal_mem_count();
    assert_true(play(&o));
    assert_int_equal(o.in_sum, (1u << DEVICES) - 1u);
    return shoal_mem_count() - before;
}

static void test_one_allocation(void **state)
{
    (void)state;
    uint64_t points = allocations_of_a_session();
    size_t done = 0;
    assert_true(points > 20);
    for (uint64_t k = 1; k <= points; k++) {
        outcome o;
        fresh();
        shoal_mem_fail_at(k, false);
        bool whole = play(&o);
        shoal_mem_fail_at(0, false);
        check_end(&o, whole);
        done += whole ? 1 : 0;
    }
    print_message("%u points, %u sessions came to a sum\n", (unsigned)points, (unsigned)done);
    assert_true(done > points / 2); /* one device's trouble ends few sessions: five, four needed */
}

static void test_all_allocations_from_one_on(void **state)
{
    (void)state;
    uint64_t points = allocations_of_a_session();
    for (uint64_t k = 1; k <= points; k++) {
        outcome o;
        fresh();
        shoal_mem_fail_at(k, true);
        bool whole = play(&o);
        shoal_mem_fail_at(0, false);
        check_end(&o, whole);
    }
}

/* ---- the system gives no random bytes ---- */

typedef struct failing_entropy {
    const shoal_entropy *inner;
    uint64_t left; /* draws until the one that fails; 0: none does */
    bool failed;
} failing_entropy;

static shoal_status fill_or_fail(void *ctx, void *out, size_t n, shoal_error *err)
{
    failing_entropy *e = ctx;
    if (e->left > 0 && --e->left == 0) {
        e->failed = true;
        return shoal_fail(err, SHOAL_ERR_IO, "no random bytes");
    }
    return e->inner->fill(e->inner->ctx, out, n, err);
}

static void test_every_draw(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t k = 1; failed; k++) {
        outcome o;
        fresh();
        failing_entropy f = {.inner = &g.dev[2].entropy.source, .left = k};
        shoal_entropy source = {fill_or_fail, &f};
        shoal_sa_client_options opt = cohort_options(&g, 2);
        opt.entropy = &source;
        shoal_sa_client_close(g.dev[2].client);
        assert_int_equal(shoal_sa_client_open(&g.dev[2].client, &opt, g.descriptor.data,
                                              g.descriptor.len, &g.err),
                         SHOAL_OK);
        bool whole = play(&o);
        check_end(&o, whole);
        failed = f.failed;
        assert_int_equal(o.failed[2], failed);
        assert_true(whole); /* the other four go on */
        assert_int_equal(o.in_sum, failed ? 0x1b : 0x1f);
        assert_true(k < 1000);
    }
}

/* Opening a session, too: no half-made machine. */
static void test_opening(void **state)
{
    (void)state;
    fresh();
    shoal_sa_server_options so = {
        .ca = g.ca.data, .ca_n = g.ca.len, .task_spki = g.task_spki, .ex = &g.ex};
    shoal_sa_client_options co = cohort_options(&g, 0);
    shoal_status server = SHOAL_ERR_NOMEM, client = SHOAL_ERR_NOMEM;
    for (uint64_t k = 1; k < 100 && (server != SHOAL_OK || client != SHOAL_OK); k++) {
        shoal_sa_server *s = NULL;
        shoal_sa_client *c = NULL;
        shoal_mem_fail_at(k, false);
        server = shoal_sa_server_open(&s, &so, g.descriptor.data, g.descriptor.len, NULL);
        shoal_mem_fail_at(k, false);
        client = shoal_sa_client_open(&c, &co, g.descriptor.data, g.descriptor.len, NULL);
        shoal_mem_fail_at(0, false);
        assert_int_equal(s == NULL, server != SHOAL_OK);
        assert_int_equal(c == NULL, client != SHOAL_OK);
        assert_true(server == SHOAL_OK || server == SHOAL_ERR_NOMEM);
        assert_true(client == SHOAL_OK || client == SHOAL_ERR_NOMEM);
        shoal_sa_server_close(s);
        shoal_sa_client_close(c);
    }
    assert_int_equal(server, SHOAL_OK);
    assert_int_equal(client, SHOAL_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opening),
        cmocka_unit_test(test_one_allocation),
        cmocka_unit_test(test_all_allocations_from_one_on),
        cmocka_unit_test(test_every_draw),
    };
    return cmocka_run_group_tests(tests, open_cohort, close_cohort);
}
