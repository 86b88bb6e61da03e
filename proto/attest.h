/* attest.h - evidence that a device is what it says, bound to its certificate request.
 *
 * Evidence is `u8 kind` and then, by kind:
 *   SOFTWARE  u8 1, sig[64]: by the provider's key over D("shoal/attest", challenge, "")
 *   ANDROID   u8 2, u8 n, n times u16 length and a DER certificate, leaf first: the chain of a key
 *             that was made with the challenge (Android key attestation)
 * The challenge is shoal_enrol_digest. (Spec 2.9)
 *
 * Android takes the challenge before it makes a key, and the challenge holds the request's key: so
 * the attested key is another one than the identity key, made for this purpose and thrown away.
 *
 * Layer: proto/. Threads: pure functions.
 */
#ifndef SHOAL_PROTO_ATTEST_H
#define SHOAL_PROTO_ATTEST_H

#include <stdbool.h>

#include "kernels/base/buf.h"
#include "proto/enrol.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What was shown. The numbers are recorded: they stay. */
typedef enum shoal_attestation_level {
    SHOAL_LEVEL_NONE = 0,
    SHOAL_LEVEL_SOFTWARE = 1,
    SHOAL_LEVEL_TEE = 2,
    SHOAL_LEVEL_STRONGBOX = 3
} shoal_attestation_level;

const char *shoal_attestation_level_name(shoal_attestation_level level);

/* "none", "software", "android"; ARG otherwise. */
SHOAL_MUST_USE shoal_status shoal_attestation_kind_parse(const char *text,
                                                         shoal_attestation_kind *out,
                                                         shoal_error *err);

enum {
    SHOAL_ATTEST_CHAIN_MAX = 6,  /* certificates of a chain */
    SHOAL_ATTEST_CERT_MAX = 4096 /* bytes of one of them */
};

/* What a verifier asks for. */
typedef struct shoal_attest_policy {
    shoal_attestation_kind kind;
    const uint8_t *spki;  /* SOFTWARE: the provider's key, [SHOAL_SPKI_BYTES] */
    const uint8_t *roots; /* ANDROID: DER certificates, one behind the other */
    size_t roots_n;
    const char *package;   /* ANDROID: the app */
    const uint8_t *signer; /* ANDROID: [32] SHA-256 of the app's signing certificate */
    /* ANDROID: is the certificate of this serial number (big-endian, no leading zeros) revoked? */
    bool (*revoked)(void *ctx, const uint8_t *serial, size_t n);
    void *ctx;
} shoal_attest_policy;

/* Evidence against policy and challenge. OK with what was shown; DENIED (with the reason) when it
 * is not enough, FORMAT when it cannot be read, TAMPERED when a signature is wrong. With kind NONE
 * evidence is not looked at. */
SHOAL_MUST_USE shoal_status shoal_attest_verify(const shoal_attest_policy *p,
                                                const uint8_t challenge[SHOAL_CHALLENGE_BYTES],
                                                const void *evidence, size_t n, int64_t now_s,
                                                shoal_attestation_level *level, shoal_error *err);

/* Appends evidence of kind SOFTWARE. */
SHOAL_MUST_USE shoal_status shoal_attest_software(const shoal_key *provider,
                                                  const uint8_t challenge[SHOAL_CHALLENGE_BYTES],
                                                  shoal_buf *out, shoal_error *err);

/* ---- Android's extension, for tests and fuzzing ---- */

/* KeyDescription, extension 1.3.6.1.4.1.11129.2.1.17 of a leaf. */
typedef struct shoal_key_description {
    int32_t attestation_level, keymint_level; /* 0 software, 1 TEE, 2 StrongBox */
    uint8_t challenge[128];
    size_t challenge_n;
    bool has_root_of_trust; /* in the hardware-enforced list */
    bool device_locked;
    int32_t boot_state; /* 0 verified, 1 self-signed, 2 unverified, 3 failed */
    const uint8_t *app; /* attestationApplicationId, DER, inside the input; NULL: absent */
    size_t app_n;
} shoal_key_description;

/* Reads the extension's value; every length is checked against what is there. FORMAT. */
SHOAL_MUST_USE shoal_status shoal_key_description_read(const void *der, size_t n,
                                                       shoal_key_description *out,
                                                       shoal_error *err);
/* Does an attestationApplicationId name this package, and this signing certificate? */
SHOAL_MUST_USE shoal_status shoal_application_id_check(const void *der, size_t n,
                                                       const char *package,
                                                       const uint8_t signer[32], shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
