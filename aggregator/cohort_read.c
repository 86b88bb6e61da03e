/* cohort_read.c - what devices read of a session: messages of closed stages, waited for or not.
 *
 * When a stage is closed, thousands may be waiting. They are answered some in a turn of the loop,
 * so that others are served in between; and what a message begins with for all of them alike, by
 * far the most of M2, is in memory once.
 */
#include <stdio.h>
#include <string.h>

#include "aggregator/cohort_internal.h"
#include "aggregator/reply.h"
#include "kernels/base/mem.h"

enum { MAX_WAITERS = 4 * SHOAL_LIMIT_COHORT_MAX, ANSWERS_PER_TURN = 16 };

/* ---- answers ----------------------------------------------------------------------------------
 */

static void reply_over(const shoal_cohort *c, shoal_http_request *r)
{
    char text[SHOAL_LIMIT_TEXT];
    if (c->rec.state == SHOAL_ROUND_DONE) {
        (void)snprintf(text, sizeof text, "the session is over: it made version %llu",
                       (unsigned long long)c->rec.to_version);
    } else {
        (void)snprintf(text, sizeof text, "the session is over: %.200s", c->rec.reason);
    }
    shoal_reply_error(r, SHOAL_CODE_GONE, NULL, text, 0);
}

static void reply_result(const shoal_cohort *c, shoal_http_request *r)
{
    shoal_error err = {0};
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    shoal_status st = shoal_round_result_encode(&c->result, &body, &err);
    if (st == SHOAL_OK) {
        shoal_reply_bytes(r, SHOAL_TYPE_PROTOBUF, &body);
    } else {
        shoal_reply_status(r, st, &err);
    }
    shoal_buf_clear(&body);
}

static bool answer_result(const shoal_cohort *c, const uint8_t *id, shoal_http_request *r)
{
    if (!cohort_is_member(c, id)) {
        shoal_reply_error(r, SHOAL_CODE_FORBIDDEN, NULL, "not a member of this session", 0);
    } else if (c->rec.state == SHOAL_ROUND_DONE) {
        reply_result(c, r);
    } else if (cohort_over(c)) {
        reply_over(c, r);
    } else {
        return false;
    }
    return true;
}

/* What M2 begins with, kept until the last connection has sent it. */
struct cohort_opening {
    shoal_buf bytes;
    size_t users; /* the cohort, and answers on their way */
};

void cohort_opening_leave(void *opening)
{
    cohort_opening *o = opening;
    if (o != NULL && --o->users == 0) {
        shoal_buf_clear(&o->bytes);
        shoal_free(o);
    }
}

static shoal_status open_roster(shoal_cohort *c, shoal_error *err)
{
    if (c->opening != NULL) {
        return SHOAL_OK;
    }
    cohort_opening *o = shoal_calloc(1, sizeof *o);
    if (o == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a message");
    }
    *o = (cohort_opening){.bytes = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE), .users = 1};
    shoal_status st = shoal_sa_server_opening(c->sa, SHOAL_SA_ADVERTISE, &o->bytes, err);
    if (st != SHOAL_OK) {
        cohort_opening_leave(o);
        return st;
    }
    c->opening = o;
    return SHOAL_OK;
}

static void reply_roster(cohort_opening *o, shoal_buf *rest, shoal_http_request *r)
{
    const shoal_http_shared what = {.body = o->bytes.data,
                                    .n = o->bytes.len,
                                    .release = cohort_opening_leave,
                                    .ctx = o,
                                    .rest = rest};
    o->users++;
    shoal_http_respond_shared(r, 200, SHOAL_TYPE_BYTES, &what);
}

/* Answers if there is something to say. */
static bool answer_read(shoal_cohort *c, shoal_sa_stage stage, const uint8_t *id,
                        shoal_http_request *r)
{
    if (stage == SHOAL_SA_UNMASK) {
        return answer_result(c, id, r);
    }
    if (cohort_over(c)) {
        reply_over(c, r);
        return true;
    }
    shoal_error err = {0};
    shoal_buf rest = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
    shoal_status st = shoal_sa_server_rest(c->sa, stage, id, &rest, &err);
    if (st == SHOAL_OK && stage == SHOAL_SA_ADVERTISE) {
        st = open_roster(c, &err);
    }
    if (st == SHOAL_OK && stage == SHOAL_SA_ADVERTISE) {
        reply_roster(c->opening, &rest, r);
    } else if (st == SHOAL_OK) {
        shoal_reply_bytes(r, SHOAL_TYPE_BYTES, &rest);
    } else if (st == SHOAL_ERR_DENIED && cohort_is_member(c, id)) {
        shoal_reply_error(r, SHOAL_CODE_GONE, NULL,
                          "the session went on without this device; check in again", 0);
    } else if (st != SHOAL_ERR_AGAIN) {
        shoal_reply_status(r, st, &err);
    }
    shoal_buf_clear(&rest);
    return st != SHOAL_ERR_AGAIN;
}

/* ---- waiting ----------------------------------------------------------------------------------
 */

static void unlink_waiter(cohort_waiter *w)
{
    *w->link = w->next;
    if (w->next != NULL) {
        w->next->link = w->link;
    }
    w->cohort->n_waiters--;
    shoal_timer_close(w->timer);
    shoal_free(w);
}

static void link_waiter(shoal_cohort *c, cohort_waiter *w)
{
    w->next = c->waiters;
    w->link = &c->waiters;
    if (w->next != NULL) {
        w->next->link = &w->next;
    }
    c->waiters = w;
    c->n_waiters++;
}

static void waiter_gone(void *ctx, shoal_http_request *r)
{
    (void)r;
    unlink_waiter(ctx);
}

static void waiter_late(void *ctx)
{
    cohort_waiter *w = ctx;
    shoal_http_request *r = w->req;
    unlink_waiter(w);
    shoal_reply_empty(r, 202);
}

static bool add_waiter(shoal_cohort *c, shoal_sa_stage stage, const uint8_t *id,
                       shoal_http_request *r, uint64_t wait_ms)
{
    cohort_waiter *w = c->n_waiters < MAX_WAITERS ? shoal_calloc(1, sizeof *w) : NULL;
    if (w == NULL || shoal_timer_open(&w->timer, c->env->loop, waiter_late, w, NULL) != SHOAL_OK) {
        shoal_free(w);
        return false;
    }
    w->cohort = c;
    w->req = r;
    w->stage = stage;
    memcpy(w->id, id, SHOAL_ID_BYTES);
    link_waiter(c, w);
    shoal_timer_start(w->timer, wait_ms, 0);
    shoal_http_on_gone(r, waiter_gone, w);
    return true;
}

void shoal_cohort_read(shoal_cohort *c, shoal_sa_stage stage, const uint8_t id[SHOAL_ID_BYTES],
                       shoal_http_request *r, uint64_t wait_ms)
{
    if (cohort_readable(c) && answer_read(c, stage, id, r)) {
        return;
    }
    if (wait_ms == 0) {
        shoal_reply_empty(r, 202);
    } else if (!add_waiter(c, stage, id, r, wait_ms)) {
        shoal_reply_error(r, SHOAL_CODE_BUSY, NULL, "too many devices wait", 1000);
    }
}

/* What a device reads is there once a stage is closed and not before, so thousands of waiters are
 * not asked again after each message. */
static void look_for_news(shoal_cohort *c)
{
    shoal_sa_stage now = shoal_sa_server_stage(c->sa);
    if (now == c->served && cohort_over(c) == c->served_end) {
        return;
    }
    c->served = now;
    c->served_end = cohort_over(c);
    for (cohort_waiter *w = c->waiters; w != NULL; w = w->next) {
        w->seen = false;
    }
}

void cohort_serve_waiters(shoal_cohort *c)
{
    cohort_waiter *next;
    size_t answers = 0;
    look_for_news(c);
    for (cohort_waiter *w = c->waiters; w != NULL; w = next) {
        next = w->next;
        if (w->seen) {
            continue;
        }
        if (answers == ANSWERS_PER_TURN) {
            shoal_timer_start(c->serving, 1, 0);
            return;
        }
        w->seen = true;
        if (answer_read(c, w->stage, w->id, w->req)) {
            unlink_waiter(w);
            answers++;
        }
    }
}

void cohort_go_on_serving(void *ctx)
{
    shoal_cohort *c = ctx;
    if (cohort_readable(c)) { /* else the job that runs goes on with it */
        cohort_serve_waiters(c);
    }
}

void cohort_dismiss_waiters(shoal_cohort *c)
{
    while (c->waiters != NULL) {
        cohort_waiter *w = c->waiters;
        shoal_http_request *r = w->req;
        unlink_waiter(w);
        reply_over(c, r);
    }
}
