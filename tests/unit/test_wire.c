/* test_wire.c - control messages and join links: round trips, every prefix, every changed byte,
 * caps. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "tests/support/wire_samples.h"

static wire_any g_in, g_out;

static shoal_buf sample(const wire_codec *k)
{
    shoal_buf b = shoal_buf_init(2 * SHOAL_LIMIT_CONTROL);
    memset(&g_in, 0, sizeof g_in);
    k->fill(&g_in);
    assert_int_equal(k->encode(&g_in, &b, NULL), SHOAL_OK);
    return b;
}

static void test_round_trips(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_wire_codecs; i++) {
        const wire_codec *k = &wire_codecs[i];
        shoal_buf b = sample(k);
        memset(&g_out, 0xff, sizeof g_out);
        assert_int_equal(k->decode(b.data, b.len, &g_out, NULL), SHOAL_OK);
        shoal_buf again = shoal_buf_init(2 * SHOAL_LIMIT_CONTROL);
        assert_int_equal(k->encode(&g_out, &again, NULL), SHOAL_OK);
        assert_int_equal(again.len, b.len);
        assert_memory_equal(again.data, b.data, b.len);
        /* Zeroed before, so padding is equal too. */
        assert_memory_equal(&g_out, &g_in, k->bytes);
        shoal_buf_clear(&again);
        shoal_buf_clear(&b);
    }
}

/* A message cut short is never another message, and a longer one neither. */
static void test_every_prefix_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_wire_codecs; i++) {
        const wire_codec *k = &wire_codecs[i];
        shoal_buf b = sample(k);
        for (size_t n = 0; n < b.len; n++) {
            assert_int_equal(k->decode(b.data, n, &g_out, NULL), SHOAL_ERR_FORMAT);
            const uint8_t *p = (const uint8_t *)&g_out;
            for (size_t at = 0; at < k->bytes; at += 97) {
                assert_int_equal(p[at], 0);
            }
        }
        assert_true(shoal_buf_put_u8(&b, 0));
        assert_int_equal(k->decode(b.data, b.len, &g_out, NULL), SHOAL_ERR_FORMAT);
        shoal_buf_clear(&b);
    }
}

/* What is accepted after a change encodes to exactly those bytes again: one value, one encoding. */
static void test_changed_bytes(void **state)
{
    (void)state;
    static const uint8_t flips[] = {0x01, 0x08, 0x20, 0x80, 0xff};
    for (size_t i = 0; i < n_wire_codecs; i++) {
        const wire_codec *k = &wire_codecs[i];
        shoal_buf b = sample(k);
        for (size_t at = 0; at < b.len; at++) {
            for (size_t f = 0; f < sizeof flips; f++) {
                b.data[at] ^= flips[f];
                if (k->decode(b.data, b.len, &g_out, NULL) == SHOAL_OK) {
                    shoal_buf again = shoal_buf_init(2 * SHOAL_LIMIT_CONTROL);
                    assert_int_equal(k->encode(&g_out, &again, NULL), SHOAL_OK);
                    assert_int_equal(again.len, b.len);
                    shoal_buf_clear(&again);
                }
                b.data[at] ^= flips[f];
            }
        }
        shoal_buf_clear(&b);
    }
}

static shoal_status decode_error(const void *data, size_t n)
{
    return shoal_error_reply_decode(data, n, &g_out.error_reply, NULL);
}

/* Spec 1.6, Spec 1.7. Hand-made bytes: unknown fields, groups, repeats, wrong types, overlong
 * varints, bad UTF-8. */
static void test_hostile_bytes(void **state)
{
    (void)state;
    static const uint8_t good[] = {0x08, 6, 0x12, 1, 'm', 0x1a, 1, 'h', 0x20, 5};
    assert_int_equal(decode_error(good, sizeof good), SHOAL_OK);
    static const uint8_t unknown[] = {0x08, 6, 0x12, 0, 0x1a, 0, 0x20, 5, 0x28, 1};
    static const uint8_t group[] = {0x08, 6, 0x12, 0, 0x1a, 0, 0x20, 5, 0x2b, 0x2c};
    static const uint8_t repeat[] = {0x08, 6, 0x08, 6, 0x12, 0, 0x1a, 0, 0x20, 5};
    static const uint8_t type[] = {0x0d, 6, 0, 0, 0, 0x12, 0, 0x1a, 0, 0x20, 5};
    static const uint8_t overlong[] = {0x08, 0x86, 0x00, 0x12, 0, 0x1a, 0, 0x20, 5};
    static const uint8_t zero_code[] = {0x08, 0, 0x12, 0, 0x1a, 0, 0x20, 5};
    static const uint8_t high_code[] = {0x08, 13, 0x12, 0, 0x1a, 0, 0x20, 5};
    static const uint8_t utf8[] = {0x08, 6, 0x12, 2, 0xc0, 0x80, 0x1a, 0, 0x20, 5};
    static const uint8_t csi[] = {0x08, 6, 0x12, 2, 0xc2, 0x9b, 0x1a, 0, 0x20, 5};
    static const uint8_t control[] = {0x08, 6, 0x12, 1, 0x1b, 0x1a, 0, 0x20, 5};
    static const uint8_t nul[] = {0x08, 6, 0x12, 1, 0, 0x1a, 0, 0x20, 5};
    static const uint8_t huge[] = {0x08, 6,    0x12, 0xff, 0xff, 0xff, 0xff,
                                   0xff, 0xff, 0xff, 0xff, 0xff, 1};
    static const uint8_t endless[] = {0x08, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0xff, 0xff};
    const struct {
        const uint8_t *p;
        size_t n;
    } rows[] = {
        {unknown, sizeof unknown},     {group, sizeof group},       {repeat, sizeof repeat},
        {type, sizeof type},           {overlong, sizeof overlong}, {zero_code, sizeof zero_code},
        {high_code, sizeof high_code}, {utf8, sizeof utf8},         {csi, sizeof csi},
        {control, sizeof control},     {nul, sizeof nul},           {huge, sizeof huge},
        {endless, sizeof endless}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(decode_error(rows[i].p, rows[i].n), SHOAL_ERR_FORMAT);
    }
}

static void test_caps(void **state)
{
    (void)state;
    uint8_t *big = shoal_calloc(1, SHOAL_LIMIT_CONTROL + 1);
    assert_int_equal(decode_error(big, SHOAL_LIMIT_CONTROL + 1), SHOAL_ERR_TOO_LARGE);
    shoal_free(big);
    shoal_buf out = shoal_buf_init(2 * SHOAL_LIMIT_CONTROL);
    memset(&g_in, 0, sizeof g_in);
    g_in.renew_request.csr.n = SHOAL_LIMIT_CERT + 1;
    assert_int_equal(shoal_renew_request_encode(&g_in.renew_request, &out, NULL), SHOAL_ERR_ARG);
    memset(&g_in, 0, sizeof g_in);
    g_in.task_list.n = SHOAL_LIMIT_TASKS + 1;
    assert_int_equal(shoal_task_list_encode(&g_in.task_list, &out, NULL), SHOAL_ERR_ARG);
    memset(&g_in, 0, sizeof g_in);
    g_in.error_reply.code = SHOAL_CODE_BUSY;
    memset(g_in.error_reply.message, 'a', sizeof g_in.error_reply.message); /* no terminator */
    assert_int_equal(shoal_error_reply_encode(&g_in.error_reply, &out, NULL), SHOAL_ERR_ARG);
    g_in.error_reply.message[SHOAL_LIMIT_TEXT - 1] = 0;
    assert_int_equal(shoal_error_reply_encode(&g_in.error_reply, &out, NULL), SHOAL_OK);
    shoal_buf_clear(&out);
    /* The largest task list there is fits a control message. */
    memset(&g_in, 0, sizeof g_in);
    g_in.task_list.n = SHOAL_LIMIT_TASKS;
    for (size_t i = 0; i < SHOAL_LIMIT_TASKS; i++) {
        shoal_task_info *t = &g_in.task_list.tasks[i];
        memset(t->name, 'n', sizeof t->name - 1);
        memset(t->base_name, 'b', sizeof t->base_name - 1);
        t->state = SHOAL_TASK_STOPPED;
        t->rounds_total = t->rounds_done = UINT64_MAX;
        t->targets = UINT32_MAX;
        t->alpha = 1.0F;
    }
    assert_int_equal(shoal_task_list_encode(&g_in.task_list, &out, NULL), SHOAL_OK);
    assert_int_equal(shoal_task_list_decode(out.data, out.len, &g_out.task_list, NULL), SHOAL_OK);
    assert_int_equal(g_out.task_list.n, SHOAL_LIMIT_TASKS);
    g_in.task_list.tasks[0].alpha = NAN;
    assert_int_equal(shoal_task_list_encode(&g_in.task_list, &out, NULL), SHOAL_ERR_ARG);
    shoal_buf_clear(&out);
}

/* Each allocation of a decode and an encode fails in turn: a status, no leak, no crash. */
static void test_memory_failures(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_wire_codecs; i++) {
        const wire_codec *k = &wire_codecs[i];
        shoal_buf b = sample(k);
        shoal_status st = SHOAL_ERR_NOMEM;
        for (uint64_t at = 1; st != SHOAL_OK && at < 1000; at++) {
            shoal_buf out = shoal_buf_init(2 * SHOAL_LIMIT_CONTROL);
            shoal_mem_fail_at(at, false);
            st = k->decode(b.data, b.len, &g_out, NULL);
            if (st == SHOAL_OK) st = k->encode(&g_out, &out, NULL);
            shoal_mem_fail_at(0, false);
            shoal_buf_clear(&out);
        }
        assert_int_equal(st, SHOAL_OK);
        shoal_buf_clear(&b);
    }
}

/* Spec 4.4 */
static void test_release_signature(void **state)
{
    (void)state;
    shoal_key *key = NULL;
    uint8_t spki[SHOAL_SPKI_BYTES];
    shoal_adapter_release r = {.version = 2, .round = 9, .size = 10};
    assert_int_equal(shoal_key_generate(&key, NULL), SHOAL_OK);
    shoal_key_spki(key, spki);
    assert_int_equal(shoal_release_sign(&r, key, NULL), SHOAL_OK);
    assert_int_equal(shoal_release_verify(&r, spki, NULL), SHOAL_OK);
    for (size_t i = 0; i < 6; i++) {
        shoal_adapter_release changed = r;
        uint8_t *fields[] = {changed.task_id, changed.sha256, changed.base_sha256,
                             changed.previous_sha256, changed.signature};
        if (i < 5) fields[i][0] ^= 1;
        if (i == 5) changed.version++;
        assert_int_equal(shoal_release_verify(&changed, spki, NULL), SHOAL_ERR_TAMPERED);
    }
    shoal_key_close(key);
}

static void test_join_links(void **state)
{
    (void)state;
    const char *const hosts[] = {"127.0.0.1", "aggregator.example", "::1", "fe80::1"};
    shoal_join_link l = {.port = 8443};
    shoal_join_link back;
    memset(l.token, 0xab, sizeof l.token);
    memset(l.pin, 0x12, sizeof l.pin);
    for (size_t i = 0; i < 4; i++) {
        shoal_buf b = shoal_buf_init(SHOAL_LIMIT_LINK);
        memset(l.host, 0, sizeof l.host);
        memcpy(l.host, hosts[i], strlen(hosts[i]));
        assert_int_equal(shoal_join_link_encode(&l, &b, NULL), SHOAL_OK);
        assert_int_equal(shoal_join_link_decode(shoal_buf_str(&b), &back, NULL), SHOAL_OK);
        assert_memory_equal(&l, &back, sizeof l);
        for (size_t n = 0; n < b.len; n++) {
            char *cut = shoal_strndup(shoal_buf_str(&b), n);
            assert_int_equal(shoal_join_link_decode(cut, &back, NULL), SHOAL_ERR_FORMAT);
            shoal_free(cut);
        }
        shoal_buf_clear(&b);
    }
    const char *const wrong[] = {"",
                                 "https://a:1/join#00.00",
                                 "shoal://a:0/join#00.00",
                                 "shoal://a:65536/join#00.00",
                                 "shoal://a b:1/join#00.00",
                                 "shoal://[::1:1/join#00.00",
                                 "shoal://:1/join#00.00",
                                 "shoal://a:1/join#zz.00",
                                 "shoal://a:1/other#00.00"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        shoal_error e = {0};
        assert_int_equal(shoal_join_link_decode(wrong[i], &back, &e), SHOAL_ERR_FORMAT);
        assert_true(e.msg[0] != 0 && e.hint[0] != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_every_prefix_is_refused),
        cmocka_unit_test(test_changed_bytes),
        cmocka_unit_test(test_hostile_bytes),
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_memory_failures),
        cmocka_unit_test(test_release_signature),
        cmocka_unit_test(test_join_links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
