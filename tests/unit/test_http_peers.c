/* The table of peers and their buckets of tokens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/net/http_peers.h"

static int taken(http_bucket *b, uint32_t rate, uint32_t burst, uint64_t now_ms, int tries)
{
    int n = 0;
    for (int i = 0; i < tries; i++) {
        n += http_bucket_take(b, rate, burst, now_ms);
    }
    return n;
}

static void test_bucket(void **state)
{
    (void)state;
    http_bucket b = {0};
    assert_int_equal(taken(&b, 10, 25, 1000, 100), 25);
    assert_int_equal(taken(&b, 10, 25, 1000, 100), 0);
    assert_int_equal(taken(&b, 10, 25, 1099, 100), 0);
    assert_int_equal(taken(&b, 10, 25, 1100, 100), 1); /* the 99 ms were not lost */
    assert_int_equal(taken(&b, 10, 25, 2100, 100), 10);
    assert_int_equal(taken(&b, 10, 25, 900000000, 100), 25);
    assert_int_equal(taken(&b, 10, 25, UINT64_MAX - 5, 100), 25);
    assert_int_equal(taken(&b, 10, 25, 5, 100), 0); /* a clock that goes back gives nothing */
    http_bucket none = {0};
    assert_int_equal(taken(&none, 0, 0, 0, 1000), 1000);
}

static void expect_key(const char *address, const char *same, bool equal)
{
    uint8_t a[HTTP_PEER_KEY], b[HTTP_PEER_KEY];
    http_peer_key_of_address(address, a);
    http_peer_key_of_address(same, b);
    assert_int_equal(memcmp(a, b, sizeof a) == 0, equal);
}

static void test_addresses(void **state)
{
    (void)state;
    expect_key("127.0.0.1", "127.0.0.1", true);
    expect_key("127.0.0.1", "127.0.0.2", false);
    expect_key("::ffff:10.1.2.3", "10.1.2.3", true);
    expect_key("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true); /* one customer */
    expect_key("2001:db8:1:2::1", "2001:db8:1:3::1", false);
    expect_key("", "not an address", true);
}

static void key_of(uint32_t i, uint8_t key[HTTP_PEER_KEY])
{
    memset(key, 0, HTTP_PEER_KEY);
    memcpy(key, &i, sizeof i);
}

/* Whoever is connected is never forgotten; the rest is, so that the table does not grow with all
 * who ever came. */
static void test_forgetting(void **state)
{
    (void)state;
    uint8_t key[HTTP_PEER_KEY];
    http_peers *t = http_peers_open(77);
    assert_non_null(t);
    key_of(1, key);
    http_peer *stays = http_peers_get(t, key, 0);
    stays->n_conns = 1;
    for (uint32_t i = 2; i < 200000; i++) {
        key_of(i, key);
        assert_non_null(http_peers_get(t, key, (uint64_t)i * 10)); /* 100 a second */
    }
    assert_true(http_peers_count(t) < 20000);
    key_of(1, key);
    assert_ptr_equal(http_peers_get(t, key, 2000000), stays);
    stays->n_conns = 0;
    http_peers_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bucket),
                                       cmocka_unit_test(test_addresses),
                                       cmocka_unit_test(test_forgetting)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
