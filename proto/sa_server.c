/* sa_server.c - the aggregator's half of SA-1: who is in, what was said, when a stage closes.
 * The arithmetic at the end is in sa_unmask.c. */
#include "proto/sa_server.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "proto/sa_label.h"
#include "proto/sa_session.h"
#include "proto/x509.h"

enum { CLOCKS_APART_S = 300 }; /* of two devices, Spec 5.2.1 */

/* ---- open and close ---- */

static shoal_status open_session(shoal_sa_server *s, const shoal_sa_server_options *opt,
                                 const void *descriptor, size_t n, shoal_error *err)
{
    SHOAL_TRY(shoal_sa_descriptor_open(descriptor, n, opt->task_spki, &s->d, s->ctx, err));
    if (opt->ca_n > sizeof s->ca) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the CA certificate is too long");
    }
    memcpy(s->ca, opt->ca, opt->ca_n);
    s->ca_n = opt->ca_n;
    s->ex = opt->ex;
    s->sum = shoal_calloc(shoal_codec_words(&s->d.codec), sizeof *s->sum);
    s->party = shoal_calloc(s->d.codec.n_max, sizeof *s->party);
    if (s->sum == NULL || s->party == NULL)
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for the sum");
    return SHOAL_OK;
}

shoal_status shoal_sa_server_open(shoal_sa_server **out, const shoal_sa_server_options *opt,
                                  const void *descriptor, size_t n, shoal_error *err)
{
    *out = NULL;
    shoal_sa_server *s = shoal_calloc(1, sizeof *s);
    if (s == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a session");
    shoal_status st = open_session(s, opt, descriptor, n, err);
    if (st != SHOAL_OK) {
        shoal_sa_server_close(s);
        return st;
    }
    *out = s;
    return SHOAL_OK;
}

static void free_member(shoal_sa_party *m)
{
    if (m == NULL) return;
    shoal_free(m->near);
    shoal_free(m->boxes);
    shoal_free(m->refused);
    shoal_free(m->revealed);
    shoal_wipe(m, sizeof *m);
    shoal_free(m);
}

void shoal_sa_server_close(shoal_sa_server *s)
{
    if (s == NULL) return;
    for (size_t i = 0; i < s->n; i++) {
        free_member(s->party[i]);
    }
    shoal_free(s->party);
    shoal_sa_graph_close(&s->g);
    if (s->sum != NULL) {
        shoal_wipe(s->sum, shoal_codec_words(&s->d.codec) * sizeof *s->sum);
    }
    shoal_free(s->sum);
    shoal_wipe(s, sizeof *s);
    shoal_free(s);
}

/* ---- reading the state ---- */

const shoal_sa_descriptor *shoal_sa_server_descriptor(const shoal_sa_server *s)
{
    return &s->d;
}

const uint8_t *shoal_sa_server_context(const shoal_sa_server *s)
{
    return s->ctx;
}

shoal_sa_stage shoal_sa_server_stage(const shoal_sa_server *s)
{
    return s->stage;
}

const uint32_t *shoal_sa_server_sum(const shoal_sa_server *s)
{
    return s->stage == SHOAL_SA_DONE ? s->sum : NULL;
}

const char *shoal_sa_server_reason(const shoal_sa_server *s)
{
    return s->reason;
}

void shoal_sa_server_roster_hash(const shoal_sa_server *s, uint8_t out[32])
{
    memcpy(out, s->roster_hash, 32);
}

/* Spec 6.1: those who can still answer in a stage after ADVERTISE. Of the committee, whoever did
 * not sign has probably left, and is not waited for any more. */
static shoal_sa_set expected_in(const shoal_sa_server *s, shoal_sa_stage stage)
{
    const shoal_sa_set *u3 = &s->answered[SHOAL_SA_INPUT];
    const shoal_sa_set *signers = &s->answered[SHOAL_SA_SURVIVORS];
    shoal_sa_set out = stage == SHOAL_SA_CONFIRM  ? s->kept
                       : stage == SHOAL_SA_INPUT  ? s->u2
                       : stage == SHOAL_SA_UNMASK ? *u3
                                                  : s->answered[stage - 1];
    for (size_t w = 0; w < sizeof out.w / sizeof out.w[0]; w++) {
        if (stage == SHOAL_SA_SURVIVORS) out.w[w] &= s->g.committee.w[w];
        if (stage == SHOAL_SA_UNMASK) out.w[w] &= ~s->g.committee.w[w] | signers->w[w];
    }
    return out;
}

static size_t expected_count(const shoal_sa_server *s)
{
    if (s->stage == SHOAL_SA_ADVERTISE) return s->d.n_target;
    if (s->stage >= SHOAL_SA_DONE) return 0;
    shoal_sa_set expected = expected_in(s, s->stage);
    return shoal_sa_set_count(&expected);
}

/* Spec 6.1: how many a stage needs to go on. */
static size_t needed_count(const shoal_sa_server *s)
{
    switch (s->stage) {
    case SHOAL_SA_ADVERTISE: return s->d.n_min;
    case SHOAL_SA_SHARES:
    case SHOAL_SA_CONFIRM:
    case SHOAL_SA_INPUT: return s->g.t > s->d.n_min ? s->g.t : s->d.n_min;
    case SHOAL_SA_SURVIVORS: return s->g.q;
    case SHOAL_SA_UNMASK: return s->g.t;
    case SHOAL_SA_DONE:
    case SHOAL_SA_FAILED: break;
    }
    return 0;
}

static size_t answered_count(const shoal_sa_server *s)
{
    if (s->stage >= SHOAL_SA_DONE) return 0;
    return s->stage == SHOAL_SA_ADVERTISE ? s->n : shoal_sa_set_count(&s->answered[s->stage]);
}

shoal_sa_counts shoal_sa_server_counts(const shoal_sa_server *s)
{
    shoal_sa_counts c = {.roster = s->n,
                         .answered = answered_count(s),
                         .expected = expected_count(s),
                         .threshold = s->stage == SHOAL_SA_ADVERTISE ? s->d.n_min : s->g.t,
                         .liars = shoal_sa_set_count(&s->liars)};
    if (s->stage > SHOAL_SA_INPUT) {
        c.survivors = shoal_sa_set_count(&s->answered[SHOAL_SA_INPUT]);
    }
    return c;
}

bool shoal_sa_server_member(const shoal_sa_server *s, size_t i, shoal_sa_member *out)
{
    if (i >= s->n) return false;
    memset(out, 0, sizeof *out);
    memcpy(out->id, s->party[i]->entry.client_id, SHOAL_ID_BYTES);
    if (s->stage == SHOAL_SA_ADVERTISE) return true;
    out->shared = shoal_sa_set_has(&s->answered[SHOAL_SA_SHARES], i + 1);
    out->masks = shoal_sa_set_has(&s->u2, i + 1);
    out->uploaded = shoal_sa_set_has(&s->answered[SHOAL_SA_INPUT], i + 1);
    out->signed_set = shoal_sa_set_has(&s->answered[SHOAL_SA_SURVIVORS], i + 1);
    out->unmasked = shoal_sa_set_has(&s->answered[SHOAL_SA_UNMASK], i + 1);
    out->lied = shoal_sa_set_has(&s->liars, i + 1);
    return true;
}

/* Where id is in s->party, or belongs. */
static size_t place_of(const shoal_sa_server *s, const uint8_t id[SHOAL_ID_BYTES])
{
    size_t low = 0;
    for (size_t high = s->n; low < high;) {
        size_t mid = low + (high - low) / 2;
        if (memcmp(s->party[mid]->entry.client_id, id, SHOAL_ID_BYTES) < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* Place in s->party, or s->n. */
static size_t find_party(const shoal_sa_server *s, const uint8_t id[SHOAL_ID_BYTES])
{
    size_t i = place_of(s, id);
    return i < s->n && memcmp(s->party[i]->entry.client_id, id, SHOAL_ID_BYTES) == 0 ? i : s->n;
}

/* ---- M1: advertise ---- */

/* The canonical X25519 values of low order, with which any secret gives zero: 0, 1, the two of
 * order 8, and p - 1 (RFC 7748 7; test_crypto.c sees each refused). */
static bool has_low_order(const uint8_t key[32])
{
    static const uint8_t values[5][32] = {
        {0},
        {1},
        {0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3,
         0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32,
         0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00},
        {0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1,
         0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c,
         0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57},
        {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}};
    for (size_t i = 0; i < 5; i++) {
        if (memcmp(key, values[i], 32) == 0) return true;
    }
    return false;
}

static shoal_status check_key(const uint8_t key[32], shoal_error *err)
{
    if (shoal_sa_key_canonical(key) && !has_low_order(key)) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_TAMPERED, "a public key is not usable");
}

/* Spec 5.2: one client must not be able to make the others refuse the roster by repeating a key. */
static shoal_status check_fresh(const shoal_sa_server *s, const shoal_sa_advert *m,
                                shoal_error *err)
{
    bool repeated = memcmp(m->epk_enc, m->epk_mask, 32) == 0;
    for (size_t i = 0; i < s->n; i++) {
        const shoal_sa_entry *e = &s->party[i]->entry;
        repeated = repeated || memcmp(m->epk_enc, e->epk_enc, 32) == 0 ||
                   memcmp(m->epk_enc, e->epk_mask, 32) == 0 ||
                   memcmp(m->epk_mask, e->epk_enc, 32) == 0 ||
                   memcmp(m->epk_mask, e->epk_mask, 32) == 0;
    }
    if (repeated) return shoal_fail(err, SHOAL_ERR_TAMPERED, "a public key is used twice");
    SHOAL_TRY(check_key(m->epk_enc, err));
    return check_key(m->epk_mask, err);
}

static shoal_status fill_party(shoal_sa_party *p, const uint8_t *id, const shoal_sa_advert *m,
                               const shoal_cert_info *info, shoal_error *err)
{
    memcpy(p->entry.client_id, id, SHOAL_ID_BYTES);
    memcpy(p->entry.epk_enc, m->epk_enc, 32);
    memcpy(p->entry.epk_mask, m->epk_mask, 32);
    memcpy(p->entry.nonce, m->nonce, 32);
    memcpy(p->entry.com_b, m->com_b, 32);
    memcpy(p->spki, info->spki, SHOAL_SPKI_BYTES);
    memcpy(p->cert, m->cert, m->cert_n);
    p->cert_n = m->cert_n;
    memcpy(p->advert_sig, m->sig, SHOAL_SIG_BYTES);
    return shoal_sha256(m->cert, m->cert_n, p->entry.cert_hash, err);
}

/* Spec 5.2.1: valid now, and for as long as anyone in the session may have to check it: else a
 * client that joins with an hour too little makes its neighbours refuse the roster. STATE and not
 * DENIED: with the next certificate the device is welcome. */
static shoal_status check_cert(const shoal_sa_server *s, const shoal_sa_advert *m, int64_t now_s,
                               shoal_cert_info *info, shoal_error *err)
{
    shoal_error local = {0};
    uint64_t lasts_ms = 0;
    for (size_t i = 0; i < SHOAL_SA_STAGES; i++) {
        lasts_ms += s->d.deadline_ms[i];
    }
    shoal_status st = shoal_cert_check(s->ca, s->ca_n, m->cert, m->cert_n, SHOAL_CERT_CLIENT, now_s,
                                       info, &local);
    if (st == SHOAL_ERR_DENIED) return shoal_fail(err, SHOAL_ERR_STATE, "%s", local.msg);
    if (st != SHOAL_OK && err != NULL) *err = local;
    if (st == SHOAL_OK && info->not_after_s < now_s + (int64_t)(lasts_ms / 1000) + CLOCKS_APART_S) {
        return shoal_fail(err, SHOAL_ERR_STATE, "the certificate may end before the session does");
    }
    return st;
}

static shoal_status take_advert(shoal_sa_server *s, const uint8_t *id, const void *data, size_t n,
                                int64_t now_s, const uint8_t hash[32], shoal_error *err)
{
    shoal_sa_advert m;
    shoal_cert_info info;
    if (s->n >= s->d.codec.n_max) {
        return shoal_fail(err, SHOAL_ERR_STATE, "the cohort is full");
    }
    SHOAL_TRY(shoal_sa_read_advert(data, n, s->d.session_id, &m, err));
    SHOAL_TRY(check_cert(s, &m, now_s, &info, err));
    if (memcmp(info.id, id, SHOAL_ID_BYTES) != 0) {
        return shoal_fail(err, SHOAL_ERR_TAMPERED,
                          "the advertised certificate is another client's");
    }
    SHOAL_TRY(shoal_sa_verify_tail(data, n, info.spki, "shoal/sa1/advertise", s->ctx, err));
    SHOAL_TRY(check_fresh(s, &m, err));
    shoal_sa_party *p = shoal_calloc(1, sizeof *p);
    if (p == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a client");
    shoal_status st = fill_party(p, id, &m, &info, err);
    if (st != SHOAL_OK) {
        free_member(p);
        return st;
    }
    memcpy(p->seen[SHOAL_SA_ADVERTISE], hash, 32);
    size_t at = place_of(s, id); /* roster order: by client id */
    memmove(&s->party[at + 1], &s->party[at], (s->n - at) * sizeof s->party[0]);
    s->party[at] = p;
    s->n++;
    return SHOAL_OK;
}

shoal_status shoal_sa_server_expel(shoal_sa_server *s, const uint8_t client_id[SHOAL_ID_BYTES],
                                   shoal_error *err)
{
    if (s->stage != SHOAL_SA_ADVERTISE) {
        return shoal_fail(err, SHOAL_ERR_STATE, "the roster is fixed");
    }
    size_t i = find_party(s, client_id);
    if (i < s->n) {
        free_member(s->party[i]);
        s->n--;
        memmove(&s->party[i], &s->party[i + 1], (s->n - i) * sizeof s->party[0]);
        s->party[s->n] = NULL;
    }
    return SHOAL_OK;
}

/* ---- M3 to M8 of a member ---- */

/* Spec 5.4: a box for each neighbour and for nobody else. */
static shoal_status take_shares(shoal_sa_server *s, size_t i, const void *data, size_t n,
                                shoal_error *err)
{
    shoal_sa_boxes *boxes = &s->boxes;
    shoal_sa_party *p = s->party[i];
    SHOAL_TRY(shoal_sa_read_shares(data, n, s->d.session_id, boxes, err));
    SHOAL_TRY(shoal_sa_verify_tail(data, n, p->spki, "shoal/sa1/shares", s->ctx, err));
    bool right = boxes->n == s->g.k;
    for (size_t at = 0; right && at < s->g.k; at++) {
        right = boxes->items[at].peer == p->near[at];
    }
    if (!right) return shoal_fail(err, SHOAL_ERR_FORMAT, "shares for the wrong clients");
    p->boxes = shoal_calloc(s->g.k, sizeof *p->boxes);
    if (p->boxes == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for shares");
    memcpy(p->boxes, boxes->items, s->g.k * sizeof *p->boxes);
    return SHOAL_OK;
}

/* Spec 5.5.2: whose boxes did not open, which can only be neighbours that dealt. */
static shoal_status take_confirm(shoal_sa_server *s, size_t i, const void *data, size_t n,
                                 shoal_error *err)
{
    shoal_sa_refusals m;
    shoal_sa_party *p = s->party[i];
    SHOAL_TRY(shoal_sa_read_confirm(data, n, s->d.session_id, &m, err));
    for (size_t r = 0; r < m.n; r++) {
        if (shoal_sa_place(p, s->g.k, m.items[r]) == s->g.k ||
            !shoal_sa_set_has(&s->answered[SHOAL_SA_SHARES], m.items[r])) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "a box was refused that was not delivered");
        }
    }
    if (m.n == 0) return SHOAL_OK;
    p->refused = shoal_calloc(s->g.k, sizeof *p->refused);
    if (p->refused == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a session");
    for (size_t r = 0; r < m.n; r++) {
        p->refused[shoal_sa_place(p, s->g.k, m.items[r])] = true;
    }
    return SHOAL_OK;
}

/* Spec 5.6: of the session's size, signed, and the very vector that was signed. */
static shoal_status take_input(shoal_sa_server *s, size_t i, const void *data, size_t n,
                               shoal_error *err)
{
    shoal_sa_input m;
    uint8_t hash[32];
    size_t words = shoal_codec_words(&s->d.codec);
    SHOAL_TRY(shoal_sa_read_input(data, n, s->d.session_id, &m, err));
    if (m.words != words || m.ring_bits != s->d.codec.ring_bits ||
        m.packed_n != shoal_packed_bytes(words, m.ring_bits)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "an input of the wrong size");
    }
    SHOAL_TRY(shoal_sa_verify_tail(data, SHOAL_SA_INPUT_HEAD_BYTES, s->party[i]->spki,
                                   "shoal/sa1/input", s->ctx, err));
    SHOAL_TRY(shoal_sha256(m.packed, m.packed_n, hash, err));
    if (memcmp(hash, m.hash, 32) != 0) {
        return shoal_fail(err, SHOAL_ERR_TAMPERED, "an input is not the one that was signed");
    }
    return shoal_packed_add(s->ex, m.packed, m.packed_n, words, m.ring_bits, s->sum, err);
}

static shoal_sa_survivors survivors_of(const shoal_sa_server *s)
{
    return (shoal_sa_survivors){.ctx = s->ctx,
                                .roster_hash = s->roster_hash,
                                .roster_n = s->n,
                                .u3 = &s->answered[SHOAL_SA_INPUT]};
}

static shoal_status take_signature(shoal_sa_server *s, size_t i, const void *data, size_t n,
                                   shoal_error *err)
{
    shoal_sa_set u3;
    uint8_t sig[SHOAL_SIG_BYTES];
    SHOAL_TRY(shoal_sa_read_signature(data, n, s->d.session_id, s->n, &u3, sig, err));
    if (!shoal_sa_set_equal(&u3, &s->answered[SHOAL_SA_INPUT])) {
        return shoal_fail(err, SHOAL_ERR_TAMPERED, "a signature for another survivor set");
    }
    shoal_sa_survivors what = survivors_of(s);
    SHOAL_TRY(shoal_sa_survivors_verify(&what, s->party[i]->spki, sig, err));
    memcpy(s->party[i]->survivors_sig, sig, sizeof sig);
    return SHOAL_OK;
}

/* Keeps the share of j at `place` when the next item is it, of the kind the survivor set asks for.
 */
static bool take_reveal(shoal_sa_server *s, size_t i, size_t place, size_t j,
                        const shoal_sa_reveals *r, size_t *next)
{
    bool alive = shoal_sa_set_has(&s->answered[SHOAL_SA_INPUT], j);
    if (*next >= r->n || r->items[*next].index != j ||
        r->items[*next].kind != (alive ? SHOAL_SA_REVEAL_B : SHOAL_SA_REVEAL_SK)) {
        return false;
    }
    memcpy(s->party[i]->revealed[place], r->items[(*next)++].share, 32);
    return true;
}

/* Exactly one item for each j in U2 whose shares the client holds. */
static bool take_reveals(shoal_sa_server *s, size_t i, const shoal_sa_reveals *r)
{
    const shoal_sa_party *p = s->party[i];
    size_t next = 0;
    bool own_due = s->g.complete;
    for (size_t at = 0; at <= s->g.k; at++) {
        if (own_due && (at == s->g.k || p->near[at] > i + 1)) {
            if (!take_reveal(s, i, s->g.k, i + 1, r, &next)) return false;
            own_due = false;
        }
        if (at == s->g.k || !shoal_sa_set_has(&s->u2, p->near[at]) ||
            (p->refused != NULL && p->refused[at])) {
            continue;
        }
        if (!take_reveal(s, i, at, p->near[at], r, &next)) return false;
    }
    return next == r->n;
}

static shoal_status take_unmask(shoal_sa_server *s, size_t i, const void *data, size_t n,
                                shoal_error *err)
{
    shoal_sa_reveals r;
    shoal_sa_party *p = s->party[i];
    SHOAL_TRY(shoal_sa_read_unmask(data, n, s->d.session_id, &r, err));
    SHOAL_TRY(shoal_sa_verify_tail(data, n, p->spki, "shoal/sa1/unmask", s->ctx, err));
    if (p->revealed == NULL) p->revealed = shoal_calloc(s->g.k + 1, sizeof *p->revealed);
    if (p->revealed == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for shares");
    return take_reveals(s, i, &r)
               ? SHOAL_OK
               : shoal_fail(err, SHOAL_ERR_FORMAT, "the wrong shares were revealed");
}

static shoal_status take(shoal_sa_server *s, shoal_sa_stage stage, size_t i, const void *data,
                         size_t n, shoal_error *err)
{
    switch (stage) {
    case SHOAL_SA_SHARES: return take_shares(s, i, data, n, err);
    case SHOAL_SA_CONFIRM: return take_confirm(s, i, data, n, err);
    case SHOAL_SA_INPUT: return take_input(s, i, data, n, err);
    case SHOAL_SA_SURVIVORS: return take_signature(s, i, data, n, err);
    case SHOAL_SA_UNMASK: return take_unmask(s, i, data, n, err);
    case SHOAL_SA_ADVERTISE:
    case SHOAL_SA_DONE:
    case SHOAL_SA_FAILED: break;
    }
    return shoal_fail(err, SHOAL_ERR_STATE, "no such stage");
}

/* ---- receive ---- */

static bool answered(const shoal_sa_server *s, shoal_sa_stage stage, size_t i)
{
    if (i >= s->n) return false;
    return stage == SHOAL_SA_ADVERTISE || shoal_sa_set_has(&s->answered[stage], i + 1);
}

/* U3 may reveal whether or not it signed; who has lost its holders has nothing to confirm; an input
 * is one of U2; a survivor set is signed by the
 * committee; and always only those who answered the stage before. */
static bool may_answer(const shoal_sa_server *s, shoal_sa_stage stage, size_t i)
{
    if (i >= s->n) return false;
    if (stage == SHOAL_SA_CONFIRM) return shoal_sa_set_has(&s->kept, i + 1);
    if (stage == SHOAL_SA_INPUT) return shoal_sa_set_has(&s->u2, i + 1);
    if (stage == SHOAL_SA_UNMASK) return answered(s, SHOAL_SA_INPUT, i);
    if (stage == SHOAL_SA_SURVIVORS && !shoal_sa_set_has(&s->g.committee, i + 1)) return false;
    return answered(s, stage - 1, i);
}

static shoal_status check_stage(const shoal_sa_server *s, shoal_sa_stage stage, shoal_error *err)
{
    if (s->stage == SHOAL_SA_FAILED) {
        return shoal_fail(err, SHOAL_ERR_STATE, "the session is over: %s", s->reason);
    }
    if (stage != s->stage) {
        return shoal_fail(err, SHOAL_ERR_STATE, "the %s stage is %s", shoal_sa_stage_name(stage),
                          stage < s->stage ? "closed" : "not open yet");
    }
    return SHOAL_OK;
}

/* What tells a message apart from every other. Of an input that is all but the vector, which its
 * hash stands for: take_input and is_same hold the vector against it, once. */
static shoal_status fingerprint(shoal_sa_stage stage, const void *data, size_t n, uint8_t out[32],
                                shoal_error *err)
{
    bool input = stage == SHOAL_SA_INPUT && n > SHOAL_SA_INPUT_HEAD_BYTES;
    return shoal_sha256(data, input ? SHOAL_SA_INPUT_HEAD_BYTES : n, out, err);
}

/* Spec 3.5: are these the bytes that were accepted before? */
static bool is_same(const shoal_sa_server *s, shoal_sa_stage stage, size_t i, const void *data,
                    size_t n, const uint8_t hash[32])
{
    shoal_sa_input m;
    uint8_t vector_hash[32];
    if (memcmp(s->party[i]->seen[stage], hash, 32) != 0) return false;
    if (stage != SHOAL_SA_INPUT) return true;
    return shoal_sa_read_input(data, n, s->d.session_id, &m, NULL) == SHOAL_OK &&
           shoal_sha256(m.packed, m.packed_n, vector_hash, NULL) == SHOAL_OK &&
           memcmp(vector_hash, m.hash, 32) == 0;
}

shoal_status shoal_sa_server_receive(shoal_sa_server *s, shoal_sa_stage stage,
                                     const uint8_t client_id[SHOAL_ID_BYTES], const void *data,
                                     size_t n, int64_t now_s, shoal_error *err)
{
    uint8_t hash[32];
    size_t i = find_party(s, client_id);
    if (stage >= SHOAL_SA_DONE) return shoal_fail(err, SHOAL_ERR_STATE, "no such stage");
    if (stage != SHOAL_SA_INPUT && n > SHOAL_LIMIT_SA_DEVICE) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "a message of %zu bytes", n);
    }
    SHOAL_TRY(fingerprint(stage, data, n, hash, err));
    /* Spec 3.5: the same bytes again are acknowledged again, other bytes are refused. */
    if (answered(s, stage, i)) {
        if (is_same(s, stage, i, data, n, hash)) return SHOAL_OK;
        return shoal_fail(err, SHOAL_ERR_DENIED, "this stage was answered before with other bytes");
    }
    SHOAL_TRY(check_stage(s, stage, err));
    if (stage == SHOAL_SA_ADVERTISE) {
        return take_advert(s, client_id, data, n, now_s, hash, err);
    }
    if (!may_answer(s, stage, i)) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "not a member of this stage of the session");
    }
    SHOAL_TRY(take(s, stage, i, data, n, err));
    memcpy(s->party[i]->seen[stage], hash, 32);
    shoal_sa_set_add(&s->answered[stage], i + 1);
    return SHOAL_OK;
}

/* ---- advance ---- */

bool shoal_sa_server_ready(const shoal_sa_server *s)
{
    if (s->stage >= SHOAL_SA_DONE) return false;
    if (s->stage == SHOAL_SA_ADVERTISE) return s->n >= s->d.n_target;
    /* Not by their number: in UNMASK others than the expected may answer as well. */
    shoal_sa_set expected = expected_in(s, s->stage);
    return shoal_sa_set_subset(&expected, &s->answered[s->stage]);
}

static shoal_status fail_session(shoal_sa_server *s, shoal_error *err)
{
    if (err->msg[0] != '\0') {
        (void)snprintf(s->reason, sizeof s->reason, "%.*s", (int)sizeof s->reason - 1, err->msg);
    }
    s->stage = SHOAL_SA_FAILED;
    shoal_wipe(s->sum, shoal_codec_words(&s->d.codec) * sizeof *s->sum);
    return SHOAL_ERR_DENIED;
}

static shoal_status fill_near(shoal_sa_server *s, shoal_error *err)
{
    for (size_t i = 0; i < s->n; i++) {
        uint16_t near[SHOAL_LIMIT_DEGREE];
        shoal_sa_party *p = s->party[i];
        shoal_sa_graph_neighbours(&s->g, i + 1, near);
        p->near = shoal_calloc(s->g.k, sizeof *p->near);
        if (p->near == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a session");
        memcpy(p->near, near, s->g.k * sizeof near[0]);
    }
    return SHOAL_OK;
}

static shoal_status list_entries(const shoal_sa_server *s, shoal_sa_entry **out, shoal_error *err)
{
    *out = shoal_calloc(s->n + 1, sizeof **out);
    if (*out == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a roster");
    for (size_t i = 0; i < s->n; i++) {
        (*out)[i] = s->party[i]->entry;
    }
    return SHOAL_OK;
}

static shoal_status fix_roster(shoal_sa_server *s, shoal_error *err)
{
    shoal_sa_entry *entries;
    SHOAL_TRY(list_entries(s, &entries, err));
    for (size_t i = 0; i < s->n; i++) {
        shoal_sa_set_add(&s->answered[SHOAL_SA_ADVERTISE], i + 1);
    }
    shoal_status st = shoal_sa_roster_hash(entries, s->n, s->ctx, s->roster_hash, err);
    shoal_free(entries);
    SHOAL_TRY(st);
    SHOAL_TRY(shoal_sa_graph_open(&s->g, &s->d, s->n, s->roster_hash, err));
    return fill_near(s, err);
}

/* Spec 6.1: enough clients that keep each other's shares. */
static shoal_status check_members(const shoal_sa_server *s, const shoal_sa_set *set,
                                  shoal_error *err)
{
    size_t n = shoal_sa_set_count(set);
    if (n >= needed_count(s)) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_DENIED,
                      "%zu of the %zu clients needed have enough others to hold their shares", n,
                      needed_count(s));
}

/* Spec 5.5.1: a dealer with too few holders would have to refuse the delivery; it is told that the
 * session goes on without it, and nobody waits for it. */
static shoal_status fix_dealers(shoal_sa_server *s, shoal_error *err)
{
    const shoal_sa_set *dealt = &s->answered[SHOAL_SA_SHARES];
    for (size_t i = 1; i <= s->n; i++) {
        if (!shoal_sa_set_has(dealt, i) || shoal_sa_holding(s, i, dealt) < s->g.t) continue;
        shoal_sa_set_add(&s->kept, i);
    }
    shoal_sa_set sustained = shoal_sa_sustained(s, dealt);
    return check_members(s, &sustained, err);
}

/* Spec 5.5.4 */
static shoal_status fix_members(shoal_sa_server *s, shoal_error *err)
{
    shoal_sa_fix_members(s);
    return check_members(s, &s->u2, err);
}

/* Spec 6.1: every secret that will have to be opened has t holders that can still speak. */
static shoal_status check_openable(const shoal_sa_server *s, shoal_error *err)
{
    for (size_t i = 1; i <= s->n; i++) {
        if (!shoal_sa_set_has(&s->u2, i)) continue;
        size_t holding = shoal_sa_holding(s, i, &s->answered[SHOAL_SA_INPUT]);
        if (holding < s->g.t) {
            return shoal_fail(err, SHOAL_ERR_DENIED,
                              "%zu of the %zu holders needed of a client's shares are left",
                              holding, s->g.t);
        }
    }
    return SHOAL_OK;
}

static shoal_status close_stage(shoal_sa_server *s, shoal_error *err)
{
    if (answered_count(s) < needed_count(s)) {
        return shoal_fail(err, SHOAL_ERR_DENIED,
                          "%zu of the %zu clients needed answered in stage %s", answered_count(s),
                          needed_count(s), shoal_sa_stage_name(s->stage));
    }
    switch (s->stage) {
    case SHOAL_SA_ADVERTISE: return fix_roster(s, err);
    case SHOAL_SA_SHARES: return fix_dealers(s, err);
    case SHOAL_SA_CONFIRM: return fix_members(s, err);
    case SHOAL_SA_INPUT: return check_openable(s, err);
    case SHOAL_SA_UNMASK: return shoal_sa_unmask(s, err);
    default: return SHOAL_OK;
    }
}

shoal_status shoal_sa_server_advance(shoal_sa_server *s, bool deadline_passed, shoal_error *err)
{
    shoal_error local = {0};
    shoal_error *e = err != NULL ? err : &local;
    if (s->stage >= SHOAL_SA_DONE) {
        return shoal_fail(e, SHOAL_ERR_STATE, "the session is over");
    }
    if (!deadline_passed && !shoal_sa_server_ready(s)) return SHOAL_ERR_AGAIN;
    if (close_stage(s, e) != SHOAL_OK) return fail_session(s, e);
    s->stage = (shoal_sa_stage)(s->stage + 1);
    return SHOAL_OK;
}

/* ---- messages to clients ---- */

static shoal_status write_entries(const shoal_sa_server *s, shoal_buf *out, shoal_error *err)
{
    shoal_sa_entry *entries;
    SHOAL_TRY(list_entries(s, &entries, err));
    shoal_sa_put_entries(out, s->d.session_id, entries, s->n);
    shoal_free(entries);
    return shoal_buf_status(out, err);
}

static shoal_status write_credentials(const shoal_sa_server *s, size_t reader, shoal_buf *out,
                                      shoal_error *err)
{
    const shoal_sa_party *me = s->party[reader];
    shoal_sa_roster *r = shoal_calloc(1, sizeof *r);
    if (r == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a roster");
    for (size_t at = 0; at < s->g.k; at++) {
        const shoal_sa_party *p = s->party[me->near[at] - 1];
        r->credentials[r->n_credentials++] = (shoal_sa_credential){
            .index = me->near[at], .cert = p->cert, .cert_n = p->cert_n, .sig = p->advert_sig};
    }
    shoal_sa_put_credentials(out, r);
    shoal_free(r);
    return shoal_buf_status(out, err);
}

/* What each neighbour that dealt sealed for the reader. */
static shoal_status write_delivery(const shoal_sa_server *s, size_t reader, shoal_buf *out,
                                   shoal_error *err)
{
    const shoal_sa_set *dealt = &s->answered[SHOAL_SA_SHARES];
    const shoal_sa_party *me = s->party[reader];
    shoal_sa_boxes *m = shoal_calloc(1, sizeof *m);
    if (m == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a delivery");
    for (size_t at = 0; at < s->g.k; at++) {
        const shoal_sa_party *from = s->party[me->near[at] - 1];
        size_t place = shoal_sa_place(from, s->g.k, reader + 1);
        if (!shoal_sa_set_has(dealt, me->near[at]) || place == s->g.k) continue;
        m->items[m->n] = from->boxes[place];
        m->items[m->n++].peer = me->near[at];
    }
    shoal_sa_put_delivery(out, s->d.session_id, s->n, dealt, m);
    shoal_free(m);
    return shoal_buf_status(out, err);
}

/* Spec 5.8: q signatures; more would only cost the readers time. */
static shoal_status write_request(const shoal_sa_server *s, shoal_buf *out, shoal_error *err)
{
    shoal_sa_quorum *q = shoal_calloc(1, sizeof *q);
    if (q == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a request");
    for (size_t i = 0; i < s->n && q->n < s->g.q; i++) {
        const shoal_sa_party *p = s->party[i];
        if (!shoal_sa_set_has(&s->answered[SHOAL_SA_SURVIVORS], i + 1)) continue;
        shoal_sa_voucher *v = &q->items[q->n++];
        *v = (shoal_sa_voucher){.index = (uint16_t)(i + 1), .cert = p->cert};
        v->cert_n = s->g.complete ? 0 : p->cert_n;
        memcpy(v->sig, p->survivors_sig, SHOAL_SIG_BYTES);
    }
    shoal_sa_put_request(out, s->d.session_id, s->n, &s->answered[SHOAL_SA_INPUT], q);
    shoal_free(q);
    return shoal_buf_status(out, err);
}

/* Whether this client reads what comes after `stage`. */
static bool may_read(const shoal_sa_server *s, shoal_sa_stage stage, size_t i)
{
    if (stage == SHOAL_SA_SHARES) return i < s->n && shoal_sa_set_has(&s->kept, i + 1);
    if (stage == SHOAL_SA_CONFIRM) return i < s->n && shoal_sa_set_has(&s->u2, i + 1);
    return answered(s, stage == SHOAL_SA_SURVIVORS ? SHOAL_SA_INPUT : stage, i);
}

shoal_status shoal_sa_server_opening(const shoal_sa_server *s, shoal_sa_stage stage, shoal_buf *out,
                                     shoal_error *err)
{
    if (stage >= s->stage) return SHOAL_ERR_AGAIN;
    return stage == SHOAL_SA_ADVERTISE ? write_entries(s, out, err) : SHOAL_OK;
}

shoal_status shoal_sa_server_rest(const shoal_sa_server *s, shoal_sa_stage stage,
                                  const uint8_t client_id[SHOAL_ID_BYTES], shoal_buf *out,
                                  shoal_error *err)
{
    size_t i = find_party(s, client_id);
    if (s->stage == SHOAL_SA_FAILED) {
        return shoal_fail(err, SHOAL_ERR_STATE, "the session is over: %s", s->reason);
    }
    if (stage >= SHOAL_SA_UNMASK) return shoal_fail(err, SHOAL_ERR_STATE, "no such message");
    if (stage >= s->stage) {
        if (i < s->n) return SHOAL_ERR_AGAIN;
        return shoal_fail(err, SHOAL_ERR_DENIED, "not a member of this session");
    }
    if (!may_read(s, stage, i)) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "not a member of this stage of the session");
    }
    switch (stage) {
    case SHOAL_SA_ADVERTISE: return write_credentials(s, i, out, err);
    case SHOAL_SA_SHARES: return write_delivery(s, i, out, err);
    case SHOAL_SA_CONFIRM: shoal_sa_put_members(out, s->d.session_id, s->n, &s->u2); break;
    case SHOAL_SA_INPUT:
        shoal_sa_put_claim(out, s->d.session_id, s->n, &s->answered[SHOAL_SA_INPUT]);
        break;
    default: return write_request(s, out, err);
    }
    return shoal_buf_status(out, err);
}

shoal_status shoal_sa_server_message(const shoal_sa_server *s, shoal_sa_stage stage,
                                     const uint8_t client_id[SHOAL_ID_BYTES], shoal_buf *out,
                                     shoal_error *err)
{
    shoal_buf rest = shoal_buf_init(out->max);
    shoal_status st = shoal_sa_server_rest(s, stage, client_id, &rest, err);
    if (st == SHOAL_OK) {
        st = shoal_sa_server_opening(s, stage, out, err);
    }
    if (st == SHOAL_OK) {
        (void)shoal_buf_put(out, rest.data, rest.len);
        st = shoal_buf_status(out, err);
    }
    shoal_buf_clear(&rest);
    return st;
}
