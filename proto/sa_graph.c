/* sa_graph.c - the ring and the committee, both ordered by hashes of the roster's hash. */
#include "proto/sa_graph.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

/* A client under a hash that orders it. */
typedef struct ranked {
    uint8_t hash[32];
    uint16_t index;
} ranked;

static int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a;
    const ranked *y = b;
    int order = memcmp(x->hash, y->hash, sizeof x->hash);
    return order != 0 ? order : (int)x->index - (int)y->index;
}

/* 1..n in the order of H(prefix[32] || u32 i). */
static shoal_status rank_all(const uint8_t prefix[32], size_t n, ranked *out, shoal_error *err)
{
    for (size_t i = 1; i <= n; i++) {
        uint8_t body[36];
        memcpy(body, prefix, 32);
        for (size_t b = 0; b < 4; b++) {
            body[32 + b] = (uint8_t)(i >> (8 * b));
        }
        out[i - 1].index = (uint16_t)i;
        SHOAL_TRY(shoal_sha256(body, sizeof body, out[i - 1].hash, err));
    }
    qsort(out, n, sizeof *out, compare_ranked);
    return SHOAL_OK;
}

/* H(label || 00 || roster_hash); n counts the label's terminator. */
static shoal_status seed_of(const char *label, size_t n, const uint8_t roster_hash[32],
                            uint8_t out[32], shoal_error *err)
{
    shoal_sha256_ctx h;
    shoal_sha256_init(&h);
    shoal_sha256_update(&h, label, n);
    shoal_sha256_update(&h, roster_hash, 32);
    return shoal_sha256_final(&h, out, err);
}

shoal_sa_graph shoal_sa_graph_shape(const shoal_sa_descriptor *d, size_t n)
{
    shoal_sa_graph g = {.n = n, .complete = d->degree == 0 || n <= d->degree};
    g.k = g.complete ? n - 1 : d->degree;
    g.t = g.complete ? shoal_sa_threshold(n) : d->threshold;
    g.m = n < d->committee ? n : d->committee;
    g.q = shoal_sa_threshold(g.m);
    return g;
}

static shoal_status fill_ring(shoal_sa_graph *g, const uint8_t roster_hash[32], ranked *rank,
                              shoal_error *err)
{
    static const char label[] = "shoal/sa1/graph";
    uint8_t seed[32];
    g->ring = shoal_calloc(g->n, sizeof *g->ring);
    g->place = shoal_calloc(g->n, sizeof *g->place);
    if (g->ring == NULL || g->place == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a session's graph");
    }
    SHOAL_TRY(seed_of(label, sizeof label, roster_hash, seed, err));
    SHOAL_TRY(rank_all(seed, g->n, rank, err));
    for (size_t place = 0; place < g->n; place++) {
        g->ring[place] = rank[place].index;
        g->place[rank[place].index - 1] = (uint16_t)place;
    }
    return SHOAL_OK;
}

static shoal_status fill_committee(shoal_sa_graph *g, const uint8_t roster_hash[32], ranked *rank,
                                   shoal_error *err)
{
    static const char label[] = "shoal/sa1/committee";
    uint8_t seed[32];
    SHOAL_TRY(seed_of(label, sizeof label, roster_hash, seed, err));
    SHOAL_TRY(rank_all(seed, g->n, rank, err));
    for (size_t i = 0; i < g->m; i++) {
        shoal_sa_set_add(&g->committee, rank[i].index);
    }
    return SHOAL_OK;
}

shoal_status shoal_sa_graph_open(shoal_sa_graph *g, const shoal_sa_descriptor *d, size_t n,
                                 const uint8_t roster_hash[32], shoal_error *err)
{
    *g = shoal_sa_graph_shape(d, n);
    ranked *rank = shoal_calloc(n, sizeof *rank);
    if (rank == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a session's graph");
    shoal_status st = g->complete ? SHOAL_OK : fill_ring(g, roster_hash, rank, err);
    if (st == SHOAL_OK) st = fill_committee(g, roster_hash, rank, err);
    shoal_free(rank);
    if (st != SHOAL_OK) shoal_sa_graph_close(g);
    return st;
}

void shoal_sa_graph_close(shoal_sa_graph *g)
{
    shoal_free(g->ring);
    shoal_free(g->place);
    g->ring = NULL;
    g->place = NULL;
}

bool shoal_sa_graph_adjacent(const shoal_sa_graph *g, size_t i, size_t j)
{
    if (i == j || i < 1 || i > g->n || j < 1 || j > g->n) return false;
    if (g->complete) return true;
    size_t a = g->place[i - 1];
    size_t b = g->place[j - 1];
    size_t apart = a > b ? a - b : b - a;
    return apart <= g->k / 2 || g->n - apart <= g->k / 2;
}

static int compare_index(const void *a, const void *b)
{
    return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

void shoal_sa_graph_neighbours(const shoal_sa_graph *g, size_t i, uint16_t out[SHOAL_LIMIT_DEGREE])
{
    if (g->complete) {
        for (size_t j = 1; j <= g->n; j++) {
            if (j != i) *out++ = (uint16_t)j;
        }
        return;
    }
    size_t at = g->place[i - 1];
    for (size_t step = 1; step <= g->k / 2; step++) {
        out[2 * step - 2] = g->ring[(at + step) % g->n];
        out[2 * step - 1] = g->ring[(at + g->n - step) % g->n];
    }
    qsort(out, g->k, sizeof *out, compare_index);
}

size_t shoal_sa_graph_holders(const shoal_sa_graph *g, size_t i, uint16_t out[SHOAL_LIMIT_DEGREE])
{
    if (!g->complete) {
        shoal_sa_graph_neighbours(g, i, out);
        return g->k;
    }
    for (size_t j = 1; j <= g->n; j++) {
        out[j - 1] = (uint16_t)j;
    }
    return g->n;
}
