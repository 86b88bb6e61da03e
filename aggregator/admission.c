/* admission.c - who becomes a device: invitations in, certificates out. PROTOCOL.md section 2. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "aggregator/reply.h"
#include "aggregator/service_internal.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "proto/x509.h"

enum { FAILS_PER_MINUTE = 10, MINUTE_MS = 60 * 1000, DAY_S = 24 * 3600 };

/* ---- guessing is slow -------------------------------------------------------------------------
 */

/* The record of an address: its own, or the oldest one, emptied. */
static admission_fails *fails_of(shoal_service *s, const char *peer)
{
    uint64_t now = shoal_loop_now_ms(s->loop);
    admission_fails *oldest = &s->fails[0];
    for (size_t i = 0; i < FAILS_TRACKED; i++) {
        admission_fails *f = &s->fails[i];
        if (strcmp(f->peer, peer) == 0) {
            if (now - f->since_ms > MINUTE_MS) {
                f->since_ms = now;
                f->n = 0;
            }
            return f;
        }
        oldest = f->since_ms < oldest->since_ms ? f : oldest;
    }
    *oldest = (admission_fails){.since_ms = now};
    (void)snprintf(oldest->peer, sizeof oldest->peer, "%s", peer);
    return oldest;
}

/* ---- certificates -----------------------------------------------------------------------------
 */

static shoal_status issue(const shoal_service *s, const shoal_wire_der *csr, int64_t now_s,
                          shoal_db_cert *rec, shoal_wire_der *out, shoal_error *err)
{
    uint8_t spki[SHOAL_SPKI_BYTES];
    shoal_buf der = shoal_buf_init(SHOAL_LIMIT_CERT);
    SHOAL_TRY(shoal_csr_check(csr->data, csr->n, spki, err));
    SHOAL_TRY(shoal_spki_id(spki, rec->device_id, err));
    rec->not_after_s = now_s + (int64_t)s->config.cert_days * DAY_S - SHOAL_KEYRING_BACKDATE_S;
    shoal_status st = shoal_keyring_issue(&s->keys, spki, now_s, rec->not_after_s, &der, err);
    if (st == SHOAL_OK) {
        st = shoal_sha256(der.data, der.len, rec->sha256, err);
    }
    if (st == SHOAL_OK) {
        out->n = (uint32_t)der.len;
        memcpy(out->data, der.data, der.len);
    }
    shoal_buf_clear(&der);
    return st;
}

/* ---- enrol ------------------------------------------------------------------------------------
 */

static void fill_response(const shoal_service *s, int64_t now_s, shoal_enrol_response *p)
{
    p->ca.n = (uint32_t)s->keys.ca.len;
    memcpy(p->ca.data, s->keys.ca.data, s->keys.ca.len);
    memcpy(p->task_spki, s->keys.task_spki, sizeof p->task_spki);
    memcpy(p->deployment, s->config.deployment, sizeof p->deployment);
    p->server_time_s = (uint64_t)now_s;
}

static shoal_status enrol(shoal_service *s, const uint8_t *data, size_t n, shoal_buf *body,
                          shoal_error *err)
{
    int64_t now_s = (int64_t)time(NULL);
    shoal_enrol_request q;
    shoal_db_cert rec;
    uint8_t hash[32];
    SHOAL_TRY(shoal_enrol_request_decode(data, n, &q, err));
    shoal_status st = shoal_sha256(q.token, sizeof q.token, hash, err);
    shoal_wipe(q.token, sizeof q.token);
    SHOAL_TRY(st);
    SHOAL_TRY(shoal_db_token_check(s->db, hash, now_s, err)); /* before any signing */
    shoal_enrol_response *p = shoal_calloc(1, sizeof *p);
    if (p == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory to enrol");
    }
    st = issue(s, &q.csr, now_s, &rec, &p->cert, err);
    if (st == SHOAL_OK) {
        st = shoal_db_enrol(s->db, hash, &rec, q.version, now_s, err);
    }
    if (st == SHOAL_OK) {
        char id[2 * SHOAL_ID_BYTES + 1];
        shoal_hex_encode(rec.device_id, SHOAL_ID_BYTES, id);
        shoal_log(SHOAL_LOG_INFO, "device", "joined id=%s", id);
        fill_response(s, now_s, p);
        st = shoal_enrol_response_encode(p, body, err);
    }
    shoal_free(p);
    return st;
}

void admission_enrol(shoal_service *s, shoal_http_request *r)
{
    shoal_error err = {0};
    admission_fails *fails = fails_of(s, shoal_http_peer(r));
    if (fails->n >= FAILS_PER_MINUTE) {
        shoal_reply_error(r, SHOAL_CODE_BUSY, NULL, "too many wrong invitations from this address",
                          MINUTE_MS);
        return;
    }
    size_t n;
    const uint8_t *data = shoal_http_body(r, &n);
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    shoal_status st = enrol(s, data, n, &body, &err);
    if (st == SHOAL_OK) {
        shoal_reply_bytes(r, SHOAL_TYPE_PROTOBUF, &body);
    } else {
        fails->n += st == SHOAL_ERR_DENIED;
        shoal_reply_status(r, st, &err);
    }
    shoal_buf_clear(&body);
}

/* ---- renew ------------------------------------------------------------------------------------
 */

static shoal_status renew(shoal_service *s, const uint8_t *data, size_t n, const uint8_t *id,
                          shoal_buf *body, shoal_error *err)
{
    int64_t now_s = (int64_t)time(NULL);
    shoal_renew_request q;
    shoal_renew_response p = {0};
    shoal_db_cert rec;
    SHOAL_TRY(shoal_renew_request_decode(data, n, &q, err));
    SHOAL_TRY(issue(s, &q.csr, now_s, &rec, &p.cert, err));
    if (memcmp(rec.device_id, id, SHOAL_ID_BYTES) == 0) {
        SHOAL_TRY(shoal_db_cert_add(s->db, &rec, now_s, err));
    } else {
        SHOAL_TRY(shoal_db_rotate(s->db, id, &rec, now_s, err));
    }
    return shoal_renew_response_encode(&p, body, err);
}

void admission_renew(shoal_service *s, shoal_http_request *r, const uint8_t id[SHOAL_ID_BYTES])
{
    shoal_error err = {0};
    size_t n;
    const uint8_t *data = shoal_http_body(r, &n);
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    shoal_status st = renew(s, data, n, id, &body, &err);
    if (st == SHOAL_OK) {
        shoal_reply_bytes(r, SHOAL_TYPE_PROTOBUF, &body);
    } else {
        shoal_reply_status(r, st, &err);
    }
    shoal_buf_clear(&body);
}
