/* test_sa_server_attacks.c - a malicious server against one real client (device 0). Every lie ends
 * the client's part before it reveals anything (Spec 6.3, 7.2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "proto/sa_session.h"
#include "proto/x509.h"
#include "tests/support/sa_attack.h"

enum { N = 5 };

static int open_cohort(void **state)
{
    static cohort c;
    cohort_open(&c, N, 30, 21);
    *state = &c;
    return 0;
}

static int close_cohort(void **state)
{
    cohort_close(*state);
    return 0;
}

/* ---- M0 ---- */

static void assert_open(cohort *c, shoal_sa_client_options opt, shoal_status want)
{
    shoal_sa_client *k = NULL;
    shoal_buf sd = shoal_buf_init(SHOAL_LIMIT_DESCRIPTOR);
    shoal_error e = {0};
    assert_int_equal(shoal_sa_descriptor_sign(&c->d, c->task_key, &sd, &e), SHOAL_OK);
    assert_int_equal(shoal_sa_client_open(&k, &opt, sd.data, sd.len, &e), want);
    assert_int_equal(k == NULL, want != SHOAL_OK);
    shoal_sa_client_close(k);
    shoal_buf_clear(&sd);
}

/* Spec 5.1.2, Spec 4.3. Replay of a round, another task, model, adapter, and every parameter below
 * the owner's minimum.
 */
static void test_descriptor_policy(void **state)
{
    cohort *c = *state;
    c->d.committee = 7; /* of at most 8 */
    shoal_sa_client_options good = cohort_options(c, 0);
    assert_open(c, good, SHOAL_OK);
    for (int attack = 0; attack < 10; attack++) {
        shoal_sa_client_options opt = good;
        switch (attack) {
        case 0: opt.last_round = c->d.round; break;
        case 1: opt.last_round = c->d.round + 5; break;
        case 2: opt.task_id[0] ^= 1; break;
        case 3: opt.base_model_hash[31] ^= 1; break;
        case 4: opt.adapter_hash[0] ^= 1; break;
        case 5: opt.policy.n_min = 4; break;
        case 6: opt.policy.ring_bits_min = 25; break;
        case 7: opt.policy.dim++; break;
        case 8: opt.policy.committee_min = 8; break;
        default: opt.policy.weight_max = 7; break;
        }
        assert_open(c, opt, SHOAL_ERR_DENIED);
    }
    good.policy.clip_norm_max = 0.5;
    assert_open(c, good, SHOAL_ERR_DENIED);
    /* The default policy of a device refuses this small cohort. */
    good = cohort_options(c, 0);
    good.policy.n_min = shoal_sa_policy_default().n_min;
    assert_open(c, good, SHOAL_ERR_DENIED);
}

/* Every byte of M0 is under the task key's signature. */
static void test_descriptor_signature(void **state)
{
    cohort *c = *state;
    cohort_start(c);
    shoal_sa_client_options opt = cohort_options(c, 0);
    for (size_t i = 0; i < c->descriptor.len; i++) {
        shoal_sa_client *k = NULL;
        c->descriptor.data[i] ^= 1;
        assert_int_equal(
            shoal_sa_client_open(&k, &opt, c->descriptor.data, c->descriptor.len, NULL),
            SHOAL_ERR_TAMPERED);
        c->descriptor.data[i] ^= 1;
        assert_int_not_equal(shoal_sa_client_open(&k, &opt, c->descriptor.data, i, NULL), SHOAL_OK);
    }
}

/* ---- M2 ---- */

typedef void spoil_roster(cohort *c, shoal_sa_roster *r, size_t own);

static size_t other(size_t own)
{
    return own == 1 ? 1 : 0; /* place (from 0) of some other client */
}

static void substitute_mask_key(cohort *c, shoal_sa_roster *r, size_t own)
{
    (void)c;
    uint8_t sk[32] = {1, 2, 3};
    assert_int_equal(shoal_x25519_public(r->entries[other(own)].epk_mask, sk, NULL), SHOAL_OK);
}

static void substitute_box_key(cohort *c, shoal_sa_roster *r, size_t own)
{
    (void)c;
    uint8_t sk[32] = {9, 2, 3};
    assert_int_equal(shoal_x25519_public(r->entries[other(own)].epk_enc, sk, NULL), SHOAL_OK);
}

static void change_commitment(cohort *c, shoal_sa_roster *r, size_t own)
{
    (void)c;
    r->entries[other(own)].com_b[0] ^= 1;
}

static void change_own_entry(cohort *c, shoal_sa_roster *r, size_t own)
{
    (void)c;
    r->entries[own - 1].nonce[0] ^= 1;
}

static void drop_own_entry(cohort *c, shoal_sa_roster *r, size_t own)
{
    (void)c;
    memmove(&r->entries[own - 1], &r->entries[own], (r->n - own) * sizeof r->entries[0]);
    r->n--;
}

static void repeat_a_client(cohort *c, shoal_sa_roster *r, size_t own)
{
    (void)c;
    (void)own;
    r->entries[1] = r->entries[0];
}

static void swap_order(cohort *c, shoal_sa_roster *r, size_t own)
{
    (void)c;
    (void)own;
    shoal_sa_entry e = r->entries[0];
    r->entries[0] = r->entries[1];
    r->entries[1] = e;
}

static void same_key_twice(cohort *c, shoal_sa_roster *r, size_t own)
{
    (void)c;
    memcpy(r->entries[other(own)].epk_enc, r->entries[other(own)].epk_mask, 32);
}

static void victims_key(cohort *c, shoal_sa_roster *r, size_t own)
{
    (void)c;
    memcpy(r->entries[other(own)].epk_mask, r->entries[own - 1].epk_mask, 32);
}

static void low_order_key(cohort *c, shoal_sa_roster *r, size_t own)
{
    (void)c;
    memset(r->entries[other(own)].epk_mask, 0, 32);
}

static void high_bit_key(cohort *c, shoal_sa_roster *r, size_t own)
{
    (void)c;
    r->entries[other(own)].epk_mask[31] |= 0x80;
}

static void missing_credential(cohort *c, shoal_sa_roster *r, size_t own)
{
    (void)c;
    (void)own;
    r->n_credentials--;
}

static void swapped_certificates(cohort *c, shoal_sa_roster *r, size_t own)
{
    (void)c;
    (void)own;
    const uint8_t *cert = r->credentials[0].cert;
    r->credentials[0].cert = r->credentials[1].cert;
    r->credentials[1].cert = cert;
}

static void too_small_roster(cohort *c, shoal_sa_roster *r, size_t own)
{
    (void)c;
    r->entries[0] = r->entries[own - 1];
    r->n = 1;
    r->n_credentials = 0;
}

/* An accomplice with a certificate of another CA, everything else right. */
static void foreign_ca(cohort *c, shoal_sa_roster *r, size_t own)
{
    static shoal_buf ca;
    static shoal_buf cert;
    shoal_key *ca_key = NULL;
    size_t victim = other(own);
    ca = shoal_buf_init(SHOAL_LIMIT_CERT);
    cert = shoal_buf_init(SHOAL_LIMIT_CERT);
    assert_int_equal(shoal_key_generate(&ca_key, NULL), SHOAL_OK);
    assert_int_equal(
        shoal_ca_create(ca_key, "test CA", COHORT_NOW - 60, COHORT_NOW + 1000000, NULL, &ca, NULL),
        SHOAL_OK);
    shoal_cert_template t = {.kind = SHOAL_CERT_CLIENT,
                             .spki = c->server->party[victim]->spki,
                             .not_before_s = COHORT_NOW - 60,
                             .not_after_s = COHORT_NOW + 86400};
    assert_int_equal(shoal_cert_issue(ca_key, ca.data, ca.len, &t, &cert, NULL), SHOAL_OK);
    assert_int_equal(shoal_sha256(cert.data, cert.len, r->entries[victim].cert_hash, NULL),
                     SHOAL_OK);
    r->credentials[0].cert = cert.data;
    r->credentials[0].cert_n = cert.len;
    shoal_key_close(ca_key);
    shoal_buf_clear(&ca);
}

/* Spec 5.3.2 */
static void test_roster_lies(void **state)
{
    cohort *c = *state;
    spoil_roster *const lies[] = {substitute_mask_key,  substitute_box_key, change_commitment,
                                  change_own_entry,     drop_own_entry,     repeat_a_client,
                                  swap_order,           same_key_twice,     victims_key,
                                  low_order_key,        high_bit_key,       missing_credential,
                                  swapped_certificates, too_small_roster,   foreign_ca};
    shoal_sa_roster *r = shoal_alloc(sizeof *r);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        cohort_start(c);
        cohort_run(c, SHOAL_SA_ADVERTISE);
        shoal_buf honest = cohort_message(c, 0, SHOAL_SA_ADVERTISE);
        shoal_buf m2 = attack_message();
        assert_int_equal(shoal_sa_read_roster(honest.data, honest.len, c->d.session_id, r, NULL),
                         SHOAL_OK);
        lies[i](c, r, attack_index(c, 0));
        shoal_sa_put_roster(&m2, c->d.session_id, r);
        attack_refused(c, SHOAL_SA_ADVERTISE, &m2);
        shoal_sa_roster_clear(r);
        shoal_buf_clear(&honest);
    }
    shoal_free(r);
}

/* A client that was shown another descriptor (another adapter, say) signed another context: nobody
 * accepts its advert (model inconsistency, Pasquini et al. 2022). */
static void test_two_descriptors(void **state)
{
    cohort *c = *state;
    cohort_start(c);
    shoal_sa_descriptor d = c->d;
    d.adapter_hash[0] ^= 1;
    shoal_buf sd = shoal_buf_init(SHOAL_LIMIT_DESCRIPTOR);
    assert_int_equal(shoal_sa_descriptor_sign(&d, c->task_key, &sd, NULL), SHOAL_OK);
    shoal_sa_client_options opt = cohort_options(c, 0);
    opt.adapter_hash[0] ^= 1;
    shoal_sa_client_close(c->dev[0].client);
    assert_int_equal(shoal_sa_client_open(&c->dev[0].client, &opt, sd.data, sd.len, NULL),
                     SHOAL_OK);
    assert_int_equal(cohort_act(c, 0, SHOAL_SA_ADVERTISE), SHOAL_ERR_TAMPERED);
    shoal_buf_clear(&sd);
}

/* An expired certificate in the roster. */
static void test_expired_certificates(void **state)
{
    cohort *c = *state;
    cohort_start(c);
    cohort_run(c, SHOAL_SA_ADVERTISE);
    shoal_buf m2 = cohort_message(c, 0, SHOAL_SA_ADVERTISE);
    c->now_s = COHORT_NOW + 2 * 86400;
    attack_refused(c, SHOAL_SA_ADVERTISE, &m2);
    c->now_s = COHORT_NOW;
}

/* ---- M4 ---- */

/* Spec 5.5.1 */
static void test_delivery_lies(void **state)
{
    cohort *c = *state;
    static shoal_sa_boxes b;
    for (int attack = 0; attack < 3; attack++) {
        shoal_sa_set dealt;
        cohort_start(c);
        cohort_run(c, SHOAL_SA_SHARES);
        size_t own = attack_index(c, 0);
        shoal_buf honest = cohort_message(c, 0, SHOAL_SA_SHARES);
        shoal_buf m4 = attack_message();
        assert_int_equal(
            shoal_sa_read_delivery(honest.data, honest.len, c->d.session_id, N, &dealt, &b, NULL),
            SHOAL_OK);
        switch (attack) {
        case 0: b.n--; break;
        case 1: shoal_sa_set_remove(&dealt, own); break;
        default: /* fewer than t */
            dealt = (shoal_sa_set){.w = {(uint64_t)1 << (own - 1)}};
            shoal_sa_set_add(&dealt, b.items[0].peer);
            b.n = 1;
            break;
        }
        shoal_sa_put_delivery(&m4, c->d.session_id, N, &dealt, &b);
        attack_refused(c, SHOAL_SA_SHARES, &m4);
        shoal_buf_clear(&honest);
    }
}

/* Boxes that do not open: changed, of another sender, or what the victim sealed itself. */
static void spoil_boxes(const cohort *c, int attack, shoal_sa_boxes *b)
{
    const shoal_sa_box *mine = &c->server->party[attack_index(c, 0) - 1]->boxes[0];
    switch (attack) {
    case 0: b->items[0].sealed[5] ^= 1; break;
    case 1: b->items[0].nonce[0] ^= 1; break;
    case 2:
        memcpy(b->items[0].sealed, b->items[1].sealed, sizeof b->items[0].sealed);
        memcpy(b->items[0].nonce, b->items[1].nonce, sizeof b->items[0].nonce);
        break;
    default:
        memcpy(b->items[0].sealed, mine->sealed, sizeof mine->sealed);
        memcpy(b->items[0].nonce, mine->nonce, sizeof mine->nonce);
        break;
    }
}

/* Spec 5.5.2. A box that does not open ends nothing: it is named, and of that dealer no share is
 * ever revealed, of either kind, whatever the server says next. */
static void test_boxes_that_do_not_open(void **state)
{
    cohort *c = *state;
    static shoal_sa_boxes b;
    static shoal_sa_reveals r;
    for (int attack = 0; attack < 4; attack++) {
        shoal_sa_set dealt;
        shoal_sa_refusals named;
        cohort_start(c);
        cohort_run(c, SHOAL_SA_SHARES);
        shoal_buf honest = cohort_message(c, 0, SHOAL_SA_SHARES);
        shoal_buf m4 = attack_message(), out = attack_message();
        assert_int_equal(
            shoal_sa_read_delivery(honest.data, honest.len, c->d.session_id, N, &dealt, &b, NULL),
            SHOAL_OK);
        spoil_boxes(c, attack, &b);
        shoal_sa_put_delivery(&m4, c->d.session_id, N, &dealt, &b);
        assert_int_equal(attack_feed(c, SHOAL_SA_SHARES, &m4, &out), SHOAL_OK);
        assert_int_equal(shoal_sa_read_confirm(out.data, out.len, c->d.session_id, &named, NULL),
                         SHOAL_OK);
        assert_int_equal(named.n, 1);
        assert_int_equal(named.items[0], b.items[0].peer);
        /* The server keeps the refusal to itself and goes on with everyone. */
        for (size_t i = 1; i < N; i++) {
            assert_int_equal(cohort_act(c, i, SHOAL_SA_CONFIRM), SHOAL_OK);
        }
        shoal_buf_clear(&c->dev[0].sent[SHOAL_SA_CONFIRM]);
        shoal_sa_put_confirm(&c->dev[0].sent[SHOAL_SA_CONFIRM], c->d.session_id,
                             &(shoal_sa_refusals){.n = 0});
        assert_int_equal(cohort_send(c, 0, SHOAL_SA_CONFIRM), SHOAL_OK);
        assert_int_equal(shoal_sa_server_advance(c->server, true, &c->err), SHOAL_OK);
        for (shoal_sa_stage stage = SHOAL_SA_INPUT; stage <= SHOAL_SA_SURVIVORS; stage++) {
            for (size_t i = 0; i < N; i++) {
                assert_int_equal(cohort_act(c, i, stage), SHOAL_OK);
            }
            assert_int_equal(shoal_sa_server_advance(c->server, true, &c->err), SHOAL_OK);
        }
        assert_int_equal(cohort_answer(c, 0, SHOAL_SA_UNMASK), SHOAL_OK);
        const shoal_buf *m8 = &c->dev[0].sent[SHOAL_SA_UNMASK];
        assert_int_equal(shoal_sa_read_unmask(m8->data, m8->len, c->d.session_id, &r, NULL),
                         SHOAL_OK);
        assert_int_equal(r.n, N - 1);
        for (size_t i = 0; i < r.n; i++) {
            assert_int_not_equal(r.items[i].index, named.items[0]);
        }
        shoal_buf_clear(&honest);
        shoal_buf_clear(&m4);
        shoal_buf_clear(&out);
    }
}

/* Spec 5.5.3. Members without the reader, too few, of another roster, or who never dealt. */
static void test_members_lies(void **state)
{
    cohort *c = *state;
    for (int attack = 0; attack < 4; attack++) {
        cohort_start(c);
        cohort_run(c, SHOAL_SA_ADVERTISE);
        for (size_t i = 0; i < N; i++) {
            if (attack == 3 && i == N - 1) continue;
            assert_int_equal(cohort_act(c, i, SHOAL_SA_SHARES), SHOAL_OK);
        }
        assert_int_equal(shoal_sa_server_advance(c->server, true, &c->err), SHOAL_OK);
        assert_int_equal(cohort_answer(c, 0, SHOAL_SA_CONFIRM), SHOAL_OK);
        size_t own = attack_index(c, 0);
        shoal_sa_set u2 = attack == 0 ? attack_without(c, own) : attack_everyone(c);
        if (attack == 1) u2.w[0] = (uint64_t)1 << (own - 1) | (uint64_t)1 << other(own);
        shoal_buf m = attack_message();
        shoal_sa_put_members(&m, c->d.session_id, attack == 2 ? N + 1 : N, &u2);
        attack_refused(c, SHOAL_SA_CONFIRM, &m);
    }
}

/* ---- M6, M7 ---- */

/* Spec 5.7.1 */
static void test_claim_lies(void **state)
{
    cohort *c = *state;
    for (int attack = 0; attack < 3; attack++) {
        cohort_start(c);
        cohort_run(c, SHOAL_SA_INPUT);
        size_t own = attack_index(c, 0);
        shoal_sa_set u3 = attack == 0 ? attack_without(c, own) : attack_everyone(c);
        size_t n = N;
        if (attack == 1) u3.w[0] = (uint64_t)1 << (own - 1) | (uint64_t)1 << (other(own));
        if (attack == 2) n = N + 1;
        shoal_buf m6 = attack_message();
        shoal_sa_put_claim(&m6, c->d.session_id, n, &u3);
        attack_refused(c, SHOAL_SA_INPUT, &m6);
    }
}

/* U3 names a client that, by the delivery, never shared. */
static void test_claim_outside_u2(void **state)
{
    cohort *c = *state;
    cohort_start(c);
    cohort_run(c, SHOAL_SA_ADVERTISE);
    for (shoal_sa_stage stage = SHOAL_SA_SHARES; stage <= SHOAL_SA_CONFIRM; stage++) {
        for (size_t i = 0; i < N - 1; i++) {
            assert_int_equal(cohort_act(c, i, stage), SHOAL_OK);
        }
        assert_int_equal(shoal_sa_server_advance(c->server, true, &c->err), SHOAL_OK);
    }
    assert_int_equal(cohort_act(c, 0, SHOAL_SA_INPUT), SHOAL_OK);
    shoal_sa_set u3 = attack_everyone(c);
    shoal_buf m6 = attack_message();
    shoal_sa_put_claim(&m6, c->d.session_id, N, &u3);
    attack_refused(c, SHOAL_SA_INPUT, &m6);
}

/* Signatures of all devices but 0, over a set, by their own keys: the most a server gets from
 * devices on its side. */
static void collude(cohort *c, const shoal_sa_set *u3, size_t n_sigs, shoal_sa_quorum *q)
{
    shoal_sa_survivors s = {c->server->ctx, c->server->roster_hash, N, u3};
    q->n = 0;
    for (size_t i = 0; i < N && q->n < n_sigs; i++) {
        for (size_t d = 1; d < N; d++) {
            if (memcmp(c->server->party[i]->entry.client_id, c->dev[d].id, SHOAL_ID_BYTES) != 0) {
                continue;
            }
            q->items[q->n] = (shoal_sa_voucher){.index = (uint16_t)(i + 1)};
            assert_int_equal(shoal_sa_survivors_sign(&s, c->dev[d].key, q->items[q->n++].sig, NULL),
                             SHOAL_OK);
        }
    }
}

/* Spec 5.8.2. The victim signed {everyone}; then it is asked to unmask on other terms. */
static void test_request_lies(void **state)
{
    cohort *c = *state;
    static shoal_sa_quorum q;
    for (int attack = 0; attack < 9; attack++) {
        cohort_start(c);
        cohort_run(c, SHOAL_SA_SURVIVORS);
        size_t own = attack_index(c, 0);
        size_t peer = other(own) + 1;
        shoal_sa_set u3 = attack == 0 ? attack_without(c, peer) : attack_everyone(c);
        shoal_sa_set smaller = attack_without(c, peer);
        collude(c, attack == 4 ? &smaller : &u3, 4, &q);
        switch (attack) {
        case 0: break;                                      /* a certified, but different set */
        case 1: q.n = 0; break;                             /* no certificate */
        case 2: q.n = 3; break;                             /* undersized: q is 4 */
        case 3: q.items[2].sig[10] ^= 1; break;             /* forged */
        case 4: break;                                      /* signatures for another set */
        case 5: q.items[1].index = q.items[0].index; break; /* one signer twice */
        case 6: memcpy(q.items[1].sig, q.items[0].sig, 64); break;
        case 7: /* a certificate where the reader has them all */
            q.items[1].cert = c->dev[1].cert.data;
            q.items[1].cert_n = c->dev[1].cert.len;
            break;
        default: u3 = attack_without(c, own); break; /* own bit missing */
        }
        shoal_buf m7 = attack_message();
        shoal_sa_put_request(&m7, c->d.session_id, N, &u3, &q);
        attack_refused(c, SHOAL_SA_SURVIVORS, &m7);
    }
}

/* Asking for both kinds of share of one client: first with it in U3, then without. The second
 * request, even fully certified by devices on the server's side, finds a client that has answered.
 */
static void test_both_kinds_of_share(void **state)
{
    cohort *c = *state;
    cohort_start(c);
    cohort_run(c, SHOAL_SA_SURVIVORS);
    size_t peer = other(attack_index(c, 0)) + 1;
    assert_int_equal(cohort_answer(c, 0, SHOAL_SA_UNMASK), SHOAL_OK);
    static shoal_sa_reveals r;
    const shoal_buf *m8 = &c->dev[0].sent[SHOAL_SA_UNMASK];
    assert_int_equal(shoal_sa_read_unmask(m8->data, m8->len, c->d.session_id, &r, NULL), SHOAL_OK);
    assert_int_equal(r.n, N);
    for (size_t i = 0; i < r.n; i++) {
        assert_int_equal(r.items[i].kind, SHOAL_SA_REVEAL_B);
    }
    static shoal_sa_quorum q;
    shoal_sa_set u3 = attack_without(c, peer);
    shoal_buf m7 = attack_message();
    shoal_buf out = attack_message();
    collude(c, &u3, 4, &q);
    shoal_sa_put_request(&m7, c->d.session_id, N, &u3, &q);
    assert_int_equal(attack_feed(c, SHOAL_SA_SURVIVORS, &m7, &out), SHOAL_ERR_STATE);
    assert_int_equal(out.len, 0);
    shoal_buf_clear(&m7);
}

/* Two claims: the second finds a client that has signed (a restarted server, say). */
static void test_second_claim(void **state)
{
    cohort *c = *state;
    cohort_start(c);
    cohort_run(c, SHOAL_SA_INPUT);
    assert_int_equal(cohort_answer(c, 0, SHOAL_SA_SURVIVORS), SHOAL_OK);
    shoal_sa_set u3 = attack_without(c, other(attack_index(c, 0)) + 1);
    shoal_buf m6 = attack_message();
    shoal_buf out = attack_message();
    shoal_sa_put_claim(&m6, c->d.session_id, N, &u3);
    assert_int_equal(attack_feed(c, SHOAL_SA_INPUT, &m6, &out), SHOAL_ERR_STATE);
    assert_int_equal(out.len, 0);
    shoal_buf_clear(&m6);
}

/* Messages of one session mean nothing in another, and out of order they change nothing (Spec 6.3).
 */
static void test_replay_and_order(void **state)
{
    cohort *c = *state;
    cohort_start(c);
    cohort_run(c, SHOAL_SA_ADVERTISE);
    shoal_buf old = cohort_message(c, 0, SHOAL_SA_ADVERTISE);
    shoal_buf out = attack_message();
    assert_int_equal(attack_feed(c, SHOAL_SA_SHARES, &old, &out), SHOAL_ERR_STATE);
    assert_int_equal(attack_feed(c, SHOAL_SA_SURVIVORS, &old, &out), SHOAL_ERR_STATE);
    assert_int_equal(shoal_sa_client_stage(c->dev[0].client), SHOAL_SA_ADVERTISE);
    c->d.session_id[5] ^= 1;
    c->d.round++;
    cohort_start(c);
    assert_int_equal(cohort_act(c, 0, SHOAL_SA_ADVERTISE), SHOAL_OK);
    attack_refused(c, SHOAL_SA_ADVERTISE, &old);
}

/* Spec 5.6.3: whatever the reason to ask again, a second vector is not masked. */
static void test_one_input(void **state)
{
    cohort *c = *state;
    uint32_t words[256] = {0};
    shoal_buf out = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
    cohort_start(c);
    cohort_run(c, SHOAL_SA_CONFIRM);
    assert_in_range(shoal_codec_words(&c->d.codec), 2, 256);
    assert_int_equal(cohort_act(c, 0, SHOAL_SA_INPUT), SHOAL_OK);
    assert_int_equal(shoal_sa_client_input(c->dev[0].client, words, &out, NULL), SHOAL_ERR_STATE);
    assert_int_equal(out.len, 0);
    assert_int_equal(words[0], 0);
    shoal_buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_input),
        cmocka_unit_test(test_descriptor_policy),
        cmocka_unit_test(test_descriptor_signature),
        cmocka_unit_test(test_roster_lies),
        cmocka_unit_test(test_two_descriptors),
        cmocka_unit_test(test_expired_certificates),
        cmocka_unit_test(test_delivery_lies),
        cmocka_unit_test(test_boxes_that_do_not_open),
        cmocka_unit_test(test_members_lies),
        cmocka_unit_test(test_claim_lies),
        cmocka_unit_test(test_claim_outside_u2),
        cmocka_unit_test(test_request_lies),
        cmocka_unit_test(test_both_kinds_of_share),
        cmocka_unit_test(test_second_claim),
        cmocka_unit_test(test_replay_and_order),
    };
    return cmocka_run_group_tests(tests, open_cohort, close_cohort);
}
