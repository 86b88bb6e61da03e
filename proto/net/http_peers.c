/* http_peers.c - see http_peers.h. */
#include "proto/net/http_peers.h"

#include <arpa/inet.h>
#include <string.h>

#include "kernels/base/mem.h"

enum { SLOTS = 4096, SWEEP_AT = 4096, FORGET_MS = 60 * 1000 };

struct http_peers {
    uint64_t seed;
    size_t n;
    size_t sweep_at; /* number of peers at which the forgotten are thrown out */
    http_peer *slots[SLOTS];
};

bool http_bucket_take(http_bucket *b, uint32_t rate, uint32_t burst, uint64_t now_ms)
{
    if (rate == 0) {
        return true;
    }
    uint64_t full = (uint64_t)burst * 1000;
    uint64_t gone = b->begun && now_ms > b->at_ms ? now_ms - b->at_ms : 0;
    if (!b->begun || gone > full / rate) {
        b->milli = full;
    } else {
        b->milli += gone * rate;
        b->milli = b->milli < full ? b->milli : full;
    }
    b->begun = true;
    b->at_ms = now_ms;
    if (b->milli < 1000) {
        return false;
    }
    b->milli -= 1000;
    return true;
}

http_peers *http_peers_open(uint64_t seed)
{
    http_peers *t = shoal_calloc(1, sizeof *t);
    if (t != NULL) {
        t->seed = seed;
        t->sweep_at = SWEEP_AT;
    }
    return t;
}

/* Frees the peers that `all` or a minute of absence allows to forget. */
static void sweep(http_peers *t, uint64_t now_ms, bool all)
{
    for (size_t i = 0; i < SLOTS; i++) {
        http_peer **at = &t->slots[i];
        while (*at != NULL) {
            http_peer *p = *at;
            bool old = p->n_conns == 0 && now_ms - p->seen_ms > FORGET_MS;
            if (all || old) {
                *at = p->next;
                shoal_free(p);
                t->n--;
            } else {
                at = &p->next;
            }
        }
    }
}

void http_peers_close(http_peers *t)
{
    if (t != NULL) {
        sweep(t, 0, true);
        shoal_free(t);
    }
}

size_t http_peers_count(const http_peers *t)
{
    return t->n;
}

/* FNV-1a from a seed of the server's. */
static size_t slot_of(const http_peers *t, const uint8_t key[HTTP_PEER_KEY])
{
    uint64_t h = 0xcbf29ce484222325u ^ t->seed;
    for (size_t i = 0; i < HTTP_PEER_KEY; i++) {
        h = (h ^ key[i]) * 0x100000001b3u;
    }
    return (size_t)((h ^ h >> 32) % SLOTS);
}

http_peer *http_peers_get(http_peers *t, const uint8_t key[HTTP_PEER_KEY], uint64_t now_ms)
{
    size_t slot = slot_of(t, key);
    for (http_peer *p = t->slots[slot]; p != NULL; p = p->next) {
        if (memcmp(p->key, key, HTTP_PEER_KEY) == 0) {
            p->seen_ms = now_ms;
            return p;
        }
    }
    if (t->n >= t->sweep_at) {
        sweep(t, now_ms, false);
        t->sweep_at = 2 * t->n > SWEEP_AT ? 2 * t->n : SWEEP_AT; /* not at every arrival */
    }
    http_peer *p = shoal_calloc(1, sizeof *p);
    if (p == NULL) {
        return NULL;
    }
    memcpy(p->key, key, HTTP_PEER_KEY);
    p->seen_ms = now_ms;
    p->next = t->slots[slot];
    t->slots[slot] = p;
    t->n++;
    return p;
}

/* Whoever has one address of an IPv6 network has them all: the first half counts. */
void http_peer_key_of_address(const char *text, uint8_t key[HTTP_PEER_KEY])
{
    struct in6_addr v6;
    struct in_addr v4;
    memset(key, 0, HTTP_PEER_KEY);
    if (inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_V4MAPPED(&v6)) {
        key[0] = 4;
        memcpy(key + 1, v6.s6_addr + 12, 4);
    } else if (inet_pton(AF_INET6, text, &v6) == 1) {
        key[0] = 6;
        memcpy(key + 1, v6.s6_addr, 8);
    } else if (inet_pton(AF_INET, text, &v4) == 1) {
        key[0] = 4;
        memcpy(key + 1, &v4, 4);
    }
}
