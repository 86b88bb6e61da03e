/* upload.c - places in a file without a name, one for each unfinished input. */
#include "aggregator/upload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "aggregator/config.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"

enum { NO_PLACE = -1 };

/* One device's input. */
typedef struct upload {
    uint8_t id[SHOAL_ID_BYTES];
    uint64_t have;
    int place;           /* in the file; NO_PLACE before the first chunk and after the last */
    uint8_t (*ends)[32]; /* [chunks] running hash behind each chunk there is */
} upload;

struct shoal_uploads {
    const char *dir;
    uint64_t total;
    int fd; /* -1: no file */
    upload *all[SHOAL_LIMIT_COHORT_MAX];
    size_t n;
    bool taken[SHOAL_LIMIT_COHORT_MAX]; /* places */
    size_t n_places;                    /* places that the file has had */
};

shoal_status shoal_uploads_open(shoal_uploads **out, const char *dir, uint64_t total,
                                shoal_error *err)
{
    *out = shoal_calloc(1, sizeof **out);
    if (*out == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for uploads");
    }
    (*out)->dir = dir;
    (*out)->total = total;
    (*out)->fd = -1;
    return SHOAL_OK;
}

static void free_upload(upload *p)
{
    shoal_free(p->ends);
    shoal_free(p);
}

static void close_file(shoal_uploads *u)
{
    if (u->fd >= 0) {
        (void)close(u->fd);
    }
    u->fd = -1;
    u->n_places = 0;
    memset(u->taken, 0, sizeof u->taken);
}

void shoal_uploads_close(shoal_uploads *u)
{
    if (u == NULL) {
        return;
    }
    for (size_t i = 0; i < u->n; i++) {
        free_upload(u->all[i]);
    }
    close_file(u);
    shoal_free(u);
}

static upload *find(const shoal_uploads *u, const uint8_t id[SHOAL_ID_BYTES])
{
    for (size_t i = 0; i < u->n; i++) {
        if (memcmp(u->all[i]->id, id, SHOAL_ID_BYTES) == 0) {
            return u->all[i];
        }
    }
    return NULL;
}

/* ---- places -----------------------------------------------------------------------------------
 */

/* The name goes at once: whatever happens to this process, the bytes go with it. */
static shoal_status make_file(shoal_uploads *u, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(shoal_dir_path(u->dir, "uploads.XXXXXX", path, err));
    u->fd = mkstemp(path);
    if (u->fd < 0) {
        return shoal_fail_errno(err, errno, "cannot make a file for uploads in %s", u->dir);
    }
    if (unlink(path) != 0) {
        int why = errno;
        close_file(u);
        return shoal_fail_errno(err, why, "cannot remove %s", path);
    }
    return SHOAL_OK;
}

static shoal_status take_place(shoal_uploads *u, upload *p, shoal_error *err)
{
    int i = 0;
    if (u->fd < 0) {
        SHOAL_TRY(make_file(u, err));
    }
    while (i < SHOAL_LIMIT_COHORT_MAX && u->taken[i]) {
        i++;
    }
    if (i == SHOAL_LIMIT_COHORT_MAX) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "too many uploads are in progress");
    }
    u->taken[i] = true;
    u->n_places = (size_t)i < u->n_places ? u->n_places : (size_t)i + 1;
    p->place = i;
    return SHOAL_OK;
}

/* The last one out gives the disk space back. */
static void leave_place(shoal_uploads *u, upload *p)
{
    if (p->place == NO_PLACE) {
        return;
    }
    u->taken[p->place] = false;
    p->place = NO_PLACE;
    for (size_t i = 0; i < u->n_places; i++) {
        if (u->taken[i]) {
            return;
        }
    }
    close_file(u);
}

static uint64_t place_at(const shoal_uploads *u, const upload *p)
{
    return (uint64_t)p->place * u->total;
}

uint64_t shoal_uploads_disk_bytes(const shoal_uploads *u)
{
    return u->n_places * u->total;
}

/* ---- chunks -----------------------------------------------------------------------------------
 */

shoal_status shoal_uploads_repeat(const shoal_uploads *u, const uint8_t id[SHOAL_ID_BYTES],
                                  const shoal_upload_chunk *c, shoal_error *err)
{
    const upload *p = find(u, id);
    if (p == NULL || c->offset >= p->have || shoal_upload_chunk_bytes(u->total, c->offset) == 0) {
        return shoal_fail(err, SHOAL_ERR_NOT_FOUND, "no such chunk was acknowledged");
    }
    if (!shoal_equal(p->ends[c->offset / SHOAL_LIMIT_CHUNK], c->hash, 32)) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "other bytes of the input were acknowledged");
    }
    return SHOAL_OK;
}

static shoal_status add_upload(shoal_uploads *u, const uint8_t id[SHOAL_ID_BYTES], upload **out,
                               shoal_error *err)
{
    if (u->n == SHOAL_LIMIT_COHORT_MAX) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "too many uploads are in progress");
    }
    upload *p = shoal_calloc(1, sizeof *p);
    if (p != NULL) {
        p->ends = shoal_calloc(shoal_upload_chunks(u->total), sizeof *p->ends);
    }
    if (p == NULL || p->ends == NULL) {
        shoal_free(p);
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for an upload");
    }
    memcpy(p->id, id, SHOAL_ID_BYTES);
    p->place = NO_PLACE;
    u->all[u->n++] = p;
    *out = p;
    return SHOAL_OK;
}

/* Spec 3.6.1: in its place, of its length, behind what is there, and what its hash says. */
static shoal_status check_chunk(const shoal_uploads *u, const upload *p,
                                const shoal_upload_chunk *c, uint8_t hash[32], shoal_error *err)
{
    if (c->n == 0 || c->n != shoal_upload_chunk_bytes(u->total, c->offset)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "not a chunk of an input of this session");
    }
    uint64_t have = p != NULL ? p->have : 0;
    if (c->offset != have) {
        return shoal_fail(err, SHOAL_ERR_AGAIN, "the chunk before this one is missing");
    }
    if (have > 0) {
        memcpy(hash, p->ends[have / SHOAL_LIMIT_CHUNK - 1], 32);
    }
    SHOAL_TRY(shoal_upload_extend(hash, c->data, c->n, err));
    if (!shoal_equal(hash, c->hash, 32)) {
        return shoal_fail(err, SHOAL_ERR_TAMPERED, "a chunk is not the one of its hash");
    }
    return SHOAL_OK;
}

shoal_status shoal_uploads_append(shoal_uploads *u, const uint8_t id[SHOAL_ID_BYTES],
                                  const shoal_upload_chunk *c, shoal_error *err)
{
    uint8_t hash[32] = {0};
    upload *p = find(u, id);
    SHOAL_TRY(check_chunk(u, p, c, hash, err));
    if (p == NULL) {
        SHOAL_TRY(add_upload(u, id, &p, err));
    }
    if (p->place == NO_PLACE) {
        SHOAL_TRY(take_place(u, p, err));
    }
    SHOAL_TRY(shoal_file_put_at(u->fd, place_at(u, p) + c->offset, c->data, c->n, err));
    memcpy(p->ends[c->offset / SHOAL_LIMIT_CHUNK], hash, 32);
    p->have += c->n;
    return SHOAL_OK;
}

shoal_upload_state shoal_uploads_state(const shoal_uploads *u, const uint8_t id[SHOAL_ID_BYTES])
{
    shoal_upload_state s = {0};
    const upload *p = find(u, id);
    if (p != NULL && p->have > 0) {
        s.have = p->have;
        memcpy(s.hash, p->ends[shoal_upload_chunks(p->have) - 1], 32);
    }
    return s;
}

/* ---- whole inputs -----------------------------------------------------------------------------
 */

bool shoal_uploads_whole(const shoal_uploads *u, const uint8_t id[SHOAL_ID_BYTES])
{
    const upload *p = find(u, id);
    return p != NULL && p->have == u->total && p->place != NO_PLACE;
}

shoal_status shoal_uploads_read(const shoal_uploads *u, const uint8_t id[SHOAL_ID_BYTES],
                                shoal_buf *out, shoal_error *err)
{
    size_t got = 0;
    const upload *p = find(u, id);
    if (p == NULL || p->place == NO_PLACE) {
        return shoal_fail(err, SHOAL_ERR_INTERNAL, "there is no upload to read");
    }
    uint8_t *to = shoal_buf_reserve(out, (size_t)u->total);
    if (to == NULL) {
        return shoal_buf_status(out, err);
    }
    SHOAL_TRY(shoal_file_get_at(u->fd, place_at(u, p), to, (size_t)u->total, &got, err));
    if (got != u->total) {
        return shoal_fail(err, SHOAL_ERR_IO, "the file of the uploads was cut short");
    }
    out->len += got;
    out->data[out->len] = 0;
    return SHOAL_OK;
}

void shoal_uploads_keep_hashes(shoal_uploads *u, const uint8_t id[SHOAL_ID_BYTES])
{
    upload *p = find(u, id);
    if (p != NULL) {
        leave_place(u, p);
    }
}

void shoal_uploads_forget(shoal_uploads *u, const uint8_t id[SHOAL_ID_BYTES])
{
    upload *p = find(u, id);
    if (p != NULL) {
        leave_place(u, p);
        p->have = 0;
    }
}

void shoal_uploads_forget_unfinished(shoal_uploads *u)
{
    for (size_t i = 0; i < u->n; i++) {
        if (u->all[i]->place != NO_PLACE) {
            shoal_uploads_forget(u, u->all[i]->id);
        }
    }
}
