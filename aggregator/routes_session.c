/* routes_session.c - the paths of a session: messages in, what a stage leaves behind out. */
#include <string.h>

#include "aggregator/reply.h"
#include "aggregator/service_internal.h"
#include "proto/upload.h"

/* ---- sessions that are no longer in memory ----------------------------------------------------
 */

typedef struct member_search {
    const uint8_t *id;
    bool found;
} member_search;

static void match_member(void *ctx, const shoal_sa_member *m)
{
    member_search *q = ctx;
    q->found = q->found || memcmp(m->id, q->id, SHOAL_ID_BYTES) == 0;
}

static shoal_status recorded_result(shoal_service *s, const shoal_db_round *rec, shoal_buf *body,
                                    shoal_error *err)
{
    shoal_db_release made;
    SHOAL_TRY(shoal_db_release_get(s->db, rec->task_id, rec->to_version, &made, err));
    shoal_round_result res = {.round = rec->round,
                              .cohort = rec->roster,
                              .survivors = rec->survivors,
                              .weight_sum = rec->weight_sum,
                              .release = made.r};
    memcpy(res.session_id, rec->session_id, sizeof res.session_id);
    memcpy(res.roster_hash, rec->roster_hash, sizeof res.roster_hash);
    return shoal_round_result_encode(&res, body, err);
}

static void reply_recorded_result(shoal_service *s, shoal_http_request *r,
                                  const shoal_db_round *rec)
{
    shoal_error err = {0};
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    shoal_status st = recorded_result(s, rec, &body, &err);
    if (st == SHOAL_OK) {
        shoal_reply_bytes(r, SHOAL_TYPE_PROTOBUF, &body);
    } else {
        shoal_reply_status(r, st, &err);
    }
    shoal_buf_clear(&body);
}

static void reply_past(shoal_service *s, shoal_http_request *r, const route *rt,
                       const uint8_t id[SHOAL_ID_BYTES])
{
    shoal_error err = {0};
    shoal_db_round rec;
    member_search q = {.id = id};
    shoal_status st = shoal_db_round_by_session(s->db, rt->hash, &rec, &err);
    if (st == SHOAL_OK) {
        st = shoal_db_round_members(s->db, &rec, match_member, &q, &err);
    }
    if (st != SHOAL_OK) {
        shoal_reply_status(r, st, &err);
    } else if (rt->kind == ROUTE_READ && rt->stage == SHOAL_SA_UNMASK &&
               rec.state == SHOAL_ROUND_DONE && q.found) {
        reply_recorded_result(s, r, &rec);
    } else {
        shoal_reply_error(r, SHOAL_CODE_GONE, NULL,
                          rec.reason[0] != '\0' ? rec.reason : "the session is over", 0);
    }
}

/* ---- uploads ----------------------------------------------------------------------------------
 */

/* The bytes reserved for a body are kept in the request's user pointer until the cohort takes them
 * over; the numbers are far below 2^63. */
static size_t reserved(const shoal_http_request *r)
{
    return (size_t)(uintptr_t)shoal_http_user(r);
}

static void give_back(shoal_service *s, shoal_http_request *r)
{
    s->env.upload_used -= reserved(r);
    shoal_http_set_user(r, NULL);
}

static void upload_gone(void *ctx, shoal_http_request *r)
{
    give_back(ctx, r);
}

static bool reserve(shoal_service *s, shoal_http_request *r, size_t bytes)
{
    shoal_cohort_env *e = &s->env;
    if (e->upload_used > 0 && (bytes > e->upload_max || e->upload_used > e->upload_max - bytes)) {
        return false; /* a single upload is always let in, or nothing would ever move */
    }
    e->upload_used += bytes;
    shoal_http_set_user(r, (void *)(uintptr_t)bytes);
    return true;
}

/* Which chunk a PUT carries, by its query. */
static bool take_place(const shoal_http_request *r, shoal_upload_place *at)
{
    char offset[24], hash[2 * sizeof at->hash + 1];
    return shoal_http_query_get(r, "offset", offset, sizeof offset) &&
           shoal_parse_u64(offset, &at->offset) &&
           shoal_http_query_get(r, "hash", hash, sizeof hash) &&
           shoal_hex_decode(hash, at->hash, sizeof at->hash);
}

/* Spec 3.6.1: place and announced length of a chunk are judged before a byte of it is read. */
void routes_session_headers(shoal_service *s, shoal_http_request *r, const route *rt,
                            shoal_http_accept *accept)
{
    shoal_upload_place at;
    if (rt->kind == ROUTE_MESSAGE) {
        accept->max_body = SHOAL_LIMIT_SA_DEVICE;
        return;
    }
    if (strcmp(shoal_http_method(r), "GET") == 0) {
        return;
    }
    shoal_cohort *c = service_cohort_by_session(s, rt->hash);
    int64_t n = shoal_http_content_length(r);
    if (c == NULL) {
        shoal_reply_error(r, SHOAL_CODE_GONE, NULL, "the session is over", 0);
    } else if (!take_place(r, &at) || n <= 0 ||
               (uint64_t)n != shoal_upload_chunk_bytes(shoal_cohort_input_bytes(c), at.offset)) {
        shoal_reply_error(r, SHOAL_CODE_BAD_REQUEST, NULL, "not a chunk of an input", 0);
    } else if (!reserve(s, r, (size_t)n)) {
        shoal_reply_error(r, SHOAL_CODE_BUSY, NULL, "many uploads are in progress", 1000);
    } else {
        accept->max_body = (size_t)n;
        accept->on_gone = upload_gone;
    }
}

/* ---- requests ---------------------------------------------------------------------------------
 */

static uint64_t wait_of(const shoal_http_request *r)
{
    char text[24];
    uint64_t ms = 0;
    if (!shoal_http_query_get(r, "wait", text, sizeof text) || !shoal_parse_u64(text, &ms)) {
        return 0;
    }
    return ms < SHOAL_LIMIT_WAIT_MS ? ms : SHOAL_LIMIT_WAIT_MS;
}

static void receive_upload(shoal_cohort *c, const uint8_t id[SHOAL_ID_BYTES], shoal_http_request *r,
                           size_t bytes)
{
    shoal_upload_place at = {.upload_bytes = bytes};
    if (strcmp(shoal_http_method(r), "GET") == 0) {
        shoal_cohort_upload_state(c, id, r);
    } else if (take_place(r, &at)) { /* it was right in the headers */
        shoal_cohort_upload(c, id, r, &at);
    }
}

void routes_session(shoal_service *s, shoal_http_request *r, const route *rt)
{
    uint8_t id[SHOAL_ID_BYTES];
    size_t bytes = reserved(r);
    shoal_http_set_user(r, NULL);
    if (!routes_authorise(s, r, id)) { /* again: it may have been revoked during the body */
        s->env.upload_used -= bytes;
        return;
    }
    shoal_cohort *c = service_cohort_by_session(s, rt->hash);
    if (c == NULL) {
        s->env.upload_used -= bytes;
        reply_past(s, r, rt, id);
    } else if (rt->kind == ROUTE_MESSAGE) {
        shoal_cohort_receive(c, rt->stage, id, r);
    } else if (rt->kind == ROUTE_UPLOAD) {
        receive_upload(c, id, r, bytes);
    } else {
        shoal_cohort_read(c, rt->stage, id, r, wait_of(r));
    }
}
