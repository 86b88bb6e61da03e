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

enum { CLOCK_SLACK_S = 600, KEY_FILE_MAX = 4096 };

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

static shoal_status ask_for_cert(shoal_enrolment *e, const shoal_join_link *link, int64_t now_s,
                                 bool (*stop)(void), shoal_error *err)
{
    shoal_enrol_request rq = {.version = SHOAL_VERSION};
    shoal_enrol_response rs;
    memcpy(rq.token, link->token, sizeof rq.token);
    SHOAL_TRY(make_csr(e->key, &rq.csr, err));
    shoal_net *net = NULL;
    shoal_net_config cfg = {.base_url = e->server_url, .pin = e->pin, .stop = stop};
    shoal_status st = shoal_net_open(&net, &cfg, err);
    if (st == SHOAL_OK) {
        shoal_api api = {.net = net, .stop = stop};
        st = shoal_api_enrol(&api, &rq, &rs, err);
    }
    shoal_net_close(net);
    shoal_wipe(&rq, sizeof rq);
    if (st != SHOAL_OK) return st;
    e->cert = rs.cert;
    e->ca = rs.ca;
    memcpy(e->task_spki, rs.task_spki, sizeof e->task_spki);
    memcpy(e->deployment, rs.deployment, sizeof e->deployment);
    int64_t apart = (int64_t)rs.server_time_s - now_s;
    if (apart > CLOCK_SLACK_S || apart < -CLOCK_SLACK_S) {
        shoal_fail(err, SHOAL_ERR_DENIED, "this device's clock and the server's are %lld s apart",
                   (long long)apart);
        shoal_hint(err, "set the clock, then ask for a fresh link");
        return SHOAL_ERR_DENIED;
    }
    SHOAL_TRY(check_issued(e, now_s, err));
    return bind_identity(e, err);
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

shoal_status shoal_enrol(const shoal_store *s, const shoal_join_link *link, int64_t now_s,
                         bool (*stop)(void), shoal_enrolment *out, shoal_error *err)
{
    memset(out, 0, sizeof *out);
    SHOAL_TRY(check_vacant(s, err));
    url_of_link(link, out->server_url, sizeof out->server_url);
    memcpy(out->pin, link->pin, sizeof out->pin);
    out->enrolled_at_s = now_s;
    shoal_status st = identity_path(s, "cert.der", out->cert_path, err);
    if (st == SHOAL_OK) st = identity_path(s, "key.der", out->key_path, err);
    if (st == SHOAL_OK) st = shoal_key_generate(&out->key, err);
    if (st == SHOAL_OK) st = ask_for_cert(out, link, now_s, stop, err);
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

shoal_status shoal_enrolment_renew(const shoal_store *s, shoal_enrolment *e, shoal_net *net,
                                   int64_t now_s, shoal_error *err)
{
    shoal_api api = {.net = net};
    shoal_renew_request rq = {0};
    shoal_renew_response rs;
    SHOAL_TRY(make_csr(e->key, &rq.csr, err));
    SHOAL_TRY(shoal_api_renew(&api, &rq, &rs, err));
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
