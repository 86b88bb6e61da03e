/* test_x509_ca.c - bundles of CA certificates, and which may follow which (Spec 2.8). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "proto/x509.h"

enum { NOW = 1790000000, DAY = 86400, KEYS = 5 };

/* Key g signs generation g and names key g + 1. */
static shoal_key *g_key[KEYS];
static shoal_buf g_cert[KEYS];

static void id_of(const shoal_key *key, uint8_t id[SHOAL_ID_BYTES])
{
    uint8_t spki[SHOAL_SPKI_BYTES];
    shoal_key_spki(key, spki);
    assert_int_equal(shoal_spki_id(spki, id, NULL), SHOAL_OK);
}

static shoal_buf make_ca(const shoal_key *key, uint32_t generation, const shoal_key *next,
                         int64_t from, int64_t to)
{
    uint8_t id[SHOAL_ID_BYTES];
    char name[SHOAL_CA_NAME];
    shoal_buf out = shoal_buf_init(SHOAL_LIMIT_CERT);
    id_of(next, id);
    shoal_ca_name(generation, id, name);
    assert_int_equal(shoal_ca_create(key, name, from, to, NULL, &out, NULL), SHOAL_OK);
    return out;
}

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYS; i++) {
        assert_int_equal(shoal_key_generate(&g_key[i], NULL), SHOAL_OK);
    }
    for (uint32_t i = 0; i + 1 < KEYS; i++) {
        g_cert[i] = make_ca(g_key[i], i + 1, g_key[i + 1], NOW - DAY, NOW + 100 * DAY);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYS; i++) {
        shoal_key_close(g_key[i]);
        shoal_buf_clear(&g_cert[i]);
    }
    return 0;
}

/* newest first; b may be NULL */
static shoal_buf bundle(const shoal_buf *a, const shoal_buf *b)
{
    shoal_buf out = shoal_buf_init(4 * SHOAL_LIMIT_CERT);
    assert_true(shoal_buf_put(&out, a->data, a->len));
    if (b != NULL) assert_true(shoal_buf_put(&out, b->data, b->len));
    return out;
}

static shoal_status follow(const shoal_buf *pinned, shoal_buf offered)
{
    shoal_status st =
        shoal_ca_follow(pinned->data, pinned->len, offered.data, offered.len, NOW, NULL);
    shoal_buf_clear(&offered);
    return st;
}

static void test_read(void **state)
{
    (void)state;
    shoal_ca_info info;
    uint8_t id[SHOAL_ID_BYTES];
    shoal_buf both = bundle(&g_cert[1], &g_cert[0]);
    assert_true(both.len <= SHOAL_LIMIT_CERT); /* a bundle fits where one certificate does */
    assert_int_equal(shoal_ca_read(both.data, both.len, 0, &info, NULL), SHOAL_OK);
    assert_int_equal(info.generation, 2);
    assert_int_equal(info.size, g_cert[1].len);
    assert_int_equal(info.not_after_s, NOW + 100 * DAY);
    id_of(g_key[2], id);
    assert_memory_equal(info.next_id, id, sizeof id);
    assert_int_equal(shoal_ca_read(both.data, both.len, 1, &info, NULL), SHOAL_OK);
    assert_int_equal(info.generation, 1);
    id_of(g_key[0], id);
    assert_memory_equal(info.id, id, sizeof id);
    assert_int_equal(shoal_ca_read(both.data, both.len, 2, &info, NULL), SHOAL_ERR_NOT_FOUND);
    shoal_buf_clear(&both);
}

/* A name of another form names nobody: what it signed is still checked, nothing follows it. */
static void test_other_names(void **state)
{
    (void)state;
    static const char *const names[] = {"Shoal CA",
                                        "Shoal CA 1 00112233445566778899aabbccddee",
                                        "Shoal CA 01 00112233445566778899aabbccddeeff",
                                        "Shoal CA 1  00112233445566778899aabbccddeeff",
                                        "Shoal CA 1 00112233445566778899AABBCCDDEEFF",
                                        "Shoal CA 4294967296 00112233445566778899aabbccddeeff",
                                        "Some CA 1 00112233445566778899aabbccddeeff"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        shoal_ca_info info;
        shoal_buf b = shoal_buf_init(SHOAL_LIMIT_CERT);
        assert_int_equal(shoal_ca_create(g_key[0], names[i], NOW, NOW + DAY, NULL, &b, NULL),
                         SHOAL_OK);
        assert_int_equal(shoal_ca_read(b.data, b.len, 0, &info, NULL), SHOAL_OK);
        assert_int_equal(info.generation, 0);
        assert_int_equal(follow(&b, bundle(&g_cert[1], &b)), SHOAL_ERR_TAMPERED);
        shoal_buf_clear(&b);
    }
}

/* Spec 2.8 */
static void test_follow(void **state)
{
    (void)state;
    shoal_buf first = bundle(&g_cert[0], NULL);
    shoal_buf second = bundle(&g_cert[1], &g_cert[0]);
    assert_int_equal(follow(&first, bundle(&g_cert[0], NULL)), SHOAL_OK);
    assert_int_equal(follow(&first, bundle(&g_cert[1], &g_cert[0])), SHOAL_OK);
    assert_int_equal(follow(&first, bundle(&g_cert[1], NULL)), SHOAL_OK);
    /* two rotations at once: each names the next */
    assert_int_equal(follow(&first, bundle(&g_cert[2], &g_cert[1])), SHOAL_OK);
    assert_int_equal(follow(&second, bundle(&g_cert[1], NULL)), SHOAL_OK);
    /* skipped, back, in the wrong order, three */
    assert_int_equal(follow(&first, bundle(&g_cert[2], NULL)), SHOAL_ERR_TAMPERED);
    assert_int_equal(follow(&first, bundle(&g_cert[2], &g_cert[0])), SHOAL_ERR_TAMPERED);
    assert_int_equal(follow(&second, bundle(&g_cert[0], NULL)), SHOAL_ERR_TAMPERED);
    assert_int_equal(follow(&first, bundle(&g_cert[1], &g_cert[2])), SHOAL_ERR_TAMPERED);
    shoal_buf three = bundle(&g_cert[2], &g_cert[1]);
    assert_true(shoal_buf_put(&three, first.data, first.len));
    assert_int_equal(follow(&first, three), SHOAL_ERR_FORMAT);
    shoal_buf_clear(&first);
    shoal_buf_clear(&second);
}

static void test_impostors(void **state)
{
    (void)state;
    /* the right name with another key; the right key expired, not valid yet, or skipping a number
     */
    shoal_buf bad[] = {make_ca(g_key[3], 2, g_key[2], NOW - DAY, NOW + DAY),
                       make_ca(g_key[1], 2, g_key[2], NOW - DAY, NOW - 1),
                       make_ca(g_key[1], 2, g_key[2], NOW + 1, NOW + DAY),
                       make_ca(g_key[1], 3, g_key[2], NOW - DAY, NOW + DAY)};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(follow(&g_cert[0], bundle(&bad[i], &g_cert[0])), SHOAL_ERR_TAMPERED);
        shoal_buf_clear(&bad[i]);
    }
    /* a certificate of the named key that somebody else signed: any changed byte */
    shoal_buf changed = bundle(&g_cert[1], NULL);
    for (size_t i = 0; i < changed.len; i++) {
        changed.data[i] ^= 0x20;
        assert_int_not_equal(
            shoal_ca_follow(g_cert[0].data, g_cert[0].len, changed.data, changed.len, NOW, NULL),
            SHOAL_OK);
        changed.data[i] ^= 0x20;
        assert_int_not_equal(
            shoal_ca_follow(g_cert[0].data, g_cert[0].len, changed.data, i, NOW, NULL), SHOAL_OK);
    }
    shoal_buf_clear(&changed);
}

/* A device's own leaf is not a CA, though its key is certified. */
static void test_leaf_is_no_ca(void **state)
{
    (void)state;
    uint8_t spki[SHOAL_SPKI_BYTES];
    shoal_ca_info info;
    shoal_buf leaf = shoal_buf_init(SHOAL_LIMIT_CERT);
    shoal_key_spki(g_key[1], spki);
    shoal_cert_template t = {.kind = SHOAL_CERT_CLIENT,
                             .spki = spki,
                             .not_before_s = NOW - DAY,
                             .not_after_s = NOW + DAY};
    assert_int_equal(shoal_cert_issue(g_key[0], g_cert[0].data, g_cert[0].len, &t, &leaf, NULL),
                     SHOAL_OK);
    assert_int_equal(shoal_ca_read(leaf.data, leaf.len, 0, &info, NULL), SHOAL_ERR_TAMPERED);
    assert_int_equal(follow(&g_cert[0], bundle(&leaf, &g_cert[0])), SHOAL_ERR_TAMPERED);
    shoal_buf_clear(&leaf);
}

/* Spec 2.6: a leaf of either generation is accepted under the bundle, under one only its own. */
static void test_leaves_of_two_generations(void **state)
{
    (void)state;
    shoal_buf both = bundle(&g_cert[1], &g_cert[0]);
    for (size_t g = 0; g < 2; g++) {
        uint8_t spki[SHOAL_SPKI_BYTES];
        shoal_cert_info info;
        shoal_buf leaf = shoal_buf_init(SHOAL_LIMIT_CERT);
        shoal_buf issuer = bundle(&g_cert[g], g == 1 ? &g_cert[0] : NULL); /* newest issues */
        shoal_key_spki(g_key[4], spki);
        shoal_cert_template t = {.kind = SHOAL_CERT_CLIENT,
                                 .spki = spki,
                                 .not_before_s = NOW - DAY,
                                 .not_after_s = NOW + DAY};
        assert_int_equal(shoal_cert_issue(g_key[g], issuer.data, issuer.len, &t, &leaf, NULL),
                         SHOAL_OK);
        assert_int_equal(shoal_cert_check(both.data, both.len, leaf.data, leaf.len,
                                          SHOAL_CERT_CLIENT, NOW, &info, NULL),
                         SHOAL_OK);
        const shoal_buf *other = &g_cert[1 - g];
        assert_int_equal(shoal_cert_check(other->data, other->len, leaf.data, leaf.len,
                                          SHOAL_CERT_CLIENT, NOW, &info, NULL),
                         SHOAL_ERR_TAMPERED);
        shoal_buf_clear(&leaf);
        shoal_buf_clear(&issuer);
    }
    shoal_buf_clear(&both);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),          cmocka_unit_test(test_other_names),
        cmocka_unit_test(test_follow),        cmocka_unit_test(test_impostors),
        cmocka_unit_test(test_leaf_is_no_ca), cmocka_unit_test(test_leaves_of_two_generations),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
