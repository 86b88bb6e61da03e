/* The scan of a ClientHello: what is one, what is not yet one, and what never becomes one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "proto/net/tls_hello.h"

static void put16(shoal_buf *b, size_t v)
{
    shoal_buf_put_u8(b, (uint8_t)(v >> 8));
    shoal_buf_put_u8(b, (uint8_t)v);
}

static void put_extension(shoal_buf *b, unsigned type, size_t n)
{
    put16(b, type);
    put16(b, n);
    for (size_t i = 0; i < n; i++) {
        shoal_buf_put_u8(b, 7);
    }
}

/* Record and handshake heads around a body. */
static shoal_buf wrap(const shoal_buf *body)
{
    shoal_buf out = shoal_buf_init(1 << 17);
    shoal_buf_put(&out, "\x16\x03\x01", 3);
    put16(&out, body->len + 4);
    shoal_buf_put_u8(&out, 1);
    shoal_buf_put_u8(&out, (uint8_t)(body->len >> 16));
    put16(&out, body->len & 0xffff);
    shoal_buf_put(&out, body->data, body->len);
    return out;
}

static shoal_buf begin(void)
{
    shoal_buf b = shoal_buf_init(1 << 17);
    put16(&b, 0x0303);
    for (int i = 0; i < 32; i++) {
        shoal_buf_put_u8(&b, (uint8_t)i);
    }
    shoal_buf_put_u8(&b, 0);                  /* session id */
    shoal_buf_put(&b, "\x00\x02\xcc\xa9", 4); /* suites */
    shoal_buf_put(&b, "\x01\x00", 2);         /* compressions */
    return b;
}

/* With these extensions, types and lengths in turn. */
static shoal_buf hello(const unsigned *ext, size_t n)
{
    shoal_buf list = shoal_buf_init(1 << 17);
    for (size_t i = 0; i < n; i++) {
        put_extension(&list, ext[2 * i], ext[2 * i + 1]);
    }
    shoal_buf body = begin();
    put16(&body, list.len);
    shoal_buf_put(&body, list.data, list.len);
    shoal_buf out = wrap(&body);
    shoal_buf_clear(&body);
    shoal_buf_clear(&list);
    return out;
}

static void expect(shoal_buf b, tls_hello_state want, bool secret, bool ticket)
{
    tls_hello h;
    assert_int_equal(tls_hello_scan(b.data, b.len, &h), want);
    if (want == TLS_HELLO_READY) {
        assert_int_equal(h.master_secret, secret);
        assert_int_equal(h.ticket, ticket);
    }
    shoal_buf_clear(&b);
}

static void test_extensions(void **state)
{
    (void)state;
    static const unsigned NONE[] = {10, 4}, SECRET[] = {10, 4, 23, 0}, EMPTY[] = {35, 0, 23, 0},
                          TICKET[] = {23, 0, 35, 900, 13, 8}, TWICE[] = {23, 0, 23, 0},
                          LONG[] = {23, 1};
    expect(hello(NONE, 1), TLS_HELLO_READY, false, false);
    expect(hello(SECRET, 2), TLS_HELLO_READY, true, false);
    expect(hello(EMPTY, 2), TLS_HELLO_READY, true, false); /* wants a ticket, has none */
    expect(hello(TICKET, 3), TLS_HELLO_READY, true, true);
    expect(hello(TWICE, 2), TLS_HELLO_BAD, false, false);
    expect(hello(LONG, 1), TLS_HELLO_BAD, false, false);
    unsigned many[2 * 65];
    for (unsigned i = 0; i < 65; i++) {
        many[2 * i] = 100 + i;
        many[2 * i + 1] = 0;
    }
    expect(hello(many, 64), TLS_HELLO_READY, false, false);
    expect(hello(many, 65), TLS_HELLO_BAD, false, false);
}

static void test_sizes(void **state)
{
    (void)state;
    const unsigned largest[] = {21, TLS_HELLO_MAX - 5 - 4 - 41 - 2 - 4};
    const unsigned over[] = {21, TLS_HELLO_MAX - 5 - 4 - 41 - 2 - 3};
    expect(hello(largest, 1), TLS_HELLO_READY, false, false);
    expect(hello(over, 1), TLS_HELLO_BAD, false, false);
    shoal_buf body = begin(); /* no extensions at all: not a client of ours */
    expect(wrap(&body), TLS_HELLO_BAD, false, false);
    shoal_buf_clear(&body);
}

/* Every beginning asks for more; one byte after the record is nobody's business here. */
static void test_prefixes(void **state)
{
    (void)state;
    static const unsigned EXT[] = {23, 0, 35, 200};
    shoal_buf b = hello(EXT, 2);
    tls_hello h;
    for (size_t n = 0; n < b.len; n++) {
        uint8_t *exact = shoal_alloc(n > 0 ? n : 1); /* a sanitizer sees reads beyond */
        memcpy(exact, b.data, n);
        assert_int_equal(tls_hello_scan(exact, n, &h), TLS_HELLO_MORE);
        shoal_free(exact);
    }
    shoal_buf_put_u8(&b, 0xff);
    assert_int_equal(tls_hello_scan(b.data, b.len, &h), TLS_HELLO_READY);
    shoal_buf_clear(&b);
}

/* Lengths that lie, in every place and by every amount. */
static void test_changed_bytes(void **state)
{
    (void)state;
    static const unsigned EXT[] = {10, 4, 23, 0, 35, 20};
    shoal_buf b = hello(EXT, 3);
    shoal_rng rng = shoal_rng_init(5);
    tls_hello h;
    size_t bad = 0;
    for (size_t at = 0; at < b.len; at++) {
        for (unsigned v = 0; v < 256; v++) {
            uint8_t old = b.data[at];
            b.data[at] = (uint8_t)v;
            bad += tls_hello_scan(b.data, b.len, &h) == TLS_HELLO_BAD;
            b.data[at] = old;
        }
    }
    assert_true(bad > 256 * 9); /* the heads at least */
    for (int i = 0; i < 200000; i++) {
        uint8_t copy[256];
        memcpy(copy, b.data, b.len);
        for (uint64_t k = 1 + shoal_rng_below(&rng, 6); k > 0; k--) {
            copy[shoal_rng_below(&rng, b.len)] = (uint8_t)shoal_rng_u64(&rng);
        }
        (void)tls_hello_scan(copy, (size_t)shoal_rng_below(&rng, b.len + 1), &h);
    }
    shoal_buf_clear(&b);
}

static void test_not_a_hello(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {"GET / HTTP/1.1\r\n\r\n", "\x15\x03\x01\x00\x02\x02\x28",
                                        "\x80\x2e\x01\x03\x01", "\x16\x02\x01", "\x16\x03\x01\x40"};
    tls_hello h;
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        uint8_t data[64] = {0};
        memcpy(data, TEXTS[i], strlen(TEXTS[i]));
        assert_int_equal(tls_hello_scan(data, 16, &h), TLS_HELLO_BAD);
    }
    assert_int_equal(tls_hello_scan((const uint8_t *)"\x16\x03\x01\x00\x20\x02\x00\x00\x1c", 9, &h),
                     TLS_HELLO_BAD); /* a handshake message, but another one */
    assert_int_equal(tls_hello_scan((const uint8_t *)"\x16\x03\x01\x00\x20\x01\x00\x00\x1d", 9, &h),
                     TLS_HELLO_BAD); /* not the whole of its record */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_extensions), cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_prefixes), cmocka_unit_test(test_changed_bytes),
        cmocka_unit_test(test_not_a_hello)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
