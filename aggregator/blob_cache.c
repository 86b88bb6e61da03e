/* blob_cache.c - see blob_cache.h. */
#include "aggregator/blob_cache.h"

#include <stdio.h>
#include <string.h>

#include "aggregator/blob.h"
#include "aggregator/config.h"
#include "kernels/base/mem.h"

enum { CACHED = 8 };

#define DETACHED_BYTES ((size_t)256 << 20) /* of blobs without a slot that are still being sent */

typedef struct waiter {
    struct waiter *next;
    shoal_blob_fn *fn;
    void *ctx;
} waiter;

struct shoal_blob {
    shoal_blob_cache *cache;
    uint8_t key[64]; /* SHA-256; zeros, or of a delta the SHA-256 that it starts from */
    bool is_delta, reading;
    bool detached; /* in no slot any more: goes with its last user */
    size_t users;
    uint64_t used_at;
    waiter *first, **last; /* in the order of asking, while it is read */
    shoal_buf bytes;       /* these three are the worker's while it is read */
    shoal_status st;
    shoal_error err;
};

struct shoal_blob_cache {
    shoal_loop *loop;
    char dir[SHOAL_DIR_PATH];
    shoal_blob *slots[CACHED];
    uint64_t clock;
    size_t detached_bytes;
};

shoal_status shoal_blob_cache_open(shoal_blob_cache **out, shoal_loop *loop, const char *dir,
                                   shoal_error *err)
{
    *out = shoal_calloc(1, sizeof **out);
    if (*out == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for the cache of adapters");
    }
    (*out)->loop = loop;
    (void)snprintf((*out)->dir, sizeof(*out)->dir, "%s", dir);
    return SHOAL_OK;
}

static void free_blob(shoal_blob *b)
{
    if (b != NULL) {
        shoal_buf_clear(&b->bytes);
        shoal_free(b);
    }
}

void shoal_blob_cache_close(shoal_blob_cache *c)
{
    for (size_t i = 0; c != NULL && i < CACHED; i++) {
        free_blob(c->slots[i]);
    }
    shoal_free(c);
}

const uint8_t *shoal_blob_bytes(const shoal_blob *b, size_t *n)
{
    *n = b->bytes.len;
    return b->bytes.data;
}

void shoal_blob_release(void *blob)
{
    shoal_blob *b = blob;
    b->users--;
    if (b->users == 0 && b->detached) {
        b->cache->detached_bytes -= b->bytes.len;
        free_blob(b);
    }
}

static void give(shoal_blob *b, shoal_blob_fn *fn, void *ctx)
{
    b->users++;
    b->used_at = ++b->cache->clock;
    fn(ctx, b, SHOAL_OK, NULL);
}

static void refuse(shoal_blob_fn *fn, void *ctx, shoal_status st, const char *why)
{
    shoal_error err = {0};
    st = shoal_fail(&err, st, "%s", why);
    fn(ctx, NULL, st, &err);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static void read_file(void *ctx)
{
    shoal_blob *b = ctx;
    const char *dir = b->cache->dir; /* never changes */
    b->st = b->is_delta ? shoal_blob_get_delta(dir, b->key + 32, b->key, &b->bytes, &b->err)
                        : shoal_blob_get(dir, b->key, &b->bytes, &b->err);
}

static void leave_cache(shoal_blob *b)
{
    for (size_t i = 0; i < CACHED; i++) {
        if (b->cache->slots[i] == b) {
            b->cache->slots[i] = NULL;
        }
    }
}

static void have_read(void *ctx)
{
    shoal_blob *b = ctx;
    waiter *next = b->first;
    b->reading = false;
    b->users++; /* it stays while those who wait are told */
    if (b->st != SHOAL_OK) {
        leave_cache(b);
    }
    while (next != NULL) {
        waiter *w = next;
        next = w->next;
        if (b->st == SHOAL_OK) {
            give(b, w->fn, w->ctx);
        } else {
            w->fn(w->ctx, NULL, b->st, &b->err);
        }
        shoal_free(w);
    }
    b->users--;
    if (b->st != SHOAL_OK) {
        free_blob(b);
    }
}

static bool wait_for(shoal_blob *b, shoal_blob_fn *fn, void *ctx)
{
    waiter *w = shoal_calloc(1, sizeof *w);
    if (w == NULL) {
        return false;
    }
    *w = (waiter){.fn = fn, .ctx = ctx};
    *b->last = w;
    b->last = &w->next;
    return true;
}

/* ---- slots ------------------------------------------------------------------------------------
 */

static shoal_blob *find(const shoal_blob_cache *c, const uint8_t key[64])
{
    for (size_t i = 0; i < CACHED; i++) {
        if (c->slots[i] != NULL && memcmp(c->slots[i]->key, key, 64) == 0) {
            return c->slots[i];
        }
    }
    return NULL;
}

static bool is_better(const shoal_blob *a, const shoal_blob *b)
{
    bool a_idle = a->users == 0, b_idle = b->users == 0;
    return a_idle != b_idle ? a_idle : a->used_at < b->used_at;
}

/* Devices that read slowly cannot keep a new version out: what they read leaves its slot. */
static bool detach(shoal_blob_cache *c, shoal_blob **slot)
{
    shoal_blob *b = *slot;
    if (b->users == 0) {
        return true; /* goes when the slot is filled */
    }
    if (b->bytes.len > DETACHED_BYTES - c->detached_bytes) {
        return false;
    }
    c->detached_bytes += b->bytes.len;
    b->detached = true;
    *slot = NULL;
    return true;
}

/* An empty slot, else that of the least recently used blob, nobody's if there is one; NULL when
 * none can be had. */
static shoal_blob **free_slot(shoal_blob_cache *c)
{
    shoal_blob **best = NULL;
    for (size_t i = 0; i < CACHED; i++) {
        const shoal_blob *b = c->slots[i];
        if (b == NULL) {
            return &c->slots[i];
        }
        if (!b->reading && (best == NULL || is_better(b, *best))) {
            best = &c->slots[i];
        }
    }
    return best != NULL && detach(c, best) ? best : NULL;
}

/* NULL when memory is out. */
static shoal_blob *start_reading(shoal_blob_cache *c, shoal_blob **slot, const uint8_t key[64],
                                 bool is_delta)
{
    shoal_blob *b = shoal_calloc(1, sizeof *b);
    if (b == NULL) {
        return NULL;
    }
    b->cache = c;
    b->is_delta = is_delta;
    b->reading = true;
    b->last = &b->first;
    memcpy(b->key, key, sizeof b->key);
    if (shoal_loop_work(c->loop, read_file, have_read, b, NULL) != SHOAL_OK) {
        shoal_free(b);
        return NULL;
    }
    free_blob(*slot);
    *slot = b;
    return b;
}

void shoal_blob_use(shoal_blob_cache *c, const uint8_t to[32], const uint8_t *from,
                    shoal_blob_fn *fn, void *ctx)
{
    uint8_t key[64] = {0};
    memcpy(key, to, 32);
    if (from != NULL) {
        memcpy(key + 32, from, 32);
    }
    shoal_blob *b = find(c, key);
    if (b != NULL && !b->reading) {
        give(b, fn, ctx);
        return;
    }
    if (b == NULL) {
        /* asking for what is not there shall push nothing out */
        if (from != NULL && !shoal_blob_has_delta(c->dir, from, to)) {
            refuse(fn, ctx, SHOAL_ERR_NOT_FOUND, "there is no such delta");
            return;
        }
        shoal_blob **slot = free_slot(c);
        if (slot == NULL) {
            refuse(fn, ctx, SHOAL_ERR_AGAIN, "too many adapters are being downloaded");
            return;
        }
        b = start_reading(c, slot, key, from != NULL);
    }
    if (b == NULL || !wait_for(b, fn, ctx)) {
        refuse(fn, ctx, SHOAL_ERR_NOMEM, "no memory for an adapter");
    }
}
