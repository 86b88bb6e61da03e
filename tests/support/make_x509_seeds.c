/* make_x509_seeds.c - writes a right input for each reader of fuzz_x509: seed_00 .. in a directory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "proto/x509.h"

enum { NOW = 1790000000 };

static unsigned g_next;
static const char *g_dir;

static void write_seed(uint8_t reader, const shoal_buf *b)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/seed_%02u", g_dir, g_next++);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(&reader, 1, 1, f) + fwrite(b->data, 1, b->len, f), b->len + 1);
    assert_int_equal(fclose(f), 0);
}

static void write_seeds(void **state)
{
    (void)state;
    static const uint8_t scalars[2][32] = {{7}, {9}}; /* the first is the CA's in fuzz_x509 */
    static const char *const hosts[2] = {"127.0.0.1", "shoal.example"};
    shoal_key *ca_key = NULL, *key = NULL;
    uint8_t spki[SHOAL_SPKI_BYTES];
    shoal_buf b = shoal_buf_init(4096), ca = shoal_buf_init(SHOAL_LIMIT_CERT);
    assert_int_equal(shoal_key_from_scalar(&ca_key, scalars[0], NULL), SHOAL_OK);
    assert_int_equal(shoal_key_from_scalar(&key, scalars[1], NULL), SHOAL_OK);
    assert_int_equal(shoal_ca_create(ca_key, "fuzz", NOW - 60, NOW + 3600, NULL, &ca, NULL),
                     SHOAL_OK);
    shoal_key_spki(key, spki);
    for (uint8_t kind = 0; kind < 2; kind++) {
        shoal_cert_template t = {.kind = kind == 0 ? SHOAL_CERT_CLIENT : SHOAL_CERT_SERVER,
                                 .spki = spki,
                                 .hosts = hosts,
                                 .n_hosts = kind == 0 ? 0 : 2,
                                 .not_before_s = NOW - 60,
                                 .not_after_s = NOW + 600};
        assert_int_equal(shoal_cert_issue(ca_key, ca.data, ca.len, &t, &b, NULL), SHOAL_OK);
        write_seed(kind, &b);
        shoal_buf_clear(&b);
    }
    write_seed(2, &ca);
    assert_int_equal(shoal_key_encode_pem(key, &b, NULL), SHOAL_OK);
    write_seed(3, &b);
    shoal_buf_clear(&b);
    assert_int_equal(shoal_key_encode_der(key, &b, NULL), SHOAL_OK);
    write_seed(3, &b);
    shoal_buf_clear(&b);
    assert_int_equal(shoal_csr_create(key, &b, NULL), SHOAL_OK);
    write_seed(4, &b);
    shoal_buf_clear(&b);
    shoal_buf_clear(&ca);
    shoal_key_close(key);
    shoal_key_close(ca_key);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(write_seeds)};
    if (argc != 2) return 2;
    g_dir = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
