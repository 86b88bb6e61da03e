/* deployment.c - making and opening a deployment's directory. */
#include "aggregator/deployment.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aggregator/signer.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"

static shoal_status make_dir(const char *path, shoal_error *err)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return shoal_fail_errno(err, errno, "cannot make the directory %s", path);
    }
    return SHOAL_OK;
}

static shoal_status refuse_existing(const char *dir, shoal_error *err)
{
    static const char *const FILES[] = {"config.yaml", "ca", "server.key", "shoal.db"};
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
        char path[SHOAL_DIR_PATH];
        SHOAL_TRY(shoal_dir_path(dir, FILES[i], path, err));
        if (access(path, F_OK) == 0) {
            shoal_status st = shoal_fail(err, SHOAL_ERR_STATE, "%s exists already", path);
            shoal_hint(err, "choose another directory, or `shoal-aggregator run %s`", dir);
            return st;
        }
    }
    return SHOAL_OK;
}

static shoal_status write_config(const char *dir, const shoal_config_file *c, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(shoal_dir_path(dir, "config.yaml", path, err));
    shoal_buf text = shoal_buf_init(65536);
    shoal_status st = shoal_config_write(c, &text, err);
    if (st == SHOAL_OK) {
        st = shoal_file_write_atomic(path, text.data, text.len, 0644, err);
    }
    shoal_buf_clear(&text);
    return st;
}

/* The configuration comes last: it is what tells a deployment from a failed attempt. */
static void host_list(const shoal_config_file *c, const char *out[SHOAL_CONFIG_HOSTS])
{
    for (size_t i = 0; i < c->n_hosts; i++) {
        out[i] = c->hosts[i];
    }
}

/* The CA signs the first server certificate here and is then left alone. */
static shoal_status make_ca(const char *dir, const shoal_config_file *c,
                            const shoal_ca_settings *settings, const uint8_t *server_spki,
                            int64_t now_s, shoal_error *err)
{
    const char *hosts[SHOAL_CONFIG_HOSTS];
    shoal_ca *ca = NULL;
    shoal_wire_der cert;
    host_list(c, hosts);
    SHOAL_TRY(shoal_ca_make(dir, settings, server_spki, now_s, err));
    SHOAL_TRY(shoal_ca_open(&ca, dir, err));
    shoal_status st = shoal_ca_server(ca, hosts, c->n_hosts, now_s, &cert, err);
    shoal_ca_close(ca);
    SHOAL_TRY(st);
    return shoal_keyring_save_server(dir, c, cert.data, cert.n, err);
}

shoal_status shoal_deployment_create(const char *dir, const shoal_config_file *c,
                                     const shoal_ca_settings *ca, int64_t now_s, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    uint8_t server_spki[SHOAL_SPKI_BYTES];
    shoal_db *db = NULL;
    SHOAL_TRY(refuse_existing(dir, err));
    SHOAL_TRY(make_dir(dir, err));
    SHOAL_TRY(shoal_dir_path(dir, "blobs", path, err));
    SHOAL_TRY(make_dir(path, err));
    SHOAL_TRY(shoal_keyring_create(dir, server_spki, err));
    SHOAL_TRY(make_ca(dir, c, ca, server_spki, now_s, err));
    SHOAL_TRY(shoal_dir_path(dir, "shoal.db", path, err));
    SHOAL_TRY(shoal_db_open(&db, path, true, err));
    shoal_db_close(db);
    return write_config(dir, c, err);
}

shoal_status shoal_deployment_open(shoal_deployment *out, const char *dir, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    *out = (shoal_deployment){0};
    SHOAL_TRY(shoal_config_load(&out->config, dir, err));
    (void)snprintf(out->dir, sizeof out->dir, "%s", dir);
    SHOAL_TRY(shoal_dir_path(dir, "shoal.db", path, err));
    return shoal_db_open(&out->db, path, false, err);
}

void shoal_deployment_close(shoal_deployment *d)
{
    shoal_db_close(d->db);
    d->db = NULL;
}

/* ---- the CA, from the aggregator's side ---- */

shoal_status shoal_deployment_ca(const shoal_config_file *c, int *fd, shoal_error *err)
{
    if (*fd >= 0) {
        return SHOAL_OK;
    }
    if (c->ca_socket[0] == '\0') {
        return shoal_fail(err, SHOAL_ERR_STATE, "there is no CA: config.yaml names no ca_socket");
    }
    return shoal_signer_connect(c->ca_socket, fd, err);
}

static shoal_status certify_server(const char *dir, const shoal_config_file *c, int ca_fd,
                                   shoal_keyring *keys, shoal_error *err)
{
    shoal_buf hosts = shoal_buf_init(SHOAL_SIGNER_FRAME);
    shoal_buf cert = shoal_buf_init(SHOAL_LIMIT_CERT);
    for (size_t i = 0; i < c->n_hosts; i++) {
        (void)shoal_buf_put_u8(&hosts, (uint8_t)strlen(c->hosts[i]));
        (void)shoal_buf_put_str(&hosts, c->hosts[i]);
    }
    shoal_status st =
        shoal_signer_ask_now(ca_fd, SHOAL_SIGNER_SERVER, hosts.data, hosts.len, &cert, err);
    if (st == SHOAL_OK) st = shoal_keyring_save_server(dir, c, cert.data, cert.len, err);
    if (st == SHOAL_OK) st = shoal_keyring_set_server(keys, cert.data, cert.len, err);
    shoal_buf_clear(&hosts);
    shoal_buf_clear(&cert);
    return st;
}

static shoal_status certify(const char *dir, const shoal_config_file *c, int ca_fd, int64_t now_s,
                            shoal_keyring *keys, shoal_error *err)
{
    shoal_buf bundle = shoal_buf_init(SHOAL_LIMIT_CERT);
    shoal_status st = shoal_signer_ask_now(ca_fd, SHOAL_SIGNER_INFO, "", 0, &bundle, err);
    if (st == SHOAL_OK) {
        st = shoal_keyring_set_ca(keys, bundle.data, bundle.len, err);
    }
    shoal_buf_clear(&bundle);
    SHOAL_TRY(st);
    return shoal_keyring_server_due(keys, dir, c, now_s) ? certify_server(dir, c, ca_fd, keys, err)
                                                         : SHOAL_OK;
}

shoal_status shoal_deployment_certify(const char *dir, const shoal_config_file *c, int ca_fd,
                                      int64_t now_s, shoal_keyring *out, shoal_error *err)
{
    SHOAL_TRY(shoal_keyring_open(out, dir, err));
    shoal_status st = certify(dir, c, ca_fd, now_s, out, err);
    if (st != SHOAL_OK) {
        shoal_keyring_close(out);
    }
    return st;
}

/* The port links point to: a fixed public one, else the one in use, else the configured one. */
static shoal_status public_port(shoal_deployment *d, uint16_t *out, shoal_error *err)
{
    char text[16];
    uint64_t port = d->config.public_port;
    if (port == 0 && shoal_db_fact_get(d->db, "port", text, sizeof text, NULL) == SHOAL_OK &&
        !shoal_parse_u64(text, &port)) {
        port = 0;
    }
    port = port != 0 ? port : d->config.listen_port;
    if (port == 0 || port > UINT16_MAX) {
        shoal_status st = shoal_fail(err, SHOAL_ERR_STATE, "the port is not known yet");
        shoal_hint(err, "start `shoal-aggregator run %s` first", d->dir);
        return st;
    }
    *out = (uint16_t)port;
    return SHOAL_OK;
}

shoal_status shoal_deployment_invite(shoal_deployment *d, const shoal_keyring *keys, int64_t now_s,
                                     int64_t ttl_s, shoal_join_link *out, shoal_error *err)
{
    *out = (shoal_join_link){0};
    (void)snprintf(out->host, sizeof out->host, "%s", d->config.public_host);
    SHOAL_TRY(public_port(d, &out->port, err));
    memcpy(out->pin, keys->server_pin, sizeof out->pin);
    return shoal_ca_invite(d->dir, now_s, ttl_s, out->token, err);
}
