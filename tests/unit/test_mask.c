/* test_mask.c - tests/kat/mask.vec (independent Python), and that masks cancel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/cpu.h"
#include "proto/crypto.h"
#include "proto/mask.h"
#include "tests/support/vec_file.h"

static void test_vectors(void **state)
{
    (void)state;
    uint8_t b[8][32]; /* ctx, roster, sk, pk, b, wanted pair key, wanted self key, stream */
    uint8_t key[32];
    shoal_exec ex;
    vec_file f;
    if (!vec_open(&f, "tests/kat/mask.vec")) skip();
    assert_int_equal(shoal_exec_open(&ex, NULL, SHOAL_CPU_ALL, false, NULL), SHOAL_OK);
    size_t rows = 0;
    for (; vec_next_line(&f); rows++) {
        for (size_t k = 0; k < 5; k++) {
            vec_bytes(&f, b[k], 32);
        }
        uint16_t i = (uint16_t)vec_number(&f);
        uint16_t j = (uint16_t)vec_number(&f);
        for (size_t k = 5; k < 8; k++) {
            vec_bytes(&f, b[k], 32);
        }
        shoal_mask_scope scope = {b[0], b[1]};
        assert_int_equal(shoal_mask_self_key(&scope, b[4], i, key, NULL), SHOAL_OK);
        assert_memory_equal(key, b[6], 32);
        uint8_t shared[32];
        assert_int_equal(shoal_x25519(shared, b[2], b[3], NULL), SHOAL_OK);
        assert_int_equal(shoal_mask_pair_key(&scope, shared, i, j, key, NULL), SHOAL_OK);
        assert_memory_equal(key, b[5], 32);
        uint32_t words[8] = {0};
        shoal_key_stream stream = shoal_mask_stream(key, false);
        assert_int_equal(shoal_mask_apply_all(&ex, &stream, 1, words, 8, NULL), SHOAL_OK);
        for (size_t w = 0; w < 32; w++) {
            assert_int_equal(words[w / 4] >> (8 * (w % 4)) & 0xff, b[7][w]);
        }
    }
    vec_close(&f);
    shoal_exec_close(&ex);
    assert_int_equal(rows, 4);
}

/* Both ends derive one key; what one adds the other takes off, for awkward lengths. */
static void test_pair_cancels(void **state)
{
    (void)state;
    shoal_exec ex;
    uint8_t sk[2][32];
    uint8_t pk[2][32];
    uint8_t key[2][32];
    const uint8_t ctx[32] = {1};
    const uint8_t roster[32] = {2};
    shoal_mask_scope scope = {ctx, roster};
    assert_int_equal(shoal_exec_open(&ex, NULL, SHOAL_CPU_ALL, false, NULL), SHOAL_OK);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(shoal_random(sk[i], 32, NULL), SHOAL_OK);
        assert_int_equal(shoal_x25519_public(pk[i], sk[i], NULL), SHOAL_OK);
    }
    for (size_t i = 0; i < 2; i++) {
        uint8_t shared[32];
        uint16_t self = i == 0 ? 4 : 9;
        assert_int_equal(shoal_x25519(shared, sk[i], pk[1 - i], NULL), SHOAL_OK);
        assert_int_equal(shoal_mask_pair_key(&scope, shared, self, 13 - self, key[i], NULL),
                         SHOAL_OK);
    }
    assert_memory_equal(key[0], key[1], 32);
    for (size_t n = 0; n < 200; n += 13) {
        uint32_t acc[200];
        uint32_t kept[200];
        for (size_t w = 0; w < 200; w++) {
            acc[w] = (uint32_t)w;
            kept[w] = (uint32_t)w;
        }
        const shoal_key_stream streams[2] = {shoal_mask_stream(key[0], false),
                                             shoal_mask_stream(key[1], true)};
        assert_int_equal(shoal_mask_apply_all(&ex, streams, 1, acc, n, NULL), SHOAL_OK);
        assert_int_equal(memcmp(acc, kept, n * sizeof *acc) != 0, n > 0);
        assert_int_equal(shoal_mask_apply_all(&ex, streams + 1, 1, acc, n, NULL), SHOAL_OK);
        assert_memory_equal(acc, kept, sizeof acc);
        assert_int_equal(shoal_mask_apply_all(&ex, streams, 2, acc, n, NULL), SHOAL_OK);
        assert_memory_equal(acc, kept, sizeof acc);
    }
    shoal_exec_close(&ex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors),
                                       cmocka_unit_test(test_pair_cancels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
