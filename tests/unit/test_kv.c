/* test_kv.c - rings, truncation, and the flat form: never other bits than a fresh reading gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "lora/infer/speculate.h"
#include "tests/support/tiny_session.h"

enum { WINDOW = 20, N = 400, N_KINDS = 3 };

/* Five layers of six look through a window; heads 32 wide, so that every kind works. */
static const shoal_tiny_opts LOCAL = {
    .arch = "gemma3",
    .window = WINDOW,
    .period = 3,
    .n_layer = 4,
    .n_head = 2,
    .n_head_kv = 1,
    .head_dim = 32,
};

static shoal_session *open_session(const tiny_engine *e, const shoal_session_opts *opts)
{
    shoal_session *s = NULL;
    shoal_error err = {0};
    if (shoal_session_open(&s, e->m, &e->ex, opts, &err) != SHOAL_OK) fail_msg("%s", err.msg);
    return s;
}

static void eval(shoal_session *s, const int32_t *ids, size_t n, shoal_logits which)
{
    shoal_error err = {0};
    if (shoal_session_eval(s, ids, n, which, &err) != SHOAL_OK) fail_msg("%s", err.msg);
}

/* Logits after each of ids [n], from a session whose rings are as long as its context: the chunk
 * asks for that. [n, V], to be freed. */
static float *without_ring(const tiny_engine *e, shoal_kv_kind kind, const int32_t *ids, size_t n)
{
    size_t V = e->m->cfg.n_vocab;
    float *all = shoal_calloc(n * V, sizeof *all);
    shoal_session *s =
        open_session(e, &(shoal_session_opts){.n_ctx = N, .chunk = N, .logit_rows = N, .kv = kind});
    eval(s, ids, n, SHOAL_LOGITS_ALL);
    memcpy(all, shoal_session_logits(s, 0), n * V * sizeof *all);
    shoal_session_close(s);
    return all;
}

static void check_row(const tiny_engine *e, shoal_session *s, const float *want, size_t at)
{
    size_t V = e->m->cfg.n_vocab;
    if (memcmp(shoal_session_logits(s, 0), want + at * V, V * sizeof *want) != 0) {
        fail_msg("token %zu differs", at);
    }
}

/* Rings of every length a chunk gives, read in steps that make them wrap at every phase. */
static void check_wraps(const tiny_engine *e, shoal_kv_kind kind, const int32_t *ids)
{
    float *want = without_ring(e, kind, ids, N);
    for (size_t chunk = 1; chunk < 130; chunk += chunk < 4 ? 1 : 37) {
        shoal_session *s =
            open_session(e, &(shoal_session_opts){.n_ctx = N, .chunk = chunk, .kv = kind});
        for (size_t at = 0; at < N;) {
            size_t n = 1 + (at * 7 + chunk) % 11;
            n = n < N - at ? n : N - at;
            eval(s, ids + at, n, SHOAL_LOGITS_LAST);
            at += n;
            check_row(e, s, want, at - 1);
        }
        shoal_session_close(s);
    }
    shoal_free(want);
}

static void rings_change_no_bits(void **state)
{
    (void)state;
    const uint32_t masks[] = {SHOAL_CPU_ALL, 0};
    int32_t ids[N];
    for (size_t i = 0; i < N_KINDS + 1; i++) { /* portable C for one kind */
        tiny_engine e;
        tiny_engine_open(&e, 7, &LOCAL, i == 0 ? 2 : 1, false);
        shoal_exec_close(&e.ex);
        assert_int_equal(shoal_exec_open(&e.ex, e.pool, masks[i / N_KINDS], false, NULL), SHOAL_OK);
        tiny_random_ids(&e, 3, ids, N);
        check_wraps(&e, (shoal_kv_kind)(i % N_KINDS), ids);
        tiny_engine_close(&e);
    }
}

/* From every length, back by every distance: what is kept goes on with the right bits, what is lost
 * is said, and sync reads it again. */
static void truncating_a_ring_is_honest(void **state)
{
    (void)state;
    enum { CHUNK = 30, RING = 64 /* WINDOW + CHUNK in whole tiles, rounded up */ };
    tiny_engine e;
    tiny_engine_open(&e, 7, &LOCAL, 1, false);
    int32_t ids[N];
    tiny_random_ids(&e, 3, ids, N);
    float *want = without_ring(&e, SHOAL_KV_F16, ids, N);
    shoal_session *s = open_session(&e, &(shoal_session_opts){.n_ctx = N, .chunk = CHUNK});
    size_t lost = 0;
    for (size_t len = 2; len + 1 < N; len += 41) {
        for (size_t back = 1; back <= len; back += 1 + back / 4) {
            assert_int_equal(shoal_session_sync(s, ids, len, NULL), SHOAL_OK);
            check_row(&e, s, want, len - 1);
            size_t held = shoal_session_truncate(s, len - back);
            assert_true(held == len - back || held == 0);
            assert_int_equal(shoal_session_past(s), held);
            if (back <= CHUNK + 1 || len <= RING) assert_int_equal(held, len - back);
            lost += held != len - back;
            if (held > 0) {
                eval(s, ids + held, 1, SHOAL_LOGITS_LAST);
                check_row(&e, s, want, held);
            }
        }
    }
    assert_true(lost > 0); /* or the ring was never too short */
    shoal_session_close(s);
    shoal_free(want);
    tiny_engine_close(&e);
}

/* A rejected draft never costs a prompt, even when chunks are single tokens. */
static void a_draft_can_be_taken_back(void **state)
{
    (void)state;
    tiny_engine e;
    tiny_engine_open(&e, 7, &LOCAL, 1, false);
    int32_t ids[N];
    tiny_random_ids(&e, 3, ids, N);
    shoal_session_opts o = {.n_ctx = N, .chunk = 1, .logit_rows = SHOAL_DRAFT_MAX + 1};
    shoal_session *s = open_session(&e, &o);
    for (size_t at = 0; at + SHOAL_DRAFT_MAX + 1 <= N; at++) {
        eval(s, ids + at, SHOAL_DRAFT_MAX + 1, SHOAL_LOGITS_ALL);
        assert_int_equal(shoal_session_truncate(s, at + 1), at + 1);
    }
    shoal_session_close(s);
    tiny_engine_close(&e);
}

/* Takes ids [N] from one session to another range by range, of random lengths, and compares what
 * both say after each. Rings and chunks of the two differ. */
static void check_ranges(const tiny_engine *e, shoal_kv_kind kind, const int32_t *ids,
                         const float *want, uint64_t seed)
{
    shoal_rng rng = shoal_rng_init(seed);
    shoal_session *from =
        open_session(e, &(shoal_session_opts){.n_ctx = N, .chunk = 9, .kv = kind});
    shoal_session *to = open_session(
        e, &(shoal_session_opts){.n_ctx = N - 1, .chunk = 1 + (size_t)seed, .kv = kind});
    for (size_t at = 0; at < N - 3;) {
        size_t n = 1 + (size_t)shoal_rng_below(&rng, 2 * WINDOW);
        n = n < N - 3 - at ? n : N - 3 - at;
        eval(from, ids + at, n, SHOAL_LOGITS_NONE);
        size_t bytes = shoal_session_state_bytes(from, at, n);
        assert_int_equal(bytes, shoal_session_state_bytes(to, at, n));
        unsigned char *state = shoal_alloc(bytes);
        assert_int_equal(shoal_session_export(from, at, n, state, NULL), SHOAL_OK);
        assert_int_equal(shoal_session_import(to, ids + at, n, state, bytes - 1, NULL),
                         SHOAL_ERR_FORMAT);
        assert_int_equal(shoal_session_past(to), at);
        assert_int_equal(shoal_session_import(to, ids + at, n, state, bytes, NULL), SHOAL_OK);
        shoal_free(state);
        at += n;
        assert_int_equal(shoal_session_past(to), at);
        assert_memory_equal(shoal_session_tokens(to), ids, at * sizeof *ids);
        eval(to, ids + at, 2, SHOAL_LOGITS_LAST); /* and back again */
        check_row(e, to, want, at + 1);
        assert_int_equal(shoal_session_truncate(to, at), at);
    }
    shoal_session_close(from);
    shoal_session_close(to);
}

static void imported_state_gives_the_same_bits(void **state)
{
    (void)state;
    int32_t ids[N];
    const shoal_tiny_opts global = {.n_head = 2, .n_head_kv = 1, .head_dim = 32};
    for (size_t kind = 0; kind < N_KINDS; kind++) {
        for (size_t local = 0; local < 2; local++) {
            tiny_engine e;
            tiny_engine_open(&e, 7, local != 0 ? &LOCAL : &global, 1, false);
            tiny_random_ids(&e, 5, ids, N);
            float *want = without_ring(&e, (shoal_kv_kind)kind, ids, N);
            for (uint64_t seed = 0; seed < 20; seed += 8) {
                check_ranges(&e, (shoal_kv_kind)kind, ids, want, seed);
            }
            shoal_free(want);
            tiny_engine_close(&e);
        }
    }
}

static void ranges_that_are_lost_are_refused(void **state)
{
    (void)state;
    tiny_engine e;
    tiny_engine_open(&e, 7, &LOCAL, 1, false);
    int32_t ids[N];
    tiny_random_ids(&e, 3, ids, N);
    shoal_session *s = open_session(&e, &(shoal_session_opts){.n_ctx = N, .chunk = 9});
    eval(s, ids, N, SHOAL_LOGITS_NONE);
    size_t bytes = shoal_session_state_bytes(s, 0, N);
    unsigned char *out = shoal_calloc(bytes, 1);
    assert_int_equal(shoal_session_export(s, 0, 100, out, NULL), SHOAL_ERR_STATE);
    assert_int_equal(shoal_session_export(s, 1, N, out, NULL), SHOAL_ERR_STATE);
    assert_int_equal(shoal_session_export(s, N + 1, 0, out, NULL), SHOAL_ERR_STATE);
    assert_int_equal(shoal_session_export(s, 0, N, out, NULL), SHOAL_OK);
    assert_int_equal(shoal_session_import(s, ids, 1, out, shoal_session_state_bytes(s, N, 1), NULL),
                     SHOAL_ERR_TOO_LARGE);
    /* a prefix that was imported whole has no rows to go back to */
    assert_int_equal(shoal_session_truncate(s, 0), 0);
    assert_int_equal(shoal_session_import(s, ids, N, out, bytes, NULL), SHOAL_OK);
    assert_int_equal(shoal_session_truncate(s, N - 1), 0);
    shoal_free(out);
    shoal_session_close(s);
    tiny_engine_close(&e);
}

/* Gemma's shape in small at a long context: five layers of six cost a window and a chunk. */
static void local_layers_cost_a_window(void **state)
{
    (void)state;
    const shoal_tiny_opts gemma = {.arch = "gemma3",
                                   .window = 512,
                                   .period = 6,
                                   .n_layer = 18,
                                   .n_head = 4,
                                   .n_head_kv = 1,
                                   .head_dim = 32,
                                   .n_ctx = 4096};
    tiny_engine e;
    tiny_engine_open(&e, 7, &gemma, 1, false);
    const size_t value_bytes[N_KINDS] = {2 * 32, 34, 4 * 32}; /* of one row of one head */
    for (size_t kind = 0; kind < N_KINDS; kind++) {
        shoal_kv kv;
        size_t bytes = 0;
        assert_int_equal(shoal_kv_plan(&kv, e.m, (shoal_kv_kind)kind, 4096, 256, &bytes, NULL),
                         SHOAL_OK);
        size_t rows = 3 * 4096 + 15 * (512 + 256 + SHOAL_ATTN_TILE);
        assert_true(bytes <= 2 * rows * value_bytes[kind] + 18 * 256);
        unsigned char *mem = shoal_alloc_aligned(bytes);
        shoal_kv_place(&kv, e.m, mem);
        assert_true(shoal_kv_bytes(&kv) <= bytes);
        assert_true(shoal_kv_bytes(&kv) * 3 < 2 * 18 * 4096 * value_bytes[kind] * 2);
        shoal_free_aligned(mem);
    }
    tiny_engine_close(&e);
}

static void kinds_have_names(void **state)
{
    (void)state;
    for (int i = 0; i < N_KINDS; i++) {
        shoal_kv_kind kind = SHOAL_KV_F16;
        assert_true(shoal_kv_kind_parse(shoal_kv_kind_name((shoal_kv_kind)i), &kind));
        assert_int_equal(kind, i);
    }
    shoal_kv_kind kind = SHOAL_KV_Q8;
    assert_false(shoal_kv_kind_parse("q4", &kind));
    assert_int_equal(kind, SHOAL_KV_Q8);
}

/* Heads that are no whole number of blocks have no 8-bit cache, and are told so. */
static void narrow_heads_have_no_8_bit_cache(void **state)
{
    (void)state;
    tiny_engine e;
    tiny_engine_open(&e, 7, NULL, 1, false);
    shoal_session *s = NULL;
    shoal_error err = {0};
    shoal_session_opts o = {.kv = SHOAL_KV_Q8};
    assert_int_equal(shoal_session_open(&s, e.m, &e.ex, &o, &err), SHOAL_ERR_UNSUPPORTED);
    assert_true(err.hint[0] != '\0');
    assert_null(s);
    tiny_engine_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rings_change_no_bits),
        cmocka_unit_test(truncating_a_ring_is_honest),
        cmocka_unit_test(a_draft_can_be_taken_back),
        cmocka_unit_test(imported_state_gives_the_same_bits),
        cmocka_unit_test(ranges_that_are_lost_are_refused),
        cmocka_unit_test(local_layers_cost_a_window),
        cmocka_unit_test(kinds_have_names),
        cmocka_unit_test(narrow_heads_have_no_8_bit_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
