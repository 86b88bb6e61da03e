/* make_wire_seeds.c - writes one right input for each reader of fuzz_wire: seed_00 .. in a
 * directory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/x509.h"
#include "tests/support/sa_cohort.h"
#include "tests/support/wire_samples.h"

static unsigned g_next;
static const char *g_dir;

static void write_seed(const void *data, size_t n)
{
    char path[512];
    uint8_t which = (uint8_t)g_next;
    (void)snprintf(path, sizeof path, "%s/seed_%02u", g_dir, g_next++);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(&which, 1, 1, f) + fwrite(data, 1, n, f), n + 1);
    assert_int_equal(fclose(f), 0);
}

static void write_control(void)
{
    static wire_any m;
    for (size_t i = 0; i < n_wire_codecs; i++) {
        shoal_buf b = shoal_buf_init(SHOAL_LIMIT_CONTROL);
        memset(&m, 0, sizeof m);
        wire_codecs[i].fill(&m);
        assert_int_equal(wire_codecs[i].encode(&m, &b, NULL), SHOAL_OK);
        write_seed(b.data, b.len);
        shoal_buf_clear(&b);
    }
}

/* M1..M8 of a session of three, in order. */
static void write_session(cohort *c)
{
    cohort_start(c);
    cohort_run(c, SHOAL_SA_UNMASK);
    for (shoal_sa_stage s = SHOAL_SA_ADVERTISE; s <= SHOAL_SA_UNMASK; s++) {
        write_seed(c->dev[0].sent[s].data, c->dev[0].sent[s].len);
        if (s == SHOAL_SA_UNMASK) break;
        shoal_buf m = cohort_message(c, 0, s);
        write_seed(m.data, m.len);
        shoal_buf_clear(&m);
    }
}

static void write_seeds(void **state)
{
    (void)state;
    cohort c;
    uint8_t packed[160] = {0};
    shoal_buf csr = shoal_buf_init(SHOAL_LIMIT_CSR);
    shoal_buf link = shoal_buf_init(SHOAL_LIMIT_LINK);
    shoal_join_link l = {.host = "127.0.0.1", .port = 8443};
    write_control();
    cohort_open(&c, 3, 10, 1);
    write_session(&c);
    assert_int_equal(shoal_csr_create(c.dev[0].key, &csr, NULL), SHOAL_OK);
    write_seed(csr.data, csr.len);
    write_seed(c.dev[0].cert.data, c.dev[0].cert.len);
    write_seed(packed, sizeof packed);
    assert_int_equal(shoal_join_link_encode(&l, &link, NULL), SHOAL_OK);
    write_seed(link.data, link.len);
    shoal_buf_clear(&csr);
    shoal_buf_clear(&link);
    cohort_close(&c);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(write_seeds)};
    if (argc != 2) return 2;
    g_dir = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
