/* config.yaml: what is written can be read, and mistakes are named with their line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "aggregator/config.h"
#include "kernels/base/file.h"
#include "tests/support/temp_dir.h"

static shoal_status load(const char *text, shoal_config_file *c, shoal_error *err)
{
    char dir[TEMP_DIR_MAX], path[SHOAL_DIR_PATH];
    temp_dir_make(dir);
    assert_int_equal(shoal_dir_path(dir, "config.yaml", path, err), SHOAL_OK);
    assert_int_equal(shoal_file_write_atomic(path, text, strlen(text), 0644, err), SHOAL_OK);
    shoal_status st = shoal_config_load(c, dir, err);
    temp_dir_remove(dir);
    return st;
}

static void test_round_trip(void **state)
{
    (void)state;
    shoal_config_file a = shoal_config_default(), b;
    shoal_error err = {0};
    shoal_buf text = shoal_buf_init(65536);
    (void)snprintf(a.deployment, sizeof a.deployment, "Our phones");
    a.listen_port = 0;
    a.poll_ms = 5000;
    (void)snprintf(a.hosts[a.n_hosts++], SHOAL_LIMIT_HOST, "fd00::1");
    assert_int_equal(shoal_config_write(&a, &text, &err), SHOAL_OK);
    assert_int_equal(load(shoal_buf_str(&text), &b, &err), SHOAL_OK);
    assert_string_equal(b.deployment, "Our phones");
    assert_int_equal(b.listen_port, 0);
    assert_int_equal(b.poll_ms, 5000);
    assert_int_equal(b.n_hosts, 3);
    assert_string_equal(b.hosts[2], "fd00::1");
    shoal_buf_clear(&text);
    (void)snprintf(a.public_host, sizeof a.public_host, "a\"b");
    assert_int_equal(shoal_config_write(&a, &text, &err), SHOAL_ERR_ARG);
    shoal_buf_clear(&text);
}

static void test_defaults(void **state)
{
    (void)state;
    shoal_config_file c;
    shoal_error err = {0};
    assert_int_equal(load("", &c, &err), SHOAL_OK);
    assert_int_equal(c.listen_port, 7433);
    assert_int_equal(load("# nothing\nlisten_port: 99\n", &c, &err), SHOAL_OK);
    assert_int_equal(c.listen_port, 99);
    assert_string_equal(c.listen_host, "127.0.0.1");
}

static void refuse(const char *text, const char *words)
{
    shoal_config_file c;
    shoal_error err = {0};
    if (load(text, &c, &err) != SHOAL_ERR_FORMAT || strstr(err.msg, words) == NULL) {
        fail_msg("%s: wanted \"%s\", got \"%s\"", text, words, err.msg);
    }
}

static void test_mistakes(void **state)
{
    (void)state;
    refuse("listen_port: 7433\nlisten_prot: 1\n", "line 2: listen_prot is not a setting");
    refuse("\n\nlisten_port: 70000\n", "line 3: listen_port must be a number from 0 to 65535");
    refuse("listen_port: -1\n", "must be a number");
    refuse("listen_port: [1]\n", "must be a number");
    refuse("poll_ms: 30\n", "from 100 to 3600000");
    refuse("cert_days: 3\n", "cert_days is not a setting"); /* it is the CA's */
    refuse("hosts: example.org\n", "must be a list");
    refuse("hosts: []\n", "is empty");
    refuse("hosts: [a, b, c, d, e, f, g, h, i]\n", "more than 8");
    refuse("deployment: \"\"\n", "must be a short plain text");
    refuse("deployment: \"a\\nb\"\n", "must be a short plain text");
    refuse("- a\n- b\n", "key: value");
    refuse("a: [\n", "line");
    refuse("deployment: &a x\nlisten_host: *b\n", "line"); /* an alias of nothing */
}

static shoal_status load_ca(const char *text, shoal_ca_settings *c, shoal_error *err)
{
    char dir[TEMP_DIR_MAX], path[SHOAL_DIR_PATH];
    temp_dir_make(dir);
    assert_int_equal(shoal_dir_path(dir, "ca.yaml", path, err), SHOAL_OK);
    assert_int_equal(shoal_file_write_atomic(path, text, strlen(text), 0600, err), SHOAL_OK);
    shoal_status st = shoal_ca_settings_load(c, dir, err);
    temp_dir_remove(dir);
    return st;
}

static void test_ca_settings(void **state)
{
    (void)state;
    shoal_ca_settings a = shoal_ca_settings_default(), b;
    shoal_error err = {0};
    shoal_buf text = shoal_buf_init(65536);
    a.cert_days = 3;
    (void)snprintf(a.attestation, sizeof a.attestation, "android");
    (void)snprintf(a.attestation_package, sizeof a.attestation_package, "org.example.app");
    assert_int_equal(shoal_ca_settings_write(&a, &text, &err), SHOAL_OK);
    assert_int_equal(load_ca(shoal_buf_str(&text), &b, &err), SHOAL_OK);
    assert_memory_equal(&a, &b, sizeof a);
    assert_int_equal(load_ca("cert_days: 8\n", &b, &err), SHOAL_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "from 1 to 7"));
    assert_int_equal(load_ca("cert_days: 0\n", &b, &err), SHOAL_ERR_FORMAT);
    assert_int_equal(load_ca("certs_per_device_hour: 0\n", &b, &err), SHOAL_ERR_FORMAT);
    assert_int_equal(load_ca("hosts: [a]\n", &b, &err), SHOAL_ERR_FORMAT);
    shoal_buf_clear(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_mistakes), cmocka_unit_test(test_ca_settings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
