/* ca_files.c - DIR/ca: made, opened, read again, rotated; invitations and revocations. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aggregator/audit.h"
#include "aggregator/ca_internal.h"
#include "aggregator/key_file.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "proto/x509.h"

enum { DAY_S = 24 * 3600 };

static const int64_t CA_LIFE_S = (int64_t)3650 * DAY_S;

static shoal_status ca_path(const char *dir, const char *name, char out[SHOAL_DIR_PATH],
                            shoal_error *err)
{
    char ca[SHOAL_DIR_PATH];
    SHOAL_TRY(shoal_dir_path(dir, "ca", ca, err));
    return name == NULL ? shoal_dir_path(dir, "ca", out, err) : shoal_dir_path(ca, name, out, err);
}

/* ---- making -----------------------------------------------------------------------------------
 */

/* A self-signed certificate of `key` that names `next` as its successor, in front of `before`. */
static shoal_status make_bundle(const shoal_key *key, const shoal_key *next, uint32_t generation,
                                int64_t now_s, const void *before, size_t before_n, shoal_buf *out,
                                shoal_error *err)
{
    uint8_t spki[SHOAL_SPKI_BYTES];
    uint8_t next_id[SHOAL_ID_BYTES];
    char name[SHOAL_CA_NAME];
    shoal_key_spki(next, spki);
    SHOAL_TRY(shoal_spki_id(spki, next_id, err));
    shoal_ca_name(generation, next_id, name);
    SHOAL_TRY(
        shoal_ca_create(key, name, now_s - SHOAL_CA_BACKDATE_S, now_s + CA_LIFE_S, NULL, out, err));
    (void)shoal_buf_put(out, before, before_n);
    return shoal_buf_status(out, err);
}

static shoal_status save_settings(const char *ca_dir, const shoal_ca_settings *settings,
                                  shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(shoal_dir_path(ca_dir, "ca.yaml", path, err));
    shoal_buf text = shoal_buf_init(65536);
    shoal_status st = shoal_ca_settings_write(settings, &text, err);
    if (st == SHOAL_OK) {
        st = shoal_file_write_atomic(path, text.data, text.len, 0600, err);
    }
    shoal_buf_clear(&text);
    return st;
}

static shoal_status make_keys(const char *ca_dir, int64_t now_s, shoal_error *err)
{
    shoal_key *key = NULL;
    shoal_key *next = NULL;
    shoal_buf bundle = shoal_buf_init(SHOAL_LIMIT_CERT);
    shoal_status st = shoal_key_generate(&key, err);
    if (st == SHOAL_OK) st = shoal_key_generate(&next, err);
    if (st == SHOAL_OK) st = make_bundle(key, next, 1, now_s, "", 0, &bundle, err);
    if (st == SHOAL_OK) st = shoal_key_file_save(ca_dir, "ca.key", key, err);
    if (st == SHOAL_OK) st = shoal_key_file_save(ca_dir, "next.key", next, err);
    if (st == SHOAL_OK) st = shoal_cert_file_save(ca_dir, "ca.crt", &bundle, err);
    shoal_buf_clear(&bundle);
    shoal_key_close(key);
    shoal_key_close(next);
    return st;
}

static shoal_status make_facts(shoal_db *db, const uint8_t server_spki[SHOAL_SPKI_BYTES],
                               shoal_error *err)
{
    char hex[2 * SHOAL_SPKI_BYTES + 1];
    uint8_t secret[32];
    shoal_hex_encode(server_spki, SHOAL_SPKI_BYTES, hex);
    SHOAL_TRY(shoal_db_fact_set(db, "server_spki", hex, err));
    SHOAL_TRY(shoal_random(secret, sizeof secret, err));
    shoal_hex_encode(secret, sizeof secret, hex);
    shoal_status st = shoal_db_fact_set(db, "nonce_key", hex, err);
    shoal_wipe(secret, sizeof secret);
    shoal_wipe(hex, sizeof hex);
    return st;
}

static shoal_status make_db(const char *ca_dir, const uint8_t server_spki[SHOAL_SPKI_BYTES],
                            shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    shoal_db *db = NULL;
    SHOAL_TRY(shoal_dir_path(ca_dir, "ca.db", path, err));
    SHOAL_TRY(shoal_cadb_open(&db, path, true, err));
    shoal_status st = make_facts(db, server_spki, err);
    shoal_db_close(db);
    return st;
}

shoal_status shoal_ca_make(const char *dir, const shoal_ca_settings *settings,
                           const uint8_t server_spki[SHOAL_SPKI_BYTES], int64_t now_s,
                           shoal_error *err)
{
    char ca_dir[SHOAL_DIR_PATH];
    char log[SHOAL_DIR_PATH];
    SHOAL_TRY(ca_path(dir, NULL, ca_dir, err));
    SHOAL_TRY(ca_path(dir, "audit.log", log, err));
    if (mkdir(ca_dir, 0700) != 0 && errno != EEXIST) {
        return shoal_fail_errno(err, errno, "cannot make the directory %s", ca_dir);
    }
    SHOAL_TRY(make_keys(ca_dir, now_s, err));
    SHOAL_TRY(make_db(ca_dir, server_spki, err));
    SHOAL_TRY(save_settings(ca_dir, settings, err));
    return shoal_audit_append(log, now_s, "ca.made", NULL, err);
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static int64_t written_at_ns(const char *dir, const char *name)
{
    char path[SHOAL_DIR_PATH];
    struct stat s;
    if (shoal_dir_path(dir, name, path, NULL) != SHOAL_OK || stat(path, &s) != 0) {
        return -1;
    }
    return (int64_t)s.st_mtim.tv_sec * 1000000000 + s.st_mtim.tv_nsec;
}

/* The key must be the one the newest certificate is for: `rotate` replaces two files. */
static shoal_status load_keys(shoal_ca *ca, shoal_error *err)
{
    shoal_key *key = NULL;
    shoal_buf bundle = shoal_buf_init(0);
    shoal_ca_info info;
    uint8_t spki[SHOAL_SPKI_BYTES];
    int64_t at = written_at_ns(ca->dir, "ca.crt");
    shoal_status st = shoal_key_file_load(ca->dir, "ca.key", &key, err);
    if (st == SHOAL_OK) st = shoal_cert_file_load(ca->dir, "ca.crt", &bundle, err);
    if (st == SHOAL_OK) st = shoal_ca_read(bundle.data, bundle.len, 0, &info, err);
    if (st == SHOAL_OK) {
        shoal_key_spki(key, spki);
        if (memcmp(spki, info.spki, sizeof spki) != 0) {
            st = shoal_fail(err, SHOAL_ERR_STATE, "ca.key and ca.crt in %s do not belong together",
                            ca->dir);
            shoal_hint(err, "`shoal-aggregator ca rotate` finishes a rotation that was cut short");
        }
    }
    if (st != SHOAL_OK) {
        shoal_key_close(key);
        shoal_buf_clear(&bundle);
        return st;
    }
    shoal_key_close(ca->key);
    shoal_buf_clear(&ca->bundle);
    ca->key = key;
    ca->bundle = bundle;
    ca->bundle_at_ns = at;
    return SHOAL_OK;
}

shoal_status shoal_ca_reload(shoal_ca *ca, shoal_error *err)
{
    if (written_at_ns(ca->dir, "ca.crt") == ca->bundle_at_ns || load_keys(ca, NULL) == SHOAL_OK) {
        return SHOAL_OK;
    }
    return shoal_fail(err, SHOAL_ERR_AGAIN, "the CA is being changed"); /* between two files */
}

static shoal_status open_all(shoal_ca *ca, const char *dir, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    char hex[2 * sizeof ca->nonce_key + 1];
    SHOAL_TRY(ca_path(dir, NULL, ca->dir, err));
    SHOAL_TRY(ca_path(dir, "audit.log", ca->audit_path, err));
    SHOAL_TRY(shoal_ca_settings_load(&ca->settings, ca->dir, err));
    SHOAL_TRY(load_keys(ca, err));
    SHOAL_TRY(ca_path(dir, "ca.db", path, err));
    SHOAL_TRY(shoal_cadb_open(&ca->db, path, false, err));
    SHOAL_TRY(shoal_db_fact_get(ca->db, "nonce_key", hex, sizeof hex, err));
    bool whole = shoal_hex_decode(hex, ca->nonce_key, sizeof ca->nonce_key);
    shoal_wipe(hex, sizeof hex);
    if (!whole) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "the CA's database is damaged");
    }
    return ca_load_policy(ca, err);
}

shoal_status shoal_ca_open(shoal_ca **out, const char *dir, shoal_error *err)
{
    *out = NULL;
    shoal_ca *ca = shoal_calloc(1, sizeof *ca);
    if (ca == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for the CA");
    }
    shoal_status st = open_all(ca, dir, err);
    if (st != SHOAL_OK) {
        shoal_ca_close(ca);
        return st;
    }
    *out = ca;
    return SHOAL_OK;
}

void shoal_ca_close(shoal_ca *ca)
{
    if (ca == NULL) {
        return;
    }
    shoal_key_close(ca->key);
    shoal_buf_clear(&ca->bundle);
    shoal_buf_clear(&ca->attest_keys);
    shoal_db_close(ca->db);
    shoal_free(ca->serials);
    shoal_wipe(ca, sizeof *ca);
    shoal_free(ca);
}

/* ---- invitations and revocations --------------------------------------------------------------
 */

static shoal_status open_db(const char *dir, shoal_db **db, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(ca_path(dir, "ca.db", path, err));
    shoal_status st = shoal_cadb_open(db, path, false, err);
    if (st != SHOAL_OK) {
        shoal_hint(err, "the CA's directory is for its own user and for root: sudo helps");
    }
    return st;
}

static shoal_status add_token(shoal_db *db, const char *log, const uint8_t hash[32], int64_t now_s,
                              int64_t ttl_s, shoal_error *err)
{
    const shoal_audit_field fields[] = {
        {.name = "token_id", .hex = hash, .hex_n = SHOAL_TOKEN_BYTES},
        {.name = "until", .number = (uint64_t)(now_s + ttl_s)},
        {0}};
    SHOAL_TRY(shoal_cadb_token_add(db, hash, now_s, now_s + ttl_s, err));
    return shoal_audit_append(log, now_s, "device.invited", fields, err);
}

shoal_status shoal_ca_invite(const char *dir, int64_t now_s, int64_t ttl_s,
                             uint8_t token[SHOAL_TOKEN_BYTES], shoal_error *err)
{
    uint8_t hash[32];
    char log[SHOAL_DIR_PATH];
    shoal_db *db = NULL;
    SHOAL_TRY(ca_path(dir, "audit.log", log, err));
    SHOAL_TRY(shoal_random(token, SHOAL_TOKEN_BYTES, err));
    SHOAL_TRY(shoal_token_hash(token, hash, err));
    SHOAL_TRY(open_db(dir, &db, err));
    shoal_status st = shoal_cadb_begin(db, err);
    if (st == SHOAL_OK) {
        st = shoal_cadb_end(db, add_token(db, log, hash, now_s, ttl_s, err), err);
    }
    shoal_db_close(db);
    return st;
}

static shoal_status revoke(shoal_db *db, const char *log, const uint8_t id[SHOAL_ID_BYTES],
                           int64_t now_s, shoal_error *err)
{
    const shoal_audit_field fields[] = {{.name = "device", .hex = id, .hex_n = SHOAL_ID_BYTES},
                                        {0}};
    SHOAL_TRY(shoal_cadb_revoke(db, id, now_s, err));
    return shoal_audit_append(log, now_s, "device.revoked", fields, err);
}

shoal_status shoal_ca_revoke(const char *dir, const uint8_t id[SHOAL_ID_BYTES], int64_t now_s,
                             shoal_error *err)
{
    char log[SHOAL_DIR_PATH];
    shoal_db *db = NULL;
    SHOAL_TRY(ca_path(dir, "audit.log", log, err));
    SHOAL_TRY(open_db(dir, &db, err));
    shoal_status st = shoal_cadb_begin(db, err);
    if (st == SHOAL_OK) {
        st = shoal_cadb_end(db, revoke(db, log, id, now_s, err), err);
    }
    shoal_db_close(db);
    return st;
}

/* ---- rotation ---------------------------------------------------------------------------------
 *
 * Order: the audit entry; ca.crt; ca.key; next.key. A crash behind ca.crt leaves a key that is not
 * the certificate's: the CA then refuses to start, and a second `rotate` sees that next.key is the
 * certificate's key and does the rest. The key after next is made before anything is written.
 */

typedef struct rotation {
    char dir[SHOAL_DIR_PATH];
    shoal_key *next, *after; /* signs from now on; named as its successor */
    shoal_buf old, fresh;
} rotation;

/* The newest certificate of the bundle that is there. */
static shoal_status read_newest(rotation *r, shoal_ca_info *info, shoal_error *err)
{
    SHOAL_TRY(shoal_cert_file_load(r->dir, "ca.crt", &r->old, err));
    return shoal_ca_read(r->old.data, r->old.len, 0, info, err);
}

/* after.key holds the successor of a rotation that was cut short, or a new one. */
static shoal_status load_after(rotation *r, shoal_error *err)
{
    shoal_status st = shoal_key_file_load(r->dir, "after.key", &r->after, err);
    if (st != SHOAL_ERR_NOT_FOUND) {
        return st;
    }
    SHOAL_TRY(shoal_key_generate(&r->after, err));
    return shoal_key_file_save(r->dir, "after.key", r->after, err);
}

static shoal_status remove_after(const rotation *r, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(shoal_dir_path(r->dir, "after.key", path, err));
    return unlink(path) == 0 || errno == ENOENT
               ? SHOAL_OK
               : shoal_fail_errno(err, errno, "cannot remove %s", path);
}

static shoal_status finish(rotation *r, shoal_error *err)
{
    SHOAL_TRY(shoal_key_file_save(r->dir, "ca.key", r->next, err));
    SHOAL_TRY(shoal_key_file_save(r->dir, "next.key", r->after, err));
    return remove_after(r, err);
}

static shoal_status switch_over(rotation *r, const shoal_ca_info *was, int64_t now_s,
                                shoal_error *err)
{
    char log[SHOAL_DIR_PATH];
    uint8_t spki[SHOAL_SPKI_BYTES];
    uint8_t id[SHOAL_ID_BYTES];
    shoal_key_spki(r->next, spki);
    SHOAL_TRY(shoal_spki_id(spki, id, err));
    if (memcmp(id, was->next_id, sizeof id) != 0) {
        shoal_status st = shoal_fail(err, SHOAL_ERR_TAMPERED,
                                     "next.key is not the key that ca.crt names as its successor");
        shoal_hint(err, "devices would not follow; put the right next.key back");
        return st;
    }
    SHOAL_TRY(make_bundle(r->next, r->after, was->generation + 1, now_s, r->old.data, was->size,
                          &r->fresh, err));
    const shoal_audit_field fields[] = {{.name = "generation", .number = was->generation + 1u},
                                        {.name = "key", .hex = id, .hex_n = sizeof id},
                                        {0}};
    SHOAL_TRY(shoal_dir_path(r->dir, "audit.log", log, err));
    SHOAL_TRY(shoal_audit_append(log, now_s, "ca.rotated", fields, err));
    return shoal_cert_file_save(r->dir, "ca.crt", &r->fresh, err);
}

/* The bundle holds two certificates: what the third but last signed would be worth nothing. */
static shoal_status refuse_early(const shoal_ca_info *was, int64_t now_s, bool force,
                                 shoal_error *err)
{
    int64_t from = was->not_before_s + SHOAL_CA_BACKDATE_S + SHOAL_LIMIT_CERT_S;
    if (force || was->generation <= 1 || now_s >= from) {
        return SHOAL_OK;
    }
    shoal_status st = shoal_fail(err, SHOAL_ERR_STATE,
                                 "the CA was rotated less than seven days ago: devices that have "
                                 "not renewed since would be locked out");
    shoal_hint(err, "wait, or rotate with --force: they then have to join again");
    return st;
}

static shoal_status rotate(rotation *r, int64_t now_s, bool force, shoal_error *err)
{
    shoal_ca_info was;
    uint8_t spki[SHOAL_SPKI_BYTES];
    uint8_t after[SHOAL_SPKI_BYTES];
    SHOAL_TRY(read_newest(r, &was, err));
    SHOAL_TRY(shoal_key_file_load(r->dir, "next.key", &r->next, err));
    SHOAL_TRY(load_after(r, err));
    shoal_key_spki(r->next, spki);
    shoal_key_spki(r->after, after);
    if (memcmp(spki, after, sizeof spki) == 0) { /* done but for the last file */
        return remove_after(r, err);
    }
    if (memcmp(spki, was.spki, sizeof spki) != 0) { /* not half done */
        SHOAL_TRY(refuse_early(&was, now_s, force, err));
        SHOAL_TRY(switch_over(r, &was, now_s, err));
    }
    return finish(r, err);
}

shoal_status shoal_ca_rotate(const char *dir, int64_t now_s, bool force, shoal_error *err)
{
    rotation r = {.old = shoal_buf_init(0), .fresh = shoal_buf_init(SHOAL_LIMIT_CERT)};
    SHOAL_TRY(ca_path(dir, NULL, r.dir, err));
    shoal_status st = rotate(&r, now_s, force, err);
    shoal_key_close(r.next);
    shoal_key_close(r.after);
    shoal_buf_clear(&r.old);
    shoal_buf_clear(&r.fresh);
    return st;
}
