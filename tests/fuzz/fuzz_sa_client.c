/* fuzz_sa_client.c - a whole session against one device's state machine. The server is the input's,
 * and so are all other devices: it hands the victim right messages, changed ones, and ones that the
 * others signed for any set it likes; in any order. Cheap cryptography (cheap_crypto.c).
 *
 * An input that begins with ff plays the k-regular graph, any other the complete one. In the former
 * a set's bits mean the victim, its neighbours, then the rest; signers' bits the other members of
 * the committee, then the rest: so that seeds need not know what order the hashes give.
 *
 * Whatever it does: no part in a session that its policy or its roster forbids, one signed set and
 * one answer a session, of each peer one kind of share, of the kind that a quorum signed; and after
 * a failure nothing at all. Spec 5.1.2, Spec 5.3.2, Spec 5.5.1, Spec 5.5.3, Spec 5.7.1, Spec 5.8.1,
 * Spec 5.9, Spec 6.3. */
#include <stdint.h>
#include <string.h>

#include "proto/sa_graph.h"
#include "proto/sa_params.h"
#include "proto/sa_wire.h"
#include "proto/x509.h"
#include "tests/fuzz/script.h"
#include "tests/support/sa_cohort.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DEVICES = 7, DIM = 6, OPS = 60, VICTIM = 0, RING = 0xff };

typedef struct game {
    cohort *c;
    uint8_t ctx[32];
    size_t said[SHOAL_SA_DONE]; /* messages of the victim, by stage */
    shoal_sa_entry advertised;  /* by the victim: the keys, the nonce, the commitment */
    shoal_sa_graph graph;       /* of the roster that the victim took; n = 0 before */
    uint8_t roster_hash[32];    /* of it */
    size_t own;                 /* the victim's index in it */
    shoal_sa_set dealt;         /* of the delivery that the victim took */
    shoal_sa_set u2;            /* of the members that it took */
    bool signed_any;
    shoal_sa_set signed_set; /* that the victim signed */
    shoal_sa_set asked;      /* U3 of the request at hand */
    size_t vouchers;         /* right signatures of members of it, of the committee */
} game;

/* ---- promises ---- */

/* Itself, both minima, and t holders of its secrets: said again, as the code under test says it. */
static bool enough(const game *g, const shoal_sa_set *set)
{
    size_t holders = g->graph.complete ? 1 : 0;
    for (size_t j = 1; j <= g->graph.n; j++) {
        bool there = shoal_sa_set_has(set, j) && shoal_sa_graph_adjacent(&g->graph, g->own, j);
        holders += there ? 1 : 0;
    }
    return shoal_sa_set_has(set, g->own) && holders >= g->graph.t &&
           shoal_sa_set_count(set) >= g->c->d.n_min;
}

/* Spec 5.3.2: all keys distinct, and canonical. */
static void check_distinct(const shoal_sa_roster *r)
{
    for (size_t a = 0; a < 2 * r->n; a++) {
        const shoal_sa_entry *x = &r->entries[a / 2];
        const uint8_t *key = a % 2 == 0 ? x->epk_enc : x->epk_mask;
        must(shoal_sa_key_canonical(key));
        for (size_t b = 0; b < a; b++) {
            const shoal_sa_entry *y = &r->entries[b / 2];
            must(memcmp(key, b % 2 == 0 ? y->epk_enc : y->epk_mask, 32) != 0);
        }
    }
}

/* Appends M1 as its entry and its certificate say; without the signature. */
static void put_advert(const game *g, shoal_buf *out, const shoal_sa_entry *e,
                       const shoal_sa_credential *k)
{
    shoal_sa_advert m = {.cert = k->cert, .cert_n = k->cert_n};
    memcpy(m.epk_enc, e->epk_enc, 32);
    memcpy(m.epk_mask, e->epk_mask, 32);
    memcpy(m.nonce, e->nonce, 32);
    memcpy(m.com_b, e->com_b, 32);
    shoal_sa_put_advert(out, g->c->d.session_id, &m);
}

/* Spec 5.3.2: a neighbour's certificate is the CA's and the entry's, and M1 is signed by its key.
 */
static void check_neighbour(const game *g, const shoal_sa_entry *e, const shoal_sa_credential *k)
{
    uint8_t hash[32];
    shoal_cert_info info;
    shoal_buf m1 = shoal_buf_init(4096);
    must(shoal_cert_check(g->c->ca.data, g->c->ca.len, k->cert, k->cert_n, SHOAL_CERT_CLIENT,
                          COHORT_NOW, &info, NULL) == SHOAL_OK);
    must(memcmp(info.id, e->client_id, SHOAL_ID_BYTES) == 0);
    must(shoal_sha256(k->cert, k->cert_n, hash, NULL) == SHOAL_OK);
    must(memcmp(hash, e->cert_hash, 32) == 0);
    put_advert(g, &m1, e, k);
    (void)shoal_buf_put(&m1, k->sig, SHOAL_SIG_BYTES);
    must(shoal_sa_verify_tail(m1.data, m1.len, info.spki, "shoal/sa1/advertise", g->ctx, NULL) ==
         SHOAL_OK);
    shoal_buf_clear(&m1);
}

static void note_advert(game *g, const shoal_buf *b)
{
    shoal_sa_advert m;
    must(shoal_sa_read_advert(b->data, b->len, g->c->d.session_id, &m, NULL) == SHOAL_OK);
    memcpy(g->advertised.epk_enc, m.epk_enc, 32);
    memcpy(g->advertised.epk_mask, m.epk_mask, 32);
    memcpy(g->advertised.nonce, m.nonce, 32);
    memcpy(g->advertised.com_b, m.com_b, 32);
}

/* Spec 5.3.2: its own entry says what it advertised. */
static void check_own_entry(game *g, const shoal_sa_roster *r)
{
    const device *victim = &g->c->dev[VICTIM];
    const shoal_sa_entry *m = &g->advertised;
    for (size_t i = 0; i < r->n; i++) {
        const shoal_sa_entry *e = &r->entries[i];
        if (memcmp(e->client_id, victim->id, SHOAL_ID_BYTES) != 0) continue;
        g->own = i + 1;
        must(memcmp(e->epk_enc, m->epk_enc, 32) == 0 && memcmp(e->epk_mask, m->epk_mask, 32) == 0);
        must(memcmp(e->nonce, m->nonce, 32) == 0 && memcmp(e->com_b, m->com_b, 32) == 0);
    }
    must(g->own != 0);
}

static void note_roster(game *g, const shoal_buf *m)
{
    static shoal_sa_roster r;
    must(shoal_sa_read_roster(m->data, m->len, g->c->d.session_id, &r, NULL) == SHOAL_OK);
    must(r.n >= g->c->d.n_min && r.n <= g->c->d.codec.n_max);
    check_own_entry(g, &r);
    check_distinct(&r);
    must(shoal_sa_roster_hash(r.entries, r.n, g->ctx, g->roster_hash, NULL) == SHOAL_OK);
    must(shoal_sa_graph_open(&g->graph, &g->c->d, r.n, g->roster_hash, NULL) == SHOAL_OK);
    must(r.n_credentials == g->graph.k);
    for (size_t i = 0; i < r.n_credentials; i++) { /* indices rise strictly: each one once */
        const shoal_sa_credential *k = &r.credentials[i];
        must(shoal_sa_graph_adjacent(&g->graph, g->own, k->index));
        check_neighbour(g, &r.entries[k->index - 1], k);
    }
    shoal_sa_roster_clear(&r);
}

static void check_signature(game *g, const shoal_buf *m)
{
    uint8_t sig[SHOAL_SIG_BYTES];
    must(shoal_sa_read_signature(m->data, m->len, g->c->d.session_id, g->graph.n, &g->signed_set,
                                 sig, NULL) == SHOAL_OK);
    must(shoal_sa_set_has(&g->graph.committee, g->own));
    must(enough(g, &g->signed_set));
    must(shoal_sa_set_subset(&g->signed_set, &g->u2));
    g->signed_any = true;
}

static void check_reveals(game *g, const shoal_buf *m)
{
    static shoal_sa_reveals r;
    must(shoal_sa_read_unmask(m->data, m->len, g->c->d.session_id, &r, NULL) == SHOAL_OK);
    must(enough(g, &g->asked));
    must(shoal_sa_set_subset(&g->asked, &g->u2));
    must(g->vouchers >= g->graph.q);
    must(!g->signed_any || shoal_sa_set_equal(&g->asked, &g->signed_set));
    for (size_t k = 0; k < r.n; k++) { /* indices rise strictly: one item, one kind a peer */
        bool alive = shoal_sa_set_has(&g->asked, r.items[k].index);
        must(shoal_sa_set_has(&g->u2, r.items[k].index));
        must(r.items[k].kind == (alive ? SHOAL_SA_REVEAL_B : SHOAL_SA_REVEAL_SK));
    }
}

static void note_delivery(game *g, const shoal_buf *m)
{
    static shoal_sa_boxes boxes;
    size_t due = 0;
    must(shoal_sa_read_delivery(m->data, m->len, g->c->d.session_id, g->graph.n, &g->dealt, &boxes,
                                NULL) == SHOAL_OK);
    must(enough(g, &g->dealt));
    for (size_t j = 1; j <= g->graph.n; j++) {
        if (!shoal_sa_set_has(&g->dealt, j)) continue;
        if (!shoal_sa_graph_adjacent(&g->graph, g->own, j)) continue;
        must(due < boxes.n && boxes.items[due].peer == j);
        due++;
    }
    must(due == boxes.n);
}

static void note_members(game *g, const shoal_buf *m)
{
    must(shoal_sa_read_members(m->data, m->len, g->c->d.session_id, g->graph.n, &g->u2, NULL) ==
         SHOAL_OK);
    must(enough(g, &g->u2));
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
    if (stage == SHOAL_SA_ADVERTISE) note_advert(g, out);
    if (stage == SHOAL_SA_SHARES) note_roster(g, in);
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

/* In the k-regular graph bits go first to those that `before` puts first: 0, 1, 2. */
static shoal_sa_set pick(const game *g, unsigned bits,
                         unsigned (*before)(const game *g, size_t index))
{
    shoal_sa_set s = {{0}};
    bool ordered = g->graph.n > 0 && !g->graph.complete;
    for (unsigned rank = 0, at = 0; rank < 3; rank++) {
        for (size_t i = 1; i <= DEVICES; i++) {
            if ((ordered ? before(g, i) : 0) != rank) continue;
            if ((bits >> at++ & 1u) != 0) shoal_sa_set_add(&s, i);
        }
    }
    return s;
}

static unsigned near_first(const game *g, size_t i)
{
    if (i == g->own) return 0;
    return shoal_sa_graph_adjacent(&g->graph, g->own, i) ? 1 : 2;
}

static unsigned committee_first(const game *g, size_t i)
{
    if (i == g->own) return 2;
    return shoal_sa_set_has(&g->graph.committee, i) ? 0 : 1;
}

static shoal_sa_set set_of(const game *g, unsigned bits)
{
    return pick(g, bits, near_first);
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
    shoal_sa_set u3 = set_of(g, script_byte(s));
    shoal_buf b = shoal_buf_init(256);
    shoal_sa_put_claim(&b, g->c->d.session_id, DEVICES, &u3);
    feed(g, SHOAL_SA_SURVIVORS, &b);
    shoal_buf_clear(&b);
}

/* Signatures of colluding devices for any set; of the victim only what it gave. */
static void vouch(game *g, shoal_sa_quorum *q, unsigned bits, const shoal_sa_set *u3)
{
    shoal_sa_survivors what = {
        .ctx = g->ctx, .roster_hash = g->roster_hash, .roster_n = DEVICES, .u3 = u3};
    shoal_sa_set signers = pick(g, bits, committee_first);
    for (uint16_t j = 1; j <= DEVICES; j++) {
        if (!shoal_sa_set_has(&signers, j)) continue;
        size_t i = device_at(g, j);
        const device *dev = &g->c->dev[i];
        bool given = i != VICTIM || (g->signed_any && shoal_sa_set_equal(u3, &g->signed_set));
        shoal_sa_voucher *v = &q->items[q->n++];
        *v = (shoal_sa_voucher){.index = j, .cert = dev->cert.data};
        v->cert_n = g->graph.complete ? 0 : dev->cert.len;
        memset(v->sig, 1, SHOAL_SIG_BYTES);
        if (given) must(shoal_sa_survivors_sign(&what, dev->key, v->sig, NULL) == SHOAL_OK);
        given = given && shoal_sa_set_has(u3, j) && shoal_sa_set_has(&g->graph.committee, j);
        g->vouchers += given ? 1 : 0;
    }
}

static void forged_request(game *g, script *s)
{
    static shoal_sa_quorum q;
    shoal_buf b = shoal_buf_init(4096);
    g->asked = set_of(g, script_byte(s));
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
        less = set_of(g, keep);
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

/* A delivery whose boxes are not those of its set. */
static void spare_boxes(game *g, script *s)
{
    static shoal_sa_boxes boxes;
    shoal_sa_set dealt;
    shoal_buf b = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
    if (shoal_sa_server_message(g->c->server, SHOAL_SA_SHARES, g->c->dev[VICTIM].id, &b,
                                &g->c->err) == SHOAL_OK &&
        shoal_sa_read_delivery(b.data, b.len, g->c->d.session_id, DEVICES, &dealt, &boxes, NULL) ==
            SHOAL_OK) {
        dealt = set_of(g, script_byte(s));
        boxes.n -= script_byte(s) % (boxes.n + 1);
        b.len = 0;
        shoal_sa_put_delivery(&b, g->c->d.session_id, DEVICES, &dealt, &boxes);
        feed(g, SHOAL_SA_CONFIRM, &b);
    }
    shoal_buf_clear(&b);
}

static void forged_members(game *g, script *s)
{
    shoal_sa_set u2 = set_of(g, script_byte(s));
    shoal_buf b = shoal_buf_init(256);
    shoal_sa_put_members(&b, g->c->d.session_id, DEVICES, &u2);
    feed(g, SHOAL_SA_INPUT, &b);
    shoal_buf_clear(&b);
}

/* ---- a roster of the server's making ---- */

/* M1 of one credential signed again, by a device that colludes. The victim's M1 stays as it is. */
static void sign_again(game *g, shoal_sa_roster *r, shoal_sa_credential *k, size_t signer)
{
    static uint8_t sig[SHOAL_SIG_BYTES + 4096];
    shoal_buf m1 = shoal_buf_init(sizeof sig);
    put_advert(g, &m1, &r->entries[k->index - 1], k);
    must(shoal_sa_sign_tail(&m1, 0, g->c->dev[signer].key, "shoal/sa1/advertise", g->ctx, NULL) ==
         SHOAL_OK);
    memcpy(sig, m1.data + m1.len - SHOAL_SIG_BYTES, SHOAL_SIG_BYTES);
    k->sig = sig;
    shoal_buf_clear(&m1);
}

/* What the server does to a neighbour's credential; the rest of the roster fits. */
static void falsify(game *g, shoal_sa_roster *r, unsigned how, size_t which, shoal_buf *cert)
{
    shoal_sa_credential *k = &r->credentials[which % r->n_credentials];
    shoal_sa_entry *e = &r->entries[k->index - 1];
    size_t i = device_at(g, k->index);
    size_t signer = i;
    switch (how) {
    case 0: e->nonce[0] ^= (uint8_t)(which + 1); break; /* signed again: a right one */
    case 1: memcpy(e->epk_enc, r->entries[0].epk_mask, 32); break;
    case 2: memset(e->epk_mask, 0xff, 32); break;
    case 3:
    case 4: cohort_other_cert(g->c, i, how == 3, cert); break;
    case 5: /* another device under this name */
        signer = i % (DEVICES - 1) + 1;
        (void)shoal_buf_put(cert, g->c->dev[signer].cert.data, g->c->dev[signer].cert.len);
        break;
    default: e->nonce[0] ^= 1; return; /* not signed again */
    }
    if (cert->len > 0) {
        k->cert = cert->data;
        k->cert_n = cert->len;
        if (how != 4) must(shoal_sha256(cert->data, cert->len, e->cert_hash, NULL) == SHOAL_OK);
    }
    sign_again(g, r, k, signer);
}

/* Only the first `left` of those whose certificates came along, and the victim. */
static void shrink(game *g, shoal_sa_roster *r, size_t left)
{
    shoal_sa_roster kept = {.entries = r->entries};
    size_t at = 0;
    for (size_t i = 0; i < r->n; i++) {
        bool own = memcmp(r->entries[i].client_id, g->c->dev[VICTIM].id, SHOAL_ID_BYTES) == 0;
        bool shown = at < r->n_credentials && r->credentials[at].index == i + 1;
        if (shown && at < left) {
            kept.credentials[kept.n_credentials] = r->credentials[at];
            kept.credentials[kept.n_credentials++].index = (uint16_t)(kept.n + 1);
        }
        if (own || (shown && at < left)) kept.entries[kept.n++] = r->entries[i];
        at += shown ? 1 : 0;
    }
    *r = kept;
}

static void forged_roster(game *g, script *s)
{
    static shoal_sa_roster r;
    shoal_buf b = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
    shoal_buf cert = shoal_buf_init(SHOAL_LIMIT_CERT);
    unsigned how = script_byte(s);
    size_t which = script_byte(s);
    shoal_status st = shoal_sa_server_message(g->c->server, SHOAL_SA_ADVERTISE,
                                              g->c->dev[VICTIM].id, &b, &g->c->err);
    if (st == SHOAL_OK) {
        must(shoal_sa_read_roster(b.data, b.len, g->c->d.session_id, &r, NULL) == SHOAL_OK);
        size_t own = 0;
        while (own + 1 < r.n &&
               memcmp(r.entries[own].client_id, g->c->dev[VICTIM].id, SHOAL_ID_BYTES) != 0) {
            own++;
        }
        shoal_sa_entry *any = &r.entries[(own + which) % r.n];
        if (how % 16 < 7) falsify(g, &r, how % 16, which, &cert);
        if (how % 16 == 7) any->com_b[0] ^= 1;
        if (how % 16 == 8) memcpy(any->epk_mask, any->epk_enc, 32);
        if (how % 16 == 9) shrink(g, &r, which % 8);
        if (how % 16 == 10) r.n_credentials -= r.n_credentials > 0 ? 1 : 0;
        if (how % 16 == 11) any->cert_hash[0] ^= 1;
        shoal_buf forged = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
        shoal_sa_put_roster(&forged, g->c->d.session_id, &r);
        feed(g, SHOAL_SA_SHARES, &forged);
        shoal_buf_clear(&forged);
        shoal_sa_roster_clear(&r);
    }
    shoal_buf_clear(&cert);
    shoal_buf_clear(&b);
}

/* ---- a session that the owner did not allow ---- */

static void bend(shoal_sa_descriptor *d, unsigned how, unsigned by)
{
    switch (how) {
    case 1: d->round = by; break;
    case 2: d->task_id[0] ^= (uint8_t)by; break;
    case 3: d->base_model_hash[0] ^= (uint8_t)by; break;
    case 4: d->adapter_hash[0] ^= (uint8_t)by; break;
    case 5: d->n_min = by; break;
    case 6: d->codec.ring_bits = by; break;
    case 7: d->codec.dim = by; break;
    case 8: d->codec.clip_norm = by; break;
    case 9: d->codec.weight_max = by; break;
    case 10: d->committee = by; break;
    case 11:
        d->degree = by & 0x0e;
        d->threshold = by >> 4;
        break;
    default: break;
    }
}

/* Spec 5.1.2, said again. */
static bool allowed(const shoal_sa_client_options *opt, const shoal_sa_descriptor *d)
{
    const shoal_sa_policy *p = &opt->policy;
    shoal_sa_graph graph = shoal_sa_graph_shape(d, d->codec.n_max);
    shoal_sa_rules rules = {
        .corrupt = p->corrupt, .dropout = p->dropout, .security_bits = p->security_bits};
    return memcmp(d->task_id, opt->task_id, sizeof d->task_id) == 0 &&
           memcmp(d->base_model_hash, opt->base_model_hash, 32) == 0 &&
           memcmp(d->adapter_hash, opt->adapter_hash, 32) == 0 && d->round > opt->last_round &&
           d->n_min >= p->n_min && d->codec.ring_bits >= p->ring_bits_min &&
           d->codec.dim == p->dim && d->codec.clip_norm <= p->clip_norm_max &&
           d->codec.weight_max <= p->weight_max &&
           (d->committee >= p->committee_min || d->committee >= d->codec.n_max) &&
           (graph.complete || (d->codec.n_max > SHOAL_LIMIT_COMPLETE &&
                               shoal_sa_params_private(&rules, d->codec.n_max, graph.k, graph.t)));
}

/* Another device, with a policy, and a descriptor that differs in one field, or is not the task's.
 */
static void forged_descriptor(game *g, script *s)
{
    shoal_sa_client *k = NULL;
    shoal_sa_client_options opt = cohort_options(g->c, VICTIM);
    shoal_sa_descriptor d = g->c->d;
    shoal_buf b = shoal_buf_init(SHOAL_LIMIT_DESCRIPTOR);
    unsigned how = script_byte(s) % 16;
    opt.last_round = 5;
    opt.policy.n_min = 4;
    opt.policy.ring_bits_min = 20;
    opt.policy.clip_norm_max = 2;
    opt.policy.weight_max = 8;
    opt.policy.committee_min = 5;
    opt.policy.security_bits = 40;
    opt.policy.corrupt = 0.3; /* of eight, some */
    d.round = 6;
    d.n_min = 4;
    d.degree = 0;
    d.threshold = 0;
    bend(&d, how, script_byte(s));
    const shoal_key *signer = how == 12 ? g->c->ca_key : g->c->task_key;
    if (shoal_codec_fit_scale(&d.codec, NULL) == SHOAL_OK &&
        shoal_sa_descriptor_sign(&d, signer, &b, NULL) == SHOAL_OK) {
        if (how == 13) b.data[script_byte(s) % b.len] ^= 1;
        shoal_status st = shoal_sa_client_open(&k, &opt, b.data, b.len, NULL);
        must((st == SHOAL_OK) == (k != NULL));
        must(st != SHOAL_OK || (how != 12 && how != 13 && allowed(&opt, &d)));
        shoal_sa_client_close(k);
    }
    shoal_buf_clear(&b);
}

static void raw(game *g, script *s, shoal_sa_stage stage)
{
    shoal_buf b = shoal_buf_init(512);
    script_take(s, &b);
    g->asked = set_of(g, 0);
    g->vouchers = 0;
    feed(g, stage, &b);
    shoal_buf_clear(&b);
}

static void move(game *g, script *s)
{
    unsigned op = script_byte(s);
    shoal_sa_stage stage = (shoal_sa_stage)((op >> 4) % SHOAL_SA_DONE);
    switch (op % 16) {
    case 0: others_go_on(g); break;
    case 1: served(g, s, stage, false); break;
    case 2: forged_members(g, s); break;
    case 3: served(g, s, stage, true); break;
    case 4: forged_claim(g, s); break;
    case 5: forged_request(g, s); break;
    case 6: thinned_delivery(g, s); break;
    case 8: forged_roster(g, s); break;
    case 9: forged_descriptor(g, s); break;
    case 10: spare_boxes(g, s); break;
    default: raw(g, s, stage); break;
    }
}

static cohort *open_cohort(bool ring)
{
    static cohort complete, regular;
    cohort *c = ring ? &regular : &complete;
    if (c->n > 0) return c;
    cohort_open(c, DEVICES, DIM, 3);
    if (ring) {
        c->d.degree = 4;
        c->d.threshold = 3;
        c->d.committee = 5;
        c->d.n_min = 5; /* more than a device and t of its neighbours: each of both decides once */
    }
    return c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    script s = shoal_cursor_init(data, size);
    bool ring = size > 0 && data[0] == RING;
    cohort *c = open_cohort(ring);
    shoal_sa_descriptor d;
    if (ring) (void)script_byte(&s);
    for (size_t i = 0; i < DEVICES; i++) {
        test_entropy_init(&c->dev[i].entropy, 300 + i);
    }
    cohort_start(c);
    game g = {.c = c};
    must(shoal_sa_descriptor_open(c->descriptor.data, c->descriptor.len, c->task_spki, &d, g.ctx,
                                  NULL) == SHOAL_OK);
    for (size_t k = 0; k < OPS && s.left > 0; k++) {
        move(&g, &s);
    }
    shoal_sa_graph_close(&g.graph);
    return 0;
}
