/* test_context.c - conversations that outgrow the context: which turns go, and that what follows is
 * what a session without them says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/context.h"
#include "client/decode.h"
#include "client/json.h"
#include "kernels/base/cpu.h"
#include "tests/support/tiny_model.h"

enum { TURNS = 14, N = 2 * TURNS + 2 };

typedef struct world {
    char path[128];
    shoal_model *m;
    shoal_exec ex;
    shoal_chat_template ct;
    char texts[N][32];
    shoal_message msgs[N]; /* system, then pairs, then a last question */
    shoal_tokens all;      /* the whole conversation */
} world;

static int open_world(void **state)
{
    static world w;
    shoal_error err = {0};
    w = (world){.m = NULL};
    if (shoal_tiny_model_temp(w.path, 5, NULL, &err) != SHOAL_OK ||
        shoal_model_open(&w.m, w.path, &err) != SHOAL_OK ||
        shoal_exec_open(&w.ex, NULL, SHOAL_CPU_ALL, false, &err) != SHOAL_OK ||
        shoal_chat_template_init(&w.ct, w.m->gguf, w.m->tok, &err) != SHOAL_OK) {
        fail_msg("%s", err.msg);
    }
    for (size_t i = 0; i < N; i++) {
        (void)snprintf(w.texts[i], sizeof w.texts[i], "message %zu", i);
        const char *role = i == 0 ? "system" : i % 2 == 1 ? "user" : "assistant";
        w.msgs[i] = (shoal_message){role, {w.texts[i], strlen(w.texts[i])}};
    }
    assert_int_equal(shoal_chat_encode(&w.ct, w.msgs, N, true, &w.all, NULL, &err), SHOAL_OK);
    *state = &w;
    return 0;
}

static int close_world(void **state)
{
    world *w = *state;
    shoal_tokens_clear(&w->all);
    shoal_exec_close(&w->ex);
    shoal_model_close(w->m);
    return remove(w->path);
}

/* Encodes into a context of `capacity`; returns the status and what was dropped. */
static shoal_status encode(const world *w, size_t capacity, bool shift, shoal_tokens *out,
                           size_t *dropped, shoal_error *err)
{
    shoal_context_room room = shoal_context_room_of(capacity, 512, 0, shift);
    return shoal_context_encode(&w->ct, w->msgs, N, &room, out, dropped, err);
}

static void refused_with_a_hint_unless_asked(void **state)
{
    const world *w = *state;
    shoal_tokens out = {0};
    shoal_error err = {0};
    size_t dropped = 9;
    assert_int_equal(encode(w, w->all.n, false, &out, &dropped, &err), SHOAL_OK);
    assert_int_equal(dropped, 0);
    assert_int_equal(encode(w, w->all.n - 1, false, &out, &dropped, &err), SHOAL_ERR_TOO_LARGE);
    assert_non_null(strstr(err.hint, "--context-shift"));
    shoal_tokens_clear(&out);
}

/* Whatever the size: the system message and the latest turn stay, whole groups of turns go, room is
 * left, and the ids are those of the conversation without the dropped messages. */
static void oldest_turns_go_in_groups(void **state)
{
    const world *w = *state;
    size_t last_dropped = N;
    for (size_t capacity = 60; capacity < w->all.n + 80; capacity += 10) {
        shoal_tokens out = {0};
        shoal_tokens want = {0};
        shoal_message kept[N];
        shoal_error err = {0};
        size_t dropped = 0;
        assert_int_equal(encode(w, capacity, true, &out, &dropped, &err), SHOAL_OK);
        assert_true(out.n <= capacity);
        assert_true(dropped % 8 == 0 || dropped == 2 * TURNS);
        assert_true(dropped <= last_dropped);
        last_dropped = dropped;
        kept[0] = w->msgs[0];
        memcpy(kept + 1, w->msgs + 1 + dropped, (N - 1 - dropped) * sizeof *kept);
        assert_int_equal(shoal_chat_encode(&w->ct, kept, N - dropped, true, &want, NULL, &err),
                         SHOAL_OK);
        assert_int_equal(out.n, want.n);
        assert_memory_equal(out.ids, want.ids, want.n * sizeof *want.ids);
        shoal_tokens_clear(&out);
        shoal_tokens_clear(&want);
    }
    assert_int_equal(last_dropped, 0);
}

static void a_message_too_long_is_refused_even_so(void **state)
{
    const world *w = *state;
    shoal_tokens out = {0};
    shoal_error err = {0};
    size_t dropped = 0;
    assert_int_equal(encode(w, 10, true, &out, &dropped, &err), SHOAL_ERR_TOO_LARGE);
    assert_non_null(strstr(err.msg, "latest message"));
    shoal_tokens_clear(&out);
}

/* ---- an answer longer than the context --------------------------------------------------------
 */

enum { CTX = 48, LONG = 150 };

typedef struct cutting {
    shoal_tokens prompt;
    shoal_context_room room;
    size_t calls;
} cutting;

static shoal_status make_room(void *ctx, const int32_t *generated, size_t n, shoal_tokens *ids,
                              shoal_error *err)
{
    cutting *c = ctx;
    c->calls++;
    for (size_t i = 0; i < c->prompt.n; i++) {
        SHOAL_TRY(shoal_tokens_push(ids, c->prompt.ids[i], err));
    }
    for (size_t i = 0; i < n; i++) {
        SHOAL_TRY(shoal_tokens_push(ids, generated[i], err));
    }
    return shoal_context_cut(ids, 1, &c->room, err);
}

static shoal_session *open_session(const world *w)
{
    shoal_session *s = NULL;
    const shoal_session_opts so = {.n_ctx = CTX};
    assert_int_equal(shoal_session_open(&s, w->m, &w->ex, &so, NULL), SHOAL_OK);
    return s;
}

/* By the book: a fresh session for every token, given exactly what should be kept. */
static void greedy_by_hand(const world *w, const shoal_tokens *prompt, int32_t *out, size_t n)
{
    int32_t held[CTX + 1];
    size_t n_held = prompt->n;
    memcpy(held, prompt->ids, n_held * sizeof *held);
    for (size_t i = 0; i < n; i++) {
        if (n_held > CTX) { /* the one that would not fit any more */
            memmove(held + 1, held + n_held - CTX / 2, (CTX / 2) * sizeof *held);
            n_held = 1 + CTX / 2;
        }
        shoal_session *s = open_session(w);
        assert_int_equal(shoal_session_sync(s, held, n_held, NULL), SHOAL_OK);
        out[i] = shoal_argmax(shoal_session_logits(s, 0), w->m->cfg.n_vocab);
        held[n_held++] = out[i];
        shoal_session_close(s);
    }
}

static void a_shifted_answer_is_that_of_what_is_kept(void **state)
{
    const world *w = *state;
    shoal_error err = {0};
    int32_t want[LONG];
    const char *const specs[] = {"none", "ngram"};
    for (size_t k = 0; k < 2; k++) {
        cutting c = {.room = shoal_context_room_of(CTX, 512, 0, true)};
        shoal_tokens got = {0};
        shoal_decoding how = shoal_decoding_default();
        shoal_decode_result r;
        assert_int_equal(shoal_tokenize(w->m->tok, "the fish", 8, false, &c.prompt, &err),
                         SHOAL_OK);
        greedy_by_hand(w, &c.prompt, want, LONG);
        how.max_tokens = LONG;
        how.spec = specs[k];
        const shoal_decode_job job = {.prompt = c.prompt.ids,
                                      .n_prompt = c.prompt.n,
                                      .how = &how,
                                      .tokens = &got,
                                      .make_room = make_room,
                                      .room_ctx = &c};
        shoal_session *s = open_session(w);
        assert_int_equal(shoal_decode(s, &job, &r, &err), SHOAL_OK);
        assert_true(r.reason == SHOAL_STOP_LENGTH || r.reason == SHOAL_STOP_END);
        assert_int_equal(r.n_shifts, c.calls);
        assert_true(c.calls >= 2);
        assert_memory_equal(got.ids, want, got.n * sizeof *want);
        shoal_session_close(s);
        shoal_tokens_clear(&got);
        shoal_tokens_clear(&c.prompt);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_with_a_hint_unless_asked),
        cmocka_unit_test(oldest_turns_go_in_groups),
        cmocka_unit_test(a_message_too_long_is_refused_even_so),
        cmocka_unit_test(a_shifted_answer_is_that_of_what_is_kept),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
