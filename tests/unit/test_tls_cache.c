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

static void put_of(tls_cache *c, uint64_t who, uint64_t i, size_t n, int64_t now_s)
{
    static uint8_t data[TLS_CACHE_BYTES + 1];
    uint8_t id[TLS_CACHE_ID], owner[TLS_CACHE_OWNER];
    id_of(i, id);
    id_of(~who, owner);
    memset(data, (int)(i % 251), sizeof data);
    tls_cache_put(c, id, owner, data, n, now_s);
}

/* Each from an owner of its own. */
static void put(tls_cache *c, uint64_t i, size_t n, int64_t now_s)
{
    put_of(c, i, i, n, now_s);
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

/* As many as there is room for stay; of twice as many, the newest half. */
static void test_the_oldest_leave(void **state)
{
    (void)state;
    enum { ROOM = 1000 };
    tls_cache c;
    assert_true(tls_cache_init(&c, ROOM, 100000));
    for (uint64_t i = 0; i < ROOM; i++) {
        put(&c, i, 100, 5);
    }
    for (uint64_t i = 0; i < ROOM; i++) {
        assert_non_null(find(&c, i, 5));
    }
    for (uint64_t i = ROOM; i < 2 * ROOM; i++) {
        put(&c, i, 100, 5);
    }
    for (uint64_t i = 0; i < 2 * ROOM; i++) {
        assert_int_equal(find(&c, i, 5) != NULL, i >= ROOM);
    }
    tls_cache_clear(&c);
}

/* A client that makes sessions without end has its newest, and everybody else has theirs. */
static void test_no_owner_pushes_out_others(void **state)
{
    (void)state;
    enum { OTHERS = 60, MANY = 1000 };
    tls_cache c;
    assert_true(tls_cache_init(&c, OTHERS + TLS_CACHE_PER_OWNER, 60));
    for (uint64_t i = 0; i < OTHERS; i++) {
        put(&c, i, 100, 0);
        put_of(&c, OTHERS, OTHERS + i, 100, 0);
    }
    for (uint64_t i = 2 * OTHERS; i < MANY; i++) {
        put_of(&c, OTHERS, i, 100, 0);
    }
    for (uint64_t i = 0; i < MANY; i++) {
        assert_int_equal(find(&c, i, 0) != NULL, i < OTHERS || i >= MANY - TLS_CACHE_PER_OWNER);
    }
    tls_cache_clear(&c);
}

static void test_room_for_none(void **state)
{
    (void)state;
    tls_cache c;
    assert_false(tls_cache_init(&c, 0, 60));
    assert_false(tls_cache_init(&c, SIZE_MAX, 60));
    put(&c, 1, 100, 0);
    assert_null(find(&c, 1, 0));
    tls_cache_clear(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_life), cmocka_unit_test(test_sizes),
                                       cmocka_unit_test(test_the_oldest_leave),
                                       cmocka_unit_test(test_no_owner_pushes_out_others),
                                       cmocka_unit_test(test_room_for_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
