/* tls_cache.c - see tls_cache.h. */
#include "proto/net/tls_cache.h"

#include <string.h>

#include "kernels/base/mem.h"

bool tls_cache_init(tls_cache *c, size_t n, int64_t life_s)
{
    size_t rows = (n + TLS_CACHE_WAYS - 1) / TLS_CACHE_WAYS;
    *c = (tls_cache){.n_rows = rows > 0 ? rows : 1, .life_s = life_s};
    c->entries = shoal_calloc(c->n_rows * TLS_CACHE_WAYS, sizeof *c->entries);
    return c->entries != NULL;
}

static void forget(tls_cached *e)
{
    if (e->n > 0) { /* pages never used stay so */
        shoal_wipe(e->data, e->n);
        shoal_free(e->data);
        *e = (tls_cached){0};
    }
}

void tls_cache_clear(tls_cache *c)
{
    for (size_t i = 0; c->entries != NULL && i < c->n_rows * TLS_CACHE_WAYS; i++) {
        forget(&c->entries[i]);
    }
    shoal_free(c->entries);
    *c = (tls_cache){0};
}

/* Ids are drawn by the server, evenly; what a client invents finds nothing. */
static tls_cached *row_of(const tls_cache *c, const uint8_t id[TLS_CACHE_ID])
{
    uint64_t h;
    memcpy(&h, id, sizeof h);
    return &c->entries[(size_t)(h % c->n_rows) * TLS_CACHE_WAYS];
}

static tls_cached *oldest_of(tls_cached *row)
{
    tls_cached *oldest = row;
    for (size_t i = 0; i < TLS_CACHE_WAYS; i++) {
        if (row[i].n == 0) {
            return &row[i];
        }
        oldest = row[i].made_s < oldest->made_s ? &row[i] : oldest;
    }
    return oldest;
}

void tls_cache_put(tls_cache *c, const uint8_t id[TLS_CACHE_ID], const uint8_t *data, size_t n,
                   int64_t now_s)
{
    uint8_t *copy = c->entries != NULL && n > 0 && n <= TLS_CACHE_BYTES ? shoal_alloc(n) : NULL;
    if (copy == NULL) {
        return;
    }
    memcpy(copy, data, n);
    tls_cached *to = oldest_of(row_of(c, id));
    forget(to);
    *to = (tls_cached){.made_s = now_s, .n = n, .data = copy};
    memcpy(to->id, id, TLS_CACHE_ID);
}

const tls_cached *tls_cache_get(const tls_cache *c, const uint8_t *id, size_t id_n, int64_t now_s)
{
    if (c->entries == NULL || id_n != TLS_CACHE_ID) {
        return NULL;
    }
    const tls_cached *row = row_of(c, id);
    for (size_t i = 0; i < TLS_CACHE_WAYS; i++) {
        bool fresh = row[i].n > 0 && now_s >= row[i].made_s && now_s - row[i].made_s <= c->life_s;
        if (fresh && memcmp(row[i].id, id, TLS_CACHE_ID) == 0) {
            return &row[i];
        }
    }
    return NULL;
}
