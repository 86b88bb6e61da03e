/* deployment.h - a deployment as its operator sees it: made, opened, invited to.
 *
 * Layer: aggregator. Threads: one owner.
 */
#ifndef SHOAL_AGGREGATOR_DEPLOYMENT_H
#define SHOAL_AGGREGATOR_DEPLOYMENT_H

#include "aggregator/ca.h"
#include "aggregator/config.h"
#include "aggregator/db.h"
#include "aggregator/keyring.h"
#include "proto/join_link.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_deployment {
    char dir[SHOAL_DIR_PATH];
    shoal_config_file config;
    shoal_db *db;
} shoal_deployment;

/* Makes DIR (which must not hold a deployment) with configuration, keys, CA, database. What was
 * made stays when a later step fails, and the next try says so. */
SHOAL_MUST_USE shoal_status shoal_deployment_create(const char *dir, const shoal_config_file *c,
                                                    const shoal_ca_settings *ca, int64_t now_s,
                                                    shoal_error *err);

SHOAL_MUST_USE shoal_status shoal_deployment_open(shoal_deployment *out, const char *dir,
                                                  shoal_error *err);
void shoal_deployment_close(shoal_deployment *d);

/* The socket to the CA: *fd when it is one already, otherwise the configured one is connected. */
SHOAL_MUST_USE shoal_status shoal_deployment_ca(const shoal_config_file *c, int *fd,
                                                shoal_error *err);
/* Opens the keys with the CA's bundle, and has the server certificate issued anew when it is due.
 */
SHOAL_MUST_USE shoal_status shoal_deployment_certify(const char *dir, const shoal_config_file *c,
                                                     int ca_fd, int64_t now_s, shoal_keyring *out,
                                                     shoal_error *err);

/* A fresh invitation: only its hash is kept. The link in *out is a secret until it is used. */
SHOAL_MUST_USE shoal_status shoal_deployment_invite(shoal_deployment *d, const shoal_keyring *keys,
                                                    int64_t now_s, int64_t ttl_s,
                                                    shoal_join_link *out, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
