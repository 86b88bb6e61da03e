/* tls_cache.h - sessions that may be resumed by their id, for clients without tickets (libcurl over
 * OpenSSL asks for none in TLS 1.2).
 *
 * A ring of fixed size, where the oldest session makes room, and two indices into it: by id, and by
 * owner, the client that may resume. An owner has TLS_CACHE_PER_OWNER sessions at most, and then
 * replaces its own oldest: no client pushes out those of others. What is kept of a session is the
 * caller's business: some bytes, wiped when they leave.
 *
 * Layer: proto/net, private; part of tls.c. Time is an argument. Threads: one at a time.
 */
#ifndef SHOAL_PROTO_NET_TLS_CACHE_H
#define SHOAL_PROTO_NET_TLS_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { TLS_CACHE_ID = 32, TLS_CACHE_OWNER = 32, TLS_CACHE_BYTES = 1536, TLS_CACHE_PER_OWNER = 4 };

typedef struct tls_cached {
    uint8_t id[TLS_CACHE_ID];
    uint8_t owner[TLS_CACHE_OWNER];
    uint32_t next_by_id, next_by_owner; /* of the same bucket: a place in the ring + 1; 0: none */
    int64_t made_s;
    size_t n;      /* 1..TLS_CACHE_BYTES; 0: empty */
    uint8_t *data; /* [n] */
} tls_cached;

typedef struct tls_cache {
    tls_cached *ring;           /* [size] */
    uint32_t *by_id, *by_owner; /* [size] buckets, the newest first: a place + 1; 0: none */
    uint32_t size, at;          /* `at`: the place that is filled next */
    int64_t life_s;
} tls_cache;

/* Room for n sessions, 1..2^31, each for life_s seconds. False when memory is out. The pages of
 * places never used take no memory. */
bool tls_cache_init(tls_cache *c, size_t n, int64_t life_s);
void tls_cache_clear(tls_cache *c);

/* Keeps a copy of n bytes under an id that was drawn at random; more than TLS_CACHE_BYTES are not
 * kept, nor when memory is out. `owner` is a hash. */
void tls_cache_put(tls_cache *c, const uint8_t id[TLS_CACHE_ID],
                   const uint8_t owner[TLS_CACHE_OWNER], const uint8_t *data, size_t n,
                   int64_t now_s);

/* The session with this id, if it is there and not too old; valid until the next put. */
const tls_cached *tls_cache_get(const tls_cache *c, const uint8_t *id, size_t id_n, int64_t now_s);

#ifdef __cplusplus
}
#endif
#endif
