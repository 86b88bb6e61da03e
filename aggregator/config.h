/* config.h - the directory of a deployment: where things lie in it, and its config.yaml.
 *
 *   DIR/config.yaml   names, addresses, limits (YAML, edited by people)
 *   DIR/ca.key ca.crt server.key server.crt task.key   (keyring.h)
 *   DIR/shoal.db      database   DIR/blobs/HEX   adapters by SHA-256
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

enum { SHOAL_DIR_PATH = 1024, SHOAL_CONFIG_HOSTS = 8 };

typedef struct shoal_config_file {
    char deployment[SHOAL_LIMIT_NAME];  /* for people; told to devices when they join */
    char listen_host[SHOAL_LIMIT_HOST]; /* address to bind */
    uint16_t listen_port;               /* 0: the system chooses */
    char public_host[SHOAL_LIMIT_HOST]; /* what join links say */
    uint16_t public_port;               /* 0: the port in use */
    char hosts[SHOAL_CONFIG_HOSTS][SHOAL_LIMIT_HOST]; /* names in the server certificate */
    size_t n_hosts;
    uint32_t cert_days; /* life of a device certificate, 1..7 */
    uint32_t poll_ms;   /* how soon a waiting device asks again */
    uint32_t max_connections;
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

/* out = "DIR/NAME"; TOO_LARGE when it does not fit. */
SHOAL_MUST_USE shoal_status shoal_dir_path(const char *dir, const char *name,
                                           char out[SHOAL_DIR_PATH], shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
