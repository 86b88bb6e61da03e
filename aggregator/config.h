/* config.h - the directory of a deployment: where things lie in it, and its config.yaml.
 *
 *   DIR/config.yaml   names, addresses, limits (YAML, edited by people)
 *   DIR/server.key server.crt task.key   (keyring.h)
 *   DIR/shoal.db      database   DIR/blobs/HEX   adapters by SHA-256   DIR/audit.log (audit.h)
 *   DIR/ca/           the CA's own: ca.yaml, keys, database, audit.log (ca.h)
 *
 * Layer: aggregator; config.c is the only user of libyaml. Threads: plain data.
 */
#ifndef SHOAL_AGGREGATOR_CONFIG_H
#define SHOAL_AGGREGATOR_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "proto/limits.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SHOAL_DIR_PATH = 1024,
    SHOAL_CONFIG_HOSTS = 8,
    SHOAL_CONFIG_PATH = 104 /* of a Unix socket */
};

typedef struct shoal_config_file {
    char deployment[SHOAL_LIMIT_NAME];  /* for people; told to devices when they join */
    char listen_host[SHOAL_LIMIT_HOST]; /* address to bind */
    uint16_t listen_port;               /* 0: the system chooses */
    char public_host[SHOAL_LIMIT_HOST]; /* what join links say */
    uint16_t public_port;               /* 0: the port in use */
    char hosts[SHOAL_CONFIG_HOSTS][SHOAL_LIMIT_HOST]; /* names in the server certificate */
    size_t n_hosts;
    char ca_socket[SHOAL_CONFIG_PATH]; /* where the CA listens; "": `run` starts one itself */
    uint32_t poll_ms;                  /* how soon a waiting device asks again */
    uint32_t max_connections;
    uint32_t max_connections_per_address; /* 0: as many as in all */
    uint32_t sessions_per_day;            /* that a device may join; 0: no limit */
    uint32_t upload_memory_mb; /* chunks of masked vectors in memory, all uploads together */
} shoal_config_file;

/* Port 7433, loopback only. */
shoal_config_file shoal_config_default(void);

/* Unknown keys, wrong types and values out of range are refused with the line number. */
SHOAL_MUST_USE shoal_status shoal_config_load(shoal_config_file *out, const char *dir,
                                              shoal_error *err);
/* Appends the file's text, with a comment for each key. */
SHOAL_MUST_USE shoal_status shoal_config_write(const shoal_config_file *c, shoal_buf *out,
                                               shoal_error *err);

/* The CA's settings, CA_DIR/ca.yaml. They stand apart because the aggregator must not change them.
 */
typedef struct shoal_ca_settings {
    uint32_t cert_days;                         /* life of a device certificate, 1..7 */
    uint32_t certs_per_device_hour;             /* for one device, renewals included */
    uint32_t certs_per_minute;                  /* for all devices */
    char attestation[16];                       /* "none", "software", "android" */
    char attestation_keys[SHOAL_LIMIT_NAME];    /* file in the CA's directory */
    char attestation_revoked[SHOAL_LIMIT_NAME]; /* file in the CA's directory; "": none */
    char attestation_package[SHOAL_LIMIT_HOST]; /* Android: the app */
    char
        attestation_signer[SHOAL_LIMIT_NAME + 16]; /* Android: SHA-256 of its signing certificate */
} shoal_ca_settings;

shoal_ca_settings shoal_ca_settings_default(void);
SHOAL_MUST_USE shoal_status shoal_ca_settings_load(shoal_ca_settings *out, const char *ca_dir,
                                                   shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_ca_settings_write(const shoal_ca_settings *c, shoal_buf *out,
                                                    shoal_error *err);

/* out = "DIR/NAME"; TOO_LARGE when it does not fit. */
SHOAL_MUST_USE shoal_status shoal_dir_path(const char *dir, const char *name,
                                           char out[SHOAL_DIR_PATH], shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
