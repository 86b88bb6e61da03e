/* round.c - the messages of one session, in order. */
#include "client/round.h"

#include <string.h>

#include "kernels/base/term.h"
#include "kernels/base/mem.h"

enum { SLACK_S = 30 }; /* on top of the session's own deadlines */

typedef struct session {
    const shoal_round_job *job;
    shoal_sa_client *sa;
    const shoal_sa_descriptor *d;
    char hex[2 * SHOAL_SA_SESSION_BYTES + 1];
    double give_up_s;
    shoal_buf in, out; /* one message each way */
} session;

static shoal_status stage(const session *x, const char *name, shoal_error *err)
{
    const shoal_round_job *j = x->job;
    if (j->on_stage == NULL) return SHOAL_OK;
    return j->on_stage(j->ctx, name, x->d->round, shoal_sa_client_cohort(x->sa), err);
}

static shoal_status send(session *x, const char *what, shoal_error *err)
{
    SHOAL_TRY(stage(x, what, err));
    return shoal_api_session_send(x->job->api, x->hex, what, &x->out, x->give_up_s, err);
}

/* Waits for a message; x->in then holds it and x->out is empty for the answer. */
static shoal_status await(session *x, const char *what, shoal_error *err)
{
    shoal_buf_wipe(&x->out);
    return shoal_api_session_wait(x->job->api, x->hex, what, x->give_up_s, &x->in, err);
}

static shoal_status open_session(session *x, const shoal_round_job *job, shoal_error *err)
{
    const shoal_enrolment *e = job->enrolment;
    shoal_sa_client_options opt = {.key = e->key,
                                   .cert = e->cert.data,
                                   .cert_n = e->cert.n,
                                   .ca = e->ca.data,
                                   .ca_n = e->ca.n,
                                   .task_spki = e->task_spki,
                                   .policy = job->policy,
                                   .last_round = job->record->last_round,
                                   .ex = job->exec};
    opt.policy.dim = (uint32_t)job->update->n;
    memcpy(opt.task_id, job->record->task_id, sizeof opt.task_id);
    memcpy(opt.base_model_hash, job->base_hash, sizeof opt.base_model_hash);
    memcpy(opt.adapter_hash, job->update->adapter_sha256, sizeof opt.adapter_hash);
    SHOAL_TRY(shoal_sa_client_open(&x->sa, &opt, job->descriptor, job->descriptor_n, err));
    x->d = shoal_sa_client_descriptor(x->sa);
    shoal_hex_encode(x->d->session_id, sizeof x->d->session_id, x->hex);
    double total_ms = 0;
    for (size_t i = 0; i < SHOAL_SA_STAGES; i++)
        total_ms += x->d->deadline_ms[i];
    x->give_up_s = shoal_clock_s() + total_ms / 1e3 + SLACK_S;
    return SHOAL_OK;
}

/* M1 to M4: keys, shares, and who has them. The round counter is on disk before the first byte
 * leaves. */
static shoal_status exchange_keys(session *x, shoal_error *err)
{
    x->job->record->last_round = x->d->round;
    SHOAL_TRY(shoal_task_record_save(x->job->record, x->job->store, err));
    SHOAL_TRY(shoal_sa_client_advertise(x->sa, &x->out, err));
    SHOAL_TRY(send(x, "advertise", err));
    SHOAL_TRY(await(x, "roster", err));
    SHOAL_TRY(shoal_sa_client_roster(x->sa, x->in.data, x->in.len, x->job->now_s(), &x->out, err));
    SHOAL_TRY(send(x, "shares", err));
    SHOAL_TRY(await(x, "delivery", err));
    SHOAL_TRY(shoal_sa_client_delivery(x->sa, x->in.data, x->in.len, &x->out, err));
    SHOAL_TRY(send(x, "confirm", err));
    SHOAL_TRY(await(x, "members", err));
    return shoal_sa_client_members(x->sa, x->in.data, x->in.len, err);
}

static shoal_status encode_words(const session *x, uint32_t *words, shoal_error *err)
{
    const shoal_update *u = x->job->update;
    uint8_t seed[32];
    uint32_t weight = u->weight < x->d->codec.weight_max ? u->weight : x->d->codec.weight_max;
    uint8_t signs[32];
    shoal_codec_keys keys = {.rounding = seed, .rotation = signs};
    SHOAL_TRY(shoal_sa_rotation_key(shoal_sa_client_context(x->sa), signs, err));
    SHOAL_TRY(shoal_random(seed, sizeof seed, err));
    shoal_status st =
        shoal_codec_encode(x->job->exec, &x->d->codec, u->delta, weight, &keys, words, NULL, err);
    shoal_wipe(seed, sizeof seed);
    return st;
}

/* Spec 5.6.3, Spec 6.4: that there is an input is on disk before it leaves, its keys never are, so
 * that no second one can be made of this session; and the update is spent, so that no other session
 * gets it, whatever became of this one. */
static shoal_status spend_update(session *x, shoal_error *err)
{
    shoal_task_record *r = x->job->record;
    if (x->job->update->number != r->inputs) {
        return shoal_fail(err, SHOAL_ERR_STATE, "this update was in a session before");
    }
    r->inputs++;
    r->input_round = x->d->round;
    return shoal_task_record_save(r, x->job->store, err);
}

/* M5: the update, clipped, in fixed point, masked. */
static shoal_status upload_input(session *x, shoal_error *err)
{
    size_t n = shoal_codec_words(&x->d->codec);
    uint32_t *words = shoal_calloc(n, sizeof *words);
    if (words == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "memory is out");
    shoal_status st = encode_words(x, words, err);
    if (st == SHOAL_OK) st = spend_update(x, err);
    if (st == SHOAL_OK) st = shoal_sa_client_input(x->sa, words, &x->out, err);
    shoal_wipe(words, n * sizeof *words);
    shoal_free(words);
    if (st == SHOAL_OK) st = stage(x, "input", err);
    if (st != SHOAL_OK) return st;
    return shoal_api_session_upload(x->job->api, x->hex, &x->out, x->give_up_s, NULL, err);
}

/* M6: our word on who is in the sum, where we are on the committee. Too late for it is no harm: the
 * request can still come, with enough other signatures. */
static shoal_status sign_survivors(session *x, shoal_error *err)
{
    if (!shoal_sa_client_signs(x->sa)) return SHOAL_OK;
    shoal_status st = await(x, "claim", err);
    if (st == SHOAL_OK) st = shoal_sa_client_claim(x->sa, x->in.data, x->in.len, &x->out, err);
    if (st == SHOAL_OK) st = send(x, "survivors", err);
    bool late = st == SHOAL_ERR_STATE && shoal_sa_client_stage(x->sa) != SHOAL_SA_FAILED;
    return late ? SHOAL_OK : st;
}

/* M7 and M8: the shares that open the sum and nothing else. */
static shoal_status unmask(session *x, shoal_error *err)
{
    SHOAL_TRY(await(x, "request", err));
    SHOAL_TRY(shoal_sa_client_request(x->sa, x->in.data, x->in.len, x->job->now_s(), &x->out, err));
    return send(x, "unmask", err);
}

/* Spec 5.10.2 */
static shoal_status check_result(const session *x, const shoal_round_result *r, shoal_error *err)
{
    const shoal_adapter_release *rel = &r->release;
    const shoal_round_job *j = x->job;
    SHOAL_TRY(shoal_release_verify(rel, j->enrolment->task_spki, err));
    bool ok = shoal_equal(r->session_id, x->d->session_id, sizeof r->session_id) &&
              r->round == x->d->round && rel->round == x->d->round &&
              shoal_equal(rel->task_id, j->record->task_id, sizeof rel->task_id) &&
              shoal_equal(rel->base_sha256, j->base_hash, 32) &&
              shoal_equal(rel->previous_sha256, j->update->adapter_sha256, 32) &&
              rel->version > j->update->version;
    if (ok) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_TAMPERED, "the result is not that of this round");
}

static shoal_status fetch_result(session *x, shoal_round_result *out, shoal_error *err)
{
    SHOAL_TRY(stage(x, "result", err));
    SHOAL_TRY(await(x, "result", err));
    SHOAL_TRY(shoal_round_result_decode(x->in.data, x->in.len, out, err));
    return check_result(x, out, err);
}

shoal_status shoal_round_run(const shoal_round_job *job, shoal_round_result *out, shoal_error *err)
{
    session x = {.job = job};
    size_t packed = shoal_packed_bytes(job->update->n + 1, SHOAL_LIMIT_RING_MAX);
    x.in = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
    x.out = shoal_buf_init(packed + SHOAL_LIMIT_SA_MESSAGE);
    shoal_status st = open_session(&x, job, err);
    if (st == SHOAL_OK) st = exchange_keys(&x, err);
    if (st == SHOAL_OK) {
        shoal_buf_wipe(&x.out);
        st = upload_input(&x, err);
    }
    if (st == SHOAL_OK) st = sign_survivors(&x, err);
    if (st == SHOAL_OK) st = unmask(&x, err);
    if (st == SHOAL_OK) st = fetch_result(&x, out, err);
    shoal_sa_client_close(x.sa);
    shoal_buf_wipe(&x.in);
    shoal_buf_wipe(&x.out);
    return st;
}
