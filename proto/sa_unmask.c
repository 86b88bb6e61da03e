/* sa_unmask.c - from revealed shares to the bare sum: secrets are opened, keys of masks derived
 * from them, and all masks taken off in one pass over the sum; each step over the exec's pool.
 *
 * Every opened secret is checked against what its owner committed to in M1, so a false share never
 * spoils a sum. The first t shares mostly open it; where they do not, up to (m - t) / 2 false ones
 * of m are found by decoding, and one more than that can often still be left out, as the owner's
 * commitment tells the right secret: subsets without up to two holders are tried.
 *
 * Naming the liars needs more care, because colluding ones can choose errors that cancel at 0 and
 * so open the right secret with a wrong polynomial, on which honest shares do not lie. Two
 * polynomials of degree t - 1 that agree at 0 agree at no more than t - 2 other places; so with m
 * shares and f liars a wrong one misses at least m - (t - 2) - f shares, and the right one misses
 * at most f. While 2 f < m - t + 2, a polynomial that misses fewer than (m - t + 2) / 2 is the
 * right one. */
#include <string.h>

#include "kernels/base/mem.h"
#include "proto/mask.h"
#include "proto/sa_session.h"
#include "proto/shamir.h"

/* The shares of one secret, by holder. */
typedef struct share_list {
    size_t n;
    uint8_t x[SHOAL_LIMIT_DEGREE];       /* the holder's place, from 1 */
    uint16_t holder[SHOAL_LIMIT_DEGREE]; /* its index */
    uint8_t share[SHOAL_LIMIT_DEGREE][32];
} share_list;

/* The share of j that holder i revealed, or NULL. */
static const uint8_t *share_from(const shoal_sa_server *s, size_t i, size_t j)
{
    const shoal_sa_party *p = s->party[i - 1];
    if (!shoal_sa_set_has(&s->answered[SHOAL_SA_UNMASK], i) || shoal_sa_set_has(&s->liars, i)) {
        return NULL;
    }
    size_t place = i == j ? s->g.k : shoal_sa_place(p, s->g.k, j);
    return i != j && p->refused != NULL && p->refused[place] ? NULL : p->revealed[place];
}

static void gather(const shoal_sa_server *s, size_t j, share_list *l)
{
    uint16_t holders[SHOAL_LIMIT_DEGREE];
    size_t n = shoal_sa_graph_holders(&s->g, j, holders);
    l->n = 0;
    for (size_t at = 0; at < n; at++) {
        const uint8_t *share = share_from(s, holders[at], j);
        if (share == NULL) continue;
        l->x[l->n] = (uint8_t)(at + 1);
        l->holder[l->n] = holders[at];
        memcpy(l->share[l->n++], share, 32);
    }
}

/* Spec 5.9.2: b against com_b, sk_mask against epk_mask. */
static bool is_secret_of(const shoal_sa_server *s, size_t j, bool alive, const uint8_t secret[32])
{
    const shoal_sa_entry *e = &s->party[j - 1]->entry;
    uint8_t image[32];
    shoal_status st = alive ? shoal_sa_commit(s->ctx, e->client_id, secret, image, NULL)
                            : shoal_x25519_public(image, secret, NULL);
    return st == SHOAL_OK && shoal_equal(image, alive ? e->com_b : e->epk_mask, 32);
}

/* The first t shares of the list that are not left out. */
static bool pick(const share_list *l, size_t t, const bool *without, share_list *out)
{
    out->n = 0;
    for (size_t i = 0; i < l->n && out->n < t; i++) {
        if (without[i]) continue;
        out->x[out->n] = l->x[i];
        memcpy(out->share[out->n++], l->share[i], 32);
    }
    return out->n == t;
}

static const uint8_t (*rows(const share_list *l))[32]
{
    return (const uint8_t(*)[32])l->share;
}

/* How a secret was searched for. */
typedef struct search {
    share_list all;
    bool found;    /* `secret` is right, whatever the polynomial */
    bool decisive; /* `used` lies on the right polynomial, and shares in `off` do not */
    share_list used;
    bool without[SHOAL_LIMIT_DEGREE]; /* shares left out of the next attempt */
    uint8_t secret[32];
    shoal_sa_set off;
} search;

/* Shares of the list that are not on the polynomial through the t used ones; named in q->off. */
static size_t count_off(const shoal_sa_server *s, search *q)
{
    size_t n = 0;
    size_t count = 0;
    uint8_t at[SHOAL_LIMIT_DEGREE] = {0};
    size_t which[SHOAL_LIMIT_DEGREE]; /* in q->all: the shares that were not used */
    uint8_t right[SHOAL_LIMIT_DEGREE][32];
    memset(&q->off, 0, sizeof q->off);
    for (size_t i = 0, used = 0; i < q->all.n; i++) {
        if (used < q->used.n && q->used.x[used] == q->all.x[i]) {
            used++;
            continue;
        }
        at[n] = q->all.x[i];
        which[n++] = i;
    }
    if (shoal_shamir_evaluate(q->used.x, rows(&q->used), s->g.t, at, n, right, NULL) != SHOAL_OK) {
        return q->all.n;
    }
    for (size_t i = 0; i < n; i++) {
        if (shoal_equal(right[i], q->all.share[which[i]], 32)) continue;
        shoal_sa_set_add(&q->off, q->all.holder[which[i]]);
        count++;
    }
    shoal_wipe(right, sizeof right);
    return count;
}

/* One subset, of those in q->without. Once the secret is known, candidates are compared with it,
 * which is cheap. */
static void attempt(const shoal_sa_server *s, size_t j, bool alive, search *q)
{
    uint8_t candidate[32];
    if (q->decisive || !pick(&q->all, s->g.t, q->without, &q->used) ||
        shoal_shamir_combine(q->used.x, rows(&q->used), s->g.t, 0, candidate, NULL) != SHOAL_OK) {
        return;
    }
    bool right =
        q->found ? shoal_equal(candidate, q->secret, 32) : is_secret_of(s, j, alive, candidate);
    if (right) {
        q->found = true;
        memcpy(q->secret, candidate, 32);
        q->decisive = 2 * count_off(s, q) < q->all.n - s->g.t + 2;
    }
    shoal_wipe(candidate, sizeof candidate);
}

/* Leaves out holder a, and each other beside it. */
static void attempt_pairs(const shoal_sa_server *s, size_t j, bool alive, search *q, size_t a)
{
    q->without[a] = true;
    attempt(s, j, alive, q);
    for (size_t b = a + 1; b < q->all.n && !q->decisive; b++) {
        q->without[b] = true;
        attempt(s, j, alive, q);
        q->without[b] = false;
    }
    q->without[a] = false;
}

/* Spec 5.9.2: nobody left out; then those found by decoding; then one holder or two, until an
 * attempt is decisive. */
static void search_secret(const shoal_sa_server *s, size_t j, bool alive, search *q)
{
    attempt(s, j, alive, q);
    if (q->decisive || q->all.n < s->g.t) return;
    if (shoal_shamir_locate(q->all.x, rows(&q->all), q->all.n, s->g.t, q->without)) {
        attempt(s, j, alive, q);
    }
    memset(q->without, 0, sizeof q->without);
    for (size_t a = 0; a < q->all.n && !q->decisive; a++) {
        attempt_pairs(s, j, alive, q, a);
    }
}

/* The secret of one member of U2. */
typedef struct opening {
    uint16_t j;
    bool alive; /* in U3: b_j, otherwise sk_mask_j */
    bool found, decisive, out_of_memory;
    uint8_t secret[32];
    size_t shares;      /* that it was searched in */
    shoal_sa_set liars; /* holders found out by it */
} opening;

/* Everything the end of a session works on. */
typedef struct unmasking {
    const shoal_sa_server *s;
    opening *openings;
    size_t n_openings;
    struct edge *edges;
    shoal_key_stream *streams; /* of the edges */
    size_t n_edges;
} unmasking;

static void open_secret(const shoal_sa_server *s, opening *o)
{
    search *q = shoal_calloc(1, sizeof *q);
    o->out_of_memory = q == NULL;
    if (q == NULL) return;
    gather(s, o->j, &q->all);
    search_secret(s, o->j, o->alive, q);
    o->shares = q->all.n;
    o->decisive = q->decisive;
    if (q->found) memcpy(o->secret, q->secret, 32);
    o->found = o->found || q->found;
    if (q->decisive) o->liars = q->off;
    shoal_wipe(q, sizeof *q);
    shoal_free(q);
}

static void open_range(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const unmasking *u = ctx;
    for (size_t i = begin; i < end; i++) {
        open_secret(u->s, &u->openings[i]);
    }
}

/* Adds an opening's liars to the session's; true when one is new. */
static bool note_liars(shoal_sa_server *s, const opening *o)
{
    bool more = false;
    for (size_t w = 0; w < sizeof o->liars.w / sizeof o->liars.w[0]; w++) {
        more = more || (o->liars.w[w] & ~s->liars.w[w]) != 0;
        s->liars.w[w] |= o->liars.w[w];
    }
    return more;
}

static shoal_status not_opened(const shoal_sa_server *s, const opening *o, shoal_error *err)
{
    char id[2 * SHOAL_ID_BYTES + 1];
    if (o->out_of_memory) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for shares");
    shoal_hex_encode(s->party[o->j - 1]->entry.client_id, SHOAL_ID_BYTES, id);
    return shoal_fail(err, SHOAL_ERR_DENIED, "%zu shares do not open the mask of client %s",
                      o->shares, id);
}

/* All secrets side by side; then, for as long as that finds liars out, those again that did not
 * open, or could not tell who lied, while the liars' shares were among theirs. */
static shoal_status open_secrets(shoal_sa_server *s, unmasking *u, shoal_error *err)
{
    bool more = false;
    shoal_parallel_for(s->ex->pool, u->n_openings, 1, open_range, u);
    for (size_t i = 0; i < u->n_openings; i++) {
        more = note_liars(s, &u->openings[i]) || more;
    }
    while (more) {
        more = false;
        for (size_t i = 0; i < u->n_openings; i++) {
            if (u->openings[i].decisive) continue;
            open_secret(s, &u->openings[i]);
            more = note_liars(s, &u->openings[i]) || more;
        }
    }
    for (size_t i = 0; i < u->n_openings; i++) {
        if (!u->openings[i].found) return not_opened(s, &u->openings[i], err);
    }
    return SHOAL_OK;
}

/* One mask to take off: the self mask of a survivor, or the mask that survivor i had with j, who
 * left after M3. */
typedef struct edge {
    const opening *o;
    uint16_t i;      /* o->j: the self mask */
    shoal_status st; /* of the run that begins here */
} edge;

static shoal_mask_scope scope_of(const shoal_sa_server *s)
{
    return (shoal_mask_scope){.ctx = s->ctx, .roster_hash = s->roster_hash};
}

static shoal_status self_stream(const shoal_sa_server *s, const opening *o, shoal_key_stream *out)
{
    uint8_t key[32];
    shoal_mask_scope scope = scope_of(s);
    shoal_status st = shoal_mask_self_key(&scope, o->secret, o->j, key, NULL);
    *out = shoal_mask_stream(key, true);
    shoal_wipe(key, sizeof key);
    return st;
}

/* Spec 5.10: survivor i added the stream of the pair when i < j and subtracted it when i > j. */
static shoal_status pair_stream(const shoal_sa_server *s, const edge *e, const uint8_t shared[32],
                                shoal_key_stream *out)
{
    uint8_t key[32];
    shoal_mask_scope scope = scope_of(s);
    shoal_status st = shoal_mask_pair_key(&scope, shared, e->i, e->o->j, key, NULL);
    *out = shoal_mask_stream(key, e->i < e->o->j);
    shoal_wipe(key, sizeof key);
    return st;
}

enum { RUN = 16 }; /* edges whose keys are agreed together */

/* Streams of n <= RUN edges of one opening. */
static shoal_status derive_run(const shoal_sa_server *s, const edge *e, size_t n,
                               shoal_key_stream *out)
{
    const uint8_t *peers[RUN] = {0};
    uint8_t shared[RUN][32];
    if (e->o->alive) return self_stream(s, e->o, out);
    for (size_t i = 0; i < n; i++) {
        peers[i] = s->party[e[i].i - 1]->entry.epk_mask;
    }
    SHOAL_TRY(shoal_x25519_many(shared, e->o->secret, peers, n, NULL));
    shoal_status st = SHOAL_OK;
    for (size_t i = 0; st == SHOAL_OK && i < n; i++) {
        st = pair_stream(s, &e[i], shared[i], &out[i]);
    }
    shoal_wipe(shared, sizeof shared);
    return st;
}

static void derive_range(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const unmasking *u = ctx;
    for (size_t at = begin, n = 1; at < end; at += n) {
        edge *first = &u->edges[at];
        for (n = 1; at + n < end && first[n].o == first->o; n++) {
        }
        first->st = derive_run(u->s, first, n, &u->streams[at]);
    }
}

/* Edges of one opening; NULL only counts them. */
static size_t list_edges(const shoal_sa_server *s, const opening *o, edge *out)
{
    size_t n = 0;
    if (o->alive) {
        if (out != NULL) out[0] = (edge){.o = o, .i = o->j};
        return 1;
    }
    for (size_t at = 0; at < s->g.k; at++) {
        uint16_t i = s->party[o->j - 1]->near[at];
        if (!shoal_sa_set_has(&s->answered[SHOAL_SA_INPUT], i)) continue;
        if (out != NULL) out[n] = (edge){.o = o, .i = i};
        n++;
    }
    return n;
}

static shoal_status derive_streams(const shoal_sa_server *s, unmasking *u, shoal_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < u->n_openings; i++) {
        n += list_edges(s, &u->openings[i], NULL);
    }
    u->edges = shoal_calloc(n, sizeof *u->edges);
    u->streams = shoal_calloc(n, sizeof *u->streams);
    if (u->edges == NULL || u->streams == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for %zu masks", n);
    }
    u->n_edges = n;
    n = 0;
    for (size_t i = 0; i < u->n_openings; i++) {
        n += list_edges(s, &u->openings[i], u->edges + n);
    }
    shoal_parallel_for(s->ex->pool, n, RUN, derive_range, u);
    for (size_t i = 0; i < n; i++) {
        if (u->edges[i].st == SHOAL_OK) continue;
        return shoal_fail(err, u->edges[i].st, "a mask's key cannot be derived");
    }
    return SHOAL_OK;
}

static shoal_status begin_unmasking(const shoal_sa_server *s, unmasking *u, shoal_error *err)
{
    const shoal_sa_set *u2 = &s->u2;
    u->openings = shoal_calloc(shoal_sa_set_count(u2), sizeof *u->openings);
    if (u->openings == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory to unmask");
    for (uint16_t j = 1; j <= s->n; j++) {
        if (!shoal_sa_set_has(u2, j)) continue;
        u->openings[u->n_openings++] =
            (opening){.j = j, .alive = shoal_sa_set_has(&s->answered[SHOAL_SA_INPUT], j)};
    }
    return SHOAL_OK;
}

static void end_unmasking(unmasking *u)
{
    if (u->openings != NULL) shoal_wipe(u->openings, u->n_openings * sizeof *u->openings);
    if (u->streams != NULL) shoal_wipe(u->streams, u->n_edges * sizeof *u->streams);
    shoal_free(u->openings);
    shoal_free(u->edges);
    shoal_free(u->streams);
}

shoal_status shoal_sa_unmask(shoal_sa_server *s, shoal_error *err)
{
    unmasking u = {.s = s};
    size_t words = shoal_codec_words(&s->d.codec);
    shoal_status st = begin_unmasking(s, &u, err);
    if (st == SHOAL_OK) st = open_secrets(s, &u, err);
    if (st == SHOAL_OK) st = derive_streams(s, &u, err);
    if (st == SHOAL_OK) {
        st = shoal_mask_apply_all(s->ex, u.streams, u.n_edges, s->sum, words, err);
    }
    end_unmasking(&u);
    if (st != SHOAL_OK) return st;
    uint32_t bits = s->d.codec.ring_bits;
    uint32_t mask = bits >= 32 ? UINT32_MAX : (1u << bits) - 1u;
    for (size_t w = 0; w < words; w++) {
        s->sum[w] &= mask;
    }
    return SHOAL_OK;
}
