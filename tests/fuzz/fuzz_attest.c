/* fuzz_attest.c - what a device shows of itself: a chain of certificates, and Android's extension
 * in them, which is read as the first byte says. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/attest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t challenge[SHOAL_CHALLENGE_BYTES] = {1};
    static const uint8_t signer[32] = {2};
    static const uint8_t no_roots[1] = {0x30};
    shoal_attest_policy p = {.kind = SHOAL_ATTESTATION_ANDROID,
                             .roots = no_roots,
                             .roots_n = 1,
                             .package = "org.example.shoal",
                             .signer = signer};
    shoal_key_description d;
    shoal_attestation_level level;
    if (size == 0) return 0;
    switch (data[0] % 3) {
    case 0: (void)(shoal_key_description_read(data + 1, size - 1, &d, NULL) == SHOAL_OK); break;
    case 1:
        (void)(shoal_application_id_check(data + 1, size - 1, p.package, signer, NULL) == SHOAL_OK);
        break;
    default:
        (void)(shoal_attest_verify(&p, challenge, data + 1, size - 1, 1790000000, &level, NULL) ==
               SHOAL_OK);
        break;
    }
    return 0;
}
