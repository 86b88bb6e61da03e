/* cohort.c - a session and the requests of its devices. */
#include "aggregator/cohort.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "aggregator/cohort_internal.h"
#include "aggregator/reply.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

enum {
    M5_HEAD_BYTES = 138,
    JOBS_BESIDES = 64 /* messages that may wait for the lane, beside four a device */
};

/* ---- opening ----------------------------------------------------------------------------------
 */

static shoal_status make_descriptor(shoal_cohort *c, shoal_error *err)
{
    const shoal_db_task *t = &c->task;
    shoal_sa_descriptor d = {.round = c->rec.round,
                             .codec = t->codec,
                             .noise_den = 1,
                             .n_min = t->n_min,
                             .n_target = t->n_target,
                             .degree = t->degree,
                             .threshold = t->threshold,
                             .committee = t->committee};
    memcpy(d.task_id, t->id, sizeof d.task_id);
    memcpy(d.session_id, c->rec.session_id, sizeof d.session_id);
    memcpy(d.base_model_hash, t->base_sha256, sizeof d.base_model_hash);
    memcpy(d.adapter_hash, c->from.sha256, sizeof d.adapter_hash);
    memcpy(d.deadline_ms, t->deadline_ms, sizeof d.deadline_ms);
    return shoal_sa_descriptor_sign(&d, c->env->keys->task_key, &c->descriptor, err);
}

static shoal_status start(shoal_cohort *c, shoal_error *err)
{
    shoal_db_release newest;
    SHOAL_TRY(shoal_db_release_get(c->env->db, c->task.id, c->task.version, &newest, err));
    c->from = newest.r;
    c->rec = (shoal_db_round){.state = SHOAL_ROUND_OPEN,
                              .from_version = c->task.version,
                              .opened_s = (int64_t)time(NULL)};
    memcpy(c->rec.task_id, c->task.id, sizeof c->rec.task_id);
    SHOAL_TRY(shoal_random(c->rec.session_id, sizeof c->rec.session_id, err));
    SHOAL_TRY(shoal_db_round_open(c->env->db, &c->rec, err));
    SHOAL_TRY(make_descriptor(c, err));
    SHOAL_TRY(shoal_timer_open(&c->serving, c->env->loop, cohort_go_on_serving, c, err));
    shoal_sa_server_options opt = {.ca = c->env->keys->ca.data,
                                   .ca_n = c->env->keys->ca.len,
                                   .task_spki = c->env->keys->task_spki,
                                   .ex = c->env->exec};
    SHOAL_TRY(shoal_uploads_open(&c->uploads, c->env->scratch, shoal_cohort_input_bytes(c), err));
    return shoal_sa_server_open(&c->sa, &opt, c->descriptor.data, c->descriptor.len, err);
}

static void free_cohort(shoal_cohort *c)
{
    shoal_timer_close(c->deadline);
    shoal_timer_close(c->serving);
    cohort_opening_leave(c->opening);
    shoal_sa_server_close(c->sa);
    shoal_uploads_close(c->uploads);
    shoal_buf_clear(&c->descriptor);
    shoal_free(c->members);
    shoal_free(c);
}

/* What was recorded as open and could not start must not look open for ever. */
static void record_stillbirth(shoal_cohort *c, const shoal_error *why)
{
    if (c->rec.round == 0) {
        return;
    }
    c->rec.state = SHOAL_ROUND_FAILED;
    c->rec.closed_s = (int64_t)time(NULL);
    (void)snprintf(c->rec.reason, sizeof c->rec.reason, "%s", why->msg);
    shoal_error err = {0};
    if (shoal_db_round_close(c->env->db, &c->rec, NULL, 0, NULL, &err) != SHOAL_OK) {
        shoal_log(SHOAL_LOG_WARN, "round", "not recorded: %s", err.msg);
    }
}

shoal_status shoal_cohort_open(shoal_cohort **out, shoal_cohort_env *env, const shoal_db_task *task,
                               shoal_error *err)
{
    shoal_error local = {0};
    *out = NULL;
    shoal_cohort *c = shoal_calloc(1, sizeof *c);
    if (c == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a session");
    }
    c->env = env;
    c->task = *task;
    c->descriptor = shoal_buf_init(SHOAL_LIMIT_DESCRIPTOR);
    shoal_status st = start(c, &local);
    if (st != SHOAL_OK) {
        record_stillbirth(c, &local);
        free_cohort(c);
        if (err != NULL) {
            *err = local;
        }
        return st;
    }
    shoal_log(SHOAL_LOG_INFO, "round", "open task=%s round=%llu version=%llu devices=%u..%u",
              task->name, (unsigned long long)c->rec.round, (unsigned long long)c->rec.from_version,
              task->n_min, task->n_target);
    cohort_begin_stage(c);
    *out = c;
    return SHOAL_OK;
}

const shoal_buf *shoal_cohort_descriptor(const shoal_cohort *c)
{
    return &c->descriptor;
}

const shoal_db_round *shoal_cohort_record(const shoal_cohort *c)
{
    return &c->rec;
}

const shoal_adapter_release *shoal_cohort_from(const shoal_cohort *c)
{
    return &c->from;
}

size_t shoal_cohort_input_bytes(const shoal_cohort *c)
{
    const shoal_codec *k = &c->task.codec;
    return M5_HEAD_BYTES + shoal_packed_bytes(shoal_codec_words(k), k->ring_bits);
}

bool cohort_is_member(const shoal_cohort *c, const uint8_t id[SHOAL_ID_BYTES])
{
    shoal_sa_member m;
    for (size_t i = 0; shoal_sa_server_member(c->sa, i, &m); i++) {
        if (memcmp(m.id, id, SHOAL_ID_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

bool shoal_cohort_has(const shoal_cohort *c, const uint8_t id[SHOAL_ID_BYTES])
{
    return cohort_readable(c) && cohort_is_member(c, id);
}

/* ---- messages ---------------------------------------------------------------------------------
 */

typedef struct receive_job {
    shoal_cohort *cohort;
    shoal_http_request *req; /* NULL once the device has gone */
    shoal_sa_stage stage;
    uint8_t id[SHOAL_ID_BYTES];
    shoal_buf body;
    shoal_status st;
    shoal_error err;
} receive_job;

static void receive_gone(void *ctx, shoal_http_request *r)
{
    (void)r;
    ((receive_job *)ctx)->req = NULL;
}

static void receive_work(void *ctx)
{
    receive_job *j = ctx;
    j->st = shoal_sa_server_receive(j->cohort->sa, j->stage, j->id, j->body.data, j->body.len,
                                    (int64_t)time(NULL), &j->err);
}

/* PROTOCOL.md 3.4: which refusal it is depends on where the session and the device stand. */
void cohort_refuse(const shoal_cohort *c, shoal_sa_stage stage, const uint8_t id[SHOAL_ID_BYTES],
                   shoal_http_request *r, shoal_status st, const shoal_error *err)
{
    shoal_sa_stage now = shoal_sa_server_stage(c->sa);
    if (st == SHOAL_ERR_DENIED && cohort_is_member(c, id)) {
        shoal_reply_error(r, SHOAL_CODE_CONFLICT, err, NULL, 0);
    } else if (st == SHOAL_ERR_STATE && !cohort_over(c) && stage > now) {
        shoal_reply_error(r, SHOAL_CODE_TOO_EARLY, err, NULL, 500);
    } else {
        shoal_reply_status(r, st, err);
    }
}

static void receive_done(void *ctx)
{
    receive_job *j = ctx;
    shoal_cohort *c = j->cohort;
    if (j->req != NULL && j->st == SHOAL_OK) {
        shoal_reply_empty(j->req, 200);
    } else if (j->req != NULL) {
        cohort_refuse(c, j->stage, j->id, j->req, j->st, &j->err);
    }
    shoal_buf_clear(&j->body);
    shoal_free(j);
    cohort_maybe_advance(c);
    cohort_job_done(c);
}

/* Whatever its message is worth: a device that means ill has no more attempts than others. */
static bool may_join(const shoal_cohort *c, const uint8_t id[SHOAL_ID_BYTES], shoal_http_request *r)
{
    int64_t now_s = (int64_t)time(NULL);
    if (shoal_quota_take(c->env->quota, id, c->rec.session_id, now_s)) {
        return true;
    }
    uint32_t ms = (uint32_t)(1000 * shoal_quota_wait_s(c->env->quota, id, now_s));
    shoal_reply_error(r, SHOAL_CODE_BUSY, NULL, "as many rounds as a device may join in a day",
                      ms > 0 ? ms : 2000);
    return false;
}

void shoal_cohort_receive(shoal_cohort *c, shoal_sa_stage stage, const uint8_t id[SHOAL_ID_BYTES],
                          shoal_http_request *r)
{
    if (c->jobs > 4 * (size_t)c->task.n_target + JOBS_BESIDES) {
        shoal_reply_error(r, SHOAL_CODE_BUSY, NULL, "many messages wait to be checked", 1000);
        return;
    }
    if (stage == SHOAL_SA_ADVERTISE && !may_join(c, id, r)) {
        return;
    }
    receive_job *j = shoal_calloc(1, sizeof *j);
    if (j == NULL) {
        shoal_reply_error(r, SHOAL_CODE_BUSY, NULL, "out of memory", 2000);
        return;
    }
    *j = (receive_job){.cohort = c, .req = r, .stage = stage};
    memcpy(j->id, id, SHOAL_ID_BYTES);
    j->body = shoal_http_body_take(r);
    shoal_http_on_gone(r, receive_gone, j);
    c->jobs++;
    shoal_error err = {0};
    if (shoal_lane_push(c->env->lane, c, receive_work, receive_done, j, &err) != SHOAL_OK) {
        c->jobs--; /* `sa` may be a worker's: nothing else is touched */
        shoal_buf_clear(&j->body);
        shoal_free(j);
        shoal_http_on_gone(r, NULL, NULL);
        shoal_reply_error(r, SHOAL_CODE_BUSY, NULL, "out of memory", 2000);
    }
}

static void free_if_closed(shoal_cohort *c)
{
    if (c->closing == NULL || c->jobs > 0) {
        return;
    }
    if (!cohort_over(c)) {
        cohort_end(c, SHOAL_ROUND_ABANDONED, c->closing, NULL);
    }
    free_cohort(c);
}

void cohort_job_done(shoal_cohort *c)
{
    c->jobs--;
    cohort_serve_waiters(c);
    free_if_closed(c);
}

/* ---- closing ----------------------------------------------------------------------------------
 */

void shoal_cohort_close(shoal_cohort *c, const char *reason)
{
    if (c == NULL || c->closing != NULL) {
        return;
    }
    c->closing = reason;
    if (!cohort_over(c) && cohort_readable(c)) {
        cohort_end(c, SHOAL_ROUND_ABANDONED, reason, NULL);
    }
    cohort_dismiss_waiters(c);
    free_if_closed(c);
}
