/* Curves of any length in bounded room; energy from stand-in sysfs trees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "client/report.h"
#include "tests/support/temp_dir.h"

static void test_curve_keeps_means(void **state)
{
    static shoal_report r;
    (void)state;
    double sum = 0.0;
    for (uint64_t i = 1; i <= 10 * SHOAL_REPORT_POINTS; i++) {
        const shoal_train_step s = {
            .step = i, .loss = (double)i, .lr = 0.5f, .grad_norm = 2.0, .tokens = 3};
        shoal_report_step(&r, &s, 0.25);
        sum += (double)i;
        assert_true(r.n_points <= SHOAL_REPORT_POINTS);
    }
    double weighted = 0.0;
    for (size_t i = 0; i < r.n_points; i++) {
        double n = i + 1 < r.n_points ? (double)r.stride : (double)r.in_last;
        weighted += n * r.points[i].loss;
        assert_true(r.points[i].step == 1 + i * r.stride);
        assert_true(r.points[i].lr == 0.5 && r.points[i].grad_norm == 2.0);
    }
    assert_true(weighted > sum * (1 - 1e-12) && weighted < sum * (1 + 1e-12));
    assert_true(r.stride == 16 && r.steps == 10 * SHOAL_REPORT_POINTS);
    assert_true(shoal_report_tokens_per_s(&r) == 12.0);
}

static void take_steps(shoal_report *r, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        const shoal_train_step s = {.step = i + 1,
                                    .loss = 1.0 / (double)(i + 1),
                                    .lr = 0.5f,
                                    .grad_norm = (double)(i % 7),
                                    .tokens = i % 11};
        shoal_report_step(r, &s, 0.25);
    }
}

/* A run that is stopped anywhere and goes on tells what an unbroken one does. */
static void test_history_survives_a_stop(void **state)
{
    enum { STEPS = 3 * SHOAL_REPORT_POINTS + 5 };
    static const uint64_t STOPS[] = {0, 1, 2, SHOAL_REPORT_POINTS, SHOAL_REPORT_POINTS + 1, 500};
    static shoal_report whole;
    shoal_error err = {0};
    (void)state;
    take_steps(&whole, 0, STEPS);
    for (size_t i = 0; i < sizeof STOPS / sizeof *STOPS; i++) {
        static shoal_report first;
        static shoal_report second;
        shoal_buf b = shoal_buf_init(1 << 20);
        memset(&first, 0, sizeof first);
        memset(&second, 0, sizeof second);
        first.joules_before = 1.0;
        take_steps(&first, 0, STOPS[i]);
        shoal_report_encode(&first, 2.0, &b);
        assert_int_equal(shoal_report_decode(&second, b.data, b.len, &err), SHOAL_OK);
        assert_true(second.joules_before == 3.0);
        take_steps(&second, STOPS[i], STEPS);
        assert_int_equal(second.n_points, whole.n_points);
        assert_memory_equal(second.points, whole.points, whole.n_points * sizeof *whole.points);
        assert_true(second.stride == whole.stride && second.in_last == whole.in_last);
        assert_true(second.steps == whole.steps && second.tokens == whole.tokens);
        assert_true(second.seconds == whole.seconds);
        shoal_buf_clear(&b);
    }
}

static void test_damaged_history(void **state)
{
    static shoal_report r;
    static shoal_report before;
    shoal_error err = {0};
    shoal_buf b = shoal_buf_init(1 << 20);
    (void)state;
    take_steps(&r, 0, 300);
    before = r;
    assert_int_equal(shoal_report_decode(&r, NULL, 0, &err), SHOAL_OK); /* none is none */
    shoal_report_encode(&r, 0.0, &b);
    for (size_t n = 1; n < b.len; n++)
        assert_int_equal(shoal_report_decode(&r, b.data, n, &err), SHOAL_ERR_FORMAT);
    static const size_t FIELDS[] = {0, 36, 44, 52}; /* version, stride, in_last, n_points */
    for (size_t i = 0; i < 4; i++) {
        uint8_t kept = b.data[FIELDS[i]];
        b.data[FIELDS[i]] = i == 1 ? 0 : 0xff;
        assert_int_equal(shoal_report_decode(&r, b.data, b.len, &err), SHOAL_ERR_FORMAT);
        b.data[FIELDS[i]] = kept;
    }
    assert_memory_equal(&r, &before, sizeof r);
    shoal_buf_clear(&b);
}

static void test_page_without_steps(void **state)
{
    const shoal_report r = {.model = "m",
                            .data = "<script>alert('x')</script>",
                            .held_name = "h",
                            .general_name = "g",
                            .adapter = "a",
                            .energy = {0.0, "modelled", "modelled"}};
    shoal_buf b = shoal_buf_init(1 << 20);
    shoal_error err = {0};
    (void)state;
    assert_int_equal(shoal_report_html(&r, &b, &err), SHOAL_OK);
    assert_null(strstr(shoal_buf_str(&b), "<script"));
    assert_non_null(strstr(shoal_buf_str(&b), "&lt;script&gt;alert(&#39;x&#39;)"));
    assert_non_null(strstr(shoal_buf_str(&b), "Held-out loss went up: the adapter is not used"));
    shoal_buf_clear(&b);
    shoal_buf small = shoal_buf_init(100);
    assert_int_equal(shoal_report_html(&r, &small, &err), SHOAL_ERR_TOO_LARGE);
    shoal_buf_clear(&small);
}

/* ---- energy ---------------------------------------------------------------------------------- */

static char sys[TEMP_DIR_MAX];

static void put(const char *file, const char *text)
{
    char path[320];
    (void)snprintf(path, sizeof path, "%s/class/%s", sys, file);
    for (char *p = path + strlen(sys) + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        (void)mkdir(path, 0700);
        *p = '/';
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int make_sys(void **state)
{
    (void)state;
    temp_dir_make(sys);
    return 0;
}

static int remove_sys(void **state)
{
    (void)state;
    temp_dir_remove(sys);
    return 0;
}

static void assert_joules(shoal_energy e, const char *source, double low, double high)
{
    assert_string_equal(e.source, source);
    assert_true(e.joules >= low && e.joules <= high);
}

static void test_modelled(void **state)
{
    shoal_energy_meter m;
    volatile double sink = 0.0;
    (void)state;
    shoal_energy_begin(&m, sys);
    for (int i = 0; i < 20000000; i++)
        sink += 1.0;
    shoal_energy e = shoal_energy_end(&m);
    assert_joules(e, "modelled", 1e-4, 1e3);
    assert_non_null(strstr(e.note, "modelled"));
}

static void test_battery(void **state)
{
    shoal_energy_meter m;
    (void)state;
    put("power_supply/BAT0/status", "Discharging\n");
    put("power_supply/BAT0/charge_now", "2000000\n"); /* 2 Ah at 4 V: 28,800 J */
    put("power_supply/BAT0/voltage_now", "4000000\n");
    put("power_supply/AC/online", "0\n");
    shoal_energy_begin(&m, sys);
    put("power_supply/BAT0/charge_now", "1999000\n");
    assert_joules(shoal_energy_end(&m), "battery", 14.39, 14.41);
    put("power_supply/BAT0/status", "Charging\n");
    shoal_energy_begin(&m, sys);
    assert_string_equal(shoal_energy_end(&m).source, "modelled");
    put("power_supply/BAT1/status", "Discharging\n");
    put("power_supply/BAT1/energy_now", "1000000\n"); /* 1 Wh */
    shoal_energy_begin(&m, sys);
    put("power_supply/BAT1/energy_now", "999000\n");
    assert_joules(shoal_energy_end(&m), "battery", 3.59, 3.61);
}

static void test_rapl_wraps(void **state)
{
    shoal_energy_meter m;
    (void)state;
    put("powercap/intel-rapl:0/energy_uj", "9000000\n");
    put("powercap/intel-rapl:0/max_energy_range_uj", "10000000\n");
    put("powercap/intel-rapl:1/energy_uj", "500000\n");
    put("powercap/intel-rapl:0:0/energy_uj", "77\n"); /* a part of package 0: not counted again */
    shoal_energy_begin(&m, sys);
    put("powercap/intel-rapl:0/energy_uj", "9500000\n");
    shoal_energy_sample(&m);
    put("powercap/intel-rapl:0/energy_uj", "1000000\n");
    put("powercap/intel-rapl:1/energy_uj", "750000\n");
    assert_joules(shoal_energy_end(&m), "RAPL", 2.249, 2.251);
    put("powercap/intel-rapl:0/energy_uj", "garbage\n");
    shoal_energy_begin(&m, sys);
    assert_true(m.n_rapl == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_curve_keeps_means), cmocka_unit_test(test_history_survives_a_stop),
        cmocka_unit_test(test_damaged_history),   cmocka_unit_test(test_page_without_steps),
        cmocka_unit_test(test_modelled),          cmocka_unit_test(test_battery),
        cmocka_unit_test(test_rapl_wraps)};
    return cmocka_run_group_tests(tests, make_sys, remove_sys);
}
