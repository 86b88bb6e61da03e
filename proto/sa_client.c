/* sa_client.c - the device's half of SA-1, read top down in the order of the messages. */
#include "proto/sa_client.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/secret.h"
#include "proto/mask.h"
#include "proto/sa_graph.h"
#include "proto/sa_label.h"
#include "proto/sa_params.h"
#include "proto/sa_wire.h"
#include "proto/shamir.h"
#include "proto/x509.h"

/* What the next call must be. One way only. */
typedef enum client_step {
    STEP_ADVERTISE,
    STEP_ROSTER,
    STEP_DELIVERY,
    STEP_MEMBERS,
    STEP_INPUT,
    STEP_CLAIM, /* or STEP_REQUEST's call, when the claim was missed */
    STEP_REQUEST,
    STEP_DONE,
    STEP_FAILED
} client_step;

/* A neighbour. */
typedef struct peer {
    uint16_t index;
    bool held; /* its box opened: the shares are there */
    uint8_t spki[SHOAL_SPKI_BYTES];
    uint8_t box_dh[32];   /* X25519 of the two epk_enc keys: secret */
    uint8_t share_b[32];  /* of the peer's b, at my place: secret */
    uint8_t share_sk[32]; /* of the peer's sk_mask, at my place: secret */
} peer;

/* Room for what one message holds, too large for the stack. */
typedef union scratch {
    struct {
        uint8_t of_b[SHOAL_LIMIT_DEGREE][32], of_sk[SHOAL_LIMIT_DEGREE][32]; /* secret */
        shoal_sa_boxes boxes;
    } dealt;
    shoal_sa_quorum quorum;
    shoal_sa_reveals reveals;
} scratch;

struct shoal_sa_client {
    shoal_sa_client_options opt;
    shoal_sa_descriptor d;
    uint8_t ctx[32];
    client_step step;

    uint8_t id[SHOAL_ID_BYTES];
    uint8_t spki[SHOAL_SPKI_BYTES];
    uint8_t sk_enc[32], sk_mask[32], b[32]; /* secret */
    shoal_sa_entry own;

    shoal_sa_graph g; /* n = 0 before the roster is known */
    uint16_t index;   /* own, from 1 */
    uint8_t roster_hash[32];
    shoal_sa_entry *entries;                   /* [g.n] */
    peer peers[SHOAL_LIMIT_DEGREE];            /* [g.k] the neighbours, ascending */
    uint8_t own_share_b[32], own_share_sk[32]; /* complete graph: at its own place; secret */

    shoal_sa_set dealt; /* whose M3 the server has, by M4 */
    shoal_sa_set u2;    /* those of them who confirmed */
    bool signed_set;
    shoal_sa_set u3; /* the set it signed */
    scratch tmp;
};

/* ---- transitions ---- */

static shoal_status expect(const shoal_sa_client *c, client_step step, shoal_error *err)
{
    if (c->step == step) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_STATE, "a secure-aggregation message out of order");
}

static void wipe_secrets(shoal_sa_client *c)
{
    shoal_wipe(c->sk_enc, sizeof c->sk_enc);
    shoal_wipe(c->sk_mask, sizeof c->sk_mask);
    shoal_wipe(c->b, sizeof c->b);
    shoal_wipe(c->own_share_b, sizeof c->own_share_b);
    shoal_wipe(c->own_share_sk, sizeof c->own_share_sk);
    for (size_t p = 0; p < SHOAL_LIMIT_DEGREE; p++) {
        shoal_wipe(&c->peers[p].box_dh, 32);
        shoal_wipe(&c->peers[p].share_b, 32);
        shoal_wipe(&c->peers[p].share_sk, 32);
    }
}

/* Ends a call. Spec 6.3: every failure ends the device's part and wipes its keys; what was already
 * appended to `out` is taken back. */
static shoal_status finish(shoal_sa_client *c, shoal_status st, client_step next, shoal_buf *out,
                           size_t start)
{
    if (st == SHOAL_OK) {
        c->step = next;
        return st;
    }
    if (out != NULL && out->len > start) {
        shoal_wipe(out->data + start, out->len - start);
        out->len = start;
    }
    wipe_secrets(c);
    c->step = STEP_FAILED;
    return st;
}

static shoal_mask_scope scope_of(const shoal_sa_client *c)
{
    return (shoal_mask_scope){.ctx = c->ctx, .roster_hash = c->roster_hash};
}

static shoal_status denied(shoal_error *err, const char *what)
{
    (void)shoal_fail(err, SHOAL_ERR_DENIED, "this device's policy refuses the session: %s", what);
    shoal_hint(err, "the device's owner sets the limits; the server's request was not answered");
    return SHOAL_ERR_DENIED;
}

static shoal_status tampered(shoal_error *err)
{
    return shoal_fail(err, SHOAL_ERR_TAMPERED, "the secure-aggregation session is not sound");
}

/* ---- M0: open ---- */

shoal_sa_policy shoal_sa_policy_default(void)
{
    return (shoal_sa_policy){.n_min = 32,
                             .ring_bits_min = SHOAL_LIMIT_RING_MIN,
                             .dim = 0,
                             .clip_norm_max = 1e9,
                             .weight_max = UINT32_MAX,
                             .committee_min = 128,
                             .corrupt = 0.05,
                             .dropout = 0.10,
                             .security_bits = 40,
                             .new_percent_max = 100};
}

/* Spec 5.1.2: the graph that a roster of n would have keeps the promises this device asks for.
 * Where it can be complete nothing else is taken: 5 % of 39 clients counts as one (sa_params.h
 * rounds down), and six neighbours would seem to be enough. */
static shoal_status judge_graph(const shoal_sa_client *c, size_t n, shoal_error *err)
{
    const shoal_sa_policy *p = &c->opt.policy;
    shoal_sa_graph g = shoal_sa_graph_shape(&c->d, n);
    shoal_sa_rules rules = {
        .corrupt = p->corrupt, .dropout = p->dropout, .security_bits = p->security_bits};
    if (g.complete || p->security_bits == 0) return SHOAL_OK;
    if (c->d.codec.n_max <= SHOAL_LIMIT_COMPLETE) {
        return denied(err, "so few clients are to be next to one another, all of them");
    }
    if (shoal_sa_params_private(&rules, n, g.k, g.t)) return SHOAL_OK;
    return denied(err, "its graph has too few neighbours or too low a threshold");
}

/* Spec 5.1.2: the device MUST check round, hashes, and its own policy. */
static shoal_status judge_descriptor(const shoal_sa_client *c, shoal_error *err)
{
    const shoal_sa_client_options *opt = &c->opt;
    const shoal_sa_descriptor *d = &c->d;
    const shoal_sa_policy *p = &opt->policy;
    if (memcmp(d->task_id, opt->task_id, sizeof d->task_id) != 0) {
        return denied(err, "another task");
    }
    if (d->round <= opt->last_round) return denied(err, "its round was seen before");
    if (memcmp(d->base_model_hash, opt->base_model_hash, 32) != 0) {
        return denied(err, "another base model");
    }
    if (memcmp(d->adapter_hash, opt->adapter_hash, 32) != 0) {
        return denied(err, "another adapter version than the one trained on");
    }
    if (d->n_min < p->n_min) return denied(err, "its smallest cohort is too small");
    if (d->codec.ring_bits < p->ring_bits_min) return denied(err, "its ring is too narrow");
    if (d->codec.dim != p->dim) return denied(err, "another number of coordinates");
    if (d->codec.clip_norm > p->clip_norm_max) return denied(err, "its clip norm is too large");
    if (d->codec.weight_max > p->weight_max) return denied(err, "its largest weight is too large");
    if (d->committee < p->committee_min && d->committee < d->codec.n_max) {
        return denied(err, "too few clients sign its survivors");
    }
    return judge_graph(c, d->codec.n_max, err);
}

static shoal_status open_session(shoal_sa_client *c, const void *descriptor, size_t n,
                                 shoal_error *err)
{
    if (c->opt.cert_n > SHOAL_LIMIT_CERT) {
        return shoal_fail(err, SHOAL_ERR_ARG, "the device's certificate is too long");
    }
    SHOAL_TRY(shoal_sa_descriptor_open(descriptor, n, c->opt.task_spki, &c->d, c->ctx, err));
    shoal_key_spki(c->opt.key, c->spki);
    SHOAL_TRY(shoal_spki_id(c->spki, c->id, err));
    return judge_descriptor(c, err);
}

shoal_status shoal_sa_client_open(shoal_sa_client **out, const shoal_sa_client_options *opt,
                                  const void *descriptor, size_t n, shoal_error *err)
{
    *out = NULL;
    shoal_sa_client *c = shoal_calloc(1, sizeof *c);
    if (c == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a session");
    c->opt = *opt;
    shoal_status st = open_session(c, descriptor, n, err);
    if (st != SHOAL_OK) {
        shoal_sa_client_close(c);
        return st;
    }
    *out = c;
    return SHOAL_OK;
}

void shoal_sa_client_close(shoal_sa_client *c)
{
    if (c == NULL) return;
    shoal_sa_graph_close(&c->g);
    shoal_free(c->entries);
    shoal_wipe(c, sizeof *c);
    shoal_free(c);
}

const shoal_sa_descriptor *shoal_sa_client_descriptor(const shoal_sa_client *c)
{
    return &c->d;
}

const uint8_t *shoal_sa_client_context(const shoal_sa_client *c)
{
    return c->ctx;
}

shoal_sa_stage shoal_sa_client_stage(const shoal_sa_client *c)
{
    switch (c->step) {
    case STEP_ADVERTISE:
    case STEP_ROSTER: return SHOAL_SA_ADVERTISE;
    case STEP_DELIVERY: return SHOAL_SA_SHARES;
    case STEP_MEMBERS: return SHOAL_SA_CONFIRM;
    case STEP_INPUT:
    case STEP_CLAIM: return SHOAL_SA_INPUT;
    case STEP_REQUEST: return SHOAL_SA_SURVIVORS;
    case STEP_DONE: return SHOAL_SA_DONE;
    case STEP_FAILED: return SHOAL_SA_FAILED;
    }
    return SHOAL_SA_FAILED;
}

size_t shoal_sa_client_cohort(const shoal_sa_client *c)
{
    return c->g.n;
}

bool shoal_sa_client_signs(const shoal_sa_client *c)
{
    return c->index != 0 && shoal_sa_set_has(&c->g.committee, c->index);
}

/* ---- M1: advertise ---- */

static shoal_status make_keys(shoal_sa_client *c, shoal_error *err)
{
    const shoal_entropy *src = c->opt.entropy;
    SHOAL_TRY(shoal_entropy_fill(src, c->sk_enc, 32, err));
    SHOAL_TRY(shoal_entropy_fill(src, c->sk_mask, 32, err));
    SHOAL_TRY(shoal_entropy_fill(src, c->b, 32, err));
    SHOAL_TRY(shoal_entropy_fill(src, c->own.nonce, 32, err));
    SHOAL_TRY(shoal_x25519_public(c->own.epk_enc, c->sk_enc, err));
    SHOAL_TRY(shoal_x25519_public(c->own.epk_mask, c->sk_mask, err));
    SHOAL_TRY(shoal_sa_commit(c->ctx, c->id, c->b, c->own.com_b, err));
    SHOAL_TRY(shoal_sha256(c->opt.cert, c->opt.cert_n, c->own.cert_hash, err));
    memcpy(c->own.client_id, c->id, SHOAL_ID_BYTES);
    SHOAL_PUBLIC(&c->own, sizeof c->own);
    return SHOAL_OK;
}

/* M1 without its signature, from an entry and a certificate. */
static void put_advert_of(shoal_buf *out, const shoal_sa_client *c, const shoal_sa_entry *e,
                          const void *cert, size_t cert_n)
{
    shoal_sa_advert m = {.cert = cert, .cert_n = cert_n};
    memcpy(m.epk_enc, e->epk_enc, 32);
    memcpy(m.epk_mask, e->epk_mask, 32);
    memcpy(m.nonce, e->nonce, 32);
    memcpy(m.com_b, e->com_b, 32);
    shoal_sa_put_advert(out, c->d.session_id, &m);
}

shoal_status shoal_sa_client_advertise(shoal_sa_client *c, shoal_buf *out, shoal_error *err)
{
    SHOAL_TRY(expect(c, STEP_ADVERTISE, err));
    size_t start = out->len;
    shoal_status st = make_keys(c, err);
    if (st == SHOAL_OK) {
        put_advert_of(out, c, &c->own, c->opt.cert, c->opt.cert_n);
        st = shoal_sa_sign_tail(out, start, c->opt.key, "shoal/sa1/advertise", c->ctx, err);
    }
    return finish(c, st, STEP_ROSTER, out, start);
}

/* ---- M2: roster ---- */

/* Spec 5.3.2: size, own entry once and bit-identical. (Order was checked by the decoder.) */
static shoal_status find_self(shoal_sa_client *c, const shoal_sa_roster *r, shoal_error *err)
{
    if (r->n < c->d.n_min || r->n > c->d.codec.n_max || r->n < c->opt.policy.n_min) {
        return denied(err, "the roster's size");
    }
    for (size_t i = 0; i < r->n; i++) {
        if (memcmp(&r->entries[i], &c->own, sizeof c->own) == 0) {
            c->index = (uint16_t)(i + 1);
        }
    }
    return c->index != 0 ? SHOAL_OK : tampered(err);
}

static int compare_keys(const void *a, const void *b)
{
    return memcmp(*(const uint8_t *const *)a, *(const uint8_t *const *)b, 32);
}

/* Spec 5.3.2: all 2n keys distinct; canonical, so that distinct bytes are distinct keys. */
static shoal_status check_keys(const shoal_sa_roster *r, shoal_error *err)
{
    const uint8_t **keys = shoal_calloc(2 * r->n, sizeof *keys);
    bool sound = true;
    if (keys == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a roster");
    for (size_t i = 0; i < r->n; i++) {
        keys[2 * i] = r->entries[i].epk_enc;
        keys[2 * i + 1] = r->entries[i].epk_mask;
    }
    qsort(keys, 2 * r->n, sizeof *keys, compare_keys);
    for (size_t i = 0; i < 2 * r->n; i++) {
        sound = sound && shoal_sa_key_canonical(keys[i]) &&
                (i == 0 || memcmp(keys[i - 1], keys[i], 32) != 0);
    }
    shoal_free(keys);
    return sound ? SHOAL_OK : tampered(err);
}

/* Another device's certificate, by the time at which it is shown. One that is not valid now is
 * neither the server's doing nor this device's policy: it costs this session and no more. */
static shoal_status check_cert(const shoal_sa_client *c, const void *cert, size_t n, int64_t now_s,
                               shoal_cert_info *info, shoal_error *err)
{
    shoal_error local = {0};
    shoal_status st =
        shoal_cert_check(c->opt.ca, c->opt.ca_n, cert, n, SHOAL_CERT_CLIENT, now_s, info, &local);
    if (st == SHOAL_ERR_DENIED) {
        return shoal_fail(err, SHOAL_ERR_TIMEOUT, "of another device, %s", local.msg);
    }
    if (st != SHOAL_OK && err != NULL) *err = local;
    return st;
}

/* Spec 5.3.2: certificate by the pinned CA, hash and id as in the entry, and the signature of M1
 * rebuilt from the entry. */
static shoal_status check_credential(const shoal_sa_client *c, peer *p, const shoal_sa_entry *e,
                                     const shoal_sa_credential *k, int64_t now_s, size_t *n_new,
                                     shoal_error *err)
{
    uint8_t hash[32];
    shoal_cert_info info;
    SHOAL_TRY(shoal_sha256(k->cert, k->cert_n, hash, err));
    if (memcmp(hash, e->cert_hash, 32) != 0) return tampered(err);
    SHOAL_TRY(check_cert(c, k->cert, k->cert_n, now_s, &info, err));
    if (memcmp(info.id, e->client_id, SHOAL_ID_BYTES) != 0) return tampered(err);
    memcpy(p->spki, info.spki, SHOAL_SPKI_BYTES);
    *n_new += now_s - info.not_before_s < (int64_t)c->opt.policy.new_s ? 1 : 0;

    shoal_buf m1 = shoal_buf_init(SHOAL_SA_HEAD_BYTES + 4 * 32 + 2 + SHOAL_LIMIT_CERT);
    put_advert_of(&m1, c, e, k->cert, k->cert_n);
    shoal_status st = shoal_buf_status(&m1, err);
    if (st == SHOAL_OK) {
        st =
            shoal_sa_verify(info.spki, "shoal/sa1/advertise", c->ctx, m1.data, m1.len, k->sig, err);
    }
    shoal_buf_clear(&m1);
    return st;
}

/* Spec 5.3.2: exactly its neighbours' certificates, in order; not too many of them new. */
static shoal_status check_neighbours(shoal_sa_client *c, const shoal_sa_roster *r, int64_t now_s,
                                     shoal_error *err)
{
    uint16_t near[SHOAL_LIMIT_DEGREE];
    size_t n_new = 0;
    shoal_sa_graph_neighbours(&c->g, c->index, near);
    if (r->n_credentials != c->g.k) return tampered(err);
    for (size_t p = 0; p < c->g.k; p++) {
        const shoal_sa_credential *k = &r->credentials[p];
        c->peers[p].index = near[p];
        if (k->index != near[p]) return tampered(err);
        const shoal_sa_entry *e = &r->entries[near[p] - 1];
        SHOAL_TRY(check_credential(c, &c->peers[p], e, k, now_s, &n_new, err));
    }
    if (n_new * 100 > c->g.k * (size_t)c->opt.policy.new_percent_max) {
        return denied(err, "too many of the others' certificates are new");
    }
    return SHOAL_OK;
}

static shoal_status accept_roster(shoal_sa_client *c, const void *m2, size_t n, int64_t now_s,
                                  shoal_sa_roster *r, shoal_error *err)
{
    SHOAL_TRY(shoal_sa_read_roster(m2, n, c->d.session_id, r, err));
    SHOAL_TRY(find_self(c, r, err));
    SHOAL_TRY(judge_graph(c, r->n, err));
    SHOAL_TRY(check_keys(r, err));
    SHOAL_TRY(shoal_sa_roster_hash(r->entries, r->n, c->ctx, c->roster_hash, err));
    SHOAL_TRY(shoal_sa_graph_open(&c->g, &c->d, r->n, c->roster_hash, err));
    SHOAL_TRY(check_neighbours(c, r, now_s, err));
    c->entries = r->entries; /* taken over */
    r->entries = NULL;
    return SHOAL_OK;
}

/* ---- M3: shares ---- */

/* Key and associated data of what `from` seals for `to`. Spec 5.4.2. */
typedef struct box_keys {
    uint8_t key[32];
    uint8_t aad[32 + 32 + 2 + 2];
} box_keys;

static shoal_status derive_box(const shoal_sa_client *c, const uint8_t dh[32], uint16_t from,
                               uint16_t to, box_keys *out, shoal_error *err)
{
    uint16_t places[2] = {from, to};
    shoal_mask_scope scope = scope_of(c);
    memcpy(out->aad, c->ctx, 32);
    memcpy(out->aad + 32, c->roster_hash, 32);
    for (size_t i = 0; i < 2; i++) {
        out->aad[64 + 2 * i] = (uint8_t)places[i];
        out->aad[65 + 2 * i] = (uint8_t)(places[i] >> 8);
    }
    return shoal_sa_derive("shoal/sa1/share", &scope, dh, places, 2, out->key, err);
}

/* Shares of one secret for all places; coefficients are wiped. */
static shoal_status split(const shoal_sa_client *c, const uint8_t secret[32], uint8_t (*shares)[32],
                          shoal_error *err)
{
    uint8_t coeffs[SHOAL_LIMIT_DEGREE * SHOAL_SHARE_BYTES];
    size_t holders = c->g.complete ? c->g.n : c->g.k;
    size_t bytes = shoal_shamir_coeff_bytes(c->g.t);
    shoal_status st = shoal_entropy_fill(c->opt.entropy, coeffs, bytes, err);
    if (st == SHOAL_OK) {
        st = shoal_shamir_split(secret, c->g.t, holders, coeffs, shares, err);
    }
    shoal_wipe(coeffs, sizeof coeffs);
    return st;
}

static shoal_status seal_for(shoal_sa_client *c, peer *p, const uint8_t share_b[32],
                             const uint8_t share_sk[32], shoal_sa_box *box, shoal_error *err)
{
    uint8_t plain[64];
    box_keys k;
    box->peer = p->index;
    SHOAL_TRY(shoal_entropy_fill(c->opt.entropy, box->nonce, sizeof box->nonce, err));
    shoal_status st = derive_box(c, p->box_dh, c->index, p->index, &k, err);
    if (st == SHOAL_OK) {
        memcpy(plain, share_b, 32);
        memcpy(plain + 32, share_sk, 32);
        shoal_aead_in in = {.key = k.key, .nonce = box->nonce, .aad = k.aad, .aad_n = sizeof k.aad};
        st = shoal_aead_seal(&in, plain, sizeof plain, box->sealed, err);
    }
    shoal_wipe(plain, sizeof plain);
    shoal_wipe(&k, sizeof k);
    return st;
}

/* X25519 of sk_enc with every neighbour's epk_enc. */
static shoal_status agree_on_boxes(shoal_sa_client *c, shoal_error *err)
{
    const uint8_t *theirs[SHOAL_LIMIT_DEGREE] = {0};
    uint8_t shared[SHOAL_LIMIT_DEGREE][32];
    for (size_t p = 0; p < c->g.k; p++) {
        theirs[p] = c->entries[c->peers[p].index - 1].epk_enc;
    }
    SHOAL_TRY(shoal_x25519_many(shared, c->sk_enc, theirs, c->g.k, err));
    for (size_t p = 0; p < c->g.k; p++) {
        memcpy(c->peers[p].box_dh, shared[p], 32);
    }
    shoal_wipe(shared, sizeof shared);
    return SHOAL_OK;
}

/* A share for each holder. In the complete graph its own stay here; all others go into boxes. */
static shoal_status deal(shoal_sa_client *c, shoal_error *err)
{
    uint8_t(*of_b)[32] = c->tmp.dealt.of_b;
    uint8_t(*of_sk)[32] = c->tmp.dealt.of_sk;
    shoal_sa_boxes *boxes = &c->tmp.dealt.boxes;
    size_t place = 0;
    shoal_status st = split(c, c->b, of_b, err);
    if (st == SHOAL_OK) st = split(c, c->sk_mask, of_sk, err);
    if (st == SHOAL_OK) st = agree_on_boxes(c, err);
    for (size_t p = 0; st == SHOAL_OK && p < c->g.k; p++, place++) {
        if (c->g.complete && place == c->index - 1u) place++;
        st = seal_for(c, &c->peers[p], of_b[place], of_sk[place], &boxes->items[p], err);
    }
    boxes->n = c->g.k;
    if (st == SHOAL_OK && c->g.complete) {
        memcpy(c->own_share_b, of_b[c->index - 1], 32);
        memcpy(c->own_share_sk, of_sk[c->index - 1], 32);
    }
    shoal_wipe(of_b, sizeof c->tmp.dealt.of_b);
    shoal_wipe(of_sk, sizeof c->tmp.dealt.of_sk);
    return st;
}

static shoal_status send_shares(shoal_sa_client *c, shoal_buf *out, shoal_error *err)
{
    size_t start = out->len;
    SHOAL_TRY(deal(c, err));
    shoal_sa_put_shares(out, c->d.session_id, &c->tmp.dealt.boxes);
    return shoal_sa_sign_tail(out, start, c->opt.key, "shoal/sa1/shares", c->ctx, err);
}

shoal_status shoal_sa_client_roster(shoal_sa_client *c, const void *m2, size_t n, int64_t now_s,
                                    shoal_buf *out, shoal_error *err)
{
    SHOAL_TRY(expect(c, STEP_ROSTER, err));
    size_t start = out->len;
    shoal_sa_roster *r = shoal_calloc(1, sizeof *r);
    shoal_status st = r != NULL ? accept_roster(c, m2, n, now_s, r, err)
                                : shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a roster");
    if (r != NULL) shoal_sa_roster_clear(r);
    shoal_free(r);
    if (st == SHOAL_OK) st = send_shares(c, out, err);
    return finish(c, st, STEP_DELIVERY, out, start);
}

/* ---- M4: delivery ---- */

/* The smallest set this device takes part in: itself, both minima, and t holders of its secrets. */
static bool enough(const shoal_sa_client *c, const shoal_sa_set *s)
{
    size_t count = shoal_sa_set_count(s);
    size_t holders = c->g.complete ? 1 : 0; /* itself */
    for (size_t p = 0; p < c->g.k; p++) {
        holders += shoal_sa_set_has(s, c->peers[p].index) ? 1 : 0;
    }
    return shoal_sa_set_has(s, c->index) && holders >= c->g.t && count >= c->d.n_min &&
           count >= c->opt.policy.n_min;
}

/* Spec 5.5.1: where all that is missing is holders, its neighbours have left, which is nobody's
 * fault; anything else no honest server says. */
static shoal_status refuse_dealers(const shoal_sa_client *c, shoal_error *err)
{
    size_t count = shoal_sa_set_count(&c->dealt);
    if (!shoal_sa_set_has(&c->dealt, c->index) || count < c->d.n_min ||
        count < c->opt.policy.n_min) {
        return tampered(err);
    }
    return shoal_fail(err, SHOAL_ERR_TIMEOUT,
                      "too few others are left to hold this device's shares");
}

/* TAMPERED when the tag is wrong. */
static shoal_status open_box(const shoal_sa_client *c, peer *p, const shoal_sa_box *box,
                             shoal_error *err)
{
    uint8_t plain[64];
    box_keys k;
    shoal_status st = derive_box(c, p->box_dh, p->index, c->index, &k, err);
    if (st == SHOAL_OK) {
        shoal_aead_in in = {.key = k.key, .nonce = box->nonce, .aad = k.aad, .aad_n = sizeof k.aad};
        st = shoal_aead_open(&in, box->sealed, sizeof box->sealed, plain, err);
    }
    if (st == SHOAL_OK) {
        memcpy(p->share_b, plain, 32);
        memcpy(p->share_sk, plain + 32, 32);
        p->held = true;
    }
    shoal_wipe(plain, sizeof plain);
    shoal_wipe(&k, sizeof k);
    return st;
}

/* Spec 5.5.1: own bit set; the set large enough; one item for each neighbour in it and no other.
 * Spec 5.5.2: whose box does not open is named, and that is all. */
static shoal_status accept_delivery(shoal_sa_client *c, const void *m4, size_t n,
                                    shoal_sa_refusals *refused, shoal_error *err)
{
    shoal_sa_boxes *boxes = &c->tmp.dealt.boxes;
    size_t next = 0;
    SHOAL_TRY(shoal_sa_read_delivery(m4, n, c->d.session_id, c->g.n, &c->dealt, boxes, err));
    if (!enough(c, &c->dealt)) return refuse_dealers(c, err);
    for (size_t p = 0; p < c->g.k; p++) {
        uint16_t j = c->peers[p].index;
        if (!shoal_sa_set_has(&c->dealt, j)) continue;
        if (next >= boxes->n || boxes->items[next].peer != j) return tampered(err);
        shoal_status st = open_box(c, &c->peers[p], &boxes->items[next++], err);
        if (st == SHOAL_ERR_TAMPERED) {
            refused->items[refused->n++] = j;
        } else if (st != SHOAL_OK) {
            return st;
        }
    }
    return next == boxes->n ? SHOAL_OK : tampered(err);
}

shoal_status shoal_sa_client_delivery(shoal_sa_client *c, const void *m4, size_t n, shoal_buf *out,
                                      shoal_error *err)
{
    SHOAL_TRY(expect(c, STEP_DELIVERY, err));
    size_t start = out->len;
    shoal_error local = {0};
    shoal_sa_refusals refused = {.n = 0};
    shoal_status st = accept_delivery(c, m4, n, &refused, &local);
    if (st == SHOAL_OK) {
        shoal_sa_put_confirm(out, c->d.session_id, &refused);
        st = shoal_buf_status(out, &local);
    }
    if (st != SHOAL_OK && err != NULL) *err = local;
    return finish(c, st, STEP_MEMBERS, out, start);
}

/* Spec 5.5.3: large enough, and nobody in it who did not deal. */
static shoal_status accept_members(shoal_sa_client *c, const void *m, size_t n, shoal_error *err)
{
    SHOAL_TRY(shoal_sa_read_members(m, n, c->d.session_id, c->g.n, &c->u2, err));
    if (!enough(c, &c->u2) || !shoal_sa_set_subset(&c->u2, &c->dealt)) return tampered(err);
    return SHOAL_OK;
}

shoal_status shoal_sa_client_members(shoal_sa_client *c, const void *m, size_t n, shoal_error *err)
{
    SHOAL_TRY(expect(c, STEP_MEMBERS, err));
    shoal_status st = accept_members(c, m, n, err);
    return finish(c, st, STEP_INPUT, NULL, 0);
}

/* ---- M5: masked input ---- */

static shoal_status self_stream(const shoal_sa_client *c, shoal_key_stream *out, shoal_error *err)
{
    uint8_t key[32];
    shoal_mask_scope scope = scope_of(c);
    SHOAL_TRY(shoal_mask_self_key(&scope, c->b, c->index, key, err));
    *out = shoal_mask_stream(key, false);
    shoal_wipe(key, sizeof key);
    return SHOAL_OK;
}

static shoal_status pair_stream(const shoal_sa_client *c, uint16_t j, const uint8_t shared[32],
                                shoal_key_stream *out, shoal_error *err)
{
    uint8_t key[32];
    shoal_mask_scope scope = scope_of(c);
    SHOAL_TRY(shoal_mask_pair_key(&scope, shared, c->index, j, key, err));
    *out = shoal_mask_stream(key, j < c->index);
    shoal_wipe(key, sizeof key);
    return SHOAL_OK;
}

/* Spec 5.6.1: the self mask, and one for each neighbour in U2. */
static shoal_status list_streams(const shoal_sa_client *c, shoal_key_stream *out, size_t *n,
                                 shoal_error *err)
{
    uint16_t there[SHOAL_LIMIT_DEGREE];
    const uint8_t *theirs[SHOAL_LIMIT_DEGREE] = {0};
    uint8_t shared[SHOAL_LIMIT_DEGREE][32];
    size_t m = 0;
    for (size_t p = 0; p < c->g.k; p++) {
        uint16_t j = c->peers[p].index;
        if (!shoal_sa_set_has(&c->u2, j)) continue;
        theirs[m] = c->entries[j - 1].epk_mask;
        there[m++] = j;
    }
    SHOAL_TRY(shoal_x25519_many(shared, c->sk_mask, theirs, m, err));
    shoal_status st = self_stream(c, &out[(*n)++], err);
    for (size_t i = 0; st == SHOAL_OK && i < m; i++) {
        st = pair_stream(c, there[i], shared[i], &out[(*n)++], err);
    }
    shoal_wipe(shared, sizeof shared);
    return st;
}

static shoal_status mask_words(const shoal_sa_client *c, uint32_t *words, size_t n,
                               shoal_error *err)
{
    size_t n_streams = 0;
    size_t most = c->g.k + 1;
    shoal_key_stream *streams = shoal_calloc(most, sizeof *streams);
    if (streams == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for masks");
    shoal_status st = list_streams(c, streams, &n_streams, err);
    if (st == SHOAL_OK) {
        st = shoal_mask_apply_all(c->opt.ex, streams, n_streams, words, n, err);
    }
    shoal_wipe(streams, most * sizeof *streams);
    shoal_free(streams);
    return st;
}

/* header || signature || packed. The vector is packed where it will be sent from; hash and
 * signature are filled in afterwards. */
static shoal_status put_masked(const shoal_sa_client *c, const uint32_t *words, size_t n,
                               shoal_buf *out, shoal_error *err)
{
    static const uint8_t room_for_sig[SHOAL_SIG_BYTES] = {0};
    shoal_sa_input m = {.words = (uint32_t)n, .ring_bits = c->d.codec.ring_bits};
    size_t start = out->len;
    size_t bytes = shoal_packed_bytes(n, m.ring_bits);
    shoal_sa_put_input(out, c->d.session_id, &m);
    (void)shoal_buf_put(out, room_for_sig, sizeof room_for_sig);
    uint8_t *packed = shoal_buf_reserve(out, bytes);
    if (packed == NULL) return shoal_buf_status(out, err);
    shoal_pack(words, n, m.ring_bits, packed);
    out->len += bytes;
    out->data[out->len] = 0;

    uint8_t *sig = packed - SHOAL_SIG_BYTES;
    SHOAL_TRY(shoal_sha256(packed, bytes, sig - 32, err));
    return shoal_sa_sign(c->opt.key, "shoal/sa1/input", c->ctx, out->data + start,
                         SHOAL_SA_INPUT_HEAD_BYTES - SHOAL_SIG_BYTES, sig, err);
}

shoal_status shoal_sa_client_input(shoal_sa_client *c, uint32_t *words, shoal_buf *out,
                                   shoal_error *err)
{
    SHOAL_TRY(expect(c, STEP_INPUT, err));
    size_t start = out->len;
    size_t n = shoal_codec_words(&c->d.codec);
    shoal_status st = mask_words(c, words, n, err);
    if (st == SHOAL_OK) st = put_masked(c, words, n, out, err);
    return finish(c, st, STEP_CLAIM, out, start);
}

/* ---- M6: survivors ---- */

/* Spec 5.7.1: large enough, here and in all, own bit set, a subset of the U2 it was given. */
static shoal_status check_survivors(const shoal_sa_client *c, const shoal_sa_set *u3,
                                    shoal_error *err)
{
    return enough(c, u3) && shoal_sa_set_subset(u3, &c->u2) ? SHOAL_OK : tampered(err);
}

static shoal_sa_survivors survivors_of(const shoal_sa_client *c, const shoal_sa_set *u3)
{
    return (shoal_sa_survivors){
        .ctx = c->ctx, .roster_hash = c->roster_hash, .roster_n = c->g.n, .u3 = u3};
}

static shoal_status sign_claim(shoal_sa_client *c, const void *m6, size_t n, shoal_buf *out,
                               shoal_error *err)
{
    uint8_t sig[SHOAL_SIG_BYTES];
    SHOAL_TRY(shoal_sa_read_claim(m6, n, c->d.session_id, c->g.n, &c->u3, err));
    SHOAL_TRY(check_survivors(c, &c->u3, err));
    shoal_sa_survivors s = survivors_of(c, &c->u3);
    SHOAL_TRY(shoal_sa_survivors_sign(&s, c->opt.key, sig, err));
    shoal_sa_put_signature(out, c->d.session_id, c->g.n, &c->u3, sig);
    c->signed_set = true;
    return shoal_buf_status(out, err);
}

shoal_status shoal_sa_client_claim(shoal_sa_client *c, const void *m6, size_t n, shoal_buf *out,
                                   shoal_error *err)
{
    SHOAL_TRY(expect(c, STEP_CLAIM, err));
    if (!shoal_sa_client_signs(c)) {
        return shoal_fail(err, SHOAL_ERR_STATE, "this device does not sign survivor sets");
    }
    size_t start = out->len;
    shoal_status st = sign_claim(c, m6, n, out, err);
    return finish(c, st, STEP_REQUEST, out, start);
}

/* ---- M7, M8: unmask ---- */

static const peer *find_peer(const shoal_sa_client *c, uint16_t index)
{
    for (size_t p = 0; p < c->g.k; p++) {
        if (c->peers[p].index == index) return &c->peers[p];
    }
    return NULL;
}

/* The key a voucher must be signed by. In the complete graph everyone's is known from M2; otherwise
 * the certificate comes along, and is that of the roster. */
static shoal_status voucher_key(const shoal_sa_client *c, const shoal_sa_voucher *v, int64_t now_s,
                                uint8_t spki[SHOAL_SPKI_BYTES], shoal_error *err)
{
    const shoal_sa_entry *e = &c->entries[v->index - 1];
    const peer *p = find_peer(c, v->index);
    uint8_t hash[32];
    if (c->g.complete != (v->cert_n == 0)) return tampered(err);
    if (!c->g.complete) {
        SHOAL_TRY(shoal_sha256(v->cert, v->cert_n, hash, err));
        if (memcmp(hash, e->cert_hash, 32) != 0) return tampered(err);
    }
    if (v->index == c->index || p != NULL) {
        memcpy(spki, p != NULL ? p->spki : c->spki, SHOAL_SPKI_BYTES);
        return SHOAL_OK;
    }
    shoal_cert_info info;
    SHOAL_TRY(check_cert(c, v->cert, v->cert_n, now_s, &info, err));
    memcpy(spki, info.spki, SHOAL_SPKI_BYTES);
    return memcmp(info.id, e->client_id, SHOAL_ID_BYTES) == 0 ? SHOAL_OK : tampered(err);
}

/* Spec 5.8.1, Spec 5.8.2: q valid signatures of members of the committee that are in U3, verified
 * under the keys of the roster. */
static shoal_status check_quorum(const shoal_sa_client *c, const shoal_sa_set *u3,
                                 const shoal_sa_quorum *q, int64_t now_s, shoal_error *err)
{
    shoal_sa_survivors s = survivors_of(c, u3);
    if (q->n < c->g.q) return tampered(err);
    for (size_t i = 0; i < q->n; i++) {
        uint8_t spki[SHOAL_SPKI_BYTES];
        uint16_t j = q->items[i].index;
        if (!shoal_sa_set_has(u3, j) || !shoal_sa_set_has(&c->g.committee, j)) return tampered(err);
        SHOAL_TRY(voucher_key(c, &q->items[i], now_s, spki, err));
        SHOAL_TRY(shoal_sa_survivors_verify(&s, spki, q->items[i].sig, err));
    }
    return SHOAL_OK;
}

static void add_reveal(shoal_sa_reveals *out, uint16_t j, bool alive, const uint8_t share_b[32],
                       const uint8_t share_sk[32])
{
    shoal_sa_reveal *r = &out->items[out->n++];
    r->index = j;
    r->kind = alive ? SHOAL_SA_REVEAL_B : SHOAL_SA_REVEAL_SK;
    memcpy(r->share, alive ? share_b : share_sk, 32);
}

/* Spec 5.9: for each j in U2 it holds shares of, the share of b_j when j is in U3 and the share of
 * sk_mask_j when it is not; never both. In the complete graph of itself too, in its place. */
static void collect_reveals(const shoal_sa_client *c, const shoal_sa_set *u3, shoal_sa_reveals *out)
{
    bool own_due = c->g.complete;
    out->n = 0;
    for (size_t p = 0; p <= c->g.k; p++) {
        const peer *next = p < c->g.k ? &c->peers[p] : NULL;
        if (own_due && (next == NULL || next->index > c->index)) {
            add_reveal(out, c->index, shoal_sa_set_has(u3, c->index), c->own_share_b,
                       c->own_share_sk);
            own_due = false;
        }
        if (next == NULL || !next->held || !shoal_sa_set_has(&c->u2, next->index)) continue;
        add_reveal(out, next->index, shoal_sa_set_has(u3, next->index), next->share_b,
                   next->share_sk);
    }
}

static shoal_status answer_request(shoal_sa_client *c, const void *m7, size_t n, int64_t now_s,
                                   shoal_buf *out, shoal_error *err)
{
    shoal_sa_set u3;
    shoal_sa_quorum *quorum = &c->tmp.quorum;
    shoal_sa_reveals *reveals = &c->tmp.reveals;
    size_t start = out->len;
    SHOAL_TRY(shoal_sa_read_request(m7, n, c->d.session_id, c->g.n, &u3, quorum, err));
    SHOAL_TRY(check_survivors(c, &u3, err));
    if (c->signed_set && !shoal_sa_set_equal(&u3, &c->u3)) return tampered(err);
    SHOAL_TRY(check_quorum(c, &u3, quorum, now_s, err));
    collect_reveals(c, &u3, reveals);
    shoal_sa_put_unmask(out, c->d.session_id, reveals);
    shoal_wipe(reveals, sizeof *reveals);
    return shoal_sa_sign_tail(out, start, c->opt.key, "shoal/sa1/unmask", c->ctx, err);
}

shoal_status shoal_sa_client_request(shoal_sa_client *c, const void *m7, size_t n, int64_t now_s,
                                     shoal_buf *out, shoal_error *err)
{
    if (c->step != STEP_CLAIM) {
        SHOAL_TRY(expect(c, STEP_REQUEST, err));
    }
    size_t start = out->len;
    shoal_status st = answer_request(c, m7, n, now_s, out, err);
    st = finish(c, st, STEP_DONE, out, start);
    wipe_secrets(c); /* Spec 5.9.1: nothing is left to answer a second request with. */
    return st;
}
