/* routes_task.c - tasks, check-in, adapter files. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "aggregator/checkin.h"
#include "aggregator/reply.h"
#include "aggregator/service_internal.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

static void reply_encoded(shoal_http_request *r, shoal_status st, shoal_buf *body,
                          const shoal_error *err)
{
    if (st == SHOAL_OK) {
        shoal_reply_bytes(r, SHOAL_TYPE_PROTOBUF, body);
    } else {
        shoal_reply_status(r, st, err);
    }
    shoal_buf_clear(body);
}

/* ---- GET /v1/tasks ----------------------------------------------------------------------------
 */

typedef struct task_listing {
    shoal_service *s;
    shoal_task_list *list;
    shoal_status st;
    shoal_error err;
} task_listing;

static void list_task(void *ctx, const shoal_db_task *t)
{
    task_listing *l = ctx;
    if (l->st != SHOAL_OK || l->list->n == SHOAL_LIMIT_TASKS) {
        return;
    }
    shoal_db_release newest;
    l->st = shoal_db_release_get(l->s->db, t->id, t->version, &newest, &l->err);
    shoal_task_info *i = &l->list->tasks[l->list->n++];
    *i = (shoal_task_info){.state = t->state,
                           .rounds_done = t->rounds_done,
                           .rounds_total = t->rounds_total,
                           .cohort_min = t->n_min,
                           .cohort_target = t->n_target,
                           .rank = t->train.rank,
                           .alpha = t->train.alpha,
                           .targets = t->train.targets,
                           .release = newest.r};
    memcpy(i->task_id, t->id, sizeof i->task_id);
    memcpy(i->name, t->name, sizeof i->name);
    memcpy(i->base_name, t->train.base_name, sizeof i->base_name);
    memcpy(i->base_sha256, t->base_sha256, sizeof i->base_sha256);
}

void routes_tasks(shoal_service *s, shoal_http_request *r)
{
    task_listing l = {.s = s, .list = shoal_calloc(1, sizeof(shoal_task_list))};
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    shoal_status st = l.list == NULL
                          ? shoal_fail(&l.err, SHOAL_ERR_NOMEM, "no memory for the list of tasks")
                          : shoal_db_tasks(s->db, list_task, &l, &l.err);
    st = st == SHOAL_OK ? l.st : st;
    if (st == SHOAL_OK) {
        st = shoal_task_list_encode(l.list, &body, &l.err);
    }
    shoal_free(l.list);
    reply_encoded(r, st, &body, &l.err);
}

/* ---- POST /v1/checkin -------------------------------------------------------------------------
 */

/* The decision table's view of the task's session. */
static shoal_checkin_view look(shoal_service *s, const shoal_db_task *t,
                               const uint8_t id[SHOAL_ID_BYTES])
{
    int64_t wait_s = shoal_quota_wait_s(s->quota, id, (int64_t)time(NULL));
    shoal_checkin_view v = {
        .task = t, .poll_ms = s->config.poll_ms, .quota_ms = (uint32_t)(1000 * wait_s)};
    const shoal_cohort *c = service_cohort_of_task(s, t->id);
    if (c != NULL && shoal_cohort_record(c)->state == SHOAL_ROUND_OPEN) {
        v.session = true;
        v.gathering = shoal_cohort_record(c)->stage == SHOAL_SA_ADVERTISE;
        v.session_round = shoal_cohort_record(c)->round;
        v.member = shoal_cohort_has(c, id);
    }
    return v;
}

static shoal_status fill_release(shoal_service *s, const shoal_db_task *t,
                                 shoal_checkin_response *p, shoal_error *err)
{
    shoal_db_release newest;
    SHOAL_TRY(shoal_db_release_get(s->db, t->id, t->version, &newest, err));
    p->release = newest.r;
    p->train = t->train;
    return SHOAL_OK;
}

static shoal_status fill_join(shoal_service *s, const shoal_db_task *t, bool open,
                              shoal_checkin_response *p, shoal_error *err)
{
    shoal_cohort *c = service_cohort_of_task(s, t->id);
    if (open) {
        SHOAL_TRY(service_open_cohort(s, t, &c, err));
    }
    const shoal_buf *d = shoal_cohort_descriptor(c);
    p->kind = SHOAL_CHECKIN_JOIN;
    p->descriptor_n = (uint32_t)d->len;
    memcpy(p->descriptor, d->data, d->len);
    p->release = *shoal_cohort_from(c);
    p->train = t->train;
    return SHOAL_OK;
}

static shoal_status answer_checkin(shoal_service *s, const shoal_checkin_request *q,
                                   const uint8_t id[SHOAL_ID_BYTES], shoal_checkin_response *p,
                                   shoal_error *err)
{
    shoal_db_task t;
    SHOAL_TRY(shoal_db_task_by_id(s->db, q->task_id, &t, err));
    shoal_checkin_view v = look(s, &t, id);
    shoal_checkin_decision d = shoal_checkin_decide(&v, q);
    switch (d.answer) {
    case SHOAL_ANSWER_WAIT:
        p->kind = SHOAL_CHECKIN_WAIT;
        p->retry_after_ms = d.retry_after_ms;
        (void)snprintf(p->reason, sizeof p->reason, "%s", d.reason);
        return SHOAL_OK;
    case SHOAL_ANSWER_TRAIN: p->kind = SHOAL_CHECKIN_TRAIN; return fill_release(s, &t, p, err);
    case SHOAL_ANSWER_JOIN: return fill_join(s, &t, false, p, err);
    case SHOAL_ANSWER_OPEN: return fill_join(s, &t, true, p, err);
    }
    return shoal_fail(err, SHOAL_ERR_INTERNAL, "no such decision");
}

void routes_checkin(shoal_service *s, shoal_http_request *r, const uint8_t id[SHOAL_ID_BYTES])
{
    shoal_error err = {0};
    shoal_checkin_request q;
    shoal_checkin_response p = {0};
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    size_t n;
    const uint8_t *data = shoal_http_body(r, &n);
    shoal_status st = shoal_checkin_request_decode(data, n, &q, &err);
    if (st == SHOAL_OK) {
        st = answer_checkin(s, &q, id, &p, &err);
    }
    if (st == SHOAL_OK) {
        st = shoal_checkin_response_encode(&p, &body, &err);
    }
    shoal_seen_add(s->seen, id, (int64_t)time(NULL));
    reply_encoded(r, st, &body, &err);
}

/* ---- GET /v1/blobs/{sha256}, GET /v1/deltas/{from}/{to} ----------------------------------------
 */

typedef enum range_kind { RANGE_NONE, RANGE_PART, RANGE_BEYOND } range_kind;

/* "bytes=A-" or "bytes=A-B" of n bytes. Of any other form: NONE, and the whole file is sent. */
static range_kind take_range(const char *text, size_t n, size_t *first, size_t *len)
{
    char from[24] = {0};
    uint64_t a = 0, b = n - 1;
    const char *dash = text != NULL ? strchr(text, '-') : NULL;
    if (dash == NULL || strncmp(text, "bytes=", 6) != 0 || strchr(text, ',') != NULL ||
        (size_t)(dash - text) - 6 >= sizeof from) {
        return RANGE_NONE;
    }
    memcpy(from, text + 6, (size_t)(dash - text) - 6);
    if (!shoal_parse_u64(from, &a) ||
        (dash[1] != '\0' && (!shoal_parse_u64(dash + 1, &b) || b < a))) {
        return RANGE_NONE;
    }
    if (a >= n) {
        return RANGE_BEYOND;
    }
    b = b < n ? b : n - 1;
    *first = (size_t)a;
    *len = (size_t)(b - a) + 1;
    return RANGE_PART;
}

/* A request that waits for its file. */
typedef struct download {
    shoal_http_request *req; /* NULL: the device is gone */
    bool is_delta;
} download;

static void download_gone(void *ctx, shoal_http_request *r)
{
    (void)r;
    ((download *)ctx)->req = NULL;
}

static void reply_no_blob(shoal_http_request *r, bool is_delta, shoal_status st,
                          const shoal_error *err)
{
    if (is_delta && st == SHOAL_ERR_NOT_FOUND) {
        shoal_reply_error(r, SHOAL_CODE_NOT_FOUND, NULL,
                          "there is no such delta; fetch the whole file", 0);
        return;
    }
    /* A known blob that cannot be read is our fault, not the device's. */
    bool busy = st == SHOAL_ERR_AGAIN || st == SHOAL_ERR_NOMEM;
    shoal_reply_status(r, busy ? st : SHOAL_ERR_INTERNAL, err);
}

static void reply_blob(shoal_http_request *r, shoal_blob *blob)
{
    char text[80];
    size_t n;
    const uint8_t *bytes = shoal_blob_bytes(blob, &n);
    size_t first = 0, len = n;
    range_kind range = take_range(shoal_http_header(r, "Range"), n, &first, &len);
    if (range == RANGE_BEYOND) {
        shoal_blob_release(blob);
        (void)snprintf(text, sizeof text, "bytes */%zu", n);
        (void)shoal_http_add_header(r, "Content-Range", text);
        shoal_http_respond(r, 416, NULL, NULL, 0);
        return;
    }
    if (range == RANGE_PART) {
        (void)snprintf(text, sizeof text, "bytes %zu-%zu/%zu", first, first + len - 1, n);
        (void)shoal_http_add_header(r, "Content-Range", text);
    }
    (void)shoal_http_add_header(r, "Accept-Ranges", "bytes");
    const shoal_http_shared what = {
        .body = bytes + first, .n = len, .release = shoal_blob_release, .ctx = blob};
    shoal_http_respond_shared(r, range == RANGE_PART ? 206 : 200, SHOAL_TYPE_BYTES, &what);
}

static void have_blob(void *ctx, shoal_blob *blob, shoal_status st, const shoal_error *err)
{
    download *d = ctx;
    shoal_http_request *r = d->req;
    bool is_delta = d->is_delta;
    shoal_free(d);
    if (r == NULL) {
        if (blob != NULL) {
            shoal_blob_release(blob);
        }
        return;
    }
    shoal_http_on_gone(r, NULL, NULL);
    if (blob == NULL) {
        reply_no_blob(r, is_delta, st, err);
    } else {
        reply_blob(r, blob);
    }
}

/* A blob the database knows, or the delta to one. */
void routes_blob(shoal_service *s, shoal_http_request *r, const route *rt)
{
    shoal_error err = {0};
    bool known = false;
    shoal_status st = shoal_db_blob_known(s->db, rt->hash, &known, &err);
    if (st == SHOAL_OK && !known) {
        st = shoal_fail(&err, SHOAL_ERR_NOT_FOUND, "no adapter has this hash");
    }
    download *d = st == SHOAL_OK ? shoal_calloc(1, sizeof *d) : NULL;
    if (st == SHOAL_OK && d == NULL) {
        st = shoal_fail(&err, SHOAL_ERR_NOMEM, "no memory for a download");
    }
    if (st != SHOAL_OK) {
        shoal_reply_status(r, st, &err);
        return;
    }
    *d = (download){.req = r, .is_delta = rt->kind == ROUTE_DELTA};
    shoal_http_on_gone(r, download_gone, d);
    shoal_blob_use(s->blobs, rt->hash, d->is_delta ? rt->from : NULL, have_blob, d);
}
