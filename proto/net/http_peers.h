/* http_peers.h - who is connected, from where, and what each may still do.
 *
 * One table for two kinds of peer: an address (IPv4, or the /64 of an IPv6 address) and a client
 * certificate. A peer has counts of what it holds now, kept by the connections, and two buckets of
 * tokens, for handshakes and for requests.
 *
 * Layer: proto/net, private. Time is an argument. Threads: one owner.
 */
#ifndef SHOAL_PROTO_NET_HTTP_PEERS_H
#define SHOAL_PROTO_NET_HTTP_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/net/http_server.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HTTP_PEER_KEY = SHOAL_HTTP_PEER_KEY };

/* Allows `rate` events a second and `burst` of them at once; a rate of 0 allows everything. */
typedef struct http_bucket {
    uint64_t milli; /* thousandths of an event left */
    uint64_t at_ms;
    bool begun;
} http_bucket;

bool http_bucket_take(http_bucket *b, uint32_t rate, uint32_t burst, uint64_t now_ms);

typedef struct http_peer {
    struct http_peer *next;
    uint8_t key[HTTP_PEER_KEY];
    uint64_t seen_ms;
    uint32_t n_conns;      /* while above 0 the peer stays where it is */
    uint32_t n_handshakes; /* full ones, waiting or going on */
    uint32_t n_requests;   /* not answered yet */
    http_bucket handshakes, requests;
} http_peer;

typedef struct http_peers http_peers;

/* `seed` keeps strangers from choosing keys that fall together. NULL when memory is out. */
http_peers *http_peers_open(uint64_t seed);
void http_peers_close(http_peers *t); /* no connection may be using a peer */
size_t http_peers_count(const http_peers *t);

/* The peer with this key, made when it is new; NULL when memory is out. Peers without connections
 * are forgotten after a minute, when room is needed. */
http_peer *http_peers_get(http_peers *t, const uint8_t key[HTTP_PEER_KEY], uint64_t now_ms);

/* Key of a numeric address. */
void http_peer_key_of_address(const char *text, uint8_t key[HTTP_PEER_KEY]);

#ifdef __cplusplus
}
#endif
#endif
