/* api.c - typed calls over client/net. */
#include "client/api.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kernels/base/term.h"
#include "kernels/base/mem.h"
#include "proto/crypto.h"
#include "proto/limits.h"
#include "proto/upload.h"

enum {
    CONTROL_TIMEOUT_S = 30,
    BULK_TIMEOUT_S = 600,
    POLL_MARGIN_S = 15, /* on top of the long poll itself */
    BACKOFF_FIRST_MS = 500,
    BACKOFF_SESSION_MS = 5000,
    PATH_BYTES = 192
};

static const char PROTOBUF[] = "application/x-protobuf";

uint64_t shoal_backoff_ms(unsigned attempt, uint64_t max_ms)
{
    uint64_t ms = BACKOFF_FIRST_MS;
    for (unsigned i = 0; i < attempt && ms < max_ms; i++)
        ms *= 2;
    if (ms > max_ms) ms = max_ms;
    uint16_t r = 0;
    if (shoal_random(&r, sizeof r, NULL) != SHOAL_OK) r = UINT16_MAX / 2;
    return ms / 2 + ms * r / (UINT16_MAX + 1u);
}

shoal_status shoal_pause_ms(uint64_t ms, bool (*stop)(void), shoal_error *err)
{
    double end = shoal_clock_s() + (double)ms / 1e3;
    for (;;) {
        if (stop != NULL && stop()) return shoal_fail(err, SHOAL_ERR_CANCELLED, "stopped");
        double left = end - shoal_clock_s();
        if (left <= 0) return SHOAL_OK;
        if (left > 0.2) left = 0.2;
        struct timespec piece = {0, (long)(left * 1e9)};
        (void)nanosleep(&piece, NULL);
    }
}

static shoal_status status_of_code(shoal_error_code code)
{
    switch (code) {
    case SHOAL_CODE_UNAUTHORISED:
    case SHOAL_CODE_FORBIDDEN: return SHOAL_ERR_DENIED;
    case SHOAL_CODE_NOT_FOUND: return SHOAL_ERR_NOT_FOUND;
    case SHOAL_CODE_CONFLICT:
    case SHOAL_CODE_GONE: return SHOAL_ERR_STATE;
    case SHOAL_CODE_TOO_LARGE: return SHOAL_ERR_TOO_LARGE;
    case SHOAL_CODE_TOO_EARLY:
    case SHOAL_CODE_BUSY:
    case SHOAL_CODE_INTERNAL: return SHOAL_ERR_AGAIN;
    case SHOAL_CODE_VERSION: return SHOAL_ERR_UNSUPPORTED;
    case SHOAL_CODE_TAMPERED: return SHOAL_ERR_TAMPERED;
    case SHOAL_CODE_BAD_REQUEST: break;
    }
    return SHOAL_ERR_FORMAT;
}

/* Turns an answer that is no success into a status with the server's own words. */
static shoal_status fail_refused(shoal_api *a, int http, const shoal_buf *body, shoal_error *err)
{
    shoal_error_reply reply;
    a->retry_after_ms = 0;
    if (shoal_error_reply_decode(body->data, body->len, &reply, NULL) != SHOAL_OK) {
        return shoal_fail(err, http >= 500 ? SHOAL_ERR_AGAIN : SHOAL_ERR_FORMAT,
                          "the server answers %d and does not say why", http);
    }
    a->retry_after_ms = reply.retry_after_ms;
    shoal_status st = status_of_code(reply.code);
    shoal_fail(err, st, "the server says: %s", reply.message);
    if (reply.hint[0] != '\0') shoal_hint(err, "%s", reply.hint);
    return st;
}

/* One exchange whose success is 200; `reply` must be initialised, its max is the cap. */
static shoal_status call(shoal_api *a, const shoal_net_request *rq, shoal_buf *reply,
                         shoal_error *err)
{
    int http = 0;
    a->retry_after_ms = 0;
    SHOAL_TRY(shoal_net_exchange(a->net, rq, reply, &http, err));
    return http == 200 ? SHOAL_OK : fail_refused(a, http, reply, err);
}

/* A control message there and its answer back; body may be NULL for a GET. Spec 9.1: `reply` takes
 * in no more than its cap. */
static shoal_status call_control(shoal_api *a, const char *path, const shoal_buf *body,
                                 shoal_buf *reply, shoal_error *err)
{
    shoal_net_request rq = {.method = body != NULL ? "POST" : "GET",
                            .path = path,
                            .content_type = PROTOBUF,
                            .timeout_s = CONTROL_TIMEOUT_S};
    if (body != NULL) {
        rq.body = body->data;
        rq.body_len = body->len;
    }
    *reply = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    shoal_status st = call(a, &rq, reply, err);
    if (st != SHOAL_OK) shoal_buf_clear(reply);
    return st;
}

/* Encode, exchange, decode: the same for every control message. */
#define DEFINE_CALL(function, path, request, response)                                       \
    shoal_status function(shoal_api *a, const shoal_##request *rq, shoal_##response *out,    \
                          shoal_error *err)                                                  \
    {                                                                                        \
        shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);                                \
        shoal_buf reply = shoal_buf_init(0);                                                 \
        shoal_status st = shoal_##request##_encode(rq, &body, err);                          \
        if (st == SHOAL_OK) st = call_control(a, path, &body, &reply, err);                  \
        if (st == SHOAL_OK) st = shoal_##response##_decode(reply.data, reply.len, out, err); \
        shoal_buf_wipe(&body);                                                               \
        shoal_buf_clear(&reply);                                                             \
        return st;                                                                           \
    }

DEFINE_CALL(shoal_api_begin, "/v1/enrol/begin", enrol_begin, enrol_challenge)
DEFINE_CALL(shoal_api_enrol, "/v1/enrol", enrol_request, enrol_response)
DEFINE_CALL(shoal_api_renew, "/v1/renew", renew_request, renew_response)
DEFINE_CALL(shoal_api_checkin, "/v1/checkin", checkin_request, checkin_response)

shoal_status shoal_api_ca(shoal_api *a, shoal_ca_bundle *out, shoal_error *err)
{
    shoal_buf reply;
    SHOAL_TRY(call_control(a, "/v1/ca", NULL, &reply, err));
    shoal_status st = shoal_ca_bundle_decode(reply.data, reply.len, out, err);
    shoal_buf_clear(&reply);
    return st;
}

shoal_status shoal_api_tasks(shoal_api *a, shoal_task_list *out, shoal_error *err)
{
    shoal_buf reply;
    SHOAL_TRY(call_control(a, "/v1/tasks", NULL, &reply, err));
    shoal_status st = shoal_task_list_decode(reply.data, reply.len, out, err);
    shoal_buf_clear(&reply);
    return st;
}

shoal_status shoal_api_range(shoal_api *a, const char *path, uint64_t at, size_t n, shoal_buf *out,
                             shoal_error *err)
{
    int http = 0;
    shoal_buf part = shoal_buf_init(n < SHOAL_LIMIT_CONTROL ? SHOAL_LIMIT_CONTROL : n);
    shoal_net_request rq = {
        .method = "GET", .path = path, .range_at = at, .range_n = n, .timeout_s = BULK_TIMEOUT_S};
    a->retry_after_ms = 0;
    shoal_status st = shoal_net_exchange(a->net, &rq, &part, &http, err);
    if (st == SHOAL_OK && http == 206 && part.len <= n) { /* Spec 3.7 */
        if (!shoal_buf_put(out, part.data, part.len)) st = shoal_buf_status(out, err);
    } else if (st == SHOAL_OK && (http == 206 || http == 200)) {
        st = shoal_fail(err, SHOAL_ERR_FORMAT,
                        "the server sends another part than it was asked for");
    } else if (st == SHOAL_OK && http != 416) {
        st = fail_refused(a, http, &part, err);
    }
    shoal_buf_clear(&part);
    return st;
}

/* True when the same request is worth sending again. */
static bool passing(shoal_status st)
{
    return shoal_net_is_away(st) || st == SHOAL_ERR_AGAIN;
}

/* Waits before the next attempt; TIMEOUT when that would be after give_up_s. */
static shoal_status wait_for_next(shoal_api *a, unsigned attempt, double give_up_s,
                                  shoal_error *err)
{
    uint64_t ms = shoal_backoff_ms(attempt, BACKOFF_SESSION_MS);
    if (ms < a->retry_after_ms) ms = a->retry_after_ms;
    if (shoal_clock_s() + (double)ms / 1e3 > give_up_s) {
        return shoal_fail(err, SHOAL_ERR_TIMEOUT, "the round took too long");
    }
    return shoal_pause_ms(ms, a->stop, err);
}

/* Seconds a request may take: at least one. */
static unsigned time_left(double give_up_s)
{
    double left = give_up_s - shoal_clock_s();
    if (left < 1.0) left = 1.0;
    return left < (double)BULK_TIMEOUT_S ? (unsigned)left + 1 : BULK_TIMEOUT_S;
}

shoal_status shoal_api_session_send(shoal_api *a, const char *session_hex, const char *what,
                                    const shoal_buf *body, double give_up_s, shoal_error *err)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "/v1/sessions/%s/%s", session_hex, what);
    shoal_net_request rq = {
        .method = "POST", .path = path, .body = body->data, .body_len = body->len};
    shoal_buf reply = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    shoal_status st;
    for (unsigned attempt = 0;; attempt++) {
        rq.timeout_s = time_left(give_up_s);
        st = call(a, &rq, &reply, err);
        if (!passing(st)) break;
        st = wait_for_next(a, attempt, give_up_s, err);
        if (st != SHOAL_OK) break;
    }
    shoal_buf_clear(&reply);
    return st;
}

/* ---- M5 in chunks -----------------------------------------------------------------------------
 */

typedef struct upload {
    shoal_api *api;
    const char *session_hex;
    const shoal_buf *m5;
    double give_up_s;
    uint8_t (*ends)[32]; /* [chunks] running hash behind each chunk */
    uint64_t have;       /* acknowledged */
    size_t attempts_left;
    uint64_t sent;
} upload;

enum { UPLOAD_ATTEMPTS = 4 }; /* a server that forgets again and again must not cost more */

static shoal_status open_upload(upload *u, shoal_error *err)
{
    size_t n = shoal_upload_chunks(u->m5->len);
    uint8_t hash[32] = {0};
    u->attempts_left = UPLOAD_ATTEMPTS * (n + 4);
    u->ends = shoal_calloc(n, sizeof *u->ends);
    if (u->ends == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "memory is out");
    for (size_t i = 0; i < n; i++) {
        uint64_t at = (uint64_t)i * SHOAL_LIMIT_CHUNK;
        SHOAL_TRY(shoal_upload_extend(hash, u->m5->data + at,
                                      shoal_upload_chunk_bytes(u->m5->len, at), err));
        memcpy(u->ends[i], hash, sizeof hash);
    }
    return SHOAL_OK;
}

/* Spec 3.6.3: the server's word on what it holds, believed only when it holds our bytes. */
static shoal_status take_state(upload *u, const shoal_buf *reply, shoal_error *err)
{
    shoal_upload_state s;
    SHOAL_TRY(shoal_upload_state_decode(reply->data, reply->len, u->m5->len, &s, err));
    if (s.have > 0 && !shoal_equal(s.hash, u->ends[shoal_upload_chunks(s.have) - 1], 32)) {
        return shoal_fail(err, SHOAL_ERR_STATE, "the server holds another input of this device");
    }
    u->have = s.have;
    return SHOAL_OK;
}

static shoal_status ask_state(upload *u, shoal_buf *reply, shoal_error *err)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "/v1/sessions/%s/input", u->session_hex);
    shoal_net_request rq = {.method = "GET", .path = path, .timeout_s = CONTROL_TIMEOUT_S};
    shoal_status st = call(u->api, &rq, reply, err);
    return st == SHOAL_OK ? take_state(u, reply, err) : st;
}

static shoal_status send_chunk(upload *u, shoal_buf *reply, shoal_error *err)
{
    char path[PATH_BYTES + 96], hex[65];
    size_t n = shoal_upload_chunk_bytes(u->m5->len, u->have);
    shoal_hex_encode(u->ends[u->have / SHOAL_LIMIT_CHUNK], 32, hex);
    (void)snprintf(path, sizeof path, "/v1/sessions/%s/input?offset=%" PRIu64 "&hash=%s",
                   u->session_hex, u->have, hex);
    shoal_net_request rq = {.method = "PUT",
                            .path = path,
                            .body = u->m5->data + u->have,
                            .body_len = n,
                            .timeout_s = time_left(u->give_up_s)};
    u->sent += n;
    shoal_status st = call(u->api, &rq, reply, err);
    return st == SHOAL_OK ? take_state(u, reply, err) : st;
}

static shoal_status send_chunks(upload *u, shoal_error *err)
{
    unsigned failures = 0;
    bool unsure = false; /* what the server has is not known */
    shoal_buf reply = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    shoal_status st = SHOAL_OK;
    while (st == SHOAL_OK && u->have < u->m5->len) {
        if (u->attempts_left-- == 0) {
            st = shoal_fail(err, SHOAL_ERR_STATE, "the server does not keep what it is sent");
            break;
        }
        st = unsure ? ask_state(u, &reply, err) : send_chunk(u, &reply, err);
        bool again = passing(st);
        unsure = again;
        failures = again ? failures + 1 : 0;
        if (again) st = wait_for_next(u->api, failures - 1, u->give_up_s, err);
    }
    shoal_buf_clear(&reply);
    return st;
}

shoal_status shoal_api_session_upload(shoal_api *a, const char *session_hex, const shoal_buf *m5,
                                      double give_up_s, uint64_t *sent, shoal_error *err)
{
    upload u = {.api = a, .session_hex = session_hex, .m5 = m5, .give_up_s = give_up_s};
    shoal_status st = open_upload(&u, err);
    if (st == SHOAL_OK) st = send_chunks(&u, err);
    if (sent != NULL) *sent = u.sent;
    shoal_free(u.ends);
    return st;
}

/* One long poll. SHOAL_OK with *there false: nothing yet, which has no body (Spec 3.3, Spec 9.1).
 */
static shoal_status poll_once(shoal_api *a, const char *session_hex, const char *what,
                              unsigned wait_ms, shoal_buf *out, bool *there, shoal_error *err)
{
    char path[PATH_BYTES];
    int http = 0;
    (void)snprintf(path, sizeof path, "/v1/sessions/%s/%s?wait=%u", session_hex, what, wait_ms);
    shoal_net_request rq = {
        .method = "GET", .path = path, .timeout_s = wait_ms / 1000 + POLL_MARGIN_S};
    a->retry_after_ms = 0;
    SHOAL_TRY(shoal_net_exchange(a->net, &rq, out, &http, err));
    *there = http == 200;
    if (http == 202 && out->len != 0) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "the server sends something with \"not yet\"");
    }
    return http == 200 || http == 202 ? SHOAL_OK : fail_refused(a, http, out, err);
}

shoal_status shoal_api_session_wait(shoal_api *a, const char *session_hex, const char *what,
                                    double give_up_s, shoal_buf *out, shoal_error *err)
{
    unsigned failures = 0; /* or answers that came too soon, one after the other */
    for (;;) {
        bool there = false;
        double asked_s = shoal_clock_s();
        double left = give_up_s - asked_s;
        if (left <= 0) return shoal_fail(err, SHOAL_ERR_TIMEOUT, "the round took too long");
        if (a->stop != NULL && a->stop()) return shoal_fail(err, SHOAL_ERR_CANCELLED, "stopped");
        double wait_ms = left * 1e3 < SHOAL_LIMIT_WAIT_MS ? left * 1e3 : SHOAL_LIMIT_WAIT_MS;
        shoal_status st = poll_once(a, session_hex, what, (unsigned)wait_ms, out, &there, err);
        if (st == SHOAL_OK && there) return SHOAL_OK;
        if (st != SHOAL_OK && !passing(st)) return st;
        /* Spec 3.3: "not yet" at once, again and again, must not make this a busy loop. */
        bool too_soon = (shoal_clock_s() - asked_s) * 1e3 < wait_ms / 2;
        if (st == SHOAL_OK && !too_soon)
            failures = 0;
        else
            SHOAL_TRY(wait_for_next(a, failures++, give_up_s, err));
    }
}
