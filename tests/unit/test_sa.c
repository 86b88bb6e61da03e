/* test_sa.c - whole sessions between the real state machines: what the server sees, and that the
 * sum is exact whoever drops out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "proto/sa_session.h"
#include "tests/support/sa_cohort.h"

static void test_everyone_stays(void **state)
{
    (void)state;
    cohort c;
    for (size_t n = 3; n <= 6; n++) {
        cohort_open(&c, n, 100, n);
        cohort_start(&c);
        cohort_run(&c, SHOAL_SA_UNMASK);
        assert_int_equal(shoal_sa_server_stage(c.server), SHOAL_SA_DONE);
        cohort_check_sum(&c, (1u << n) - 1u);
        cohort_close(&c);
    }
}

static void test_every_ring_width(void **state)
{
    (void)state;
    cohort c;
    cohort_open(&c, 3, 333, 50);
    for (uint32_t bits = SHOAL_LIMIT_RING_MIN; bits <= SHOAL_LIMIT_RING_MAX; bits++) {
        c.d.codec.ring_bits = bits;
        c.d.round = bits;
        assert_int_equal(shoal_codec_fit_scale(&c.d.codec, NULL), SHOAL_OK);
        cohort_start(&c);
        cohort_run(&c, SHOAL_SA_UNMASK);
        cohort_check_sum(&c, 7);
    }
    cohort_close(&c);
}

static void test_decoded_mean(void **state)
{
    (void)state;
    cohort c;
    float mean[64];
    uint64_t weight = 0;
    cohort_open(&c, 4, 64, 3);
    c.d.codec.ring_bits = 32;
    c.d.codec.clip_norm = 100.0;
    assert_int_equal(shoal_codec_fit_scale(&c.d.codec, NULL), SHOAL_OK);
    cohort_start(&c);
    cohort_run(&c, SHOAL_SA_UNMASK);
    assert_int_equal(shoal_codec_decode(&c.ex, &c.d.codec, NULL, shoal_sa_server_sum(c.server),
                                        mean, &weight, &c.err),
                     SHOAL_OK);
    assert_int_equal(weight, 1 + 2 + 3 + 4);
    for (size_t k = 0; k < 64; k++) {
        float want = 0;
        for (size_t i = 0; i < 4; i++) {
            want += (float)(i + 1) * cohort_update(i, k) / 10.0F;
        }
        assert_float_equal(mean[k], want, 1e-4);
    }
    cohort_close(&c);
}

/* n = 4 with one drop-out at each stage is the smallest cohort that must go on. */
static void test_four_with_one_drop(void **state)
{
    (void)state;
    cohort c;
    cohort_open(&c, 4, 50, 4);
    for (shoal_sa_stage drop = SHOAL_SA_ADVERTISE; drop <= SHOAL_SA_UNMASK; drop++) {
        cohort_start(&c);
        for (shoal_sa_stage stage = SHOAL_SA_ADVERTISE; stage <= SHOAL_SA_UNMASK; stage++) {
            for (size_t i = 0; i < 4; i++) {
                if (i == 1 && stage >= drop) continue;
                assert_int_equal(cohort_act(&c, i, stage), SHOAL_OK);
            }
            assert_int_equal(shoal_sa_server_ready(c.server), stage > drop || drop > stage);
            assert_int_equal(shoal_sa_server_advance(c.server, true, &c.err), SHOAL_OK);
        }
        cohort_check_sum(&c, drop <= SHOAL_SA_INPUT ? 0xd : 0xf);
    }
    cohort_close(&c);
}

/* Unmasking over a pool gives the same sum, bit for bit, with more threads than ranges and fewer,
 * and finds out the same liar. One of eight leaves before its upload, one reveals a false share. */
static void test_any_number_of_threads(void **state)
{
    (void)state;
    static const unsigned threads[] = {1, 2, 5};
    enum { N = 8, DIM = 3 * 8192 + 77 };
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        cohort c;
        shoal_pool *pool = NULL;
        cohort_open(&c, N, DIM, 21);
        shoal_exec_close(&c.ex);
        assert_int_equal(shoal_pool_open(&pool, threads[i], NULL), SHOAL_OK);
        assert_int_equal(shoal_exec_open(&c.ex, pool, SHOAL_CPU_ALL, false, NULL), SHOAL_OK);
        cohort_start(&c);
        size_t liar = 0;
        for (shoal_sa_stage stage = SHOAL_SA_ADVERTISE; stage <= SHOAL_SA_UNMASK; stage++) {
            for (size_t d = 0; d < N; d++) {
                if (stage >= SHOAL_SA_INPUT && d == 2) continue;
                assert_int_equal(cohort_act(&c, d, stage), SHOAL_OK);
            }
            if (stage == SHOAL_SA_UNMASK) {
                while (!shoal_sa_set_has(&c.server->answered[stage], liar + 1)) {
                    liar++; /* in roster order: the first who stays */
                }
                c.server->party[liar]->revealed[1][5] ^= 1;
            }
            assert_int_equal(shoal_sa_server_advance(c.server, true, &c.err), SHOAL_OK);
        }
        cohort_check_sum(&c, 0xffu & ~(1u << 2));
        assert_int_equal(shoal_sa_server_counts(c.server).liars, 1);
        cohort_close(&c);
        shoal_pool_close(pool);
    }
}

/* A client that missed the claim still opens masks; one that left may come back for the last step.
 */
static void test_missed_claim(void **state)
{
    (void)state;
    cohort c;
    cohort_open(&c, 4, 20, 9);
    cohort_start(&c);
    cohort_run(&c, SHOAL_SA_INPUT);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(cohort_act(&c, i, SHOAL_SA_SURVIVORS), SHOAL_OK);
    }
    assert_int_equal(shoal_sa_server_advance(c.server, true, &c.err), SHOAL_OK);
    for (size_t i = 1; i < 4; i++) {
        assert_int_equal(cohort_act(&c, i, SHOAL_SA_UNMASK), SHOAL_OK);
    }
    assert_int_equal(shoal_sa_server_advance(c.server, true, &c.err), SHOAL_OK);
    cohort_check_sum(&c, 0xf);
    cohort_close(&c);
}

/* Spec 3.5 */
static void test_repeats_are_acknowledged(void **state)
{
    (void)state;
    cohort c;
    cohort_open(&c, 3, 40, 5);
    cohort_start(&c);
    cohort_run(&c, SHOAL_SA_INPUT);
    const uint8_t *id = c.dev[0].id;
    shoal_buf *m5 = &c.dev[0].sent[SHOAL_SA_INPUT];
    assert_int_equal(shoal_sa_server_receive(c.server, SHOAL_SA_INPUT, id, m5->data, m5->len,
                                             COHORT_NOW, &c.err),
                     SHOAL_OK);
    m5->data[m5->len - 1] ^= 1;
    assert_int_equal(shoal_sa_server_receive(c.server, SHOAL_SA_INPUT, id, m5->data, m5->len,
                                             COHORT_NOW, &c.err),
                     SHOAL_ERR_DENIED);
    m5->data[m5->len - 1] ^= 1;
    for (shoal_sa_stage stage = SHOAL_SA_SURVIVORS; stage <= SHOAL_SA_UNMASK; stage++) {
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(cohort_act(&c, i, stage), SHOAL_OK);
        }
        assert_int_equal(shoal_sa_server_advance(c.server, false, &c.err), SHOAL_OK);
    }
    cohort_check_sum(&c, 7); /* the repeat was not added twice */
    cohort_close(&c);
}

/* Chi-square of byte values against uniform, 255 degrees of freedom: mean 255, sd 22.6. 400 is more
 * than 6 sd: p < 1e-8. */
static double chi_square(const uint8_t *p, size_t n)
{
    double count[256] = {0};
    double want = (double)n / 256.0;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        count[p[i]] += 1.0;
    }
    for (size_t v = 0; v < 256; v++) {
        sum += (count[v] - want) * (count[v] - want) / want;
    }
    return sum;
}

enum { BIG_DIM = 1 << 18, HEAD_COMPARED = 1 << 16 };

static const uint8_t *packed_of(const cohort *c, size_t i)
{
    return c->dev[i].sent[SHOAL_SA_INPUT].data + SHOAL_SA_INPUT_HEAD_BYTES;
}

/* Device i uploads a vector whose words are all the same. */
static void upload_constant(cohort *c, size_t i, uint32_t word)
{
    shoal_buf m4 = cohort_message(c, i, SHOAL_SA_CONFIRM);
    uint32_t *words = shoal_alloc((BIG_DIM + 1) * sizeof *words);
    assert_int_equal(shoal_sa_client_members(c->dev[i].client, m4.data, m4.len, &c->err), SHOAL_OK);
    for (size_t w = 0; w <= BIG_DIM; w++) {
        words[w] = word;
    }
    assert_int_equal(
        shoal_sa_client_input(c->dev[i].client, words, &c->dev[i].sent[SHOAL_SA_INPUT], &c->err),
        SHOAL_OK);
    shoal_free(words);
    shoal_buf_clear(&m4);
}

static int compare_words(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* No 8 bytes, from whatever byte on, that are in both, or twice in one: of uniform ones, two in
 * 2^17 are equal once in 2^31 runs. */
static void assert_nothing_shared(const uint8_t *a, const uint8_t *b)
{
    enum { WINDOWS = HEAD_COMPARED - 7 };
    static uint64_t word[2 * WINDOWS];
    for (size_t at = 0; at < WINDOWS; at++) {
        memcpy(&word[at], a + at, 8);
        memcpy(&word[WINDOWS + at], b + at, 8);
    }
    qsort(word, 2 * WINDOWS, sizeof *word, compare_words);
    for (size_t i = 1; i < 2 * WINDOWS; i++) {
        assert_true(word[i] != word[i - 1]);
    }
}

/* Everything the server holds of one client's input, for x = 0 and x = const: uniform, and no 8
 * bytes of it shared with another upload, of this session or one before (Spec 7.1). */
static void test_single_uploads_are_uniform(void **state)
{
    (void)state;
    cohort c;
    static uint8_t before[HEAD_COMPARED];
    cohort_open(&c, 5, BIG_DIM, 6);
    for (uint32_t run = 0; run < 6; run++) {
        c.d.codec.ring_bits = 16 + 8 * (run / 2);
        c.d.session_id[0] = (uint8_t)run;
        assert_int_equal(shoal_codec_fit_scale(&c.d.codec, NULL), SHOAL_OK);
        cohort_start(&c);
        cohort_run(&c, SHOAL_SA_CONFIRM);
        for (size_t i = 0; i < 5; i++) {
            upload_constant(&c, i, run % 2 == 0 ? 0 : 0x00123456u);
            double x2 = chi_square(packed_of(&c, i),
                                   c.dev[i].sent[SHOAL_SA_INPUT].len - SHOAL_SA_INPUT_HEAD_BYTES);
            assert_true(x2 < 400.0 && x2 > 130.0);
        }
        for (size_t i = 1; i < 5; i++) {
            assert_nothing_shared(packed_of(&c, 0), packed_of(&c, i));
        }
        if (run > 0) assert_nothing_shared(packed_of(&c, 0), before);
        memcpy(before, packed_of(&c, 0), sizeof before);
    }
    cohort_close(&c);
}

/* The test above can fail: a constant vector without masks is far from uniform. */
static void test_chi_square_sees_plain_vectors(void **state)
{
    (void)state;
    static uint8_t plain[30000];
    for (size_t i = 0; i < sizeof plain; i++) {
        plain[i] = (uint8_t)(0x123456u >> (8 * (i % 3)));
    }
    assert_true(chi_square(plain, sizeof plain) > 10000.0);
}

/* The server's own running sum, before the masks are off, is as uniform as an upload. */
static void test_running_sum_is_uniform(void **state)
{
    (void)state;
    enum { DIM = 1 << 17 };
    cohort c;
    cohort_open(&c, 3, DIM, 7);
    cohort_start(&c);
    cohort_run(&c, SHOAL_SA_SURVIVORS);
    assert_null(shoal_sa_server_sum(c.server));
    size_t bytes = shoal_packed_bytes(DIM + 1, c.d.codec.ring_bits);
    uint8_t *packed = shoal_alloc(bytes);
    shoal_pack(c.server->sum, DIM + 1, c.d.codec.ring_bits, packed);
    assert_true(chi_square(packed, bytes) < 400.0);
    shoal_free(packed);
    cohort_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everyone_stays),
        cmocka_unit_test(test_every_ring_width),
        cmocka_unit_test(test_decoded_mean),
        cmocka_unit_test(test_four_with_one_drop),
        cmocka_unit_test(test_any_number_of_threads),
        cmocka_unit_test(test_missed_claim),
        cmocka_unit_test(test_repeats_are_acknowledged),
        cmocka_unit_test(test_single_uploads_are_uniform),
        cmocka_unit_test(test_chi_square_sees_plain_vectors),
        cmocka_unit_test(test_running_sum_is_uniform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
