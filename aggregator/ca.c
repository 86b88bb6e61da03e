/* ca.c - what the CA decides: who gets a certificate, and what stands in it. */
#include "aggregator/ca.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/audit.h"
#include "aggregator/ca_internal.h"
#include "kernels/base/mem.h"
#include "proto/x509.h"

enum {
    DAY_S = 24 * 3600,
    HOUR_S = 3600,
    MINUTE_S = 60,
    SERVER_LIFE_S = 365 * DAY_S,
    SERVER_CERTS_PER_DAY = 10,
    NONCE_TIME = 8,
    NONCE_DRAWN = 8,
    NONCE_TAG = 16
};

const shoal_buf *shoal_ca_bundle_of(const shoal_ca *ca)
{
    return &ca->bundle;
}

/* ---- nonces -----------------------------------------------------------------------------------
 *
 * u64 time || drawn[8] || tag[16], the tag over time, drawn and the token id: nothing has to be
 * remembered between the challenge and its answer.
 */

static shoal_status nonce_tag(const shoal_ca *ca, const uint8_t *nonce,
                              const uint8_t token_id[SHOAL_TOKEN_BYTES], uint8_t tag[NONCE_TAG],
                              shoal_error *err)
{
    static const char info[] = "shoal/ca/nonce";
    uint8_t body[NONCE_TIME + NONCE_DRAWN + SHOAL_TOKEN_BYTES];
    memcpy(body, nonce, NONCE_TIME + NONCE_DRAWN);
    memcpy(body + NONCE_TIME + NONCE_DRAWN, token_id, SHOAL_TOKEN_BYTES);
    return shoal_hkdf(ca->nonce_key, sizeof ca->nonce_key, body, sizeof body, info, sizeof info,
                      tag, NONCE_TAG, err);
}

static shoal_status make_nonce(const shoal_ca *ca, const uint8_t token_id[SHOAL_TOKEN_BYTES],
                               int64_t now_s, uint8_t out[SHOAL_NONCE_BYTES], shoal_error *err)
{
    for (unsigned i = 0; i < NONCE_TIME; i++) {
        out[i] = (uint8_t)((uint64_t)now_s >> (8 * i));
    }
    SHOAL_TRY(shoal_random(out + NONCE_TIME, NONCE_DRAWN, err));
    return nonce_tag(ca, out, token_id, out + NONCE_TIME + NONCE_DRAWN, err);
}

static shoal_status check_nonce(const shoal_ca *ca, const uint8_t token_id[SHOAL_TOKEN_BYTES],
                                int64_t now_s, const uint8_t nonce[SHOAL_NONCE_BYTES],
                                shoal_error *err)
{
    uint8_t tag[NONCE_TAG];
    uint64_t made = 0;
    SHOAL_TRY(nonce_tag(ca, nonce, token_id, tag, err));
    for (unsigned i = 0; i < NONCE_TIME; i++) {
        made |= (uint64_t)nonce[i] << (8 * i);
    }
    if (!shoal_equal(tag, nonce + NONCE_TIME + NONCE_DRAWN, NONCE_TAG) || made > (uint64_t)now_s ||
        (uint64_t)now_s - made > SHOAL_LIMIT_NONCE_S) {
        return shoal_fail(err, SHOAL_ERR_DENIED,
                          "the challenge was not made here or is too old; begin again");
    }
    return SHOAL_OK;
}

/* ---- tokens -----------------------------------------------------------------------------------
 */

static shoal_status deny(shoal_error *err, const char *why)
{
    shoal_status st = shoal_fail(err, SHOAL_ERR_DENIED, "%s", why);
    shoal_hint(err, "ask for a new one: shoal-aggregator invite");
    return st;
}

static shoal_status find_token(shoal_ca *ca, const uint8_t *hash, size_t n, int64_t now_s,
                               shoal_cadb_token *out, shoal_error *err)
{
    shoal_status st = shoal_cadb_token_get(ca->db, hash, n, out, err);
    if (st == SHOAL_ERR_DENIED) {
        return deny(err, "this invitation is not known here");
    }
    SHOAL_TRY(st);
    return out->expires_s > now_s ? SHOAL_OK : deny(err, "this invitation has expired");
}

shoal_status shoal_ca_begin(shoal_ca *ca, const shoal_enrol_begin *q, int64_t now_s,
                            shoal_enrol_challenge *out, shoal_error *err)
{
    shoal_cadb_token t;
    SHOAL_TRY(find_token(ca, q->token_id, SHOAL_TOKEN_BYTES, now_s, &t, err));
    if (t.used_s != 0) {
        return deny(err, "this invitation was used before");
    }
    out->attestation = ca->policy.kind;
    return make_nonce(ca, t.hash, now_s, out->nonce, err);
}

/* ---- rates ------------------------------------------------------------------------------------
 */

static shoal_status check_rates(shoal_ca *ca, const uint8_t root_id[SHOAL_ID_BYTES], int64_t now_s,
                                shoal_error *err)
{
    size_t own = 0;
    size_t all = 0;
    SHOAL_TRY(shoal_cadb_cert_count(ca->db, root_id, now_s - HOUR_S + 1, &own, err));
    SHOAL_TRY(shoal_cadb_cert_count(ca->db, NULL, now_s - MINUTE_S + 1, &all, err));
    if (own >= ca->settings.certs_per_device_hour) {
        return shoal_fail(err, SHOAL_ERR_AGAIN,
                          "this device got its certificates for this hour already");
    }
    if (all >= ca->settings.certs_per_minute) {
        return shoal_fail(err, SHOAL_ERR_AGAIN, "many devices join at this moment");
    }
    return SHOAL_OK;
}

/* ---- issuing ----------------------------------------------------------------------------------
 */

static shoal_status sign_leaf(const shoal_ca *ca, const shoal_cert_template *t, shoal_wire_der *out,
                              shoal_error *err)
{
    shoal_buf der = shoal_buf_init(SHOAL_LIMIT_CERT);
    shoal_status st = shoal_cert_issue(ca->key, ca->bundle.data, ca->bundle.len, t, &der, err);
    if (st == SHOAL_OK) {
        memcpy(out->data, der.data, der.len);
        out->n = (uint32_t)der.len;
    }
    shoal_buf_clear(&der);
    return st;
}

static shoal_status log_issued(const shoal_ca *ca, const char *event, const shoal_cadb_cert *rec,
                               const uint8_t *old_id, shoal_error *err)
{
    const shoal_audit_field fields[] = {
        {.name = "device", .hex = rec->device_id, .hex_n = SHOAL_ID_BYTES},
        {.name = "cert", .hex = rec->sha256, .hex_n = 32},
        {.name = "until", .number = (uint64_t)rec->not_after_s},
        {.name = "attestation",
         .text = shoal_attestation_level_name((shoal_attestation_level)rec->attestation)},
        {.name = old_id != NULL ? "before" : NULL, .hex = old_id, .hex_n = SHOAL_ID_BYTES},
        {0}};
    return shoal_audit_append(ca->audit_path, rec->issued_s, event, fields, err);
}

/* Signs a device's certificate and records it; rec: ids and attestation are set. */
static shoal_status issue(shoal_ca *ca, const uint8_t spki[SHOAL_SPKI_BYTES], int64_t now_s,
                          shoal_cadb_cert *rec, shoal_error *err)
{
    rec->issued_s = now_s;
    rec->not_after_s = now_s + (int64_t)ca->settings.cert_days * DAY_S - SHOAL_CA_BACKDATE_S;
    shoal_cert_template t = {.kind = SHOAL_CERT_CLIENT,
                             .spki = spki,
                             .not_before_s = now_s - SHOAL_CA_BACKDATE_S,
                             .not_after_s = rec->not_after_s};
    SHOAL_TRY(check_rates(ca, rec->root_id, now_s, err));
    SHOAL_TRY(sign_leaf(ca, &t, &rec->der, err));
    SHOAL_TRY(shoal_sha256(rec->der.data, rec->der.n, rec->sha256, err));
    return shoal_cadb_cert_add(ca->db, rec, err);
}

static shoal_status refuse_revoked(shoal_ca *ca, const uint8_t id[SHOAL_ID_BYTES], shoal_error *err)
{
    bool revoked = false;
    SHOAL_TRY(shoal_cadb_revoked(ca->db, id, &revoked, err));
    return revoked ? shoal_fail(err, SHOAL_ERR_DENIED, "this device was revoked") : SHOAL_OK;
}

/* ---- enrol ------------------------------------------------------------------------------------
 */

static shoal_status attest(const shoal_ca *ca, const shoal_enrol_request *q,
                           const uint8_t token_id[SHOAL_TOKEN_BYTES],
                           const uint8_t spki[SHOAL_SPKI_BYTES], int64_t now_s,
                           shoal_attestation_level *level, shoal_error *err)
{
    uint8_t challenge[SHOAL_CHALLENGE_BYTES];
    SHOAL_TRY(check_nonce(ca, token_id, now_s, q->nonce, err));
    SHOAL_TRY(shoal_enrol_digest(token_id, q->nonce, spki, challenge, err));
    return shoal_attest_verify(&ca->policy, challenge, q->attestation, q->attestation_n, now_s,
                               level, err);
}

/* Inside a transaction: token, certificate and record are one. */
static shoal_status enrol_once(shoal_ca *ca, const uint8_t token_hash[32],
                               const uint8_t spki[SHOAL_SPKI_BYTES], int64_t now_s,
                               shoal_ca_grant *out, shoal_error *err)
{
    shoal_cadb_token t;
    shoal_cadb_cert rec = {.attestation = out->level};
    SHOAL_TRY(find_token(ca, token_hash, 32, now_s, &t, err));
    if (t.used_s != 0 && shoal_equal(t.spki, spki, SHOAL_SPKI_BYTES)) {
        out->cert = t.cert; /* its answer was lost on the way */
        return SHOAL_OK;
    }
    if (t.used_s != 0) {
        return deny(err, "this invitation was used before");
    }
    SHOAL_TRY(shoal_spki_id(spki, rec.device_id, err));
    memcpy(rec.root_id, rec.device_id, SHOAL_ID_BYTES);
    SHOAL_TRY(refuse_revoked(ca, rec.device_id, err));
    SHOAL_TRY(issue(ca, spki, now_s, &rec, err));
    SHOAL_TRY(shoal_cadb_token_use(ca->db, token_hash, spki, &rec.der, now_s, err));
    out->cert = rec.der;
    return log_issued(ca, "device.enrolled", &rec, NULL, err);
}

shoal_status shoal_ca_enrol(shoal_ca *ca, const shoal_enrol_request *q, int64_t now_s,
                            shoal_ca_grant *out, shoal_error *err)
{
    uint8_t spki[SHOAL_SPKI_BYTES];
    uint8_t hash[32];
    shoal_cadb_token t;
    *out = (shoal_ca_grant){0};
    SHOAL_TRY(shoal_token_hash(q->token, hash, err));
    SHOAL_TRY(find_token(ca, hash, 32, now_s, &t, err)); /* before any signature is checked */
    SHOAL_TRY(shoal_csr_check(q->csr.data, q->csr.n, spki, err));
    SHOAL_TRY(attest(ca, q, hash, spki, now_s, &out->level, err));
    SHOAL_TRY(shoal_ca_reload(ca, err));
    SHOAL_TRY(shoal_cadb_begin(ca->db, err));
    return shoal_cadb_end(ca->db, enrol_once(ca, hash, spki, now_s, out, err), err);
}

/* ---- renew ------------------------------------------------------------------------------------
 */

static shoal_status check_old(shoal_ca *ca, const shoal_wire_der *old, const shoal_renew_request *q,
                              int64_t now_s, shoal_cadb_cert *rec, shoal_error *err)
{
    uint8_t hash[32];
    shoal_cert_info info;
    SHOAL_TRY(shoal_sha256(old->data, old->n, hash, err));
    shoal_status st = shoal_cadb_cert_get(ca->db, hash, rec, err);
    if (st == SHOAL_ERR_NOT_FOUND) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "this certificate was not issued here");
    }
    SHOAL_TRY(st);
    SHOAL_TRY(shoal_cert_check(ca->bundle.data, ca->bundle.len, old->data, old->n,
                               SHOAL_CERT_CLIENT, now_s, &info, err));
    SHOAL_TRY(refuse_revoked(ca, rec->device_id, err));
    return shoal_renew_verify(info.spki, old->data, old->n, q->csr.data, q->csr.n, q->proof, err);
}

/* Inside a transaction. A key that got its certificate within the hour gets that one again: the
 * answer may have been lost. */
static shoal_status renew_once(shoal_ca *ca, const shoal_cadb_cert *was,
                               const uint8_t spki[SHOAL_SPKI_BYTES], int64_t now_s,
                               shoal_ca_grant *out, shoal_error *err)
{
    shoal_cadb_cert rec = {.attestation = was->attestation};
    uint8_t id[SHOAL_ID_BYTES];
    SHOAL_TRY(shoal_spki_id(spki, id, err));
    bool new_key = memcmp(id, was->device_id, SHOAL_ID_BYTES) != 0;
    shoal_status st = shoal_cadb_cert_latest(ca->db, id, now_s - HOUR_S + 1, &rec, err);
    if (st == SHOAL_OK && memcmp(rec.root_id, was->root_id, SHOAL_ID_BYTES) == 0 &&
        memcmp(rec.sha256, was->sha256, 32) != 0) {
        out->cert = rec.der;
        return SHOAL_OK;
    }
    if (st != SHOAL_OK && st != SHOAL_ERR_NOT_FOUND) {
        return st;
    }
    if (new_key && st == SHOAL_OK) { /* a key that is already somebody's */
        return shoal_fail(err, SHOAL_ERR_DENIED, "this key belongs to another device");
    }
    rec = (shoal_cadb_cert){.attestation = was->attestation};
    memcpy(rec.device_id, id, SHOAL_ID_BYTES);
    memcpy(rec.root_id, was->root_id, SHOAL_ID_BYTES);
    SHOAL_TRY(refuse_revoked(ca, was->device_id, err)); /* since it was looked at */
    SHOAL_TRY(refuse_revoked(ca, id, err));
    SHOAL_TRY(issue(ca, spki, now_s, &rec, err));
    if (new_key) {
        SHOAL_TRY(shoal_cadb_revoke(ca->db, was->device_id, now_s, err));
    }
    out->cert = rec.der;
    return log_issued(ca, "device.renewed", &rec, new_key ? was->device_id : NULL, err);
}

shoal_status shoal_ca_renew(shoal_ca *ca, const shoal_wire_der *old, const shoal_renew_request *q,
                            int64_t now_s, shoal_ca_grant *out, shoal_error *err)
{
    uint8_t spki[SHOAL_SPKI_BYTES];
    shoal_cadb_cert was;
    *out = (shoal_ca_grant){0};
    SHOAL_TRY(shoal_ca_reload(ca, err));
    SHOAL_TRY(check_old(ca, old, q, now_s, &was, err));
    SHOAL_TRY(shoal_csr_check(q->csr.data, q->csr.n, spki, err));
    out->level = (shoal_attestation_level)was.attestation;
    SHOAL_TRY(shoal_cadb_begin(ca->db, err));
    return shoal_cadb_end(ca->db, renew_once(ca, &was, spki, now_s, out, err), err);
}

/* ---- the server -------------------------------------------------------------------------------
 */

static shoal_status server_once(shoal_ca *ca, const shoal_cert_template *t, int64_t now_s,
                                shoal_wire_der *out, shoal_error *err)
{
    size_t today = 0;
    shoal_cadb_cert rec = {.issued_s = now_s, .not_after_s = t->not_after_s};
    SHOAL_TRY(shoal_spki_id(t->spki, rec.device_id, err));
    memcpy(rec.root_id, rec.device_id, SHOAL_ID_BYTES);
    SHOAL_TRY(shoal_cadb_cert_count(ca->db, rec.root_id, now_s - DAY_S + 1, &today, err));
    if (today >= SERVER_CERTS_PER_DAY) {
        return shoal_fail(err, SHOAL_ERR_AGAIN, "%d server certificates a day are enough",
                          SERVER_CERTS_PER_DAY);
    }
    SHOAL_TRY(sign_leaf(ca, t, out, err));
    rec.der = *out;
    SHOAL_TRY(shoal_sha256(out->data, out->n, rec.sha256, err));
    SHOAL_TRY(shoal_cadb_cert_add(ca->db, &rec, err));
    return log_issued(ca, "server.certified", &rec, NULL, err);
}

shoal_status shoal_ca_server(shoal_ca *ca, const char *const *hosts, size_t n_hosts, int64_t now_s,
                             shoal_wire_der *out, shoal_error *err)
{
    char hex[2 * SHOAL_SPKI_BYTES + 1];
    uint8_t spki[SHOAL_SPKI_BYTES];
    memset(out, 0, sizeof *out);
    SHOAL_TRY(shoal_ca_reload(ca, err));
    SHOAL_TRY(shoal_db_fact_get(ca->db, "server_spki", hex, sizeof hex, err));
    if (!shoal_hex_decode(hex, spki, sizeof spki)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "the CA's record of the server key is damaged");
    }
    shoal_cert_template t = {.kind = SHOAL_CERT_SERVER,
                             .spki = spki,
                             .hosts = hosts,
                             .n_hosts = n_hosts,
                             .not_before_s = now_s - SHOAL_CA_BACKDATE_S,
                             .not_after_s = now_s + SERVER_LIFE_S};
    SHOAL_TRY(shoal_cadb_begin(ca->db, err));
    return shoal_cadb_end(ca->db, server_once(ca, &t, now_s, out, err), err);
}
