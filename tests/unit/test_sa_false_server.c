/* test_sa_false_server.c - a server with accomplices among the devices, that replays, splits the
 * cohort, downgrades and bends every byte, against one real client (device 0): what
 * test_sa_server_attacks.c does with single lies. Devices 1.. are the server's when a test says so:
 * it signs with their keys. (Spec 6.3, 7.2, 7.5) */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "proto/x509.h"
#include "tests/support/sa_attack.h"

enum { N = 5 };

static int open_cohort(void **state)
{
    static cohort c;
    cohort_open(&c, N, 30, 61);
    *state = &c;
    return 0;
}

static int close_cohort(void **state)
{
    cohort_close(*state);
    return 0;
}

/* ---- replays ---- */

/* What the server said to the victim after each stage of an honest session. */
static void record_session(cohort *c, shoal_buf said[SHOAL_SA_STAGES])
{
    cohort_start(c);
    cohort_run(c, SHOAL_SA_ADVERTISE);
    for (shoal_sa_stage s = SHOAL_SA_ADVERTISE; s <= SHOAL_SA_SURVIVORS; s++) {
        said[s] = cohort_message(c, 0, s);
        for (size_t i = 0; i < N; i++) {
            assert_int_equal(cohort_act(c, i, s + 1), SHOAL_OK);
        }
        assert_int_equal(shoal_sa_server_advance(c->server, false, &c->err), SHOAL_OK);
    }
}

/* Runs a session up to where the victim waits for what comes after a stage. */
static void wait_for(cohort *c, shoal_sa_stage stage)
{
    cohort_start(c);
    cohort_run(c, stage);
}

/* Each message of one session in the next: with another session id, and with the same id and
 * another round, so that only the context tells them apart. */
static void test_replays_across_sessions(void **state)
{
    cohort *c = *state;
    for (int same_id = 0; same_id < 2; same_id++) {
        shoal_buf said[SHOAL_SA_STAGES];
        record_session(c, said);
        c->d.round++;
        if (!same_id) c->d.session_id[3] ^= 1;
        for (shoal_sa_stage s = SHOAL_SA_ADVERTISE; s <= SHOAL_SA_SURVIVORS; s++) {
            wait_for(c, s);
            shoal_buf out = attack_message();
            bool harmless = same_id && (s == SHOAL_SA_CONFIRM || s == SHOAL_SA_INPUT);
            if (s == SHOAL_SA_SHARES && same_id) {
                /* The boxes of the old session do not open in the new one: all are named. */
                shoal_sa_refusals named;
                assert_int_equal(attack_feed(c, s, &said[s], &out), SHOAL_OK);
                assert_int_equal(
                    shoal_sa_read_confirm(out.data, out.len, c->d.session_id, &named, NULL),
                    SHOAL_OK);
                assert_int_equal(named.n, N - 1);
                shoal_buf_clear(&said[s]);
            } else if (harmless) { /* a bitmap, the same in both */
                shoal_buf honest = cohort_message(c, 0, s);
                assert_int_equal(honest.len, said[s].len);
                assert_memory_equal(honest.data, said[s].data, honest.len);
                shoal_buf_clear(&honest);
                shoal_buf_clear(&said[s]);
            } else {
                attack_refused(c, s, &said[s]);
            }
            shoal_buf_clear(&out);
        }
    }
}

/* An older descriptor, and another one of the same round: refused once the round is saved. */
static void test_replayed_descriptors(void **state)
{
    cohort *c = *state;
    cohort_start(c);
    shoal_sa_client_options opt = cohort_options(c, 0);
    for (uint64_t later = 0; later < 3; later++) {
        shoal_sa_client *k = NULL;
        opt.last_round = c->d.round + later;
        assert_int_equal(
            shoal_sa_client_open(&k, &opt, c->descriptor.data, c->descriptor.len, &c->err),
            SHOAL_ERR_DENIED);
        assert_null(k);
    }
    opt.last_round = UINT64_MAX;
    shoal_sa_client *k = NULL;
    assert_int_equal(shoal_sa_client_open(&k, &opt, c->descriptor.data, c->descriptor.len, &c->err),
                     SHOAL_ERR_DENIED);
}

/* ---- the roster ---- */

/* An honest roster of the victim, decoded. The caller clears both. */
static void honest_roster(cohort *c, shoal_buf *m2, shoal_sa_roster *r)
{
    cohort_start(c);
    cohort_run(c, SHOAL_SA_ADVERTISE);
    *m2 = cohort_message(c, 0, SHOAL_SA_ADVERTISE);
    assert_int_equal(shoal_sa_read_roster(m2->data, m2->len, c->d.session_id, r, NULL), SHOAL_OK);
}

/* M1 of an entry, signed by its owner for a context. */
static void sign_entry(cohort *c, const uint8_t ctx[32], const shoal_sa_entry *e, size_t owner,
                       uint8_t sig[SHOAL_SIG_BYTES])
{
    shoal_buf m1 = attack_message();
    shoal_sa_advert m = {.cert = c->dev[owner].cert.data, .cert_n = c->dev[owner].cert.len};
    memcpy(m.epk_enc, e->epk_enc, 32);
    memcpy(m.epk_mask, e->epk_mask, 32);
    memcpy(m.nonce, e->nonce, 32);
    memcpy(m.com_b, e->com_b, 32);
    shoal_sa_put_advert(&m1, c->d.session_id, &m);
    assert_int_equal(
        shoal_sa_sign_tail(&m1, 0, c->dev[owner].key, "shoal/sa1/advertise", ctx, NULL), SHOAL_OK);
    memcpy(sig, m1.data + m1.len - SHOAL_SIG_BYTES, SHOAL_SIG_BYTES);
    shoal_buf_clear(&m1);
}

typedef void bend_entry(shoal_sa_entry *theirs, const shoal_sa_entry *victims, size_t step);

/* The accomplice at some place of the roster announces bent keys, properly signed. */
static shoal_buf accomplice_roster(cohort *c, bend_entry *bend, size_t step)
{
    shoal_buf honest;
    shoal_buf m2 = attack_message();
    static shoal_sa_roster r;
    static uint8_t sig[SHOAL_SIG_BYTES];
    honest_roster(c, &honest, &r);
    size_t index = attack_other(c);
    bend(&r.entries[index - 1], &r.entries[attack_index(c, 0) - 1], step);
    sign_entry(c, c->server->ctx, &r.entries[index - 1], attack_device(c, index), sig);
    for (size_t k = 0; k < r.n_credentials; k++) {
        if (r.credentials[k].index == index) r.credentials[k].sig = sig;
    }
    shoal_sa_put_roster(&m2, c->d.session_id, &r);
    shoal_sa_roster_clear(&r);
    shoal_buf_clear(&honest);
    return m2;
}

static void bend_nothing(shoal_sa_entry *theirs, const shoal_sa_entry *victims, size_t step)
{
    (void)victims;
    (void)step;
    theirs->nonce[0] ^= 1;
}

static void bend_reuse(shoal_sa_entry *theirs, const shoal_sa_entry *victims, size_t step)
{
    switch (step) {
    case 0: memcpy(theirs->epk_enc, theirs->epk_mask, 32); break;
    case 1: memcpy(theirs->epk_enc, victims->epk_enc, 32); break;
    case 2: memcpy(theirs->epk_enc, victims->epk_mask, 32); break;
    case 3: memcpy(theirs->epk_mask, victims->epk_enc, 32); break;
    default: memcpy(theirs->epk_mask, victims->epk_mask, 32); break;
    }
}

/* Encodings whose X25519 with anything is zero, and encodings that are not canonical. RFC 7748, 6.1
 * and 5; Wycheproof's list. */
static const char *const bad_keys[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0900000000000000000000000000000000000000000000000000000000000080",
    "cdeb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b880",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"};
enum { BAD_KEYS = sizeof bad_keys / sizeof bad_keys[0] };

static void bend_enc(shoal_sa_entry *theirs, const shoal_sa_entry *victims, size_t step)
{
    (void)victims;
    assert_true(shoal_hex_decode(bad_keys[step], theirs->epk_enc, 32));
}

static void bend_mask(shoal_sa_entry *theirs, const shoal_sa_entry *victims, size_t step)
{
    (void)victims;
    assert_true(shoal_hex_decode(bad_keys[step], theirs->epk_mask, 32));
}

/* An honest change of an accomplice is taken, so it is the lie that the others are refused for. */
static void test_accomplices_keys(void **state)
{
    cohort *c = *state;
    shoal_buf out = attack_message();
    shoal_buf m2 = accomplice_roster(c, bend_nothing, 0);
    assert_int_equal(attack_feed(c, SHOAL_SA_ADVERTISE, &m2, &out), SHOAL_OK);
    assert_true(out.len > 0);
    shoal_buf_clear(&m2);
    for (size_t step = 0; step < 5; step++) {
        m2 = accomplice_roster(c, bend_reuse, step);
        attack_refused(c, SHOAL_SA_ADVERTISE, &m2);
    }
    for (size_t step = 0; step < BAD_KEYS; step++) {
        m2 = accomplice_roster(c, bend_enc, step);
        attack_refused(c, SHOAL_SA_ADVERTISE, &m2);
    }
    shoal_buf_clear(&out);
}

/* A mask key of low order is found when it is used: no vector is masked with a known stream. */
static void test_accomplices_mask_keys(void **state)
{
    cohort *c = *state;
    for (size_t step = 0; step < BAD_KEYS; step++) {
        uint32_t words[31] = {0};
        shoal_buf out = attack_message();
        shoal_buf m2 = accomplice_roster(c, bend_mask, step);
        shoal_status st = attack_feed(c, SHOAL_SA_ADVERTISE, &m2, &out);
        if (st == SHOAL_OK) {
            /* The server makes up the rest: nobody else dealt anything. */
            shoal_sa_set all = attack_everyone(c);
            static shoal_sa_boxes none;
            shoal_buf m4 = attack_message(), members = attack_message();
            none.n = 0;
            for (size_t j = 1; j <= N; j++) {
                if (j != attack_index(c, 0))
                    none.items[none.n++] = (shoal_sa_box){.peer = (uint16_t)j};
            }
            shoal_sa_put_delivery(&m4, c->d.session_id, N, &all, &none);
            assert_int_equal(attack_feed(c, SHOAL_SA_SHARES, &m4, &out), SHOAL_OK);
            shoal_sa_put_members(&members, c->d.session_id, N, &all);
            assert_int_equal(attack_feed(c, SHOAL_SA_CONFIRM, &members, &out), SHOAL_OK);
            size_t before = out.len;
            st = shoal_sa_client_input(c->dev[0].client, words, &out, NULL);
            assert_int_equal(out.len, before);
            shoal_buf_clear(&m4);
            shoal_buf_clear(&members);
        }
        assert_int_not_equal(st, SHOAL_OK);
        assert_int_equal(shoal_sa_client_stage(c->dev[0].client), SHOAL_SA_FAILED);
        shoal_buf_clear(&m2);
        shoal_buf_clear(&out);
    }
}

/* Model inconsistency: an honest device that was given another adapter signed another context. The
 * server puts its advert into the victim's roster all the same. */
static void test_two_adapters(void **state)
{
    cohort *c = *state;
    shoal_buf honest;
    shoal_buf m2 = attack_message();
    static shoal_sa_roster r;
    uint8_t other_ctx[32], sig[SHOAL_SIG_BYTES];
    shoal_sa_descriptor d = c->d, opened;
    shoal_buf sd = shoal_buf_init(SHOAL_LIMIT_DESCRIPTOR);
    d.adapter_hash[31] ^= 1;
    assert_int_equal(shoal_sa_descriptor_sign(&d, c->task_key, &sd, NULL), SHOAL_OK);
    assert_int_equal(
        shoal_sa_descriptor_open(sd.data, sd.len, c->task_spki, &opened, other_ctx, NULL),
        SHOAL_OK);
    honest_roster(c, &honest, &r);
    size_t index = attack_other(c);
    sign_entry(c, other_ctx, &r.entries[index - 1], attack_device(c, index), sig);
    for (size_t k = 0; k < r.n_credentials; k++) {
        if (r.credentials[k].index == index) r.credentials[k].sig = sig;
    }
    shoal_sa_put_roster(&m2, c->d.session_id, &r);
    attack_refused(c, SHOAL_SA_ADVERTISE, &m2);
    shoal_sa_roster_clear(&r);
    shoal_buf_clear(&honest);
    shoal_buf_clear(&sd);
}

/* Signatures of two clients exchanged, none at all, and a credential too many or of oneself. */
static void test_credentials(void **state)
{
    cohort *c = *state;
    static const uint8_t zeros[SHOAL_SIG_BYTES];
    for (int attack = 0; attack < 5; attack++) {
        shoal_buf honest;
        shoal_buf m2 = attack_message();
        static shoal_sa_roster r;
        honest_roster(c, &honest, &r);
        shoal_sa_credential *k = r.credentials;
        const uint8_t *sig = k[0].sig;
        switch (attack) {
        case 0:
            k[0].sig = k[1].sig;
            k[1].sig = sig;
            break;
        case 1: k[2].sig = zeros; break;
        case 2:
            k[r.n_credentials++] = (shoal_sa_credential){
                .index = N + 1, .cert = k[0].cert, .cert_n = k[0].cert_n, .sig = sig};
            break;
        case 3: k[0].cert_n--; break;
        default: { /* the victim's own among them, the last one gone */
            size_t own = attack_index(c, 0);
            size_t at = 0;
            while (at < r.n_credentials && k[at].index < own) {
                at++;
            }
            memmove(k + at + 1, k + at, (r.n_credentials - at) * sizeof *k);
            k[at] = (shoal_sa_credential){.index = (uint16_t)own,
                                          .cert = c->dev[0].cert.data,
                                          .cert_n = c->dev[0].cert.len,
                                          .sig = sig};
            r.n_credentials++;
            break;
        }
        }
        shoal_sa_put_roster(&m2, c->d.session_id, &r);
        attack_refused(c, SHOAL_SA_ADVERTISE, &m2);
        shoal_sa_roster_clear(&r);
        shoal_buf_clear(&honest);
    }
}

/* Every message of the server, bent at many places and cut at many lengths: refused, but for a box
 * of M4, which is named when it does not open. */
static void test_bent_bytes(void **state)
{
    cohort *c = *state;
    for (shoal_sa_stage s = SHOAL_SA_ADVERTISE; s <= SHOAL_SA_SURVIVORS; s++) {
        shoal_buf first;
        wait_for(c, s);
        first = cohort_message(c, 0, s);
        size_t length = first.len;
        shoal_buf_clear(&first);
        for (size_t at = 0; at < length; at += 1 + length / 25) {
            for (int cut = 0; cut < 2; cut++) {
                wait_for(c, s);
                shoal_buf m = cohort_message(c, 0, s);
                size_t boxes = SHOAL_SA_HEAD_BYTES + (N + 7) / 8 + 2;
                bool in_a_box = s == SHOAL_SA_SHARES && at >= boxes && (at - boxes) % 94 >= 2;
                if (cut) {
                    m.len = at;
                } else {
                    m.data[at] ^= 0x80; /* of a bitmap of five: a spare bit */
                }
                if (in_a_box && !cut) {
                    shoal_buf out = attack_message();
                    shoal_sa_refusals named;
                    assert_int_equal(attack_feed(c, s, &m, &out), SHOAL_OK);
                    assert_int_equal(
                        shoal_sa_read_confirm(out.data, out.len, c->d.session_id, &named, NULL),
                        SHOAL_OK);
                    assert_int_equal(named.n, 1);
                    shoal_buf_clear(&out);
                    shoal_buf_clear(&m);
                } else {
                    attack_refused(c, s, &m);
                }
            }
        }
    }
}

/* A device's certificate, begun so many seconds ago. */
static void renew(cohort *c, size_t i, int64_t ago_s)
{
    uint8_t spki[SHOAL_SPKI_BYTES];
    shoal_key_spki(c->dev[i].key, spki);
    shoal_buf_clear(&c->dev[i].cert);
    shoal_cert_template t = {.kind = SHOAL_CERT_CLIENT,
                             .spki = spki,
                             .not_before_s = COHORT_NOW - ago_s,
                             .not_after_s = COHORT_NOW + 86400,
                             .entropy = &c->dev[i].entropy.source};
    assert_int_equal(
        shoal_cert_issue(c->ca_key, c->ca.data, c->ca.len, &t, &c->dev[i].cert, &c->err), SHOAL_OK);
}

/* Attack 14. A cohort filled with devices made up for it: nothing in it is wrong (Spec 8.2), but
 * their certificates are new. An owner who asks is not put among more of them than it likes. */
static void test_new_devices(void **state)
{
    (void)state;
    cohort c;
    cohort_open(&c, N, 30, 64);
    for (size_t n_new = 0; n_new < N; n_new++) { /* of the 4 others */
        for (size_t i = 0; i < N; i++) {
            renew(&c, i, i > n_new || i == 0 ? 3601 : 3599);
        }
        for (uint32_t percent = 0; percent <= 100; percent += 25) {
            cohort_start(&c);
            shoal_sa_client_options opt = cohort_options(&c, 0);
            opt.policy.new_s = 3600;
            opt.policy.new_percent_max = percent;
            shoal_sa_client_close(c.dev[0].client);
            assert_int_equal(shoal_sa_client_open(&c.dev[0].client, &opt, c.descriptor.data,
                                                  c.descriptor.len, NULL),
                             SHOAL_OK);
            cohort_run(&c, SHOAL_SA_ADVERTISE);
            bool fine = 25 * n_new <= percent;
            assert_int_equal(cohort_answer(&c, 0, SHOAL_SA_SHARES),
                             fine ? SHOAL_OK : SHOAL_ERR_DENIED);
            assert_int_equal(c.dev[0].sent[SHOAL_SA_SHARES].len > 0, fine);
        }
    }
    assert_int_equal(shoal_sa_policy_default().new_percent_max, 100);
    cohort_close(&c);
}

/* ---- a sparse graph ---- */

/* The roster's hash decides who is next to the victim: credentials of others are refused. */
static void test_other_neighbours(void **state)
{
    (void)state;
    enum { MANY = 12, K = 4 };
    cohort c;
    cohort_open(&c, MANY, 30, 62);
    c.d.codec.n_max = MANY;
    assert_int_equal(shoal_codec_fit_scale(&c.d.codec, NULL), SHOAL_OK);
    c.d.degree = K;
    c.d.threshold = 3;
    for (int attack = 0; attack < 3; attack++) {
        shoal_buf honest;
        shoal_buf m2 = attack_message();
        static shoal_sa_roster r;
        honest_roster(&c, &honest, &r);
        size_t own = attack_index(&c, 0);
        assert_int_equal(r.n_credentials, K);
        size_t stranger = 1;
        while (stranger == own || shoal_sa_graph_adjacent(&c.server->g, own, stranger)) {
            stranger++;
        }
        const shoal_sa_party *p = c.server->party[stranger - 1];
        shoal_sa_credential theirs = {.index = (uint16_t)stranger,
                                      .cert = p->cert,
                                      .cert_n = p->cert_n,
                                      .sig = p->advert_sig};
        size_t at = 0; /* keep the order */
        while (at < K && r.credentials[at].index < stranger) {
            at++;
        }
        if (attack == 0) { /* in place of the one next to it in the list */
            r.credentials[at < K ? at : K - 1] = theirs;
        } else if (attack == 1) { /* as well */
            memmove(r.credentials + at + 1, r.credentials + at, (K - at) * sizeof theirs);
            r.credentials[at] = theirs;
            r.n_credentials++;
        } else {
            r.n_credentials--;
        }
        shoal_sa_put_roster(&m2, c.d.session_id, &r);
        attack_refused(&c, SHOAL_SA_ADVERTISE, &m2);
        shoal_sa_roster_clear(&r);
        shoal_buf_clear(&honest);
    }
    cohort_close(&c);
}

static shoal_status judge(cohort *c, const shoal_sa_client_options *opt)
{
    shoal_sa_client *k = NULL;
    shoal_buf sd = shoal_buf_init(SHOAL_LIMIT_DESCRIPTOR);
    assert_int_equal(shoal_sa_descriptor_sign(&c->d, c->task_key, &sd, NULL), SHOAL_OK);
    shoal_status st = shoal_sa_client_open(&k, opt, sd.data, sd.len, NULL);
    shoal_sa_client_close(k);
    shoal_buf_clear(&sd);
    return st;
}

/* Spec 5.1.2. k and t of the table for 1000 clients (78, 52) are taken, less is not; nor a small
 * committee, nor any k where the graph can be complete (5 % of 38 rounded down is one client). */
static void test_downgraded_graphs(void **state)
{
    (void)state;
    static const struct {
        uint32_t n_max, degree, threshold, committee;
        shoal_status want;
    } cases[] = {{1000, 78, 52, 128, SHOAL_OK},
                 {1000, 60, 40, 128, SHOAL_ERR_DENIED},
                 {1000, 78, 45, 128, SHOAL_ERR_DENIED},
                 {1000, 4, 3, 128, SHOAL_ERR_DENIED},
                 {1000, 78, 52, 127, SHOAL_ERR_DENIED},
                 {1000, 78, 52, 1, SHOAL_ERR_DENIED},
                 {100, 26, 16, 128, SHOAL_OK},
                 {100, 22, 12, 128, SHOAL_ERR_DENIED},
                 {38, 6, 4, 128, SHOAL_ERR_DENIED},
                 {64, 62, 48, 128, SHOAL_ERR_DENIED},
                 {64, 0, 0, 128, SHOAL_OK},
                 {65, 64, 43, 128, SHOAL_OK}};
    cohort c;
    cohort_open(&c, 3, 30, 63);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        shoal_sa_client_options opt = cohort_options(&c, 0);
        opt.policy = shoal_sa_policy_default();
        opt.policy.dim = c.d.codec.dim;
        c.d.n_min = 32;
        c.d.n_target = cases[i].n_max;
        c.d.codec.n_max = cases[i].n_max;
        c.d.degree = cases[i].degree;
        c.d.threshold = cases[i].threshold;
        c.d.committee = cases[i].committee;
        assert_int_equal(shoal_codec_fit_scale(&c.d.codec, NULL), SHOAL_OK);
        if (judge(&c, &opt) != cases[i].want) fail_msg("case %zu", i);
    }
    cohort_close(&c);
}

/* ---- two survivor sets ---- */

/* Devices 0..2 are shown all of the roster, 3 and 4 one less. Each signs once what it was shown;
 * the server tries every certificate it can make of their signatures and, with `corrupt`
 * accomplices among the last ones, of any it likes. Nobody unmasks for a set it did not sign, and
 * no two sets are opened. Returns how many answered for (everyone, fewer). */
static void split(cohort *c, size_t corrupt, unsigned answered[2])
{
    enum { ALL = (1u << N) - 1u };
    unsigned signers[2] = {0x7, ALL & ~0x7u};
    shoal_sa_set sets[2];
    cohort_start(c);
    cohort_run(c, SHOAL_SA_INPUT);
    sets[0] = attack_everyone(c);
    sets[1] = attack_without(c, attack_index(c, 0)); /* the victim is to be left over */
    for (size_t i = 0; i < N; i++) {
        shoal_buf m6 = attack_message(), out = attack_message();
        shoal_sa_put_claim(&m6, c->d.session_id, N, &sets[signers[1] >> i & 1]);
        assert_int_equal(shoal_sa_client_claim(c->dev[i].client, m6.data, m6.len, &out, NULL),
                         SHOAL_OK);
        shoal_buf_clear(&m6);
        shoal_buf_clear(&out);
    }
    unsigned accomplices = ALL & ~(ALL >> corrupt);
    answered[0] = answered[1] = 0;
    for (size_t set = 0; set < 2; set++) {
        static shoal_sa_quorum q;
        shoal_buf m7 = attack_message();
        attack_sign(c, &sets[set], signers[set] | accomplices, &q);
        shoal_sa_put_request(&m7, c->d.session_id, N, &sets[set], &q);
        for (size_t i = 0; i < N; i++) {
            shoal_buf out = attack_message();
            shoal_status st =
                shoal_sa_client_request(c->dev[i].client, m7.data, m7.len, COHORT_NOW, &out, NULL);
            assert_int_equal(st == SHOAL_OK, out.len > 0);
            if (st == SHOAL_OK) {
                assert_true((signers[set] >> i & 1) != 0);
                answered[set]++;
            }
            shoal_buf_clear(&out);
        }
        shoal_buf_clear(&m7);
    }
}

/* Attack 2, q = 4 of 5. Nobody corrupt: no certificate. One, which is less than a third: it
 * completes the larger half's set, and that alone is opened. */
static void test_two_survivor_sets(void **state)
{
    cohort *c = *state;
    unsigned answered[2];
    split(c, 0, answered);
    assert_int_equal(answered[0] + answered[1], 0);
    split(c, 1, answered);
    assert_int_equal(answered[0], 3);
    assert_int_equal(answered[1], 0);
}

/* A certificate made of signatures of this very set from another session, and one that counts
 * members outside the committee. */
static void test_borrowed_certificates(void **state)
{
    cohort *c = *state;
    static shoal_sa_quorum q;
    wait_for(c, SHOAL_SA_SURVIVORS);
    shoal_sa_set all = attack_everyone(c);
    attack_sign(c, &all, 0x1e, &q); /* everyone but the victim */
    c->d.session_id[7] ^= 1;
    c->d.round++;
    wait_for(c, SHOAL_SA_SURVIVORS);
    shoal_buf m7 = attack_message();
    shoal_sa_put_request(&m7, c->d.session_id, N, &all, &q);
    attack_refused(c, SHOAL_SA_SURVIVORS, &m7);

    c->d.committee = 3; /* q = 3 */
    wait_for(c, SHOAL_SA_SURVIVORS);
    shoal_sa_survivors what = {c->server->ctx, c->server->roster_hash, N, &all};
    q.n = 0;
    size_t outside = 0;
    for (size_t j = 1; j <= N; j++) {
        bool member = shoal_sa_set_has(&c->server->g.committee, j);
        if (j == attack_index(c, 0) || (member && q.n - outside == 1)) continue;
        outside += !member;
        q.items[q.n] = (shoal_sa_voucher){.index = (uint16_t)j};
        assert_int_equal(shoal_sa_survivors_sign(&what, c->dev[attack_device(c, j)].key,
                                                 q.items[q.n++].sig, NULL),
                         SHOAL_OK);
    }
    assert_true(outside >= 1 && q.n >= 2);
    m7 = attack_message();
    shoal_sa_put_request(&m7, c->d.session_id, N, &all, &q);
    attack_refused(c, SHOAL_SA_SURVIVORS, &m7);
    c->d.committee = 128;
}

/* Attack 15. The server restarts, has forgotten what it asked, and asks again with another bitmap,
 * before and after the answer. */
static void test_restarted_server(void **state)
{
    cohort *c = *state;
    static shoal_sa_quorum q;
    for (int after = 0; after < 2; after++) {
        wait_for(c, SHOAL_SA_SURVIVORS);
        shoal_buf out = attack_message();
        shoal_sa_set fewer = attack_without(c, attack_other(c));
        if (after) {
            assert_int_equal(cohort_answer(c, 0, SHOAL_SA_UNMASK), SHOAL_OK);
        }
        shoal_buf m6 = attack_message(), m7 = attack_message();
        shoal_sa_put_claim(&m6, c->d.session_id, N, &fewer);
        assert_int_equal(attack_feed(c, SHOAL_SA_INPUT, &m6, &out), SHOAL_ERR_STATE);
        attack_sign(c, &fewer, 0x1e, &q);
        shoal_sa_put_request(&m7, c->d.session_id, N, &fewer, &q);
        shoal_status st = attack_feed(c, SHOAL_SA_SURVIVORS, &m7, &out);
        assert_int_equal(st, after ? SHOAL_ERR_STATE : SHOAL_ERR_TAMPERED);
        assert_int_equal(out.len, 0);
        shoal_buf_clear(&m6);
        shoal_buf_clear(&m7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replays_across_sessions),
        cmocka_unit_test(test_replayed_descriptors),
        cmocka_unit_test(test_accomplices_keys),
        cmocka_unit_test(test_accomplices_mask_keys),
        cmocka_unit_test(test_two_adapters),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_bent_bytes),
        cmocka_unit_test(test_new_devices),
        cmocka_unit_test(test_other_neighbours),
        cmocka_unit_test(test_downgraded_graphs),
        cmocka_unit_test(test_two_survivor_sets),
        cmocka_unit_test(test_borrowed_certificates),
        cmocka_unit_test(test_restarted_server),
    };
    return cmocka_run_group_tests(tests, open_cohort, close_cohort);
}
