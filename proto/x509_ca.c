/* x509_ca.c - CA certificates: bundles of one or two, and how one follows another (Spec 2.8). */
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "proto/limits.h"
#include "proto/x509_parse.h"

static const char PREFIX[] = "Shoal CA ";

shoal_status shoal_x509_parse_bundle(mbedtls_x509_crt *ca, const void *der, size_t n,
                                     shoal_error *err)
{
    const uint8_t *p = der;
    size_t count = 0;
    mbedtls_x509_crt *last = ca;
    while (n > 0) {
        if (n > SHOAL_LIMIT_CERT || count++ == SHOAL_LIMIT_CA_GENERATIONS ||
            mbedtls_x509_crt_parse_der(ca, p, n) != 0) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "not a certificate");
        }
        while (last->next != NULL) {
            last = last->next;
        }
        p += last->raw.len;
        n -= last->raw.len;
    }
    return count > 0 ? SHOAL_OK : shoal_fail(err, SHOAL_ERR_FORMAT, "not a certificate");
}

void shoal_ca_name(uint32_t generation, const uint8_t next_id[SHOAL_ID_BYTES],
                   char out[SHOAL_CA_NAME])
{
    char hex[2 * SHOAL_ID_BYTES + 1];
    shoal_hex_encode(next_id, SHOAL_ID_BYTES, hex);
    (void)snprintf(out, SHOAL_CA_NAME, "%s%u %s", PREFIX, (unsigned)generation, hex);
}

/* "Shoal CA G ID": whatever is not exactly that names nothing, and nothing follows it. */
static void read_name(const mbedtls_x509_crt *crt, shoal_ca_info *out)
{
    char name[SHOAL_CA_NAME] = {0};
    char again[SHOAL_CA_NAME];
    uint64_t generation = 0;
    const mbedtls_x509_buf *v = &crt->subject.val;
    size_t skip = sizeof PREFIX - 1;
    if (crt->subject.next != NULL || v->len <= skip || v->len >= sizeof name) return;
    memcpy(name, v->p, v->len);
    char *space = strrchr(name, ' ');
    if (memcmp(name, PREFIX, skip) != 0 || space == NULL || space < name + skip) return;
    uint8_t next[SHOAL_ID_BYTES];
    *space = '\0';
    if (!shoal_parse_u64(name + skip, &generation) || generation > UINT32_MAX ||
        !shoal_hex_decode(space + 1, next, sizeof next)) {
        return;
    }
    *space = ' ';
    shoal_ca_name((uint32_t)generation, next, again);
    if (strcmp(name, again) != 0) return;
    out->generation = (uint32_t)generation;
    memcpy(out->next_id, next, sizeof next);
}

/* Its own key signed it. mbedTLS does not look at a trusted certificate's own signature; here it
 * is what makes the successor's name believable. */
static bool is_self_signed(mbedtls_x509_crt *crt)
{
    return crt->version == 3 && crt->MBEDTLS_PRIVATE(ca_istrue) != 0 &&
           crt->issuer_raw.len == crt->subject_raw.len &&
           memcmp(crt->issuer_raw.p, crt->subject_raw.p, crt->subject_raw.len) == 0 &&
           mbedtls_x509_crt_check_key_usage(crt, MBEDTLS_X509_KU_KEY_CERT_SIGN) == 0 &&
           shoal_x509_signed_by(crt, crt);
}

static shoal_status fill_ca(mbedtls_x509_crt *crt, shoal_ca_info *out, shoal_error *err)
{
    memset(out, 0, sizeof *out);
    SHOAL_TRY(shoal_x509_spki(&crt->pk, out->spki, err));
    if (!is_self_signed(crt)) {
        return shoal_fail(err, SHOAL_ERR_TAMPERED, "a CA certificate is not signed by its own key");
    }
    out->not_before_s = shoal_x509_time(&crt->valid_from);
    out->not_after_s = shoal_x509_time(&crt->valid_to);
    out->size = crt->raw.len;
    read_name(crt, out);
    return shoal_spki_id(out->spki, out->id, err);
}

shoal_status shoal_ca_read(const void *bundle, size_t n, size_t i, shoal_ca_info *out,
                           shoal_error *err)
{
    mbedtls_x509_crt ca;
    mbedtls_x509_crt_init(&ca);
    mbedtls_x509_crt *at = &ca;
    shoal_status st = shoal_x509_parse_bundle(&ca, bundle, n, err);
    while (st == SHOAL_OK && i-- > 0 && at != NULL) {
        at = at->next;
    }
    if (st == SHOAL_OK) {
        st = at == NULL ? shoal_fail(err, SHOAL_ERR_NOT_FOUND, "no such CA certificate")
                        : fill_ca(at, out, err);
    }
    mbedtls_x509_crt_free(&ca);
    return st;
}

/* All certificates of a bundle; *count of them. */
static shoal_status read_all(const void *bundle, size_t n,
                             shoal_ca_info out[SHOAL_LIMIT_CA_GENERATIONS], size_t *count,
                             shoal_error *err)
{
    size_t used = 0;
    *count = 0;
    while (used < n) {
        if (*count == SHOAL_LIMIT_CA_GENERATIONS) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "too many CA certificates");
        }
        SHOAL_TRY(shoal_ca_read(bundle, n, *count, &out[*count], err));
        used += out[*count].size;
        ++*count;
    }
    return *count > 0 ? SHOAL_OK : shoal_fail(err, SHOAL_ERR_FORMAT, "no CA certificate");
}

static bool is_pinned(const uint8_t *pinned, const shoal_ca_info *p, size_t n_pinned,
                      const uint8_t *one, size_t size)
{
    for (size_t i = 0; i < n_pinned; i++) {
        if (p[i].size == size && memcmp(pinned, one, size) == 0) return true;
        pinned += p[i].size;
    }
    return false;
}

static bool follows(const shoal_ca_info *before, const shoal_ca_info *c, int64_t now_s)
{
    static const uint8_t nobody[SHOAL_ID_BYTES];
    return memcmp(before->next_id, nobody, sizeof nobody) != 0 &&
           shoal_equal(before->next_id, c->id, SHOAL_ID_BYTES) &&
           c->generation == before->generation + 1 && now_s >= c->not_before_s &&
           now_s <= c->not_after_s;
}

static bool is_named(const shoal_ca_info *known, size_t n, const shoal_ca_info *c, int64_t now_s)
{
    for (size_t i = 0; i < n; i++) {
        if (follows(&known[i], c, now_s)) return true;
    }
    return false;
}

shoal_status shoal_ca_follow(const void *pinned, size_t pinned_n, const void *offered,
                             size_t offered_n, int64_t now_s, shoal_error *err)
{
    enum { MAX = SHOAL_LIMIT_CA_GENERATIONS };
    shoal_ca_info known[2 * MAX];
    shoal_ca_info offer[MAX];
    size_t n_pinned = 0;
    size_t n_offer = 0;
    SHOAL_TRY(read_all(pinned, pinned_n, known, &n_pinned, err));
    SHOAL_TRY(read_all(offered, offered_n, offer, &n_offer, err));
    size_t n_known = n_pinned;
    size_t at = offered_n;
    bool ok = offer[0].generation >= known[0].generation;
    for (size_t i = n_offer; ok && i-- > 0;) { /* oldest first: the newer may follow it */
        at -= offer[i].size;
        ok = is_pinned(pinned, known, n_pinned, (const uint8_t *)offered + at, offer[i].size) ||
             is_named(known, n_known, &offer[i], now_s);
        known[n_known++] = offer[i];
    }
    if (ok) return SHOAL_OK;
    (void)shoal_fail(err, SHOAL_ERR_TAMPERED,
                     "the server's CA is not the one this device pinned, nor its successor");
    shoal_hint(err, "do not go on if nobody has told you of a change; then leave and join again");
    return SHOAL_ERR_TAMPERED;
}
