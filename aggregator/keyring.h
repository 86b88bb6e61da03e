/* keyring.h - the keys and certificates that the aggregator itself holds.
 *
 *   server.key  TLS; its public half is what join links pin  server.crt  (DER, 1 year, renewed)
 *   task.key    signs session descriptors and adapter releases
 *
 * The CA's key is not among them (ca.h): of the CA it knows the bundle, which is public.
 *
 * Layer: aggregator. Threads: read-only after open, but for the bundle, which the loop's thread
 * replaces when the CA was rotated.
 */
#ifndef SHOAL_AGGREGATOR_KEYRING_H
#define SHOAL_AGGREGATOR_KEYRING_H

#include <stdbool.h>

#include "aggregator/config.h"
#include "kernels/base/buf.h"
#include "proto/crypto.h"
#include "proto/x509.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_keyring {
    shoal_key *server_key, *task_key;
    shoal_buf ca, server; /* CA bundle and server certificate, DER */
    uint8_t task_spki[SHOAL_SPKI_BYTES];
    uint8_t server_pin[32]; /* SHA-256 of the server key's SPKI */
} shoal_keyring;

/* Makes both keys and writes them into DIR; the server key's public half is for the CA. */
SHOAL_MUST_USE shoal_status shoal_keyring_create(const char *dir,
                                                 uint8_t server_spki[SHOAL_SPKI_BYTES],
                                                 shoal_error *err);
/* Reads them; keys that others may read are refused. `ca` is empty until set. */
SHOAL_MUST_USE shoal_status shoal_keyring_open(shoal_keyring *out, const char *dir,
                                               shoal_error *err);
void shoal_keyring_close(shoal_keyring *k); /* wipes */

/* Replaces the CA bundle. */
SHOAL_MUST_USE shoal_status shoal_keyring_set_ca(shoal_keyring *k, const void *bundle, size_t n,
                                                 shoal_error *err);
/* The server certificate is not one of the CA's, is in its last month, or is for other hosts than
 * the configuration's. */
bool shoal_keyring_server_due(const shoal_keyring *k, const char *dir, const shoal_config_file *c,
                              int64_t now_s);
SHOAL_MUST_USE shoal_status shoal_keyring_set_server(shoal_keyring *k, const void *cert, size_t n,
                                                     shoal_error *err);
/* server.crt and the note of the hosts it is for. */
SHOAL_MUST_USE shoal_status shoal_keyring_save_server(const char *dir, const shoal_config_file *c,
                                                      const void *cert, size_t n, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
