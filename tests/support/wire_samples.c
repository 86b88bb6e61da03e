/* wire_samples.c - see wire_samples.h. */
#include "tests/support/wire_samples.h"

#include <string.h>

static void fill_release(shoal_adapter_release *r)
{
    memset(r, 0x5a, sizeof *r);
    r->version = 3;
    r->round = 300;
    r->size = 1234567;
}

static void fill_adapter_release(wire_any *m)
{
    fill_release(&m->adapter_release);
}

static void fill_enrol_begin(wire_any *m)
{
    memset(m->enrol_begin.token_id, 9, SHOAL_TOKEN_BYTES);
}

static void fill_enrol_challenge(wire_any *m)
{
    memset(m->enrol_challenge.nonce, 8, SHOAL_NONCE_BYTES);
    m->enrol_challenge.attestation = SHOAL_ATTESTATION_ANDROID;
}

static void fill_enrol_request(wire_any *m)
{
    memset(m->enrol_request.token, 1, SHOAL_TOKEN_BYTES);
    memset(m->enrol_request.nonce, 2, SHOAL_NONCE_BYTES);
    m->enrol_request.attestation_n = 200;
    m->enrol_request.csr.n = 300;
    memset(m->enrol_request.csr.data, 0x30, 300);
    strcat(m->enrol_request.version, "0.1.0");
}

static void fill_enrol_response(wire_any *m)
{
    m->enrol_response.cert.n = 400;
    m->enrol_response.ca.n = SHOAL_LIMIT_CERT;
    memset(m->enrol_response.task_spki, 7, SHOAL_SPKI_BYTES);
    strcat(m->enrol_response.deployment, "Küche");
    m->enrol_response.server_time_s = 1790000000;
}

static void fill_renew_request(wire_any *m)
{
    m->renew_request.csr.n = 1;
    memset(m->renew_request.proof, 3, SHOAL_SIG_BYTES);
}

static void fill_renew_response(wire_any *m)
{
    m->renew_response.cert.n = 77;
    m->renew_response.ca.n = 900;
}

static void fill_ca_bundle(wire_any *m)
{
    m->ca_bundle.ca.n = 450;
}

static void fill_task_list(wire_any *m)
{
    m->task_list.n = 3;
    for (size_t i = 0; i < 3; i++) {
        shoal_task_info *t = &m->task_list.tasks[i];
        t->task_id[0] = (uint8_t)i;
        strcat(t->name, "household actions");
        t->state = SHOAL_TASK_RUNNING;
        strcat(t->base_name, "smollm2-135m");
        t->rounds_done = i;
        t->rounds_total = 10;
        t->cohort_min = 3;
        t->cohort_target = 4;
        t->rank = 8;
        t->alpha = 16.0F;
        t->targets = 0x7f;
        fill_release(&t->release);
    }
}

static void fill_checkin_request(wire_any *m)
{
    m->checkin_request.task_id[3] = 9;
    m->checkin_request.last_round = UINT64_MAX;
    m->checkin_request.trained = true;
}

static void fill_checkin_response(wire_any *m)
{
    shoal_checkin_response *r = &m->checkin_response;
    r->kind = SHOAL_CHECKIN_JOIN;
    r->train.rank = 8;
    r->train.alpha = 16.0F;
    r->train.lr = 1e-4F;
    r->train.ctx = 256;
    strcat(r->train.base_name, "smollm2-135m");
    fill_release(&r->release);
    r->descriptor_n = 300;
    r->descriptor[299] = 1;
    r->retry_after_ms = 5000;
    strcat(r->reason, "the cohort is complete");
}

static void fill_round_result(wire_any *m)
{
    m->round_result.round = 4;
    m->round_result.cohort = 5;
    m->round_result.survivors = 4;
    m->round_result.weight_sum = 1000;
    fill_release(&m->round_result.release);
}

static void fill_error_reply(wire_any *m)
{
    m->error_reply.code = SHOAL_CODE_GONE;
    strcat(m->error_reply.message, "the session is over");
    strcat(m->error_reply.hint, "check in again");
    m->error_reply.retry_after_ms = 100;
}

#define WIRE_THUNKS(name)                                                                          \
    static shoal_status encode_##name(const wire_any *m, shoal_buf *out, shoal_error *err)         \
    {                                                                                              \
        return shoal_##name##_encode(&m->name, out, err);                                          \
    }                                                                                              \
    static shoal_status decode_##name(const void *data, size_t n, wire_any *out, shoal_error *err) \
    {                                                                                              \
        return shoal_##name##_decode(data, n, &out->name, err);                                    \
    }
SHOAL_WIRE_MESSAGES(WIRE_THUNKS)

#define WIRE_ROW(name) {#name, sizeof(shoal_##name), fill_##name, encode_##name, decode_##name},
const wire_codec wire_codecs[] = {SHOAL_WIRE_MESSAGES(WIRE_ROW)};
const size_t n_wire_codecs = sizeof wire_codecs / sizeof wire_codecs[0];
