/* test_caps.c - every message against its cap, on both sides of the wire (PROTOCOL.md section 9):
 * one byte more than allowed is refused before anything reads it as a message. */
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
#include "tests/support/fed_fleet.h"
#include "tests/support/web_fixture.h"

enum {
    CONTROL = SHOAL_LIMIT_CONTROL,
    MESSAGE = SHOAL_LIMIT_SA_MESSAGE,
    DEVICE = SHOAL_LIMIT_SA_DEVICE
};

/* ---- what devices send ------------------------------------------------------------------------
 */

typedef struct route_cap {
    const char *method, *path; /* without a slash at the start: of the session */
    size_t cap;
    long at_cap; /* HTTP status of that many zeros, which are no message; 0: the CA process decides
                  */
} route_cap;

static const route_cap ROUTES[] = {
    {"POST", "/v1/enrol/begin", CONTROL, 0}, {"POST", "/v1/enrol", CONTROL, 0},
    {"POST", "/v1/renew", CONTROL, 0},       {"POST", "/v1/checkin", CONTROL, 400},
    {"POST", "advertise", DEVICE, 400},      {"POST", "shares", DEVICE, 425},
    {"POST", "confirm", DEVICE, 425},        {"POST", "survivors", DEVICE, 425},
    {"POST", "unmask", DEVICE, 425},
};

/* Nothing may come with these. */
static const char *const READS[] = {
    "/v1/tasks",
    "/v1/ca",
    "roster",
    "delivery",
    "members",
    "input",
    "claim",
    "request",
    "result",
    "/v1/blobs/0000000000000000000000000000000000000000000000000000000000000000",
    "/v1/deltas/0000000000000000000000000000000000000000000000000000000000000000/"
    "0000000000000000000000000000000000000000000000000000000000000000",
};

static long send_zeros(fed_device *d, const char *method, const char *path, const char *session,
                       size_t n)
{
    char full[400];
    uint8_t *zeros = shoal_calloc(n, 1);
    shoal_buf reply = shoal_buf_init(CONTROL);
    bool whole = path[0] == '/';
    (void)snprintf(full, sizeof full, "%s%s%s%s", whole ? "" : "/v1/sessions/",
                   whole ? "" : session, whole ? "" : "/", path);
    long status = fed_device_call(d, method, full, zeros, n, &reply);
    shoal_buf_clear(&reply);
    shoal_free(zeros);
    return status;
}

/* Spec 9.1: 413 for a byte too many, whatever the bytes are; at the cap it is the message that is
 * judged. */
static void the_server_reads_no_more_than_a_cap(void **state)
{
    (void)state;
    static fed_fleet f;
    const fed_task t = {.n_min = 3, .n_target = 4, .gather_ms = 60000, .stage_ms = 60000};
    char id[65];
    fed_fleet_open(&f, &t);
    fed_device *d = &f.devices[0];
    shoal_checkin_response *c = shoal_calloc(1, sizeof *c);
    assert_int_equal(fed_device_checkin(d, true, c), 200);
    shoal_free(c);
    shoal_hex_encode(fed_fleet_last(&f).session_id, 32, id);
    for (size_t i = 0; i < sizeof ROUTES / sizeof ROUTES[0]; i++) {
        const route_cap *r = &ROUTES[i];
        long over = send_zeros(d, r->method, r->path, id, r->cap + 1);
        long at = send_zeros(d, r->method, r->path, id, r->cap);
        bool judged = r->at_cap == 0 ? at >= 400 && at != 413 : at == r->at_cap;
        if (over != 413 || !judged) fail_msg("%s: %ld and %ld", r->path, over, at);
    }
    for (size_t i = 0; i < sizeof READS / sizeof READS[0]; i++) {
        long status = send_zeros(d, "GET", READS[i], id, 1);
        if (status != 413) fail_msg("%s with a body: %ld", READS[i], status);
    }
    fed_fleet_close(&f);
}

/* ---- what servers answer ----------------------------------------------------------------------
 */

typedef struct answer {
    web_fixture web;
    size_t n;
    int status;
} answer;

static void answer_zeros(void *ctx, shoal_http_request *r)
{
    answer *a = ctx;
    uint8_t *zeros = shoal_calloc(a->n, 1);
    shoal_http_respond(r, a->status, "application/octet-stream", zeros, a->n);
    shoal_free(zeros);
}

typedef shoal_status ask_fn(shoal_api *api, shoal_error *err);

static const char SESSION[] = "00";

static shoal_status ask_tasks(shoal_api *api, shoal_error *err)
{
    shoal_task_list *l = shoal_calloc(1, sizeof *l);
    shoal_status st = shoal_api_tasks(api, l, err);
    shoal_free(l);
    return st;
}

static shoal_status ask_checkin(shoal_api *api, shoal_error *err)
{
    shoal_checkin_request q = {0};
    shoal_checkin_response *p = shoal_calloc(1, sizeof *p);
    shoal_status st = shoal_api_checkin(api, &q, p, err);
    shoal_free(p);
    return st;
}

static shoal_status ask_begin(shoal_api *api, shoal_error *err)
{
    shoal_enrol_begin q = {0};
    shoal_enrol_challenge p;
    return shoal_api_begin(api, &q, &p, err);
}

static shoal_status ask_enrol(shoal_api *api, shoal_error *err)
{
    shoal_enrol_request *q = shoal_calloc(1, sizeof *q);
    shoal_enrol_response *p = shoal_calloc(1, sizeof *p);
    q->csr.n = 1;
    shoal_status st = shoal_api_enrol(api, q, p, err);
    shoal_free(q);
    shoal_free(p);
    return st;
}

static shoal_status ask_renew(shoal_api *api, shoal_error *err)
{
    shoal_renew_request *q = shoal_calloc(1, sizeof *q);
    shoal_renew_response p;
    q->csr.n = 1;
    shoal_status st = shoal_api_renew(api, q, &p, err);
    shoal_free(q);
    return st;
}

static shoal_status ask_ca(shoal_api *api, shoal_error *err)
{
    shoal_ca_bundle p;
    return shoal_api_ca(api, &p, err);
}

static shoal_status ask_message(shoal_api *api, shoal_error *err)
{
    shoal_buf out = shoal_buf_init(MESSAGE);
    shoal_status st =
        shoal_api_session_wait(api, SESSION, "roster", shoal_clock_s() + 5, &out, err);
    shoal_buf_clear(&out);
    return st == SHOAL_OK ? SHOAL_ERR_FORMAT : st; /* here nobody reads it */
}

static shoal_status ask_send(shoal_api *api, shoal_error *err)
{
    shoal_buf body = shoal_buf_init(1);
    shoal_status st =
        shoal_api_session_send(api, SESSION, "shares", &body, shoal_clock_s() + 5, err);
    return st == SHOAL_OK ? SHOAL_ERR_FORMAT : st; /* the body of a 200 is nothing */
}

static shoal_status ask_upload(shoal_api *api, shoal_error *err)
{
    shoal_buf m5 = shoal_buf_init(8);
    assert_true(shoal_buf_put(&m5, "m5", 2));
    shoal_status st = shoal_api_session_upload(api, SESSION, &m5, shoal_clock_s() + 5, NULL, err);
    shoal_buf_clear(&m5);
    return st;
}

static shoal_status ask_range(shoal_api *api, shoal_error *err)
{
    shoal_buf out = shoal_buf_init(4 * MESSAGE);
    shoal_status st = shoal_api_range(api, "/v1/blobs/00", 0, SHOAL_LIMIT_CHUNK, &out, err);
    assert_true(st == SHOAL_OK || out.len == 0);
    shoal_buf_clear(&out);
    return st;
}

static const struct {
    const char *name;
    ask_fn *ask;
    size_t cap;
    int status;
    shoal_status at_cap;
} CALLS[] = {
    {"tasks", ask_tasks, CONTROL, 200, SHOAL_ERR_FORMAT},
    {"checkin", ask_checkin, CONTROL, 200, SHOAL_ERR_FORMAT},
    {"begin", ask_begin, CONTROL, 200, SHOAL_ERR_FORMAT},
    {"CA", ask_ca, CONTROL, 200, SHOAL_ERR_FORMAT},
    {"enrol", ask_enrol, CONTROL, 200, SHOAL_ERR_FORMAT},
    {"renew", ask_renew, CONTROL, 200, SHOAL_ERR_FORMAT},
    {"a message of a session", ask_message, MESSAGE, 200, SHOAL_ERR_FORMAT},
    {"the answer to a message", ask_send, CONTROL, 200, SHOAL_ERR_FORMAT},
    {"the state of an upload", ask_upload, CONTROL, 200, SHOAL_ERR_FORMAT},
    {"a part of a file", ask_range, SHOAL_LIMIT_CHUNK, 206, SHOAL_OK},
    {"an error reply", ask_tasks, CONTROL, 400, SHOAL_ERR_FORMAT},
    {"an error reply to a message", ask_message, MESSAGE, 400, SHOAL_ERR_FORMAT},
    {"an error reply to a part", ask_range, SHOAL_LIMIT_CHUNK, 404, SHOAL_ERR_FORMAT},
};

/* Spec 9.1 */
static void a_device_reads_no_more_than_a_cap(void **state)
{
    (void)state;
    static answer a;
    a.web.handle = answer_zeros;
    a.web.ctx = &a;
    web_fixture_open(&a.web);
    for (size_t i = 0; i < sizeof CALLS / sizeof CALLS[0]; i++) {
        shoal_error err = {0};
        shoal_net_config cfg = {.base_url = a.web.base, .pin = a.web.pin};
        shoal_api api = {0};
        assert_int_equal(shoal_net_open(&api.net, &cfg, &err), SHOAL_OK);
        a.status = CALLS[i].status;
        a.n = CALLS[i].cap + 1;
        shoal_status over = CALLS[i].ask(&api, &err);
        a.n = CALLS[i].cap;
        shoal_status at = CALLS[i].ask(&api, &err);
        if (over != SHOAL_ERR_TOO_LARGE || at != CALLS[i].at_cap) {
            fail_msg("%s: %d and %d (%s)", CALLS[i].name, (int)over, (int)at, err.msg);
        }
        shoal_net_close(api.net);
    }
    web_fixture_close(&a.web);
}

/* ---- a server that always says "not yet" ------------------------------------------------------
 */

/* An owner's bound on traffic. */
typedef struct purse {
    uint64_t left, received;
    size_t asked;
} purse;

static shoal_status before(void *ctx, uint64_t least, uint64_t most, shoal_error *err)
{
    purse *p = ctx;
    assert_true(least <= most);
    p->asked++;
    return least <= p->left ? SHOAL_OK : shoal_fail(err, SHOAL_ERR_DENIED, "no more");
}

static void after(void *ctx, uint64_t sent, uint64_t received)
{
    purse *p = ctx;
    p->received += received;
    p->left = p->left > sent + received ? p->left - sent - received : 0;
}

static shoal_status wait_for(answer *a, purse *p, double seconds)
{
    shoal_error err = {0};
    shoal_net_config cfg = {.base_url = a->web.base, .pin = a->web.pin};
    shoal_net_meter meter = {.before = before, .after = after, .ctx = p};
    shoal_api api = {0};
    shoal_buf out = shoal_buf_init(MESSAGE);
    assert_int_equal(shoal_net_open(&api.net, &cfg, &err), SHOAL_OK);
    shoal_net_set_meter(api.net, &meter);
    shoal_status st =
        shoal_api_session_wait(&api, SESSION, "roster", shoal_clock_s() + seconds, &out, &err);
    shoal_buf_clear(&out);
    shoal_net_close(api.net);
    return st;
}

/* Spec 3.3. "Not yet" before its time is over does not make a device ask without end, it brings
 * nothing along, and a bound on traffic ends it. */
static void not_yet_costs_little(void **state)
{
    (void)state;
    static answer a;
    a.web.handle = answer_zeros;
    a.web.ctx = &a;
    a.status = 202;
    web_fixture_open(&a.web);
    purse rich = {.left = UINT64_MAX};
    assert_int_equal(wait_for(&a, &rich, 3), SHOAL_ERR_TIMEOUT);
    assert_in_range(rich.asked, 2, 12);
    purse poor = {.left = 6000}; /* a handshake and a poll or two */
    assert_int_equal(wait_for(&a, &poor, 30), SHOAL_ERR_DENIED);
    assert_true(poor.asked > 1 && poor.received < 6000);
    a.n = MESSAGE;
    purse once = {.left = UINT64_MAX};
    assert_int_equal(wait_for(&a, &once, 30), SHOAL_ERR_FORMAT);
    assert_int_equal(once.asked, 1);
    web_fixture_close(&a.web);
}

int main(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    shoal_log_set(SHOAL_LOG_ERROR, NULL, NULL);
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_server_reads_no_more_than_a_cap),
                                       cmocka_unit_test(a_device_reads_no_more_than_a_cap),
                                       cmocka_unit_test(not_yet_costs_little)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
