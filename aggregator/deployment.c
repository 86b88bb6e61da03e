/* deployment.c - making and opening a deployment's directory. */
#include "aggregator/deployment.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
    static const char *const FILES[] = {"config.yaml", "ca.key", "shoal.db"};
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
shoal_status shoal_deployment_create(const char *dir, const shoal_config_file *c, int64_t now_s,
                                     shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    shoal_db *db = NULL;
    SHOAL_TRY(refuse_existing(dir, err));
    SHOAL_TRY(make_dir(dir, err));
    SHOAL_TRY(shoal_dir_path(dir, "blobs", path, err));
    SHOAL_TRY(make_dir(path, err));
    SHOAL_TRY(shoal_keyring_create(dir, c, now_s, err));
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
    uint8_t hash[32];
    *out = (shoal_join_link){0};
    (void)snprintf(out->host, sizeof out->host, "%s", d->config.public_host);
    SHOAL_TRY(public_port(d, &out->port, err));
    memcpy(out->pin, keys->server_pin, sizeof out->pin);
    SHOAL_TRY(shoal_random(out->token, sizeof out->token, err));
    SHOAL_TRY(shoal_sha256(out->token, sizeof out->token, hash, err));
    return shoal_db_token_add(d->db, hash, now_s, now_s + ttl_s, err);
}
