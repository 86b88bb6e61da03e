/* test_attest.c - evidence of devices: tests/kat/attest.vec holds Android key attestations that an
 * independent library wrote under roots of its own; damaged ones are made here. (Spec 2.9) */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/attest.h"
#include "proto/der.h"
#include "tests/support/vec_file.h"

enum { NOW = 1790000000, EVIDENCE_MAX = 32768, ROOTS_MAX = 4096, CASES = 49 };

typedef struct given {
    uint8_t roots[ROOTS_MAX], description[1024], application[256];
    size_t roots_n, description_n, application_n;
    uint8_t challenge[SHOAL_CHALLENGE_BYTES], signer[32];
} given;

static given g;

static bool is_revoked(void *ctx, const uint8_t *serial, size_t n)
{
    static const uint8_t bad[] = {0xc0, 0xff, 0xee};
    (void)ctx;
    return n == sizeof bad && memcmp(serial, bad, n) == 0;
}

static shoal_attest_policy android(void)
{
    return (shoal_attest_policy){.kind = SHOAL_ATTESTATION_ANDROID,
                                 .roots = g.roots,
                                 .roots_n = g.roots_n,
                                 .package = "org.example.shoal",
                                 .signer = g.signer,
                                 .revoked = is_revoked};
}

static void take_given(vec_file *f, const char *name, size_t n)
{
    const struct {
        const char *name;
        uint8_t *out;
        size_t cap;
        size_t *n;
    } all[] = {{"roots", g.roots, sizeof g.roots, &g.roots_n},
               {"challenge", g.challenge, sizeof g.challenge, NULL},
               {"signer", g.signer, sizeof g.signer, NULL},
               {"description", g.description, sizeof g.description, &g.description_n},
               {"application", g.application, sizeof g.application, &g.application_n}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (strcmp(name, all[i].name) != 0) continue;
        assert_true(n <= all[i].cap);
        vec_bytes(f, all[i].out, n);
        if (all[i].n != NULL) *all[i].n = n;
        return;
    }
    fail_msg("unknown: %s", name);
}

static void expect(const char *name, const char *expected, const uint8_t *data, size_t n)
{
    shoal_attest_policy p = android();
    shoal_attestation_level level = SHOAL_LEVEL_SOFTWARE;
    shoal_error err = {0};
    shoal_status st = shoal_attest_verify(&p, g.challenge, data, n, NOW, &level, &err);
    const char *got = st == SHOAL_OK             ? shoal_attestation_level_name(level)
                      : st == SHOAL_ERR_DENIED   ? "denied"
                      : st == SHOAL_ERR_TAMPERED ? "tampered"
                      : st == SHOAL_ERR_FORMAT   ? "format"
                                                 : "other";
    if (strcmp(got, expected) != 0) fail_msg("%s: %s, not %s (%s)", name, got, expected, err.msg);
    if (st != SHOAL_OK) assert_int_equal(level, SHOAL_LEVEL_NONE);
}

/* Calls `each` for every case of the file. */
static size_t each_case(void (*each)(const char *name, const char *expected, const uint8_t *data,
                                     size_t n))
{
    static uint8_t data[EVIDENCE_MAX];
    size_t cases = 0;
    vec_file f;
    assert_true(vec_open(&f, "tests/kat/attest.vec"));
    while (vec_next_line(&f)) {
        const char *name = vec_word(&f);
        const char *expected = vec_word(&f);
        size_t n = (size_t)vec_number(&f);
        if (strcmp(expected, "given") == 0) {
            take_given(&f, name, n);
            continue;
        }
        assert_true(n <= sizeof data);
        vec_bytes(&f, data, n);
        each(name, expected, data, n);
        cases++;
    }
    vec_close(&f);
    return cases;
}

static void test_vectors(void **state)
{
    (void)state;
    assert_int_equal(each_case(expect), CASES);
}

static uint8_t g_good[EVIDENCE_MAX];
static size_t g_good_n;

static void keep_good(const char *name, const char *expected, const uint8_t *data, size_t n)
{
    (void)expected;
    if (strcmp(name, "tee") != 0) return;
    memcpy(g_good, data, n);
    g_good_n = n;
}

/* No prefix, and no change of a byte that is signed, is accepted. */
static void test_damaged_evidence(void **state)
{
    (void)state;
    shoal_attest_policy p = android();
    shoal_attestation_level level;
    (void)each_case(keep_good);
    for (size_t i = 0; i < g_good_n; i += 3) {
        assert_int_not_equal(shoal_attest_verify(&p, g.challenge, g_good, i, NOW, &level, NULL),
                             SHOAL_OK);
    }
    size_t leaf_n = (size_t)g_good[2] | (size_t)g_good[3] << 8;
    for (size_t i = 0; i < 4 + leaf_n; i += 5) { /* kind, count, length, leaf */
        g_good[i] ^= 0x10;
        assert_int_not_equal(
            shoal_attest_verify(&p, g.challenge, g_good, g_good_n, NOW, &level, NULL), SHOAL_OK);
        g_good[i] ^= 0x10;
    }
    assert_int_equal(shoal_attest_verify(&p, g.challenge, g_good, g_good_n, NOW, &level, NULL),
                     SHOAL_OK);
}

/* What a deployment does not ask for is not read; what it asks for must be there. */
static void test_policies(void **state)
{
    (void)state;
    shoal_attestation_level level;
    shoal_attest_policy none = {.kind = SHOAL_ATTESTATION_NONE};
    shoal_attest_policy p = android();
    assert_int_equal(shoal_attest_verify(&none, g.challenge, "rubbish", 7, NOW, &level, NULL),
                     SHOAL_OK);
    assert_int_equal(level, SHOAL_LEVEL_NONE);
    assert_int_equal(shoal_attest_verify(&p, g.challenge, "", 0, NOW, &level, NULL),
                     SHOAL_ERR_DENIED);
    p.roots_n = 0;
    assert_int_equal(shoal_attest_verify(&p, g.challenge, g_good, g_good_n, NOW, &level, NULL),
                     SHOAL_ERR_INTERNAL);
}

static void test_software(void **state)
{
    (void)state;
    shoal_key *key;
    uint8_t spki[SHOAL_SPKI_BYTES], other[SHOAL_CHALLENGE_BYTES] = {1};
    shoal_attestation_level level;
    shoal_buf e = shoal_buf_init(SHOAL_LIMIT_ATTESTATION);
    assert_int_equal(shoal_key_generate(&key, NULL), SHOAL_OK);
    shoal_key_spki(key, spki);
    shoal_attest_policy p = {.kind = SHOAL_ATTESTATION_SOFTWARE, .spki = spki};
    assert_int_equal(shoal_attest_software(key, g.challenge, &e, NULL), SHOAL_OK);
    assert_int_equal(shoal_attest_verify(&p, g.challenge, e.data, e.len, NOW, &level, NULL),
                     SHOAL_OK);
    assert_int_equal(level, SHOAL_LEVEL_SOFTWARE);
    assert_int_equal(shoal_attest_verify(&p, other, e.data, e.len, NOW, &level, NULL),
                     SHOAL_ERR_TAMPERED);
    assert_int_equal(shoal_attest_verify(&p, g.challenge, e.data, e.len - 1, NOW, &level, NULL),
                     SHOAL_ERR_FORMAT);
    assert_int_equal(shoal_attest_verify(&p, g.challenge, g_good, g_good_n, NOW, &level, NULL),
                     SHOAL_ERR_DENIED); /* another kind */
    shoal_key_close(key);
    shoal_buf_clear(&e);
}

/* X.690: what is not the shortest form, or does not end, is refused. */
static void test_der(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {{"\x04", 1},
               {"\x04\x02\x00", 3},
               {"\x04\x80\x00\x00", 4},
               {"\x04\x81\x01\x00", 4},
               {"\x04\x82\x00\x80", 4},
               {"\x04\x85\x00\x00\x00\x00\x00", 7},
               {"\x1f\x1e\x00", 3},
               {"\x1f\x80\x20\x00", 4},
               {"\xbf\x85", 2},
               {"\xbf\xff\xff\xff\x7f\x00", 6}};
    shoal_der_item item;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        shoal_der d = shoal_der_init(bad[i].bytes, bad[i].n);
        assert_false(shoal_der_next(&d, &item));
        assert_true(d.failed);
    }
    shoal_der d = shoal_der_init("\xbf\x85\x40\x01\x07\x02\x01\x7f\x02\x01\x80", 11);
    assert_true(shoal_der_next(&d, &item));
    assert_int_equal(item.tag, 704 | SHOAL_DER_CONTEXT | SHOAL_DER_CONSTRUCTED);
    assert_int_equal(item.n, 1);
    assert_int_equal(shoal_der_number(&d, SHOAL_DER_INTEGER), 127);
    (void)shoal_der_number(&d, SHOAL_DER_INTEGER); /* -128 */
    assert_true(d.failed);
}

/* Every change of one byte of the extension is read or refused, and leaves nothing half read. */
static void test_changed_descriptions(void **state)
{
    (void)state;
    shoal_key_description d;
    for (size_t i = 0; i < g.description_n; i++) {
        uint8_t was = g.description[i];
        for (unsigned v = 0; v < 256; v++) {
            g.description[i] = (uint8_t)v;
            if (shoal_key_description_read(g.description, g.description_n, &d, NULL) == SHOAL_OK) {
                assert_true(d.challenge_n <= sizeof d.challenge);
                assert_true(d.app == NULL || (d.app >= g.description &&
                                              d.app + d.app_n <= g.description + g.description_n));
            } else {
                assert_int_equal(d.challenge_n, 0);
            }
        }
        g.description[i] = was;
        assert_int_not_equal(shoal_key_description_read(g.description, i, &d, NULL), SHOAL_OK);
    }
    assert_int_equal(shoal_key_description_read(g.description, g.description_n, &d, NULL),
                     SHOAL_OK);
    assert_int_equal(d.keymint_level, 1);
    assert_true(d.has_root_of_trust && d.device_locked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),  cmocka_unit_test(test_damaged_evidence),
        cmocka_unit_test(test_policies), cmocka_unit_test(test_software),
        cmocka_unit_test(test_der),      cmocka_unit_test(test_changed_descriptions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
