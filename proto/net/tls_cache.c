/* tls_cache.c - see tls_cache.h. */
#include "proto/net/tls_cache.h"

#include <string.h>

#include "kernels/base/mem.h"

bool tls_cache_init(tls_cache *c, size_t n, int64_t life_s)
{
    *c = (tls_cache){.size = (uint32_t)n, .life_s = life_s};
    if (n == 0 || n > UINT32_C(1) << 31) {
        return false;
    }
    c->ring = shoal_calloc(n, sizeof *c->ring);
    c->by_id = shoal_calloc(n, sizeof *c->by_id);
    c->by_owner = shoal_calloc(n, sizeof *c->by_owner);
    if (c->ring == NULL || c->by_id == NULL || c->by_owner == NULL) {
        tls_cache_clear(c);
        return false;
    }
    return true;
}

/* Ids are drawn by the server and owners are hashes: the first bytes of both are even, and what a
 * client invents finds nothing. */
static uint32_t *bucket(uint32_t *table, uint32_t size, const uint8_t *key)
{
    uint64_t h;
    memcpy(&h, key, sizeof h);
    return &table[h % size];
}

static void unlink_id(tls_cache *c, const tls_cached *e, uint32_t place)
{
    uint32_t *link = bucket(c->by_id, c->size, e->id);
    while (*link != place) {
        link = &c->ring[*link - 1].next_by_id;
    }
    *link = e->next_by_id;
}

static void unlink_owner(tls_cache *c, const tls_cached *e, uint32_t place)
{
    uint32_t *link = bucket(c->by_owner, c->size, e->owner);
    while (*link != place) {
        link = &c->ring[*link - 1].next_by_owner;
    }
    *link = e->next_by_owner;
}

static void forget(tls_cache *c, tls_cached *e)
{
    if (e->n == 0) {
        return;
    }
    uint32_t place = (uint32_t)(e - c->ring) + 1;
    unlink_id(c, e, place);
    unlink_owner(c, e, place);
    shoal_wipe(e->data, e->n);
    shoal_free(e->data);
    *e = (tls_cached){0};
}

void tls_cache_clear(tls_cache *c)
{
    for (uint32_t i = 0; c->ring != NULL && i < c->size; i++) {
        if (c->ring[i].n > 0) { /* pages never used stay so */
            shoal_wipe(c->ring[i].data, c->ring[i].n);
            shoal_free(c->ring[i].data);
        }
    }
    shoal_free(c->ring);
    shoal_free(c->by_id);
    shoal_free(c->by_owner);
    *c = (tls_cache){0};
}

/* The oldest session of an owner that has as many as it may, or NULL. */
static tls_cached *oldest_of(tls_cache *c, const uint8_t owner[TLS_CACHE_OWNER])
{
    tls_cached *oldest = NULL;
    size_t n = 0;
    for (uint32_t i = *bucket(c->by_owner, c->size, owner); i > 0;) {
        tls_cached *e = &c->ring[i - 1];
        if (memcmp(e->owner, owner, TLS_CACHE_OWNER) == 0) {
            oldest = e;
            n++;
        }
        i = e->next_by_owner;
    }
    return n >= TLS_CACHE_PER_OWNER ? oldest : NULL;
}

static tls_cached *take_place(tls_cache *c, const uint8_t owner[TLS_CACHE_OWNER])
{
    tls_cached *e = oldest_of(c, owner);
    if (e == NULL) {
        e = &c->ring[c->at];
        c->at = (c->at + 1) % c->size;
    }
    forget(c, e);
    return e;
}

void tls_cache_put(tls_cache *c, const uint8_t id[TLS_CACHE_ID],
                   const uint8_t owner[TLS_CACHE_OWNER], const uint8_t *data, size_t n,
                   int64_t now_s)
{
    uint8_t *copy = c->ring != NULL && n > 0 && n <= TLS_CACHE_BYTES ? shoal_alloc(n) : NULL;
    if (copy == NULL) {
        return;
    }
    memcpy(copy, data, n);
    tls_cached *e = take_place(c, owner);
    uint32_t *same_id = bucket(c->by_id, c->size, id);
    uint32_t *same_owner = bucket(c->by_owner, c->size, owner);
    *e = (tls_cached){.made_s = now_s,
                      .n = n,
                      .data = copy,
                      .next_by_id = *same_id,
                      .next_by_owner = *same_owner};
    memcpy(e->id, id, TLS_CACHE_ID);
    memcpy(e->owner, owner, TLS_CACHE_OWNER);
    *same_id = *same_owner = (uint32_t)(e - c->ring) + 1;
}

const tls_cached *tls_cache_get(const tls_cache *c, const uint8_t *id, size_t id_n, int64_t now_s)
{
    if (c->ring == NULL || id_n != TLS_CACHE_ID) {
        return NULL;
    }
    for (uint32_t i = *bucket(c->by_id, c->size, id); i > 0;) {
        const tls_cached *e = &c->ring[i - 1];
        if (memcmp(e->id, id, TLS_CACHE_ID) == 0) {
            bool fresh = now_s >= e->made_s && now_s - e->made_s <= c->life_s;
            return fresh ? e : NULL;
        }
        i = e->next_by_id;
    }
    return NULL;
}
