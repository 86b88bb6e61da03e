/* test_delta.c - adapters as deltas: the very bytes back, and nothing for hostile ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "proto/crypto.h"
#include "proto/delta.h"
#include "proto/limits.h"

enum { WORDS = 40000, HEAD = 160 };
static const double STEP = 1.0 / (16384.0 * 700.0);

typedef struct pair {
    size_t n;
    uint8_t *from, *to;
} pair;

static double normal(shoal_rng *r)
{
    double s = 0;
    for (int i = 0; i < 12; i++)
        s += shoal_rng_double(r);
    return s - 6;
}

/* A file as an adapter's: a head that stays, f32 that move by whole steps, and `tail` odd bytes. */
static pair make_pair(size_t tail, uint64_t seed)
{
    pair p = {.n = HEAD + 4 * WORDS + tail};
    shoal_rng r = shoal_rng_init(seed);
    p.from = test_malloc(p.n);
    p.to = test_malloc(p.n);
    for (size_t i = 0; i < p.n; i++)
        p.from[i] = (uint8_t)(i * 7);
    memcpy(p.to, p.from, p.n);
    if (tail > 0) p.to[p.n - 1] ^= 0x55;
    for (size_t i = 0; i < WORDS; i++) {
        float old = (float)(normal(&r) * 0.05);
        if (i % 3 == 0) old = 0;
        float new = old + (float)((double)(int32_t)(normal(&r) * 300) * STEP);
        memcpy(p.from + HEAD + 4 * i, &old, 4);
        memcpy(p.to + HEAD + 4 * i, &new, 4);
    }
    return p;
}

static void free_pair(pair *p)
{
    test_free(p->from);
    test_free(p->to);
}

static shoal_buf encode(const pair *p, double step)
{
    shoal_buf d = shoal_buf_init(p->n);
    assert_int_equal(shoal_delta_encode(p->from, p->to, p->n, step, &d, NULL), SHOAL_OK);
    return d;
}

static shoal_status apply(const pair *p, const shoal_buf *d, shoal_buf *out)
{
    *out = shoal_buf_init(p->n);
    shoal_status st = shoal_delta_apply(p->from, p->n, d->data, d->len, out, NULL);
    if (st != SHOAL_OK) assert_int_equal(out->len, 0);
    return st;
}

static void check_back(const pair *p, double step, size_t at_most)
{
    shoal_buf back, d = encode(p, step);
    print_message("step %g: %zu of %zu bytes\n", step, d.len, p->n);
    assert_true(d.len <= at_most);
    assert_int_equal(apply(p, &d, &back), SHOAL_OK);
    assert_int_equal(back.len, p->n);
    assert_memory_equal(back.data, p->to, p->n);
    shoal_buf_clear(&back);
    shoal_buf_clear(&d);
}

/* Spec 3.8.2 */
static void the_same_bytes_come_back(void **state)
{
    (void)state;
    for (size_t tail = 0; tail < 4; tail++) {
        pair p = make_pair(tail, tail + 1);
        check_back(&p, STEP, p.n * 4 / 10); /* 300 steps: about 10 bits of 32 */
        check_back(&p, 0, p.n * 95 / 100);
        check_back(&p, 12345.0, p.n * 95 / 100); /* a step that fits nothing: XOR */
        check_back(&p, -1, p.n * 95 / 100);
        free_pair(&p);
    }
}

static void odd_words_are_exceptions(void **state)
{
    (void)state;
    pair p = make_pair(3, 9);
    static const uint32_t odd[] = {0x7fc00000, 0xff800000, 0x80000000, 1, 0x7f7fffff};
    for (size_t i = 0; i < 400; i++)
        memcpy(p.to + HEAD + 4 * (i * 97), &odd[i % 5], 4);
    check_back(&p, STEP, p.n * 45 / 100);
    memcpy(p.to, p.from, p.n); /* nothing changed: next to nothing is sent */
    check_back(&p, STEP, 300);
    free_pair(&p);
}

static void what_does_not_shrink_is_refused(void **state)
{
    (void)state;
    uint8_t a[64], b[64];
    shoal_buf d = shoal_buf_init(1000);
    for (size_t i = 0; i < 64; i++)
        a[i] = (uint8_t)(i * i * 31 + 7), b[i] = (uint8_t)(i * 91 + i * i);
    assert_int_equal(shoal_delta_encode(a, b, 64, 0, &d, NULL), SHOAL_ERR_TOO_LARGE);
    assert_int_equal(shoal_delta_encode(a, b, 0, 0, &d, NULL), SHOAL_ERR_TOO_LARGE);
    assert_int_equal(shoal_delta_encode(a, b, (size_t)SHOAL_LIMIT_BLOB + 1, 0, &d, NULL),
                     SHOAL_ERR_TOO_LARGE);
    assert_int_equal(d.len, 0);
    shoal_buf_clear(&d);
}

/* Spec 3.8.1: every changed byte of the head, every cut, another file: refused, or the same file.
 */
static void hostile_deltas_give_nothing(void **state)
{
    (void)state;
    pair p = make_pair(1, 4);
    shoal_buf back, d = encode(&p, STEP);
    for (size_t i = 0; i < SHOAL_DELTA_HEAD_BYTES + 40; i++) {
        d.data[i] ^= 0x10;
        shoal_status st = apply(&p, &d, &back);
        if (st == SHOAL_OK) { /* a last bit of the step, or one that zstd does not look at */
            assert_memory_equal(back.data, p.to, p.n);
        } else {
            assert_true(st == SHOAL_ERR_FORMAT || st == SHOAL_ERR_TAMPERED);
        }
        shoal_buf_clear(&back);
        d.data[i] ^= 0x10;
    }
    for (size_t n = 0; n < d.len; n += n < 200 ? 1 : 997) {
        shoal_buf out = shoal_buf_init(p.n);
        assert_int_equal(shoal_delta_apply(p.from, p.n, d.data, n, &out, NULL), SHOAL_ERR_FORMAT);
        shoal_buf_clear(&out);
    }
    p.from[HEAD] ^= 1;
    assert_int_equal(apply(&p, &d, &back), SHOAL_ERR_FORMAT);
    shoal_buf_clear(&back);
    shoal_buf_clear(&d);
    free_pair(&p);
}

/* Spec 3.8.1: a frame that would unpack to far more than the file. Zeros pack 1:10,000; the head is
 * made to fit the frame, so that only the length of what comes out can refuse it. */
static void a_bomb_does_not_go_off(void **state)
{
    (void)state;
    enum { LARGE = 64 << 20 };
    uint8_t *from = test_calloc(LARGE, 1), *to = test_calloc(LARGE, 1);
    pair p = make_pair(0, 5);
    shoal_buf bomb = shoal_buf_init(LARGE), back, d = encode(&p, STEP);
    assert_int_equal(shoal_delta_encode(from, to, LARGE, STEP, &bomb, NULL), SHOAL_OK);
    memcpy(bomb.data, d.data, 88); /* head of the small file ... */
    memset(bomb.data + 84, 0, 4);  /* ... without exceptions; `packed` stays the bomb's */
    assert_true(bomb.len < p.n);
    assert_int_equal(apply(&p, &bomb, &back), SHOAL_ERR_FORMAT);
    assert_true(back.cap <= 2 * p.n); /* nothing was made for it */
    shoal_buf_clear(&back);
    shoal_buf_clear(&bomb);
    shoal_buf_clear(&d);
    test_free(from);
    test_free(to);
    free_pair(&p);
}

static void a_head_is_judged_by_itself(void **state)
{
    (void)state;
    pair p = make_pair(0, 6);
    shoal_delta_head h;
    shoal_buf d = encode(&p, STEP);
    assert_int_equal(shoal_delta_read_head(d.data, SHOAL_DELTA_HEAD_BYTES, p.n, &h, NULL),
                     SHOAL_OK);
    assert_int_equal(h.packed, d.len - SHOAL_DELTA_HEAD_BYTES);
    assert_int_equal(h.form, 1);
    assert_true(h.step == STEP);
    assert_int_equal(shoal_delta_read_head(d.data, SHOAL_DELTA_HEAD_BYTES, p.n + 4, &h, NULL),
                     SHOAL_ERR_FORMAT);
    assert_int_equal(shoal_delta_read_head(d.data, SHOAL_DELTA_HEAD_BYTES - 1, p.n, &h, NULL),
                     SHOAL_ERR_FORMAT);
    shoal_buf_clear(&d);
    free_pair(&p);
}

int main(void)
{
    if (!shoal_delta_available()) {
        print_message("skipped: this build has no zstd\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_same_bytes_come_back),
                                       cmocka_unit_test(odd_words_are_exceptions),
                                       cmocka_unit_test(what_does_not_shrink_is_refused),
                                       cmocka_unit_test(hostile_deltas_give_nothing),
                                       cmocka_unit_test(a_bomb_does_not_go_off),
                                       cmocka_unit_test(a_head_is_judged_by_itself)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
