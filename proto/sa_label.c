/* sa_label.c - labelled digests and keys. */
#include "proto/sa_label.h"

#include <string.h>

#include "kernels/base/buf.h"

static void put_le(shoal_sha256_ctx *h, uint32_t v)
{
    uint8_t le[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    shoal_sha256_update(h, le, sizeof le);
}

shoal_status shoal_sa_digest(const char *label, const uint8_t *ctx, const void *body, size_t n,
                             uint8_t out[32], shoal_error *err)
{
    static const uint8_t no_ctx[32] = {0};
    shoal_sha256_ctx h;
    if (n > UINT32_MAX) return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "a body of %zu bytes", n);
    shoal_sha256_init(&h);
    shoal_sha256_update(&h, label, strlen(label) + 1);
    shoal_sha256_update(&h, ctx == NULL ? no_ctx : ctx, 32);
    put_le(&h, (uint32_t)n);
    shoal_sha256_update(&h, body, n);
    return shoal_sha256_final(&h, out, err);
}

shoal_status shoal_sa_derive(const char *label, const shoal_mask_scope *scope,
                             const uint8_t ikm[32], const uint16_t *places, size_t n_places,
                             uint8_t key[32], shoal_error *err)
{
    shoal_buf info = shoal_buf_init(128);
    (void)shoal_buf_put(&info, label, strlen(label) + 1);
    (void)shoal_buf_put(&info, scope->ctx, 32);
    for (size_t i = 0; i < n_places; i++) {
        (void)shoal_buf_put_u16(&info, places[i]);
    }
    shoal_status st = shoal_buf_status(&info, err);
    if (st == SHOAL_OK) {
        st = shoal_hkdf(scope->roster_hash, 32, ikm, 32, info.data, info.len, key, 32, err);
    }
    shoal_buf_clear(&info);
    return st;
}

shoal_status shoal_sa_sign(const shoal_key *key, const char *label, const uint8_t *ctx,
                           const void *body, size_t n, uint8_t sig[SHOAL_SIG_BYTES],
                           shoal_error *err)
{
    uint8_t digest[32];
    SHOAL_TRY(shoal_sa_digest(label, ctx, body, n, digest, err));
    return shoal_sign(key, digest, sig, err);
}

shoal_status shoal_sa_verify(const uint8_t spki[SHOAL_SPKI_BYTES], const char *label,
                             const uint8_t *ctx, const void *body, size_t n,
                             const uint8_t sig[SHOAL_SIG_BYTES], shoal_error *err)
{
    uint8_t digest[32];
    SHOAL_TRY(shoal_sa_digest(label, ctx, body, n, digest, err));
    return shoal_verify(spki, digest, sig, err);
}
