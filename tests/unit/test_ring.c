/* test_ring.c - packed ring elements added to an array, against bits taken one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/base/rng.h"
#include "kernels/kernels.h"
#include "kernels/table.h"
#include "tests/support/kernel_test.h"

static uint32_t word_at(const uint8_t *packed, uint32_t bits, size_t i)
{
    uint32_t word = 0;
    for (uint32_t b = 0; b < bits; b++) {
        size_t at = i * bits + b;
        word |= (uint32_t)(packed[at / 8] >> at % 8 & 1) << b;
    }
    return word;
}

/* n words at any alignment; the packed bytes end at a page nobody may read. */
static void check(const shoal_exec *ex, uint32_t bits, size_t n, shoal_rng *rng)
{
    size_t bytes = (n * bits + 7) / 8;
    fenced in = fenced_open(bytes);
    guarded out = guarded_open(n * 4, n % 16 * 4);
    uint8_t *packed = in.p;
    uint32_t *acc = out.p, before[600];
    for (size_t i = 0; i < bytes; i++) {
        packed[i] = (uint8_t)shoal_rng_u64(rng);
    }
    for (size_t i = 0; i < n; i++) {
        before[i] = acc[i] = (uint32_t)shoal_rng_u64(rng);
    }
    shoal_ring_add(ex, packed, bits, acc, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(acc[i], before[i] + word_at(packed, bits, i));
    }
    assert_true(guarded_intact(&out));
    fenced_close(&in);
    guarded_close(&out);
}

static void test_widths_and_lengths(void **state)
{
    (void)state;
    shoal_rng rng = shoal_rng_init(3);
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 0);
        for (uint32_t bits = 1; bits <= 32; bits++) {
            for (size_t n = 0; n <= 70; n++) {
                check(&ex, bits, n, &rng);
            }
            check(&ex, bits, 600, &rng);
        }
        kt_exec_close(&ex);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_widths_and_lengths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
