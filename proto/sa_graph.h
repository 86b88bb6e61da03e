/* sa_graph.h - who is next to whom in a session, who holds whose shares, who signs survivor sets.
 *
 * Two graphs. Complete (degree 0, or a roster of at most k clients): everyone is next to everyone,
 * also holds a share of its own secrets, and t = floor(2n/3) + 1. Else k-regular: the clients in a
 * ring in an order that follows from the roster's hash, each next to the k/2 before and the k/2
 * after it, and t as the descriptor says. Everyone computes both for itself: the server has no say
 * in who is next to whom beyond whom it lets in.   Source: Bell et al. 2020, section 3 (Harary
 * graph under a random permutation); PROTOCOL.md 5.3.3.
 *
 * Indices are 1..n. Layer: proto/. Threads: read-only once opened.
 */
#ifndef SHOAL_PROTO_SA_GRAPH_H
#define SHOAL_PROTO_SA_GRAPH_H

#include "proto/sa.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_sa_graph {
    size_t n;
    size_t k; /* neighbours of each client */
    size_t t; /* shares that open a secret */
    bool complete;
    size_t m, q; /* committee, signatures of it that certify a survivor set */
    shoal_sa_set committee;
    uint16_t *ring;  /* [n] the index at each place; NULL when complete */
    uint16_t *place; /* [n] the place of index - 1 */
} shoal_sa_graph;

/* Sizes for a roster of n, before it is known: n, k, t, complete, m, q. No more is filled in. */
shoal_sa_graph shoal_sa_graph_shape(const shoal_sa_descriptor *d, size_t n);

/* n in 1..COHORT_MAX. NOMEM only. */
SHOAL_MUST_USE shoal_status shoal_sa_graph_open(shoal_sa_graph *g, const shoal_sa_descriptor *d,
                                                size_t n, const uint8_t roster_hash[32],
                                                shoal_error *err);
void shoal_sa_graph_close(shoal_sa_graph *g);

/* i and j share secrets and masks. */
bool shoal_sa_graph_adjacent(const shoal_sa_graph *g, size_t i, size_t j);

/* The k neighbours of i, ascending. */
void shoal_sa_graph_neighbours(const shoal_sa_graph *g, size_t i, uint16_t out[SHOAL_LIMIT_DEGREE]);

/* Those who hold shares of i's secrets, ascending; the share of out[p] is the value at x = p + 1.
 * Returns how many: k, or n in the complete graph. */
size_t shoal_sa_graph_holders(const shoal_sa_graph *g, size_t i, uint16_t out[SHOAL_LIMIT_DEGREE]);

#ifdef __cplusplus
}
#endif
#endif
