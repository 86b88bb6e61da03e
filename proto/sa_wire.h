/* sa_wire.h - SA-1 messages M1..M8 <-> canonical bytes. Internal to the two state machines.
 *
 * Encoders append; a signed message is encoded without its signature and then closed by
 * shoal_sa_sign_tail. Decoders check form only: head, session, order, counts, no trailing byte.
 * Pointers in decoded structs point into the message. PROTOCOL.md section 5.
 *
 * Layer: proto/. Threads: pure functions.
 */
#ifndef SHOAL_PROTO_SA_WIRE_H
#define SHOAL_PROTO_SA_WIRE_H

#include "proto/sa.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SHOAL_SA_HEAD_BYTES = 2 + SHOAL_SA_SESSION_BYTES,
    SHOAL_SA_ENTRY_BYTES = 176,
    SHOAL_SA_BOX_BYTES = 64 + SHOAL_AEAD_TAG_BYTES, /* share_b || share_sk, sealed */
    SHOAL_SA_INPUT_HEAD_BYTES = SHOAL_SA_HEAD_BYTES + 8 + 32 + SHOAL_SIG_BYTES
};

/* Signs out->data[start..] under the label and appends the signature. */
SHOAL_MUST_USE shoal_status shoal_sa_sign_tail(shoal_buf *out, size_t start, const shoal_key *key,
                                               const char *label, const uint8_t ctx[32],
                                               shoal_error *err);
/* Verifies a message whose last 64 bytes are its signature. */
SHOAL_MUST_USE shoal_status shoal_sa_verify_tail(const void *data, size_t n,
                                                 const uint8_t spki[SHOAL_SPKI_BYTES],
                                                 const char *label, const uint8_t ctx[32],
                                                 shoal_error *err);

/* ---- M1 ---- */

typedef struct shoal_sa_advert {
    uint8_t epk_enc[32], epk_mask[32], nonce[32], com_b[32];
    const uint8_t *cert;
    size_t cert_n;
    const uint8_t *sig; /* [64]; unused when encoding */
} shoal_sa_advert;

void shoal_sa_put_advert(shoal_buf *out, const uint8_t *session, const shoal_sa_advert *m);
SHOAL_MUST_USE shoal_status shoal_sa_read_advert(const void *data, size_t n, const uint8_t *session,
                                                 shoal_sa_advert *out, shoal_error *err);

/* ---- M2 ---- */

typedef struct shoal_sa_entry {
    uint8_t client_id[SHOAL_ID_BYTES];
    uint8_t epk_enc[32], epk_mask[32], nonce[32], com_b[32], cert_hash[32];
} shoal_sa_entry;

typedef struct shoal_sa_credential {
    uint16_t index;
    const uint8_t *cert;
    size_t cert_n;
    const uint8_t *sig; /* [64] of M1 */
} shoal_sa_credential;

/* entries is allocated by read and freed by clear. */
typedef struct shoal_sa_roster {
    size_t n;
    shoal_sa_entry *entries; /* [n] */
    size_t n_credentials;
    shoal_sa_credential credentials[SHOAL_LIMIT_DEGREE];
} shoal_sa_roster;

void shoal_sa_roster_clear(shoal_sa_roster *m);
/* M2 is what is the same for all, then the reader's credentials. */
void shoal_sa_put_entries(shoal_buf *out, const uint8_t *session, const shoal_sa_entry *entries,
                          size_t n);
void shoal_sa_put_credentials(shoal_buf *out, const shoal_sa_roster *m);
void shoal_sa_put_roster(shoal_buf *out, const uint8_t *session, const shoal_sa_roster *m);
SHOAL_MUST_USE shoal_status shoal_sa_read_roster(const void *data, size_t n, const uint8_t *session,
                                                 shoal_sa_roster *out, shoal_error *err);
/* Spec 5.3.1 */
SHOAL_MUST_USE shoal_status shoal_sa_roster_hash(const shoal_sa_entry *entries, size_t n,
                                                 const uint8_t ctx[32], uint8_t out[32],
                                                 shoal_error *err);
/* Spec 5.2: com_b */
SHOAL_MUST_USE shoal_status shoal_sa_commit(const uint8_t ctx[32], const uint8_t *client_id,
                                            const uint8_t b[32], uint8_t out[32], shoal_error *err);
/* Canonical X25519 values only: below 2^255 - 19, so that equal keys have equal bytes. */
bool shoal_sa_key_canonical(const uint8_t key[32]);

/* ---- M3, M4 ---- */

typedef struct shoal_sa_box {
    uint16_t peer; /* M3: for whom; M4: from whom */
    uint8_t nonce[SHOAL_AEAD_NONCE_BYTES];
    uint8_t sealed[SHOAL_SA_BOX_BYTES];
} shoal_sa_box;

typedef struct shoal_sa_boxes {
    size_t n;
    shoal_sa_box items[SHOAL_LIMIT_DEGREE];
} shoal_sa_boxes;

void shoal_sa_put_shares(shoal_buf *out, const uint8_t *session, const shoal_sa_boxes *m);
SHOAL_MUST_USE shoal_status shoal_sa_read_shares(const void *data, size_t n, const uint8_t *session,
                                                 shoal_sa_boxes *out, shoal_error *err);
void shoal_sa_put_delivery(shoal_buf *out, const uint8_t *session, size_t roster_n,
                           const shoal_sa_set *u2, const shoal_sa_boxes *m);
SHOAL_MUST_USE shoal_status shoal_sa_read_delivery(const void *data, size_t n,
                                                   const uint8_t *session, size_t roster_n,
                                                   shoal_sa_set *u2, shoal_sa_boxes *out,
                                                   shoal_error *err);

/* Spec 5.5.2: whose boxes did not open. */
typedef struct shoal_sa_refusals {
    size_t n;
    uint16_t items[SHOAL_LIMIT_DEGREE];
} shoal_sa_refusals;

void shoal_sa_put_confirm(shoal_buf *out, const uint8_t *session, const shoal_sa_refusals *m);
SHOAL_MUST_USE shoal_status shoal_sa_read_confirm(const void *data, size_t n,
                                                  const uint8_t *session, shoal_sa_refusals *out,
                                                  shoal_error *err);
void shoal_sa_put_members(shoal_buf *out, const uint8_t *session, size_t roster_n,
                          const shoal_sa_set *u2);
SHOAL_MUST_USE shoal_status shoal_sa_read_members(const void *data, size_t n,
                                                  const uint8_t *session, size_t roster_n,
                                                  shoal_sa_set *u2, shoal_error *err);

/* ---- M5 ---- */

typedef struct shoal_sa_input {
    uint32_t words, ring_bits;
    uint8_t hash[32]; /* of packed */
    const uint8_t *packed;
    size_t packed_n;
} shoal_sa_input;

/* The header up to its signature. */
void shoal_sa_put_input(shoal_buf *out, const uint8_t *session, const shoal_sa_input *m);
SHOAL_MUST_USE shoal_status shoal_sa_read_input(const void *data, size_t n, const uint8_t *session,
                                                shoal_sa_input *out, shoal_error *err);

/* ---- M6, M7 ---- */

void shoal_sa_put_claim(shoal_buf *out, const uint8_t *session, size_t roster_n,
                        const shoal_sa_set *u3);
SHOAL_MUST_USE shoal_status shoal_sa_read_claim(const void *data, size_t n, const uint8_t *session,
                                                size_t roster_n, shoal_sa_set *u3,
                                                shoal_error *err);

/* What the survivors sign. */
typedef struct shoal_sa_survivors {
    const uint8_t *ctx, *roster_hash;
    size_t roster_n;
    const shoal_sa_set *u3;
} shoal_sa_survivors;
SHOAL_MUST_USE shoal_status shoal_sa_survivors_sign(const shoal_sa_survivors *s,
                                                    const shoal_key *key,
                                                    uint8_t sig[SHOAL_SIG_BYTES], shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_sa_survivors_verify(const shoal_sa_survivors *s,
                                                      const uint8_t spki[SHOAL_SPKI_BYTES],
                                                      const uint8_t sig[SHOAL_SIG_BYTES],
                                                      shoal_error *err);

void shoal_sa_put_signature(shoal_buf *out, const uint8_t *session, size_t roster_n,
                            const shoal_sa_set *u3, const uint8_t sig[SHOAL_SIG_BYTES]);
SHOAL_MUST_USE shoal_status shoal_sa_read_signature(const void *data, size_t n,
                                                    const uint8_t *session, size_t roster_n,
                                                    shoal_sa_set *u3, uint8_t sig[SHOAL_SIG_BYTES],
                                                    shoal_error *err);

/* A member of the committee and its word on U3. */
typedef struct shoal_sa_voucher {
    uint16_t index;
    const uint8_t *cert; /* [cert_n] */
    size_t cert_n;       /* 0 in the complete graph, where the reader has it */
    uint8_t sig[SHOAL_SIG_BYTES];
} shoal_sa_voucher;

typedef struct shoal_sa_quorum {
    size_t n;
    shoal_sa_voucher items[SHOAL_LIMIT_COMMITTEE];
} shoal_sa_quorum;

void shoal_sa_put_request(shoal_buf *out, const uint8_t *session, size_t roster_n,
                          const shoal_sa_set *u3, const shoal_sa_quorum *q);
SHOAL_MUST_USE shoal_status shoal_sa_read_request(const void *data, size_t n,
                                                  const uint8_t *session, size_t roster_n,
                                                  shoal_sa_set *u3, shoal_sa_quorum *q,
                                                  shoal_error *err);

/* ---- M8 ---- */

typedef enum shoal_sa_reveal_kind {
    SHOAL_SA_REVEAL_B = 1,
    SHOAL_SA_REVEAL_SK = 2
} shoal_sa_reveal_kind;

typedef struct shoal_sa_reveal {
    uint16_t index;
    uint8_t kind;
    uint8_t share[32];
} shoal_sa_reveal;

typedef struct shoal_sa_reveals {
    size_t n;
    shoal_sa_reveal items[SHOAL_LIMIT_DEGREE];
} shoal_sa_reveals;

void shoal_sa_put_unmask(shoal_buf *out, const uint8_t *session, const shoal_sa_reveals *m);
SHOAL_MUST_USE shoal_status shoal_sa_read_unmask(const void *data, size_t n, const uint8_t *session,
                                                 shoal_sa_reveals *out, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
