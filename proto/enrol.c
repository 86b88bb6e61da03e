/* enrol.c - digests and signatures of joining and renewing. */
#include "proto/enrol.h"

#include "proto/sa_label.h"

shoal_status shoal_token_hash(const uint8_t token[SHOAL_TOKEN_BYTES], uint8_t out[32],
                              shoal_error *err)
{
    return shoal_sa_digest("shoal/token", NULL, token, SHOAL_TOKEN_BYTES, out, err);
}

shoal_status shoal_enrol_digest(const uint8_t token_id[SHOAL_TOKEN_BYTES],
                                const uint8_t nonce[SHOAL_NONCE_BYTES],
                                const uint8_t spki[SHOAL_SPKI_BYTES],
                                uint8_t out[SHOAL_CHALLENGE_BYTES], shoal_error *err)
{
    shoal_buf body = shoal_buf_init(256);
    (void)shoal_buf_put(&body, token_id, SHOAL_TOKEN_BYTES);
    (void)shoal_buf_put(&body, nonce, SHOAL_NONCE_BYTES);
    (void)shoal_buf_put(&body, spki, SHOAL_SPKI_BYTES);
    shoal_status st = shoal_buf_status(&body, err);
    if (st == SHOAL_OK) st = shoal_sa_digest("shoal/enrol", NULL, body.data, body.len, out, err);
    shoal_buf_clear(&body);
    return st;
}

enum { RENEW_BODY = 64 };

static shoal_status renew_body(const void *old_cert, size_t old_cert_n, const void *csr,
                               size_t csr_n, uint8_t body[RENEW_BODY], shoal_error *err)
{
    SHOAL_TRY(shoal_sha256(old_cert, old_cert_n, body, err));
    return shoal_sha256(csr, csr_n, body + 32, err);
}

shoal_status shoal_renew_sign(const shoal_key *old_key, const void *old_cert, size_t old_cert_n,
                              const void *csr, size_t csr_n, uint8_t proof[SHOAL_SIG_BYTES],
                              shoal_error *err)
{
    uint8_t body[RENEW_BODY];
    SHOAL_TRY(renew_body(old_cert, old_cert_n, csr, csr_n, body, err));
    return shoal_sa_sign(old_key, "shoal/renew", NULL, body, sizeof body, proof, err);
}

shoal_status shoal_renew_verify(const uint8_t old_spki[SHOAL_SPKI_BYTES], const void *old_cert,
                                size_t old_cert_n, const void *csr, size_t csr_n,
                                const uint8_t proof[SHOAL_SIG_BYTES], shoal_error *err)
{
    uint8_t body[RENEW_BODY];
    SHOAL_TRY(renew_body(old_cert, old_cert_n, csr, csr_n, body, err));
    return shoal_sa_verify(old_spki, "shoal/renew", NULL, body, sizeof body, proof, err);
}
