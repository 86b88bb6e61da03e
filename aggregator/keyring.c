/* keyring.c - making, keeping and using the deployment's keys. */
#include "aggregator/keyring.h"

#include <string.h>

#include "aggregator/key_file.h"
#include "kernels/base/file.h"
#include "proto/x509.h"

enum { DAY_S = 24 * 3600, SERVER_RENEW_S = 30 * DAY_S };

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

/* ---- create -----------------------------------------------------------------------------------
 */

static shoal_status make_key(const char *dir, const char *name, shoal_key **out, shoal_error *err)
{
    SHOAL_TRY(shoal_key_generate(out, err));
    return shoal_key_file_save(dir, name, *out, err);
}

shoal_status shoal_keyring_create(const char *dir, uint8_t server_spki[SHOAL_SPKI_BYTES],
                                  shoal_error *err)
{
    shoal_keyring k = {0};
    shoal_status st = make_key(dir, "server.key", &k.server_key, err);
    if (st == SHOAL_OK) {
        shoal_key_spki(k.server_key, server_spki);
        st = make_key(dir, "task.key", &k.task_key, err);
    }
    shoal_keyring_close(&k);
    return st;
}

/* ---- open -------------------------------------------------------------------------------------
 */

static shoal_status open_all(shoal_keyring *k, const char *dir, shoal_error *err)
{
    uint8_t spki[SHOAL_SPKI_BYTES];
    SHOAL_TRY(shoal_key_file_load(dir, "server.key", &k->server_key, err));
    SHOAL_TRY(shoal_key_file_load(dir, "task.key", &k->task_key, err));
    SHOAL_TRY(shoal_cert_file_load(dir, "server.crt", &k->server, err));
    shoal_key_spki(k->task_key, k->task_spki);
    shoal_key_spki(k->server_key, spki);
    return shoal_sha256(spki, sizeof spki, k->server_pin, err);
}

shoal_status shoal_keyring_open(shoal_keyring *out, const char *dir, shoal_error *err)
{
    *out = (shoal_keyring){0};
    shoal_status st = open_all(out, dir, err);
    if (st != SHOAL_OK) {
        shoal_keyring_close(out);
    }
    return st;
}

void shoal_keyring_close(shoal_keyring *k)
{
    shoal_key_close(k->server_key);
    shoal_key_close(k->task_key);
    shoal_buf_clear(&k->ca);
    shoal_buf_clear(&k->server);
    *k = (shoal_keyring){0};
}

/* ---- certificates -----------------------------------------------------------------------------
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

bool shoal_keyring_server_due(const shoal_keyring *k, const char *dir, const shoal_config_file *c,
                              int64_t now_s)
{
    shoal_cert_info info;
    return shoal_cert_check(k->ca.data, k->ca.len, k->server.data, k->server.len, SHOAL_CERT_SERVER,
                            now_s, &info, NULL) != SHOAL_OK ||
           info.not_after_s - now_s <= SERVER_RENEW_S || !same_hosts(dir, c);
}

shoal_status shoal_keyring_set_ca(shoal_keyring *k, const void *bundle, size_t n, shoal_error *err)
{
    shoal_ca_info info;
    SHOAL_TRY(shoal_ca_read(bundle, n, 0, &info, err));
    shoal_buf_clear(&k->ca);
    k->ca = shoal_buf_init(SHOAL_LIMIT_CERT);
    (void)shoal_buf_put(&k->ca, bundle, n);
    return shoal_buf_status(&k->ca, err);
}

shoal_status shoal_keyring_save_server(const char *dir, const shoal_config_file *c,
                                       const void *cert, size_t n, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    shoal_buf der = shoal_buf_init(SHOAL_LIMIT_CERT);
    (void)shoal_buf_put(&der, cert, n);
    shoal_status st = shoal_buf_status(&der, err);
    if (st == SHOAL_OK) {
        st = shoal_cert_file_save(dir, "server.crt", &der, err);
    }
    shoal_buf_clear(&der);
    SHOAL_TRY(st);
    SHOAL_TRY(shoal_dir_path(dir, "server.hosts", path, err));
    shoal_buf note = hosts_note(c);
    st = shoal_file_write_atomic(path, note.data, note.len, 0644, err);
    shoal_buf_clear(&note);
    return st;
}

shoal_status shoal_keyring_set_server(shoal_keyring *k, const void *cert, size_t n,
                                      shoal_error *err)
{
    shoal_buf_clear(&k->server);
    k->server = shoal_buf_init(SHOAL_LIMIT_CERT);
    (void)shoal_buf_put(&k->server, cert, n);
    return shoal_buf_status(&k->server, err);
}
