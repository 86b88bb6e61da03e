/* test_sa_random.c - 10,000 random sessions of 3 to 100 clients, complete and k-regular, in which
 * clients leave at random before every stage and some seal boxes that do not open: the sum is bit
 * by bit that of those who uploaded, or the round is refused where PROTOCOL.md 6.1 says so; nothing
 * else. Every session is real cryptography between the real state machines; signatures and
 * certificates that were checked before are remembered (sa_memo.h), as all members of a cohort
 * check the same ones.
 *
 * SHOAL_SESSIONS in the environment changes the number.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "proto/sa_session.h"
#include "tests/support/sa_cohort.h"
#include "tests/support/sa_memo.h"

enum { SESSIONS = 10000, CLIENTS_MAX = 100, DIM = 6 };

/* What one session did. */
typedef struct sitting {
    cohort *c;
    shoal_rng *rng;
    double leave;           /* before each stage, with this probability */
    bool lies;              /* some boxes do not open */
    bool here[CLIENTS_MAX]; /* still answers */
    bool in_sum[CLIENTS_MAX];
} sitting;

typedef struct tally {
    size_t exact, refused, complete, ring, left, liars, largest;
} tally;

static size_t below(shoal_rng *rng, size_t n)
{
    return (size_t)(shoal_rng_double(rng) * (double)n);
}

/* Mostly small, because the work grows with the square. */
static size_t choose_n(shoal_rng *rng)
{
    size_t kind = below(rng, 1000);
    if (kind < 940) return 3 + below(rng, 10);
    if (kind < 995) return 13 + below(rng, 18);
    return kind < 998 ? 31 + below(rng, 34) : 65 + below(rng, 36);
}

static void choose_session(sitting *s)
{
    static const double LEAVE[] = {0.0, 0.01, 0.03, 0.08, 0.2};
    cohort *c = s->c;
    shoal_rng *rng = s->rng;
    size_t n = choose_n(rng);
    bool ring = n > SHOAL_LIMIT_COMPLETE || below(rng, 2) == 0;
    c->n = n;
    c->d.round++;
    for (size_t i = 0; i < sizeof c->d.session_id; i++) {
        c->d.session_id[i] = (uint8_t)below(rng, 256);
    }
    c->d.n_target = (uint32_t)n;
    c->d.n_min = (uint32_t)(3 + below(rng, n / 2));
    c->d.codec.n_max = (uint32_t)(n <= SHOAL_LIMIT_COMPLETE ? SHOAL_LIMIT_COMPLETE : CLIENTS_MAX);
    c->d.codec.ring_bits = (uint32_t)(20 + below(rng, 13));
    c->d.degree = ring ? 2 * (uint32_t)(1 + below(rng, n > 12 ? 5 : (n + 1) / 2)) : 0;
    c->d.threshold = ring ? c->d.degree / 2 + 1 + (uint32_t)below(rng, c->d.degree / 2) : 0;
    c->d.committee = (uint32_t)(1 + below(rng, below(rng, 2) == 0 ? n : 128));
    assert_int_equal(shoal_codec_fit_scale(&c->d.codec, &c->err), SHOAL_OK);
    s->leave = LEAVE[below(rng, 5)];
    s->lies = below(rng, 8) == 0;
    for (size_t i = 0; i < n; i++) {
        s->here[i] = true;
        s->in_sum[i] = false;
    }
}

/* Index of a device in the roster, or 0. */
static size_t index_of(const cohort *c, size_t which)
{
    for (size_t i = 0; i < c->server->n; i++) {
        if (memcmp(c->server->party[i]->entry.client_id, c->dev[which].id, SHOAL_ID_BYTES) == 0) {
            return i + 1;
        }
    }
    return 0;
}

/* A set as the test sees it: PROTOCOL.md 5.3.3 and 6.1 written down a second time. */
static size_t holders_in(const shoal_sa_graph *g, size_t i, const shoal_sa_set *set)
{
    size_t count = g->complete && shoal_sa_set_has(set, i) ? 1 : 0;
    for (size_t j = 1; j <= g->n; j++) {
        count += shoal_sa_set_has(set, j) && shoal_sa_graph_adjacent(g, i, j) ? 1 : 0;
    }
    return count;
}

/* Spec 5.5.4 without liars: whoever has too few holders goes, until nobody has. */
static shoal_sa_set prune(const shoal_sa_graph *g, shoal_sa_set set)
{
    for (size_t i = 1; i <= g->n; i++) {
        if (!shoal_sa_set_has(&set, i) || holders_in(g, i, &set) >= g->t) continue;
        shoal_sa_set_remove(&set, i);
        i = 0; /* from the beginning */
    }
    return set;
}

/* Whether a session whose stage ends with these answers must go on. */
static bool should_go_on(const sitting *s, shoal_sa_stage stage, const shoal_sa_set *got)
{
    const shoal_sa_server *v = s->c->server;
    const shoal_sa_graph *g = &v->g;
    size_t n = shoal_sa_set_count(got);
    size_t least = g->t > s->c->d.n_min ? g->t : s->c->d.n_min;
    shoal_sa_set u2;
    switch (stage) {
    case SHOAL_SA_SHARES:
    case SHOAL_SA_CONFIRM:
        u2 = prune(g, *got);
        return n >= least && shoal_sa_set_count(&u2) >= least;
    case SHOAL_SA_SURVIVORS: return n >= g->q;
    default: break;
    }
    for (size_t i = 1; i <= g->n; i++) { /* INPUT, UNMASK: every secret of U2 can be opened */
        if (shoal_sa_set_has(&v->u2, i) && holders_in(g, i, got) < g->t) return false;
    }
    return n >= (stage == SHOAL_SA_INPUT ? least : g->t);
}

/* Boxes of this M3 that do not open, under a right signature. */
static void spoil(const sitting *s, size_t i)
{
    shoal_buf *m = &s->c->dev[i].sent[SHOAL_SA_SHARES];
    size_t boxes = (m->len - SHOAL_SA_HEAD_BYTES - 2 - SHOAL_SIG_BYTES) / 94;
    size_t bad = 1 + below(s->rng, boxes);
    for (size_t b = 0; b < bad; b++) {
        m->data[SHOAL_SA_HEAD_BYTES + 2 + 94 * b + 40] ^= 0x40;
    }
    m->len -= SHOAL_SIG_BYTES;
    assert_int_equal(
        shoal_sa_sign_tail(m, 0, s->c->dev[i].key, "shoal/sa1/shares", s->c->server->ctx, NULL),
        SHOAL_OK);
}

/* Spec 5.5.1: who lost too many of its holders is not delivered to. */
static bool is_lonely(const sitting *s, size_t i)
{
    const shoal_sa_server *v = s->c->server;
    return holders_in(&v->g, index_of(s->c, i), &v->answered[SHOAL_SA_SHARES]) < v->g.t;
}

static void assert_left_behind(const sitting *s, size_t i)
{
    shoal_buf out = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
    assert_int_equal(
        shoal_sa_server_message(s->c->server, SHOAL_SA_SHARES, s->c->dev[i].id, &out, NULL),
        SHOAL_ERR_DENIED);
    shoal_buf_clear(&out);
}

static bool is_asked(const sitting *s, size_t i, shoal_sa_stage stage)
{
    if (stage <= SHOAL_SA_SHARES) return true;
    if (stage == SHOAL_SA_CONFIRM) return !is_lonely(s, i);
    if (stage == SHOAL_SA_SURVIVORS) return shoal_sa_client_signs(s->c->dev[i].client);
    return stage != SHOAL_SA_INPUT || shoal_sa_set_has(&s->c->server->u2, index_of(s->c, i));
}

/* Everyone who is still here answers a stage; who answered. */
static shoal_sa_set answer(sitting *s, shoal_sa_stage stage, tally *t)
{
    shoal_sa_set got = {.w = {0}};
    for (size_t i = 0; i < s->c->n; i++) {
        bool gone = shoal_rng_double(s->rng) < s->leave;
        t->left += s->here[i] && gone ? 1 : 0;
        s->here[i] = s->here[i] && !gone;
        if (!s->here[i]) continue;
        if (!is_asked(s, i, stage)) {
            if (stage == SHOAL_SA_CONFIRM) assert_left_behind(s, i);
            s->here[i] = stage == SHOAL_SA_SURVIVORS; /* else left out of U2, or before it */
            continue;
        }
        assert_int_equal(cohort_answer(s->c, i, stage), SHOAL_OK); /* no honest one has to leave */
        if (stage == SHOAL_SA_SHARES && s->lies && below(s->rng, 6) == 0) spoil(s, i);
        assert_int_equal(cohort_send(s->c, i, stage), SHOAL_OK);
        if (stage == SHOAL_SA_INPUT) s->in_sum[i] = true;
        if (stage != SHOAL_SA_ADVERTISE) shoal_sa_set_add(&got, index_of(s->c, i));
    }
    return got;
}

static void assert_sum_exact(const sitting *s)
{
    const cohort *c = s->c;
    const uint32_t *sum = shoal_sa_server_sum(c->server);
    uint32_t mask = (uint32_t)(((uint64_t)1 << c->d.codec.ring_bits) - 1);
    assert_non_null(sum);
    for (size_t w = 0; w < DIM + 1; w++) {
        uint32_t plain = 0;
        for (size_t i = 0; i < c->n; i++) {
            plain += s->in_sum[i] ? c->dev[i].plain[w] : 0;
        }
        if (sum[w] != (plain & mask)) fail_msg("round %u: a wrong sum", (unsigned)c->d.round);
    }
}

static void assert_refused(const sitting *s)
{
    assert_int_equal(shoal_sa_server_stage(s->c->server), SHOAL_SA_FAILED);
    assert_null(shoal_sa_server_sum(s->c->server));
    assert_true(shoal_sa_server_reason(s->c->server)[0] != '\0');
}

/* True: exact. With liars the verdict is the server's; without, it must be that of the rules. */
static bool run_session(sitting *s, tally *t)
{
    cohort_start(s->c);
    for (shoal_sa_stage stage = SHOAL_SA_ADVERTISE; stage <= SHOAL_SA_UNMASK; stage++) {
        shoal_sa_set got = answer(s, stage, t);
        bool first = stage == SHOAL_SA_ADVERTISE;
        bool expected = first ? s->c->server->n >= s->c->d.n_min : should_go_on(s, stage, &got);
        bool went_on = shoal_sa_server_advance(s->c->server, true, &s->c->err) == SHOAL_OK;
        if (went_on != expected && (!s->lies || (went_on && !expected))) {
            fail_msg("round %u, stage %s: a wrong verdict (%s)", (unsigned)s->c->d.round,
                     shoal_sa_stage_name(stage), s->c->err.msg);
        }
        if (!went_on) {
            assert_refused(s);
            return false;
        }
    }
    assert_sum_exact(s);
    return true;
}

static void count(const sitting *s, bool exact, tally *t)
{
    *(exact ? &t->exact : &t->refused) += 1;
    *(s->c->server->g.complete ? &t->complete : &t->ring) += 1;
    t->liars += shoal_sa_server_counts(s->c->server).liars;
    t->largest = s->c->n > t->largest ? s->c->n : t->largest;
}

static size_t sessions_asked(void)
{
    const char *text = getenv("SHOAL_SESSIONS");
    uint64_t n = SESSIONS;
    if (text != NULL) assert_true(shoal_parse_u64(text, &n));
    return (size_t)n;
}

static void test_random_sessions(void **state)
{
    (void)state;
    cohort c;
    shoal_rng rng = shoal_rng_init(20);
    sitting s = {.c = &c, .rng = &rng};
    tally t = {0};
    size_t sessions = sessions_asked();
    cohort_open(&c, CLIENTS_MAX, DIM, 41);
    for (size_t i = 0; i < sessions; i++) {
        choose_session(&s);
        count(&s, run_session(&s, &t), &t);
        cohort_end(&c);
        c.n = CLIENTS_MAX;
    }
    print_message("%zu sessions: %zu exact, %zu refused; %zu complete, %zu k-regular; largest %zu; "
                  "%zu departures, %zu liars named; %zu signatures checked, %zu remembered\n",
                  sessions, t.exact, t.refused, t.complete, t.ring, t.largest, t.left, t.liars,
                  sa_memo_checked(), sa_memo_remembered());
    assert_int_equal(t.exact + t.refused, sessions);
    if (sessions >= SESSIONS) {
        assert_true(t.exact > sessions / 4 && t.refused > sessions / 10);
        assert_true(t.complete > sessions / 4 && t.ring > sessions / 4);
        assert_true(t.largest > 90 && t.liars > 100);
    }
    cohort_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_sessions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
