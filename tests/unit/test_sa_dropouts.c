/* test_sa_dropouts.c - every drop-out pattern of 5 clients, in the complete graph and in the
 * 4-regular one (t = 3, three of them on the committee; a roster of 4 is complete there too): each
 * stays, or leaves before one of the 6 stages, 7^5 = 16807 patterns. Each ends in the exact sum of
 * the right survivors, or is refused below the threshold; nothing else.
 *
 * Patterns that agree up to a stage are one execution up to there, so they are walked as a tree:
 * each branching forks, and the child continues with a copy of all state. A refused session is
 * over, whatever its remaining clients would have done: all their (6 - stage)^k futures are
 * counted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/sa_session.h"
#include "tests/support/sa_cohort.h"

enum { CLIENTS = 5, STAGES = SHOAL_SA_STAGES, ALL = (1 << CLIENTS) - 1 };

typedef struct tally {
    uint32_t exact, refused; /* patterns */
    uint32_t executions;     /* stages run */
    uint32_t wrong;
} tally;

static void add(tally *t, tally more)
{
    t->exact += more.exact;
    t->refused += more.refused;
    t->executions += more.executions;
    t->wrong += more.wrong;
}

static unsigned bits_of(unsigned set)
{
    unsigned n = 0;
    for (; set != 0; set &= set - 1) {
        n++;
    }
    return n;
}

/* Ways in which k clients that acted in a stage can go on: stay, or leave before a later one. */
static uint32_t futures(unsigned k, shoal_sa_stage stage)
{
    uint32_t ways = 1;
    for (unsigned i = 0; i < k; i++) {
        ways *= (uint32_t)(STAGES - stage);
    }
    return ways;
}

/* Those of a set of devices that are on the committee. */
static unsigned signers(const cohort *c, unsigned devices)
{
    unsigned n = 0;
    for (size_t i = 0; i < CLIENTS; i++) {
        n += (devices >> i & 1u) != 0 && shoal_sa_client_signs(c->dev[i].client) ? 1 : 0;
    }
    return n;
}

/* PROTOCOL.md 6.1, written down a second time. With five clients each next to the four others,
 * t = 3 holders of everyone's secrets are four clients; four are a complete graph of their own. */
static bool should_go_on(const cohort *c, shoal_sa_stage stage, unsigned roster, unsigned acting)
{
    unsigned k = bits_of(acting);
    unsigned m = roster < c->d.committee ? roster : c->d.committee;
    if (stage == SHOAL_SA_ADVERTISE) return k >= 3;
    if (stage == SHOAL_SA_SURVIVORS) return signers(c, acting) >= 2 * m / 3 + 1;
    if (c->d.degree != 0 && roster > c->d.degree) return k >= 4;
    return k >= 2 * roster / 3 + 1 && k >= 3;
}

static tally wrong(const char *what, shoal_sa_stage stage, unsigned acting)
{
    fprintf(stderr, "%s in stage %s, clients 0x%x\n", what, shoal_sa_stage_name(stage), acting);
    return (tally){.wrong = 1};
}

static tally explore(cohort *c, shoal_sa_stage stage, unsigned alive, unsigned roster,
                     unsigned uploaded);

/* The clients in `acting` answer the stage, the rest have left; then everything after it. */
static tally play(cohort *c, shoal_sa_stage stage, unsigned acting, unsigned roster,
                  unsigned uploaded)
{
    unsigned k = bits_of(acting);
    tally t = {.executions = 1};
    for (size_t i = 0; i < CLIENTS; i++) {
        if ((acting >> i & 1u) != 0 && cohort_send(c, i, stage) != SHOAL_OK) {
            return wrong(c->err.msg, stage, acting);
        }
    }
    shoal_status st = shoal_sa_server_advance(c->server, true, &c->err);
    if ((st == SHOAL_OK) != should_go_on(c, stage, roster, acting)) {
        return wrong("wrong verdict", stage, acting);
    }
    if (st != SHOAL_OK) {
        if (shoal_sa_server_stage(c->server) != SHOAL_SA_FAILED ||
            shoal_sa_server_sum(c->server) != NULL || shoal_sa_server_reason(c->server)[0] == 0) {
            return wrong("refused without a reason", stage, acting);
        }
        t.refused = futures(k, stage);
        return t;
    }
    if (stage == SHOAL_SA_ADVERTISE) roster = k;
    if (stage == SHOAL_SA_INPUT) uploaded = acting;
    if (stage == SHOAL_SA_UNMASK) {
        if (!cohort_sum_right(c, uploaded)) return wrong("wrong sum", stage, acting);
        t.exact = 1;
        return t;
    }
    add(&t, explore(c, stage + 1, acting, roster, uploaded));
    return t;
}

/* Runs play in a child process and reads its tally. */
static tally play_copy(cohort *c, shoal_sa_stage stage, unsigned acting, unsigned roster,
                       unsigned uploaded)
{
    int ends[2];
    tally t = {.wrong = 1};
    if (pipe(ends) != 0) return t;
    pid_t child = fork();
    if (child == 0) {
        tally mine = play(c, stage, acting, roster, uploaded);
        _exit(write(ends[1], &mine, sizeof mine) == (ssize_t)sizeof mine ? 0 : 1);
    }
    (void)close(ends[1]);
    if (child > 0 && read(ends[0], &t, sizeof t) != (ssize_t)sizeof t) {
        t = (tally){.wrong = 1};
    }
    (void)close(ends[0]);
    if (child > 0) (void)waitpid(child, NULL, 0);
    return t;
}

/* All subsets of `alive` that may act in this stage. */
static tally explore(cohort *c, shoal_sa_stage stage, unsigned alive, unsigned roster,
                     unsigned uploaded)
{
    tally t = {0};
    unsigned acting = alive;
    for (size_t i = 0; i < CLIENTS; i++) {
        if ((alive >> i & 1u) != 0 && cohort_answer(c, i, stage) != SHOAL_OK) {
            return wrong(c->err.msg, stage, alive);
        }
    }
    for (bool more = true; more; acting = (acting - 1) & alive) {
        more = acting != 0;
        add(&t, play_copy(c, stage, acting, roster, uploaded));
    }
    return t;
}

static tally all_patterns(cohort *c)
{
    cohort_start(c);
    tally t = explore(c, SHOAL_SA_ADVERTISE, ALL, 0, 0);
    print_message("%u patterns exact, %u refused, %u stages run\n", t.exact, t.refused,
                  t.executions);
    assert_int_equal(t.wrong, 0);
    assert_int_equal(t.exact + t.refused, 16807);
    return t;
}

static void test_complete_graph(void **state)
{
    (void)state;
    cohort c;
    cohort_open(&c, CLIENTS, 33, 77);
    tally t = all_patterns(&c);
    /* Survive: nobody, or one of 5 leaves at any one of 6 stages; or one before ADVERTISE (t = 3 of
     * 4) and at most one more of the 5 later; or two before ADVERTISE and nobody later. */
    assert_int_equal(t.exact, 1 + 5 * 5 + 5 * (1 + 4 * 5) + 10);
    cohort_close(&c);
}

static void test_ring(void **state)
{
    (void)state;
    cohort c;
    cohort_open(&c, CLIENTS, 33, 78);
    c.d.degree = 4;
    c.d.threshold = 3;
    c.d.committee = 3;
    tally t = all_patterns(&c);
    /* One of 5 may leave at any stage but SURVIVORS, and there if it does not sign: two of them. */
    assert_true(t.exact >= 1 + 5 * 5 - 3 && t.exact < 141);
    cohort_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_complete_graph),
                                       cmocka_unit_test(test_ring)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
