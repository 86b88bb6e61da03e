/* taskstate.c - per-task records and the finished update. */
#include "client/taskstate.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/record.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"

/* ---- the record -------------------------------------------------------------------------------
 */

static shoal_status state_path(const shoal_store *s, const char *dir, const char *file,
                               char out[SHOAL_PATH_MAX], shoal_error *err)
{
    return shoal_store_path(s, out, err, "tasks/%s/%s", dir, file);
}

static shoal_status load_dir(shoal_task_record *r, const shoal_store *s, const char *dir,
                             shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    shoal_record f;
    memset(r, 0, sizeof *r);
    (void)snprintf(r->dir, sizeof r->dir, "%s", dir);
    SHOAL_TRY(state_path(s, dir, "state", path, err));
    SHOAL_TRY(shoal_record_load(&f, path, err));
    SHOAL_TRY(shoal_record_get_hex(&f, "task_id", r->task_id, sizeof r->task_id, err));
    SHOAL_TRY(shoal_record_get_str(&f, "name", r->name, sizeof r->name, err));
    SHOAL_TRY(shoal_record_get_u64(&f, "last_round", &r->last_round, err));
    SHOAL_TRY(shoal_record_get_u64(&f, "input_round", &r->input_round, err));
    SHOAL_TRY(shoal_record_get_u64(&f, "rounds_completed", &r->rounds_completed, err));
    SHOAL_TRY(shoal_record_get_u64(&f, "version", &r->version, err));
    SHOAL_TRY(shoal_record_get_hex(&f, "adapter_sha256", r->adapter_sha256, 32, err));
    SHOAL_TRY(shoal_record_get_u64(&f, "samples", &r->samples, err));
    if (shoal_record_get(&f, "inputs") != NULL) { /* younger than the rest */
        SHOAL_TRY(shoal_record_get_u64(&f, "inputs", &r->inputs, err));
        SHOAL_TRY(shoal_record_get_u64(&f, "min_cohort", &r->cohort_min, err));
    }
    return shoal_record_get_u64(&f, "tokens", &r->tokens, err);
}

/* True when `dir` is free or belongs to this task; *st is then OK or NOT_FOUND. */
static bool try_dir(shoal_task_record *r, const shoal_store *s, const char *dir,
                    const uint8_t task_id[16], shoal_status *st, shoal_error *err)
{
    *st = load_dir(r, s, dir, err);
    if (*st == SHOAL_OK) return memcmp(r->task_id, task_id, sizeof r->task_id) == 0;
    return true; /* free, or damaged: then the caller reports it */
}

shoal_status shoal_task_record_open(shoal_task_record *r, const shoal_store *s, const char *name,
                                    const uint8_t task_id[16], shoal_error *err)
{
    char hex[33];
    char dir[SHOAL_TASK_DIR];
    char path[SHOAL_PATH_MAX];
    shoal_status st;
    shoal_hex_encode(task_id, 16, hex);
    const char *base = shoal_store_name_ok(name) ? name : "task";
    (void)snprintf(dir, sizeof dir, "%s", base);
    if (!try_dir(r, s, dir, task_id, &st, err)) {
        (void)snprintf(dir, sizeof dir, "%.48s.%.8s", base, hex);
        if (!try_dir(r, s, dir, task_id, &st, err)) {
            return shoal_fail(err, SHOAL_ERR_STATE, "tasks/%s belongs to another task", dir);
        }
    }
    if (st != SHOAL_ERR_NOT_FOUND) return st;
    memset(r, 0, sizeof *r);
    memcpy(r->task_id, task_id, sizeof r->task_id);
    (void)snprintf(r->name, sizeof r->name, "%s", base);
    (void)snprintf(r->dir, sizeof r->dir, "%s", dir);
    SHOAL_TRY(shoal_store_path(s, path, err, "tasks/%s", dir));
    return shoal_store_mkdir(path, err);
}

shoal_status shoal_task_record_save(const shoal_task_record *r, const shoal_store *s,
                                    shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    shoal_record f = {0};
    SHOAL_TRY(state_path(s, r->dir, "state", path, err));
    SHOAL_TRY(shoal_record_put_hex(&f, "task_id", r->task_id, sizeof r->task_id, err));
    SHOAL_TRY(shoal_record_put(&f, "name", r->name, err));
    SHOAL_TRY(shoal_record_put_u64(&f, "last_round", r->last_round, err));
    SHOAL_TRY(shoal_record_put_u64(&f, "input_round", r->input_round, err));
    SHOAL_TRY(shoal_record_put_u64(&f, "rounds_completed", r->rounds_completed, err));
    SHOAL_TRY(shoal_record_put_u64(&f, "version", r->version, err));
    SHOAL_TRY(shoal_record_put_hex(&f, "adapter_sha256", r->adapter_sha256, 32, err));
    SHOAL_TRY(shoal_record_put_u64(&f, "samples", r->samples, err));
    SHOAL_TRY(shoal_record_put_u64(&f, "inputs", r->inputs, err));
    SHOAL_TRY(shoal_record_put_u64(&f, "min_cohort", r->cohort_min, err));
    SHOAL_TRY(shoal_record_put_u64(&f, "tokens", r->tokens, err));
    return shoal_record_save(&f, path, err);
}

shoal_status shoal_task_record_each(const shoal_store *s, shoal_task_record_fn *fn, void *ctx,
                                    shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    SHOAL_TRY(shoal_store_path(s, path, err, "tasks"));
    DIR *d = opendir(path);
    if (d == NULL) return shoal_fail_errno(err, errno, "cannot read %s", path);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        shoal_task_record r;
        if (e->d_name[0] == '.' || strlen(e->d_name) >= sizeof r.dir) continue;
        if (load_dir(&r, s, e->d_name, NULL) == SHOAL_OK) fn(ctx, &r);
    }
    (void)closedir(d);
    return SHOAL_OK;
}

/* ---- the update -------------------------------------------------------------------------------
 */

/* "SHOALUPD" u32 version, adapter_sha256[32], u64 version, u64 number, u32 weight, f64 loss_first,
 * f64 loss_last, u64 tokens, u64 n, f32 delta[n], SHA-256 of everything before; little-endian. */
static const char MAGIC[8] = "SHOALUPD";
enum { FORMAT_VERSION = 2, HEADER_BYTES = 8 + 4 + 32 + 8 + 8 + 4 + 8 + 8 + 8 + 8, HASH_BYTES = 32 };

void shoal_update_clear(shoal_update *u)
{
    if (u->delta != NULL) shoal_wipe(u->delta, u->n * sizeof *u->delta);
    shoal_free(u->delta);
    memset(u, 0, sizeof *u);
}

static uint64_t bits_of(double v)
{
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    return u;
}

static double double_of(uint64_t u)
{
    double v;
    memcpy(&v, &u, sizeof v);
    return v;
}

static shoal_status encode_update(const shoal_update *u, shoal_buf *b, shoal_error *err)
{
    uint8_t hash[HASH_BYTES];
    (void)shoal_buf_put(b, MAGIC, sizeof MAGIC);
    (void)shoal_buf_put_u32(b, FORMAT_VERSION);
    (void)shoal_buf_put(b, u->adapter_sha256, 32);
    (void)shoal_buf_put_u64(b, u->version);
    (void)shoal_buf_put_u64(b, u->number);
    (void)shoal_buf_put_u32(b, u->weight);
    (void)shoal_buf_put_u64(b, bits_of(u->loss_first));
    (void)shoal_buf_put_u64(b, bits_of(u->loss_last));
    (void)shoal_buf_put_u64(b, u->tokens);
    (void)shoal_buf_put_u64(b, u->n);
    for (size_t i = 0; i < u->n; i++) {
        uint32_t w;
        memcpy(&w, &u->delta[i], sizeof w);
        (void)shoal_buf_put_u32(b, w);
    }
    SHOAL_TRY(shoal_buf_status(b, err));
    SHOAL_TRY(shoal_sha256(b->data, b->len, hash, err));
    (void)shoal_buf_put(b, hash, sizeof hash);
    return shoal_buf_status(b, err);
}

shoal_status shoal_update_save(const shoal_update *u, const shoal_task_record *r,
                               const shoal_store *s, shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    SHOAL_TRY(state_path(s, r->dir, "update", path, err));
    shoal_buf b = shoal_buf_init(HEADER_BYTES + (size_t)SHOAL_LIMIT_DIM * 4 + HASH_BYTES);
    shoal_status st = encode_update(u, &b, err);
    if (st == SHOAL_OK) st = shoal_file_write_atomic(path, b.data, b.len, 0600, err);
    shoal_buf_wipe(&b);
    return st;
}

/* The header and the floats; the hash has been checked. */
static shoal_status decode_update(shoal_update *u, const shoal_buf *b, shoal_error *err)
{
    char magic[sizeof MAGIC];
    shoal_cursor c = shoal_cursor_init(b->data, b->len - HASH_BYTES);
    (void)shoal_cursor_copy(&c, magic, sizeof magic);
    uint32_t version = shoal_cursor_u32(&c);
    (void)shoal_cursor_copy(&c, u->adapter_sha256, 32);
    u->version = shoal_cursor_u64(&c);
    u->number = shoal_cursor_u64(&c);
    u->weight = shoal_cursor_u32(&c);
    u->loss_first = double_of(shoal_cursor_u64(&c));
    u->loss_last = double_of(shoal_cursor_u64(&c));
    u->tokens = shoal_cursor_u64(&c);
    uint64_t n = shoal_cursor_u64(&c);
    if (c.failed || memcmp(magic, MAGIC, sizeof magic) != 0 || version != FORMAT_VERSION ||
        n > SHOAL_LIMIT_DIM || c.left != n * sizeof(float)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "the saved update is damaged");
    }
    u->n = (size_t)n;
    u->delta = shoal_calloc(u->n, sizeof *u->delta);
    if (u->delta == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "memory is out");
    for (size_t i = 0; i < u->n; i++) {
        uint32_t w = shoal_cursor_u32(&c);
        memcpy(&u->delta[i], &w, sizeof w);
    }
    return SHOAL_OK;
}

shoal_status shoal_update_load(shoal_update *u, const shoal_task_record *r, const shoal_store *s,
                               shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    uint8_t hash[HASH_BYTES];
    shoal_buf b;
    memset(u, 0, sizeof *u);
    SHOAL_TRY(state_path(s, r->dir, "update", path, err));
    SHOAL_TRY(
        shoal_file_read(path, HEADER_BYTES + (size_t)SHOAL_LIMIT_DIM * 4 + HASH_BYTES, &b, err));
    shoal_status st = SHOAL_OK;
    if (b.len < HEADER_BYTES + HASH_BYTES) {
        st = shoal_fail(err, SHOAL_ERR_FORMAT, "the saved update is damaged");
    }
    if (st == SHOAL_OK) st = shoal_sha256(b.data, b.len - HASH_BYTES, hash, err);
    if (st == SHOAL_OK && !shoal_equal(hash, b.data + b.len - HASH_BYTES, HASH_BYTES)) {
        st = shoal_fail(err, SHOAL_ERR_FORMAT, "the saved update is damaged");
    }
    if (st == SHOAL_OK) st = decode_update(u, &b, err);
    shoal_buf_wipe(&b);
    if (st != SHOAL_OK) shoal_update_clear(u);
    return st;
}

void shoal_update_remove(const shoal_task_record *r, const shoal_store *s)
{
    char path[SHOAL_PATH_MAX];
    if (state_path(s, r->dir, "update", path, NULL) == SHOAL_OK) (void)unlink(path);
}
