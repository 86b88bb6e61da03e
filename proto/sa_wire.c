/* sa_wire.c - canonical bytes of SA-1. */
#include "proto/sa_wire.h"

#include <string.h>

#include "kernels/base/mem.h"

#include "proto/sa_label.h"

enum {
    M1_ADVERTISE = 1,
    M2_ROSTER = 2,
    M3_SHARES = 3,
    M4_DELIVERY = 4,
    M5_INPUT = 5,
    M6_CLAIM = 6,
    M6_SIGNATURE = 7,
    M7_REQUEST = 8,
    M8_UNMASK = 9,
    M4_CONFIRM = 10,
    M4_MEMBERS = 11
};

/* ---- heads, tails, sets ---- */

static void put_head(shoal_buf *out, uint8_t type, const uint8_t *session)
{
    (void)shoal_buf_put_u8(out, type);
    (void)shoal_buf_put_u8(out, SHOAL_SA_VERSION);
    (void)shoal_buf_put(out, session, SHOAL_SA_SESSION_BYTES);
}

/* A cursor after a right head; otherwise a failed one. Spec 1.8; order is checked where items are
 * read. */
static shoal_cursor open_message(const void *data, size_t n, uint8_t type, const uint8_t *session)
{
    shoal_cursor c = shoal_cursor_init(data, n);
    uint8_t got = shoal_cursor_u8(&c);
    uint8_t version = shoal_cursor_u8(&c);
    const uint8_t *id = shoal_cursor_bytes(&c, SHOAL_SA_SESSION_BYTES);
    if (id == NULL || got != type || version != SHOAL_SA_VERSION ||
        memcmp(id, session, SHOAL_SA_SESSION_BYTES) != 0) {
        c.failed = true;
    }
    return c;
}

static shoal_status close_message(const shoal_cursor *c, bool ordered, const char *name,
                                  shoal_error *err)
{
    if (!shoal_cursor_done(c) || !ordered) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "a malformed %s message", name);
    }
    return SHOAL_OK;
}

/* A count of at most max; the cursor fails otherwise. */
static size_t read_count(shoal_cursor *c, size_t max)
{
    size_t n = shoal_cursor_u16(c);
    if (n > max) {
        c->failed = true;
    }
    return c->failed ? 0 : n;
}

static void put_set(shoal_buf *out, size_t roster_n, const shoal_sa_set *s)
{
    for (size_t byte = 0; byte < (roster_n + 7) / 8; byte++) {
        (void)shoal_buf_put_u8(out, (uint8_t)(s->w[byte / 8] >> (8 * (byte % 8))));
    }
}

static void read_set(shoal_cursor *c, size_t roster_n, shoal_sa_set *s)
{
    memset(s, 0, sizeof *s);
    if (roster_n > SHOAL_LIMIT_COHORT_MAX) {
        c->failed = true;
        return;
    }
    for (size_t byte = 0; byte < (roster_n + 7) / 8; byte++) {
        s->w[byte / 8] |= (uint64_t)shoal_cursor_u8(c) << (8 * (byte % 8));
    }
    for (size_t i = roster_n + 1; i <= SHOAL_LIMIT_COHORT_MAX; i++) {
        if (shoal_sa_set_has(s, i)) {
            c->failed = true;
        }
    }
}

/* u16 n, which must be the roster's, and the set. */
static void read_sized_set(shoal_cursor *c, size_t roster_n, shoal_sa_set *s)
{
    if (shoal_cursor_u16(c) != roster_n) {
        c->failed = true;
    }
    read_set(c, roster_n, s);
}

shoal_status shoal_sa_sign_tail(shoal_buf *out, size_t start, const shoal_key *key,
                                const char *label, const uint8_t ctx[32], shoal_error *err)
{
    uint8_t sig[SHOAL_SIG_BYTES];
    SHOAL_TRY(shoal_buf_status(out, err));
    SHOAL_TRY(shoal_sa_sign(key, label, ctx, out->data + start, out->len - start, sig, err));
    (void)shoal_buf_put(out, sig, sizeof sig);
    return shoal_buf_status(out, err);
}

shoal_status shoal_sa_verify_tail(const void *data, size_t n, const uint8_t spki[SHOAL_SPKI_BYTES],
                                  const char *label, const uint8_t ctx[32], shoal_error *err)
{
    if (n < SHOAL_SIG_BYTES)
        return shoal_fail(err, SHOAL_ERR_FORMAT, "a message without signature");
    size_t body = n - SHOAL_SIG_BYTES;
    return shoal_sa_verify(spki, label, ctx, data, body, (const uint8_t *)data + body, err);
}

/* ---- M1 ---- */

void shoal_sa_put_advert(shoal_buf *out, const uint8_t *session, const shoal_sa_advert *m)
{
    put_head(out, M1_ADVERTISE, session);
    (void)shoal_buf_put(out, m->epk_enc, 32);
    (void)shoal_buf_put(out, m->epk_mask, 32);
    (void)shoal_buf_put(out, m->nonce, 32);
    (void)shoal_buf_put(out, m->com_b, 32);
    (void)shoal_buf_put_u16(out, (uint16_t)m->cert_n);
    (void)shoal_buf_put(out, m->cert, m->cert_n);
}

/* u16 length and that many bytes of certificate. */
static const uint8_t *read_cert(shoal_cursor *c, size_t *n)
{
    *n = shoal_cursor_u16(c);
    if (*n > SHOAL_LIMIT_CERT) {
        c->failed = true;
    }
    return shoal_cursor_bytes(c, *n);
}

shoal_status shoal_sa_read_advert(const void *data, size_t n, const uint8_t *session,
                                  shoal_sa_advert *out, shoal_error *err)
{
    shoal_cursor c = open_message(data, n, M1_ADVERTISE, session);
    (void)shoal_cursor_copy(&c, out->epk_enc, 32);
    (void)shoal_cursor_copy(&c, out->epk_mask, 32);
    (void)shoal_cursor_copy(&c, out->nonce, 32);
    (void)shoal_cursor_copy(&c, out->com_b, 32);
    out->cert = read_cert(&c, &out->cert_n);
    out->sig = shoal_cursor_bytes(&c, SHOAL_SIG_BYTES);
    return close_message(&c, true, "advertise", err);
}

/* ---- M2 ---- */

static void put_entry(shoal_buf *out, const shoal_sa_entry *e)
{
    (void)shoal_buf_put(out, e->client_id, SHOAL_ID_BYTES);
    (void)shoal_buf_put(out, e->epk_enc, 32);
    (void)shoal_buf_put(out, e->epk_mask, 32);
    (void)shoal_buf_put(out, e->nonce, 32);
    (void)shoal_buf_put(out, e->com_b, 32);
    (void)shoal_buf_put(out, e->cert_hash, 32);
}

static void read_entry(shoal_cursor *c, shoal_sa_entry *e)
{
    (void)shoal_cursor_copy(c, e->client_id, SHOAL_ID_BYTES);
    (void)shoal_cursor_copy(c, e->epk_enc, 32);
    (void)shoal_cursor_copy(c, e->epk_mask, 32);
    (void)shoal_cursor_copy(c, e->nonce, 32);
    (void)shoal_cursor_copy(c, e->com_b, 32);
    (void)shoal_cursor_copy(c, e->cert_hash, 32);
}

void shoal_sa_put_entries(shoal_buf *out, const uint8_t *session, const shoal_sa_entry *entries,
                          size_t n)
{
    put_head(out, M2_ROSTER, session);
    (void)shoal_buf_put_u16(out, (uint16_t)n);
    for (size_t i = 0; i < n; i++) {
        put_entry(out, &entries[i]);
    }
}

void shoal_sa_put_credentials(shoal_buf *out, const shoal_sa_roster *m)
{
    (void)shoal_buf_put_u16(out, (uint16_t)m->n_credentials);
    for (size_t i = 0; i < m->n_credentials; i++) {
        const shoal_sa_credential *k = &m->credentials[i];
        (void)shoal_buf_put_u16(out, k->index);
        (void)shoal_buf_put_u16(out, (uint16_t)k->cert_n);
        (void)shoal_buf_put(out, k->cert, k->cert_n);
        (void)shoal_buf_put(out, k->sig, SHOAL_SIG_BYTES);
    }
}

void shoal_sa_put_roster(shoal_buf *out, const uint8_t *session, const shoal_sa_roster *m)
{
    shoal_sa_put_entries(out, session, m->entries, m->n);
    shoal_sa_put_credentials(out, m);
}

void shoal_sa_roster_clear(shoal_sa_roster *m)
{
    shoal_free(m->entries);
    *m = (shoal_sa_roster){.n = 0};
}

/* False when they are out of order. */
static bool read_entries(shoal_cursor *c, shoal_sa_roster *m)
{
    bool ordered = true;
    for (size_t i = 0; i < m->n; i++) {
        shoal_sa_entry *e = &m->entries[i];
        read_entry(c, e);
        ordered = ordered && (i == 0 || memcmp(e[-1].client_id, e->client_id, SHOAL_ID_BYTES) < 0);
    }
    return ordered;
}

shoal_status shoal_sa_read_roster(const void *data, size_t n, const uint8_t *session,
                                  shoal_sa_roster *out, shoal_error *err)
{
    memset(out, 0, sizeof *out);
    shoal_cursor c = open_message(data, n, M2_ROSTER, session);
    size_t count = read_count(&c, SHOAL_LIMIT_COHORT_MAX);
    if (count > c.left / SHOAL_SA_ENTRY_BYTES) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "a malformed roster message");
    }
    out->entries = shoal_calloc(count + 1, sizeof *out->entries);
    if (out->entries == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a roster");
    out->n = count;
    bool ordered = read_entries(&c, out);
    out->n_credentials = read_count(&c, SHOAL_LIMIT_DEGREE);
    for (size_t i = 0; i < out->n_credentials; i++) {
        shoal_sa_credential *k = &out->credentials[i];
        k->index = shoal_cursor_u16(&c);
        k->cert = read_cert(&c, &k->cert_n);
        k->sig = shoal_cursor_bytes(&c, SHOAL_SIG_BYTES);
        ordered = ordered && (i == 0 || k[-1].index < k->index);
    }
    return close_message(&c, ordered, "roster", err);
}

static const char roster_label[] = "shoal/sa1/roster";
static const char commit_label[] = "shoal/sa1/comb";

shoal_status shoal_sa_roster_hash(const shoal_sa_entry *entries, size_t n, const uint8_t ctx[32],
                                  uint8_t out[32], shoal_error *err)
{
    const uint8_t count[4] = {(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16),
                              (uint8_t)(n >> 24)};
    shoal_sha256_ctx h;
    shoal_sha256_init(&h);
    shoal_sha256_update(&h, roster_label, sizeof roster_label); /* terminator = 00 */
    shoal_sha256_update(&h, ctx, 32);
    shoal_sha256_update(&h, count, sizeof count);
    for (size_t i = 0; i < n; i++) {
        const shoal_sa_entry *e = &entries[i];
        shoal_sha256_update(&h, e->client_id, SHOAL_ID_BYTES);
        shoal_sha256_update(&h, e->epk_enc, 32);
        shoal_sha256_update(&h, e->epk_mask, 32);
        shoal_sha256_update(&h, e->nonce, 32);
        shoal_sha256_update(&h, e->com_b, 32);
        shoal_sha256_update(&h, e->cert_hash, 32);
    }
    return shoal_sha256_final(&h, out, err);
}

shoal_status shoal_sa_commit(const uint8_t ctx[32], const uint8_t *client_id, const uint8_t b[32],
                             uint8_t out[32], shoal_error *err)
{
    shoal_sha256_ctx h;
    shoal_sha256_init(&h);
    shoal_sha256_update(&h, commit_label, sizeof commit_label); /* terminator = 00 */
    shoal_sha256_update(&h, ctx, 32);
    shoal_sha256_update(&h, client_id, SHOAL_ID_BYTES);
    shoal_sha256_update(&h, b, 32);
    return shoal_sha256_final(&h, out, err);
}

bool shoal_sa_key_canonical(const uint8_t key[32])
{
    if (key[31] > 0x7f) return false;
    if (key[31] < 0x7f || key[0] < 0xed) return true;
    for (size_t i = 1; i < 31; i++) {
        if (key[i] != 0xff) return true;
    }
    return false;
}

/* ---- M3, M4 ---- */

static void put_boxes(shoal_buf *out, const shoal_sa_boxes *m)
{
    (void)shoal_buf_put_u16(out, (uint16_t)m->n);
    for (size_t i = 0; i < m->n; i++) {
        (void)shoal_buf_put_u16(out, m->items[i].peer);
        (void)shoal_buf_put(out, m->items[i].nonce, SHOAL_AEAD_NONCE_BYTES);
        (void)shoal_buf_put(out, m->items[i].sealed, SHOAL_SA_BOX_BYTES);
    }
}

/* False when the items are out of order. */
static bool read_boxes(shoal_cursor *c, shoal_sa_boxes *m)
{
    bool ordered = true;
    m->n = read_count(c, SHOAL_LIMIT_DEGREE);
    for (size_t i = 0; i < m->n; i++) {
        shoal_sa_box *box = &m->items[i];
        box->peer = shoal_cursor_u16(c);
        (void)shoal_cursor_copy(c, box->nonce, SHOAL_AEAD_NONCE_BYTES);
        (void)shoal_cursor_copy(c, box->sealed, SHOAL_SA_BOX_BYTES);
        ordered = ordered && (i == 0 || box[-1].peer < box->peer);
    }
    return ordered;
}

void shoal_sa_put_shares(shoal_buf *out, const uint8_t *session, const shoal_sa_boxes *m)
{
    put_head(out, M3_SHARES, session);
    put_boxes(out, m);
}

shoal_status shoal_sa_read_shares(const void *data, size_t n, const uint8_t *session,
                                  shoal_sa_boxes *out, shoal_error *err)
{
    shoal_cursor c = open_message(data, n, M3_SHARES, session);
    bool ordered = read_boxes(&c, out);
    (void)shoal_cursor_bytes(&c, SHOAL_SIG_BYTES);
    return close_message(&c, ordered, "shares", err);
}

void shoal_sa_put_delivery(shoal_buf *out, const uint8_t *session, size_t roster_n,
                           const shoal_sa_set *u2, const shoal_sa_boxes *m)
{
    put_head(out, M4_DELIVERY, session);
    put_set(out, roster_n, u2);
    put_boxes(out, m);
}

shoal_status shoal_sa_read_delivery(const void *data, size_t n, const uint8_t *session,
                                    size_t roster_n, shoal_sa_set *u2, shoal_sa_boxes *out,
                                    shoal_error *err)
{
    shoal_cursor c = open_message(data, n, M4_DELIVERY, session);
    read_set(&c, roster_n, u2);
    bool ordered = read_boxes(&c, out);
    return close_message(&c, ordered, "delivery", err);
}

void shoal_sa_put_confirm(shoal_buf *out, const uint8_t *session, const shoal_sa_refusals *m)
{
    put_head(out, M4_CONFIRM, session);
    (void)shoal_buf_put_u16(out, (uint16_t)m->n);
    for (size_t i = 0; i < m->n; i++) {
        (void)shoal_buf_put_u16(out, m->items[i]);
    }
}

shoal_status shoal_sa_read_confirm(const void *data, size_t n, const uint8_t *session,
                                   shoal_sa_refusals *out, shoal_error *err)
{
    bool ordered = true;
    shoal_cursor c = open_message(data, n, M4_CONFIRM, session);
    out->n = read_count(&c, SHOAL_LIMIT_DEGREE);
    for (size_t i = 0; i < out->n; i++) {
        out->items[i] = shoal_cursor_u16(&c);
        ordered = ordered && (i == 0 || out->items[i - 1] < out->items[i]);
    }
    return close_message(&c, ordered, "confirm", err);
}

void shoal_sa_put_members(shoal_buf *out, const uint8_t *session, size_t roster_n,
                          const shoal_sa_set *u2)
{
    put_head(out, M4_MEMBERS, session);
    (void)shoal_buf_put_u16(out, (uint16_t)roster_n);
    put_set(out, roster_n, u2);
}

shoal_status shoal_sa_read_members(const void *data, size_t n, const uint8_t *session,
                                   size_t roster_n, shoal_sa_set *u2, shoal_error *err)
{
    shoal_cursor c = open_message(data, n, M4_MEMBERS, session);
    read_sized_set(&c, roster_n, u2);
    return close_message(&c, true, "members", err);
}

/* ---- M5 ---- */

void shoal_sa_put_input(shoal_buf *out, const uint8_t *session, const shoal_sa_input *m)
{
    put_head(out, M5_INPUT, session);
    (void)shoal_buf_put_u32(out, m->words);
    (void)shoal_buf_put_u32(out, m->ring_bits);
    (void)shoal_buf_put(out, m->hash, 32);
}

shoal_status shoal_sa_read_input(const void *data, size_t n, const uint8_t *session,
                                 shoal_sa_input *out, shoal_error *err)
{
    shoal_cursor c = open_message(data, n, M5_INPUT, session);
    out->words = shoal_cursor_u32(&c);
    out->ring_bits = shoal_cursor_u32(&c);
    (void)shoal_cursor_copy(&c, out->hash, 32);
    (void)shoal_cursor_bytes(&c, SHOAL_SIG_BYTES);
    out->packed_n = c.left;
    out->packed = shoal_cursor_bytes(&c, c.left);
    return close_message(&c, true, "input", err);
}

/* ---- M6, M7 ---- */

void shoal_sa_put_claim(shoal_buf *out, const uint8_t *session, size_t roster_n,
                        const shoal_sa_set *u3)
{
    put_head(out, M6_CLAIM, session);
    (void)shoal_buf_put_u16(out, (uint16_t)roster_n);
    put_set(out, roster_n, u3);
}

shoal_status shoal_sa_read_claim(const void *data, size_t n, const uint8_t *session,
                                 size_t roster_n, shoal_sa_set *u3, shoal_error *err)
{
    shoal_cursor c = open_message(data, n, M6_CLAIM, session);
    read_sized_set(&c, roster_n, u3);
    return close_message(&c, true, "claim", err);
}

static const char survivors_label[] = "shoal/sa1/survivors";

/* Spec 5.7: roster_hash[32] || u16 n || bitmap */
static void put_survivors(shoal_buf *out, const shoal_sa_survivors *s)
{
    (void)shoal_buf_put(out, s->roster_hash, 32);
    (void)shoal_buf_put_u16(out, (uint16_t)s->roster_n);
    put_set(out, s->roster_n, s->u3);
}

shoal_status shoal_sa_survivors_sign(const shoal_sa_survivors *s, const shoal_key *key,
                                     uint8_t sig[SHOAL_SIG_BYTES], shoal_error *err)
{
    shoal_buf b = shoal_buf_init(64 + SHOAL_LIMIT_COHORT_MAX / 8);
    put_survivors(&b, s);
    shoal_status st = shoal_buf_status(&b, err);
    if (st == SHOAL_OK) {
        st = shoal_sa_sign(key, survivors_label, s->ctx, b.data, b.len, sig, err);
    }
    shoal_buf_clear(&b);
    return st;
}

shoal_status shoal_sa_survivors_verify(const shoal_sa_survivors *s,
                                       const uint8_t spki[SHOAL_SPKI_BYTES],
                                       const uint8_t sig[SHOAL_SIG_BYTES], shoal_error *err)
{
    shoal_buf b = shoal_buf_init(64 + SHOAL_LIMIT_COHORT_MAX / 8);
    put_survivors(&b, s);
    shoal_status st = shoal_buf_status(&b, err);
    if (st == SHOAL_OK) {
        st = shoal_sa_verify(spki, survivors_label, s->ctx, b.data, b.len, sig, err);
    }
    shoal_buf_clear(&b);
    return st;
}

void shoal_sa_put_signature(shoal_buf *out, const uint8_t *session, size_t roster_n,
                            const shoal_sa_set *u3, const uint8_t sig[SHOAL_SIG_BYTES])
{
    put_head(out, M6_SIGNATURE, session);
    (void)shoal_buf_put_u16(out, (uint16_t)roster_n);
    put_set(out, roster_n, u3);
    (void)shoal_buf_put(out, sig, SHOAL_SIG_BYTES);
}

shoal_status shoal_sa_read_signature(const void *data, size_t n, const uint8_t *session,
                                     size_t roster_n, shoal_sa_set *u3,
                                     uint8_t sig[SHOAL_SIG_BYTES], shoal_error *err)
{
    shoal_cursor c = open_message(data, n, M6_SIGNATURE, session);
    read_sized_set(&c, roster_n, u3);
    (void)shoal_cursor_copy(&c, sig, SHOAL_SIG_BYTES);
    return close_message(&c, true, "survivors", err);
}

void shoal_sa_put_request(shoal_buf *out, const uint8_t *session, size_t roster_n,
                          const shoal_sa_set *u3, const shoal_sa_quorum *q)
{
    put_head(out, M7_REQUEST, session);
    (void)shoal_buf_put_u16(out, (uint16_t)roster_n);
    put_set(out, roster_n, u3);
    (void)shoal_buf_put_u16(out, (uint16_t)q->n);
    for (size_t i = 0; i < q->n; i++) {
        const shoal_sa_voucher *v = &q->items[i];
        (void)shoal_buf_put_u16(out, v->index);
        (void)shoal_buf_put_u16(out, (uint16_t)v->cert_n);
        (void)shoal_buf_put(out, v->cert, v->cert_n);
        (void)shoal_buf_put(out, v->sig, SHOAL_SIG_BYTES);
    }
}

shoal_status shoal_sa_read_request(const void *data, size_t n, const uint8_t *session,
                                   size_t roster_n, shoal_sa_set *u3, shoal_sa_quorum *q,
                                   shoal_error *err)
{
    bool ordered = true;
    shoal_cursor c = open_message(data, n, M7_REQUEST, session);
    read_sized_set(&c, roster_n, u3);
    q->n = read_count(&c, SHOAL_LIMIT_COMMITTEE);
    for (size_t i = 0; i < q->n; i++) {
        shoal_sa_voucher *v = &q->items[i];
        v->index = shoal_cursor_u16(&c);
        v->cert = read_cert(&c, &v->cert_n);
        (void)shoal_cursor_copy(&c, v->sig, SHOAL_SIG_BYTES);
        ordered = ordered && (i == 0 || v[-1].index < v->index);
    }
    return close_message(&c, ordered, "request", err);
}

/* ---- M8 ---- */

void shoal_sa_put_unmask(shoal_buf *out, const uint8_t *session, const shoal_sa_reveals *m)
{
    put_head(out, M8_UNMASK, session);
    (void)shoal_buf_put_u16(out, (uint16_t)m->n);
    for (size_t i = 0; i < m->n; i++) {
        (void)shoal_buf_put_u16(out, m->items[i].index);
        (void)shoal_buf_put_u8(out, m->items[i].kind);
        (void)shoal_buf_put(out, m->items[i].share, 32);
    }
}

shoal_status shoal_sa_read_unmask(const void *data, size_t n, const uint8_t *session,
                                  shoal_sa_reveals *out, shoal_error *err)
{
    bool ordered = true;
    shoal_cursor c = open_message(data, n, M8_UNMASK, session);
    out->n = read_count(&c, SHOAL_LIMIT_DEGREE);
    for (size_t i = 0; i < out->n; i++) {
        shoal_sa_reveal *r = &out->items[i];
        r->index = shoal_cursor_u16(&c);
        r->kind = shoal_cursor_u8(&c);
        (void)shoal_cursor_copy(&c, r->share, 32);
        ordered = ordered && (i == 0 || r[-1].index < r->index);
    }
    (void)shoal_cursor_bytes(&c, SHOAL_SIG_BYTES);
    return close_message(&c, ordered, "unmask", err);
}
