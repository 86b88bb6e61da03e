/* attest_android.c - the extension of an attested Android key.
 *
 * Source: the schema of Android's "Verify hardware-backed key pairs with key attestation":
 *
 *   KeyDescription ::= SEQUENCE { attestationVersion INTEGER, attestationSecurityLevel ENUMERATED,
 *     keyMintVersion INTEGER, keyMintSecurityLevel ENUMERATED, attestationChallenge OCTET STRING,
 *     uniqueId OCTET STRING, softwareEnforced AuthorizationList, hardwareEnforced AuthorizationList
 * } AuthorizationList ::= SEQUENCE of [tag] EXPLICIT; here [704] RootOfTrust of the hardware's list
 *     and [709] OCTET STRING (AttestationApplicationId) of either
 *   RootOfTrust ::= SEQUENCE { verifiedBootKey OCTET STRING, deviceLocked BOOLEAN,
 *     verifiedBootState ENUMERATED, verifiedBootHash OCTET STRING }    (the hash from version 3 on)
 *   AttestationApplicationId ::= SEQUENCE { SET OF SEQUENCE { OCTET STRING, INTEGER },
 *     SET OF OCTET STRING }
 */
#include <string.h>

#include "proto/attest.h"
#include "proto/der.h"

enum { ROOT_OF_TRUST = 704, APPLICATION_ID = 709, LIST_MAX = 128 };

static shoal_status unreadable(shoal_error *err)
{
    return shoal_fail(err, SHOAL_ERR_FORMAT, "the attestation cannot be read");
}

static void read_root_of_trust(shoal_der *d, shoal_key_description *out)
{
    size_t n;
    shoal_der r = shoal_der_enter(d, SHOAL_DER_SEQUENCE);
    (void)shoal_der_take(&r, SHOAL_DER_OCTETS, &n);
    const uint8_t *locked = shoal_der_take(&r, SHOAL_DER_BOOLEAN, &n);
    d->failed = d->failed || locked == NULL || n != 1 || (locked[0] != 0 && locked[0] != 0xff);
    out->device_locked = locked != NULL && n == 1 && locked[0] == 0xff;
    out->boot_state = shoal_der_number(&r, SHOAL_DER_ENUMERATED);
    if (r.left > 0) (void)shoal_der_take(&r, SHOAL_DER_OCTETS, &n);
    d->failed = d->failed || r.failed || r.left > 0 || out->has_root_of_trust;
    out->has_root_of_trust = true;
}

static void read_application(shoal_der *d, shoal_key_description *out)
{
    d->failed = d->failed || out->app != NULL; /* once only, in one of the lists */
    out->app = shoal_der_take(d, SHOAL_DER_OCTETS, &out->app_n);
}

/* Entries in rising order of tags, as DER has them; only two are of interest. */
static void read_list(shoal_der *d, bool hardware, shoal_key_description *out)
{
    shoal_der list = shoal_der_enter(d, SHOAL_DER_SEQUENCE);
    shoal_der_item item;
    uint32_t before = 0;
    for (int i = 0; shoal_der_next(&list, &item); i++) {
        shoal_der inner = shoal_der_init(item.p, item.n);
        uint32_t kind = SHOAL_DER_CONTEXT | SHOAL_DER_CONSTRUCTED;
        uint32_t number = item.tag & ~kind;
        if ((item.tag & kind) != kind || number <= before || i == LIST_MAX) list.failed = true;
        before = number;
        if (hardware && number == ROOT_OF_TRUST) {
            read_root_of_trust(&inner, out);
        } else if (number == APPLICATION_ID) {
            read_application(&inner, out);
        } else {
            inner.left = 0;
        }
        list.failed = list.failed || inner.failed || inner.left > 0;
    }
    d->failed = d->failed || list.failed;
}

shoal_status shoal_key_description_read(const void *der, size_t n, shoal_key_description *out,
                                        shoal_error *err)
{
    size_t unique_n;
    memset(out, 0, sizeof *out);
    shoal_der all = shoal_der_init(der, n);
    shoal_der d = shoal_der_enter(&all, SHOAL_DER_SEQUENCE);
    (void)shoal_der_number(&d, SHOAL_DER_INTEGER);
    out->attestation_level = shoal_der_number(&d, SHOAL_DER_ENUMERATED);
    (void)shoal_der_number(&d, SHOAL_DER_INTEGER);
    out->keymint_level = shoal_der_number(&d, SHOAL_DER_ENUMERATED);
    const uint8_t *challenge = shoal_der_take(&d, SHOAL_DER_OCTETS, &out->challenge_n);
    (void)shoal_der_take(&d, SHOAL_DER_OCTETS, &unique_n);
    read_list(&d, false, out);
    read_list(&d, true, out);
    if (d.failed || d.left > 0 || all.left > 0 || challenge == NULL ||
        out->challenge_n > sizeof out->challenge) {
        memset(out, 0, sizeof *out);
        return unreadable(err);
    }
    memcpy(out->challenge, challenge, out->challenge_n);
    return SHOAL_OK;
}

/* Every package that shares the key's user id must be this one: an id shared with another app would
 * let that one make keys. */
static bool names_only(shoal_der *packages, const char *package)
{
    size_t count = 0;
    while (packages->left > 0 && !packages->failed) {
        size_t n;
        size_t version_n;
        shoal_der one = shoal_der_enter(packages, SHOAL_DER_SEQUENCE);
        const uint8_t *name = shoal_der_take(&one, SHOAL_DER_OCTETS, &n);
        (void)shoal_der_take(&one, SHOAL_DER_INTEGER, &version_n);
        if (one.failed || one.left > 0 || name == NULL || n != strlen(package) ||
            memcmp(name, package, n) != 0) {
            return false;
        }
        count++;
    }
    return count > 0 && !packages->failed;
}

static bool is_signed_by(shoal_der *digests, const uint8_t signer[32])
{
    size_t count = 0;
    while (digests->left > 0 && !digests->failed) {
        size_t n;
        const uint8_t *digest = shoal_der_take(digests, SHOAL_DER_OCTETS, &n);
        if (digest == NULL || n != 32 || memcmp(digest, signer, 32) != 0) return false;
        count++;
    }
    return count > 0 && !digests->failed;
}

shoal_status shoal_application_id_check(const void *der, size_t n, const char *package,
                                        const uint8_t signer[32], shoal_error *err)
{
    shoal_der all = shoal_der_init(der, n);
    shoal_der d = shoal_der_enter(&all, SHOAL_DER_SEQUENCE);
    shoal_der packages = shoal_der_enter(&d, SHOAL_DER_SET);
    shoal_der digests = shoal_der_enter(&d, SHOAL_DER_SET);
    if (all.failed || d.failed || all.left > 0 || d.left > 0) return unreadable(err);
    if (!names_only(&packages, package)) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "the attestation is of another app");
    }
    if (!is_signed_by(&digests, signer)) {
        return shoal_fail(err, SHOAL_ERR_DENIED, "the attested app is signed by somebody else");
    }
    return SHOAL_OK;
}
