/* download.c - parts of files, and what to do with them once they are whole. */
#include "client/download.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "proto/crypto.h"
#include "proto/delta.h"
#include "proto/limits.h"

enum { NAME_HEX = 16, PATH_BYTES = 192 };

typedef struct transfer {
    const shoal_download *d;
    char path[PATH_BYTES];     /* on the server */
    char part[SHOAL_PATH_MAX]; /* on this device */
    shoal_buf got;
    size_t resumed; /* bytes of it from an earlier attempt */
    int fd;
} transfer;

/* ---- the file on disk -------------------------------------------------------------------------
 */

static void name_of(const shoal_adapter_release *r, char out[NAME_HEX + 1])
{
    char hex[65];
    shoal_hex_encode(r->sha256, 32, hex);
    memcpy(out, hex, NAME_HEX);
    out[NAME_HEX] = '\0';
}

/* Parts of versions that nobody waits for any more. */
static void remove_stale(const shoal_download *d, const char *dir)
{
    char keep[NAME_HEX + 1], path[SHOAL_PATH_MAX];
    name_of(d->release, keep);
    DIR *list = opendir(dir);
    if (list == NULL) return;
    for (struct dirent *e = readdir(list); e != NULL; e = readdir(list)) {
        size_t n = strlen(e->d_name);
        bool part = n > 5 && strcmp(e->d_name + n - 5, ".part") == 0;
        if (part && strncmp(e->d_name, keep, NAME_HEX) != 0 &&
            snprintf(path, sizeof path, "%s/%s", dir, e->d_name) < (int)sizeof path) {
            (void)unlink(path);
        }
    }
    (void)closedir(list);
}

/* Opens the part and reads what is there; more than `max` bytes cannot be right. */
static shoal_status open_transfer(transfer *t, const shoal_download *d, const char *suffix,
                                  size_t max, shoal_error *err)
{
    char dir[SHOAL_PATH_MAX], name[NAME_HEX + 1];
    t->d = d;
    t->fd = -1;
    t->got = shoal_buf_init(max);
    name_of(d->release, name);
    SHOAL_TRY(shoal_store_path(d->store, dir, err, "adapters/%s", d->dir));
    SHOAL_TRY(shoal_store_mkdir(dir, err));
    SHOAL_TRY(
        shoal_store_path(d->store, t->part, err, "adapters/%s/%s%s.part", d->dir, name, suffix));
    remove_stale(d, dir);
    shoal_buf old;
    if (shoal_file_read(t->part, max, &old, NULL) == SHOAL_OK) {
        (void)shoal_buf_put(&t->got, old.data, old.len);
        shoal_buf_clear(&old);
    }
    t->resumed = t->got.len;
    t->fd = open(t->part, O_WRONLY | O_CREAT | O_CLOEXEC | (t->resumed == 0 ? O_TRUNC : 0), 0600);
    if (t->fd < 0) return shoal_fail_errno(err, errno, "cannot open %s", t->part);
    return SHOAL_OK;
}

static void close_transfer(transfer *t, bool keep_part)
{
    if (t->fd >= 0) (void)close(t->fd);
    t->fd = -1;
    if (!keep_part) (void)unlink(t->part);
    shoal_buf_clear(&t->got);
}

static shoal_status start_over(transfer *t, shoal_error *err)
{
    shoal_buf_clear(&t->got);
    t->resumed = 0;
    if (ftruncate(t->fd, 0) == 0) return SHOAL_OK;
    return shoal_fail_errno(err, errno, "cannot shorten %s", t->part);
}

/* Spec 3.7: the next `n` bytes at most, kept on disk as well. */
static shoal_status fetch_some(transfer *t, size_t n, shoal_error *err)
{
    size_t had = t->got.len;
    SHOAL_TRY(shoal_api_range(t->d->api, t->path, had, n, &t->got, err));
    return shoal_file_put_at(t->fd, had, t->got.data + had, t->got.len - had, err);
}

static shoal_status fetch_up_to(transfer *t, size_t size, shoal_error *err)
{
    while (t->got.len < size) {
        size_t had = t->got.len, left = size - had;
        SHOAL_TRY(fetch_some(t, left < SHOAL_LIMIT_CHUNK ? left : SHOAL_LIMIT_CHUNK, err));
        if (t->got.len == had) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "what the server sends ends too early");
        }
    }
    return SHOAL_OK;
}

/* A failure that says nothing about the bytes: the same again later goes on from the part. */
static bool passing(shoal_status st)
{
    return shoal_net_is_away(st) || st == SHOAL_ERR_AGAIN || st == SHOAL_ERR_CANCELLED ||
           st == SHOAL_ERR_NOMEM || st == SHOAL_ERR_FULL || st == SHOAL_ERR_DENIED;
}

/* ---- a delta ----------------------------------------------------------------------------------
 */

static shoal_status read_head(const transfer *t, shoal_delta_head *h, shoal_error *err)
{
    const shoal_adapter_release *r = t->d->release;
    SHOAL_TRY(shoal_delta_read_head(t->got.data, t->got.len, (size_t)r->size, h, err));
    if (shoal_equal(h->from, r->previous_sha256, 32) && shoal_equal(h->to, r->sha256, 32)) {
        return SHOAL_OK;
    }
    return shoal_fail(err, SHOAL_ERR_FORMAT, "a delta between other files");
}

/* Spec 3.8.3: how long a delta is stands in its head, and must be less than the file. */
static shoal_status take_delta(transfer *t, shoal_buf *out, shoal_error *err)
{
    shoal_delta_head h;
    if (t->got.len < SHOAL_DELTA_HEAD_BYTES) {
        SHOAL_TRY(start_over(t, err));
        SHOAL_TRY(
            fetch_some(t, t->got.max < SHOAL_LIMIT_CHUNK ? t->got.max : SHOAL_LIMIT_CHUNK, err));
    }
    SHOAL_TRY(read_head(t, &h, err));
    SHOAL_TRY(fetch_up_to(t, SHOAL_DELTA_HEAD_BYTES + (size_t)h.packed, err));
    return shoal_delta_apply(t->d->held->data, t->d->held->len, t->got.data, t->got.len, out, err);
}

static bool may_use_delta(const shoal_download *d)
{
    return shoal_delta_available() && d->held != NULL && d->held->len == d->release->size &&
           d->release->size > SHOAL_DELTA_HEAD_BYTES;
}

static shoal_status download_delta(const shoal_download *d, shoal_buf *out, shoal_error *err)
{
    char from[65], to[65];
    transfer t = {0};
    shoal_hex_encode(d->release->previous_sha256, 32, from);
    shoal_hex_encode(d->release->sha256, 32, to);
    (void)snprintf(t.path, sizeof t.path, "/v1/deltas/%s/%s", from, to);
    shoal_status st = open_transfer(&t, d, ".delta", (size_t)d->release->size - 1, err);
    if (st == SHOAL_OK) st = take_delta(&t, out, err);
    close_transfer(&t, passing(st));
    return st;
}

/* ---- the whole file ---------------------------------------------------------------------------
 */

static shoal_status take_whole(transfer *t, shoal_error *err)
{
    const shoal_adapter_release *r = t->d->release;
    uint8_t hash[32];
    for (;;) {
        SHOAL_TRY(fetch_up_to(t, (size_t)r->size, err));
        SHOAL_TRY(shoal_sha256(t->got.data, t->got.len, hash, err));
        if (shoal_equal(hash, r->sha256, 32)) return SHOAL_OK;
        if (t->resumed == 0) {
            return shoal_fail(err, SHOAL_ERR_TAMPERED,
                              "the adapter sent is not the one that was signed");
        }
        SHOAL_TRY(start_over(t, err)); /* perhaps it was the part: a crash may have spoilt it */
    }
}

static shoal_status download_whole(const shoal_download *d, shoal_buf *out, shoal_error *err)
{
    char hex[65];
    transfer t = {0};
    shoal_hex_encode(d->release->sha256, 32, hex);
    (void)snprintf(t.path, sizeof t.path, "/v1/blobs/%s", hex);
    shoal_status st = open_transfer(&t, d, "", (size_t)d->release->size, err);
    if (st == SHOAL_OK) st = take_whole(&t, err);
    if (st == SHOAL_OK && !shoal_buf_put(out, t.got.data, t.got.len)) {
        st = shoal_buf_status(out, err);
    }
    close_transfer(&t, passing(st));
    return st;
}

shoal_status shoal_download_release(const shoal_download *d, shoal_buf *out,
                                    shoal_download_way *way, shoal_error *err)
{
    *out = shoal_buf_init((size_t)d->release->size);
    if (d->release->size == 0 || d->release->size > SHOAL_LIMIT_BLOB) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the adapter's size is out of range");
    }
    shoal_download_way by = SHOAL_DOWNLOAD_DELTA;
    shoal_status st = may_use_delta(d) ? download_delta(d, out, err) : SHOAL_ERR_UNSUPPORTED;
    if (st != SHOAL_OK && !passing(st)) { /* Spec 3.8.3 */
        shoal_buf_clear(out);
        by = SHOAL_DOWNLOAD_WHOLE;
        st = download_whole(d, out, err);
    }
    if (st != SHOAL_OK) shoal_buf_clear(out);
    if (way != NULL) *way = by;
    return st;
}
