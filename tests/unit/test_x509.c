/* test_x509.c - requests and certificates: right ones pass, every other is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "proto/x509.h"
#include "tests/support/vec_file.h"

enum { NOW = 1790000000, DAY = 86400 };

typedef struct pki {
    shoal_key *ca_key, *key;
    shoal_buf ca, leaf;
    uint8_t spki[SHOAL_SPKI_BYTES];
} pki;

static void issue(pki *p, shoal_cert_kind kind, shoal_buf *out)
{
    static const char *const hosts[] = {"127.0.0.1", "::1", "aggregator.example"};
    shoal_cert_template t = {.kind = kind,
                             .spki = p->spki,
                             .hosts = hosts,
                             .n_hosts = 3,
                             .not_before_s = NOW,
                             .not_after_s = NOW + DAY};
    *out = shoal_buf_init(SHOAL_LIMIT_CERT);
    assert_int_equal(shoal_cert_issue(p->ca_key, p->ca.data, p->ca.len, &t, out, NULL), SHOAL_OK);
}

static int open_pki(void **state)
{
    static pki p;
    assert_int_equal(shoal_key_generate(&p.ca_key, NULL), SHOAL_OK);
    assert_int_equal(shoal_key_generate(&p.key, NULL), SHOAL_OK);
    shoal_key_spki(p.key, p.spki);
    p.ca = shoal_buf_init(SHOAL_LIMIT_CERT);
    assert_int_equal(
        shoal_ca_create(p.ca_key, "Shoal test", NOW - DAY, NOW + 100 * DAY, NULL, &p.ca, NULL),
        SHOAL_OK);
    issue(&p, SHOAL_CERT_CLIENT, &p.leaf);
    *state = &p;
    return 0;
}

static int close_pki(void **state)
{
    pki *p = *state;
    shoal_key_close(p->ca_key);
    shoal_key_close(p->key);
    shoal_buf_clear(&p->ca);
    shoal_buf_clear(&p->leaf);
    return 0;
}

static shoal_status check(const pki *p, const shoal_buf *leaf, shoal_cert_kind kind, int64_t now_s)
{
    shoal_cert_info info;
    return shoal_cert_check(p->ca.data, p->ca.len, leaf->data, leaf->len, kind, now_s, &info, NULL);
}

static void test_issue_and_check(void **state)
{
    pki *p = *state;
    shoal_cert_info info;
    assert_int_equal(shoal_cert_check(p->ca.data, p->ca.len, p->leaf.data, p->leaf.len,
                                      SHOAL_CERT_CLIENT, NOW, &info, NULL),
                     SHOAL_OK);
    assert_memory_equal(info.spki, p->spki, sizeof info.spki);
    assert_int_equal(info.not_before_s, NOW);
    assert_int_equal(info.not_after_s, NOW + DAY);
    uint8_t id[SHOAL_ID_BYTES];
    assert_int_equal(shoal_spki_id(p->spki, id, NULL), SHOAL_OK);
    assert_memory_equal(info.id, id, sizeof id);
    shoal_cert_info read;
    assert_int_equal(shoal_cert_read(p->leaf.data, p->leaf.len, &read, NULL), SHOAL_OK);
    assert_memory_equal(&read, &info, sizeof info);
}

static void test_time(void **state)
{
    pki *p = *state;
    assert_int_equal(check(p, &p->leaf, SHOAL_CERT_CLIENT, NOW + DAY), SHOAL_OK);
    assert_int_equal(check(p, &p->leaf, SHOAL_CERT_CLIENT, NOW - 1), SHOAL_ERR_DENIED);
    assert_int_equal(check(p, &p->leaf, SHOAL_CERT_CLIENT, NOW + DAY + 1), SHOAL_ERR_DENIED);
}

static void test_kinds_do_not_mix(void **state)
{
    pki *p = *state;
    shoal_buf server;
    issue(p, SHOAL_CERT_SERVER, &server);
    assert_int_equal(check(p, &server, SHOAL_CERT_SERVER, NOW), SHOAL_OK);
    assert_int_equal(check(p, &server, SHOAL_CERT_CLIENT, NOW), SHOAL_ERR_TAMPERED);
    assert_int_equal(check(p, &p->leaf, SHOAL_CERT_SERVER, NOW), SHOAL_ERR_TAMPERED);
    assert_int_equal(check(p, &p->ca, SHOAL_CERT_CLIENT, NOW), SHOAL_ERR_TAMPERED);
    shoal_buf_clear(&server);
}

static void test_other_ca(void **state)
{
    pki *p = *state;
    pki other = *p;
    assert_int_equal(shoal_key_generate(&other.ca_key, NULL), SHOAL_OK);
    other.ca = shoal_buf_init(SHOAL_LIMIT_CERT);
    /* Same name, other key. */
    assert_int_equal(shoal_ca_create(other.ca_key, "Shoal test", NOW - DAY, NOW + 100 * DAY, NULL,
                                     &other.ca, NULL),
                     SHOAL_OK);
    assert_int_equal(check(&other, &p->leaf, SHOAL_CERT_CLIENT, NOW), SHOAL_ERR_TAMPERED);
    shoal_buf_clear(&other.ca);
    shoal_key_close(other.ca_key);
}

/* Spec 2.6: only the CA issues. A device's certificate, and a CA of another name with the same key,
 * are no issuers. */
static void test_only_the_ca_issues(void **state)
{
    pki *p = *state;
    shoal_cert_info info;
    assert_int_equal(shoal_cert_check(p->leaf.data, p->leaf.len, p->leaf.data, p->leaf.len,
                                      SHOAL_CERT_CLIENT, NOW, &info, NULL),
                     SHOAL_ERR_TAMPERED);
    shoal_buf renamed = shoal_buf_init(SHOAL_LIMIT_CERT);
    assert_int_equal(shoal_ca_create(p->ca_key, "Another name", NOW - DAY, NOW + 100 * DAY, NULL,
                                     &renamed, NULL),
                     SHOAL_OK);
    assert_int_equal(shoal_cert_check(renamed.data, renamed.len, p->leaf.data, p->leaf.len,
                                      SHOAL_CERT_CLIENT, NOW, &info, NULL),
                     SHOAL_ERR_TAMPERED);
    shoal_buf_clear(&renamed);
}

/* Signatures of either half of s: 16 certificates have both (but once in 2^15). */
static void test_either_half_of_s(void **state)
{
    pki *p = *state;
    for (int i = 0; i < 16; i++) {
        shoal_buf leaf;
        issue(p, SHOAL_CERT_CLIENT, &leaf);
        assert_int_equal(check(p, &leaf, SHOAL_CERT_CLIENT, NOW), SHOAL_OK);
        shoal_buf_clear(&leaf);
    }
}

/* Spec 2.6. No change of a single byte, and no prefix, is accepted. */
static void test_changed_certificates(void **state)
{
    pki *p = *state;
    for (size_t i = 0; i < p->leaf.len; i++) {
        p->leaf.data[i] ^= 0x41;
        assert_int_not_equal(check(p, &p->leaf, SHOAL_CERT_CLIENT, NOW), SHOAL_OK);
        p->leaf.data[i] ^= 0x41;
    }
    shoal_buf cut = p->leaf;
    for (cut.len = 0; cut.len < p->leaf.len; cut.len++) {
        assert_int_not_equal(check(p, &cut, SHOAL_CERT_CLIENT, NOW), SHOAL_OK);
    }
    shoal_buf longer = shoal_buf_init(2 * SHOAL_LIMIT_CERT);
    assert_true(shoal_buf_put(&longer, p->leaf.data, p->leaf.len) && shoal_buf_put_u8(&longer, 0));
    assert_int_equal(check(p, &longer, SHOAL_CERT_CLIENT, NOW), SHOAL_ERR_FORMAT);
    shoal_buf_clear(&longer);
}

static void test_request(void **state)
{
    pki *p = *state;
    uint8_t spki[SHOAL_SPKI_BYTES];
    shoal_buf csr = shoal_buf_init(SHOAL_LIMIT_CSR);
    assert_int_equal(shoal_csr_create(p->key, &csr, NULL), SHOAL_OK);
    assert_int_equal(shoal_csr_check(csr.data, csr.len, spki, NULL), SHOAL_OK);
    assert_memory_equal(spki, p->spki, sizeof spki);
    for (size_t i = 0; i < csr.len; i++) {
        csr.data[i] ^= 0x11;
        assert_int_not_equal(shoal_csr_check(csr.data, csr.len, spki, NULL), SHOAL_OK);
        csr.data[i] ^= 0x11;
        assert_int_not_equal(shoal_csr_check(csr.data, i, spki, NULL), SHOAL_OK);
    }
    shoal_buf_clear(&csr);
}

static void test_templates_refuse(void **state)
{
    pki *p = *state;
    shoal_buf out = shoal_buf_init(SHOAL_LIMIT_CERT);
    static const char *const bad[] = {"bad host\n"};
    shoal_cert_template t = {.kind = SHOAL_CERT_SERVER,
                             .spki = p->spki,
                             .hosts = bad,
                             .n_hosts = 1,
                             .not_before_s = NOW,
                             .not_after_s = NOW + 1};
    assert_int_equal(shoal_cert_issue(p->ca_key, p->ca.data, p->ca.len, &t, &out, NULL),
                     SHOAL_ERR_ARG);
    assert_int_equal(shoal_ca_create(p->ca_key, "x,O=y", NOW, NOW + 1, NULL, &out, NULL),
                     SHOAL_ERR_ARG);
    shoal_buf pem = shoal_buf_init(4096);
    assert_int_equal(shoal_cert_encode_pem(p->leaf.data, p->leaf.len, &pem, NULL), SHOAL_OK);
    assert_memory_equal(pem.data, "-----BEGIN CERTIFICATE-----\n", 28);
    shoal_buf_clear(&pem);
    shoal_buf_clear(&out);
}

/* Spec 2.6. Leaves of an independent generator: what a careless or hostile CA could sign. */
static void test_leaves_of_others(void **state)
{
    (void)state;
    enum { VECTOR_NOW = 1790000000 };
    static uint8_t ca[SHOAL_LIMIT_CERT], leaf[SHOAL_LIMIT_CERT];
    size_t ca_n = 0, right = 0, refused = 0;
    vec_file f;
    if (!vec_open(&f, "tests/kat/leaves.vec")) skip();
    while (vec_next_line(&f)) {
        shoal_cert_info info;
        const char *name = vec_word(&f);
        bool is_ca = strcmp(name, "ca") == 0;
        bool good = strcmp(name, "right") == 0 || strcmp(name, "whole_week") == 0;
        size_t n = (size_t)vec_number(&f);
        assert_in_range(n, 1, sizeof leaf);
        vec_bytes(&f, is_ca ? ca : leaf, n);
        if (is_ca) {
            ca_n = n;
            continue;
        }
        shoal_status st =
            shoal_cert_check(ca, ca_n, leaf, n, SHOAL_CERT_CLIENT, VECTOR_NOW, &info, NULL);
        if ((st == SHOAL_OK) != good) fail_msg("%s: %s", name, shoal_status_text(st));
        right += good;
        refused += !good;
    }
    vec_close(&f);
    assert_int_equal(right, 2);
    assert_int_equal(refused, 26);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_issue_and_check),      cmocka_unit_test(test_time),
        cmocka_unit_test(test_kinds_do_not_mix),     cmocka_unit_test(test_other_ca),
        cmocka_unit_test(test_only_the_ca_issues),   cmocka_unit_test(test_either_half_of_s),
        cmocka_unit_test(test_changed_certificates), cmocka_unit_test(test_request),
        cmocka_unit_test(test_templates_refuse),     cmocka_unit_test(test_leaves_of_others),
    };
    return cmocka_run_group_tests(tests, open_pki, close_pki);
}
