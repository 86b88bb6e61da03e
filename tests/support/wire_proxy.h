/* wire_proxy.h - a TCP relay of a test, on its own thread and loopback: counts what passes, cuts
 * connections at a chosen byte, and slows them down.
 */
#ifndef SHOAL_TESTS_SUPPORT_WIRE_PROXY_H
#define SHOAL_TESTS_SUPPORT_WIRE_PROXY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

enum { WIRE_PROXY_PAIRS = 16 };

typedef struct wire_proxy {
    uint16_t port;             /* to connect to */
    atomic_ullong up, down;    /* bytes relayed to and from the server, all connections */
    atomic_uint connections;   /* accepted so far */
    atomic_ullong cut_at_up;   /* cut every connection, once, when `up` reaches it; 0: never */
    atomic_ullong cut_at_down; /* the same for `down` */
    atomic_uint bytes_per_ms;  /* at most so many upwards; 0: as fast as it goes */

    /* private */
    uint16_t target;
    int listener;
    int pair[WIRE_PROXY_PAIRS][2]; /* -1: free */
    atomic_bool stop;
    pthread_t thread;
} wire_proxy;

/* Relays to 127.0.0.1:target. Fails the running test when something goes wrong. */
void wire_proxy_open(wire_proxy *p, uint16_t target);
void wire_proxy_close(wire_proxy *p);

#endif
