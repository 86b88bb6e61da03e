/* cohort_upload.c - masked inputs, chunk by chunk. PROTOCOL.md 3.6. */
#include <string.h>
#include <time.h>

#include "aggregator/cohort_internal.h"
#include "aggregator/reply.h"
#include "kernels/base/mem.h"

/* A chunk, or (n 0) the question how much there is. */
typedef struct upload_job {
    shoal_cohort *cohort;
    shoal_http_request *req; /* NULL once the device has gone */
    uint8_t id[SHOAL_ID_BYTES];
    uint64_t offset;
    uint8_t hash[32];
    shoal_buf body;
    bool question;
    size_t upload_bytes;
    shoal_upload_state state; /* the answer */
    shoal_status st;
    shoal_error err;
} upload_job;

static void upload_gone(void *ctx, shoal_http_request *r)
{
    (void)r;
    ((upload_job *)ctx)->req = NULL;
}

/* May this device send an input now? */
static shoal_status check_open(const shoal_cohort *c, const uint8_t *id, shoal_error *err)
{
    shoal_sa_member m;
    size_t i = 0;
    while (shoal_sa_server_member(c->sa, i, &m) && memcmp(m.id, id, SHOAL_ID_BYTES) != 0) {
        i++;
    }
    if (!shoal_sa_server_member(c->sa, i, &m)) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "not a member of this session");
    }
    shoal_sa_stage now = shoal_sa_server_stage(c->sa);
    if (now != SHOAL_SA_INPUT) {
        return shoal_fail(err, SHOAL_ERR_STATE, "the input stage is %s",
                          now < SHOAL_SA_INPUT ? "not open yet" : "closed");
    }
    if (!m.masks) { /* nothing of it is put on the disk */
        return shoal_fail(err, SHOAL_ERR_STATE,
                          "the session went on without this device; check in again");
    }
    return SHOAL_OK;
}

/* Spec 3.6.2: into the sum once and whole. Whatever keeps it out, the device begins again. */
static shoal_status count_input(const upload_job *j, shoal_error *err)
{
    shoal_cohort *c = j->cohort;
    shoal_buf m5 = shoal_buf_init(shoal_cohort_input_bytes(c));
    shoal_status st = shoal_uploads_read(c->uploads, j->id, &m5, err);
    if (st == SHOAL_OK) {
        st = shoal_sa_server_receive(c->sa, SHOAL_SA_INPUT, j->id, m5.data, m5.len,
                                     (int64_t)time(NULL), err);
    }
    shoal_buf_clear(&m5);
    if (st == SHOAL_OK) {
        shoal_uploads_keep_hashes(c->uploads, j->id);
    } else {
        shoal_uploads_forget(c->uploads, j->id);
    }
    return st;
}

static shoal_status take_chunk(const upload_job *j, shoal_error *err)
{
    shoal_cohort *c = j->cohort;
    shoal_upload_chunk chunk = {
        .offset = j->offset, .hash = j->hash, .data = j->body.data, .n = j->body.len};
    shoal_status st = shoal_uploads_repeat(c->uploads, j->id, &chunk, err);
    if (st != SHOAL_ERR_NOT_FOUND) {
        return st;
    }
    SHOAL_TRY(check_open(c, j->id, err));
    SHOAL_TRY(shoal_uploads_append(c->uploads, j->id, &chunk, err));
    return shoal_uploads_whole(c->uploads, j->id) ? count_input(j, err) : SHOAL_OK;
}

static void upload_work(void *ctx)
{
    upload_job *j = ctx;
    j->st = j->question ? SHOAL_OK : take_chunk(j, &j->err);
    j->state = shoal_uploads_state(j->cohort->uploads, j->id);
}

static void reply_upload(upload_job *j)
{
    shoal_cohort *c = j->cohort;
    if (j->question && !cohort_is_member(c, j->id)) {
        shoal_reply_error(j->req, SHOAL_CODE_FORBIDDEN, NULL, "not a member of this session", 0);
    } else if (j->st == SHOAL_OK) {
        shoal_buf body = shoal_buf_init(SHOAL_UPLOAD_STATE_BYTES);
        (void)shoal_upload_state_encode(&j->state, &body);
        shoal_reply_bytes(j->req, SHOAL_TYPE_BYTES, &body);
    } else if (j->st == SHOAL_ERR_AGAIN) {
        shoal_reply_error(j->req, SHOAL_CODE_TOO_EARLY, &j->err, NULL, 0);
    } else {
        cohort_refuse(c, SHOAL_SA_INPUT, j->id, j->req, j->st, &j->err);
    }
}

static void upload_done(void *ctx)
{
    upload_job *j = ctx;
    shoal_cohort *c = j->cohort;
    if (j->req != NULL) {
        reply_upload(j);
    }
    c->env->upload_used -= j->upload_bytes;
    shoal_buf_clear(&j->body);
    shoal_free(j);
    cohort_maybe_advance(c);
    cohort_job_done(c);
}

static void push_job(upload_job *j)
{
    shoal_cohort *c = j->cohort;
    shoal_error err = {0};
    shoal_http_on_gone(j->req, upload_gone, j);
    c->jobs++;
    if (shoal_lane_push_bulk(c->env->lane, c, upload_work, upload_done, j, &err) != SHOAL_OK) {
        shoal_http_request *r = j->req; /* `sa` may be a worker's: nothing else is touched */
        c->jobs--;
        c->env->upload_used -= j->upload_bytes;
        shoal_buf_clear(&j->body);
        shoal_free(j);
        shoal_http_on_gone(r, NULL, NULL);
        shoal_reply_error(r, SHOAL_CODE_BUSY, NULL, "out of memory", 2000);
    }
}

static upload_job *new_job(shoal_cohort *c, const uint8_t *id, shoal_http_request *r)
{
    upload_job *j = shoal_calloc(1, sizeof *j);
    if (j == NULL) {
        shoal_reply_error(r, SHOAL_CODE_BUSY, NULL, "out of memory", 2000);
        return NULL;
    }
    *j = (upload_job){.cohort = c, .req = r, .body = shoal_buf_init(0)};
    memcpy(j->id, id, SHOAL_ID_BYTES);
    return j;
}

void shoal_cohort_upload(shoal_cohort *c, const uint8_t id[SHOAL_ID_BYTES], shoal_http_request *r,
                         const shoal_upload_place *at)
{
    upload_job *j = new_job(c, id, r);
    if (j == NULL) {
        c->env->upload_used -= at->upload_bytes;
        return;
    }
    j->offset = at->offset;
    memcpy(j->hash, at->hash, sizeof j->hash);
    j->upload_bytes = at->upload_bytes;
    j->body = shoal_http_body_take(r);
    push_job(j);
}

void shoal_cohort_upload_state(shoal_cohort *c, const uint8_t id[SHOAL_ID_BYTES],
                               shoal_http_request *r)
{
    upload_job *j = new_job(c, id, r);
    if (j != NULL) {
        j->question = true;
        push_job(j);
    }
}
