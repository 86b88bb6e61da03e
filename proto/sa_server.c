/* sa_server.c - the aggregator's half of SA-1: who is in, what was said, when a stage closes.
 * The arithmetic at the end is in sa_unmask.c. */
#include "proto/sa_server.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "proto/sa_label.h"
#include "proto/sa_session.h"
#include "proto/x509.h"

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
    if (s->sum == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for the sum");
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
    shoal_wipe(m, sizeof *m);
    shoal_free(m);
}

void shoal_sa_server_close(shoal_sa_server *s)
{
    if (s == NULL) return;
    for (size_t i = 0; i < s->n; i++) {
        free_member(s->party[i]);
    }
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

/* Those who can still answer in a stage, after ADVERTISE. Spec 6.1. */
static const shoal_sa_set *expected_in(const shoal_sa_server *s, shoal_sa_stage stage)
{
    return stage == SHOAL_SA_ADVERTISE ? NULL : &s->answered[stage - 1];
}

static size_t expected_count(const shoal_sa_server *s)
{
    if (s->stage == SHOAL_SA_ADVERTISE) return s->d.n_target;
    return s->stage < SHOAL_SA_DONE ? shoal_sa_set_count(expected_in(s, s->stage)) : 0;
}

/* Spec 6.1: how many a stage needs to go on. */
static size_t needed_count(const shoal_sa_server *s)
{
    switch (s->stage) {
    case SHOAL_SA_ADVERTISE: return s->d.n_min;
    case SHOAL_SA_SHARES:
    case SHOAL_SA_INPUT: return s->t > s->d.n_min ? s->t : s->d.n_min;
    case SHOAL_SA_SURVIVORS:
    case SHOAL_SA_UNMASK: return s->t;
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
                         .threshold = s->stage == SHOAL_SA_ADVERTISE ? s->d.n_min : s->t,
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
    out->uploaded = shoal_sa_set_has(&s->answered[SHOAL_SA_INPUT], i + 1);
    out->signed_set = shoal_sa_set_has(&s->answered[SHOAL_SA_SURVIVORS], i + 1);
    out->unmasked = shoal_sa_set_has(&s->answered[SHOAL_SA_UNMASK], i + 1);
    out->lied = shoal_sa_set_has(&s->liars, i + 1);
    return true;
}

/* Place in s->party, or s->n. */
static size_t find_party(const shoal_sa_server *s, const uint8_t id[SHOAL_ID_BYTES])
{
    size_t i = 0;
    while (i < s->n && memcmp(s->party[i]->entry.client_id, id, SHOAL_ID_BYTES) != 0) {
        i++;
    }
    return i;
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

static shoal_status take_advert(shoal_sa_server *s, const uint8_t *id, const void *data, size_t n,
                                int64_t now_s, const uint8_t hash[32], shoal_error *err)
{
    shoal_sa_advert m;
    shoal_cert_info info;
    if (s->n >= s->d.codec.n_max) {
        return shoal_fail(err, SHOAL_ERR_STATE, "the cohort is full");
    }
    SHOAL_TRY(shoal_sa_read_advert(data, n, s->d.session_id, &m, err));
    SHOAL_TRY(
        shoal_cert_check(s->ca, s->ca_n, m.cert, m.cert_n, SHOAL_CERT_CLIENT, now_s, &info, err));
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
    s->party[s->n++] = p;
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
        s->party[i] = s->party[--s->n];
        s->party[s->n] = NULL;
    }
    return SHOAL_OK;
}

/* ---- M3, M5, M6, M8 of a member ---- */

/* Spec 5.4: a box for each neighbour and for nobody else. */
static shoal_status take_shares(shoal_sa_server *s, size_t i, const void *data, size_t n,
                                shoal_error *err)
{
    shoal_sa_boxes boxes;
    size_t next = 0;
    SHOAL_TRY(shoal_sa_read_shares(data, n, s->d.session_id, &boxes, err));
    SHOAL_TRY(shoal_sa_verify_tail(data, n, s->party[i]->spki, "shoal/sa1/shares", s->ctx, err));
    for (size_t j = 1; j <= s->n; j++) {
        if (!shoal_sa_neighbours(&s->d, s->n, i + 1, j)) continue;
        if (next >= boxes.n || boxes.items[next].peer != j) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "shares for the wrong clients");
        }
        next++;
    }
    if (next != boxes.n) return shoal_fail(err, SHOAL_ERR_FORMAT, "shares for the wrong clients");
    s->party[i]->boxes = boxes;
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

/* Exactly one item for each j the client holds a share of, of the kind the survivor set asks for.
 */
static shoal_status take_unmask(shoal_sa_server *s, size_t i, const void *data, size_t n,
                                shoal_error *err)
{
    shoal_sa_reveals r;
    size_t next = 0;
    SHOAL_TRY(shoal_sa_read_unmask(data, n, s->d.session_id, &r, err));
    SHOAL_TRY(shoal_sa_verify_tail(data, n, s->party[i]->spki, "shoal/sa1/unmask", s->ctx, err));
    for (size_t j = 1; j <= s->n; j++) {
        bool held = j == i + 1 || shoal_sa_neighbours(&s->d, s->n, i + 1, j);
        if (!held || !shoal_sa_set_has(&s->answered[SHOAL_SA_SHARES], j)) continue;
        bool alive = shoal_sa_set_has(&s->answered[SHOAL_SA_INPUT], j);
        if (next >= r.n || r.items[next].index != j ||
            r.items[next].kind != (alive ? SHOAL_SA_REVEAL_B : SHOAL_SA_REVEAL_SK)) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "the wrong shares were revealed");
        }
        memcpy(s->party[i]->revealed[j - 1], r.items[next].share, 32);
        next++;
    }
    if (next != r.n) return shoal_fail(err, SHOAL_ERR_FORMAT, "the wrong shares were revealed");
    return SHOAL_OK;
}

static shoal_status take(shoal_sa_server *s, shoal_sa_stage stage, size_t i, const void *data,
                         size_t n, shoal_error *err)
{
    switch (stage) {
    case SHOAL_SA_SHARES: return take_shares(s, i, data, n, err);
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

/* U3 may reveal whether or not it signed; elsewhere only those who answered the stage before. */
static bool may_answer(const shoal_sa_server *s, shoal_sa_stage stage, size_t i)
{
    if (i >= s->n) return false;
    shoal_sa_stage before = stage == SHOAL_SA_UNMASK ? SHOAL_SA_INPUT : stage - 1;
    return answered(s, before, i);
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
    if (stage != SHOAL_SA_INPUT && n > SHOAL_LIMIT_SA_MESSAGE) {
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
    return s->stage < SHOAL_SA_DONE && answered_count(s) >= expected_count(s);
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

/* Roster order: by client id. Few members, once a session: insertion sort. */
static shoal_status fix_roster(shoal_sa_server *s, shoal_error *err)
{
    shoal_sa_entry entries[SHOAL_LIMIT_COHORT_MAX];
    for (size_t i = 1; i < s->n; i++) {
        shoal_sa_party *p = s->party[i];
        size_t at = i;
        for (; at > 0 &&
               memcmp(s->party[at - 1]->entry.client_id, p->entry.client_id, SHOAL_ID_BYTES) > 0;
             at--) {
            s->party[at] = s->party[at - 1];
        }
        s->party[at] = p;
    }
    for (size_t i = 0; i < s->n; i++) {
        entries[i] = s->party[i]->entry;
        shoal_sa_set_add(&s->answered[SHOAL_SA_ADVERTISE], i + 1);
    }
    s->t = shoal_sa_threshold(s->n);
    return shoal_sa_roster_hash(entries, s->n, s->ctx, s->roster_hash, err);
}

static shoal_status close_stage(shoal_sa_server *s, shoal_error *err)
{
    if (answered_count(s) < needed_count(s)) {
        return shoal_fail(err, SHOAL_ERR_DENIED,
                          "%zu of the %zu clients needed answered in stage %s", answered_count(s),
                          needed_count(s), shoal_sa_stage_name(s->stage));
    }
    if (s->stage == SHOAL_SA_ADVERTISE) return fix_roster(s, err);
    if (s->stage == SHOAL_SA_UNMASK) return shoal_sa_unmask(s, err);
    return SHOAL_OK;
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

static void put_roster(const shoal_sa_server *s, size_t reader, shoal_sa_roster *r, shoal_buf *out)
{
    r->n = s->n;
    for (size_t j = 0; j < s->n; j++) {
        const shoal_sa_party *p = s->party[j];
        r->entries[j] = p->entry;
        if (!shoal_sa_neighbours(&s->d, s->n, reader + 1, j + 1)) continue;
        r->credentials[r->n_credentials++] = (shoal_sa_credential){
            .index = (uint16_t)(j + 1), .cert = p->cert, .cert_n = p->cert_n, .sig = p->advert_sig};
    }
    shoal_sa_put_roster(out, s->d.session_id, r);
}

static shoal_status write_roster(const shoal_sa_server *s, size_t reader, shoal_buf *out,
                                 shoal_error *err)
{
    shoal_sa_roster *r = shoal_calloc(1, sizeof *r);
    if (r == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a roster");
    put_roster(s, reader, r, out);
    shoal_free(r);
    return shoal_buf_status(out, err);
}

/* What each other member of U2 sealed for the reader. */
static void write_delivery(const shoal_sa_server *s, size_t reader, shoal_buf *out)
{
    const shoal_sa_set *u2 = &s->answered[SHOAL_SA_SHARES];
    shoal_sa_boxes m = {.n = 0};
    for (size_t i = 0; i < s->n; i++) {
        const shoal_sa_boxes *from = &s->party[i]->boxes;
        for (size_t k = 0; shoal_sa_set_has(u2, i + 1) && k < from->n; k++) {
            if (from->items[k].peer != reader + 1) continue;
            m.items[m.n] = from->items[k];
            m.items[m.n++].peer = (uint16_t)(i + 1);
        }
    }
    shoal_sa_put_delivery(out, s->d.session_id, s->n, u2, &m);
}

static void write_request(const shoal_sa_server *s, shoal_buf *out)
{
    shoal_sa_quorum q = {.n = 0};
    for (size_t i = 0; i < s->n; i++) {
        if (!shoal_sa_set_has(&s->answered[SHOAL_SA_SURVIVORS], i + 1)) continue;
        q.index[q.n] = (uint16_t)(i + 1);
        memcpy(q.sig[q.n++], s->party[i]->survivors_sig, SHOAL_SIG_BYTES);
    }
    shoal_sa_put_request(out, s->d.session_id, s->n, &s->answered[SHOAL_SA_INPUT], &q);
}

/* Whether this client reads what comes after `stage`. */
static bool may_read(const shoal_sa_server *s, shoal_sa_stage stage, size_t i)
{
    return answered(s, stage == SHOAL_SA_SURVIVORS ? SHOAL_SA_INPUT : stage, i);
}

shoal_status shoal_sa_server_message(const shoal_sa_server *s, shoal_sa_stage stage,
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
    case SHOAL_SA_ADVERTISE: return write_roster(s, i, out, err);
    case SHOAL_SA_SHARES: write_delivery(s, i, out); break;
    case SHOAL_SA_INPUT:
        shoal_sa_put_claim(out, s->d.session_id, s->n, &s->answered[SHOAL_SA_INPUT]);
        break;
    default: write_request(s, out); break;
    }
    return shoal_buf_status(out, err);
}
