/* ca_attest.c - what devices must show, from settings and files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "aggregator/ca_internal.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"

enum { KEYS_MAX = 64 * 1024, STATUS_MAX = 8 << 20, SERIALS_MAX = 200000 };

static shoal_status wrong(shoal_error *err, const char *what)
{
    return shoal_fail(err, SHOAL_ERR_FORMAT, "ca.yaml: %s", what);
}

/* ---- revoked attestation keys -----------------------------------------------------------------
 *
 * The form in which Google publishes them: {"entries": {"HEXSERIAL": {"status": "REVOKED", ...}}}.
 * Whatever the status says, a key on the list is not trusted.
 */

static int compare_serials(const void *a, const void *b)
{
    const ca_serial *x = a;
    const ca_serial *y = b;
    return x->n != y->n ? (x->n < y->n ? -1 : 1) : memcmp(x->bytes, y->bytes, x->n);
}

/* Hex of any length up to 40 digits, leading zeros off; false when it is no serial number. */
static bool parse_serial(const char *hex, ca_serial *out)
{
    char even[41];
    size_t n = strlen(hex);
    while (n > 0 && *hex == '0') {
        hex++;
        n--;
    }
    if (n == 0 || n > 40) {
        return false;
    }
    (void)snprintf(even, sizeof even, "%s%s", n % 2 != 0 ? "0" : "", hex);
    *out = (ca_serial){.n = (uint8_t)((n + 1) / 2)};
    return shoal_hex_decode(even, out->bytes, out->n);
}

static shoal_status take_entries(shoal_ca *ca, json_t *entries, shoal_error *err)
{
    const char *key;
    json_t *value;
    size_t n = json_object_size(entries);
    if (!json_is_object(entries) || n > SERIALS_MAX) {
        return wrong(err, "attestation_revoked is not a status list");
    }
    ca->serials = shoal_calloc(n + 1, sizeof *ca->serials);
    if (ca->serials == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for the status list");
    }
    json_object_foreach(entries, key, value)
    {
        if (!parse_serial(key, &ca->serials[ca->n_serials])) {
            return wrong(err, "attestation_revoked holds what is no serial number");
        }
        ca->n_serials++;
    }
    qsort(ca->serials, ca->n_serials, sizeof *ca->serials, compare_serials);
    return SHOAL_OK;
}

static shoal_status load_revoked(shoal_ca *ca, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    shoal_buf text = shoal_buf_init(0);
    if (ca->settings.attestation_revoked[0] == '\0') {
        return SHOAL_OK;
    }
    SHOAL_TRY(shoal_dir_path(ca->dir, ca->settings.attestation_revoked, path, err));
    SHOAL_TRY(shoal_file_read(path, STATUS_MAX, &text, err));
    json_t *root = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    shoal_status st = root != NULL ? take_entries(ca, json_object_get(root, "entries"), err)
                                   : wrong(err, "attestation_revoked is not JSON");
    json_decref(root);
    shoal_buf_clear(&text);
    return st;
}

static bool is_revoked(void *ctx, const uint8_t *serial, size_t n)
{
    const shoal_ca *ca = ctx;
    ca_serial key = {.n = (uint8_t)n};
    if (n > sizeof key.bytes) {
        return true; /* longer than a certificate's may be */
    }
    memcpy(key.bytes, serial, n);
    return ca->n_serials > 0 &&
           bsearch(&key, ca->serials, ca->n_serials, sizeof key, compare_serials) != NULL;
}

/* ---- the policy -------------------------------------------------------------------------------
 */

static shoal_status load_keys(shoal_ca *ca, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    if (ca->settings.attestation_keys[0] == '\0') {
        return wrong(err, "attestation needs attestation_keys");
    }
    SHOAL_TRY(shoal_dir_path(ca->dir, ca->settings.attestation_keys, path, err));
    return shoal_file_read(path, KEYS_MAX, &ca->attest_keys, err);
}

static shoal_status android(shoal_ca *ca, shoal_error *err)
{
    if (ca->settings.attestation_package[0] == '\0' ||
        !shoal_hex_decode(ca->settings.attestation_signer, ca->attest_signer,
                          sizeof ca->attest_signer)) {
        return wrong(err, "attestation: android needs attestation_package and attestation_signer");
    }
    ca->policy.roots = ca->attest_keys.data;
    ca->policy.roots_n = ca->attest_keys.len;
    ca->policy.package = ca->settings.attestation_package;
    ca->policy.signer = ca->attest_signer;
    ca->policy.revoked = is_revoked;
    ca->policy.ctx = ca;
    return load_revoked(ca, err);
}

shoal_status ca_load_policy(shoal_ca *ca, shoal_error *err)
{
    SHOAL_TRY(shoal_attestation_kind_parse(ca->settings.attestation, &ca->policy.kind, err));
    if (ca->policy.kind == SHOAL_ATTESTATION_NONE) {
        return SHOAL_OK;
    }
    SHOAL_TRY(load_keys(ca, err));
    if (ca->policy.kind == SHOAL_ATTESTATION_ANDROID) {
        return android(ca, err);
    }
    if (ca->attest_keys.len != SHOAL_SPKI_BYTES) {
        return wrong(err, "attestation_keys is not the public key of a software provider");
    }
    ca->policy.spki = ca->attest_keys.data;
    return SHOAL_OK;
}
