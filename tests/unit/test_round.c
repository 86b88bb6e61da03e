/* Whole rounds over HTTPS on loopback: real service, real certificates, vectors that are known, so
 * that every new adapter version can be compared with what it must be. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "kernels/base/file.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "tests/support/fed_fleet.h"

enum { N = FED_FLEET };

static void fleet_open(fed_fleet *f, uint64_t rounds)
{
    const fed_task t = {
        .n_min = 3, .n_target = N, .rounds = rounds, .gather_ms = 6000, .stage_ms = 2500};
    fed_fleet_open(f, &t);
}

static const fed_last ALL[N] = {FED_FINISHES, FED_FINISHES, FED_FINISHES, FED_FINISHES};

static void test_everyone(void **state)
{
    (void)state;
    static fed_fleet f;
    fleet_open(&f, 2);
    fed_fleet_round(&f, ALL);
    for (size_t i = 0; i < N; i++) {
        if (!f.parts[i].finished) {
            fail_msg("device %zu: %s", i, f.parts[i].trouble);
        }
        assert_int_equal(f.parts[i].result.survivors, N);
        assert_int_equal(f.parts[i].result.release.version, 1);
    }
    fed_fleet_check(&f, 1, ALL);
    fed_fleet_round(&f, ALL);
    fed_fleet_check(&f, 2, ALL);
    shoal_db_task t = fed_fleet_task(&f);
    assert_int_equal(t.state, SHOAL_TASK_FINISHED); /* two rounds were asked for */
    assert_int_equal(t.rounds_done, 2);
    shoal_checkin_response *c = shoal_calloc(1, sizeof *c);
    assert_int_equal(fed_device_checkin(&f.devices[0], false, c), 200);
    assert_int_equal(c->kind, SHOAL_CHECKIN_WAIT);
    shoal_free(c);
    fed_fleet_close(&f);
}

/* A device that vanishes after each of its messages in turn; the others finish every time. */
static void test_one_vanishes(void **state)
{
    (void)state;
    static fed_fleet f;
    fleet_open(&f, 0);
    uint64_t v = 0;
    for (fed_last last = FED_ADVERTISES; last < FED_FINISHES; last++) {
        fed_last plan[N] = {FED_FINISHES, FED_FINISHES, FED_FINISHES, FED_FINISHES};
        plan[last % N] = last;
        fed_fleet_round(&f, plan);
        for (size_t i = 0; i < N; i++) {
            if (!f.parts[i].finished && plan[i] == FED_FINISHES) {
                fail_msg("last message %d, device %zu: %s", (int)last, i, f.parts[i].trouble);
            }
        }
        shoal_db_round r = fed_fleet_last(&f);
        assert_int_equal(r.state, SHOAL_ROUND_DONE);
        assert_int_equal(r.roster, N);
        assert_int_equal(r.survivors, last >= FED_UPLOADS ? N : N - 1);
        fed_fleet_check(&f, ++v, plan);
    }
    fed_fleet_close(&f);
}

/* Too few are left: the round fails with its reason, nothing changes, the next one works. */
static void test_too_few(void **state)
{
    (void)state;
    static fed_fleet f;
    fleet_open(&f, 0);
    const fed_last plan[N] = {FED_SHARES, FED_FINISHES, FED_SHARES, FED_FINISHES};
    fed_fleet_round(&f, plan);
    assert_false(f.parts[1].finished || f.parts[3].finished);
    assert_non_null(strstr(f.parts[1].trouble, "410"));
    shoal_db_round r = fed_fleet_last(&f);
    assert_int_equal(r.state, SHOAL_ROUND_FAILED);
    assert_int_equal(r.stage, SHOAL_SA_CONFIRM);
    assert_non_null(strstr(r.reason, "2 of the 3 clients needed"));
    assert_int_equal(fed_fleet_task(&f).version, 0);
    fed_fleet_round(&f, ALL);
    assert_true(fed_fleet_last(&f).round > r.round);
    fed_fleet_check(&f, 1, ALL);
    fed_fleet_close(&f);
}

/* The aggregator stops in the middle of a round and comes back. */
static void test_restart(void **state)
{
    (void)state;
    static fed_fleet f;
    fleet_open(&f, 0);
    shoal_checkin_response *c = shoal_calloc(1, sizeof *c);
    assert_int_equal(fed_device_checkin(&f.devices[0], true, c), 200);
    assert_int_equal(c->kind, SHOAL_CHECKIN_JOIN);
    shoal_free(c);
    shoal_db_round r = fed_fleet_last(&f);
    assert_int_equal(r.state, SHOAL_ROUND_OPEN);
    fed_server_restart(&f.server);
    shoal_db_round was;
    shoal_error err = {0};
    assert_int_equal(shoal_db_round_get(f.server.d.db, r.task_id, r.round, &was, &err), SHOAL_OK);
    assert_int_equal(was.state, SHOAL_ROUND_ABANDONED);
    for (size_t i = 0; i < N; i++) { /* the port is another one */
        char link[SHOAL_LIMIT_LINK];
        shoal_join_link l;
        fed_server_invite(&f.server, link);
        assert_int_equal(shoal_join_link_decode(link, &l, &err), SHOAL_OK);
        (void)snprintf(f.devices[i].base, sizeof f.devices[i].base, "https://%s:%u", l.host,
                       (unsigned)l.port);
    }
    fed_fleet_round(&f, ALL);
    assert_true(fed_fleet_last(&f).round > r.round);
    fed_fleet_check(&f, 1, ALL);
    fed_fleet_close(&f);
}

/* The disk is full when the new version is to be written. */
static void test_full_disk(void **state)
{
    (void)state;
    static fed_fleet f;
    fleet_open(&f, 0);
    shoal_file_fail_at(N + 1, ENOSPC); /* behind the chunks of the devices */
    fed_fleet_round(&f, ALL);
    shoal_file_fail_at(0, 0);
    shoal_db_round r = fed_fleet_last(&f);
    assert_int_equal(r.state, SHOAL_ROUND_FAILED);
    assert_non_null(strstr(r.reason, "could not be made"));
    assert_int_equal(fed_fleet_task(&f).version, 0);
    assert_int_equal(fed_fleet_task(&f).rounds_done, 0);
    fed_fleet_round(&f, ALL);
    fed_fleet_check(&f, 1, ALL);
    fed_fleet_close(&f);
}

static void test_adapter_download(void **state)
{
    (void)state;
    static fed_fleet f;
    fleet_open(&f, 0);
    shoal_db_release r;
    shoal_error err = {0};
    char hex[65], path[128];
    shoal_buf reply = shoal_buf_init(16u << 20);
    uint8_t hash[32];
    assert_int_equal(shoal_db_release_get(f.server.d.db, f.server.task.id, 0, &r, &err), SHOAL_OK);
    shoal_hex_encode(r.r.sha256, 32, hex);
    (void)snprintf(path, sizeof path, "/v1/blobs/%s", hex);
    assert_int_equal(fed_device_call(&f.devices[0], "GET", path, NULL, 0, &reply), 200);
    assert_int_equal(reply.len, r.r.size);
    assert_int_equal(shoal_sha256(reply.data, reply.len, hash, &err), SHOAL_OK);
    assert_memory_equal(hash, r.r.sha256, 32);
    path[12] = path[12] == '0' ? '1' : '0';
    assert_int_equal(fed_device_call(&f.devices[0], "GET", path, NULL, 0, &reply), 404);
    shoal_buf_clear(&reply);
    fed_fleet_close(&f);
}

/* A session's paths are for its members and in their order. */
/* Too early, malformed, an input without a place (Spec 3.6.1), not a member, no such session. */
static void test_order_and_membership(void **state)
{
    (void)state;
    static fed_fleet f;
    fleet_open(&f, 0);
    shoal_checkin_response *c = shoal_calloc(1, sizeof *c);
    assert_int_equal(fed_device_checkin(&f.devices[0], true, c), 200);
    shoal_free(c);
    shoal_db_round r = fed_fleet_last(&f);
    char id[65], path[160];
    shoal_buf reply = shoal_buf_init(1u << 20);
    shoal_hex_encode(r.session_id, 32, id);
    (void)snprintf(path, sizeof path, "/v1/sessions/%s/shares", id);
    assert_int_equal(fed_device_call(&f.devices[0], "POST", path, "x", 1, &reply), 425);
    (void)snprintf(path, sizeof path, "/v1/sessions/%s/advertise", id);
    assert_int_equal(fed_device_call(&f.devices[0], "POST", path, "x", 1, &reply), 400);
    (void)snprintf(path, sizeof path, "/v1/sessions/%s/roster", id);
    assert_int_equal(fed_device_call(&f.devices[0], "GET", path, NULL, 0, &reply), 403);
    (void)snprintf(path, sizeof path, "/v1/sessions/%s/input", id);
    assert_int_equal(fed_device_call(&f.devices[0], "PUT", path, "x", 1, &reply), 400);
    id[0] = id[0] == '0' ? '1' : '0';
    (void)snprintf(path, sizeof path, "/v1/sessions/%s/roster", id);
    assert_int_equal(fed_device_call(&f.devices[0], "GET", path, NULL, 0, &reply), 404);
    shoal_buf_clear(&reply);
    fed_fleet_close(&f);
}

static void wait_abandoned(fed_fleet *f)
{
    for (int i = 0; i < 100 && fed_fleet_last(f).state == SHOAL_ROUND_OPEN; i++) {
        struct timespec t = {.tv_nsec = 50 * 1000000};
        (void)nanosleep(&t, NULL);
    }
    assert_int_equal(fed_fleet_last(f).state, SHOAL_ROUND_ABANDONED);
}

/* One of many who wait for the same roster. */
typedef struct reader {
    fed_device device; /* a copy with a connection of its own */
    char path[160];
    shoal_buf reply;
    long status;
} reader;

static void *read_roster(void *ctx)
{
    reader *r = ctx;
    for (int i = 0; i < 500; i++) {
        r->status = fed_device_call(&r->device, "GET", r->path, NULL, 0, &r->reply);
        if (r->status != 403) { /* it has not advertised yet */
            break;
        }
        struct timespec t = {.tv_nsec = 20 * 1000000};
        (void)nanosleep(&t, NULL);
    }
    return NULL;
}

/* More devices wait than are answered in one turn: all are, and what M2 has for all of them alike
 * is the same for all. */
static void test_many_readers(void **state)
{
    (void)state;
    enum { MEMBERS = 3, EACH = 6, READERS = MEMBERS * EACH, ALIKE = 36 + MEMBERS * 176 };
    static fed_fleet f;
    static reader readers[READERS];
    pthread_t threads[READERS];
    const fed_last plan[N] = {FED_FINISHES, FED_FINISHES, FED_FINISHES, FED_JOINS};
    fleet_open(&f, 0);
    shoal_checkin_response *c = shoal_calloc(1, sizeof *c);
    assert_int_equal(fed_device_checkin(&f.devices[0], true, c), 200); /* opens the session */
    shoal_free(c);
    char id[65];
    shoal_hex_encode(fed_fleet_last(&f).session_id, 32, id);
    for (size_t i = 0; i < READERS; i++) {
        reader *r = &readers[i];
        *r = (reader){.device = f.devices[i % MEMBERS], .reply = shoal_buf_init(1u << 20)};
        r->device.curl = curl_easy_init();
        (void)snprintf(r->path, sizeof r->path, "/v1/sessions/%s/roster?wait=20000", id);
        assert_int_equal(pthread_create(&threads[i], NULL, read_roster, r), 0);
    }
    fed_fleet_round(&f, plan);
    for (size_t i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(readers[i].status, 200);
        assert_true(readers[i].reply.len > ALIKE);
        assert_memory_equal(readers[i].reply.data, readers[0].reply.data, ALIKE);
    }
    fed_fleet_check(&f, 1, plan);
    for (size_t i = 0; i < READERS; i++) {
        curl_easy_cleanup(readers[i].device.curl);
        shoal_buf_clear(&readers[i].reply);
    }
    fed_fleet_close(&f);
}

/* `task stop` from another process ends the round that is going on. */
static void test_stop_task(void **state)
{
    (void)state;
    static fed_fleet f;
    fleet_open(&f, 0);
    shoal_error err = {0};
    shoal_checkin_response *c = shoal_calloc(1, sizeof *c);
    assert_int_equal(fed_device_checkin(&f.devices[0], true, c), 200);
    assert_int_equal(
        shoal_db_task_set_state(f.server.d.db, f.server.task.id, SHOAL_TASK_STOPPED, &err),
        SHOAL_OK);
    assert_int_equal(fed_device_checkin(&f.devices[1], true, c), 200);
    assert_int_equal(c->kind, SHOAL_CHECKIN_WAIT);
    shoal_free(c);
    wait_abandoned(&f);
    fed_fleet_close(&f);
}

/* Any message to the running round's first stage. */
static long advertise(fed_fleet *f, size_t device, shoal_buf *reply)
{
    char id[65], path[160];
    shoal_hex_encode(fed_fleet_last(f).session_id, 32, id);
    (void)snprintf(path, sizeof path, "/v1/sessions/%s/advertise", id);
    return fed_device_call(&f->devices[device], "POST", path, "x", 1, reply);
}

static void set_state(fed_fleet *f, shoal_task_state state)
{
    assert_int_equal(shoal_db_task_set_state(f->server.d.db, f->server.task.id, state, NULL),
                     SHOAL_OK);
}

/* A device that spoils rounds has a day's number of them, wherever it learns of the next. */
static void test_rounds_of_a_day(void **state)
{
    (void)state;
    static fed_fleet f;
    const fed_task t = {
        .n_min = 3, .n_target = N, .gather_ms = 60000, .stage_ms = 2500, .sessions_per_day = 1};
    fed_fleet_open(&f, &t);
    shoal_checkin_response *c = shoal_calloc(1, sizeof *c);
    shoal_buf reply = shoal_buf_init(1u << 20);
    assert_int_equal(fed_device_checkin(&f.devices[0], true, c), 200);
    assert_int_equal(advertise(&f, 0, &reply), 400);
    assert_int_equal(advertise(&f, 0, &reply), 400); /* it may mend it */
    set_state(&f, SHOAL_TASK_STOPPED);
    wait_abandoned(&f);
    set_state(&f, SHOAL_TASK_RUNNING);
    assert_int_equal(fed_device_checkin(&f.devices[1], true, c), 200);
    assert_int_equal(c->kind, SHOAL_CHECKIN_JOIN);
    assert_int_equal(fed_device_checkin(&f.devices[0], true, c), 200);
    assert_int_equal(c->kind, SHOAL_CHECKIN_WAIT);
    assert_true(c->retry_after_ms > 23 * 3600 * 1000);
    assert_non_null(strstr(c->reason, "in a day"));
    assert_int_equal(advertise(&f, 0, &reply), 503);
    assert_true(f.devices[0].error.retry_after_ms > 23 * 3600 * 1000);
    assert_int_equal(advertise(&f, 1, &reply), 400);
    shoal_buf_clear(&reply);
    shoal_free(c);
    fed_fleet_close(&f);
}

int main(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    shoal_log_set(SHOAL_LOG_ERROR, NULL, NULL);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_everyone),
                                       cmocka_unit_test(test_one_vanishes),
                                       cmocka_unit_test(test_too_few),
                                       cmocka_unit_test(test_restart),
                                       cmocka_unit_test(test_full_disk),
                                       cmocka_unit_test(test_adapter_download),
                                       cmocka_unit_test(test_order_and_membership),
                                       cmocka_unit_test(test_many_readers),
                                       cmocka_unit_test(test_stop_task),
                                       cmocka_unit_test(test_rounds_of_a_day)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
