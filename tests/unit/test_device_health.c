/* test_device_health.c - batteries and thermal zones in a stand-in for /sys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "client/device_health.h"
#include "tests/support/temp_dir.h"

static char sys[TEMP_DIR_MAX];

static void put(const char *path, const char *text)
{
    char full[512];
    (void)snprintf(full, sizeof full, "%s/%s", sys, path);
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void make(const char *path)
{
    char full[512];
    (void)snprintf(full, sizeof full, "%s/%s", sys, path);
    assert_int_equal(mkdir(full, 0700), 0);
}

static bool ill(shoal_health *h, const shoal_health_limits *limits, const char *why)
{
    shoal_health_limits here = *limits;
    here.sys = sys;
    shoal_health_begin(h, &here);
    bool is = shoal_health_ill(h, 100.0);
    if (is) assert_non_null(strstr(h->why, why));
    return is;
}

static void test_battery(void **state)
{
    (void)state;
    shoal_health h;
    shoal_health_limits usual = shoal_health_usual();
    put("class/power_supply/BAT0/capacity", "14\n");
    put("class/power_supply/BAT0/status", "Charging\n");
    assert_false(ill(&h, &usual, ""));
    put("class/power_supply/BAT0/status", "Discharging\n");
    assert_true(ill(&h, &usual, "battery is at 14 %, below 15"));
    usual.least_charge = 14.0;
    assert_false(ill(&h, &usual, ""));
    usual.least_charge = 0.0;
    put("class/power_supply/BAT0/capacity", "1\n");
    assert_false(ill(&h, &usual, ""));
    put("class/power_supply/BAT0/temp", "451\n");
    assert_true(ill(&h, &usual, "battery is at 45.1 degrees, above 45"));
    put("class/power_supply/BAT0/temp", "-83\n");
    assert_false(ill(&h, &usual, ""));
    put("class/power_supply/BAT0/capacity", "ninety\n"); /* no number, no battery */
    assert_false(ill(&h, &usual, ""));
}

static void test_heat(void **state)
{
    (void)state;
    shoal_health h;
    shoal_health_limits usual = shoal_health_usual();
    put("class/thermal/thermal_zone0/temp", "95000\n");
    assert_false(ill(&h, &usual, ""));
    put("class/thermal/thermal_zone1/temp", "95100\n");
    assert_true(ill(&h, &usual, "device is at 95.1 degrees, above 95"));
    usual.most_celsius = 0.0;
    assert_false(ill(&h, &usual, ""));
    put("class/thermal/thermal_zone1/temp", "-40000\n");
    assert_false(ill(&h, &usual, ""));
}

/* Not at every question, but within a second; and what was seen stays seen. */
static void test_looks_once_a_second(void **state)
{
    (void)state;
    shoal_health h;
    shoal_health_limits usual = shoal_health_usual();
    usual.sys = sys;
    put("class/thermal/thermal_zone0/temp", "20000\n");
    shoal_health_begin(&h, &usual);
    assert_false(shoal_health_ill(&h, 100.0));
    put("class/thermal/thermal_zone0/temp", "120000\n");
    assert_false(shoal_health_ill(&h, 100.9));
    assert_true(shoal_health_ill(&h, 101.0));
    put("class/thermal/thermal_zone0/temp", "20000\n");
    assert_true(shoal_health_ill(&h, 110.0));
}

static void test_nothing_there(void **state)
{
    (void)state;
    shoal_health h;
    shoal_health_limits usual = shoal_health_usual();
    usual.sys = "/nowhere";
    shoal_health_begin(&h, &usual);
    assert_false(shoal_health_ill(&h, 1.0));
}

static int open_sys(void **state)
{
    (void)state;
    temp_dir_make(sys);
    make("class");
    make("class/power_supply");
    make("class/power_supply/AC");
    put("class/power_supply/AC/online", "1\n");
    make("class/power_supply/BAT0");
    make("class/thermal");
    make("class/thermal/thermal_zone0");
    make("class/thermal/thermal_zone1");
    return 0;
}

static int close_sys(void **state)
{
    (void)state;
    temp_dir_remove(sys);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_battery, open_sys, close_sys),
        cmocka_unit_test_setup_teardown(test_heat, open_sys, close_sys),
        cmocka_unit_test_setup_teardown(test_looks_once_a_second, open_sys, close_sys),
        cmocka_unit_test(test_nothing_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
