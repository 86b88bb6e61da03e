/* Small parts of the commands: stop texts, JSON scores, best logits, target lists, parts of a bar.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/json.h"
#include "client/json_score.h"
#include "client/serve.h"
#include "client/stop_text.h"
#include "client/top_logits.h"
#include "kernels/base/term.h"
#include "lora/train/adapter.h"
#include "lora/train/targets.h"

/* ---- stop texts ---- */

/* Feeds the text in pieces of `step` bytes. */
static bool feed(const char *text, size_t step, shoal_buf *out)
{
    static const shoal_str stops[] = {{"STOP", 4}, {"\n\n", 2}, {"SSt", 3}};
    shoal_stop_text s = shoal_stop_text_init(stops, 3);
    bool stopped = false;
    *out = shoal_buf_init(256);
    for (size_t i = 0; text[i] != '\0' && !stopped;) {
        size_t left = strlen(text + i);
        size_t n = left < step ? left : step;
        stopped = shoal_stop_text_push(&s, text + i, n, out);
        i += n;
    }
    if (!stopped) shoal_stop_text_flush(&s, out);
    shoal_stop_text_clear(&s);
    return stopped;
}

static void test_stop_text(void **state)
{
    static const struct {
        const char *text, *shown;
        bool stopped;
    } cases[] = {{"abc", "abc", false},      {"abSTOPcd", "ab", true}, {"STOP", "", true},
                 {"abSTO", "abSTO", false},  {"SSTOP", "S", true},     {"a\nb\n\nc", "a\nb", true},
                 {"STSTSTOP", "STST", true}, {"", "", false},          {"xSSSt", "xS", true},
                 {"SSTOST", "SSTOST", false}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t step = 1; step < 6; step++) {
            shoal_buf out;
            assert_int_equal(feed(cases[i].text, step, &out), cases[i].stopped);
            assert_int_equal(out.len, strlen(cases[i].shown));
            assert_memory_equal(shoal_buf_str(&out), cases[i].shown, out.len);
            shoal_buf_clear(&out);
        }
    }
}

static void test_stop_text_holds_back_little(void **state)
{
    static const shoal_str stop = {"STOP", 4};
    shoal_stop_text s = shoal_stop_text_init(&stop, 1);
    shoal_buf out = shoal_buf_init(64);
    (void)state;
    assert_false(shoal_stop_text_push(&s, "hello ST", 8, &out));
    assert_int_equal(out.len, 6); /* "ST" might become the stop text, the rest cannot */
    shoal_stop_text_clear(&s);
    shoal_buf_clear(&out);
}

/* ---- scores ---- */

static void add(shoal_json_score *s, const char *answer, const char *wanted)
{
    shoal_json_score_add(s, answer, strlen(answer), wanted, strlen(wanted), NULL);
}

static void test_json_score(void **state)
{
    static const char ref[] = "{\"intent\":\"Play\",\"slots\":{\"artist\":\"A\",\"track\":\"T\"}}";
    shoal_json_score s = {0};
    (void)state;
    add(&s, " {\"slots\":{\"track\":\"T\",\"artist\":\"A\"},\"intent\":\"Play\"}\n",
        ref); /* order */
    add(&s, "{\"intent\":\"Play\",\"slots\":{\"artist\":\"B\"}}", ref);
    add(&s, "{\"intent\":\"Rate\",\"slots\":{\"artist\":\"A\",\"x\":\"y\"}}", ref);
    add(&s, "{\"intent\":\"Play\",\"slots\":{\"artist\":\"A\",\"track\":\"T\"},\"more\":1}", ref);
    add(&s, "{\"intent\":7,\"slots\":{\"artist\":\"A\"}}", ref); /* not parsed: no slots counted */
    add(&s, "Sure! {\"intent\":\"Play\",\"slots\":{}}", ref);    /* not the whole text */
    add(&s, "{\"intent\":\"X\",\"intent\":\"Play\",\"slots\":{}}", ref); /* the last one counts */
    assert_int_equal(s.rows, 7);
    assert_int_equal(s.parsed, 5);
    assert_int_equal(s.exact, 1);
    assert_int_equal(s.intent, 4);
    assert_int_equal(s.slots_right, 2 + 0 + 1 + 2);
    assert_int_equal(s.slots_predicted, 2 + 1 + 2 + 2);
    assert_int_equal(s.slots_wanted, 14);
    double p = 5.0 / 7.0;
    double r = 5.0 / 14.0;
    double f1 = 2.0 * p * r / (p + r);
    assert_true(shoal_json_score_f1(&s) > f1 - 1e-12 && shoal_json_score_f1(&s) < f1 + 1e-12);
}

static void test_json_score_other_forms(void **state)
{
    shoal_json_score s = {0};
    (void)state;
    add(&s, "{\"b\":2,\"a\":1}", "{\"a\":1,\"b\":2}");
    add(&s, "{\"a\":1}", "{\"a\":1,\"b\":2}");
    add(&s, " yes ", "yes");
    add(&s, "no", "yes");
    assert_int_equal(s.rows, 4);
    assert_int_equal(s.exact, 2);
    assert_int_equal(s.rows_intent, 0);
    shoal_json_score none = {0};
    assert_true(shoal_json_score_f1(&none) < 1e-12);
    assert_false(shoal_json_is_intent("{\"a\":1}", 7));
    assert_true(shoal_json_is_intent(" {\"intent\":\"a\",\"slots\":{}}", 26));
}

/* ---- the rest ---- */

static void test_top_logits(void **state)
{
    const float logits[] = {1, 9, 3, 9, -5, 7, 2, 8, 6, 5, 4};
    static const int32_t want[] = {1, 3, 7, 5, 8, 9, 10, 2};
    int32_t ids[SHOAL_TOP_LOGITS];
    float top[SHOAL_TOP_LOGITS];
    (void)state;
    assert_int_equal(shoal_top_logits(logits, 11, ids, top), 8);
    assert_memory_equal(ids, want, sizeof want);
    assert_int_equal(shoal_top_logits(logits, 3, ids, top), 3);
    assert_int_equal(ids[0], 1);
    assert_int_equal(ids[2], 0);
}

static void test_targets(void **state)
{
    static const char *const bad[] = {"", ",", "q,", "q,,k", "query", "q k"};
    uint32_t t = 0;
    char text[64];
    (void)state;
    assert_true(shoal_targets_parse("all", &t));
    assert_int_equal(t, SHOAL_TARGETS_ALL);
    assert_true(shoal_targets_parse("q_proj,v,down", &t));
    assert_int_equal(t, 1u << SHOAL_PROJ_Q | 1u << SHOAL_PROJ_V | 1u << SHOAL_PROJ_DOWN);
    shoal_targets_format(t, text, sizeof text);
    assert_string_equal(text, "q,v,down");
    assert_true(shoal_targets_parse("attn,mlp", &t));
    assert_int_equal(t, SHOAL_TARGETS_ALL);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(shoal_targets_parse(bad[i], &t));
    }
}

static void test_ranks(void **state)
{
    static const char *const bad[] = {
        "", "0", "257", "8x", "q=", "=8", "q=8,", "w=8", "q=8=8", "99999999999999999999"};
    size_t ranks[SHOAL_N_PROJ];
    uint32_t t = SHOAL_TARGETS_ALL;
    (void)state;
    assert_true(shoal_ranks_parse("256", &t, ranks));
    assert_true(t == SHOAL_TARGETS_ALL && ranks[SHOAL_PROJ_DOWN] == 256);
    assert_true(shoal_ranks_parse("q=16,v=16,mlp=4", &t, ranks));
    assert_int_equal(t, SHOAL_TARGETS_ALL & ~(1u << SHOAL_PROJ_K | 1u << SHOAL_PROJ_O));
    assert_true(ranks[SHOAL_PROJ_V] == 16 && ranks[SHOAL_PROJ_UP] == 4 && ranks[SHOAL_PROJ_K] == 0);
    t = 1u << SHOAL_PROJ_Q;
    assert_true(shoal_ranks_parse("8,q=2,down=3", &t, ranks));
    assert_int_equal(t, 1u << SHOAL_PROJ_Q | 1u << SHOAL_PROJ_DOWN);
    assert_true(ranks[SHOAL_PROJ_Q] == 2 && ranks[SHOAL_PROJ_DOWN] == 3);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        t = SHOAL_TARGETS_ALL;
        assert_false(shoal_ranks_parse(bad[i], &t, ranks));
    }
}

static void test_loopback_names(void **state)
{
    (void)state;
    assert_true(shoal_is_loopback("127.0.0.1") && shoal_is_loopback("::1"));
    assert_true(shoal_is_loopback("localhost"));
    assert_false(shoal_is_loopback("0.0.0.0"));
    assert_false(shoal_is_loopback("127.0.0.1.evil.example"));
    assert_false(shoal_is_loopback("192.168.1.2"));
}

static void test_formats(void **state)
{
    char t[24];
    (void)state;
    shoal_format_bytes(999, t, sizeof t);
    assert_string_equal(t, "999 B");
    shoal_format_bytes(9797888, t, sizeof t);
    assert_string_equal(t, "9.8 MB");
    shoal_format_bytes(367628288, t, sizeof t);
    assert_string_equal(t, "368 MB");
    shoal_format_seconds(83.2, t, sizeof t);
    assert_string_equal(t, "1:23");
    shoal_format_seconds(7384, t, sizeof t);
    assert_string_equal(t, "2:03:04");
    shoal_format_seconds(-1, t, sizeof t);
    assert_string_equal(t, "--:--");
}

int main(void)
{
    shoal_json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop_text),  cmocka_unit_test(test_stop_text_holds_back_little),
        cmocka_unit_test(test_json_score), cmocka_unit_test(test_json_score_other_forms),
        cmocka_unit_test(test_top_logits), cmocka_unit_test(test_targets),
        cmocka_unit_test(test_ranks),      cmocka_unit_test(test_loopback_names),
        cmocka_unit_test(test_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
