/* enrol.c - joining, loading, renewing and leaving a deployment. */
#include "client/enrol.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/api.h"
#include "client/record.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "proto/x509.h"

enum { CLOCK_SLACK_S = 600, KEY_FILE_MAX = 4096, ASK_ATTEMPTS = 5, ASK_PAUSE_MS = 4000 };

static shoal_status identity_path(const shoal_store *s, const char *name, char out[SHOAL_PATH_MAX],
                                  shoal_error *err)
{
    return shoal_store_path(s, out, err, "identity/%s", name);
}

static shoal_status write_identity(const shoal_store *s, const char *name, const void *data,
                                   size_t n, shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    SHOAL_TRY(identity_path(s, name, path, err));
    return shoal_file_write_atomic(path, data, n, 0600, err);
}

/* ---- the record -------------------------------------------------------------------------------
 */

static shoal_status save_record(const shoal_store *s, const shoal_enrolment *e, shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    shoal_record r = {0};
    SHOAL_TRY(shoal_store_path(s, path, err, "enrolment"));
    SHOAL_TRY(shoal_record_put(&r, "server", e->server_url, err));
    SHOAL_TRY(shoal_record_put_hex(&r, "server_pin", e->pin, sizeof e->pin, err));
    SHOAL_TRY(shoal_record_put_hex(&r, "task_key", e->task_spki, sizeof e->task_spki, err));
    SHOAL_TRY(shoal_record_put(&r, "deployment", e->deployment, err));
    SHOAL_TRY(shoal_record_put_u64(&r, "enrolled_at", (uint64_t)e->enrolled_at_s, err));
    return shoal_record_save(&r, path, err);
}

static shoal_status load_record(const shoal_store *s, shoal_enrolment *e, shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    shoal_record r;
    uint64_t at = 0;
    SHOAL_TRY(shoal_store_path(s, path, err, "enrolment"));
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        shoal_fail(err, SHOAL_ERR_NOT_FOUND, "this device has not joined a deployment");
        shoal_hint(err, "ask for a link (`shoal-aggregator invite`), then `shoal join LINK`");
        return SHOAL_ERR_NOT_FOUND;
    }
    SHOAL_TRY(shoal_record_load(&r, path, err));
    SHOAL_TRY(shoal_record_get_str(&r, "server", e->server_url, sizeof e->server_url, err));
    SHOAL_TRY(shoal_record_get_hex(&r, "server_pin", e->pin, sizeof e->pin, err));
    SHOAL_TRY(shoal_record_get_hex(&r, "task_key", e->task_spki, sizeof e->task_spki, err));
    SHOAL_TRY(shoal_record_get_str(&r, "deployment", e->deployment, sizeof e->deployment, err));
    SHOAL_TRY(shoal_record_get_u64(&r, "enrolled_at", &at, err));
    e->enrolled_at_s = (int64_t)at;
    return SHOAL_OK;
}

/* ---- loading ----------------------------------------------------------------------------------
 */

static shoal_status load_der(const shoal_store *s, const char *name, shoal_wire_der *out,
                             shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    shoal_buf b;
    SHOAL_TRY(identity_path(s, name, path, err));
    SHOAL_TRY(shoal_file_read(path, sizeof out->data, &b, err));
    memcpy(out->data, b.data != NULL ? (const void *)b.data : "", b.len);
    out->n = (uint32_t)b.len;
    shoal_buf_clear(&b);
    return SHOAL_OK;
}

static shoal_status load_key(const char *path, shoal_key **out, shoal_error *err)
{
    shoal_buf b;
    SHOAL_TRY(shoal_file_read(path, KEY_FILE_MAX, &b, err));
    shoal_status st = shoal_key_load(out, b.data, b.len, err);
    shoal_buf_wipe(&b);
    return st;
}

/* Key and certificate must belong together; fills id and dates. */
static shoal_status bind_identity(shoal_enrolment *e, shoal_error *err)
{
    uint8_t spki[SHOAL_SPKI_BYTES];
    shoal_cert_info info;
    shoal_key_spki(e->key, spki);
    SHOAL_TRY(shoal_cert_read(e->cert.data, e->cert.n, &info, err));
    if (!shoal_equal(info.spki, spki, sizeof spki)) {
        return shoal_fail(err, SHOAL_ERR_TAMPERED, "the certificate is for another key");
    }
    memcpy(e->id, info.id, sizeof e->id);
    e->not_before_s = info.not_before_s;
    e->not_after_s = info.not_after_s;
    return SHOAL_OK;
}

shoal_status shoal_enrolment_load(const shoal_store *s, shoal_enrolment *out, shoal_error *err)
{
    memset(out, 0, sizeof *out);
    shoal_status st = load_record(s, out, err);
    if (st == SHOAL_OK) st = identity_path(s, "cert.der", out->cert_path, err);
    if (st == SHOAL_OK) st = identity_path(s, "key.der", out->key_path, err);
    if (st == SHOAL_OK) st = load_key(out->key_path, &out->key, err);
    if (st == SHOAL_OK) st = load_der(s, "cert.der", &out->cert, err);
    if (st == SHOAL_OK) st = load_der(s, "ca.der", &out->ca, err);
    if (st == SHOAL_OK) st = bind_identity(out, err);
    if (st != SHOAL_OK) shoal_enrolment_clear(out);
    return st;
}

void shoal_enrolment_clear(shoal_enrolment *e)
{
    shoal_key_close(e->key);
    memset(e, 0, sizeof *e);
}

shoal_status shoal_enrolment_connect(const shoal_enrolment *e, bool (*stop)(void), shoal_net **net,
                                     shoal_error *err)
{
    shoal_net_config cfg = {.base_url = e->server_url,
                            .pin = e->pin,
                            .cert_path = e->cert_path,
                            .key_path = e->key_path,
                            .stop = stop};
    return shoal_net_open(net, &cfg, err);
}

/* ---- joining ----------------------------------------------------------------------------------
 */

static void url_of_link(const shoal_join_link *link, char *out, size_t n)
{
    bool v6 = strchr(link->host, ':') != NULL;
    (void)snprintf(out, n, v6 ? "https://[%s]:%u" : "https://%s:%u", link->host,
                   (unsigned)link->port);
}

/* Fails unless nobody is enrolled here. */
static shoal_status check_vacant(const shoal_store *s, shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    SHOAL_TRY(shoal_store_path(s, path, err, "enrolment"));
    if (access(path, F_OK) != 0) return SHOAL_OK;
    shoal_fail(err, SHOAL_ERR_STATE, "this device has already joined a deployment");
    shoal_hint(err, "`shoal status` shows it; `shoal leave` ends it");
    return SHOAL_ERR_STATE;
}

static shoal_status append_der(shoal_wire_der *out, const shoal_buf *b, shoal_error *err)
{
    if (b->len > sizeof out->data) {
        return shoal_fail(err, SHOAL_ERR_INTERNAL, "the certificate request is too long");
    }
    memcpy(out->data, b->data, b->len);
    out->n = (uint32_t)b->len;
    return SHOAL_OK;
}

static shoal_status make_csr(const shoal_key *key, shoal_wire_der *out, shoal_error *err)
{
    shoal_buf csr = shoal_buf_init(SHOAL_LIMIT_CSR);
    shoal_status st = shoal_csr_create(key, &csr, err);
    if (st == SHOAL_OK) st = append_der(out, &csr, err);
    shoal_buf_clear(&csr);
    return st;
}

/* Spec 2.5: a client leaf of the CA that came with it, valid now; bind_identity: for our key. */
static shoal_status check_issued(const shoal_enrolment *e, int64_t now_s, shoal_error *err)
{
    shoal_cert_info info;
    return shoal_cert_check(e->ca.data, e->ca.n, e->cert.data, e->cert.n, SHOAL_CERT_CLIENT, now_s,
                            &info, err);
}

/* Spec 2.9: evidence over the challenge, if the deployment asks for any. */
static shoal_status attest(const shoal_attester *attester, const shoal_enrol_challenge *c,
                           const uint8_t token_id[SHOAL_TOKEN_BYTES], const shoal_key *key,
                           shoal_enrol_request *rq, shoal_error *err)
{
    uint8_t spki[SHOAL_SPKI_BYTES];
    uint8_t digest[SHOAL_CHALLENGE_BYTES];
    if (c->attestation == SHOAL_ATTESTATION_NONE) return SHOAL_OK;
    if (attester == NULL || attester->kind != c->attestation) {
        shoal_fail(err, SHOAL_ERR_DENIED, "this deployment asks for an attestation of the device");
        shoal_hint(err, "join with the deployment's own app; this program has nothing to show");
        return SHOAL_ERR_DENIED;
    }
    shoal_buf evidence = shoal_buf_init(sizeof rq->attestation);
    shoal_key_spki(key, spki);
    shoal_status st = shoal_enrol_digest(token_id, c->nonce, spki, digest, err);
    if (st == SHOAL_OK) st = attester->attest(attester->ctx, digest, &evidence, err);
    if (st == SHOAL_OK) st = shoal_buf_status(&evidence, err);
    if (st == SHOAL_OK && evidence.len > 0) memcpy(rq->attestation, evidence.data, evidence.len);
    rq->attestation_n = (uint32_t)evidence.len;
    shoal_buf_clear(&evidence);
    return st;
}

typedef struct joining {
    shoal_enrol_request rq;
    shoal_enrol_response rs;
} joining;

/* Challenge, request, answer. A lost answer is asked for again with the same key, which gets the
 * same certificate (Spec 2.2). */
static shoal_status talk(shoal_api *api, const shoal_join_link *link,
                         const shoal_attester *attester, const shoal_key *key, joining *j,
                         shoal_error *err)
{
    shoal_enrol_begin begin;
    shoal_enrol_challenge challenge;
    uint8_t hash[32];
    shoal_status st = SHOAL_OK;
    memcpy(j->rq.token, link->token, sizeof j->rq.token);
    (void)snprintf(j->rq.version, sizeof j->rq.version, "%s", SHOAL_VERSION);
    SHOAL_TRY(shoal_token_hash(link->token, hash, err));
    memcpy(begin.token_id, hash, sizeof begin.token_id);
    SHOAL_TRY(make_csr(key, &j->rq.csr, err));
    SHOAL_TRY(shoal_api_begin(api, &begin, &challenge, err));
    memcpy(j->rq.nonce, challenge.nonce, sizeof j->rq.nonce);
    SHOAL_TRY(attest(attester, &challenge, begin.token_id, key, &j->rq, err));
    for (unsigned attempt = 0; attempt < ASK_ATTEMPTS; attempt++) {
        st = shoal_api_enrol(api, &j->rq, &j->rs, err);
        if (!shoal_net_is_away(st) && st != SHOAL_ERR_AGAIN) return st;
        SHOAL_TRY(shoal_pause_ms(shoal_backoff_ms(attempt, ASK_PAUSE_MS), api->stop, err));
    }
    return st;
}

static shoal_status take_answer(shoal_enrolment *e, const shoal_enrol_response *rs, int64_t now_s,
                                shoal_error *err)
{
    e->cert = rs->cert;
    e->ca = rs->ca;
    memcpy(e->task_spki, rs->task_spki, sizeof e->task_spki);
    memcpy(e->deployment, rs->deployment, sizeof e->deployment);
    int64_t apart = (int64_t)rs->server_time_s - now_s;
    if (apart > CLOCK_SLACK_S || apart < -CLOCK_SLACK_S) {
        shoal_fail(err, SHOAL_ERR_DENIED, "this device's clock and the server's are %lld s apart",
                   (long long)apart);
        shoal_hint(err, "set the clock, then ask for a fresh link");
        return SHOAL_ERR_DENIED;
    }
    SHOAL_TRY(check_issued(e, now_s, err));
    return bind_identity(e, err);
}

static shoal_status ask_for_cert(shoal_enrolment *e, const shoal_join_link *link,
                                 const shoal_attester *attester, int64_t now_s, bool (*stop)(void),
                                 shoal_error *err)
{
    shoal_net *net = NULL;
    shoal_net_config cfg = {.base_url = e->server_url, .pin = e->pin, .stop = stop};
    joining *j = shoal_calloc(1, sizeof *j); /* too large for the stack */
    if (j == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "memory is out");
    shoal_status st = shoal_net_open(&net, &cfg, err);
    if (st == SHOAL_OK) {
        shoal_api api = {.net = net, .stop = stop};
        st = talk(&api, link, attester, e->key, j, err);
    }
    if (st == SHOAL_OK) st = take_answer(e, &j->rs, now_s, err);
    shoal_net_close(net);
    shoal_wipe(j, sizeof *j);
    shoal_free(j);
    return st;
}

static shoal_status save_identity(const shoal_store *s, const shoal_enrolment *e, shoal_error *err)
{
    shoal_buf key = shoal_buf_init(KEY_FILE_MAX);
    shoal_status st = shoal_key_encode_der(e->key, &key, err);
    if (st == SHOAL_OK) st = write_identity(s, "key.der", key.data, key.len, err);
    shoal_buf_wipe(&key);
    if (st == SHOAL_OK) st = write_identity(s, "cert.der", e->cert.data, e->cert.n, err);
    if (st == SHOAL_OK) st = write_identity(s, "ca.der", e->ca.data, e->ca.n, err);
    return st != SHOAL_OK ? st : save_record(s, e, err);
}

static void remove_identity(const shoal_store *s)
{
    static const char *const names[] = {"key.der", "cert.der", "ca.der"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[SHOAL_PATH_MAX];
        if (identity_path(s, names[i], path, NULL) == SHOAL_OK) (void)unlink(path);
    }
}

shoal_status shoal_enrol(const shoal_store *s, const shoal_join_link *link,
                         const shoal_attester *attester, int64_t now_s, bool (*stop)(void),
                         shoal_enrolment *out, shoal_error *err)
{
    memset(out, 0, sizeof *out);
    SHOAL_TRY(check_vacant(s, err));
    url_of_link(link, out->server_url, sizeof out->server_url);
    memcpy(out->pin, link->pin, sizeof out->pin);
    out->enrolled_at_s = now_s;
    shoal_status st = identity_path(s, "cert.der", out->cert_path, err);
    if (st == SHOAL_OK) st = identity_path(s, "key.der", out->key_path, err);
    if (st == SHOAL_OK) st = shoal_key_generate(&out->key, err);
    if (st == SHOAL_OK) st = ask_for_cert(out, link, attester, now_s, stop, err);
    if (st == SHOAL_OK) {
        st = save_identity(s, out, err);
        if (st != SHOAL_OK) remove_identity(s);
    }
    if (st != SHOAL_OK) shoal_enrolment_clear(out);
    return st;
}

/* ---- renewing and leaving ---------------------------------------------------------------------
 */

bool shoal_enrolment_due(const shoal_enrolment *e, int64_t now_s)
{
    int64_t life = e->not_after_s - e->not_before_s;
    return now_s >= e->not_before_s + life / 3 * 2;
}

/* Spec 2.8: only what follows from the pin takes its place. */
static shoal_status adopt_ca(const shoal_store *s, shoal_enrolment *e, const shoal_wire_der *ca,
                             int64_t now_s, shoal_error *err)
{
    if (ca->n == e->ca.n && memcmp(ca->data, e->ca.data, ca->n) == 0) return SHOAL_OK;
    SHOAL_TRY(shoal_ca_follow(e->ca.data, e->ca.n, ca->data, ca->n, now_s, err));
    SHOAL_TRY(write_identity(s, "ca.der", ca->data, ca->n, err));
    e->ca = *ca;
    return SHOAL_OK;
}

shoal_status shoal_enrolment_refresh_ca(const shoal_store *s, shoal_enrolment *e, shoal_net *net,
                                        int64_t now_s, shoal_error *err)
{
    shoal_api api = {.net = net};
    shoal_ca_bundle b;
    SHOAL_TRY(shoal_api_ca(&api, &b, err));
    return adopt_ca(s, e, &b.ca, now_s, err);
}

shoal_status shoal_enrolment_renew(const shoal_store *s, shoal_enrolment *e, shoal_net *net,
                                   int64_t now_s, shoal_error *err)
{
    shoal_api api = {.net = net};
    shoal_renew_request rq = {0};
    shoal_renew_response rs;
    SHOAL_TRY(make_csr(e->key, &rq.csr, err));
    SHOAL_TRY(
        shoal_renew_sign(e->key, e->cert.data, e->cert.n, rq.csr.data, rq.csr.n, rq.proof, err));
    SHOAL_TRY(shoal_api_renew(&api, &rq, &rs, err));
    SHOAL_TRY(adopt_ca(s, e, &rs.ca, now_s, err));
    shoal_enrolment fresh = *e; /* borrows the key */
    fresh.cert = rs.cert;
    SHOAL_TRY(check_issued(&fresh, now_s, err));
    SHOAL_TRY(bind_identity(&fresh, err));
    SHOAL_TRY(write_identity(s, "cert.der", fresh.cert.data, fresh.cert.n, err));
    *e = fresh;
    return SHOAL_OK;
}

shoal_status shoal_enrolment_forget(const shoal_store *s, shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    SHOAL_TRY(shoal_store_path(s, path, err, "enrolment"));
    if (unlink(path) != 0 && errno != ENOENT) {
        return shoal_fail_errno(err, errno, "cannot remove %s", path);
    }
    remove_identity(s);
    return SHOAL_OK;
}
