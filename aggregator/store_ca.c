/* store_ca.c - the CA's database over SQLite. */
#include <string.h>

#include <sqlite3.h>

#include "aggregator/ca_db.h"
#include "aggregator/store_sql.h"

/* Tokens are found by the head of their hash and then compared in constant time, so the time an
 * answer takes does not tell how much of a guess was right. */
enum { SCHEMA_VERSION = 1, TOKEN_HEAD = 4, DAY_S = 24 * 3600, KEEP_S = 30 * DAY_S };

static const char SCHEMA[] =
    "CREATE TABLE fact(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE token(hash BLOB PRIMARY KEY, created_s INTEGER NOT NULL,"
    " expires_s INTEGER NOT NULL, used_s INTEGER NOT NULL DEFAULT 0, spki BLOB, cert BLOB)"
    " WITHOUT ROWID;"
    "CREATE TABLE cert(sha256 BLOB PRIMARY KEY, device BLOB NOT NULL, root BLOB NOT NULL,"
    " issued_s INTEGER NOT NULL, not_after_s INTEGER NOT NULL, attestation INTEGER NOT NULL,"
    " der BLOB NOT NULL);" /* with a rowid: two of one second have an order */
    "CREATE INDEX cert_device ON cert(device, issued_s);"
    "CREATE INDEX cert_root ON cert(root, issued_s);"
    "CREATE INDEX cert_issued ON cert(issued_s);"
    "CREATE TABLE revoked(device BLOB PRIMARY KEY, at_s INTEGER NOT NULL) WITHOUT ROWID;"
    "PRAGMA user_version = 1;";

shoal_status shoal_cadb_open(shoal_db **out, const char *path, bool create, shoal_error *err)
{
    static const sql_schema schema = {SCHEMA, SCHEMA_VERSION};
    return sql_open(out, path, create, &schema, err);
}

shoal_status shoal_cadb_begin(shoal_db *db, shoal_error *err)
{
    return sql_begin(db, err);
}

shoal_status shoal_cadb_end(shoal_db *db, shoal_status st, shoal_error *err)
{
    return sql_end(db, st, err);
}

static shoal_status take_der(sqlite3_stmt *s, int col, shoal_wire_der *out, shoal_error *err)
{
    size_t n = (size_t)sqlite3_column_bytes(s, col);
    if (n > sizeof out->data || !sql_blob(s, col, out->data, n)) {
        return sql_damaged(err);
    }
    out->n = (uint32_t)n;
    return SHOAL_OK;
}

/* ---- invitations ------------------------------------------------------------------------------
 */

shoal_status shoal_cadb_token_add(shoal_db *db, const uint8_t hash[32], int64_t created_s,
                                  int64_t expires_s, shoal_error *err)
{
    /* Old invitations have nothing left to say; a day is kept to answer "expired". */
    SHOAL_TRY(
        sql_run(db, NULL, err, "DELETE FROM token WHERE expires_s < ?", "i", created_s - DAY_S));
    return sql_run(db, NULL, err, "INSERT INTO token(hash, created_s, expires_s) VALUES(?, ?, ?)",
                   "bii", hash, (size_t)32, created_s, expires_s);
}

typedef struct token_search {
    const uint8_t *hash;
    size_t n;
    bool found;
    shoal_cadb_token *out;
} token_search;

static shoal_status match_token(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    token_search *t = ctx;
    uint8_t hash[32];
    if (!sql_blob(s, 0, hash, sizeof hash)) {
        return sql_damaged(err);
    }
    if (!shoal_equal(hash, t->hash, t->n)) {
        return SHOAL_OK;
    }
    t->found = true;
    memcpy(t->out->hash, hash, sizeof hash);
    t->out->expires_s = sql_int(s, 1);
    t->out->used_s = sql_int(s, 2);
    if (t->out->used_s == 0) {
        return SHOAL_OK;
    }
    return sql_blob(s, 3, t->out->spki, SHOAL_SPKI_BYTES) ? take_der(s, 4, &t->out->cert, err)
                                                          : sql_damaged(err);
}

shoal_status shoal_cadb_token_get(shoal_db *db, const uint8_t *hash, size_t n,
                                  shoal_cadb_token *out, shoal_error *err)
{
    sqlite3_stmt *s;
    memset(out, 0, sizeof *out);
    token_search t = {.hash = hash, .n = n, .out = out};
    SHOAL_TRY(sql_prepare(db, &s, err,
                          "SELECT hash, expires_s, used_s, spki, cert FROM token"
                          " WHERE substr(hash, 1, 4) = ?",
                          "b", hash, (size_t)TOKEN_HEAD));
    SHOAL_TRY(sql_each(db, s, match_token, &t, err));
    return t.found ? SHOAL_OK
                   : shoal_fail(err, SHOAL_ERR_DENIED, "this invitation is not known here");
}

shoal_status shoal_cadb_token_use(shoal_db *db, const uint8_t hash[32],
                                  const uint8_t spki[SHOAL_SPKI_BYTES], const shoal_wire_der *cert,
                                  int64_t now_s, shoal_error *err)
{
    return sql_run(db, NULL, err, "UPDATE token SET used_s = ?, spki = ?, cert = ? WHERE hash = ?",
                   "ibbb", now_s, spki, (size_t)SHOAL_SPKI_BYTES, cert->data, (size_t)cert->n, hash,
                   (size_t)32);
}

/* ---- certificates -----------------------------------------------------------------------------
 */

shoal_status shoal_cadb_cert_add(shoal_db *db, const shoal_cadb_cert *c, shoal_error *err)
{
    SHOAL_TRY(sql_run(db, NULL, err, "DELETE FROM cert WHERE not_after_s < ?", "i",
                      c->issued_s - KEEP_S));
    return sql_run(db, NULL, err,
                   "INSERT INTO cert(sha256, device, root, issued_s, not_after_s, attestation, der)"
                   " VALUES(?, ?, ?, ?, ?, ?, ?)",
                   "bbbiiib", c->sha256, (size_t)32, c->device_id, (size_t)SHOAL_ID_BYTES,
                   c->root_id, (size_t)SHOAL_ID_BYTES, c->issued_s, c->not_after_s,
                   (int64_t)c->attestation, c->der.data, (size_t)c->der.n);
}

#define CERT_COLUMNS "sha256, device, root, issued_s, not_after_s, attestation, der"

static shoal_status take_cert(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    shoal_cadb_cert *c = ctx;
    c->issued_s = sql_int(s, 3);
    c->not_after_s = sql_int(s, 4);
    c->attestation = (uint32_t)sql_int(s, 5);
    bool whole = sql_blob(s, 0, c->sha256, 32) && sql_blob(s, 1, c->device_id, SHOAL_ID_BYTES) &&
                 sql_blob(s, 2, c->root_id, SHOAL_ID_BYTES);
    return whole ? take_der(s, 6, &c->der, err) : sql_damaged(err);
}

shoal_status shoal_cadb_cert_get(shoal_db *db, const uint8_t sha256[32], shoal_cadb_cert *out,
                                 shoal_error *err)
{
    sqlite3_stmt *s;
    memset(out, 0, sizeof *out);
    SHOAL_TRY(sql_prepare(db, &s, err, "SELECT " CERT_COLUMNS " FROM cert WHERE sha256 = ?", "b",
                          sha256, (size_t)32));
    return sql_one(db, s, take_cert, out, "this certificate was not issued here", err);
}

shoal_status shoal_cadb_cert_latest(shoal_db *db, const uint8_t device_id[SHOAL_ID_BYTES],
                                    int64_t since_s, shoal_cadb_cert *out, shoal_error *err)
{
    sqlite3_stmt *s;
    memset(out, 0, sizeof *out);
    SHOAL_TRY(sql_prepare(db, &s, err,
                          "SELECT " CERT_COLUMNS " FROM cert WHERE device = ? AND issued_s >= ?"
                          " ORDER BY issued_s DESC, rowid DESC LIMIT 1",
                          "bi", device_id, (size_t)SHOAL_ID_BYTES, since_s));
    return sql_one(db, s, take_cert, out, "no such certificate", err);
}

static shoal_status take_count(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    (void)err;
    *(size_t *)ctx = (size_t)sql_int(s, 0);
    return SHOAL_OK;
}

shoal_status shoal_cadb_cert_count(shoal_db *db, const uint8_t *root_id, int64_t since_s, size_t *n,
                                   shoal_error *err)
{
    sqlite3_stmt *s;
    shoal_status st =
        root_id != NULL
            ? sql_prepare(db, &s, err, "SELECT count(*) FROM cert WHERE issued_s >= ? AND root = ?",
                          "ib", since_s, root_id, (size_t)SHOAL_ID_BYTES)
            : sql_prepare(db, &s, err, "SELECT count(*) FROM cert WHERE issued_s >= ?", "i",
                          since_s);
    SHOAL_TRY(st);
    return sql_one(db, s, take_count, n, "no count", err);
}

/* ---- revocations ------------------------------------------------------------------------------
 */

shoal_status shoal_cadb_revoke(shoal_db *db, const uint8_t device_id[SHOAL_ID_BYTES], int64_t now_s,
                               shoal_error *err)
{
    return sql_run(db, NULL, err,
                   "INSERT INTO revoked(device, at_s) VALUES(?, ?) ON CONFLICT(device) DO NOTHING",
                   "bi", device_id, (size_t)SHOAL_ID_BYTES, now_s);
}

shoal_status shoal_cadb_revoked(shoal_db *db, const uint8_t device_id[SHOAL_ID_BYTES],
                                bool *revoked, shoal_error *err)
{
    sqlite3_stmt *s;
    size_t n = 0;
    SHOAL_TRY(sql_prepare(db, &s, err, "SELECT count(*) FROM revoked WHERE device = ?", "b",
                          device_id, (size_t)SHOAL_ID_BYTES));
    SHOAL_TRY(sql_one(db, s, take_count, &n, "no count", err));
    *revoked = n > 0;
    return SHOAL_OK;
}
