/* test_base.c - status, memory, buffers, generator, threads: what everything stands on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/base/status.h"
#include "kernels/base/threads.h"

static void status_carries_message_and_hint(void **state)
{
    (void)state;
    shoal_error err = {0};
    assert_int_equal(shoal_fail(&err, SHOAL_ERR_FORMAT, "line %d is bad", 7), SHOAL_ERR_FORMAT);
    shoal_hint(&err, "see %s", "README");
    assert_string_equal(err.msg, "line 7 is bad");
    assert_string_equal(err.hint, "see README");
    assert_int_equal(shoal_fail(NULL, SHOAL_ERR_IO, "x"), SHOAL_ERR_IO);
}

static void status_of_errno_names_full_disk(void **state)
{
    (void)state;
    shoal_error err = {0};
    assert_int_equal(shoal_fail_errno(&err, ENOSPC, "cannot write f"), SHOAL_ERR_FULL);
    assert_non_null(strstr(err.msg, "cannot write f: "));
    assert_int_equal(shoal_fail_errno(&err, ENOENT, "f"), SHOAL_ERR_NOT_FOUND);
    assert_int_equal(shoal_fail_errno(&err, EPERM, "f"), SHOAL_ERR_IO);
}

static void status_message_is_cut_not_overrun(void **state)
{
    (void)state;
    shoal_error err = {0};
    char big[2000];
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    (void)shoal_fail_errno(&err, EIO, "%s", big);
    assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
}

static void every_status_has_a_sentence(void **state)
{
    (void)state;
    for (int st = SHOAL_OK; st >= SHOAL_ERR_INTERNAL; st--) {
        assert_string_not_equal(shoal_status_text((shoal_status)st), "unknown status");
    }
}

static void checked_sizes_refuse_overflow(void **state)
{
    (void)state;
    size_t out = 5;
    assert_false(shoal_mul_size(SIZE_MAX / 2, 3, &out));
    assert_int_equal(out, 5);
    assert_true(shoal_mul_size(1000, 1000, &out));
    assert_int_equal(out, 1000000);
    assert_false(shoal_add_size(SIZE_MAX, 1, &out));
    assert_null(shoal_calloc(SIZE_MAX / 2, 3));
}

static void arena_gives_what_was_planned_and_no_more(void **state)
{
    (void)state;
    size_t plan = 0;
    assert_true(shoal_arena_add(&plan, 10, sizeof(float)));
    assert_true(shoal_arena_add(&plan, 1, 1));
    assert_int_equal(plan, 128);
    assert_false(shoal_arena_add(&plan, SIZE_MAX, 2));
    shoal_arena a = {0};
    assert_int_equal(shoal_arena_open(&a, plan, NULL), SHOAL_OK);
    void *p = shoal_arena_take(&a, 10, sizeof(float));
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 64, 0);
    assert_non_null(shoal_arena_take(&a, 1, 1));
    assert_null(shoal_arena_take(&a, 1, 1));
    shoal_arena_close(&a);
    shoal_arena_close(&a);
}

static void allocator_hook_fails_once_or_for_good(void **state)
{
    (void)state;
    shoal_mem_fail_at(2, false);
    void *a = shoal_alloc(1);
    assert_non_null(a);
    assert_null(shoal_alloc(1));
    void *b = shoal_alloc(1);
    assert_non_null(b);
    shoal_mem_fail_at(1, true);
    assert_null(shoal_alloc(1));
    assert_null(shoal_alloc_aligned(1));
    shoal_mem_fail_at(0, false);
    shoal_free(a);
    shoal_free(b);
}

static void buffer_keeps_its_maximum(void **state)
{
    (void)state;
    shoal_buf b = shoal_buf_init(100);
    assert_string_equal(shoal_buf_str(&b), "");
    for (int i = 0; i < 100; i++) {
        assert_true(shoal_buf_put_u8(&b, (uint8_t)i));
    }
    assert_false(shoal_buf_put_u8(&b, 0));
    assert_true(b.failed);
    assert_int_equal(b.len, 100);
    shoal_error err = {0};
    assert_int_equal(shoal_buf_status(&b, &err), SHOAL_ERR_TOO_LARGE);
    shoal_buf_clear(&b);
    assert_true(shoal_buf_putf(&b, "%d-%s", 12, "ab"));
    assert_string_equal(shoal_buf_str(&b), "12-ab");
    shoal_buf_wipe(&b);
}

static void buffer_survives_a_failing_allocation(void **state)
{
    (void)state;
    shoal_buf b = shoal_buf_init(1000);
    assert_true(shoal_buf_put_str(&b, "kept"));
    shoal_mem_fail_at(1, false);
    char big[500] = {0};
    assert_false(shoal_buf_put(&b, big, sizeof big));
    assert_string_equal(shoal_buf_str(&b), "kept");
    shoal_mem_fail_at(0, false);
    shoal_buf_clear(&b);
}

static void cursor_round_trips_and_stops_at_the_end(void **state)
{
    (void)state;
    shoal_buf b = shoal_buf_init(64);
    assert_true(shoal_buf_put_u16(&b, 0x1234) && shoal_buf_put_u32(&b, 0xdeadbeef) &&
                shoal_buf_put_u64(&b, UINT64_C(0x0123456789abcdef)) && shoal_buf_put_u8(&b, 9));
    for (size_t n = 0; n <= b.len; n++) {
        shoal_cursor c = shoal_cursor_init(b.data, n);
        uint16_t u16 = shoal_cursor_u16(&c);
        uint32_t u32 = shoal_cursor_u32(&c);
        uint64_t u64 = shoal_cursor_u64(&c);
        uint8_t u8 = shoal_cursor_u8(&c);
        assert_int_equal(shoal_cursor_done(&c), n == b.len);
        if (n == b.len) {
            assert_int_equal(u16, 0x1234);
            assert_int_equal(u32, 0xdeadbeef);
            assert_true(u64 == UINT64_C(0x0123456789abcdef));
            assert_int_equal(u8, 9);
        }
    }
    shoal_cursor c = shoal_cursor_init(b.data, b.len);
    assert_null(shoal_cursor_bytes(&c, UINT64_MAX));
    assert_true(c.failed);
    uint8_t copy[4] = {1, 1, 1, 1};
    assert_false(shoal_cursor_copy(&c, copy, sizeof copy));
    assert_int_equal(copy[0] + copy[3], 0);
    shoal_buf_clear(&b);
}

static void numbers_and_hex_parse_strictly(void **state)
{
    (void)state;
    uint64_t v = 0;
    assert_true(shoal_parse_u64("18446744073709551615", &v));
    assert_true(v == UINT64_MAX);
    assert_false(shoal_parse_u64("18446744073709551616", &v));
    assert_false(shoal_parse_u64("", &v));
    assert_false(shoal_parse_u64("1x", &v));
    assert_false(shoal_parse_u64("-1", &v));
    uint8_t bytes[3] = {0x00, 0xab, 0xff};
    char hex[7];
    shoal_hex_encode(bytes, 3, hex);
    assert_string_equal(hex, "00abff");
    uint8_t back[3];
    assert_true(shoal_hex_decode("00ABff", back, 3));
    assert_memory_equal(back, bytes, 3);
    assert_false(shoal_hex_decode("00abf", back, 3));
    assert_false(shoal_hex_decode("00abfg", back, 3));
}

/* First outputs of xoshiro256** after splitmix64(42), computed with an independent Python version:
 *   python3 tests/kat/gen/xoshiro.py 42 */
static void generator_matches_reference_and_is_uniform(void **state)
{
    (void)state;
    shoal_rng r = shoal_rng_init(42);
    assert_true(shoal_rng_u64(&r) == UINT64_C(1546998764402558742));
    assert_true(shoal_rng_u64(&r) == UINT64_C(6990951692964543102));
    size_t seen[7] = {0};
    for (int i = 0; i < 70000; i++) {
        seen[shoal_rng_below(&r, 7)]++;
    }
    for (int i = 0; i < 7; i++) {
        assert_in_range(seen[i], 9500, 10500);
    }
    double sum = 0.0;
    double sq = 0.0;
    for (int i = 0; i < 100000; i++) {
        double x = shoal_rng_normal(&r);
        sum += x;
        sq += x * x;
    }
    assert_true(sum / 1e5 < 0.02 && sum / 1e5 > -0.02);
    assert_true(sq / 1e5 < 1.03 && sq / 1e5 > 0.97);
}

typedef struct loop_probe {
    size_t grain;
    size_t n;
    unsigned char hits[5000];
    size_t bad_ranges;
} loop_probe;

static void probe_range(void *ctx, size_t begin, size_t end, unsigned worker)
{
    loop_probe *p = ctx;
    (void)worker;
    if (begin % p->grain != 0 || (end != p->n && end != begin + p->grain)) {
        p->bad_ranges++;
    }
    for (size_t i = begin; i < end; i++) {
        p->hits[i]++;
    }
}

static void parallel_loop_covers_each_item_once(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= 7; threads += 3) {
        shoal_pool *pool = NULL;
        assert_int_equal(shoal_pool_open(&pool, threads, NULL), SHOAL_OK);
        assert_int_equal(shoal_pool_size(pool), threads);
        for (size_t n = 0; n < 5000; n = n * 2 + 1) {
            loop_probe p = {.grain = 13, .n = n};
            shoal_parallel_for(pool, n, 13, probe_range, &p);
            assert_int_equal(p.bad_ranges, 0);
            for (size_t i = 0; i < n; i++) {
                assert_int_equal(p.hits[i], 1);
            }
        }
        shoal_pool_close(pool);
    }
    shoal_pool_close(NULL);
}

static void add_one(void *ctx, size_t begin, size_t end, unsigned worker)
{
    unsigned *counts = ctx;
    (void)begin;
    (void)end;
    counts[worker]++;
}

static void parallel_loop_survives_many_short_jobs(void **state)
{
    (void)state;
    shoal_pool *pool = NULL;
    assert_int_equal(shoal_pool_open(&pool, 3, NULL), SHOAL_OK);
    unsigned counts[3] = {0};
    for (int i = 0; i < 5000; i++) {
        shoal_parallel_for(pool, 4, 1, add_one, counts);
    }
    assert_int_equal(counts[0] + counts[1] + counts[2], 20000);
    assert_int_equal(shoal_pool_sections(pool), 5000);
    shoal_pool_close(pool);
}

static void cpu_mask_parses_names_and_hex(void **state)
{
    (void)state;
    uint32_t mask = 1;
    assert_true(shoal_cpu_mask_parse("c", &mask));
    assert_int_equal(mask, 0);
    assert_true(shoal_cpu_mask_parse("avx2", &mask));
    assert_int_equal(mask, SHOAL_CPU_AVX2);
    assert_true(shoal_cpu_mask_parse("avxvnni", &mask));
    assert_int_equal(mask, SHOAL_CPU_AVX2 | SHOAL_CPU_AVXVNNI);
    assert_true(shoal_cpu_mask_parse("avx512", &mask));
    assert_int_equal(mask, SHOAL_CPU_AVX2 | SHOAL_CPU_AVXVNNI | SHOAL_CPU_AVX512);
    assert_true(shoal_cpu_mask_parse("neon", &mask));
    assert_int_equal(mask, SHOAL_CPU_NEON);
    assert_true(shoal_cpu_mask_parse("dotprod", &mask));
    assert_int_equal(mask, SHOAL_CPU_NEON | SHOAL_CPU_DOTPROD);
    assert_true(shoal_cpu_mask_parse("i8mm", &mask));
    assert_int_equal(mask, SHOAL_CPU_NEON | SHOAL_CPU_DOTPROD | SHOAL_CPU_I8MM);
    assert_true(shoal_cpu_mask_parse("0x3", &mask));
    assert_int_equal(mask, 3);
    assert_false(shoal_cpu_mask_parse("fast", &mask));
    assert_false(shoal_cpu_mask_parse("", &mask));
}

/* Bits from Intel's SDM, volume 2, CPUID; each one missing takes its level away. */
static void x86_flags_need_instructions_and_saved_registers(void **state)
{
    (void)state;
    const shoal_cpuid full = {.ecx1 = 1u << 12 | 1u << 27 | 1u << 29,
                              .ebx7 = 1u << 5 | 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31,
                              .ecx7 = 1u << 11,
                              .eax7_1 = 1u << 4,
                              .xcr0 = 0xe7};
    const uint32_t both = SHOAL_CPU_AVX2 | SHOAL_CPU_AVXVNNI;
    assert_int_equal(shoal_cpu_flags_x86(&full), both | SHOAL_CPU_AVX512);
    for (uint32_t b = 0; b < 32; b++) {
        shoal_cpuid ecx1 = full, ebx7 = full, ecx7 = full, xcr0 = full;
        ecx1.ecx1 &= ~(1u << b);
        ebx7.ebx7 &= ~(1u << b);
        ecx7.ecx7 &= ~(1u << b);
        xcr0.xcr0 &= ~(1u << b);
        uint32_t wide = b == 16 || b == 17 || b >= 30 ? both : both | SHOAL_CPU_AVX512;
        assert_int_equal(shoal_cpu_flags_x86(&ebx7), b == 5 ? 0 : wide);
        assert_int_equal(shoal_cpu_flags_x86(&ecx7), b == 11 ? both : both | SHOAL_CPU_AVX512);
        bool needed = b == 12 || b == 27 || b == 29;
        assert_int_equal(shoal_cpu_flags_x86(&ecx1), needed ? 0 : both | SHOAL_CPU_AVX512);
        wide = b >= 5 && b <= 7 ? both : both | SHOAL_CPU_AVX512;
        assert_int_equal(shoal_cpu_flags_x86(&xcr0), b == 1 || b == 2 ? 0 : wide);
    }
    shoal_cpuid no_vnni = full;
    no_vnni.eax7_1 = 0;
    assert_int_equal(shoal_cpu_flags_x86(&no_vnni), SHOAL_CPU_AVX2 | SHOAL_CPU_AVX512);
}

/* Bits from Linux's hwcap.h for arm64; i8mm kernels use sdot too, so they need both. */
static void arm_flags_follow_the_words_of_the_kernel(void **state)
{
    (void)state;
    const unsigned long dotprod = 1ul << 20, i8mm = 1ul << 13;
    const uint32_t two = SHOAL_CPU_NEON | SHOAL_CPU_DOTPROD;
    assert_int_equal(shoal_cpu_flags_arm(0, 0), SHOAL_CPU_NEON);
    assert_int_equal(shoal_cpu_flags_arm(~dotprod, ~0ul), SHOAL_CPU_NEON);
    assert_int_equal(shoal_cpu_flags_arm(dotprod, 0), two);
    assert_int_equal(shoal_cpu_flags_arm(dotprod, ~i8mm), two);
    assert_int_equal(shoal_cpu_flags_arm(dotprod, i8mm), two | SHOAL_CPU_I8MM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(x86_flags_need_instructions_and_saved_registers),
        cmocka_unit_test(arm_flags_follow_the_words_of_the_kernel),
        cmocka_unit_test(status_carries_message_and_hint),
        cmocka_unit_test(status_of_errno_names_full_disk),
        cmocka_unit_test(status_message_is_cut_not_overrun),
        cmocka_unit_test(every_status_has_a_sentence),
        cmocka_unit_test(checked_sizes_refuse_overflow),
        cmocka_unit_test(arena_gives_what_was_planned_and_no_more),
        cmocka_unit_test(allocator_hook_fails_once_or_for_good),
        cmocka_unit_test(buffer_keeps_its_maximum),
        cmocka_unit_test(buffer_survives_a_failing_allocation),
        cmocka_unit_test(cursor_round_trips_and_stops_at_the_end),
        cmocka_unit_test(numbers_and_hex_parse_strictly),
        cmocka_unit_test(generator_matches_reference_and_is_uniform),
        cmocka_unit_test(parallel_loop_covers_each_item_once),
        cmocka_unit_test(parallel_loop_survives_many_short_jobs),
        cmocka_unit_test(cpu_mask_parses_names_and_hex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
