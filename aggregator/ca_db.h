/* ca_db.h - what the CA remembers: invitations, certificates, revocations. DIR/ca/ca.db.
 *
 * A database of its own, in the CA's directory, because whoever can write invitations can make
 * devices. Implemented by store_ca.c over SQLite; opened as shoal_db (close: shoal_db_close, facts:
 * shoal_db_fact_*). Several processes may have it open: the CA and the admin commands.
 *
 * Layer: aggregator. Threads: one owner.
 */
#ifndef SHOAL_AGGREGATOR_CA_DB_H
#define SHOAL_AGGREGATOR_CA_DB_H

#include "aggregator/db.h"

#ifdef __cplusplus
extern "C" {
#endif

SHOAL_MUST_USE shoal_status shoal_cadb_open(shoal_db **out, const char *path, bool create,
                                            shoal_error *err);

/* Everything between begin and end happens or does not; end commits when st is OK and returns the
 * first failure. */
SHOAL_MUST_USE shoal_status shoal_cadb_begin(shoal_db *db, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_cadb_end(shoal_db *db, shoal_status st, shoal_error *err);

/* ---- invitations ---- */

typedef struct shoal_cadb_token {
    uint8_t hash[32]; /* shoal_token_hash; its beginning is the token id */
    int64_t expires_s, used_s;
    uint8_t spki[SHOAL_SPKI_BYTES]; /* once used: by which key */
    shoal_wire_der cert;            /* once used: what it got */
} shoal_cadb_token;

SHOAL_MUST_USE shoal_status shoal_cadb_token_add(shoal_db *db, const uint8_t hash[32],
                                                 int64_t created_s, int64_t expires_s,
                                                 shoal_error *err);
/* By its hash (n 32) or its id (n SHOAL_TOKEN_BYTES), compared in constant time. DENIED when it is
 * not known. */
SHOAL_MUST_USE shoal_status shoal_cadb_token_get(shoal_db *db, const uint8_t *hash, size_t n,
                                                 shoal_cadb_token *out, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_cadb_token_use(shoal_db *db, const uint8_t hash[32],
                                                 const uint8_t spki[SHOAL_SPKI_BYTES],
                                                 const shoal_wire_der *cert, int64_t now_s,
                                                 shoal_error *err);

/* ---- certificates ---- */

typedef struct shoal_cadb_cert {
    uint8_t sha256[32];
    uint8_t device_id[SHOAL_ID_BYTES];
    uint8_t root_id[SHOAL_ID_BYTES]; /* the id the device first joined with */
    int64_t issued_s, not_after_s;
    uint32_t attestation;
    shoal_wire_der der;
} shoal_cadb_cert;

SHOAL_MUST_USE shoal_status shoal_cadb_cert_add(shoal_db *db, const shoal_cadb_cert *c,
                                                shoal_error *err);
/* NOT_FOUND when it was not issued here. */
SHOAL_MUST_USE shoal_status shoal_cadb_cert_get(shoal_db *db, const uint8_t sha256[32],
                                                shoal_cadb_cert *out, shoal_error *err);
/* The newest certificate of a device issued at since_s or later; NOT_FOUND. */
SHOAL_MUST_USE shoal_status shoal_cadb_cert_latest(shoal_db *db,
                                                   const uint8_t device_id[SHOAL_ID_BYTES],
                                                   int64_t since_s, shoal_cadb_cert *out,
                                                   shoal_error *err);
/* How many were issued at since_s or later; root_id NULL: to anybody. */
SHOAL_MUST_USE shoal_status shoal_cadb_cert_count(shoal_db *db, const uint8_t *root_id,
                                                  int64_t since_s, size_t *n, shoal_error *err);

/* ---- revocations ---- */

/* Revoking twice changes nothing. */
SHOAL_MUST_USE shoal_status shoal_cadb_revoke(shoal_db *db, const uint8_t device_id[SHOAL_ID_BYTES],
                                              int64_t now_s, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_cadb_revoked(shoal_db *db,
                                               const uint8_t device_id[SHOAL_ID_BYTES],
                                               bool *revoked, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
