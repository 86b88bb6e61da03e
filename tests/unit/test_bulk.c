/* test_bulk.c - bulk data over a network that breaks: masked inputs of several chunks through the
 * real service, and what else goes on meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "client/api.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/base/term.h"
#include "tests/support/fed_client.h"
#include "tests/support/fed_fleet.h"

enum { N = FED_FLEET, CHUNK = SHOAL_LIMIT_CHUNK };

static const fed_last ALL[N] = {FED_FINISHES, FED_FINISHES, FED_FINISHES, FED_FINISHES};

/* Inputs of three chunks. */
static void fleet_open(fed_fleet *f)
{
    const fed_task t = {.n_min = 3,
                        .n_target = N,
                        .gather_ms = 10000,
                        .stage_ms = 8000,
                        .rank = 64,
                        .targets = 0x7f};
    fed_fleet_open(f, &t);
}

static void finish_all(fed_fleet *f, const fed_last plan[N])
{
    fed_fleet_round(f, plan);
    for (size_t i = 0; i < N; i++) {
        if (plan[i] == FED_FINISHES && !f->parts[i].finished) {
            fail_msg("device %zu: %s", i, f->parts[i].trouble);
        }
    }
}

/* ---- the device's own code, through a proxy ---------------------------------------------------
 */

typedef struct real_client {
    fed_client net;
    uint64_t sent; /* bytes of chunks */
    uint64_t counted_up, counted_down;
    size_t other_answers; /* on another connection, while the upload went on */
    double began, first_answer, last_answer;
    _Atomic double ended; /* 0: it goes on, as another thread sees it */
} real_client;

static void client_open(real_client *c, fed_fleet *f, const fed_device *d)
{
    memset(c, 0, sizeof *c);
    fed_client_open(&c->net, &f->server, d);
}

/* What client/net says the upload took. */
static void count(void *ctx, uint64_t sent, uint64_t received)
{
    real_client *c = ctx;
    c->counted_up += sent;
    c->counted_down += received;
}

static bool upload_as_a_device_does(fed_part *p, const char *session_hex, const shoal_buf *m5)
{
    real_client *c = p->ctx;
    shoal_error err = {0};
    shoal_api api = {.net = fed_client_net(&c->net)};
    const shoal_net_meter meter = {.after = count, .ctx = c};
    shoal_net_set_meter(api.net, &meter);
    c->began = shoal_clock_s();
    shoal_status st =
        shoal_api_session_upload(&api, session_hex, m5, c->began + 60, &c->sent, &err);
    c->ended = shoal_clock_s();
    shoal_net_close(api.net);
    if (st != SHOAL_OK) (void)snprintf(p->device->error.message, 200, "%.190s", err.msg);
    return st == SHOAL_OK;
}

/* ---- chunks -----------------------------------------------------------------------------------
 */

static long put_chunk(fed_part *p, const char *session_hex, const shoal_buf *m5, uint64_t at)
{
    shoal_buf reply = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    long status = fed_device_chunk(p->device, session_hex, m5->data, m5->len, at, &reply);
    shoal_buf_clear(&reply);
    return status;
}

static uint64_t ask_have(fed_part *p, const char *session_hex, const shoal_buf *m5)
{
    char path[160];
    shoal_upload_state s;
    shoal_buf reply = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    (void)snprintf(path, sizeof path, "/v1/sessions/%s/input", session_hex);
    assert_int_equal(fed_device_call(p->device, "GET", path, NULL, 0, &reply), 200);
    assert_int_equal(shoal_upload_state_decode(reply.data, reply.len, m5->len, &s, NULL), SHOAL_OK);
    shoal_buf_clear(&reply);
    return s.have;
}

/* Two of three chunks, then nothing more. */
static bool vanish_in_the_middle(fed_part *p, const char *session_hex, const shoal_buf *m5)
{
    assert_int_equal(shoal_upload_chunks(m5->len), 3);
    assert_int_equal(put_chunk(p, session_hex, m5, 0), 200);
    assert_int_equal(put_chunk(p, session_hex, m5, CHUNK), 200);
    assert_int_equal(ask_have(p, session_hex, m5), 2 * CHUNK);
    return false;
}

/* Spec 3.6.1, 3.6.2: whatever is sent out of place changes nothing; in the end it counts once. */
static bool try_everything(fed_part *p, const char *session_hex, const shoal_buf *m5)
{
    char path[320];
    shoal_buf other = shoal_buf_init(m5->len), reply = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    assert_true(shoal_buf_put(&other, m5->data, m5->len));
    other.data[CHUNK - 1] ^= 1;
    assert_int_equal(ask_have(p, session_hex, m5), 0);
    assert_int_equal(put_chunk(p, session_hex, m5, CHUNK), 425); /* a gap */
    assert_int_equal(put_chunk(p, session_hex, m5, 0), 200);
    assert_int_equal(put_chunk(p, session_hex, m5, 0), 200);
    assert_int_equal(put_chunk(p, session_hex, &other, 0), 409);
    (void)snprintf(path, sizeof path, "/v1/sessions/%s/input?offset=%d&hash=%064d", session_hex,
                   CHUNK, 7);
    assert_int_equal(fed_device_call(p->device, "PUT", path, m5->data, CHUNK, &reply), 422);
    assert_int_equal(fed_device_call(p->device, "PUT", path, m5->data, CHUNK - 1, &reply), 400);
    assert_int_equal(fed_device_call(p->device, "PUT", path, m5->data, CHUNK + 1, &reply), 400);
    (void)snprintf(path, sizeof path, "/v1/sessions/%s/input?offset=1&hash=%064d", session_hex, 7);
    assert_int_equal(fed_device_call(p->device, "PUT", path, m5->data, CHUNK, &reply), 400);
    (void)snprintf(path, sizeof path, "/v1/sessions/%s/input", session_hex);
    assert_int_equal(fed_device_call(p->device, "PUT", path, m5->data, CHUNK, &reply), 400);
    assert_int_equal(ask_have(p, session_hex, m5), CHUNK);
    assert_int_equal(put_chunk(p, session_hex, m5, CHUNK), 200);
    assert_int_equal(put_chunk(p, session_hex, m5, 2 * CHUNK), 200);
    for (uint64_t at = 0; at < m5->len; at += CHUNK) { /* all of it again, once it counted */
        assert_int_equal(put_chunk(p, session_hex, m5, at), 200);
    }
    assert_int_equal(put_chunk(p, session_hex, &other, 2 * CHUNK), 409);
    assert_int_equal(ask_have(p, session_hex, m5), m5->len);
    shoal_buf_clear(&other);
    shoal_buf_clear(&reply);
    return true;
}

/* Spec 3.6.2: an M5 that does not hold is forgotten whole; a right one may follow. */
static bool send_a_false_one_first(fed_part *p, const char *session_hex, const shoal_buf *m5)
{
    shoal_buf other = shoal_buf_init(m5->len), reply = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    assert_true(shoal_buf_put(&other, m5->data, m5->len));
    other.data[other.len - 1] ^= 1;
    assert_int_equal(fed_device_upload(p->device, session_hex, other.data, other.len, &reply), 422);
    assert_int_equal(ask_have(p, session_hex, m5), 0);
    long status = fed_device_upload(p->device, session_hex, m5->data, m5->len, &reply);
    shoal_buf_clear(&other);
    shoal_buf_clear(&reply);
    return status == 200;
}

static void an_input_counts_once_and_whole_or_not_at_all(void **state)
{
    (void)state;
    static fed_fleet f;
    fleet_open(&f);
    fed_last plan[N] = {FED_SHARES, FED_FINISHES, FED_FINISHES, FED_FINISHES};
    f.upload[0] = vanish_in_the_middle;
    f.upload[1] = try_everything;
    f.upload[2] = send_a_false_one_first;
    const fed_last said[N] = {FED_FINISHES, FED_FINISHES, FED_FINISHES, FED_FINISHES};
    fed_fleet_round(&f, said);
    assert_false(f.parts[0].finished);
    for (size_t i = 1; i < N; i++) {
        if (!f.parts[i].finished) {
            fail_msg("device %zu: %s", i, f.parts[i].trouble);
        }
    }
    assert_int_equal(fed_fleet_last(&f).survivors, N - 1);
    fed_fleet_check(&f, 1, plan);
    memset(f.upload, 0, sizeof f.upload); /* and the next round has everyone */
    finish_all(&f, ALL);
    fed_fleet_check(&f, 2, ALL);
    fed_fleet_close(&f);
}

/* Spec 3.6.3: what was acknowledged is not sent again, what was not is; one chunk at most. */
static void a_broken_connection_costs_a_chunk_at_most(void **state)
{
    (void)state;
    static fed_fleet f;
    static real_client c;
    fleet_open(&f);
    client_open(&c, &f, &f.devices[3]);
    f.upload[3] = upload_as_a_device_does;
    f.ctx = &c;
    unsigned long long up = 0, down = 0;
    for (uint64_t round = 1; round <= 4; round++) {
        unsigned long long up0 = atomic_load(&c.net.proxy.up),
                           down0 = atomic_load(&c.net.proxy.down);
        unsigned connections = atomic_load(&c.net.proxy.connections);
        c.counted_up = c.counted_down = 0;
        if (round == 2) atomic_store(&c.net.proxy.cut_at_up, up0 + CHUNK + CHUNK / 2);
        if (round == 3) atomic_store(&c.net.proxy.cut_at_up, up0 + up - 100);
        if (round == 4)
            atomic_store(&c.net.proxy.cut_at_down, down0 + down - 60); /* its last answer */
        finish_all(&f, ALL);
        fed_fleet_check(&f, round, ALL);
        up0 = atomic_load(&c.net.proxy.up) - up0;
        down0 = atomic_load(&c.net.proxy.down) - down0;
        print_message("round %llu: %llu bytes up, counted %llu; %llu down, counted %llu\n",
                      (unsigned long long)round, up0, (unsigned long long)c.counted_up, down0,
                      (unsigned long long)c.counted_down);
        /* A device's account (client/budget) is never below what went over the wire; what was
         * handed to a connection that broke counts. */
        assert_in_range(c.counted_up, up0, up0 + up0 / 20 + 6000 + (round > 1 ? CHUNK : 0));
        assert_in_range(c.counted_down, down0, down0 + down0 / 20 + 8000);
        assert_int_equal(atomic_load(&c.net.proxy.connections) - connections, round == 1 ? 1 : 2);
        if (round == 1) {
            up = up0;
            down = down0;
        } else {
            assert_true(up0 <= up + CHUNK + 8000); /* 8000: TLS and headers once more */
        }
    }
    fed_client_close(&c.net);
    fed_fleet_close(&f);
}

/* ---- beside bulk data -------------------------------------------------------------------------
 */

static void *check_in_meanwhile(void *ctx)
{
    fed_part *p = ctx;
    real_client *c = p->ctx;
    shoal_api api = {.net = fed_client_net(&c->net)};
    shoal_task_list *list = shoal_calloc(1, sizeof *list);
    while (c->ended == 0) {
        assert_int_equal(shoal_api_tasks(&api, list, NULL), SHOAL_OK);
        c->last_answer = shoal_clock_s();
        if (c->first_answer == 0) c->first_answer = c->last_answer;
        c->other_answers += c->ended == 0;
    }
    shoal_net_close(api.net);
    shoal_free(list);
    return NULL;
}

/* A slow line: the same device asks for something on another connection all the while. */
static bool upload_slowly(fed_part *p, const char *session_hex, const shoal_buf *m5)
{
    real_client *c = p->ctx;
    pthread_t thread;
    c->ended = 0;
    atomic_store(&c->net.proxy.bytes_per_ms, 400);
    assert_int_equal(pthread_create(&thread, NULL, check_in_meanwhile, p), 0);
    bool done = upload_as_a_device_does(p, session_hex, m5);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return done;
}

static void control_messages_do_not_wait_for_bulk(void **state)
{
    (void)state;
    static fed_fleet f;
    static real_client c;
    fleet_open(&f);
    client_open(&c, &f, &f.devices[0]);
    f.upload[0] = upload_slowly;
    f.ctx = &c;
    finish_all(&f, ALL);
    fed_fleet_check(&f, 1, ALL);
    print_message("%zu answers in the %.1f s of an upload\n", c.other_answers, c.ended - c.began);
    assert_true(c.other_answers >= 8);
    assert_true(c.first_answer < c.ended);
    fed_client_close(&c.net);
    fed_fleet_close(&f);
}

int main(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    shoal_log_set(SHOAL_LOG_ERROR, NULL, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_input_counts_once_and_whole_or_not_at_all),
        cmocka_unit_test(a_broken_connection_costs_a_chunk_at_most),
        cmocka_unit_test(control_messages_do_not_wait_for_bulk)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
