/* store_device.c - invitations, devices and their certificates. */
#include <string.h>

#include <sqlite3.h>

#include "aggregator/store_sql.h"

/* Tokens are found by the head of their hash and then compared in constant time, so the time an
 * answer takes does not tell how much of a guess was right. */
enum { TOKEN_HEAD = 4 };

shoal_status shoal_db_token_add(shoal_db *db, const uint8_t hash[32], int64_t created_s,
                                int64_t expires_s, shoal_error *err)
{
    /* Old invitations have nothing left to say; a day is kept to answer "expired". */
    SHOAL_TRY(sql_run(db, NULL, err, "DELETE FROM token WHERE expires_s < ?", "i",
                      created_s - 24 * 3600));
    return sql_run(db, NULL, err, "INSERT INTO token(hash, created_s, expires_s) VALUES(?, ?, ?)",
                   "bii", hash, (size_t)32, created_s, expires_s);
}

typedef struct token_row {
    const uint8_t *hash;
    bool found;
    int64_t expires_s, used_s;
} token_row;

static shoal_status match_token(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    token_row *t = ctx;
    uint8_t hash[32];
    if (!sql_blob(s, 0, hash, sizeof hash)) {
        return sql_damaged(err);
    }
    if (shoal_equal(hash, t->hash, sizeof hash)) {
        t->found = true;
        t->expires_s = sql_int(s, 1);
        t->used_s = sql_int(s, 2);
    }
    return SHOAL_OK;
}

shoal_status shoal_db_token_check(shoal_db *db, const uint8_t hash[32], int64_t now_s,
                                  shoal_error *err)
{
    sqlite3_stmt *s;
    token_row t = {.hash = hash};
    SHOAL_TRY(sql_prepare(db, &s, err,
                          "SELECT hash, expires_s, used_s FROM token WHERE substr(hash, 1, 4) = ?",
                          "b", hash, (size_t)TOKEN_HEAD));
    SHOAL_TRY(sql_each(db, s, match_token, &t, err));
    const char *why = !t.found               ? "this invitation is not known here"
                      : t.used_s != 0        ? "this invitation was used before"
                      : t.expires_s <= now_s ? "this invitation has expired"
                                             : NULL;
    if (why == NULL) {
        return SHOAL_OK;
    }
    shoal_status st = shoal_fail(err, SHOAL_ERR_DENIED, "%s", why);
    shoal_hint(err, "ask for a new one: shoal-aggregator invite");
    return st;
}

static shoal_status insert_cert(shoal_db *db, const shoal_db_cert *cert, int64_t now_s,
                                shoal_error *err)
{
    return sql_run(db, NULL, err,
                   "INSERT INTO cert(sha256, device, issued_s, not_after_s) VALUES(?, ?, ?, ?)",
                   "bbii", cert->sha256, (size_t)32, cert->device_id, (size_t)SHOAL_ID_BYTES, now_s,
                   cert->not_after_s);
}

static shoal_status enrol(shoal_db *db, const uint8_t token_hash[32], const shoal_db_cert *cert,
                          const char *software, int64_t now_s, shoal_error *err)
{
    SHOAL_TRY(shoal_db_token_check(db, token_hash, now_s, err));
    SHOAL_TRY(sql_run(db, NULL, err, "UPDATE token SET used_s = ?, device = ? WHERE hash = ?",
                      "ibb", now_s, cert->device_id, (size_t)SHOAL_ID_BYTES, token_hash,
                      (size_t)32));
    /* The same key may come with a second invitation; it stays revoked if it was. */
    SHOAL_TRY(sql_run(db, NULL, err,
                      "INSERT INTO device(id, software, enrolled_s) VALUES(?, ?, ?)"
                      " ON CONFLICT(id) DO UPDATE SET software = excluded.software",
                      "bti", cert->device_id, (size_t)SHOAL_ID_BYTES, software, now_s));
    return insert_cert(db, cert, now_s, err);
}

shoal_status shoal_db_enrol(shoal_db *db, const uint8_t token_hash[32], const shoal_db_cert *cert,
                            const char *software, int64_t now_s, shoal_error *err)
{
    SHOAL_TRY(sql_begin(db, err));
    return sql_end(db, enrol(db, token_hash, cert, software, now_s, err), err);
}

shoal_status shoal_db_cert_add(shoal_db *db, const shoal_db_cert *cert, int64_t now_s,
                               shoal_error *err)
{
    return insert_cert(db, cert, now_s, err);
}

static shoal_status rotate(shoal_db *db, const uint8_t *old_id, const shoal_db_cert *cert,
                           int64_t now_s, shoal_error *err)
{
    int changed = 0;
    SHOAL_TRY(sql_run(db, &changed, err,
                      "INSERT INTO device(id, software, enrolled_s) SELECT ?, software, ? FROM"
                      " device WHERE id = ? AND revoked_s = 0",
                      "bib", cert->device_id, (size_t)SHOAL_ID_BYTES, now_s, old_id,
                      (size_t)SHOAL_ID_BYTES));
    if (changed != 1) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "this device was revoked");
    }
    SHOAL_TRY(shoal_db_device_revoke(db, old_id, now_s, err));
    return insert_cert(db, cert, now_s, err);
}

shoal_status shoal_db_rotate(shoal_db *db, const uint8_t old_id[SHOAL_ID_BYTES],
                             const shoal_db_cert *cert, int64_t now_s, shoal_error *err)
{
    SHOAL_TRY(sql_begin(db, err));
    return sql_end(db, rotate(db, old_id, cert, now_s, err), err);
}

typedef struct auth_row {
    uint8_t *id;
    int64_t not_after_s, revoked_s;
} auth_row;

static shoal_status take_auth(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    auth_row *a = ctx;
    a->not_after_s = sql_int(s, 1);
    a->revoked_s = sql_int(s, 2);
    return sql_blob(s, 0, a->id, SHOAL_ID_BYTES) ? SHOAL_OK : sql_damaged(err);
}

shoal_status shoal_db_authorise(shoal_db *db, const uint8_t cert_sha256[32], int64_t now_s,
                                uint8_t device_id[SHOAL_ID_BYTES], shoal_error *err)
{
    sqlite3_stmt *s;
    auth_row a = {.id = device_id};
    memset(device_id, 0, SHOAL_ID_BYTES);
    SHOAL_TRY(sql_prepare(db, &s, err,
                          "SELECT d.id, c.not_after_s, d.revoked_s FROM cert c"
                          " JOIN device d ON d.id = c.device WHERE c.sha256 = ?",
                          "b", cert_sha256, (size_t)32));
    shoal_status st = sql_one(db, s, take_auth, &a, "this certificate was not issued here", err);
    if (st == SHOAL_ERR_NOT_FOUND) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "this certificate was not issued here");
    }
    SHOAL_TRY(st);
    if (a.revoked_s != 0) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "this device was revoked");
    }
    if (a.not_after_s < now_s) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "this certificate has expired");
    }
    return SHOAL_OK;
}

shoal_status shoal_db_device_seen(shoal_db *db, const uint8_t id[SHOAL_ID_BYTES], int64_t now_s,
                                  shoal_error *err)
{
    /* To the minute: a device that polls every second need not cost a sync every second. */
    return sql_run(db, NULL, err,
                   "UPDATE device SET last_seen_s = ? WHERE id = ? AND last_seen_s < ?", "ibi",
                   now_s, id, (size_t)SHOAL_ID_BYTES, now_s - 59);
}

shoal_status shoal_db_device_revoke(shoal_db *db, const uint8_t id[SHOAL_ID_BYTES], int64_t now_s,
                                    shoal_error *err)
{
    int changed = 0;
    SHOAL_TRY(sql_run(db, &changed, err,
                      "UPDATE device SET revoked_s = ? WHERE id = ? AND revoked_s = 0", "ib", now_s,
                      id, (size_t)SHOAL_ID_BYTES));
    if (changed == 0) {
        shoal_status st =
            shoal_fail(err, SHOAL_ERR_NOT_FOUND, "no such device, or it was revoked before");
        shoal_hint(err, "`shoal-aggregator device list` shows all ids");
        return st;
    }
    return SHOAL_OK;
}

typedef struct device_each {
    void (*each)(void *ctx, const shoal_db_device *d);
    void *ctx;
} device_each;

static shoal_status take_device(void *ctx, sqlite3_stmt *s, shoal_error *err)
{
    const device_each *e = ctx;
    shoal_db_device d = {.enrolled_s = sql_int(s, 2),
                         .last_seen_s = sql_int(s, 3),
                         .revoked_s = sql_int(s, 4),
                         .cert_until_s = sql_int(s, 5),
                         .rounds = (uint64_t)sql_int(s, 6)};
    sql_text(s, 1, d.software, sizeof d.software);
    if (!sql_blob(s, 0, d.id, sizeof d.id)) {
        return sql_damaged(err);
    }
    e->each(e->ctx, &d);
    return SHOAL_OK;
}

shoal_status shoal_db_devices(shoal_db *db, void (*each)(void *ctx, const shoal_db_device *d),
                              void *ctx, shoal_error *err)
{
    sqlite3_stmt *s;
    device_each e = {each, ctx};
    SHOAL_TRY(sql_prepare(
        db, &s, err,
        "SELECT id, software, enrolled_s, last_seen_s, revoked_s,"
        " (SELECT coalesce(max(not_after_s), 0) FROM cert WHERE device = id),"
        " (SELECT count(*) FROM member m JOIN round r ON r.task = m.task AND r.round = m.round"
        "  WHERE m.device = id AND m.uploaded = 1 AND r.state = 2)"
        " FROM device ORDER BY enrolled_s, id",
        ""));
    return sql_each(db, s, take_device, &e, err);
}
