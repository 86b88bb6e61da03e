/* admission.c - who becomes a device: requests to the CA and its answers back. PROTOCOL.md
 * section 2.
 *
 * What is decided here is only who may ask how often, and what is remembered of what the CA issued.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "aggregator/reply.h"
#include "aggregator/service_internal.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "proto/x509.h"

enum {
    FAILS_PER_MINUTE = 5,
    ASKED_AT_A_TIME = 16, /* of one address: devices of a household join together */
    TRIES_PER_MINUTE = 1200,
    MINUTE_MS = 60 * 1000
};

/* ---- guessing is slow -------------------------------------------------------------------------
 */

/* The record of an address: its own, or the oldest one, emptied. */
static admission_fails *fails_of(shoal_service *s, const uint8_t peer[SHOAL_HTTP_PEER_KEY])
{
    uint64_t now = shoal_loop_now_ms(s->loop);
    admission_fails *oldest = &s->fails[0];
    for (size_t i = 0; i < FAILS_TRACKED; i++) {
        admission_fails *f = &s->fails[i];
        if (memcmp(f->peer, peer, sizeof f->peer) == 0) {
            if (now - f->since_ms > MINUTE_MS) {
                f->since_ms = now;
                f->n = 0;
            }
            return f;
        }
        oldest = f->since_ms < oldest->since_ms ? f : oldest;
    }
    *oldest = (admission_fails){.since_ms = now};
    memcpy(oldest->peer, peer, sizeof oldest->peer);
    return oldest;
}

static admission_fails *fails_of_request(shoal_service *s, const shoal_http_request *r)
{
    uint8_t peer[SHOAL_HTTP_PEER_KEY];
    shoal_http_peer_key(r, peer);
    return fails_of(s, peer);
}

/* All addresses together: the CA has other things to do. */
static bool too_many_tries(shoal_service *s)
{
    uint64_t now = shoal_loop_now_ms(s->loop);
    if (now - s->tries_since_ms > MINUTE_MS) {
        s->tries_since_ms = now;
        s->tries = 0;
    }
    return ++s->tries > TRIES_PER_MINUTE;
}

/* Guesses that the CA is looking at are bounded too, or a minute's would be as many as fit into one
 * moment. */
static bool refuse_guessers(shoal_service *s, shoal_http_request *r)
{
    const admission_fails *f = fails_of_request(s, r);
    if (f->n >= FAILS_PER_MINUTE) {
        shoal_reply_error(r, SHOAL_CODE_BUSY, NULL, "too many wrong invitations from this address",
                          MINUTE_MS);
    } else if (f->asked >= ASKED_AT_A_TIME) {
        shoal_reply_error(r, SHOAL_CODE_BUSY, NULL, "many devices of one address join", 500);
    } else {
        return false;
    }
    return true;
}

/* ---- waiting for the CA -----------------------------------------------------------------------
 */

/* A request whose answer is the CA's. */
typedef struct pending {
    shoal_service *service;
    shoal_http_request *req; /* NULL once the device has gone */
    uint8_t peer[SHOAL_HTTP_PEER_KEY];
    bool counts; /* among what its address asks: an invitation is shown */
    char software[SHOAL_LIMIT_NAME];
    uint8_t id[SHOAL_ID_BYTES]; /* RENEW */
} pending;

static void pending_gone(void *ctx, shoal_http_request *r)
{
    (void)r;
    ((pending *)ctx)->req = NULL;
}

static bool is_wrong(shoal_status st)
{
    return st == SHOAL_ERR_DENIED || st == SHOAL_ERR_FORMAT || st == SHOAL_ERR_TAMPERED;
}

static void finish(pending *p, shoal_status st, shoal_buf *body, const shoal_error *err)
{
    if (p->counts) {
        admission_fails *f = fails_of(p->service, p->peer);
        f->asked -= f->asked > 0; /* 0: others needed its record meanwhile */
        f->n += is_wrong(st);
    }
    if (p->req != NULL && st == SHOAL_OK) {
        shoal_reply_bytes(p->req, SHOAL_TYPE_PROTOBUF, body);
    } else if (p->req != NULL) {
        shoal_reply_status(p->req, st, err);
    }
    shoal_buf_clear(body);
    shoal_free(p);
}

static pending *make_pending(shoal_service *s, shoal_http_request *r)
{
    pending *p = shoal_calloc(1, sizeof *p);
    if (p == NULL) {
        shoal_reply_error(r, SHOAL_CODE_BUSY, NULL, "out of memory", 2000);
        return NULL;
    }
    p->service = s;
    p->req = r;
    shoal_http_peer_key(r, p->peer);
    shoal_http_on_gone(r, pending_gone, p);
    return p;
}

/* The same for who shows an invitation. */
static pending *make_guess(shoal_service *s, shoal_http_request *r)
{
    if (too_many_tries(s)) {
        shoal_reply_error(r, SHOAL_CODE_BUSY, NULL, "many devices join at this moment", MINUTE_MS);
        return NULL;
    }
    pending *p = make_pending(s, r);
    if (p != NULL) {
        p->counts = true;
        fails_of(s, p->peer)->asked++;
    }
    return p;
}

/* Hands the request's body to the CA, behind `head`. */
static void ask(pending *p, shoal_signer_op op, const shoal_buf *head, shoal_ca_answer_fn *fn)
{
    shoal_error err = {0};
    size_t n;
    const uint8_t *data = shoal_http_body(p->req, &n);
    shoal_status st = shoal_ca_link_ask(p->service->ca, op, head, data, n, fn, p, &err);
    if (st != SHOAL_OK) {
        shoal_buf nothing = shoal_buf_init(0);
        finish(p, st, &nothing, &err);
    }
}

/* A grant of the CA as the record of it; *cert is the certificate. */
static shoal_status read_grant(shoal_cursor *c, shoal_db_cert *rec, uint8_t *level,
                               shoal_wire_der *cert, shoal_error *err)
{
    shoal_cert_info info;
    *level = shoal_cursor_u8(c);
    if (c->left == 0 || c->left > sizeof cert->data) {
        return shoal_fail(err, SHOAL_ERR_INTERNAL, "the CA's answer has the wrong size");
    }
    cert->n = (uint32_t)c->left;
    memcpy(cert->data, c->p, c->left);
    SHOAL_TRY(shoal_cert_read(cert->data, cert->n, &info, err));
    memcpy(rec->device_id, info.id, sizeof rec->device_id);
    rec->not_after_s = info.not_after_s;
    return shoal_sha256(cert->data, cert->n, rec->sha256, err);
}

static void copy_ca(const shoal_service *s, shoal_wire_der *out)
{
    out->n = (uint32_t)s->keys.ca.len;
    memcpy(out->data, s->keys.ca.data, s->keys.ca.len);
}

/* ---- begin ------------------------------------------------------------------------------------
 */

static void begun(void *ctx, shoal_status st, shoal_cursor *c, const shoal_error *err)
{
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    (void)shoal_buf_put(&body, c->p, c->left);
    finish(ctx, st, &body, err);
}

void admission_begin(shoal_service *s, shoal_http_request *r)
{
    pending *p = refuse_guessers(s, r) ? NULL : make_guess(s, r);
    if (p != NULL) {
        ask(p, SHOAL_SIGNER_BEGIN, NULL, begun);
    }
}

/* ---- enrol ------------------------------------------------------------------------------------
 */

static shoal_status take_in(pending *p, shoal_cursor *c, shoal_buf *body, shoal_error *err)
{
    shoal_service *s = p->service;
    shoal_enrol_response r = {0};
    shoal_db_cert rec;
    uint8_t level;
    char id[2 * SHOAL_ID_BYTES + 1];
    int64_t now_s = (int64_t)time(NULL);
    SHOAL_TRY(read_grant(c, &rec, &level, &r.cert, err));
    SHOAL_TRY(shoal_db_enrol(s->db, &rec, p->software, level, now_s, err));
    shoal_hex_encode(rec.device_id, SHOAL_ID_BYTES, id);
    shoal_log(SHOAL_LOG_INFO, "device", "joined id=%s", id);
    copy_ca(s, &r.ca);
    memcpy(r.task_spki, s->keys.task_spki, sizeof r.task_spki);
    memcpy(r.deployment, s->config.deployment, sizeof r.deployment);
    r.server_time_s = (uint64_t)now_s;
    return shoal_enrol_response_encode(&r, body, err);
}

static void enrolled(void *ctx, shoal_status st, shoal_cursor *c, const shoal_error *refusal)
{
    shoal_error err = *refusal;
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    if (st == SHOAL_OK) {
        st = take_in(ctx, c, &body, &err);
    }
    finish(ctx, st, &body, &err);
}

/* What a form that is wrong says need not go to the CA; of a right one only the version is ours. */
static shoal_status read_software(shoal_http_request *r, char out[SHOAL_LIMIT_NAME],
                                  shoal_error *err)
{
    size_t n;
    const uint8_t *data = shoal_http_body(r, &n);
    shoal_enrol_request *q = shoal_calloc(1, sizeof *q); /* too large for the stack */
    if (q == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    }
    shoal_status st = shoal_enrol_request_decode(data, n, q, err);
    memcpy(out, q->version, SHOAL_LIMIT_NAME);
    shoal_wipe(q->token, sizeof q->token);
    shoal_free(q);
    return st;
}

void admission_enrol(shoal_service *s, shoal_http_request *r)
{
    shoal_error err = {0};
    char software[SHOAL_LIMIT_NAME] = "";
    if (refuse_guessers(s, r)) {
        return;
    }
    shoal_status st = read_software(r, software, &err);
    if (st != SHOAL_OK) {
        fails_of_request(s, r)->n += is_wrong(st);
        shoal_reply_status(r, st, &err);
        return;
    }
    pending *p = make_guess(s, r);
    if (p != NULL) {
        memcpy(p->software, software, sizeof p->software);
        ask(p, SHOAL_SIGNER_ENROL, NULL, enrolled);
    }
}

/* ---- renew ------------------------------------------------------------------------------------
 */

static shoal_status take_renewed(pending *p, shoal_cursor *c, shoal_buf *body, shoal_error *err)
{
    shoal_service *s = p->service;
    shoal_renew_response r = {0};
    shoal_db_cert rec;
    uint8_t level;
    int64_t now_s = (int64_t)time(NULL);
    SHOAL_TRY(read_grant(c, &rec, &level, &r.cert, err));
    if (memcmp(rec.device_id, p->id, SHOAL_ID_BYTES) == 0) {
        SHOAL_TRY(shoal_db_cert_add(s->db, &rec, now_s, err));
    } else {
        SHOAL_TRY(shoal_db_rotate(s->db, p->id, &rec, now_s, err));
    }
    copy_ca(s, &r.ca);
    return shoal_renew_response_encode(&r, body, err);
}

static void renewed(void *ctx, shoal_status st, shoal_cursor *c, const shoal_error *refusal)
{
    shoal_error err = *refusal;
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    if (st == SHOAL_OK) {
        st = take_renewed(ctx, c, &body, &err);
    }
    finish(ctx, st, &body, &err);
}

void admission_renew(shoal_service *s, shoal_http_request *r, const uint8_t id[SHOAL_ID_BYTES])
{
    size_t n;
    const uint8_t *der = shoal_http_peer_cert(r, &n);
    pending *p = make_pending(s, r);
    if (p == NULL) {
        return;
    }
    memcpy(p->id, id, SHOAL_ID_BYTES);
    shoal_buf head = shoal_buf_init(SHOAL_LIMIT_CERT + 2);
    (void)shoal_buf_put_u16(&head, (uint16_t)n);
    (void)shoal_buf_put(&head, der, n);
    ask(p, SHOAL_SIGNER_RENEW, &head, renewed);
    shoal_buf_clear(&head);
}

/* ---- the CA's certificates --------------------------------------------------------------------
 */

void admission_ca(shoal_service *s, shoal_http_request *r)
{
    shoal_error err = {0};
    shoal_ca_bundle b = {0};
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    copy_ca(s, &b.ca);
    shoal_status st = shoal_ca_bundle_encode(&b, &body, &err);
    if (st == SHOAL_OK) {
        shoal_reply_bytes(r, SHOAL_TYPE_PROTOBUF, &body);
    } else {
        shoal_reply_status(r, st, &err);
    }
    shoal_buf_clear(&body);
}

static void take_bundle(void *ctx, shoal_status st, shoal_cursor *c, const shoal_error *refusal)
{
    shoal_service *s = ctx;
    shoal_error err = {0};
    (void)refusal;
    s->asking_bundle = false;
    if (st != SHOAL_OK ||
        (c->left == s->keys.ca.len && memcmp(c->p, s->keys.ca.data, c->left) == 0)) {
        return;
    }
    st = shoal_tls_context_add_ca(s->tls, c->p, c->left, &err);
    if (st == SHOAL_OK) {
        st = shoal_keyring_set_ca(&s->keys, c->p, c->left, &err);
    }
    if (st == SHOAL_OK) {
        shoal_log(SHOAL_LOG_INFO, "ca", "the CA was rotated");
    } else {
        shoal_log(SHOAL_LOG_ERROR, "ca", "the CA's certificates cannot be used: %s", err.msg);
    }
}

void admission_look_for_rotation(shoal_service *s)
{
    if (!s->asking_bundle) {
        s->asking_bundle = true;
        if (shoal_ca_link_ask(s->ca, SHOAL_SIGNER_INFO, NULL, "", 0, take_bundle, s, NULL) !=
            SHOAL_OK) {
            s->asking_bundle = false;
        }
    }
}
