/* test_chacha.c - the mask stream against RFC 8439 and against its own smaller pieces. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/base/mem.h"
#include "kernels/kernels.h"
#include "kernels/table.h"
#include "tests/support/kernel_test.h"

static const uint32_t KEY[8] = {0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c,
                                0x13121110, 0x17161514, 0x1b1a1918, 0x1f1e1d1c};

/* RFC 8439 appendix A.1, zero nonce: key, block counter and the block as bytes. */
static const struct {
    uint8_t last_key_byte, second_key_byte;
    uint32_t counter;
    uint8_t block[64];
} rfc[] = {
    /* test vector 1 */
    {0, 0, 0, {0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a, 0xe5, 0x53,
               0x86, 0xbd, 0x28, 0xbd, 0xd2, 0x19, 0xb8, 0xa0, 0x8d, 0xed, 0x1a, 0xa8, 0x36,
               0xef, 0xcc, 0x8b, 0x77, 0x0d, 0xc7, 0xda, 0x41, 0x59, 0x7c, 0x51, 0x57, 0x48,
               0x8d, 0x77, 0x24, 0xe0, 0x3f, 0xb8, 0xd8, 0x4a, 0x37, 0x6a, 0x43, 0xb8, 0xf4,
               0x15, 0x18, 0xa1, 0x1c, 0xc3, 0x87, 0xb6, 0x69, 0xb2, 0xee, 0x65, 0x86}},
    /* test vector 2 */
    {0, 0, 1, {0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a, 0x98, 0xba, 0x97, 0x7c, 0x73,
               0x2d, 0x08, 0x0d, 0xcb, 0x0f, 0x29, 0xa0, 0x48, 0xe3, 0x65, 0x69, 0x12, 0xc6,
               0x53, 0x3e, 0x32, 0xee, 0x7a, 0xed, 0x29, 0xb7, 0x21, 0x76, 0x9c, 0xe6, 0x4e,
               0x43, 0xd5, 0x71, 0x33, 0xb0, 0x74, 0xd8, 0x39, 0xd5, 0x31, 0xed, 0x1f, 0x28,
               0x51, 0x0a, 0xfb, 0x45, 0xac, 0xe1, 0x0a, 0x1f, 0x4b, 0x79, 0x4d, 0x6f}},
    /* test vector 3 */
    {1, 0, 1, {0x3a, 0xeb, 0x52, 0x24, 0xec, 0xf8, 0x49, 0x92, 0x9b, 0x9d, 0x82, 0x8d, 0xb1,
               0xce, 0xd4, 0xdd, 0x83, 0x20, 0x25, 0xe8, 0x01, 0x8b, 0x81, 0x60, 0xb8, 0x22,
               0x84, 0xf3, 0xc9, 0x49, 0xaa, 0x5a, 0x8e, 0xca, 0x00, 0xbb, 0xb4, 0xa7, 0x3b,
               0xda, 0xd1, 0x92, 0xb5, 0xc4, 0x2f, 0x73, 0xf2, 0xfd, 0x4e, 0x27, 0x36, 0x44,
               0xc8, 0xb3, 0x61, 0x25, 0xa6, 0x4a, 0xdd, 0xeb, 0x00, 0x6c, 0x13, 0xa0}},
    /* test vector 4 */
    {0, 0xff, 2, {0x72, 0xd5, 0x4d, 0xfb, 0xf1, 0x2e, 0xc4, 0x4b, 0x36, 0x26, 0x92, 0xdf, 0x94,
                  0x13, 0x7f, 0x32, 0x8f, 0xea, 0x8d, 0xa7, 0x39, 0x90, 0x26, 0x5e, 0xc1, 0xbb,
                  0xbe, 0xa1, 0xae, 0x9a, 0xf0, 0xca, 0x13, 0xb2, 0x5a, 0xa2, 0x6c, 0xb4, 0xa6,
                  0x48, 0xcb, 0x9b, 0x9d, 0x1b, 0xe6, 0x5b, 0x2c, 0x09, 0x24, 0xa6, 0x6c, 0x54,
                  0xd5, 0x45, 0xec, 0x1b, 0x73, 0x74, 0xf4, 0x87, 0x2e, 0x99, 0xf0, 0x96}},
};

static void test_rfc_8439(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 0);
        for (size_t i = 0; i < sizeof rfc / sizeof *rfc; i++) {
            uint32_t key[8] = {0}, got[16] = {0};
            key[0] = (uint32_t)rfc[i].second_key_byte << 8;
            key[7] = (uint32_t)rfc[i].last_key_byte << 24;
            assert_true(shoal_chacha_add(&ex, key, (uint64_t)rfc[i].counter * 16, got, 16, false));
            for (size_t w = 0; w < 16; w++) {
                const uint8_t *b = rfc[i].block + 4 * w;
                uint32_t want = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 |
                                (uint32_t)b[3] << 24;
                assert_int_equal(got[w], want);
            }
        }
        kt_exec_close(&ex);
    }
}

static void rotate_in(uint32_t *x, uint32_t y, unsigned left)
{
    *x ^= y;
    *x = *x << left | *x >> (32 - left);
}

/* One block by the RFC's text; checked by the vectors above through the kernels it checks below. */
static void reference_block(uint32_t counter, uint32_t out[16])
{
    static const size_t q[8][4] = {{0, 4, 8, 12},  {1, 5, 9, 13},  {2, 6, 10, 14}, {3, 7, 11, 15},
                                   {0, 5, 10, 15}, {1, 6, 11, 12}, {2, 7, 8, 13},  {3, 4, 9, 14}};
    uint32_t s[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    memcpy(s + 4, KEY, sizeof KEY);
    s[12] = counter;
    memcpy(out, s, sizeof s);
    for (size_t i = 0; i < 80; i++) {
        uint32_t *a = &out[q[i % 8][0]], *b = &out[q[i % 8][1]];
        uint32_t *c = &out[q[i % 8][2]], *d = &out[q[i % 8][3]];
        *a += *b;
        rotate_in(d, *a, 16);
        *c += *d;
        rotate_in(b, *c, 12);
        *a += *b;
        rotate_in(d, *a, 8);
        *c += *d;
        rotate_in(b, *c, 7);
    }
    for (size_t w = 0; w < 16; w++) {
        out[w] += s[w];
    }
}

/* n words from `block` on, at any alignment, added and subtracted. */
static void check_stream(const shoal_exec *ex, uint32_t block, size_t n)
{
    guarded g = guarded_open(n * 4, n % 16 * 4);
    uint32_t *acc = g.p, key_stream[16];
    assert_true(shoal_chacha_add(ex, KEY, (uint64_t)block * 16, acc, n, false));
    for (size_t i = 0; i < n; i++) {
        if (i % 16 == 0) {
            reference_block(block + (uint32_t)(i / 16), key_stream);
        }
        assert_int_equal(acc[i], UINT32_MAX + key_stream[i % 16]);
    }
    assert_true(shoal_chacha_add(ex, KEY, (uint64_t)block * 16, acc, n, true));
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(acc[i], UINT32_MAX);
    }
    assert_true(guarded_intact(&g));
    guarded_close(&g);
}

static void test_lengths(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 2);
        for (size_t n = 0; n <= 400; n++) {
            check_stream(&ex, (uint32_t)n, n);
        }
        check_stream(&ex, 0x7ffffffd, 40000);
        check_stream(&ex, 5, 3 * 16384 + 1);
        kt_exec_close(&ex);
    }
}

/* The counter has 32 bits: the stream ends, it never starts again. */
static void test_counter_limit(void **state)
{
    (void)state;
    const uint64_t end = (uint64_t)1 << 36;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 0);
        uint32_t acc[160] = {0};
        check_stream(&ex, UINT32_MAX, 16);
        check_stream(&ex, UINT32_MAX - 9, 160);
        assert_true(shoal_chacha_add(&ex, KEY, end, acc, 0, false));
        assert_false(shoal_chacha_add(&ex, KEY, end - 16, acc, 17, false));
        assert_false(shoal_chacha_add(&ex, KEY, end, acc, 1, false));
        assert_false(shoal_chacha_add(&ex, KEY, end + 16, acc, 0, false));
        assert_false(shoal_chacha_add(&ex, KEY, UINT64_MAX - 15, acc, 160, false));
        assert_false(shoal_chacha_add(&ex, KEY, 8, acc, 16, false));
        for (size_t i = 0; i < 160; i++) {
            assert_int_equal(acc[i], 0);
        }
        kt_exec_close(&ex);
    }
}

static void test_threads_and_allocation(void **state)
{
    (void)state;
    enum { N = 100000 };
    uint32_t *one = shoal_calloc(N, 4), *many = shoal_calloc(N, 4);
    shoal_exec serial = kt_exec_open(kt_level(0), 0);
    assert_true(shoal_chacha_add(&serial, KEY, 0, one, N, true));
    for (unsigned threads = 1; threads <= 7; threads += 3) {
        shoal_exec ex = kt_exec_open(kt_level(kt_levels() - 1), threads);
        memset(many, 0, N * 4);
        uint64_t before = shoal_mem_count();
        assert_true(shoal_chacha_add(&ex, KEY, 0, many, N, true));
        assert_true(shoal_mem_count() == before);
        assert_memory_equal(one, many, N * 4);
        kt_exec_close(&ex);
    }
    kt_exec_close(&serial);
    shoal_free(one);
    shoal_free(many);
}

/* Many streams in one pass are the streams one after the other, at any number of threads. */
static void test_many_streams(void **state)
{
    (void)state;
    enum { STREAMS = 9, MOST = 5 * 8192 + 100 };
    static const size_t lengths[] = {0, 1, 15, 4096, 8192, 8193, 3 * 8192 - 1, MOST};
    static uint32_t want[MOST], got[MOST];
    shoal_key_stream streams[STREAMS];
    for (size_t i = 0; i < STREAMS; i++) {
        memcpy(streams[i].key, KEY, sizeof KEY);
        streams[i].key[3] += (uint32_t)i;
        streams[i].subtract = i % 3 == 1;
    }
    for (size_t level = 0; level < kt_levels(); level++) {
        for (unsigned threads = 0; threads <= 3; threads += 3) {
            shoal_exec ex = kt_exec_open(kt_level(level), threads);
            for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
                memset(want, 1, sizeof want);
                memset(got, 1, sizeof got);
                for (size_t i = 0; i < STREAMS; i++) {
                    assert_true(shoal_chacha_add(&ex, streams[i].key, 0, want, lengths[l],
                                                 streams[i].subtract));
                }
                assert_true(shoal_chacha_add_all(&ex, streams, STREAMS, got, lengths[l]));
                assert_memory_equal(want, got, sizeof want);
            }
            assert_true(shoal_chacha_add_all(&ex, streams, 0, got, MOST));
            assert_memory_equal(want, got, sizeof want);
            assert_false(shoal_chacha_add_all(&ex, streams, 0, got, ((size_t)1 << 36) + 1));
            kt_exec_close(&ex);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc_8439),      cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_counter_limit), cmocka_unit_test(test_threads_and_allocation),
        cmocka_unit_test(test_many_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
