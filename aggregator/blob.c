/* blob.c - content-addressed files and a small cache of them. */
#include "aggregator/blob.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "aggregator/config.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "proto/crypto.h"

enum { CACHED = 8 };

static shoal_status blob_path(const char *dir, const uint8_t sha256[32], char path[SHOAL_DIR_PATH],
                              shoal_error *err)
{
    char hex[65];
    char name[80];
    shoal_hex_encode(sha256, 32, hex);
    (void)snprintf(name, sizeof name, "blobs/%s", hex);
    return shoal_dir_path(dir, name, path, err);
}

shoal_status shoal_blob_put(const char *dir, const void *data, size_t n, uint8_t sha256[32],
                            shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(shoal_sha256(data, n, sha256, err));
    SHOAL_TRY(blob_path(dir, sha256, path, err));
    if (access(path, R_OK) == 0) {
        return SHOAL_OK;
    }
    return shoal_file_write_atomic(path, data, n, 0644, err);
}

static shoal_status delta_path(const char *dir, const uint8_t from[32], const uint8_t to[32],
                               char path[SHOAL_DIR_PATH], shoal_error *err)
{
    char a[65], b[65], name[160];
    shoal_hex_encode(from, 32, a);
    shoal_hex_encode(to, 32, b);
    (void)snprintf(name, sizeof name, "blobs/%s.%s", b, a);
    return shoal_dir_path(dir, name, path, err);
}

shoal_status shoal_blob_put_delta(const char *dir, const uint8_t from[32], const uint8_t to[32],
                                  const shoal_buf *delta, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(delta_path(dir, from, to, path, err));
    return shoal_file_write_atomic(path, delta->data, delta->len, 0644, err);
}

shoal_status shoal_blob_get(const char *dir, const uint8_t sha256[32], shoal_buf *out,
                            shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    uint8_t hash[32];
    SHOAL_TRY(blob_path(dir, sha256, path, err));
    SHOAL_TRY(shoal_file_read(path, SHOAL_LIMIT_BLOB, out, err));
    shoal_status st = shoal_sha256(out->data, out->len, hash, err);
    if (st == SHOAL_OK && memcmp(hash, sha256, 32) != 0) {
        st = shoal_fail(err, SHOAL_ERR_TAMPERED, "%s is damaged: its hash is another", path);
        shoal_hint(err, "restore the file from a backup of the directory");
    }
    if (st != SHOAL_OK) {
        shoal_buf_clear(out);
    }
    return st;
}

struct shoal_blob_cache {
    char dir[SHOAL_DIR_PATH];
    shoal_blob *slots[CACHED];
    uint64_t clock;
};

shoal_status shoal_blob_cache_open(shoal_blob_cache **out, const char *dir, shoal_error *err)
{
    *out = shoal_calloc(1, sizeof **out);
    if (*out == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for the cache of adapters");
    }
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

/* An empty slot, else the least recently used blob nobody reads; NULL when all are being read. */
static shoal_blob **free_slot(shoal_blob_cache *c)
{
    shoal_blob **best = NULL;
    for (size_t i = 0; i < CACHED; i++) {
        if (c->slots[i] == NULL) {
            return &c->slots[i];
        }
        bool idle = c->slots[i]->users == 0;
        if (idle && (best == NULL || c->slots[i]->used_at < (*best)->used_at)) {
            best = &c->slots[i];
        }
    }
    return best;
}

static shoal_status read_delta(const char *dir, const uint8_t key[64], shoal_buf *out,
                               shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    SHOAL_TRY(delta_path(dir, key + 32, key, path, err));
    return shoal_file_read(path, SHOAL_LIMIT_BLOB, out, err);
}

static shoal_status load(const shoal_blob_cache *c, shoal_blob **slot, const uint8_t key[64],
                         shoal_error *err)
{
    static const uint8_t none[32];
    shoal_blob *b = shoal_calloc(1, sizeof *b);
    if (b == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for an adapter");
    }
    shoal_status st = memcmp(key + 32, none, sizeof none) == 0
                          ? shoal_blob_get(c->dir, key, &b->bytes, err)
                          : read_delta(c->dir, key, &b->bytes, err);
    if (st != SHOAL_OK) {
        shoal_free(b);
        return st;
    }
    memcpy(b->key, key, sizeof b->key);
    free_blob(*slot);
    *slot = b;
    return SHOAL_OK;
}

static shoal_status use_key(shoal_blob_cache *c, const uint8_t key[64], shoal_blob **out,
                            shoal_error *err)
{
    *out = NULL;
    shoal_blob **slot = NULL;
    for (size_t i = 0; i < CACHED && slot == NULL; i++) {
        if (c->slots[i] != NULL && memcmp(c->slots[i]->key, key, sizeof c->slots[i]->key) == 0) {
            slot = &c->slots[i];
        }
    }
    if (slot == NULL) {
        slot = free_slot(c);
        if (slot == NULL) {
            return shoal_fail(err, SHOAL_ERR_AGAIN, "too many adapters are being downloaded");
        }
        SHOAL_TRY(load(c, slot, key, err));
    }
    (*slot)->users++;
    (*slot)->used_at = ++c->clock;
    *out = *slot;
    return SHOAL_OK;
}

shoal_status shoal_blob_use(shoal_blob_cache *c, const uint8_t sha256[32], shoal_blob **out,
                            shoal_error *err)
{
    uint8_t key[64] = {0};
    memcpy(key, sha256, 32);
    return use_key(c, key, out, err);
}

shoal_status shoal_blob_use_delta(shoal_blob_cache *c, const uint8_t from[32], const uint8_t to[32],
                                  shoal_blob **out, shoal_error *err)
{
    uint8_t key[64];
    memcpy(key, to, 32);
    memcpy(key + 32, from, 32);
    return use_key(c, key, out, err);
}

void shoal_blob_release(void *blob)
{
    shoal_blob *b = blob;
    b->users--;
}
