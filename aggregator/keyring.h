/* keyring.h - the keys and certificates of a deployment.
 *
 *   ca.key      signs device and server certificates      ca.crt       (DER, self-signed, 10 years)
 *   server.key  TLS; its public half is what join links pin  server.crt  (DER, 1 year, renewed)
 *   task.key    signs session descriptors and adapter releases
 *
 * Keys are PEM files with mode 0600.
 *
 * Layer: aggregator. Threads: read-only after open.
 */
#ifndef SHOAL_AGGREGATOR_KEYRING_H
#define SHOAL_AGGREGATOR_KEYRING_H

#include "aggregator/config.h"
#include "kernels/base/buf.h"
#include "proto/crypto.h"
#include "proto/x509.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_KEYRING_BACKDATE_S = 300 }; /* certificates begin so long ago: clocks are behind */

typedef struct shoal_keyring {
    shoal_key *ca_key, *server_key, *task_key;
    shoal_buf ca, server; /* certificates, DER */
    uint8_t task_spki[SHOAL_SPKI_BYTES];
    uint8_t server_pin[32]; /* SHA-256 of the server key's SPKI */
} shoal_keyring;

/* Makes all keys and certificates and writes them into DIR. */
SHOAL_MUST_USE shoal_status shoal_keyring_create(const char *dir, const shoal_config_file *c,
                                                 int64_t now_s, shoal_error *err);

/* Reads them; keys that others may read are refused. A server certificate in its last month, or one
 * for other hosts than the configuration's, is issued anew with the same key. */
SHOAL_MUST_USE shoal_status shoal_keyring_open(shoal_keyring *out, const char *dir,
                                               const shoal_config_file *c, int64_t now_s,
                                               shoal_error *err);
void shoal_keyring_close(shoal_keyring *k); /* wipes */

/* A device's certificate for a verified request's public key. From its beginning to not_after_s
 * there must be no more than SHOAL_LIMIT_CERT_S, or devices refuse it. */
SHOAL_MUST_USE shoal_status shoal_keyring_issue(const shoal_keyring *k,
                                                const uint8_t spki[SHOAL_SPKI_BYTES], int64_t now_s,
                                                int64_t not_after_s, shoal_buf *out,
                                                shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
