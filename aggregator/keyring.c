/* keyring.c - making, keeping and using the deployment's keys. */
#include "aggregator/keyring.h"

#include <string.h>
#include <sys/stat.h>

#include "kernels/base/file.h"

enum { DAY_S = 24 * 3600, MAX_KEY = 4096, BACKDATE_S = SHOAL_KEYRING_BACKDATE_S };

static const int64_t CA_LIFE_S = (int64_t)3650 * DAY_S;
static const int64_t SERVER_LIFE_S = (int64_t)365 * DAY_S;
static const int64_t SERVER_RENEW_S = (int64_t)30 * DAY_S;

/* ---- files ------------------------------------------------------------------------------------
 */

static shoal_status save_key(const char *dir, const char *name, const shoal_key *key,
                             shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(shoal_dir_path(dir, name, path, err));
    shoal_buf pem = shoal_buf_init(MAX_KEY);
    shoal_status st = shoal_key_encode_pem(key, &pem, err);
    if (st == SHOAL_OK) {
        st = shoal_file_write_atomic(path, pem.data, pem.len, 0600, err);
    }
    shoal_buf_wipe(&pem);
    return st;
}

static shoal_status save_cert(const char *dir, const char *name, const shoal_buf *der,
                              shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(shoal_dir_path(dir, name, path, err));
    return shoal_file_write_atomic(path, der->data, der->len, 0644, err);
}

static shoal_status check_private(const char *path, shoal_error *err)
{
    struct stat s;
    if (stat(path, &s) == 0 && (s.st_mode & 077) != 0) {
        shoal_status st = shoal_fail(err, SHOAL_ERR_DENIED, "%s can be read by others", path);
        shoal_hint(err, "chmod 600 %s; if strangers have accounts here, make new keys", path);
        return st;
    }
    return SHOAL_OK;
}

static shoal_status load_key(const char *dir, const char *name, shoal_key **out, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(shoal_dir_path(dir, name, path, err));
    SHOAL_TRY(check_private(path, err));
    shoal_buf pem = shoal_buf_init(0);
    shoal_status st = shoal_file_read(path, MAX_KEY, &pem, err);
    if (st == SHOAL_OK) {
        st = shoal_key_load(out, pem.data, pem.len, err);
    }
    shoal_buf_wipe(&pem);
    return st;
}

static shoal_status load_cert(const char *dir, const char *name, shoal_buf *out, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(shoal_dir_path(dir, name, path, err));
    return shoal_file_read(path, SHOAL_LIMIT_CERT, out, err);
}

/* ---- certificates -----------------------------------------------------------------------------
 */

static shoal_status issue_server(const shoal_keyring *k, const shoal_config_file *c, int64_t now_s,
                                 shoal_buf *out, shoal_error *err)
{
    uint8_t spki[SHOAL_SPKI_BYTES];
    const char *hosts[SHOAL_CONFIG_HOSTS];
    shoal_key_spki(k->server_key, spki);
    for (size_t i = 0; i < c->n_hosts; i++) {
        hosts[i] = c->hosts[i];
    }
    shoal_cert_template t = {.kind = SHOAL_CERT_SERVER,
                             .spki = spki,
                             .hosts = hosts,
                             .n_hosts = c->n_hosts,
                             .not_before_s = now_s - BACKDATE_S,
                             .not_after_s = now_s + SERVER_LIFE_S};
    return shoal_cert_issue(k->ca_key, k->ca.data, k->ca.len, &t, out, err);
}

shoal_status shoal_keyring_issue(const shoal_keyring *k, const uint8_t spki[SHOAL_SPKI_BYTES],
                                 int64_t now_s, int64_t not_after_s, shoal_buf *out,
                                 shoal_error *err)
{
    shoal_cert_template t = {.kind = SHOAL_CERT_CLIENT,
                             .spki = spki,
                             .not_before_s = now_s - BACKDATE_S,
                             .not_after_s = not_after_s};
    return shoal_cert_issue(k->ca_key, k->ca.data, k->ca.len, &t, out, err);
}

/* The configuration's hosts as the certificate should hold them; a note beside the certificate says
 * what it was issued for, so that nobody has to parse it. */
static shoal_buf hosts_note(const shoal_config_file *c)
{
    shoal_buf note = shoal_buf_init(SHOAL_CONFIG_HOSTS * SHOAL_LIMIT_HOST);
    for (size_t i = 0; i < c->n_hosts; i++) {
        shoal_buf_putf(&note, "%s\n", c->hosts[i]);
    }
    return note;
}

static shoal_status save_server(const shoal_keyring *k, const char *dir, const shoal_config_file *c,
                                shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(save_cert(dir, "server.crt", &k->server, err));
    SHOAL_TRY(shoal_dir_path(dir, "server.hosts", path, err));
    shoal_buf note = hosts_note(c);
    shoal_status st = shoal_file_write_atomic(path, note.data, note.len, 0644, err);
    shoal_buf_clear(&note);
    return st;
}

/* ---- create -----------------------------------------------------------------------------------
 */

static shoal_status make_all(shoal_keyring *k, const shoal_config_file *c, int64_t now_s,
                             shoal_error *err)
{
    SHOAL_TRY(shoal_key_generate(&k->ca_key, err));
    SHOAL_TRY(shoal_key_generate(&k->server_key, err));
    SHOAL_TRY(shoal_key_generate(&k->task_key, err));
    k->ca = shoal_buf_init(SHOAL_LIMIT_CERT);
    k->server = shoal_buf_init(SHOAL_LIMIT_CERT);
    SHOAL_TRY(shoal_ca_create(k->ca_key, "Shoal CA", now_s - BACKDATE_S, now_s + CA_LIFE_S, NULL,
                              &k->ca, err));
    return issue_server(k, c, now_s, &k->server, err);
}

static shoal_status save_all(const shoal_keyring *k, const char *dir, const shoal_config_file *c,
                             shoal_error *err)
{
    SHOAL_TRY(save_key(dir, "ca.key", k->ca_key, err));
    SHOAL_TRY(save_key(dir, "server.key", k->server_key, err));
    SHOAL_TRY(save_key(dir, "task.key", k->task_key, err));
    SHOAL_TRY(save_cert(dir, "ca.crt", &k->ca, err));
    return save_server(k, dir, c, err);
}

shoal_status shoal_keyring_create(const char *dir, const shoal_config_file *c, int64_t now_s,
                                  shoal_error *err)
{
    shoal_keyring k = {0};
    shoal_status st = make_all(&k, c, now_s, err);
    if (st == SHOAL_OK) {
        st = save_all(&k, dir, c, err);
    }
    shoal_keyring_close(&k);
    return st;
}

/* ---- open -------------------------------------------------------------------------------------
 */

static bool same_hosts(const char *dir, const shoal_config_file *c)
{
    char path[SHOAL_DIR_PATH];
    shoal_buf was = shoal_buf_init(0);
    shoal_buf note = hosts_note(c);
    bool same = shoal_dir_path(dir, "server.hosts", path, NULL) == SHOAL_OK &&
                shoal_file_read(path, note.max, &was, NULL) == SHOAL_OK && was.len == note.len &&
                memcmp(was.data, note.data, note.len) == 0;
    shoal_buf_clear(&was);
    shoal_buf_clear(&note);
    return same;
}

static shoal_status check_server(shoal_keyring *k, const char *dir, const shoal_config_file *c,
                                 int64_t now_s, shoal_error *err)
{
    shoal_cert_info info;
    shoal_status st = shoal_cert_check(k->ca.data, k->ca.len, k->server.data, k->server.len,
                                       SHOAL_CERT_SERVER, now_s, &info, err);
    if (st == SHOAL_ERR_TAMPERED) {
        return st;
    }
    if (st == SHOAL_OK && info.not_after_s - now_s > SERVER_RENEW_S && same_hosts(dir, c)) {
        return SHOAL_OK;
    }
    shoal_buf_clear(&k->server);
    k->server = shoal_buf_init(SHOAL_LIMIT_CERT);
    SHOAL_TRY(issue_server(k, c, now_s, &k->server, err));
    return save_server(k, dir, c, err);
}

static shoal_status open_all(shoal_keyring *k, const char *dir, const shoal_config_file *c,
                             int64_t now_s, shoal_error *err)
{
    SHOAL_TRY(load_key(dir, "ca.key", &k->ca_key, err));
    SHOAL_TRY(load_key(dir, "server.key", &k->server_key, err));
    SHOAL_TRY(load_key(dir, "task.key", &k->task_key, err));
    SHOAL_TRY(load_cert(dir, "ca.crt", &k->ca, err));
    SHOAL_TRY(load_cert(dir, "server.crt", &k->server, err));
    SHOAL_TRY(check_server(k, dir, c, now_s, err));
    uint8_t spki[SHOAL_SPKI_BYTES];
    shoal_key_spki(k->task_key, k->task_spki);
    shoal_key_spki(k->server_key, spki);
    return shoal_sha256(spki, sizeof spki, k->server_pin, err);
}

shoal_status shoal_keyring_open(shoal_keyring *out, const char *dir, const shoal_config_file *c,
                                int64_t now_s, shoal_error *err)
{
    *out = (shoal_keyring){0};
    shoal_status st = open_all(out, dir, c, now_s, err);
    if (st != SHOAL_OK) {
        shoal_keyring_close(out);
    }
    return st;
}

void shoal_keyring_close(shoal_keyring *k)
{
    shoal_key_close(k->ca_key);
    shoal_key_close(k->server_key);
    shoal_key_close(k->task_key);
    shoal_buf_clear(&k->ca);
    shoal_buf_clear(&k->server);
    *k = (shoal_keyring){0};
}
