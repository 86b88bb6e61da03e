/* test_jinja.c - templates give what the reference gives, and hostile ones get nowhere.
 * Source of the cases: tests/kat/gen/jinja_cases.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "lora/model/jinja.h"

static shoal_jinja_value value_of(shoal_jinja_data *d, const json_t *v)
{
    if (json_is_null(v)) return shoal_jinja_none();
    if (json_is_boolean(v)) return shoal_jinja_bool(json_is_true(v));
    if (json_is_integer(v)) return shoal_jinja_int(json_integer_value(v));
    if (json_is_string(v)) {
        return shoal_jinja_string(d, (shoal_str){json_string_value(v), json_string_length(v)}, 7);
    }
    if (json_is_array(v)) {
        shoal_jinja_value list = shoal_jinja_list(d);
        for (size_t i = 0; i < json_array_size(v); i++) {
            shoal_jinja_push(d, list, value_of(d, json_array_get(v, i)));
        }
        return list;
    }
    assert_true(json_is_object(v));
    shoal_jinja_value dict = shoal_jinja_dict(d);
    void *it = json_object_iter((json_t *)(uintptr_t)v);
    for (; it != NULL; it = json_object_iter_next((json_t *)(uintptr_t)v, it)) {
        shoal_jinja_set(d, dict, json_object_iter_key(it), value_of(d, json_object_iter_value(it)));
    }
    return dict;
}

static shoal_status render(shoal_str source, const json_t *variables, int64_t now, shoal_buf *out,
                           shoal_error *err)
{
    shoal_jinja *t = NULL;
    shoal_status st = shoal_jinja_open(&t, source, "case", err);
    if (st != SHOAL_OK) return st;
    shoal_jinja_data *d = NULL;
    shoal_jinja_output shown;
    assert_int_equal(shoal_jinja_data_open(&d, (size_t)64 << 20, err), SHOAL_OK);
    void *it = json_object_iter((json_t *)(uintptr_t)variables);
    for (; it != NULL; it = json_object_iter_next((json_t *)(uintptr_t)variables, it)) {
        shoal_jinja_define(d, json_object_iter_key(it), value_of(d, json_object_iter_value(it)));
    }
    shoal_jinja_set_time(d, now);
    st = shoal_jinja_render(t, d, &shown, err);
    size_t covered = 0;
    for (size_t i = 0; i < shown.n_spans; i++) {
        covered += shown.spans[i].n;
    }
    assert_true(shown.n_spans == 0 || covered == shown.text.n);
    shoal_buf_put(out, shown.text.p, shown.text.n);
    shoal_jinja_close(t);
    shoal_jinja_data_close(d);
    return st;
}

/* True when the case gives what it should; otherwise tells. */
static bool check_case(const json_t *c, int64_t now)
{
    const json_t *source = json_object_get(c, "template");
    const json_t *want = json_object_get(c, "text");
    const char *name = json_string_value(json_object_get(c, "name"));
    shoal_buf got = shoal_buf_init(1 << 20);
    shoal_error err = {0};
    shoal_status st = render((shoal_str){json_string_value(source), json_string_length(source)},
                             json_object_get(c, "variables"), now, &got, &err);
    bool right = want == NULL ? st != SHOAL_OK && st != SHOAL_ERR_UNSUPPORTED
                              : st == SHOAL_OK && got.len == json_string_length(want) &&
                                    strcmp(shoal_buf_str(&got), json_string_value(want)) == 0;
    if (!right) {
        (void)fprintf(stderr, "%s: %s\n%s\n  got:\n%s\n  expected:\n%s\n", name, err.msg,
                      json_string_value(source), shoal_buf_str(&got),
                      want == NULL ? "(an error)" : json_string_value(want));
    }
    shoal_buf_clear(&got);
    return right;
}

static void templates_give_what_the_reference_gives(void **state)
{
    (void)state;
    json_error_t error;
    json_t *root = json_load_file("tests/kat/jinja_cases.json", JSON_ALLOW_NUL, &error);
    if (root == NULL) fail_msg("jinja_cases.json:%d: %s", error.line, error.text);
    const json_t *cases = json_object_get(root, "cases");
    int64_t now = json_integer_value(json_object_get(root, "now"));
    size_t wrong = 0;
    assert_in_range(json_array_size(cases), 100, 1000);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        wrong += !check_case(json_array_get(cases, i), now);
    }
    assert_int_equal(wrong, 0);
    json_decref(root);
}

/* ---- hostile templates ------------------------------------------------------------------------
 */

static void expect(const char *source, shoal_status want)
{
    shoal_buf out = shoal_buf_init((size_t)1 << 27);
    shoal_error err = {0};
    shoal_status st = render(shoal_str_of(source), NULL, 0, &out, &err);
    if (st != want) fail_msg("%d, not %d (%s): %.200s", st, want, err.msg, source);
    shoal_buf_clear(&out);
}

static void repeated(const char *before, const char *part, size_t times, const char *after,
                     shoal_status want)
{
    shoal_buf b = shoal_buf_init(1 << 20);
    shoal_buf_put_str(&b, before);
    for (size_t i = 0; i < times; i++) {
        shoal_buf_put_str(&b, part);
    }
    shoal_buf_put_str(&b, after);
    expect(shoal_buf_str(&b), want);
    shoal_buf_clear(&b);
}

static void nested(const char *open, const char *close)
{
    shoal_buf b = shoal_buf_init(1 << 20);
    for (size_t i = 0; i < 20000; i++) {
        shoal_buf_put_str(&b, i == 0 ? "{{ " : open);
    }
    for (size_t i = 0; i < 20000; i++) {
        shoal_buf_put_str(&b, i == 0 ? "1" : close);
    }
    repeated(shoal_buf_str(&b), " }}", 1, "", SHOAL_ERR_TOO_LARGE);
    shoal_buf_clear(&b);
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    nested("(", ")");
    nested("[", "]");
    nested("{1:", "}");
    nested("x(", ")");
    repeated("{{ ", "-", 20000, "1 }}", SHOAL_ERR_TOO_LARGE);
    repeated("{{ ", "not ", 20000, "1 }}", SHOAL_ERR_TOO_LARGE);
    repeated("{{ 1", " + 1", 20000, " }}", SHOAL_ERR_TOO_LARGE);
    repeated("{{ 1", " if 1 else 1", 9000, " }}", SHOAL_ERR_TOO_LARGE);
    repeated("{{ x", ".a", 20000, " }}", SHOAL_ERR_TOO_LARGE);
    repeated("{{ ''", "|trim", 20000, " }}", SHOAL_ERR_TOO_LARGE);
    repeated("{{ ''", " is string", 9000, " }}", SHOAL_ERR_FORMAT);
    repeated("{% set x", "|trim", 20000, " %}{% endset %}", SHOAL_ERR_TOO_LARGE);
    repeated("", "{% if 1 %}", 20000, "", SHOAL_ERR_TOO_LARGE);
    repeated("", "{% for a in [1] %}", 10000, "", SHOAL_ERR_TOO_LARGE);
    expect("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", SHOAL_ERR_TOO_LARGE);
    expect("{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
           SHOAL_ERR_TOO_LARGE);
    expect("{% macro m(x=m()) %}{% endmacro %}{{ m() }}", SHOAL_ERR_TOO_LARGE);
    static const char DEEP[] = "{% set n = namespace(x=[]) %}{% for i in range(9999) %}"
                               "{% set n.x = [n.x] %}{% endfor %}";
    static const char *const USES[] = {"{{ n.x }}", "{{ n.x|tojson }}", "{{ n.x == [n.x] }}",
                                       "{{ n.x in [[n.x]] }}"};
    for (size_t i = 0; i < sizeof USES / sizeof USES[0]; i++) {
        repeated(DEEP, USES[i], 1, "", SHOAL_ERR_TOO_LARGE);
    }
}

static void work_memory_and_output_are_bounded(void **state)
{
    (void)state;
    expect("{{ range(1000000000)|length }}", SHOAL_ERR_TOO_LARGE);
    expect("{{ range(0 - 1000000000, 9) }}", SHOAL_ERR_TOO_LARGE);
    expect("{{ 'x' * 1000000000 }}", SHOAL_ERR_TOO_LARGE);
    expect("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
           SHOAL_ERR_TOO_LARGE);
    expect("{% for i in range(99999) %}{{ 'xxxxxxxxxxxxxxxx' * 100 }}{% endfor %}",
           SHOAL_ERR_TOO_LARGE);
    expect("{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}"
           "{% endfor %}{{ n.x }}",
           SHOAL_ERR_TOO_LARGE);
    expect("{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}"
           "{% endfor %}",
           SHOAL_ERR_TOO_LARGE);
    expect("{% set s = 'a' * 99999 %}{% for i in range(99999) %}{{ (s ~ 'b') in s }}{% endfor %}",
           SHOAL_ERR_TOO_LARGE);
    expect("{{ ['a' * 99999] | tojson(indent=99999999) }}", SHOAL_ERR_TOO_LARGE);
    repeated("", "0123456789abcdef", 20000, "", SHOAL_ERR_TOO_LARGE); /* the source itself */
}

static void numbers_do_not_overflow(void **state)
{
    (void)state;
    expect("{{ 99999999999999999999 }}", SHOAL_ERR_UNSUPPORTED);
    expect("{{ 9223372036854775807 + 1 }}", SHOAL_ERR_UNSUPPORTED);
    expect("{{ -9223372036854775807 - 2 }}", SHOAL_ERR_UNSUPPORTED);
    expect("{{ (-9223372036854775807 - 1) // -1 }}", SHOAL_ERR_UNSUPPORTED);
    expect("{{ -(-9223372036854775807 - 1) }}", SHOAL_ERR_UNSUPPORTED);
    expect("{{ 4294967296 * 4294967296 }}", SHOAL_ERR_UNSUPPORTED);
    expect("{{ 2 ** 9999999999 }}", SHOAL_ERR_UNSUPPORTED);
    expect("{{ 'abc'[9223372036854775807:-9223372036854775807] }}", SHOAL_OK);
    expect("{{ [1][::9223372036854775807] }}", SHOAL_ERR_FORMAT);
    expect("{{ range(9223372036854775807, -9223372036854775807, -1) }}", SHOAL_ERR_FORMAT);
}

/* What the reference might do otherwise is not done at all. */
static void nothing_is_guessed(void **state)
{
    (void)state;
    static const char *const CASES[] = {
        "{{ 7 / 2 }}",
        "{{ '%s' % 1 }}",
        "{{ [1] * 2 }}",
        "{{ 'é'.upper() }}",
        "{{ ['é'] }}",
        "{{ [2, 1] | sort }}",
        "{{ '1.5' | int }}",
        "{{ 'a' | safe }}",
        "{{ 'a'.upper }}",
        "{{ {'items': 1}.items }}",
        "{{ loop_controls() }}",
        "{{ self }}",
        "{{ '\\N{DASH}' }}",
        "{% for a in [1] recursive %}{% endfor %}",
        "{% call f() %}{% endcall %}",
        "{% raw %}{% endraw %}",
        "{{ strftime_now('%c') }}",
        "{% set g = [1]|map('string') %}"
        "{{ g|list }}{{ g|list }}",
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        expect(CASES[i], SHOAL_ERR_UNSUPPORTED);
    }
}

/* Every allocation fails once: no crash, no leak, and NOMEM comes out. */
static void running_out_of_memory_is_reported(void **state)
{
    (void)state;
    static const char SOURCE[] = "{% for i in range(9) %}{{ i ~ 'x' }}{% endfor %}";
    for (uint64_t n = 1; n < 8; n++) {
        shoal_jinja *t = NULL;
        shoal_jinja_data *d = NULL;
        shoal_jinja_output out;
        shoal_mem_fail_at(n, false);
        shoal_status st = shoal_jinja_open(&t, shoal_str_of(SOURCE), "case", NULL);
        if (st == SHOAL_OK) st = shoal_jinja_data_open(&d, 1 << 20, NULL);
        if (st == SHOAL_OK) st = shoal_jinja_render(t, d, &out, NULL);
        shoal_mem_fail_at(0, false);
        assert_true(st == SHOAL_OK || st == SHOAL_ERR_NOMEM);
        assert_true(n > 1 || st == SHOAL_ERR_NOMEM);
        shoal_jinja_close(t);
        shoal_jinja_data_close(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates_give_what_the_reference_gives),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(work_memory_and_output_are_bounded),
        cmocka_unit_test(numbers_do_not_overflow),
        cmocka_unit_test(nothing_is_guessed),
        cmocka_unit_test(running_out_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
