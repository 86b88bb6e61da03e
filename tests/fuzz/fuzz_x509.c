/* fuzz_x509.c - certificates, requests and private keys from strangers, against a real CA. The
 * first byte chooses the reader. A leaf that passes has a key on the curve and the identity of that
 * key; a request that passes proves possession; a key that loads signs. Real cryptography. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/limits.h"
#include "proto/x509.h"
#include "tests/fuzz/script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOW = 1790000000 };

static struct {
    shoal_key *key;
    shoal_buf ca;
} g;

static void open_ca(void)
{
    static const uint8_t scalar[32] = {7};
    g.ca = shoal_buf_init(SHOAL_LIMIT_CERT);
    must(shoal_key_from_scalar(&g.key, scalar, NULL) == SHOAL_OK);
    must(shoal_ca_create(g.key, "fuzz", NOW - 60, NOW + 3600, NULL, &g.ca, NULL) == SHOAL_OK);
}

static void check_info(const shoal_cert_info *info)
{
    uint8_t id[SHOAL_ID_BYTES];
    must(shoal_spki_id(info->spki, id, NULL) == SHOAL_OK);
    must(memcmp(id, info->id, sizeof id) == 0);
}

static void read_leaf(const uint8_t *data, size_t n, shoal_cert_kind kind)
{
    shoal_cert_info info;
    if (shoal_cert_check(g.ca.data, g.ca.len, data, n, kind, NOW, &info, NULL) != SHOAL_OK) return;
    check_info(&info);
    must(info.not_before_s <= NOW && NOW <= info.not_after_s);
}

static void read_ca(const uint8_t *data, size_t n)
{
    shoal_cert_info info;
    shoal_buf pem = shoal_buf_init(4096);
    (void)(shoal_cert_check(data, n, g.ca.data, g.ca.len, SHOAL_CERT_CLIENT, NOW, &info, NULL) ==
           SHOAL_OK);
    if (shoal_cert_read(data, n, &info, NULL) == SHOAL_OK) check_info(&info);
    (void)(shoal_cert_encode_pem(data, n, &pem, NULL) == SHOAL_OK);
    shoal_buf_clear(&pem);
}

static void read_key(const uint8_t *data, size_t n)
{
    shoal_key *key = NULL;
    uint8_t digest[32] = {1}, sig[SHOAL_SIG_BYTES], spki[SHOAL_SPKI_BYTES];
    if (shoal_key_load(&key, data, n, NULL) != SHOAL_OK) {
        must(key == NULL);
        return;
    }
    shoal_key_spki(key, spki);
    must(shoal_sign(key, digest, sig, NULL) == SHOAL_OK);
    must(shoal_verify(spki, digest, sig, NULL) == SHOAL_OK);
    shoal_key_close(key);
}

static void read_request(const uint8_t *data, size_t n)
{
    uint8_t spki[SHOAL_SPKI_BYTES];
    shoal_buf leaf = shoal_buf_init(SHOAL_LIMIT_CERT);
    if (shoal_csr_check(data, n, spki, NULL) != SHOAL_OK) return;
    shoal_cert_template t = {.kind = SHOAL_CERT_CLIENT,
                             .spki = spki,
                             .not_before_s = NOW - 60,
                             .not_after_s = NOW + 600};
    must(shoal_cert_issue(g.key, g.ca.data, g.ca.len, &t, &leaf, NULL) == SHOAL_OK);
    read_leaf(leaf.data, leaf.len, SHOAL_CERT_CLIENT);
    shoal_buf_clear(&leaf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (g.key == NULL) open_ca();
    if (size == 0) return 0;
    const uint8_t *at = data + 1;
    size_t n = size - 1;
    switch (data[0] % 5) {
    case 0: read_leaf(at, n, SHOAL_CERT_CLIENT); break;
    case 1: read_leaf(at, n, SHOAL_CERT_SERVER); break;
    case 2: read_ca(at, n); break;
    case 3: read_key(at, n); break;
    default: read_request(at, n); break;
    }
    return 0;
}
