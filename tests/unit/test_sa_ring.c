/* test_sa_ring.c - the k-regular graph: that it is what PROTOCOL.md 5.3.3 says and in random order,
 * what happens exactly at the threshold, who is left out when boxes do not open (5.5.4), and a
 * server that lies about the committee (5.8.2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "proto/sa_session.h"
#include "proto/x509.h"
#include "tests/support/sa_cohort.h"

/* ---- the graph ---- */

static shoal_sa_descriptor ring_of(uint32_t k, uint32_t t)
{
    return (shoal_sa_descriptor){.degree = k, .threshold = t, .committee = 128};
}

static void hash_of(uint32_t seed, uint8_t out[32])
{
    assert_int_equal(shoal_sha256(&seed, sizeof seed, out, NULL), SHOAL_OK);
}

/* Everyone has k neighbours, ascending, none twice, itself not among them; next to is mutual and
 * the same by both functions; places of shares are 1..k. */
static void check_graph(const shoal_sa_graph *g)
{
    uint16_t near[SHOAL_LIMIT_DEGREE], holders[SHOAL_LIMIT_DEGREE];
    for (size_t i = 1; i <= g->n; i++) {
        shoal_sa_graph_neighbours(g, i, near);
        size_t at = 0;
        for (size_t j = 1; j <= g->n; j++) {
            bool next = at < g->k && near[at] == j;
            at += next ? 1 : 0;
            assert_int_equal(shoal_sa_graph_adjacent(g, i, j), next);
            assert_int_equal(shoal_sa_graph_adjacent(g, j, i), next);
        }
        assert_int_equal(at, g->k);
        size_t n = shoal_sa_graph_holders(g, i, holders);
        assert_int_equal(n, g->complete ? g->n : g->k);
        if (!g->complete) assert_memory_equal(holders, near, n * sizeof near[0]);
    }
    assert_false(shoal_sa_graph_adjacent(g, 0, 1));
    assert_false(shoal_sa_graph_adjacent(g, 1, g->n + 1));
}

static void test_shape(void **state)
{
    (void)state;
    static const size_t CASES[][2] = {{3, 2},   {5, 4},     {6, 4},     {7, 2},    {64, 0},
                                      {65, 64}, {254, 254}, {255, 254}, {500, 66}, {1000, 78}};
    uint8_t roster[32];
    hash_of(1, roster);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        shoal_sa_graph g;
        size_t n = CASES[i][0], k = CASES[i][1];
        shoal_sa_descriptor d = ring_of((uint32_t)k, (uint32_t)(k / 2 + 1));
        assert_int_equal(shoal_sa_graph_open(&g, &d, n, roster, NULL), SHOAL_OK);
        assert_int_equal(g.complete, k == 0 || n <= k);
        assert_int_equal(g.k, g.complete ? n - 1 : k);
        assert_int_equal(g.t, g.complete ? 2 * n / 3 + 1 : k / 2 + 1);
        assert_int_equal(g.m, n < 128 ? n : 128);
        assert_int_equal(g.q, 2 * g.m / 3 + 1);
        assert_int_equal(shoal_sa_set_count(&g.committee), g.m);
        check_graph(&g);
        shoal_sa_graph_close(&g);
    }
}

/* Over many rosters every pair is adjacent with k/(n-1), everyone is on the committee with m/n, and
 * neighbours come from both halves alike. Chi-square; a false alarm is below 1e-6. */
static void test_order_is_random(void **state)
{
    (void)state;
    enum { N = 24, K = 6, M = 8, ROUNDS = 4000 };
    static uint32_t pair[N + 1][N + 1], member[N + 1];
    shoal_sa_descriptor d = ring_of(K, 4);
    d.committee = M;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint8_t roster[32];
        shoal_sa_graph g;
        hash_of(1000 + round, roster);
        assert_int_equal(shoal_sa_graph_open(&g, &d, N, roster, NULL), SHOAL_OK);
        for (size_t i = 1; i <= N; i++) {
            member[i] += shoal_sa_set_has(&g.committee, i) ? 1 : 0;
            for (size_t j = i + 1; j <= N; j++) {
                pair[i][j] += shoal_sa_graph_adjacent(&g, i, j) ? 1 : 0;
            }
        }
        shoal_sa_graph_close(&g);
    }
    double want = (double)ROUNDS * K / (N - 1), x2 = 0, on = (double)ROUNDS * M / N, y2 = 0;
    for (size_t i = 1; i <= N; i++) {
        y2 += ((double)member[i] - on) * ((double)member[i] - on) / (on * (1.0 - (double)M / N));
        for (size_t j = i + 1; j <= N; j++) {
            double off = (double)pair[i][j] - want;
            x2 += off * off / (want * (1.0 - (double)K / (N - 1)));
        }
    }
    /* 276 pairs and 24 members, nearly that many degrees of freedom: mean + 6 deviations */
    assert_true(x2 < 276 + 6 * 23.5 && x2 > 276 - 5 * 23.5);
    assert_true(y2 < 24 + 6 * 7 && y2 > 3);
}

/* Everything of a roster moves the ring: one changed bit gives another order. */
static void test_roster_decides(void **state)
{
    (void)state;
    uint8_t roster[32] = {0};
    shoal_sa_graph a, b;
    shoal_sa_descriptor d = ring_of(10, 6);
    assert_int_equal(shoal_sa_graph_open(&a, &d, 200, roster, NULL), SHOAL_OK);
    for (size_t bit = 0; bit < 256; bit += 17) {
        roster[bit / 8] = (uint8_t)(1u << bit % 8);
        assert_int_equal(shoal_sa_graph_open(&b, &d, 200, roster, NULL), SHOAL_OK);
        assert_memory_not_equal(a.ring, b.ring, 200 * sizeof *a.ring);
        shoal_sa_graph_close(&b);
        roster[bit / 8] = 0;
    }
    shoal_sa_graph_close(&a);
}

/* Spec 5.1.3 */
static void test_impossible_graphs(void **state)
{
    (void)state;
    static const struct {
        uint32_t degree, threshold, committee, n_max;
        bool right;
    } CASES[] = {
        {0, 0, 128, 64, true},       {0, 0, 128, 65, false},       {0, 1, 128, 64, false},
        {2, 2, 1, 4096, true},       {2, 1, 128, 100, false},      {2, 3, 128, 100, false},
        {3, 2, 128, 100, false},     {254, 128, 256, 4096, true},  {254, 127, 256, 4096, false},
        {254, 254, 256, 4096, true}, {254, 255, 256, 4096, false}, {256, 200, 128, 4096, false},
        {78, 52, 128, 1000, true},   {78, 39, 128, 1000, false},   {78, 52, 0, 1000, false},
        {78, 52, 257, 1000, false},  {78, 52, 128, 4097, false}};
    cohort c;
    cohort_open(&c, 3, 4, 1);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        shoal_sa_descriptor d = c.d;
        d.degree = CASES[i].degree;
        d.threshold = CASES[i].threshold;
        d.committee = CASES[i].committee;
        d.codec.n_max = CASES[i].n_max;
        d.codec.ring_bits = 32;
        d.codec.scale_log2 = 0;
        assert_int_equal(shoal_sa_descriptor_check(&d, NULL) == SHOAL_OK, CASES[i].right);
    }
    cohort_close(&c);
}

/* Spec 5.1.2. A device holds k and t against its own demand, for the largest roster and the real
 * one. */
static void test_device_demands(void **state)
{
    (void)state;
    static const struct {
        uint32_t n_max, degree, threshold;
        shoal_status want;
    } CASES[] = {{1000, 78, 52, SHOAL_OK},         {1000, 78, 51, SHOAL_ERR_DENIED},
                 {1000, 40, 21, SHOAL_ERR_DENIED}, {1000, 60, 43, SHOAL_OK},
                 {4096, 78, 52, SHOAL_ERR_DENIED}, {1000, 94, 65, SHOAL_OK}};
    cohort c;
    cohort_open(&c, 3, 4, 1);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        shoal_sa_client *k = NULL;
        shoal_buf m0 = shoal_buf_init(SHOAL_LIMIT_DESCRIPTOR);
        c.d.codec.n_max = CASES[i].n_max;
        c.d.codec.ring_bits = 32;
        c.d.degree = CASES[i].degree;
        c.d.threshold = CASES[i].threshold;
        assert_int_equal(shoal_codec_fit_scale(&c.d.codec, NULL), SHOAL_OK);
        assert_int_equal(shoal_sa_descriptor_sign(&c.d, c.task_key, &m0, NULL), SHOAL_OK);
        shoal_sa_client_options opt = cohort_options(&c, 0);
        opt.policy.security_bits = shoal_sa_policy_default().security_bits;
        assert_int_equal(shoal_sa_client_open(&k, &opt, m0.data, m0.len, NULL), CASES[i].want);
        shoal_sa_client_close(k);
        shoal_buf_clear(&m0);
    }
    cohort_close(&c);
}

/* ---- sessions ---- */

enum { N = 12, K = 6, T = 4 };

static int open_ring(void **state)
{
    static cohort c;
    cohort_open(&c, N, 20, 61);
    c.d.codec.n_max = 100;
    c.d.codec.ring_bits = 32;
    c.d.degree = K;
    c.d.threshold = T;
    c.d.committee = 7;
    assert_int_equal(shoal_codec_fit_scale(&c.d.codec, NULL), SHOAL_OK);
    *state = &c;
    return 0;
}

static int close_ring(void **state)
{
    cohort_close(*state);
    return 0;
}

/* The device with this index in the roster. */
static size_t device_at(const cohort *c, size_t index)
{
    size_t i = 0;
    while (memcmp(c->dev[i].id, c->server->party[index - 1]->entry.client_id, SHOAL_ID_BYTES) !=
           0) {
        i++;
    }
    return i;
}

static size_t index_of(const cohort *c, size_t which)
{
    size_t index = 1;
    while (device_at(c, index) != which) {
        index++;
    }
    return index;
}

static unsigned all_but(const cohort *c, size_t index)
{
    unsigned all = (1u << N) - 1u;
    return index == 0 ? all : all & ~(1u << device_at(c, index));
}

/* All but the devices in `gone` answer a stage; OK when it then closes. */
static shoal_status run_stage(cohort *c, shoal_sa_stage stage, unsigned gone)
{
    for (size_t i = 0; i < N; i++) {
        if ((gone >> i & 1u) == 0) assert_int_equal(cohort_act(c, i, stage), SHOAL_OK);
    }
    return shoal_sa_server_advance(c->server, true, &c->err);
}

/* `missing` neighbours of client 1 leave before `stage`: with K - T of them everything goes on,
 * with one more not. */
static void leave_around(cohort *c, shoal_sa_stage leave, size_t missing, bool survives)
{
    unsigned gone = 0;
    c->d.round++;
    cohort_start(c);
    assert_int_equal(run_stage(c, SHOAL_SA_ADVERTISE, 0), SHOAL_OK);
    for (size_t at = 0; at < missing; at++) {
        gone |= 1u << device_at(c, c->server->party[0]->near[at]);
    }
    for (shoal_sa_stage stage = SHOAL_SA_SHARES; stage <= SHOAL_SA_UNMASK; stage++) {
        shoal_status st = run_stage(c, stage, stage >= leave ? gone : 0);
        if (!survives && st != SHOAL_OK) {
            assert_true(stage >= leave);
            assert_null(shoal_sa_server_sum(c->server));
            return;
        }
        if (st != SHOAL_OK) fail_msg("%s: %s", shoal_sa_stage_name(stage), c->err.msg);
    }
    assert_true(survives);
    cohort_check_sum(c, ((1u << N) - 1u) & ~(leave <= SHOAL_SA_INPUT ? gone : 0u));
}

/* Exactly t holders of a secret are enough, t - 1 are not, at each stage from INPUT on. The
 * committee must not be what decides, so it is one member who stays. */
static void test_exactly_t(void **state)
{
    cohort *c = *state;
    for (shoal_sa_stage stage = SHOAL_SA_INPUT; stage <= SHOAL_SA_UNMASK; stage += 2) {
        leave_around(c, stage, K - T, true);
        leave_around(c, stage, K - T + 1, false);
    }
}

/* Before the inputs a client whose neighbours are gone is left out, and the rest goes on. */
static void test_lonely_client_is_left_out(void **state)
{
    cohort *c = *state;
    c->d.threshold = K - 1; /* two missing neighbours are one too many */
    c->d.round++;
    cohort_start(c);
    assert_int_equal(run_stage(c, SHOAL_SA_ADVERTISE, 0), SHOAL_OK);
    size_t silent = device_at(c, c->server->party[0]->near[0]);
    assert_int_equal(run_stage(c, SHOAL_SA_SHARES, 0), SHOAL_OK);
    assert_int_equal(run_stage(c, SHOAL_SA_CONFIRM, 1u << silent), SHOAL_OK);
    assert_int_equal(shoal_sa_set_count(&c->server->u2), N - 1);
    c->d.threshold = T;
}

/* A ring of 28, each next to six on either side, t = 7, in which those at 1, 5 and 6 places around
 * one of them do not deal: of its 12 neighbours 6 are left, of everybody else's 7 or more, also
 * without it. */
enum { WIDE = 28 };

static void open_wide(cohort *c, size_t *lonely, unsigned *gone)
{
    static const size_t AWAY[] = {1, 5, 6};
    cohort_open(c, WIDE, 2, 67);
    c->d.codec.n_max = 100;
    c->d.codec.ring_bits = 32;
    c->d.degree = 12;
    c->d.threshold = 7;
    assert_int_equal(shoal_codec_fit_scale(&c->d.codec, NULL), SHOAL_OK);
    cohort_start(c);
    cohort_run(c, SHOAL_SA_ADVERTISE);
    const uint16_t *ring = c->server->g.ring;
    *lonely = device_at(c, ring[0]);
    *gone = 0;
    for (size_t a = 0; a < sizeof AWAY / sizeof AWAY[0]; a++) {
        *gone |= 1u << device_at(c, ring[AWAY[a]]) | 1u << device_at(c, ring[WIDE - AWAY[a]]);
    }
}

static shoal_status read_delivery(const cohort *c, size_t i)
{
    shoal_buf out = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
    shoal_status st = shoal_sa_server_message(c->server, SHOAL_SA_SHARES, c->dev[i].id, &out, NULL);
    shoal_buf_clear(&out);
    return st;
}

static void send_confirm(cohort *c, size_t i, shoal_status expected)
{
    shoal_sa_refusals none = {.n = 0};
    shoal_buf m = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
    shoal_sa_put_confirm(&m, c->d.session_id, &none);
    assert_int_equal(shoal_sa_server_receive(c->server, SHOAL_SA_CONFIRM, c->dev[i].id, m.data,
                                             m.len, COHORT_NOW, NULL),
                     expected);
    shoal_buf_clear(&m);
}

/* Spec 5.5.1: whoever is left with fewer than t holders when M3 is over is told so in place of M4
 * and is not waited for. A server that sends it M4 all the same does not look like a forger. */
static void test_lonely_dealer_is_told(void **state)
{
    (void)state;
    static cohort c;
    size_t lonely;
    unsigned gone;
    open_wide(&c, &lonely, &gone);
    for (size_t i = 0; i < WIDE; i++) {
        if ((gone >> i & 1u) == 0) assert_int_equal(cohort_act(&c, i, SHOAL_SA_SHARES), SHOAL_OK);
    }
    assert_int_equal(shoal_sa_server_advance(c.server, true, &c.err), SHOAL_OK);
    for (size_t i = 0; i < WIDE; i++) {
        if ((gone >> i & 1u) != 0) continue;
        assert_int_equal(read_delivery(&c, i), i == lonely ? SHOAL_ERR_DENIED : SHOAL_OK);
    }
    send_confirm(&c, lonely, SHOAL_ERR_DENIED);
    shoal_sa_set kept = c.server->kept;
    c.server->kept = c.server->answered[SHOAL_SA_SHARES];
    assert_int_equal(cohort_answer(&c, lonely, SHOAL_SA_CONFIRM), SHOAL_ERR_TIMEOUT);
    c.server->kept = kept;
    gone |= 1u << lonely;
    for (shoal_sa_stage stage = SHOAL_SA_CONFIRM; stage <= SHOAL_SA_UNMASK; stage++) {
        for (size_t i = 0; i < WIDE; i++) {
            if ((gone >> i & 1u) == 0) assert_int_equal(cohort_act(&c, i, stage), SHOAL_OK);
        }
        assert_int_equal(shoal_sa_server_advance(c.server, false, &c.err), SHOAL_OK);
    }
    cohort_check_sum(&c, ((1u << WIDE) - 1u) & ~gone);
    cohort_close(&c);
}

/* ---- boxes that do not open (Spec 5.5.2, Spec 5.5.4) ---- */

/* `liar` seals boxes that do not open for the first `n_bad` of its neighbours. */
static void deal_badly(cohort *c, size_t liar, size_t n_bad)
{
    size_t i = device_at(c, liar);
    shoal_buf *m = &c->dev[i].sent[SHOAL_SA_SHARES];
    assert_int_equal(cohort_answer(c, i, SHOAL_SA_SHARES), SHOAL_OK);
    for (size_t b = 0; b < n_bad; b++) {
        m->data[SHOAL_SA_HEAD_BYTES + 2 + 94 * b + 30] ^= 1;
    }
    m->len -= SHOAL_SIG_BYTES;
    assert_int_equal(
        shoal_sa_sign_tail(m, 0, c->dev[i].key, "shoal/sa1/shares", c->server->ctx, NULL),
        SHOAL_OK);
    assert_int_equal(cohort_send(c, i, SHOAL_SA_SHARES), SHOAL_OK);
}

static bool is_named(const cohort *c, size_t index)
{
    shoal_sa_member m;
    assert_true(shoal_sa_server_member(c->server, index - 1, &m));
    return m.lied;
}

/* The rest of a session from INPUT on, by whoever is in U2. */
static void finish_without(cohort *c, size_t out)
{
    unsigned gone = out == 0 ? 0 : 1u << device_at(c, out);
    for (shoal_sa_stage stage = SHOAL_SA_INPUT; stage <= SHOAL_SA_UNMASK; stage++) {
        assert_int_equal(run_stage(c, stage, gone), SHOAL_OK);
    }
    cohort_check_sum(c, all_but(c, out));
}

static void test_dealers_of_bad_boxes(void **state)
{
    cohort *c = *state;
    static const struct {
        size_t bad;
        bool stays, named;
    } CASES[] = {
        {1, true, false}, {2, false, false}, {3, false, false}, {4, false, true}, {K, false, true}};
    for (size_t k = 0; k < sizeof CASES / sizeof CASES[0]; k++) {
        enum { LIAR = 5 };
        c->d.round++;
        cohort_start(c);
        assert_int_equal(run_stage(c, SHOAL_SA_ADVERTISE, 0), SHOAL_OK);
        deal_badly(c, LIAR, CASES[k].bad);
        assert_int_equal(run_stage(c, SHOAL_SA_SHARES, 1u << device_at(c, LIAR)), SHOAL_OK);
        assert_int_equal(run_stage(c, SHOAL_SA_CONFIRM, 0), SHOAL_OK);
        assert_int_equal(shoal_sa_set_count(&c->server->u2), CASES[k].stays ? N : N - 1);
        assert_int_equal(shoal_sa_set_has(&c->server->u2, LIAR), CASES[k].stays);
        assert_int_equal(is_named(c, LIAR), CASES[k].named);
        finish_without(c, CASES[k].stays ? 0 : LIAR);
        shoal_buf out = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
        shoal_status st = shoal_sa_server_message(c->server, SHOAL_SA_CONFIRM,
                                                  c->dev[device_at(c, LIAR)].id, &out, &c->err);
        assert_int_equal(st, CASES[k].stays ? SHOAL_OK : SHOAL_ERR_DENIED);
        shoal_buf_clear(&out);
    }
}

/* A reader that refuses sound boxes: of one or two nobody can tell, more single it out. */
static void test_readers_that_refuse(void **state)
{
    cohort *c = *state;
    for (size_t refused = 1; refused <= K; refused++) {
        enum { LIAR = 8 };
        shoal_sa_refusals m = {.n = refused};
        c->d.round++;
        cohort_start(c);
        assert_int_equal(run_stage(c, SHOAL_SA_ADVERTISE, 0), SHOAL_OK);
        assert_int_equal(run_stage(c, SHOAL_SA_SHARES, 0), SHOAL_OK);
        size_t liar = device_at(c, LIAR);
        assert_int_equal(cohort_answer(c, liar, SHOAL_SA_CONFIRM), SHOAL_OK);
        shoal_buf *out = &c->dev[liar].sent[SHOAL_SA_CONFIRM];
        out->len = 0;
        memcpy(m.items, c->server->party[LIAR - 1]->near, refused * sizeof m.items[0]);
        shoal_sa_put_confirm(out, c->d.session_id, &m);
        assert_int_equal(cohort_send(c, liar, SHOAL_SA_CONFIRM), SHOAL_OK);
        assert_int_equal(run_stage(c, SHOAL_SA_CONFIRM, 1u << liar), SHOAL_OK);
        assert_int_equal(is_named(c, LIAR), 2 * refused > K);
        for (size_t i = 1; i <= N;
             i++) { /* nobody else suffers: each has one refusal, two to spare */
            bool stays = i != LIAR || 2 * refused <= K;
            assert_int_equal(shoal_sa_set_has(&c->server->u2, i), stays);
        }
    }
}

/* Spec 5.5.2: refusals of clients that are no neighbours, did not deal, or twice. */
static void test_impossible_refusals(void **state)
{
    cohort *c = *state;
    c->d.round++;
    cohort_start(c);
    assert_int_equal(run_stage(c, SHOAL_SA_ADVERTISE, 0), SHOAL_OK);
    const uint16_t *near = c->server->party[0]->near;
    size_t me = device_at(c, 1), silent = device_at(c, near[0]);
    assert_int_equal(run_stage(c, SHOAL_SA_SHARES, 1u << silent), SHOAL_OK);
    uint16_t stranger = 2;
    while (shoal_sa_graph_adjacent(&c->server->g, 1, stranger)) {
        stranger++;
    }
    const shoal_sa_refusals lies[] = {{1, {near[0]}}, {1, {stranger}},         {1, {1}},
                                      {1, {0}},       {2, {near[1], near[1]}}, {1, {N + 1}}};
    shoal_buf *out = &c->dev[me].sent[SHOAL_SA_CONFIRM];
    assert_int_equal(cohort_answer(c, me, SHOAL_SA_CONFIRM), SHOAL_OK);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        out->len = 0;
        shoal_sa_put_confirm(out, c->d.session_id, &lies[i]);
        assert_int_equal(cohort_send(c, me, SHOAL_SA_CONFIRM), SHOAL_ERR_FORMAT);
    }
    out->len = 0;
    shoal_sa_put_confirm(out, c->d.session_id, &(shoal_sa_refusals){.n = 0});
    assert_int_equal(cohort_send(c, me, SHOAL_SA_CONFIRM), SHOAL_OK);
}

/* ---- the committee ---- */

/* Only its members sign, and only they are waited for. */
static void test_committee_signs(void **state)
{
    cohort *c = *state;
    size_t signers = 0;
    c->d.round++;
    cohort_start(c);
    for (shoal_sa_stage stage = SHOAL_SA_ADVERTISE; stage <= SHOAL_SA_INPUT; stage++) {
        assert_int_equal(run_stage(c, stage, 0), SHOAL_OK);
    }
    for (size_t i = 0; i < N; i++) {
        bool on = shoal_sa_set_has(&c->server->g.committee, index_of(c, i));
        assert_int_equal(shoal_sa_client_signs(c->dev[i].client), on);
        signers += on ? 1 : 0;
        if (on) continue;
        shoal_buf claim = cohort_message(c, i, SHOAL_SA_INPUT);
        shoal_buf out = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
        assert_int_equal(shoal_sa_client_claim(c->dev[i].client, claim.data, claim.len, &out, NULL),
                         SHOAL_ERR_STATE);
        assert_int_equal(out.len, 0);
        shoal_sa_set u3 = c->server->answered[SHOAL_SA_INPUT];
        shoal_sa_survivors s = {c->server->ctx, c->server->roster_hash, N, &u3};
        uint8_t sig[SHOAL_SIG_BYTES];
        assert_int_equal(shoal_sa_survivors_sign(&s, c->dev[i].key, sig, NULL), SHOAL_OK);
        shoal_sa_put_signature(&out, c->d.session_id, N, &u3, sig);
        assert_int_equal(shoal_sa_server_receive(c->server, SHOAL_SA_SURVIVORS, c->dev[i].id,
                                                 out.data, out.len, COHORT_NOW, NULL),
                         SHOAL_ERR_DENIED);
        shoal_buf_clear(&claim);
        shoal_buf_clear(&out);
    }
    assert_int_equal(signers, 7);
    for (size_t i = 0; i < N; i++) {
        assert_false(shoal_sa_server_ready(c->server));
        assert_int_equal(cohort_act(c, i, SHOAL_SA_SURVIVORS), SHOAL_OK);
        if (shoal_sa_server_counts(c->server).answered == 7) break;
    }
    assert_true(shoal_sa_server_ready(c->server));
    assert_int_equal(shoal_sa_server_advance(c->server, false, &c->err), SHOAL_OK);
    assert_int_equal(run_stage(c, SHOAL_SA_UNMASK, 0), SHOAL_OK);
    cohort_check_sum(c, all_but(c, 0));
}

/* Spec 6.1: a member of the committee that came too late to sign may still reveal, and takes
 * nobody's place: the stage waits for each of the others. */
static void test_late_signers_replace_nobody(void **state)
{
    cohort *c = *state;
    unsigned late = 0;
    c->d.round++;
    cohort_start(c);
    for (shoal_sa_stage stage = SHOAL_SA_ADVERTISE; stage <= SHOAL_SA_INPUT; stage++) {
        assert_int_equal(run_stage(c, stage, 0), SHOAL_OK);
    }
    for (size_t i = 0; i < N; i++) {
        bool signs = shoal_sa_client_signs(c->dev[i].client);
        if (signs && shoal_sa_server_counts(c->server).answered == c->server->g.q) late |= 1u << i;
        if ((late >> i & 1u) == 0) assert_int_equal(cohort_act(c, i, SHOAL_SA_SURVIVORS), SHOAL_OK);
    }
    assert_int_not_equal(late, 0);
    assert_int_equal(shoal_sa_server_advance(c->server, true, &c->err), SHOAL_OK);
    for (size_t turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < N; i++) {
            if ((late >> i & 1u) != (turn == 0)) continue;
            assert_false(shoal_sa_server_ready(c->server));
            assert_int_equal(cohort_act(c, i, SHOAL_SA_UNMASK), SHOAL_OK);
        }
    }
    assert_int_equal(shoal_sa_server_advance(c->server, false, &c->err), SHOAL_OK);
    cohort_check_sum(c, all_but(c, 0));
}

/* Signs U3 = everyone as the device with that index, for q. */
static void vouch(const cohort *c, size_t index, shoal_sa_voucher *v)
{
    static shoal_sa_set u3;
    u3 = c->server->answered[SHOAL_SA_INPUT];
    shoal_sa_survivors s = {c->server->ctx, c->server->roster_hash, N, &u3};
    const device *dev = &c->dev[device_at(c, index)];
    *v = (shoal_sa_voucher){
        .index = (uint16_t)index, .cert = dev->cert.data, .cert_n = dev->cert.len};
    assert_int_equal(shoal_sa_survivors_sign(&s, dev->key, v->sig, NULL), SHOAL_OK);
}

/* A certificate of that device's key by another CA. */
static shoal_buf foreign_cert(const cohort *c, size_t index)
{
    shoal_key *ca_key = NULL;
    shoal_buf ca = shoal_buf_init(SHOAL_LIMIT_CERT), cert = shoal_buf_init(SHOAL_LIMIT_CERT);
    assert_int_equal(shoal_key_generate(&ca_key, NULL), SHOAL_OK);
    assert_int_equal(
        shoal_ca_create(ca_key, "test CA", COHORT_NOW - 60, COHORT_NOW + 1000000, NULL, &ca, NULL),
        SHOAL_OK);
    shoal_cert_template t = {.kind = SHOAL_CERT_CLIENT,
                             .spki = c->server->party[index - 1]->spki,
                             .not_before_s = COHORT_NOW - 60,
                             .not_after_s = COHORT_NOW + 86400};
    assert_int_equal(shoal_cert_issue(ca_key, ca.data, ca.len, &t, &cert, NULL), SHOAL_OK);
    shoal_key_close(ca_key);
    shoal_buf_clear(&ca);
    return cert;
}

/* Spec 5.8.1, Spec 5.8.2. The certificate of a survivor set, spoiled in one way each. */
static void test_certificate_lies(void **state)
{
    cohort *c = *state;
    static shoal_sa_quorum q;
    for (int attack = 0; attack < 8; attack++) {
        shoal_buf cert = {0}, m7 = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
        shoal_buf out = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
        c->d.round++;
        cohort_start(c);
        for (shoal_sa_stage stage = SHOAL_SA_ADVERTISE; stage <= SHOAL_SA_INPUT; stage++) {
            assert_int_equal(run_stage(c, stage, 0), SHOAL_OK);
        }
        const shoal_sa_graph *g = &c->server->g;
        size_t stranger = 0; /* on the committee, no neighbour of client 1 */
        size_t outside = 0;  /* not on the committee */
        q.n = 0;
        for (size_t i = 1; i <= N; i++) {
            if (!shoal_sa_set_has(&g->committee, i)) outside = i;
            if (!shoal_sa_set_has(&g->committee, i) || q.n == g->q) continue;
            if (i != 1 && !shoal_sa_graph_adjacent(g, 1, i)) stranger = q.n + 1;
            vouch(c, i, &q.items[q.n++]);
        }
        size_t v = stranger > 0 ? stranger - 1 : 0;
        switch (attack) {
        case 0: break; /* nothing: it answers */
        case 1: q.n--; break;
        case 2: q.items[v].sig[5] ^= 1; break;
        case 3: q.items[v].cert_n = 0; break;
        case 4: /* of somebody else */
            q.items[v].cert = c->dev[device_at(c, outside)].cert.data;
            q.items[v].cert_n = c->dev[device_at(c, outside)].cert.len;
            break;
        case 5: /* the right key, another CA: another hash than the roster's */
            cert = foreign_cert(c, q.items[v].index);
            q.items[v].cert = cert.data;
            q.items[v].cert_n = cert.len;
            break;
        case 6: /* a true signature of someone outside the committee, in its place in the order */
            for (v = 0; v < q.n && q.items[v].index < outside; v++) {
            }
            v = v == q.n ? v - 1 : v;
            vouch(c, outside, &q.items[v]);
            break;
        default: /* a second time, under another index */
            memcpy(q.items[1].sig, q.items[0].sig, SHOAL_SIG_BYTES);
            break;
        }
        shoal_sa_put_request(&m7, c->d.session_id, N, &c->server->answered[SHOAL_SA_INPUT], &q);
        shoal_sa_client *k = c->dev[device_at(c, 1)].client;
        shoal_status st = shoal_sa_client_request(k, m7.data, m7.len, COHORT_NOW, &out, NULL);
        assert_int_equal(st == SHOAL_OK, attack == 0);
        assert_int_equal(out.len > 0, attack == 0);
        shoal_buf_clear(&m7);
        shoal_buf_clear(&out);
        shoal_buf_clear(&cert);
    }
}

/* A server keeps what k neighbours said, not what n could have: the size of a party follows k. */
static void test_revealed_shares_are_of_neighbours(void **state)
{
    cohort *c = *state;
    c->d.round++;
    cohort_start(c);
    for (shoal_sa_stage stage = SHOAL_SA_ADVERTISE; stage <= SHOAL_SA_UNMASK; stage++) {
        assert_int_equal(run_stage(c, stage, 0), SHOAL_OK);
    }
    for (size_t i = 0; i < N; i++) {
        const shoal_buf *m3 = &c->dev[i].sent[SHOAL_SA_SHARES];
        const shoal_buf *m8 = &c->dev[i].sent[SHOAL_SA_UNMASK];
        assert_int_equal(m3->len, SHOAL_SA_HEAD_BYTES + 2 + 94 * K + SHOAL_SIG_BYTES);
        assert_int_equal(m8->len, SHOAL_SA_HEAD_BYTES + 2 + 35 * K + SHOAL_SIG_BYTES);
    }
}

int main(void)
{
    const struct CMUnitTest graph[] = {
        cmocka_unit_test(test_shape),          cmocka_unit_test(test_order_is_random),
        cmocka_unit_test(test_roster_decides), cmocka_unit_test(test_impossible_graphs),
        cmocka_unit_test(test_device_demands),
    };
    const struct CMUnitTest sessions[] = {
        cmocka_unit_test(test_exactly_t),
        cmocka_unit_test(test_lonely_client_is_left_out),
        cmocka_unit_test(test_lonely_dealer_is_told),
        cmocka_unit_test(test_dealers_of_bad_boxes),
        cmocka_unit_test(test_readers_that_refuse),
        cmocka_unit_test(test_impossible_refusals),
        cmocka_unit_test(test_committee_signs),
        cmocka_unit_test(test_late_signers_replace_nobody),
        cmocka_unit_test(test_certificate_lies),
        cmocka_unit_test(test_revealed_shares_are_of_neighbours),
    };
    int failed = cmocka_run_group_tests(graph, NULL, NULL);
    return failed + cmocka_run_group_tests(sessions, open_ring, close_ring);
}
