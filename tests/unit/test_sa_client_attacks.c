/* test_sa_client_attacks.c - malicious clients against the real server: nothing of theirs spoils a
 * sum, and liars about shares are named (Spec 5.9.2, 7.3). Device 0 is the attacker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/sa_session.h"
#include "tests/support/sa_attack.h"

enum { N = 7 }; /* t = 5: two liars can be left out */

static int open_cohort(void **state)
{
    static cohort c;
    cohort_open(&c, N, 30, 31);
    *state = &c;
    return 0;
}

static int close_cohort(void **state)
{
    cohort_close(*state);
    return 0;
}

/* No single-byte change and no prefix of any message is taken; then the right one still is.
 * (Spec 1.8, Spec 5.4) */
static void test_changed_messages(void **state)
{
    cohort *c = *state;
    cohort_start(c);
    for (shoal_sa_stage stage = SHOAL_SA_ADVERTISE; stage <= SHOAL_SA_UNMASK; stage++) {
        for (size_t i = 0; i < N; i++) {
            assert_int_equal(cohort_answer(c, i, stage), SHOAL_OK);
        }
        shoal_buf *m = &c->dev[0].sent[stage];
        for (size_t at = 0; at < m->len; at += 1 + m->len / 60) {
            m->data[at] ^= 0x20;
            assert_int_not_equal(attack_receive(c, 0, stage, m), SHOAL_OK);
            m->data[at] ^= 0x20;
            shoal_buf cut = {.data = m->data, .len = at};
            assert_int_not_equal(attack_receive(c, 0, stage, &cut), SHOAL_OK);
        }
        for (size_t i = 0; i < N; i++) {
            assert_int_equal(cohort_send(c, i, stage), SHOAL_OK);
        }
        assert_int_equal(shoal_sa_server_advance(c->server, false, &c->err), SHOAL_OK);
    }
    cohort_check_sum(c, (1u << N) - 1u);
}

/* Spec 5.2. Somebody else's certificate, a repeated key, keys of low order or not canonical. */
static void test_adverts(void **state)
{
    cohort *c = *state;
    cohort_start(c);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(cohort_answer(c, i, SHOAL_SA_ADVERTISE), SHOAL_OK);
    }
    const shoal_buf *theirs = &c->dev[1].sent[SHOAL_SA_ADVERTISE];
    assert_int_equal(attack_receive(c, 0, SHOAL_SA_ADVERTISE, theirs), SHOAL_ERR_TAMPERED);
    assert_int_equal(cohort_send(c, 1, SHOAL_SA_ADVERTISE), SHOAL_OK);
    shoal_buf *mine = &c->dev[0].sent[SHOAL_SA_ADVERTISE];
    uint8_t *key = mine->data + SHOAL_SA_HEAD_BYTES;
    uint8_t right[32];
    memcpy(right, key, 32);
    static const char *const low_order[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"};
    for (size_t attack = 0; attack < 8; attack++) {
        if (attack < 5) assert_true(shoal_hex_decode(low_order[attack], key, 32));
        if (attack == 5) memcpy(key, theirs->data + SHOAL_SA_HEAD_BYTES + 32, 32);
        if (attack == 6) memcpy(key, key + 32, 32);
        if (attack == 7) key[31] |= 0x80;
        attack_resign(c, 0, "shoal/sa1/advertise", mine);
        assert_int_equal(attack_receive(c, 0, SHOAL_SA_ADVERTISE, mine), SHOAL_ERR_TAMPERED);
        memcpy(key, right, 32);
    }
    attack_resign(c, 0, "shoal/sa1/advertise", mine);
    assert_int_equal(attack_receive(c, 0, SHOAL_SA_ADVERTISE, mine), SHOAL_OK);
}

/* Spec 5.2.1: the certificate lasts as long as the session may, six stages of a second, and five
 * minutes more. */
static void test_certificate_ends_too_soon(void **state)
{
    cohort *c = *state;
    cohort_start(c);
    for (size_t i = 0; i < 2; i++) {
        const int64_t late = COHORT_NOW + 86400 - 306 + (i == 0);
        assert_int_equal(cohort_answer(c, i, SHOAL_SA_ADVERTISE), SHOAL_OK);
        const shoal_buf *m1 = &c->dev[i].sent[SHOAL_SA_ADVERTISE];
        assert_int_equal(shoal_sa_server_receive(c->server, SHOAL_SA_ADVERTISE, c->dev[i].id,
                                                 m1->data, m1->len, late, &c->err),
                         i == 0 ? SHOAL_ERR_STATE : SHOAL_OK);
    }
    assert_int_equal(shoal_sa_server_counts(c->server).roster, 1);
}

/* Too early, too late, not a member, and after the cohort is closed. */
static void test_stages_are_kept(void **state)
{
    cohort *c = *state;
    cohort_start(c);
    for (size_t i = 0; i < N - 1; i++) {
        assert_int_equal(cohort_act(c, i, SHOAL_SA_ADVERTISE), SHOAL_OK);
    }
    assert_int_equal(cohort_answer(c, N - 1, SHOAL_SA_ADVERTISE), SHOAL_OK);
    assert_false(shoal_sa_server_ready(c->server));
    assert_int_equal(shoal_sa_server_advance(c->server, false, &c->err), SHOAL_ERR_AGAIN);
    shoal_buf out = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
    assert_int_equal(
        shoal_sa_server_message(c->server, SHOAL_SA_ADVERTISE, c->dev[0].id, &out, &c->err),
        SHOAL_ERR_AGAIN);
    assert_int_equal(shoal_sa_server_advance(c->server, true, &c->err), SHOAL_OK);
    assert_int_equal(cohort_send(c, N - 1, SHOAL_SA_ADVERTISE), SHOAL_ERR_STATE);
    assert_int_equal(
        shoal_sa_server_message(c->server, SHOAL_SA_ADVERTISE, c->dev[N - 1].id, &out, &c->err),
        SHOAL_ERR_DENIED);
    assert_int_equal(attack_receive(c, 0, SHOAL_SA_INPUT, &c->dev[0].sent[SHOAL_SA_ADVERTISE]),
                     SHOAL_ERR_STATE);
    assert_int_equal(cohort_answer(c, 0, SHOAL_SA_SHARES), SHOAL_OK);
    assert_int_equal(attack_receive(c, N - 1, SHOAL_SA_SHARES, &c->dev[0].sent[SHOAL_SA_SHARES]),
                     SHOAL_ERR_DENIED);
    /* Somebody else's message under one's own name. */
    assert_int_equal(attack_receive(c, 1, SHOAL_SA_SHARES, &c->dev[0].sent[SHOAL_SA_SHARES]),
                     SHOAL_ERR_TAMPERED);
    assert_int_equal(out.len, 0);
}

/* Spec 5.6. An input of another size or ring, although signed; one after U3 is fixed. */
static void test_inputs(void **state)
{
    cohort *c = *state;
    cohort_start(c);
    cohort_run(c, SHOAL_SA_CONFIRM);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(cohort_answer(c, i, SHOAL_SA_INPUT), SHOAL_OK);
    }
    shoal_buf *m = &c->dev[0].sent[SHOAL_SA_INPUT];
    for (size_t field = 0; field < 8; field += 4) { /* words, then ring bits */
        m->data[SHOAL_SA_HEAD_BYTES + field]++;
        assert_int_equal(attack_receive(c, 0, SHOAL_SA_INPUT, m), SHOAL_ERR_FORMAT);
        m->data[SHOAL_SA_HEAD_BYTES + field]--;
    }
    for (size_t i = 1; i < N; i++) {
        assert_int_equal(cohort_send(c, i, SHOAL_SA_INPUT), SHOAL_OK);
    }
    assert_int_equal(shoal_sa_server_advance(c->server, true, &c->err), SHOAL_OK);
    assert_int_equal(cohort_send(c, 0, SHOAL_SA_INPUT), SHOAL_ERR_STATE);
}

/* A signature for another survivor set than the server's. */
static void test_other_survivors(void **state)
{
    cohort *c = *state;
    cohort_start(c);
    cohort_run(c, SHOAL_SA_INPUT);
    shoal_sa_set u3 = {.w = {(1u << (N - 1)) - 1u}};
    shoal_sa_survivors s = {c->server->ctx, c->server->roster_hash, N, &u3};
    uint8_t sig[SHOAL_SIG_BYTES];
    shoal_buf m = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
    assert_int_equal(shoal_sa_survivors_sign(&s, c->dev[0].key, sig, NULL), SHOAL_OK);
    shoal_sa_put_signature(&m, c->d.session_id, N, &u3, sig);
    assert_int_equal(attack_receive(c, 0, SHOAL_SA_SURVIVORS, &m), SHOAL_ERR_TAMPERED);
    shoal_buf_clear(&m);
}

/* Adds the same error to byte `at` of all shares in an M8 and signs it again. */
static void falsify(cohort *c, size_t i, size_t at, uint8_t error)
{
    shoal_buf *m = &c->dev[i].sent[SHOAL_SA_UNMASK];
    for (size_t item = 0; item < N; item++) {
        m->data[SHOAL_SA_HEAD_BYTES + 2 + item * 35 + 3 + at] ^= error;
    }
    attack_resign(c, i, "shoal/sa1/unmask", m);
}

/* Devices 0..liars-1 reveal false shares, properly signed: with errors of their own, or all with
 * the same one (`plot`), which cancels at 0 for some subsets. Device N-1 left before its input when
 * `drop`, so that key shares are needed too. */
static shoal_status lie(cohort *c, size_t liars, bool drop, bool plot)
{
    size_t present = drop ? N - 1 : N;
    cohort_start(c);
    for (shoal_sa_stage stage = SHOAL_SA_ADVERTISE; stage <= SHOAL_SA_UNMASK; stage++) {
        size_t n = stage >= SHOAL_SA_INPUT ? present : N;
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(cohort_answer(c, i, stage), SHOAL_OK);
            if (stage == SHOAL_SA_UNMASK && i < liars) {
                falsify(c, i, plot ? 7 : i, 0x55);
            }
            assert_int_equal(cohort_send(c, i, stage), SHOAL_OK);
        }
        if (stage < SHOAL_SA_UNMASK) {
            assert_int_equal(shoal_sa_server_advance(c->server, true, &c->err), SHOAL_OK);
        }
    }
    return shoal_sa_server_advance(c->server, true, &c->err);
}

static void assert_named(cohort *c, size_t liars)
{
    for (size_t k = 0; k < N; k++) {
        shoal_sa_member m;
        assert_true(shoal_sa_server_member(c->server, k, &m));
        bool expected = false;
        for (size_t i = 0; i < liars; i++) {
            expected = expected || memcmp(m.id, c->dev[i].id, SHOAL_ID_BYTES) == 0;
        }
        assert_int_equal(m.lied, expected);
    }
}

/* m = 7 shares, t = 5: one liar is named for certain; with two the sum is right, and nobody is
 * named, because two could as well frame others. */
static void test_liars(void **state)
{
    cohort *c = *state;
    for (size_t liars = 0; liars <= 2; liars++) {
        assert_int_equal(lie(c, liars, false, false), SHOAL_OK);
        cohort_check_sum(c, (1u << N) - 1u);
        assert_named(c, liars <= 1 ? liars : 0);
        assert_int_equal(shoal_sa_server_counts(c->server).liars, liars <= 1 ? liars : 0);
    }
    assert_int_equal(lie(c, 1, true, false), SHOAL_OK);
    cohort_check_sum(c, (1u << (N - 1)) - 1u);
}

/* With fewer than t true shares the session is refused; a wrong sum never comes out. */
static void test_too_many_liars(void **state)
{
    cohort *c = *state;
    assert_int_equal(lie(c, 3, false, false), SHOAL_ERR_DENIED);
    assert_int_equal(shoal_sa_server_stage(c->server), SHOAL_SA_FAILED);
    assert_null(shoal_sa_server_sum(c->server));
    assert_non_null(strstr(shoal_sa_server_reason(c->server), "do not open the mask"));
    assert_int_equal(lie(c, 2, true, false), SHOAL_ERR_DENIED);
    shoal_buf out = shoal_buf_init(1000);
    assert_int_equal(
        shoal_sa_server_message(c->server, SHOAL_SA_INPUT, c->dev[0].id, &out, &c->err),
        SHOAL_ERR_STATE);
}

/* Colluding liars whose errors cancel at 0 may open secrets; the sum is then right all the same,
 * and they cannot have an honest holder named for it. */
static void test_nobody_is_framed(void **state)
{
    cohort *c = *state;
    for (size_t liars = 2; liars <= 3; liars++) {
        shoal_status st = lie(c, liars, false, true);
        if (st == SHOAL_OK) cohort_check_sum(c, (1u << N) - 1u);
        if (liars == 2) assert_int_equal(shoal_sa_server_counts(c->server).liars, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changed_messages),
        cmocka_unit_test(test_adverts),
        cmocka_unit_test(test_certificate_ends_too_soon),
        cmocka_unit_test(test_stages_are_kept),
        cmocka_unit_test(test_inputs),
        cmocka_unit_test(test_other_survivors),
        cmocka_unit_test(test_liars),
        cmocka_unit_test(test_too_many_liars),
        cmocka_unit_test(test_nobody_is_framed),
    };
    return cmocka_run_group_tests(tests, open_cohort, close_cohort);
}
