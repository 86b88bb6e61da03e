/* routes.c - which path means what, and who may ask. PROTOCOL.md section 3. */
#include <string.h>
#include <time.h>

#include "aggregator/reply.h"
#include "aggregator/service_internal.h"
#include "kernels/base/mem.h"

/* ---- matching ---------------------------------------------------------------------------------
 */

typedef struct fixed_route {
    const char *method, *path;
    route_kind kind;
} fixed_route;

static const fixed_route FIXED[] = {
    {"POST", "/v1/enrol/begin", ROUTE_BEGIN}, {"POST", "/v1/enrol", ROUTE_ENROL},
    {"POST", "/v1/renew", ROUTE_RENEW},       {"GET", "/v1/ca", ROUTE_CA},
    {"GET", "/v1/tasks", ROUTE_TASKS},        {"POST", "/v1/checkin", ROUTE_CHECKIN},
};

typedef struct stage_route {
    const char *method, *name;
    route_kind kind;
    shoal_sa_stage stage;
} stage_route;

static const stage_route STAGES[] = {
    {"POST", "advertise", ROUTE_MESSAGE, SHOAL_SA_ADVERTISE},
    {"GET", "roster", ROUTE_READ, SHOAL_SA_ADVERTISE},
    {"POST", "shares", ROUTE_MESSAGE, SHOAL_SA_SHARES},
    {"GET", "delivery", ROUTE_READ, SHOAL_SA_SHARES},
    {"POST", "confirm", ROUTE_MESSAGE, SHOAL_SA_CONFIRM},
    {"GET", "members", ROUTE_READ, SHOAL_SA_CONFIRM},
    {"PUT", "input", ROUTE_UPLOAD, SHOAL_SA_INPUT},
    {"GET", "claim", ROUTE_READ, SHOAL_SA_INPUT},
    {"POST", "survivors", ROUTE_MESSAGE, SHOAL_SA_SURVIVORS},
    {"GET", "request", ROUTE_READ, SHOAL_SA_SURVIVORS},
    {"POST", "unmask", ROUTE_MESSAGE, SHOAL_SA_UNMASK},
    {"GET", "result", ROUTE_READ, SHOAL_SA_UNMASK},
};

/* The 64 hex digits at `text`, followed by `end`. */
static bool take_hash(const char *text, char end, uint8_t out[32])
{
    char hex[65] = {0};
    if (strnlen(text, 65) < 64 || text[64] != end) {
        return false;
    }
    memcpy(hex, text, 64);
    return shoal_hex_decode(hex, out, 32);
}

static void match_session(const char *method, const char *rest, route *out)
{
    if (!take_hash(rest, '/', out->hash)) {
        return;
    }
    for (size_t i = 0; i < sizeof STAGES / sizeof STAGES[0]; i++) {
        if (strcmp(rest + 65, STAGES[i].name) == 0) {
            out->kind = STAGES[i].kind;
            out->stage = STAGES[i].stage;
            bool asks = out->kind == ROUTE_UPLOAD && strcmp(method, "GET") == 0;
            out->wrong_method = strcmp(method, STAGES[i].method) != 0 && !asks;
        }
    }
}

route route_match(const char *method, const char *path)
{
    static const char BLOBS[] = "/v1/blobs/";
    static const char DELTAS[] = "/v1/deltas/";
    static const char SESSIONS[] = "/v1/sessions/";
    route out = {0};
    for (size_t i = 0; i < sizeof FIXED / sizeof FIXED[0]; i++) {
        if (strcmp(path, FIXED[i].path) == 0) {
            out.kind = FIXED[i].kind;
            out.wrong_method = strcmp(method, FIXED[i].method) != 0;
        }
    }
    if (strncmp(path, BLOBS, sizeof BLOBS - 1) == 0 &&
        take_hash(path + sizeof BLOBS - 1, '\0', out.hash)) {
        out.kind = ROUTE_BLOB;
        out.wrong_method = strcmp(method, "GET") != 0;
    } else if (strncmp(path, DELTAS, sizeof DELTAS - 1) == 0 &&
               take_hash(path + sizeof DELTAS - 1, '/', out.from) &&
               take_hash(path + sizeof DELTAS - 1 + 65, '\0', out.hash)) {
        out.kind = ROUTE_DELTA;
        out.wrong_method = strcmp(method, "GET") != 0;
    } else if (strncmp(path, SESSIONS, sizeof SESSIONS - 1) == 0) {
        match_session(method, path + sizeof SESSIONS - 1, &out);
    }
    return out;
}

/* ---- who --------------------------------------------------------------------------------------
 */

/* Spec 3.1.1: asked at every request, since a connection may be older than a revocation, and a
 * resumed one shows no certificate at all. */
bool routes_authorise(shoal_service *s, shoal_http_request *r, uint8_t id[SHOAL_ID_BYTES])
{
    shoal_error err = {0};
    const uint8_t *hash = shoal_http_peer_cert_hash(r);
    if (hash == NULL) {
        shoal_reply_error(r, SHOAL_CODE_UNAUTHORISED, NULL, "a device certificate is needed", 0);
        return false;
    }
    shoal_status st = shoal_db_authorise(s->db, hash, (int64_t)time(NULL), id, &err);
    if (st == SHOAL_ERR_DENIED) {
        shoal_hint(&err, "join again with a new link");
        shoal_reply_error(r, SHOAL_CODE_UNAUTHORISED, &err, NULL, 0);
    } else if (st != SHOAL_OK) {
        shoal_reply_status(r, st, &err);
    }
    return st == SHOAL_OK;
}

/* ---- the server's callbacks -------------------------------------------------------------------
 */

static void reply_wrong_method(shoal_http_request *r)
{
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    shoal_reply_encode(SHOAL_CODE_BAD_REQUEST, "this path takes another method", "", 0, &body);
    shoal_http_respond(r, 405, SHOAL_TYPE_PROTOBUF, body.data, body.len);
    shoal_buf_clear(&body);
}

/* Spec 9.1: how much of a body is taken in is decided here; without a decision nothing is. */
static void on_headers(void *ctx, shoal_http_request *r, shoal_http_accept *accept)
{
    shoal_service *s = ctx;
    uint8_t id[SHOAL_ID_BYTES];
    route rt = route_match(shoal_http_method(r), shoal_http_path(r));
    accept->ctx = s;
    if (rt.kind == ROUTE_NONE) {
        shoal_reply_error(r, SHOAL_CODE_NOT_FOUND, NULL, "there is nothing here", 0);
    } else if (rt.wrong_method) {
        reply_wrong_method(r);
    } else if (s->stopping) {
        shoal_reply_error(r, SHOAL_CODE_BUSY, NULL, "the aggregator is stopping", 5000);
    } else if (rt.kind == ROUTE_ENROL || rt.kind == ROUTE_BEGIN) {
        accept->max_body = SHOAL_LIMIT_CONTROL;
    } else if (routes_authorise(s, r, id)) {
        if (rt.kind == ROUTE_MESSAGE || rt.kind == ROUTE_UPLOAD) {
            routes_session_headers(s, r, &rt, accept);
        } else if (rt.kind == ROUTE_RENEW || rt.kind == ROUTE_CHECKIN) {
            accept->max_body = SHOAL_LIMIT_CONTROL;
        }
    }
}

static void on_request(void *ctx, shoal_http_request *r)
{
    shoal_service *s = ctx;
    uint8_t id[SHOAL_ID_BYTES];
    route rt = route_match(shoal_http_method(r), shoal_http_path(r));
    if (rt.kind == ROUTE_BEGIN) {
        admission_begin(s, r);
        return;
    }
    if (rt.kind == ROUTE_ENROL) {
        admission_enrol(s, r);
        return;
    }
    if (rt.kind == ROUTE_MESSAGE || rt.kind == ROUTE_UPLOAD || rt.kind == ROUTE_READ) {
        routes_session(s, r, &rt);
        return;
    }
    if (!routes_authorise(s, r, id)) { /* again: it may have been revoked during the body */
        return;
    }
    switch (rt.kind) {
    case ROUTE_RENEW: admission_renew(s, r, id); break;
    case ROUTE_CA: admission_ca(s, r); break;
    case ROUTE_TASKS: routes_tasks(s, r); break;
    case ROUTE_CHECKIN: routes_checkin(s, r, id); break;
    case ROUTE_BLOB:
    case ROUTE_DELTA: routes_blob(s, r, &rt); break;
    default: shoal_reply_error(r, SHOAL_CODE_NOT_FOUND, NULL, "there is nothing here", 0);
    }
}

static shoal_error_code code_of_http(int status)
{
    switch (status) {
    case 413:
    case 431: return SHOAL_CODE_TOO_LARGE;
    case 429:
    case 503: return SHOAL_CODE_BUSY;
    default: return status >= 500 ? SHOAL_CODE_INTERNAL : SHOAL_CODE_BAD_REQUEST;
    }
}

static void on_error(void *ctx, const shoal_http_refusal *why, shoal_buf *body,
                     const char **media_type)
{
    (void)ctx;
    *media_type = SHOAL_TYPE_PROTOBUF;
    shoal_reply_encode(code_of_http(why->status), why->reason, "", why->retry_after_ms, body);
}

shoal_http_handler routes_handler(shoal_service *s)
{
    return (shoal_http_handler){
        .ctx = s, .on_headers = on_headers, .on_request = on_request, .on_error = on_error};
}
