/* The table of sessions that may be resumed by id. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "proto/net/tls_cache.h"

/* An id and a content for each number. */
static void id_of(uint64_t i, uint8_t id[TLS_CACHE_ID])
{
    shoal_rng rng = shoal_rng_init(i);
    for (size_t k = 0; k < TLS_CACHE_ID; k++) {
        id[k] = (uint8_t)shoal_rng_u64(&rng);
    }
}

static void put(tls_cache *c, uint64_t i, size_t n, int64_t now_s)
{
    static uint8_t data[TLS_CACHE_BYTES + 1];
    uint8_t id[TLS_CACHE_ID];
    id_of(i, id);
    memset(data, (int)(i % 251), sizeof data);
    tls_cache_put(c, id, data, n, now_s);
}

static const tls_cached *find(const tls_cache *c, uint64_t i, int64_t now_s)
{
    uint8_t id[TLS_CACHE_ID];
    id_of(i, id);
    return tls_cache_get(c, id, sizeof id, now_s);
}

static void test_life(void **state)
{
    (void)state;
    tls_cache c;
    uint8_t id[TLS_CACHE_ID];
    assert_true(tls_cache_init(&c, 100, 60));
    assert_null(find(&c, 1, 1000));
    put(&c, 1, 500, 1000);
    const tls_cached *got = find(&c, 1, 1060);
    assert_non_null(got);
    assert_int_equal(got->n, 500);
    assert_int_equal(got->data[0], 1);
    assert_int_equal(got->data[499], 1);
    assert_null(find(&c, 1, 1061));
    assert_null(find(&c, 1, 999)); /* the clock was set back */
    assert_null(find(&c, 2, 1000));
    id_of(1, id);
    assert_null(tls_cache_get(&c, id, 31, 1000));
    assert_null(tls_cache_get(&c, id, 0, 1000));
    tls_cache_clear(&c);
    assert_null(find(&c, 1, 1000));
}

static void test_sizes(void **state)
{
    (void)state;
    tls_cache c;
    assert_true(tls_cache_init(&c, 1, 60));
    put(&c, 1, 0, 0);
    put(&c, 1, TLS_CACHE_BYTES + 1, 0);
    assert_null(find(&c, 1, 0));
    put(&c, 1, TLS_CACHE_BYTES, 0);
    assert_non_null(find(&c, 1, 0));
    tls_cache_clear(&c);
}

/* With twice as many as there is room for, the newest are there, and nothing leaves early by
 * much: rows fill unevenly. */
static void test_the_oldest_leave(void **state)
{
    (void)state;
    tls_cache c;
    assert_true(tls_cache_init(&c, 1024, 100000));
    for (uint64_t i = 0; i < 2048; i++) {
        put(&c, i, 100, (int64_t)i);
    }
    size_t old = 0, recent = 0;
    for (uint64_t i = 0; i < 2048; i++) {
        bool there = find(&c, i, 2048) != NULL;
        old += there && i < 512;
        recent += there && i >= 1536;
    }
    assert_true(recent > 480);
    assert_true(old < 120);
    tls_cache_clear(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_life), cmocka_unit_test(test_sizes),
                                       cmocka_unit_test(test_the_oldest_leave)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
