/* fuzz_sa_server.c - a whole session against the server's state machine, played by devices that do
 * what the input says: answer honestly, late, twice, with changed or foreign bytes, with false
 * shares signed as true ones; deadlines pass when it says so. Cheap cryptography (cheap_crypto.c).
 *
 * However it goes: stages only rise, a client has one answer a stage, and the end is the exact sum
 * of the inputs that were accepted, or a refusal. Spec 3.5, Spec 5.10, Spec 6.1. */
#include <stdint.h>
#include <string.h>

#include "kernels/base/hash.h"
#include "proto/sa_wire.h"
#include "tests/fuzz/script.h"
#include "tests/support/sa_cohort.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DEVICES_MAX = 6, DIM = 6, OPS = 160 };

typedef struct game {
    cohort *c;
    shoal_sa_stage stage;
    bool taken[DEVICES_MAX][SHOAL_SA_DONE]; /* an answer was accepted, and which */
    uint64_t hash[DEVICES_MAX][SHOAL_SA_DONE];
} game;

/* ---- promises ---- */

static void check_state(game *g)
{
    const shoal_sa_server *s = g->c->server;
    shoal_sa_stage now = shoal_sa_server_stage(s);
    must(now >= g->stage);
    must(g->stage < SHOAL_SA_DONE || now == g->stage);
    must((shoal_sa_server_sum(s) != NULL) == (now == SHOAL_SA_DONE));
    must((shoal_sa_server_reason(s)[0] != '\0') == (now == SHOAL_SA_FAILED));
    g->stage = now;
    if (now != SHOAL_SA_DONE) return;
    unsigned devices = 0;
    for (size_t i = 0; i < g->c->n; i++) {
        devices |= g->taken[i][SHOAL_SA_INPUT] ? 1u << i : 0;
    }
    must(cohort_sum_right(g->c, devices));
}

/* Gives the server bytes in the name of a device and holds its verdict against what was said
 * before. own: signed by that device. */
static void give(game *g, size_t i, shoal_sa_stage stage, const shoal_buf *b, bool own)
{
    uint64_t hash = shoal_fnv64(SHOAL_FNV64_INIT, b->data, b->len);
    shoal_status st = shoal_sa_server_receive(g->c->server, stage, g->c->dev[i].id, b->data, b->len,
                                              COHORT_NOW, &g->c->err);
    if (st != SHOAL_OK) {
        must(!g->taken[i][stage] || hash != g->hash[i][stage]); /* a repetition is acknowledged */
        return;
    }
    must(!g->taken[i][stage] || hash == g->hash[i][stage]);
    const shoal_buf *said = &g->c->dev[i].sent[stage];
    own = own || stage == SHOAL_SA_CONFIRM; /* Spec 5.5.2: not signed, the connection vouches */
    own = own || (b->len == said->len && memcmp(b->data, said->data, b->len) == 0);
    must(g->taken[i][stage] || (stage == g->stage && own));
    g->taken[i][stage] = true;
    g->hash[i][stage] = hash;
}

/* ---- moves ---- */

/* What the device itself says in the stage at hand; false when it has nothing to say. */
static bool answer(game *g, size_t i)
{
    if (g->stage >= SHOAL_SA_DONE) return false;
    return g->c->dev[i].sent[g->stage].len > 0 || cohort_answer(g->c, i, g->stage) == SHOAL_OK;
}

static void honest(game *g, size_t i)
{
    if (answer(g, i)) give(g, i, g->stage, &g->c->dev[i].sent[g->stage], true);
}

static const char *label_of(shoal_sa_stage stage)
{
    switch (stage) {
    case SHOAL_SA_ADVERTISE: return "shoal/sa1/advertise";
    case SHOAL_SA_SHARES: return "shoal/sa1/shares";
    case SHOAL_SA_UNMASK: return "shoal/sa1/unmask";
    default: return NULL;
    }
}

/* A device's message changed, and signed again by it when the input says so. An input is not signed
 * again: another vector, signed, is another right input. */
static void changed(game *g, script *s, size_t i, size_t as)
{
    shoal_sa_stage stage = (shoal_sa_stage)(script_byte(s) % SHOAL_SA_DONE);
    const shoal_buf *sent = &g->c->dev[i].sent[stage];
    shoal_buf b = shoal_buf_init(1 << 16);
    if (stage == g->stage) (void)answer(g, i);
    bool again = (script_byte(s) & 1) != 0 && label_of(stage) != NULL;
    size_t n = again && sent->len > SHOAL_SIG_BYTES ? sent->len - SHOAL_SIG_BYTES : sent->len;
    (void)shoal_buf_put(&b, sent->data, n);
    script_change(s, &b);
    if (again && b.len > 0) {
        uint8_t ctx[32];
        shoal_sa_descriptor d;
        must(shoal_sa_descriptor_open(g->c->descriptor.data, g->c->descriptor.len, g->c->task_spki,
                                      &d, ctx, NULL) == SHOAL_OK);
        must(shoal_sa_sign_tail(&b, 0, g->c->dev[i].key, label_of(stage), ctx, NULL) == SHOAL_OK);
    }
    give(g, as, stage, &b, again && as == i);
    shoal_buf_clear(&b);
}

/* What a device once prepared, in the stage it was for or out of it. */
static void late(game *g, script *s, size_t i)
{
    shoal_sa_stage stage = (shoal_sa_stage)(script_byte(s) % SHOAL_SA_DONE);
    give(g, i, stage, &g->c->dev[i].sent[stage], true);
}

static void raw(game *g, script *s, size_t i)
{
    shoal_sa_stage stage = (shoal_sa_stage)(script_byte(s) % SHOAL_SA_DONE);
    shoal_buf b = shoal_buf_init(512);
    script_take(s, &b);
    give(g, i, stage, &b, false);
    shoal_buf_clear(&b);
}

static void stranger(game *g, script *s)
{
    uint8_t id[SHOAL_ID_BYTES] = {script_byte(s)};
    const shoal_buf *b = &g->c->dev[0].sent[SHOAL_SA_ADVERTISE];
    must(shoal_sa_server_receive(g->c->server, SHOAL_SA_ADVERTISE, id, b->data, b->len, COHORT_NOW,
                                 &g->c->err) != SHOAL_OK);
}

static void read_message(game *g, script *s, size_t i)
{
    shoal_buf b = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
    shoal_sa_stage stage = (shoal_sa_stage)(script_byte(s) % (SHOAL_SA_FAILED + 1));
    shoal_status st = shoal_sa_server_message(g->c->server, stage, g->c->dev[i].id, &b, &g->c->err);
    must(st != SHOAL_OK || (stage < g->stage && g->stage != SHOAL_SA_FAILED));
    must(st == SHOAL_OK || b.len == 0);
    shoal_buf_clear(&b);
}

static void advance(game *g, bool deadline)
{
    shoal_status st = shoal_sa_server_advance(g->c->server, deadline, &g->c->err);
    must(st != SHOAL_ERR_AGAIN || !deadline);
    must(g->stage < SHOAL_SA_DONE || st == SHOAL_ERR_STATE);
}

static void move(game *g, script *s)
{
    unsigned op = script_byte(s);
    size_t i = (op >> 4) % g->c->n;
    switch (op % 12) {
    case 0:
        for (size_t k = 0; k < g->c->n; k++) {
            honest(g, k);
        }
        break;
    case 1:
    case 2: honest(g, i); break;
    case 3: changed(g, s, i, i); break;
    case 4: changed(g, s, i, script_byte(s) % g->c->n); break;
    case 5: raw(g, s, i); break;
    case 6: stranger(g, s); break;
    case 7: read_message(g, s, i); break;
    case 8: advance(g, false); break;
    case 9: (void)answer(g, i); break;
    case 10: late(g, s, i); break;
    default: advance(g, true); break;
    }
    check_state(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static cohort cohorts[DEVICES_MAX + 1];
    script s = shoal_cursor_init(data, size);
    size_t n = 3 + script_byte(&s) % (DEVICES_MAX - 2);
    cohort *c = &cohorts[n];
    if (c->n == 0) cohort_open(c, n, DIM, n);
    for (size_t i = 0; i < n; i++) {
        test_entropy_init(&c->dev[i].entropy, 100 * n + i);
    }
    cohort_start(c);
    game g = {.c = c};
    for (size_t k = 0; k < OPS && s.left > 0; k++) {
        move(&g, &s);
    }
    return 0;
}
