/* fuzz_sa_client.c - a whole session against one device's state machine. The server is the input's,
 * and so are all other devices: it hands the victim right messages, changed ones, and ones that the
 * others signed for any set it likes; in any order. Cheap cryptography (cheap_crypto.c).
 *
 * Whatever it does: one signed set and one answer a session, of each peer one kind of share, of the
 * kind that a quorum signed; and after a failure nothing at all. Spec 5.5.3, Spec 5.7.1,
 * Spec 5.8.1, Spec 5.9, Spec 6.3. */
#include <stdint.h>
#include <string.h>

#include "proto/sa_wire.h"
#include "tests/fuzz/script.h"
#include "tests/support/sa_cohort.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DEVICES = 7, DIM = 6, OPS = 60, VICTIM = 0 };

typedef struct game {
    cohort *c;
    uint8_t ctx[32];
    size_t said[SHOAL_SA_DONE]; /* messages of the victim, by stage */
    shoal_sa_set dealt;         /* of the delivery that the victim took */
    shoal_sa_set u2;            /* of the members that it took */
    bool signed_any;
    shoal_sa_set signed_set; /* that the victim signed */
    shoal_sa_set asked;      /* U3 of the request at hand */
    size_t vouchers;         /* right signatures of members of it */
} game;

static size_t threshold(const game *g)
{
    return shoal_sa_threshold(g->c->n);
}

/* ---- promises ---- */

static void check_signature(game *g, const shoal_buf *m)
{
    uint8_t sig[SHOAL_SIG_BYTES];
    must(shoal_sa_read_signature(m->data, m->len, g->c->d.session_id, DEVICES, &g->signed_set, sig,
                                 NULL) == SHOAL_OK);
    must(shoal_sa_set_count(&g->signed_set) >= threshold(g));
    must(shoal_sa_set_subset(&g->signed_set, &g->u2));
    g->signed_any = true;
}

static void check_reveals(game *g, const shoal_buf *m)
{
    static shoal_sa_reveals r;
    must(shoal_sa_read_unmask(m->data, m->len, g->c->d.session_id, &r, NULL) == SHOAL_OK);
    must(shoal_sa_set_count(&g->asked) >= threshold(g));
    must(shoal_sa_set_subset(&g->asked, &g->u2));
    must(g->vouchers >= threshold(g));
    must(!g->signed_any || shoal_sa_set_equal(&g->asked, &g->signed_set));
    for (size_t k = 0; k < r.n; k++) { /* indices rise strictly: one item, one kind a peer */
        bool alive = shoal_sa_set_has(&g->asked, r.items[k].index);
        must(r.items[k].kind == (alive ? SHOAL_SA_REVEAL_B : SHOAL_SA_REVEAL_SK));
    }
}

static void note_delivery(game *g, const shoal_buf *m)
{
    static shoal_sa_boxes boxes;
    must(shoal_sa_read_delivery(m->data, m->len, g->c->d.session_id, DEVICES, &g->dealt, &boxes,
                                NULL) == SHOAL_OK);
}

static void note_members(game *g, const shoal_buf *m)
{
    must(shoal_sa_read_members(m->data, m->len, g->c->d.session_id, DEVICES, &g->u2, NULL) ==
         SHOAL_OK);
    must(shoal_sa_set_count(&g->u2) >= threshold(g));
    must(shoal_sa_set_subset(&g->u2, &g->dealt));
}

/* One call of the victim's machine and everything that must hold after it. */
static void feed(game *g, shoal_sa_stage stage, const shoal_buf *in)
{
    const shoal_sa_client *k = g->c->dev[VICTIM].client;
    const shoal_buf *out = &g->c->dev[VICTIM].sent[stage];
    shoal_sa_stage before = shoal_sa_client_stage(k);
    shoal_status st = cohort_feed(g->c, VICTIM, stage, in);
    shoal_sa_stage after = shoal_sa_client_stage(k);
    must(st == SHOAL_OK || out->len == 0);
    must(before < SHOAL_SA_DONE || st == SHOAL_ERR_STATE);
    must(after >= before);
    if (st == SHOAL_ERR_STATE) must(after == before || stage == SHOAL_SA_INPUT);
    if (st != SHOAL_OK && st != SHOAL_ERR_STATE) must(after == SHOAL_SA_FAILED);
    if (st != SHOAL_OK || out->len == 0) return;
    must(g->said[stage]++ == 0);
    if (stage == SHOAL_SA_CONFIRM) note_delivery(g, in);
    if (stage == SHOAL_SA_INPUT) note_members(g, in);
    if (stage == SHOAL_SA_SURVIVORS) check_signature(g, out);
    if (stage == SHOAL_SA_UNMASK) check_reveals(g, out);
}

/* ---- moves ---- */

/* The others finish the server's stage, with what the victim has said for it. */
static void others_go_on(game *g)
{
    shoal_sa_stage stage = shoal_sa_server_stage(g->c->server);
    if (stage >= SHOAL_SA_DONE) return;
    for (size_t i = 0; i < DEVICES; i++) {
        if (i == VICTIM && g->said[stage] > 0) (void)(cohort_send(g->c, i, stage) == SHOAL_OK);
        if (i != VICTIM) (void)(cohort_act(g->c, i, stage) == SHOAL_OK);
    }
    (void)(shoal_sa_server_advance(g->c->server, true, &g->c->err) == SHOAL_OK);
}

static shoal_sa_set set_of(unsigned bits)
{
    shoal_sa_set s = {{0}};
    for (size_t i = 1; i <= DEVICES; i++) {
        if ((bits >> (i - 1) & 1u) != 0) shoal_sa_set_add(&s, i);
    }
    return s;
}

/* A device by its place in the roster. */
static size_t device_at(const game *g, size_t index)
{
    shoal_sa_member m;
    size_t i = 0;
    if (!shoal_sa_server_member(g->c->server, index - 1, &m)) return VICTIM;
    while (i < DEVICES && memcmp(g->c->dev[i].id, m.id, SHOAL_ID_BYTES) != 0) {
        i++;
    }
    return i < DEVICES ? i : VICTIM;
}

static void forged_claim(game *g, script *s)
{
    shoal_sa_set u3 = set_of(script_byte(s));
    shoal_buf b = shoal_buf_init(256);
    shoal_sa_put_claim(&b, g->c->d.session_id, DEVICES, &u3);
    feed(g, SHOAL_SA_SURVIVORS, &b);
    shoal_buf_clear(&b);
}

/* Signatures of colluding devices for any set; of the victim only what it gave. */
static void vouch(game *g, shoal_sa_quorum *q, unsigned signers, const shoal_sa_set *u3)
{
    uint8_t roster_hash[32];
    shoal_sa_server_roster_hash(g->c->server, roster_hash);
    shoal_sa_survivors what = {
        .ctx = g->ctx, .roster_hash = roster_hash, .roster_n = DEVICES, .u3 = u3};
    for (uint16_t j = 1; j <= DEVICES; j++) {
        if ((signers >> (j - 1) & 1u) == 0) continue;
        size_t i = device_at(g, j);
        bool given = i != VICTIM || (g->signed_any && shoal_sa_set_equal(u3, &g->signed_set));
        shoal_sa_voucher *v = &q->items[q->n++];
        uint8_t *sig = v->sig;
        *v = (shoal_sa_voucher){.index = j};
        memset(sig, 1, SHOAL_SIG_BYTES);
        if (given) must(shoal_sa_survivors_sign(&what, g->c->dev[i].key, sig, NULL) == SHOAL_OK);
        g->vouchers += given && shoal_sa_set_has(u3, j) ? 1 : 0;
    }
}

static void forged_request(game *g, script *s)
{
    static shoal_sa_quorum q;
    shoal_buf b = shoal_buf_init(4096);
    g->asked = set_of(script_byte(s));
    g->vouchers = 0;
    q.n = 0;
    vouch(g, &q, script_byte(s), &g->asked);
    shoal_sa_put_request(&b, g->c->d.session_id, DEVICES, &g->asked, &q);
    feed(g, SHOAL_SA_UNMASK, &b);
    shoal_buf_clear(&b);
}

/* The server's own message, changed or not. */
static void served(game *g, script *s, shoal_sa_stage stage, bool change)
{
    static shoal_sa_quorum q;
    shoal_buf b = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
    shoal_status st = SHOAL_OK;
    if (stage != SHOAL_SA_ADVERTISE) {
        st = shoal_sa_server_message(g->c->server, stage - 1, g->c->dev[VICTIM].id, &b, &g->c->err);
    }
    if (st == SHOAL_OK && change) script_change(s, &b);
    if (st == SHOAL_OK && stage == SHOAL_SA_UNMASK &&
        shoal_sa_read_request(b.data, b.len, g->c->d.session_id, DEVICES, &g->asked, &q, NULL) ==
            SHOAL_OK) {
        g->vouchers = q.n; /* the server's are right; a changed one must not pass */
    }
    if (st == SHOAL_OK) feed(g, stage, &b);
    shoal_buf_clear(&b);
}

/* A delivery with fewer members than shared: what was sealed for the victim, but for some. */
static void thinned_delivery(game *g, script *s)
{
    static shoal_sa_boxes boxes;
    static shoal_sa_boxes kept;
    shoal_sa_set u2, less;
    shoal_buf b = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
    unsigned keep = script_byte(s);
    if (shoal_sa_server_message(g->c->server, SHOAL_SA_SHARES, g->c->dev[VICTIM].id, &b,
                                &g->c->err) == SHOAL_OK &&
        shoal_sa_read_delivery(b.data, b.len, g->c->d.session_id, DEVICES, &u2, &boxes, NULL) ==
            SHOAL_OK) {
        less = set_of(keep);
        kept.n = 0;
        for (size_t i = 0; i < boxes.n; i++) {
            if (shoal_sa_set_has(&less, boxes.items[i].peer)) kept.items[kept.n++] = boxes.items[i];
        }
        b.len = 0;
        shoal_sa_put_delivery(&b, g->c->d.session_id, DEVICES, &less, &kept);
        feed(g, SHOAL_SA_CONFIRM, &b);
    }
    shoal_buf_clear(&b);
}

static void forged_members(game *g, script *s)
{
    shoal_sa_set u2 = set_of(script_byte(s));
    shoal_buf b = shoal_buf_init(256);
    shoal_sa_put_members(&b, g->c->d.session_id, DEVICES, &u2);
    feed(g, SHOAL_SA_INPUT, &b);
    shoal_buf_clear(&b);
}

static void raw(game *g, script *s, shoal_sa_stage stage)
{
    shoal_buf b = shoal_buf_init(512);
    script_take(s, &b);
    g->asked = set_of(0);
    g->vouchers = 0;
    feed(g, stage, &b);
    shoal_buf_clear(&b);
}

static void move(game *g, script *s)
{
    unsigned op = script_byte(s);
    shoal_sa_stage stage = (shoal_sa_stage)((op >> 4) % SHOAL_SA_DONE);
    switch (op % 8) {
    case 0: others_go_on(g); break;
    case 1: served(g, s, stage, false); break;
    case 2: forged_members(g, s); break;
    case 3: served(g, s, stage, true); break;
    case 4: forged_claim(g, s); break;
    case 5: forged_request(g, s); break;
    case 6: thinned_delivery(g, s); break;
    default: raw(g, s, stage); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static cohort c;
    script s = shoal_cursor_init(data, size);
    shoal_sa_descriptor d;
    if (c.n == 0) cohort_open(&c, DEVICES, DIM, 3);
    for (size_t i = 0; i < DEVICES; i++) {
        test_entropy_init(&c.dev[i].entropy, 300 + i);
    }
    cohort_start(&c);
    game g = {.c = &c};
    must(shoal_sa_descriptor_open(c.descriptor.data, c.descriptor.len, c.task_spki, &d, g.ctx,
                                  NULL) == SHOAL_OK);
    for (size_t k = 0; k < OPS && s.left > 0; k++) {
        move(&g, &s);
    }
    return 0;
}
