/* fuzz_sa_server.c - a whole session against the server's state machine, played by devices that do
 * what the input says: answer honestly, late, twice, with changed or foreign bytes, with false
 * shares signed as true ones; deadlines pass when it says so. Cheap cryptography (cheap_crypto.c).
 * An input whose first byte has its highest bit set plays a k-regular graph, any other a complete
 * one.
 *
 * However it goes: stages only rise, with enough answers; a client has one answer a stage, given
 * and read only by those whose turn it is; a single liar does not get anyone else named; and the
 * end is the exact sum of the inputs that were accepted, or a refusal. Spec 3.5, Spec 5.9.2,
 * Spec 5.10, Spec 6.1. */
#include <stdint.h>
#include <string.h>

#include "kernels/base/hash.h"
#include "proto/sa_graph.h"
#include "proto/sa_wire.h"
#include "tests/fuzz/script.h"
#include "tests/support/sa_cohort.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DEVICES_MAX = 6, DIM = 6, OPS = 160, RING = 0x80 };

typedef struct game {
    cohort *c;
    shoal_sa_stage stage;
    bool taken[DEVICES_MAX][SHOAL_SA_DONE]; /* an answer was accepted, and which */
    uint64_t hash[DEVICES_MAX][SHOAL_SA_DONE];
    bool lied[DEVICES_MAX]; /* it had something accepted that it would not say itself */
} game;

/* ---- promises ---- */

static size_t count_taken(const game *g, shoal_sa_stage stage)
{
    size_t n = 0;
    for (size_t i = 0; i < g->c->n; i++) {
        n += g->taken[i][stage] ? 1 : 0;
    }
    return n;
}

/* Spec 6.1, said again. */
static void check_enough(const game *g, shoal_sa_stage closed)
{
    size_t roster = count_taken(g, SHOAL_SA_ADVERTISE);
    shoal_sa_graph graph = shoal_sa_graph_shape(&g->c->d, roster);
    size_t minimum = g->c->d.n_min;
    size_t both = graph.t > minimum ? graph.t : minimum;
    size_t need = closed == SHOAL_SA_ADVERTISE   ? minimum
                  : closed == SHOAL_SA_SURVIVORS ? graph.q
                  : closed == SHOAL_SA_UNMASK    ? graph.t
                                                 : both;
    must(count_taken(g, closed) >= need);
}

/* What a device must have had accepted before it may speak in a stage. */
static shoal_sa_stage turn_before(shoal_sa_stage stage)
{
    return stage == SHOAL_SA_UNMASK ? SHOAL_SA_INPUT : (shoal_sa_stage)(stage - 1);
}

/* A device's index in the roster: places follow the ids. */
static size_t index_of(const game *g, size_t i)
{
    size_t index = 1;
    for (size_t k = 0; k < g->c->n; k++) {
        bool before = memcmp(g->c->dev[k].id, g->c->dev[i].id, SHOAL_ID_BYTES) < 0;
        index += before && g->taken[k][SHOAL_SA_ADVERTISE] ? 1 : 0;
    }
    return index;
}

/* The graph of a closed roster; the caller closes it. */
static shoal_sa_graph graph_of(const game *g)
{
    uint8_t hash[32];
    shoal_sa_graph graph;
    shoal_sa_server_roster_hash(g->c->server, hash);
    must(shoal_sa_graph_open(&graph, &g->c->d, count_taken(g, SHOAL_SA_ADVERTISE), hash, NULL) ==
         SHOAL_OK);
    return graph;
}

/* Those who had something accepted in a stage, by their indices. */
static shoal_sa_set set_taken(const game *g, shoal_sa_stage stage)
{
    shoal_sa_set out = {{0}};
    for (size_t i = 0; i < g->c->n; i++) {
        if (g->taken[i][stage]) shoal_sa_set_add(&out, index_of(g, i));
    }
    return out;
}

/* Spec 5.5.2: only neighbours that dealt are refused. */
static void check_confirm(const game *g, const shoal_sa_graph *graph, size_t own,
                          const shoal_buf *b)
{
    shoal_sa_refusals m;
    shoal_sa_set dealt = set_taken(g, SHOAL_SA_SHARES);
    must(shoal_sa_read_confirm(b->data, b->len, g->c->d.session_id, &m, NULL) == SHOAL_OK);
    for (size_t r = 0; r < m.n; r++) {
        must(shoal_sa_graph_adjacent(graph, own, m.items[r]));
        must(shoal_sa_set_has(&dealt, m.items[r]));
    }
}

/* Spec 5.9: of each secret the kind that the survivors call for, and of no secret that is not to be
 * opened. */
static void check_unmask(const game *g, const shoal_sa_graph *graph, size_t own, const shoal_buf *b)
{
    static shoal_sa_reveals r;
    shoal_sa_set confirmed = set_taken(g, SHOAL_SA_CONFIRM);
    shoal_sa_set u3 = set_taken(g, SHOAL_SA_INPUT);
    must(shoal_sa_read_unmask(b->data, b->len, g->c->d.session_id, &r, NULL) == SHOAL_OK);
    for (size_t k = 0; k < r.n; k++) {
        size_t j = r.items[k].index;
        bool alive = shoal_sa_set_has(&u3, j);
        must(shoal_sa_set_has(&confirmed, j));
        must(shoal_sa_graph_adjacent(graph, own, j) || (graph->complete && own == j));
        must(r.items[k].kind == (alive ? SHOAL_SA_REVEAL_B : SHOAL_SA_REVEAL_SK));
    }
}

/* What was accepted of device i, once. */
static void check_accepted(const game *g, size_t i, shoal_sa_stage stage, const shoal_buf *b)
{
    if (stage == SHOAL_SA_ADVERTISE) return;
    size_t own = index_of(g, i);
    shoal_sa_graph graph = graph_of(g);
    must(g->taken[i][turn_before(stage)]);
    must(stage != SHOAL_SA_SURVIVORS || shoal_sa_set_has(&graph.committee, own));
    if (stage == SHOAL_SA_CONFIRM) check_confirm(g, &graph, own, b);
    if (stage == SHOAL_SA_UNMASK) check_unmask(g, &graph, own, b);
    shoal_sa_graph_close(&graph);
}

/* Spec 5.9.2: of one liar nobody else is the victim. */
static void check_named(const game *g)
{
    shoal_sa_member m;
    size_t liars = 0;
    for (size_t i = 0; i < g->c->n; i++) {
        liars += g->lied[i] ? 1 : 0;
    }
    for (size_t at = 0; liars <= 1 && shoal_sa_server_member(g->c->server, at, &m); at++) {
        for (size_t i = 0; i < g->c->n; i++) {
            bool same = memcmp(m.id, g->c->dev[i].id, SHOAL_ID_BYTES) == 0;
            must(!same || !m.lied || g->lied[i]);
        }
    }
}

static void check_state(game *g)
{
    const shoal_sa_server *s = g->c->server;
    shoal_sa_stage now = shoal_sa_server_stage(s);
    must(now >= g->stage);
    must(g->stage < SHOAL_SA_DONE || now == g->stage);
    must((shoal_sa_server_sum(s) != NULL) == (now == SHOAL_SA_DONE));
    must((shoal_sa_server_reason(s)[0] != '\0') == (now == SHOAL_SA_FAILED));
    if (now > g->stage && now != SHOAL_SA_FAILED) check_enough(g, g->stage);
    check_named(g);
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
    bool same = b->len == said->len && memcmp(b->data, said->data, b->len) == 0;
    must(g->taken[i][stage] || (stage == g->stage && (own || same)));
    if (!g->taken[i][stage]) check_accepted(g, i, stage, b);
    g->lied[i] = g->lied[i] || !same;
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
        must(shoal_sa_sign_tail(&b, 0, g->c->dev[i].key, label_of(stage),
                                shoal_sa_server_context(g->c->server), NULL) == SHOAL_OK);
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

/* Spec 5.5.4, Spec 6.1: of those who confirmed, and enough of them. */
static void check_members(const game *g, const shoal_buf *b)
{
    shoal_sa_set u2;
    shoal_sa_set confirmed = set_taken(g, SHOAL_SA_CONFIRM);
    shoal_sa_graph graph = graph_of(g);
    must(shoal_sa_read_members(b->data, b->len, g->c->d.session_id, graph.n, &u2, NULL) ==
         SHOAL_OK);
    must(shoal_sa_set_subset(&u2, &confirmed));
    must(shoal_sa_set_count(&u2) >= graph.t && shoal_sa_set_count(&u2) >= g->c->d.n_min);
    shoal_sa_graph_close(&graph);
}

static void read_message(game *g, script *s, size_t i)
{
    shoal_buf b = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
    shoal_sa_stage stage = (shoal_sa_stage)(script_byte(s) % (SHOAL_SA_FAILED + 1));
    shoal_status st = shoal_sa_server_message(g->c->server, stage, g->c->dev[i].id, &b, &g->c->err);
    must(st != SHOAL_OK || (stage < g->stage && g->stage != SHOAL_SA_FAILED));
    bool reads = stage == SHOAL_SA_SURVIVORS ? g->taken[i][SHOAL_SA_INPUT]
                                             : stage < SHOAL_SA_DONE && g->taken[i][stage];
    must(st != SHOAL_OK || reads);
    if (st == SHOAL_OK && stage == SHOAL_SA_CONFIRM) check_members(g, &b);
    must(st == SHOAL_OK || b.len == 0);
    shoal_buf_clear(&b);
}

static void advance(game *g, bool deadline)
{
    shoal_status st = shoal_sa_server_advance(g->c->server, deadline, &g->c->err);
    must(st != SHOAL_ERR_AGAIN || !deadline);
    must(g->stage < SHOAL_SA_DONE || st == SHOAL_ERR_STATE);
}

static void read_own_advert(const game *g, size_t i, shoal_sa_advert *m)
{
    const shoal_buf *b = &g->c->dev[i].sent[SHOAL_SA_ADVERTISE];
    must(shoal_sa_read_advert(b->data, b->len, g->c->d.session_id, m, NULL) == SHOAL_OK);
}

/* M1 of device i, rightly signed, with something in it that must not be. */
static void false_advert(game *g, script *s, size_t i)
{
    shoal_sa_advert m, other;
    unsigned how = script_byte(s) % 5;
    size_t j = script_byte(s) % g->c->n;
    size_t signer = i;
    if (g->stage != SHOAL_SA_ADVERTISE || !answer(g, i) || !answer(g, j)) return;
    /* A key, certificate or name is false only where it is another's. */
    if ((how == 0 && !g->taken[j][SHOAL_SA_ADVERTISE]) || (how == 3 && i == j)) return;
    shoal_buf b = shoal_buf_init(4096);
    shoal_buf cert = shoal_buf_init(SHOAL_LIMIT_CERT);
    read_own_advert(g, i, &m);
    read_own_advert(g, j, &other);
    if (how == 0) memcpy(m.epk_enc, other.epk_mask, 32);
    if (how == 1) memset(m.epk_mask, 0, 32);
    if (how == 2) memset(m.epk_enc, 0xff, 32);
    if (how == 3) {
        m.cert = other.cert;
        m.cert_n = other.cert_n;
        signer = j;
    }
    if (how == 4) {
        cohort_other_cert(g->c, i, true, &cert);
        m.cert = cert.data;
        m.cert_n = cert.len;
    }
    shoal_sa_put_advert(&b, g->c->d.session_id, &m);
    must(shoal_sa_sign_tail(&b, 0, g->c->dev[signer].key, "shoal/sa1/advertise",
                            shoal_sa_server_context(g->c->server), NULL) == SHOAL_OK);
    give(g, i, SHOAL_SA_ADVERTISE, &b, false);
    shoal_buf_clear(&b);
    shoal_buf_clear(&cert);
}

/* An input that its device signed, of another size than the session's, or from somebody who is not
 * in it. */
static void false_input(game *g, script *s, size_t i)
{
    static const uint8_t zeros[64];
    size_t words = shoal_codec_words(&g->c->d.codec);
    shoal_sa_input m = {.words = script_byte(s)};
    m.ring_bits = script_byte(s);
    size_t n = script_byte(s) % sizeof zeros;
    shoal_buf b = shoal_buf_init(1024);
    bool right = m.words == words && m.ring_bits == g->c->d.codec.ring_bits &&
                 n == shoal_packed_bytes(words, m.ring_bits);
    if (right && g->taken[i][SHOAL_SA_CONFIRM]) return; /* another right input, of zeros */
    must(shoal_sha256(zeros, n, m.hash, NULL) == SHOAL_OK);
    shoal_sa_put_input(&b, g->c->d.session_id, &m);
    must(shoal_sa_sign_tail(&b, 0, g->c->dev[i].key, "shoal/sa1/input",
                            shoal_sa_server_context(g->c->server), NULL) == SHOAL_OK);
    (void)shoal_buf_put(&b, zeros, n);
    give(g, i, SHOAL_SA_INPUT, &b, false);
    shoal_buf_clear(&b);
}

/* A device signs a survivor set: of those whose inputs are there, less some. Or it says that set
 * and signs the whole one. */
static void sign_survivors(game *g, script *s, size_t i)
{
    shoal_sa_member m;
    uint8_t roster_hash[32], sig[SHOAL_SIG_BYTES];
    shoal_sa_set whole = {{0}}, said = {{0}};
    size_t n = 0;
    unsigned less = script_byte(s);
    if (g->stage <= SHOAL_SA_ADVERTISE || g->stage >= SHOAL_SA_DONE) return;
    for (; shoal_sa_server_member(g->c->server, n, &m); n++) {
        if (!m.uploaded) continue;
        shoal_sa_set_add(&whole, n + 1);
        if ((less >> n & 1u) == 0) shoal_sa_set_add(&said, n + 1);
    }
    shoal_sa_server_roster_hash(g->c->server, roster_hash);
    shoal_sa_survivors what = {.ctx = shoal_sa_server_context(g->c->server),
                               .roster_hash = roster_hash,
                               .roster_n = n,
                               .u3 = (less & 0x80) != 0 ? &whole : &said};
    shoal_buf b = shoal_buf_init(1024);
    must(shoal_sa_survivors_sign(&what, g->c->dev[i].key, sig, NULL) == SHOAL_OK);
    shoal_sa_put_signature(&b, g->c->d.session_id, n, &said, sig);
    give(g, i, SHOAL_SA_SURVIVORS, &b, shoal_sa_set_equal(&said, &whole));
    shoal_buf_clear(&b);
}

/* Refusals of any boxes. */
static void refuse(game *g, script *s, size_t i)
{
    shoal_sa_refusals m = {.n = 0};
    shoal_buf b = shoal_buf_init(256);
    unsigned bits = script_byte(s);
    for (uint16_t j = 1; j <= 8; j++) {
        if ((bits >> (j - 1) & 1u) != 0) m.items[m.n++] = j;
    }
    shoal_sa_put_confirm(&b, g->c->d.session_id, &m);
    give(g, i, SHOAL_SA_CONFIRM, &b, true);
    shoal_buf_clear(&b);
}

/* Signed shares of device i's own making, of the secrets in `bits`, of the wrong kind in `wrong`.
 */
static void false_reveals(game *g, script *s, size_t i)
{
    static shoal_sa_reveals r;
    unsigned bits = script_byte(s);
    unsigned wrong = script_byte(s);
    shoal_sa_set u3 = set_taken(g, SHOAL_SA_INPUT);
    shoal_buf b = shoal_buf_init(4096);
    r.n = 0;
    for (uint16_t j = 1; j <= 8; j++) {
        if ((bits >> (j - 1) & 1u) == 0) continue;
        bool b_due = shoal_sa_set_has(&u3, j) != ((wrong >> (j - 1) & 1u) != 0);
        r.items[r.n++] =
            (shoal_sa_reveal){.index = j, .kind = b_due ? SHOAL_SA_REVEAL_B : SHOAL_SA_REVEAL_SK};
    }
    shoal_sa_put_unmask(&b, g->c->d.session_id, &r);
    must(shoal_sa_sign_tail(&b, 0, g->c->dev[i].key, "shoal/sa1/unmask",
                            shoal_sa_server_context(g->c->server), NULL) == SHOAL_OK);
    give(g, i, SHOAL_SA_UNMASK, &b, true);
    shoal_buf_clear(&b);
}

static void special(game *g, script *s, unsigned op)
{
    size_t i = script_byte(s) % g->c->n;
    if (op == 0xfb) refuse(g, s, i);
    if (op == 0xfc) false_reveals(g, s, i);
    if (op == 0xfd) false_advert(g, s, i);
    if (op == 0xfe) false_input(g, s, i);
    if (op == 0xff) sign_survivors(g, s, i);
    check_state(g);
}

static void move(game *g, script *s)
{
    unsigned op = script_byte(s);
    if (op >= 0xfb) {
        special(g, s, op);
        return;
    }
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

static cohort *open_cohort(unsigned how)
{
    static cohort complete[DEVICES_MAX + 1], regular;
    bool ring = (how & RING) != 0;
    size_t n = ring ? DEVICES_MAX : 3 + how % (DEVICES_MAX - 2);
    cohort *c = ring ? &regular : &complete[n];
    if (c->n > 0) return c;
    cohort_open(c, n, DIM, n);
    if (ring) {
        c->d.degree = 4;
        c->d.threshold = 3;
        c->d.committee = 4;
    }
    return c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    script s = shoal_cursor_init(data, size);
    cohort *c = open_cohort(script_byte(&s));
    for (size_t i = 0; i < c->n; i++) {
        test_entropy_init(&c->dev[i].entropy, 100 * c->n + i);
    }
    cohort_start(c);
    game g = {.c = c};
    for (size_t k = 0; k < OPS && s.left > 0; k++) {
        move(&g, &s);
    }
    return 0;
}
