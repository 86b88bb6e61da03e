/* test_exec.c - choice of kernels, their self-check, and scratch memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "kernels/base/cpu.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/table.h"
#include "tests/support/kernel_test.h"

static void mask_chooses_the_level(void **state)
{
    (void)state;
    shoal_exec c = kt_exec_open(0, 1);
    shoal_exec best = kt_exec_open(SHOAL_CPU_ALL, 1);
    assert_string_equal(shoal_exec_name(&c), "c");
    bool avx2 = (shoal_cpu_flags() & SHOAL_CPU_AVX2) != 0;
    assert_int_equal(strcmp(shoal_exec_name(&best), "c") == 0, shoal_cpu_flags() == 0);
    shoal_exec low = kt_exec_open(SHOAL_CPU_AVX2, 1);
    assert_string_equal(shoal_exec_name(&low), avx2 ? "avx2" : "c");
    kt_exec_close(&c);
    kt_exec_close(&best);
    kt_exec_close(&low);
}

/* Equal for equal choices, wherever their tables lie; one slot put back is another number. */
static void fingerprint_follows_the_slots(void **state)
{
    (void)state;
    shoal_exec c = kt_exec_open(0, 1);
    shoal_exec best = kt_exec_open(SHOAL_CPU_ALL, 1);
    shoal_exec again = kt_exec_open(SHOAL_CPU_ALL, 2);
    uint64_t was = shoal_exec_fingerprint(&best);
    assert_true(shoal_exec_fingerprint(&again) == was);
    assert_int_equal(shoal_exec_fingerprint(&c) == was, shoal_cpu_flags() == 0);
    shoal_table *t = again.scratch;
    t->row_max = c.table->row_max;
    t->rmsnorm = NULL;
    assert_true(shoal_exec_fingerprint(&again) != was);
    kt_exec_close(&c);
    kt_exec_close(&best);
    kt_exec_close(&again);
}

/* On other processors the masks of ARM's levels leave portable C. */
static void arm_levels_are_a_staircase(void **state)
{
    (void)state;
    const uint32_t flags[] = {SHOAL_CPU_NEON, SHOAL_CPU_DOTPROD, SHOAL_CPU_I8MM};
    const char *names[] = {"neon", "dotprod", "i8mm"}, *want = "c";
    uint32_t mask = 0, have = shoal_cpu_flags();
    for (size_t i = 0; i < 3; i++) {
        shoal_table t;
        mask |= flags[i];
        want = (have & flags[i]) != 0 ? names[i] : want;
        shoal_table_select(&t, mask);
        assert_string_equal(t.name, want);
    }
}

typedef struct log_capture {
    unsigned lines;
    char last[256];
} log_capture;

static void capture(void *ctx, shoal_log_level level, const char *module, const char *line)
{
    log_capture *log = ctx;
    (void)level;
    (void)module;
    log->lines++;
    strncpy(log->last, line, sizeof log->last - 1);
}

static void shipped_kernels_pass_their_self_check(void **state)
{
    (void)state;
    shoal_table t;
    log_capture log = {0};
    shoal_log_set(SHOAL_LOG_WARN, capture, &log);
    shoal_table_select(&t, SHOAL_CPU_ALL);
    assert_int_equal(shoal_table_check(&t), 0);
    assert_int_equal(log.lines, 0);
    shoal_log_set(SHOAL_LOG_WARN, NULL, NULL);
}

/* Almost right: the last row of a tile is dropped. */
static void broken_gemm(const float *a, size_t lda, size_t T, const float *panel, size_t k,
                        float *c, size_t ldc, size_t cols, bool add)
{
    shoal_table plain;
    shoal_table_select(&plain, 0);
    plain.gemm_panel(a, lda, T - 1, panel, k, c, ldc, cols, add);
}

static void broken_dot(const void *w, size_t row_bytes, size_t rows, size_t blocks,
                       const void *tile, size_t n, float *y, size_t ldy)
{
    (void)w, (void)row_bytes, (void)blocks, (void)tile;
    for (size_t t = 0; t < n; t++) {
        memset(y + t * ldy, 0, rows * sizeof *y);
    }
}

static void broken_slot_goes_back_to_c_with_one_warning(void **state)
{
    (void)state;
    shoal_table c;
    shoal_table t;
    log_capture log = {0};
    shoal_table_select(&c, 0);
    shoal_table_select(&t, SHOAL_CPU_ALL);
    shoal_dequant_fn *kept = t.dequant[SHOAL_TYPE_Q4_1];
    t.gemm_panel = broken_gemm;
    t.dot_q8[SHOAL_TYPE_Q4_1] = broken_dot;
    shoal_log_set(SHOAL_LOG_WARN, capture, &log);
    assert_int_equal(shoal_table_check(&t), 2);
    shoal_log_set(SHOAL_LOG_WARN, NULL, NULL);
    assert_int_equal(log.lines, 2);
    assert_non_null(strstr(log.last, "slot=gemm_panel"));
    assert_true(t.gemm_panel == c.gemm_panel);
    assert_true(t.dot_q8[SHOAL_TYPE_Q4_1] == c.dot_q8[SHOAL_TYPE_Q4_1]);
    assert_true(t.dequant[SHOAL_TYPE_Q4_1] == kept);
}

static bool has_check(size_t offset)
{
    const shoal_slot_check *lists[] = {shoal_matmul_checks, shoal_rowops_checks};
    for (size_t i = 0; i < 2; i++) {
        for (const shoal_slot_check *s = lists[i]; s->name != NULL; s++) {
            if (s->offset == offset) return true;
        }
    }
    return false;
}

/* Slots are the pointers after the name; each one that a level replaces must be checked. */
static void every_replaced_slot_has_a_self_check(void **state)
{
    (void)state;
    shoal_table c;
    shoal_table_select(&c, 0);
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_table t;
        shoal_table_select(&t, kt_level(level));
        for (size_t at = sizeof c.name; at < sizeof c; at += sizeof(void (*)(void))) {
            bool same = memcmp((char *)&c + at, (char *)&t + at, sizeof(void (*)(void))) == 0;
            assert_true(same || has_check(at));
        }
    }
}

static void workers_have_scratch_of_their_own(void **state)
{
    (void)state;
    shoal_exec ex = kt_exec_open(SHOAL_CPU_ALL, 3);
    for (unsigned w = 0; w < 3; w++) {
        float *s = shoal_exec_scratch(&ex, w);
        assert_int_equal((uintptr_t)s % 64, 0);
        memset(s, (int)w + 1, SHOAL_SCRATCH_FLOATS * sizeof *s);
    }
    for (unsigned w = 0; w < 3; w++) {
        const unsigned char *s = (const unsigned char *)shoal_exec_scratch(&ex, w);
        assert_int_equal(s[0], w + 1);
        assert_int_equal(s[SHOAL_SCRATCH_FLOATS * sizeof(float) - 1], w + 1);
    }
    assert_string_equal(shoal_exec_name(&ex), ex.table->name); /* the table was not overwritten */
    kt_exec_close(&ex);
}

static void open_reports_lack_of_memory(void **state)
{
    (void)state;
    shoal_exec ex;
    shoal_error err = {0};
    shoal_mem_fail_at(1, false);
    assert_int_equal(shoal_exec_open(&ex, NULL, SHOAL_CPU_ALL, false, &err), SHOAL_ERR_NOMEM);
    shoal_mem_fail_at(0, false);
    assert_true(err.msg[0] != '\0');
    shoal_exec_close(&ex);
    shoal_exec_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mask_chooses_the_level),
        cmocka_unit_test(fingerprint_follows_the_slots),
        cmocka_unit_test(arm_levels_are_a_staircase),
        cmocka_unit_test(shipped_kernels_pass_their_self_check),
        cmocka_unit_test(broken_slot_goes_back_to_c_with_one_warning),
        cmocka_unit_test(every_replaced_slot_has_a_self_check),
        cmocka_unit_test(workers_have_scratch_of_their_own),
        cmocka_unit_test(open_reports_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
