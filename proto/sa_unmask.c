/* sa_unmask.c - from revealed shares to the bare sum.
 *
 * Every opened secret is checked against what its owner committed to in M1, so a false share never
 * spoils a sum: subsets of the shares are tried, leaving out up to two holders at a time, until one
 * opens the secret.
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
    uint8_t x[SHOAL_LIMIT_COHORT_MAX]; /* holder's index, which is its place */
    uint8_t share[SHOAL_LIMIT_COHORT_MAX][32];
} share_list;

static void gather(const shoal_sa_server *s, size_t j, share_list *l)
{
    l->n = 0;
    for (size_t i = 1; i <= s->n; i++) {
        bool holds = i == j || shoal_sa_neighbours(&s->d, s->n, i, j);
        if (!holds || !shoal_sa_set_has(&s->answered[SHOAL_SA_UNMASK], i) ||
            shoal_sa_set_has(&s->liars, i)) {
            continue;
        }
        l->x[l->n] = (uint8_t)i;
        memcpy(l->share[l->n++], s->party[i - 1]->revealed[j - 1], 32);
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

/* The first t shares of the list without places a and b (out of range: none left out). */
static bool pick(const share_list *l, size_t t, size_t a, size_t b, share_list *out)
{
    out->n = 0;
    for (size_t i = 0; i < l->n && out->n < t; i++) {
        if (i == a || i == b) continue;
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
    const share_list *all;
    bool found;    /* `secret` is right, whatever the polynomial */
    bool decisive; /* `used` lies on the right polynomial */
    share_list used;
    uint8_t secret[32];
} search;

/* Shares of the list that are not on the polynomial through the t used ones; named in `off`. */
static size_t count_off(const shoal_sa_server *s, const search *q, shoal_sa_set *off)
{
    size_t count = 0;
    memset(off, 0, sizeof *off);
    for (size_t i = 0; i < q->all->n; i++) {
        uint8_t right[32];
        if (shoal_shamir_combine(q->used.x, rows(&q->used), s->t, q->all->x[i], right, NULL) ==
                SHOAL_OK &&
            !shoal_equal(right, q->all->share[i], 32)) {
            shoal_sa_set_add(off, q->all->x[i]);
            count++;
        }
        shoal_wipe(right, sizeof right);
    }
    return count;
}

/* One subset. Once the secret is known, candidates are compared with it, which is cheap. */
static void try_without(shoal_sa_server *s, size_t j, bool alive, search *q, size_t a, size_t b)
{
    uint8_t candidate[32];
    shoal_sa_set off;
    if (q->decisive || !pick(q->all, s->t, a, b, &q->used) ||
        shoal_shamir_combine(q->used.x, rows(&q->used), s->t, 0, candidate, NULL) != SHOAL_OK) {
        return;
    }
    bool right =
        q->found ? shoal_equal(candidate, q->secret, 32) : is_secret_of(s, j, alive, candidate);
    if (right) {
        q->found = true;
        memcpy(q->secret, candidate, 32);
        q->decisive = 2 * count_off(s, q, &off) < q->all->n - s->t + 2;
    }
    if (q->decisive) {
        for (size_t w = 0; w < sizeof off.w / sizeof off.w[0]; w++) {
            s->liars.w[w] |= off.w[w];
        }
    }
    shoal_wipe(candidate, sizeof candidate);
}

/* All t-subsets made by leaving out nobody, one, or two holders, until one is decisive. */
static void search_secret(shoal_sa_server *s, size_t j, bool alive, search *q)
{
    size_t n = q->all->n; /* as a place: nobody */
    try_without(s, j, alive, q, n, n);
    for (size_t a = 0; a < n && !q->decisive; a++) {
        try_without(s, j, alive, q, a, n);
    }
    for (size_t a = 0; a < n && !q->decisive; a++) {
        for (size_t b = a + 1; b < n; b++) {
            try_without(s, j, alive, q, a, b);
        }
    }
}

static shoal_status open_secret(shoal_sa_server *s, size_t j, bool alive, uint8_t secret[32],
                                shoal_error *err)
{
    share_list all;
    search q = {.all = &all};
    gather(s, j, &all);
    search_secret(s, j, alive, &q);
    memcpy(secret, q.secret, 32);
    bool found = q.found;
    size_t had = all.n;
    shoal_wipe(&all, sizeof all);
    shoal_wipe(&q, sizeof q);
    if (found) return SHOAL_OK;
    char id[2 * SHOAL_ID_BYTES + 1];
    shoal_hex_encode(s->party[j - 1]->entry.client_id, SHOAL_ID_BYTES, id);
    return shoal_fail(err, SHOAL_ERR_DENIED, "%zu shares do not open the mask of client %s", had,
                      id);
}

static shoal_mask_scope scope_of(const shoal_sa_server *s)
{
    return (shoal_mask_scope){.ctx = s->ctx, .roster_hash = s->roster_hash};
}

/* Takes off the self mask of a survivor. */
static shoal_status remove_self(shoal_sa_server *s, uint16_t j, const uint8_t b[32],
                                shoal_error *err)
{
    uint8_t key[32];
    shoal_mask_scope scope = scope_of(s);
    SHOAL_TRY(shoal_mask_self_key(&scope, b, j, key, err));
    shoal_status st =
        shoal_mask_apply(s->ex, key, s->sum, shoal_codec_words(&s->d.codec), true, err);
    shoal_wipe(key, sizeof key);
    return st;
}

/* Takes off what the survivors added for the pairs they had with j, who left after M3: survivor i
 * added the stream when i < j and subtracted it when i > j. */
static shoal_status remove_pairs(shoal_sa_server *s, uint16_t j, const uint8_t sk[32],
                                 shoal_error *err)
{
    shoal_mask_scope scope = scope_of(s);
    for (uint16_t i = 1; i <= s->n; i++) {
        uint8_t key[32];
        if (!shoal_sa_set_has(&s->answered[SHOAL_SA_INPUT], i) ||
            !shoal_sa_neighbours(&s->d, s->n, i, j)) {
            continue;
        }
        SHOAL_TRY(shoal_mask_pair_key(&scope, sk, s->party[i - 1]->entry.epk_mask, i, j, key, err));
        shoal_status st =
            shoal_mask_apply(s->ex, key, s->sum, shoal_codec_words(&s->d.codec), i < j, err);
        shoal_wipe(key, sizeof key);
        if (st != SHOAL_OK) return st;
    }
    return SHOAL_OK;
}

static shoal_status remove_masks_of(shoal_sa_server *s, uint16_t j, shoal_error *err)
{
    uint8_t secret[32];
    bool alive = shoal_sa_set_has(&s->answered[SHOAL_SA_INPUT], j);
    SHOAL_TRY(open_secret(s, j, alive, secret, err));
    shoal_status st = alive ? remove_self(s, j, secret, err) : remove_pairs(s, j, secret, err);
    shoal_wipe(secret, sizeof secret);
    return st;
}

shoal_status shoal_sa_unmask(shoal_sa_server *s, shoal_error *err)
{
    for (uint16_t j = 1; j <= s->n; j++) {
        if (shoal_sa_set_has(&s->answered[SHOAL_SA_SHARES], j)) {
            SHOAL_TRY(remove_masks_of(s, j, err));
        }
    }
    uint32_t bits = s->d.codec.ring_bits;
    uint32_t mask = bits >= 32 ? UINT32_MAX : (1u << bits) - 1u;
    for (size_t w = 0; w < shoal_codec_words(&s->d.codec); w++) {
        s->sum[w] &= mask;
    }
    return SHOAL_OK;
}
