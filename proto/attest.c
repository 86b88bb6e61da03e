/* attest.c - evidence of a device: which kind, and is it enough. Android's chain: x509_attest.c. */
#include "proto/attest.h"

#include <string.h>

#include "proto/sa_label.h"
#include "proto/x509_attest.h"

static const char LABEL[] = "shoal/attest";

const char *shoal_attestation_level_name(shoal_attestation_level level)
{
    switch (level) {
    case SHOAL_LEVEL_NONE: return "none";
    case SHOAL_LEVEL_SOFTWARE: return "software";
    case SHOAL_LEVEL_TEE: return "tee";
    case SHOAL_LEVEL_STRONGBOX: return "strongbox";
    }
    return "unknown";
}

shoal_status shoal_attestation_kind_parse(const char *text, shoal_attestation_kind *out,
                                          shoal_error *err)
{
    static const char *const names[] = {"none", "software", "android"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (shoal_attestation_kind)i;
            return SHOAL_OK;
        }
    }
    return shoal_fail(err, SHOAL_ERR_ARG, "attestation is none, software or android");
}

shoal_status shoal_attest_software(const shoal_key *provider,
                                   const uint8_t challenge[SHOAL_CHALLENGE_BYTES], shoal_buf *out,
                                   shoal_error *err)
{
    uint8_t sig[SHOAL_SIG_BYTES];
    SHOAL_TRY(shoal_sa_sign(provider, LABEL, challenge, "", 0, sig, err));
    (void)shoal_buf_put_u8(out, SHOAL_ATTESTATION_SOFTWARE);
    (void)shoal_buf_put(out, sig, sizeof sig);
    return shoal_buf_status(out, err);
}

static shoal_status verify_software(const shoal_attest_policy *p, const uint8_t *challenge,
                                    shoal_cursor *c, shoal_error *err)
{
    const uint8_t *sig = shoal_cursor_bytes(c, SHOAL_SIG_BYTES);
    if (sig == NULL || !shoal_cursor_done(c)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "the attestation cannot be read");
    }
    return shoal_sa_verify(p->spki, LABEL, challenge, "", 0, sig, err);
}

/* Spec 2.9 */
shoal_status shoal_attest_verify(const shoal_attest_policy *p,
                                 const uint8_t challenge[SHOAL_CHALLENGE_BYTES],
                                 const void *evidence, size_t n, int64_t now_s,
                                 shoal_attestation_level *level, shoal_error *err)
{
    *level = SHOAL_LEVEL_NONE;
    if (p->kind == SHOAL_ATTESTATION_NONE) return SHOAL_OK;
    if (n == 0) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "this deployment asks for an attestation");
    }
    shoal_cursor c = shoal_cursor_init(evidence, n);
    if (shoal_cursor_u8(&c) != (uint8_t)p->kind) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "this deployment asks for another attestation");
    }
    if (p->kind == SHOAL_ATTESTATION_ANDROID) {
        return shoal_x509_attest(p, challenge, &c, now_s, level, err);
    }
    SHOAL_TRY(verify_software(p, challenge, &c, err));
    *level = SHOAL_LEVEL_SOFTWARE;
    return SHOAL_OK;
}
