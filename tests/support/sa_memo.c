/* sa_memo.c - see sa_memo.h. */
#include "tests/support/sa_memo.h"

#include <stdint.h>
#include <string.h>

#include "proto/crypto.h"
#include "proto/x509.h"

enum { SLOTS = 1 << 16 };

/* What was checked, by the hash of all its inputs, and what came out. A later input may take an
 * earlier one's slot. */
typedef struct slot {
    uint8_t key[32];
    shoal_status st;
    shoal_cert_info info; /* of certificates */
} slot;

static slot slots[SLOTS];
static size_t n_checked, n_remembered;

shoal_status __real_shoal_verify(const uint8_t *spki, const uint8_t *digest, const uint8_t *sig,
                                 shoal_error *err);
shoal_status __wrap_shoal_verify(const uint8_t *spki, const uint8_t *digest, const uint8_t *sig,
                                 shoal_error *err);
shoal_status __real_shoal_cert_check(const void *ca, size_t ca_n, const void *leaf, size_t leaf_n,
                                     shoal_cert_kind kind, int64_t now_s, shoal_cert_info *out,
                                     shoal_error *err);
shoal_status __wrap_shoal_cert_check(const void *ca, size_t ca_n, const void *leaf, size_t leaf_n,
                                     shoal_cert_kind kind, int64_t now_s, shoal_cert_info *out,
                                     shoal_error *err);

static slot *find(const uint8_t key[32], bool *known)
{
    slot *s = &slots[((size_t)key[0] | (size_t)key[1] << 8) % SLOTS];
    *known = memcmp(s->key, key, 32) == 0;
    *(*known ? &n_remembered : &n_checked) += 1;
    return s;
}

shoal_status __wrap_shoal_verify(const uint8_t *spki, const uint8_t *digest, const uint8_t *sig,
                                 shoal_error *err)
{
    uint8_t key[32];
    bool known;
    shoal_sha256_ctx h;
    shoal_sha256_init(&h);
    shoal_sha256_update(&h, spki, SHOAL_SPKI_BYTES);
    shoal_sha256_update(&h, digest, 32);
    shoal_sha256_update(&h, sig, SHOAL_SIG_BYTES);
    SHOAL_TRY(shoal_sha256_final(&h, key, err));
    slot *s = find(key, &known);
    if (known && s->st == SHOAL_OK) return SHOAL_OK;
    memcpy(s->key, key, 32);
    s->st = __real_shoal_verify(spki, digest, sig, err);
    return s->st;
}

shoal_status __wrap_shoal_cert_check(const void *ca, size_t ca_n, const void *leaf, size_t leaf_n,
                                     shoal_cert_kind kind, int64_t now_s, shoal_cert_info *out,
                                     shoal_error *err)
{
    uint8_t key[32];
    bool known;
    shoal_sha256_ctx h;
    shoal_sha256_init(&h);
    shoal_sha256_update(&h, &kind, sizeof kind);
    shoal_sha256_update(&h, &now_s, sizeof now_s);
    shoal_sha256_update(&h, &ca_n, sizeof ca_n);
    shoal_sha256_update(&h, ca, ca_n);
    shoal_sha256_update(&h, leaf, leaf_n);
    SHOAL_TRY(shoal_sha256_final(&h, key, err));
    slot *s = find(key, &known);
    if (!known || s->st != SHOAL_OK) {
        memcpy(s->key, key, 32);
        s->st = __real_shoal_cert_check(ca, ca_n, leaf, leaf_n, kind, now_s, &s->info, err);
    }
    if (s->st == SHOAL_OK) *out = s->info;
    return s->st;
}

size_t sa_memo_checked(void)
{
    return n_checked;
}

size_t sa_memo_remembered(void)
{
    return n_remembered;
}
