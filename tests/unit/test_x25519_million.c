/* test_x25519_million.c - RFC 7748, 5.2, the last line: a million iterations. By libcrypto, in a
 * minute or two; skipped without it, since mbedTLS alone takes half an hour. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/buf.h"
#include "proto/crypto.h"
#include "proto/crypto_libcrypto.h"

static void test_million(void **state)
{
    (void)state;
    uint8_t k[32] = {9}, u[32] = {9}, out[32];
    char hex[65];
    for (int i = 0; i < 1000000; i++) {
        assert_int_equal(shoal_x25519(out, k, u, NULL), SHOAL_OK);
        memcpy(u, k, 32);
        memcpy(k, out, 32);
    }
    shoal_hex_encode(k, 32, hex);
    assert_string_equal(hex, "7c3911e0ab2586fd864497297e575e6f3bc601c0883c30df5f4dd2d24f665424");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_million)};
    if (!shoal_libcrypto_ready()) {
        (void)fprintf(stderr, "skipped: no libcrypto\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
