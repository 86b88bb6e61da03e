/* ca_internal.h - the CA's state, shared by ca.c (what it decides) and ca_files.c (what it keeps).
 *
 * Layer: aggregator, private. Threads: one owner.
 */
#ifndef SHOAL_AGGREGATOR_CA_INTERNAL_H
#define SHOAL_AGGREGATOR_CA_INTERNAL_H

#include "aggregator/ca.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_CA_BACKDATE_S = 300 /* devices whose clock is behind */ };

/* Serial numbers of revoked attestation keys, sorted. */
typedef struct ca_serial {
    uint8_t n;
    uint8_t bytes[20];
} ca_serial;

struct shoal_ca {
    char dir[SHOAL_DIR_PATH]; /* DIR/ca */
    char audit_path[SHOAL_DIR_PATH];
    shoal_ca_settings settings;
    shoal_key *key;
    shoal_buf bundle;
    int64_t bundle_at_ns; /* when ca.crt was last written, as far as it was read */
    shoal_db *db;
    uint8_t nonce_key[32];
    shoal_attest_policy policy;
    shoal_buf attest_keys; /* what the policy's roots or spki point into */
    uint8_t attest_signer[32];
    ca_serial *serials;
    size_t n_serials;
};

/* ca_attest.c: fills policy from settings and files. */
SHOAL_MUST_USE shoal_status ca_load_policy(shoal_ca *ca, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
