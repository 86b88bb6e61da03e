/* test_sa_false_client.c - devices that deal, vouch and count falsely, against the real server and
 * honest devices: what test_sa_client_attacks.c does with lies about shares held. Device 0 is the
 * attacker and knows its own secrets. Either the sum is exactly that of the survivors, or the
 * session is refused with a reason. (Spec 5.5.4, 5.9.2, 7.7, 8.5) */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "proto/mask.h"
#include "proto/sa_label.h"
#include "tests/support/sa_attack.h"

enum { N = 7, DIM = 30, ALL = (1 << N) - 1 }; /* t = 5 */

static int open_cohort(void **state)
{
    static cohort c;
    cohort_open(&c, N, DIM, 71);
    *state = &c;
    return 0;
}

static int close_cohort(void **state)
{
    cohort_close(*state);
    return 0;
}

/* Everyone in `devices` acts in a stage; the server closes it. */
static shoal_status hold(cohort *c, shoal_sa_stage stage, unsigned devices)
{
    for (size_t i = 0; i < N; i++) {
        if ((devices >> i & 1u) != 0) assert_int_equal(cohort_act(c, i, stage), SHOAL_OK);
    }
    return shoal_sa_server_advance(c->server, true, &c->err);
}

/* Stages from `first` to the end, always by the same devices. */
static shoal_status hold_rest(cohort *c, shoal_sa_stage first, unsigned devices)
{
    shoal_status st = SHOAL_OK;
    for (shoal_sa_stage s = first; st == SHOAL_OK && s <= SHOAL_SA_UNMASK; s++) {
        st = hold(c, s, devices);
    }
    return st;
}

static void assert_failed(const cohort *c, const char *words)
{
    assert_int_equal(shoal_sa_server_stage(c->server), SHOAL_SA_FAILED);
    assert_null(shoal_sa_server_sum(c->server));
    if (strstr(shoal_sa_server_reason(c->server), words) == NULL) {
        fail_msg("the reason is: %s", shoal_sa_server_reason(c->server));
    }
}

/* ---- what the attacker deals ---- */

/* The secrets that device 0 is about to draw in M1. */
typedef struct secrets {
    uint8_t sk_enc[32], sk_mask[32], b[32];
} secrets;

static secrets foresee(const cohort *c)
{
    secrets s;
    test_entropy e = c->dev[0].entropy;
    e.source.ctx = &e;
    assert_int_equal(shoal_entropy_fill(&e.source, s.sk_enc, 32, NULL), SHOAL_OK);
    assert_int_equal(shoal_entropy_fill(&e.source, s.sk_mask, 32, NULL), SHOAL_OK);
    assert_int_equal(shoal_entropy_fill(&e.source, s.b, 32, NULL), SHOAL_OK);
    return s;
}

/* Key and associated data of the box from device 0 for index j. Spec 5.4.2 */
static shoal_aead_in box_of(const cohort *c, const secrets *s, uint16_t j, const uint8_t *nonce,
                            uint8_t key[32], uint8_t aad[68])
{
    uint8_t shared[32];
    uint16_t places[2] = {(uint16_t)attack_index(c, 0), j};
    shoal_mask_scope scope = {c->server->ctx, c->server->roster_hash};
    memcpy(aad, scope.ctx, 32);
    memcpy(aad + 32, scope.roster_hash, 32);
    for (size_t i = 0; i < 2; i++) {
        aad[64 + 2 * i] = (uint8_t)places[i];
        aad[65 + 2 * i] = (uint8_t)(places[i] >> 8);
    }
    assert_int_equal(shoal_x25519(shared, s->sk_enc, c->server->party[j - 1]->entry.epk_enc, NULL),
                     SHOAL_OK);
    assert_int_equal(shoal_sa_derive("shoal/sa1/share", &scope, shared, places, 2, key, NULL),
                     SHOAL_OK);
    return (shoal_aead_in){.key = key, .nonce = nonce, .aad = aad, .aad_n = 68};
}

typedef void edit_share(uint8_t plain[64], size_t place);

/* Opens device 0's boxes, changes what is in them, seals and signs again. */
static void deal_falsely(cohort *c, const secrets *s, edit_share *edit)
{
    static shoal_sa_boxes b;
    shoal_buf *m3 = &c->dev[0].sent[SHOAL_SA_SHARES];
    assert_int_equal(shoal_sa_read_shares(m3->data, m3->len, c->d.session_id, &b, NULL), SHOAL_OK);
    for (size_t i = 0; i < b.n; i++) {
        uint8_t key[32], aad[68], plain[64];
        shoal_aead_in in = box_of(c, s, b.items[i].peer, b.items[i].nonce, key, aad);
        assert_int_equal(shoal_aead_open(&in, b.items[i].sealed, SHOAL_SA_BOX_BYTES, plain, NULL),
                         SHOAL_OK);
        edit(plain, i);
        assert_int_equal(shoal_aead_seal(&in, plain, sizeof plain, b.items[i].sealed, NULL),
                         SHOAL_OK);
    }
    shoal_buf_clear(m3);
    shoal_sa_put_shares(m3, c->d.session_id, &b);
    assert_int_equal(
        shoal_sa_sign_tail(m3, 0, c->dev[0].key, "shoal/sa1/shares", c->server->ctx, NULL),
        SHOAL_OK);
}

/* A session up to and including SHARES in which device 0 deals what `edit` makes of its shares. */
static void deal(cohort *c, edit_share *edit)
{
    cohort_start(c);
    secrets s = foresee(c);
    assert_int_equal(hold(c, SHOAL_SA_ADVERTISE, ALL), SHOAL_OK);
    assert_int_equal(cohort_answer(c, 0, SHOAL_SA_SHARES), SHOAL_OK);
    deal_falsely(c, &s, edit);
    assert_int_equal(cohort_send(c, 0, SHOAL_SA_SHARES), SHOAL_OK);
    assert_int_equal(hold(c, SHOAL_SA_SHARES, ALL & ~1u), SHOAL_OK);
}

static void nothing(uint8_t plain[64], size_t place)
{
    (void)plain;
    (void)place;
}

static void zero_b(uint8_t plain[64], size_t place)
{
    (void)place;
    memset(plain, 0, 32);
}

static void spoil_b(uint8_t plain[64], size_t place)
{
    plain[place] ^= 0x55;
}

static void spoil_sk(uint8_t plain[64], size_t place)
{
    plain[32 + place] ^= 0x55;
}

static void zero_sk(uint8_t plain[64], size_t place)
{
    (void)place;
    memset(plain + 32, 0, 32);
}

/* One holder gets a share of another place. */
static void wrong_x(uint8_t plain[64], size_t place)
{
    static uint8_t first[64];
    if (place == 0) memcpy(first, plain, 64);
    if (place == 1) memcpy(plain, first, 64);
}

/* False shares of its own secrets, in boxes that open. Of zeros a secret opens, but not the one it
 * committed to (b, com_b), or whose key it advertised (sk_mask, epk_mask). The mask then stays on,
 * and the reason says so. Only the secret that is needed matters: b when it stays, sk when it
 * leaves.
 */
static void test_false_shares(void **state)
{
    cohort *c = *state;
    static const struct {
        edit_share *edit;
        bool leaves, fails;
    } cases[] = {{nothing, false, false}, {nothing, true, false}, {zero_b, false, true},
                 {spoil_b, false, true},  {spoil_b, true, false}, {spoil_sk, false, false},
                 {spoil_sk, true, true},  {zero_sk, true, true},  {wrong_x, false, false},
                 {wrong_x, true, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned rest = cases[i].leaves ? ALL & ~1u : ALL;
        deal(c, cases[i].edit);
        assert_int_equal(hold(c, SHOAL_SA_CONFIRM, ALL), SHOAL_OK);
        shoal_status st = hold_rest(c, SHOAL_SA_INPUT, rest);
        if (cases[i].fails) {
            assert_int_equal(st, SHOAL_ERR_DENIED);
            assert_failed(c, "do not open the mask");
        } else {
            assert_int_equal(st, SHOAL_OK);
            cohort_check_sum(c, rest);
        }
    }
}

/* ---- malformed deals and confirmations ---- */

/* A box too few, one for itself, one twice, one for nobody: properly signed, and refused; then the
 * right ones are taken. */
static void test_boxes_for_the_wrong(void **state)
{
    cohort *c = *state;
    static shoal_sa_boxes right, b;
    cohort_start(c);
    assert_int_equal(hold(c, SHOAL_SA_ADVERTISE, ALL), SHOAL_OK);
    assert_int_equal(cohort_answer(c, 0, SHOAL_SA_SHARES), SHOAL_OK);
    const shoal_buf *m3 = &c->dev[0].sent[SHOAL_SA_SHARES];
    assert_int_equal(shoal_sa_read_shares(m3->data, m3->len, c->d.session_id, &right, NULL),
                     SHOAL_OK);
    for (int attack = 0; attack < 5; attack++) {
        shoal_buf bad = attack_message();
        b = right;
        switch (attack) {
        case 0: b.n--; break;
        case 1: b.items[N - 2].peer = N + 1; break;
        case 2: b.items[0].peer = (uint16_t)attack_index(c, 0); break;
        case 3: b.items[1].peer = b.items[0].peer; break;
        default: b.items[b.n++] = (shoal_sa_box){.peer = N + 1}; break;
        }
        shoal_sa_put_shares(&bad, c->d.session_id, &b);
        assert_int_equal(
            shoal_sa_sign_tail(&bad, 0, c->dev[0].key, "shoal/sa1/shares", c->server->ctx, NULL),
            SHOAL_OK);
        assert_int_equal(attack_receive(c, 0, SHOAL_SA_SHARES, &bad), SHOAL_ERR_FORMAT);
        shoal_buf_clear(&bad);
    }
    assert_int_equal(cohort_send(c, 0, SHOAL_SA_SHARES), SHOAL_OK);
}

/* Boxes that do not open: their dealer is left out before anyone masks with it, when most refuse
 * it; the others finish. */
static void test_sealed_nonsense(void **state)
{
    cohort *c = *state;
    static shoal_sa_boxes b;
    cohort_start(c);
    assert_int_equal(hold(c, SHOAL_SA_ADVERTISE, ALL), SHOAL_OK);
    assert_int_equal(cohort_answer(c, 0, SHOAL_SA_SHARES), SHOAL_OK);
    shoal_buf *m3 = &c->dev[0].sent[SHOAL_SA_SHARES];
    assert_int_equal(shoal_sa_read_shares(m3->data, m3->len, c->d.session_id, &b, NULL), SHOAL_OK);
    for (size_t i = 0; i < b.n; i++) {
        b.items[i].sealed[i] ^= 1;
    }
    shoal_buf_clear(m3);
    shoal_sa_put_shares(m3, c->d.session_id, &b);
    (void)shoal_buf_put(m3, b.items, SHOAL_SIG_BYTES); /* room for the signature */
    attack_resign(c, 0, "shoal/sa1/shares", m3);
    assert_int_equal(cohort_send(c, 0, SHOAL_SA_SHARES), SHOAL_OK);
    assert_int_equal(hold(c, SHOAL_SA_SHARES, ALL & ~1u), SHOAL_OK);
    assert_int_equal(hold(c, SHOAL_SA_CONFIRM, ALL), SHOAL_OK);
    assert_false(shoal_sa_set_has(&c->server->u2, attack_index(c, 0)));
    assert_int_equal(shoal_sa_server_counts(c->server).liars, 1);
    assert_int_equal(hold_rest(c, SHOAL_SA_INPUT, ALL & ~1u), SHOAL_OK);
    cohort_check_sum(c, ALL & ~1u);
}

/* Spec 5.5.2. A confirmation that names itself, somebody twice, or nobody of the roster. */
static void test_false_confirmations(void **state)
{
    cohort *c = *state;
    cohort_start(c);
    cohort_run(c, SHOAL_SA_SHARES);
    const uint16_t own = (uint16_t)attack_index(c, 0);
    const shoal_sa_refusals bad[] = {{1, {own}}, {2, {1, 1}}, {1, {N + 1}}, {1, {0}}, {2, {3, 2}}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        shoal_buf m = attack_message();
        shoal_sa_put_confirm(&m, c->d.session_id, &bad[i]);
        assert_int_equal(attack_receive(c, 0, SHOAL_SA_CONFIRM, &m), SHOAL_ERR_FORMAT);
        shoal_buf_clear(&m);
    }
}

/* ---- inputs ---- */

/* The attacker masks words of its own choice; everyone goes on to the end. */
static void finish_with(cohort *c, const uint32_t words[DIM + 1])
{
    shoal_buf members, *m5 = &c->dev[0].sent[SHOAL_SA_INPUT];
    uint32_t masked[DIM + 1];
    cohort_start(c);
    cohort_run(c, SHOAL_SA_CONFIRM);
    members = cohort_message(c, 0, SHOAL_SA_CONFIRM);
    assert_int_equal(shoal_sa_client_members(c->dev[0].client, members.data, members.len, NULL),
                     SHOAL_OK);
    memcpy(masked, words, sizeof masked);
    memcpy(c->dev[0].plain, words, sizeof masked);
    assert_int_equal(shoal_sa_client_input(c->dev[0].client, masked, m5, NULL), SHOAL_OK);
    assert_int_equal(cohort_send(c, 0, SHOAL_SA_INPUT), SHOAL_OK);
    assert_int_equal(hold(c, SHOAL_SA_INPUT, ALL & ~1u), SHOAL_OK);
    assert_int_equal(hold_rest(c, SHOAL_SA_SURVIVORS, ALL), SHOAL_OK);
    cohort_check_sum(c, ALL);
    shoal_buf_clear(&members);
}

/* Spec 5.10.1. Nobody sees a single input, so a false weight shows in the sum, if it shows: none,
 * or more than the whole cohort may have, makes the round fail. A coordinate beyond the bound (a
 * boosted update that was never clipped) shifts the sum by just that (Spec 8.3). */
static void test_weights_and_boosts(void **state)
{
    cohort *c = *state;
    static const uint32_t weights[] = {9 * 8, 0u - 27u, 0x800000, 0u - 60u};
    uint64_t sum = 0;
    float mean[DIM], boosted[DIM];
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
        uint32_t words[DIM + 1] = {0};
        words[DIM] = weights[i];
        finish_with(c, words);
        assert_int_equal(shoal_codec_decode(&c->ex, &c->d.codec, NULL,
                                            shoal_sa_server_sum(c->server), mean, &sum, NULL),
                         SHOAL_ERR_FORMAT);
    }
    uint32_t words[DIM + 1] = {0};
    words[DIM] = 1;
    finish_with(c, words);
    assert_int_equal(shoal_codec_decode(&c->ex, &c->d.codec, NULL, shoal_sa_server_sum(c->server),
                                        mean, &sum, NULL),
                     SHOAL_OK);
    words[4] = 1u << 20;
    finish_with(c, words);
    assert_int_equal(shoal_codec_decode(&c->ex, &c->d.codec, NULL, shoal_sa_server_sum(c->server),
                                        boosted, &sum, NULL),
                     SHOAL_OK);
    for (size_t k = 0; k < DIM; k++) {
        assert_int_equal(boosted[k] != mean[k], k == 4);
    }
}

/* ---- signatures, drop-outs, clocks, lengths ---- */

/* A second signature over another set, after the right one and before it. */
static void test_two_signatures(void **state)
{
    cohort *c = *state;
    for (int first = 0; first < 2; first++) {
        cohort_start(c);
        cohort_run(c, SHOAL_SA_INPUT);
        shoal_sa_set fewer = attack_without(c, attack_other(c));
        static shoal_sa_quorum q;
        shoal_buf m = attack_message();
        attack_sign(c, &fewer, 1, &q);
        shoal_sa_put_signature(&m, c->d.session_id, N, &fewer, q.items[0].sig);
        if (first)
            assert_int_equal(attack_receive(c, 0, SHOAL_SA_SURVIVORS, &m), SHOAL_ERR_TAMPERED);
        assert_int_equal(cohort_act(c, 0, SHOAL_SA_SURVIVORS), SHOAL_OK);
        assert_int_equal(attack_receive(c, 0, SHOAL_SA_SURVIVORS, &m), SHOAL_ERR_DENIED);
        assert_int_equal(cohort_send(c, 0, SHOAL_SA_SURVIVORS), SHOAL_OK);
        shoal_buf_clear(&m);
        assert_int_equal(hold(c, SHOAL_SA_SURVIVORS, ALL & ~1u), SHOAL_OK);
        assert_int_equal(hold(c, SHOAL_SA_UNMASK, ALL), SHOAL_OK);
        cohort_check_sum(c, ALL);
    }
}

/* At each stage exactly t of 7 are enough, and one less is not; all but one gone after the inputs
 * is a round refused. */
static void test_exactly_enough(void **state)
{
    cohort *c = *state;
    for (shoal_sa_stage s = SHOAL_SA_SHARES; s <= SHOAL_SA_UNMASK; s++) {
        for (unsigned present = 4; present <= 5; present++) {
            unsigned some = (1u << present) - 1;
            cohort_start(c);
            cohort_run(c, s - 1);
            shoal_status st = hold_rest(c, s, some);
            assert_int_equal(st, present == 5 ? SHOAL_OK : SHOAL_ERR_DENIED);
            if (st == SHOAL_OK) {
                cohort_check_sum(c, s <= SHOAL_SA_INPUT ? some : ALL);
            } else {
                assert_failed(c, "");
            }
        }
    }
    cohort_start(c);
    cohort_run(c, SHOAL_SA_INPUT);
    assert_int_equal(hold_rest(c, SHOAL_SA_SURVIVORS, 1), SHOAL_ERR_DENIED);
    assert_failed(c, "clients needed");
}

/* A device whose clock is a day behind or ahead finds every certificate not valid and leaves; the
 * others finish. The server's clock: no advert is taken. */
static void test_clock_skew(void **state)
{
    cohort *c = *state;
    for (int ahead = 0; ahead < 2; ahead++) {
        cohort_start(c);
        const int64_t now_s = COHORT_NOW + (ahead ? 2 : -1) * 86400;
        assert_int_equal(hold(c, SHOAL_SA_ADVERTISE, ALL), SHOAL_OK);
        c->now_s = now_s;
        assert_int_equal(cohort_answer(c, 0, SHOAL_SA_SHARES), SHOAL_ERR_TIMEOUT);
        c->now_s = COHORT_NOW;
        assert_int_equal(hold_rest(c, SHOAL_SA_SHARES, ALL & ~1u), SHOAL_OK);
        cohort_check_sum(c, ALL & ~1u);

        cohort_start(c);
        assert_int_equal(cohort_answer(c, 1, SHOAL_SA_ADVERTISE), SHOAL_OK);
        const shoal_buf *m1 = &c->dev[1].sent[SHOAL_SA_ADVERTISE];
        assert_int_equal(shoal_sa_server_receive(c->server, SHOAL_SA_ADVERTISE, c->dev[1].id,
                                                 m1->data, m1->len, now_s, &c->err),
                         SHOAL_ERR_STATE);
    }
}

/* Spec 5.3.2: a certificate that was issued after others had sent their M1 is judged by the time at
 * which they read it. */
static void test_joined_meanwhile(void **state)
{
    cohort *c = *state;
    cohort_certify(c, 1, COHORT_NOW + 301, COHORT_NOW + 86400);
    cohort_start(c);
    assert_int_equal(cohort_act(c, 0, SHOAL_SA_ADVERTISE), SHOAL_OK);
    c->now_s = COHORT_NOW + 590;
    assert_int_equal(hold(c, SHOAL_SA_ADVERTISE, ALL & ~1u), SHOAL_OK);
    assert_int_equal(hold_rest(c, SHOAL_SA_SHARES, ALL), SHOAL_OK);
    cohort_check_sum(c, ALL);
    c->now_s = COHORT_NOW;
    cohort_certify(c, 1, COHORT_NOW - 60, COHORT_NOW + 86400);
}

/* A byte after the end, and messages over the cap: refused before anything is looked at. */
static void test_long_messages(void **state)
{
    cohort *c = *state;
    cohort_start(c);
    shoal_buf huge = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE + 16);
    static uint8_t zeros[SHOAL_LIMIT_SA_MESSAGE + 1];
    assert_true(shoal_buf_put(&huge, zeros, sizeof zeros));
    for (shoal_sa_stage s = SHOAL_SA_ADVERTISE; s <= SHOAL_SA_UNMASK; s++) {
        assert_int_equal(cohort_answer(c, 0, s), SHOAL_OK);
        shoal_buf longer = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
        assert_true(shoal_buf_put(&longer, c->dev[0].sent[s].data, c->dev[0].sent[s].len) &&
                    shoal_buf_put_u8(&longer, 0));
        assert_int_not_equal(attack_receive(c, 0, s, &longer), SHOAL_OK);
        assert_int_not_equal(attack_receive(c, 0, s, &huge), SHOAL_OK);
        shoal_buf_clear(&longer);
        assert_int_equal(cohort_send(c, 0, s), SHOAL_OK);
        assert_int_equal(hold(c, s, ALL & ~1u), SHOAL_OK);
    }
    cohort_check_sum(c, ALL);
    shoal_buf_clear(&huge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_false_shares),       cmocka_unit_test(test_boxes_for_the_wrong),
        cmocka_unit_test(test_sealed_nonsense),    cmocka_unit_test(test_false_confirmations),
        cmocka_unit_test(test_weights_and_boosts), cmocka_unit_test(test_two_signatures),
        cmocka_unit_test(test_exactly_enough),     cmocka_unit_test(test_clock_skew),
        cmocka_unit_test(test_joined_meanwhile),   cmocka_unit_test(test_long_messages),
    };
    return cmocka_run_group_tests(tests, open_cohort, close_cohort);
}
