/* cmd_chat.c - shoal chat: talk to the model, one prompt or turn by turn. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/command.h"
#include "client/context.h"
#include "client/decode.h"
#include "client/engine.h"
#include "client/interrupt.h"
#include "client/json.h"
#include "client/prompt_store.h"
#include "client/reading.h"
#include "client/memory_cap.h"
#include "kernels/base/term.h"
#include "kernels/base/mem.h"
#include "lora/model/chat_template.h"

enum { LINE_MAX_BYTES = 1 << 20, ANSWER_MAX = 16 << 20 };

static const shoal_usage usage = {
    .synopsis = "shoal chat -m MODEL [-a ADAPTER] [-p PROMPT] [options]",
    .about =
        "Talks to the model through its chat template. With -p it answers once; without, it reads\n"
        "one message a line until end of input: /reset forgets the conversation, /quit leaves, "
        "and\n"
        "Ctrl-C stops an answer.",
    .example = "  shoal chat -m smollm2-135m -p \"What is the tallest mountain on Earth?\"\n"
               "  shoal chat -m smollm2-135m -a notes.gguf --temp 0.7"};

typedef struct chat_options {
    shoal_engine_options engine;
    shoal_decoding how;
    const char *prompt, *system;
    uint64_t ctx;
    shoal_prompt_options cache;
    bool context_shift, json;
} chat_options;

/* A conversation: messages whose texts are owned, and the session that has read them. */
typedef struct conversation {
    const chat_options *o;
    shoal_chat_template ct;
    shoal_session *session;
    const shoal_adapter *adapter;
    shoal_prompt_store store;
    shoal_context_room room;
    shoal_reading reading;
    shoal_message messages[SHOAL_JSON_MAX_MESSAGES];
    char *texts[SHOAL_JSON_MAX_MESSAGES]; /* owned; what messages[i].content shows */
    size_t n;
} conversation;

static shoal_status add_message(conversation *c, const char *role, const char *text, size_t n,
                                shoal_error *err)
{
    if (c->n == SHOAL_JSON_MAX_MESSAGES) {
        (void)shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the conversation has %zu messages", c->n);
        shoal_hint(err, "/reset begins a new one");
        return SHOAL_ERR_TOO_LARGE;
    }
    char *copy = shoal_strndup(text, n);
    if (copy == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    c->texts[c->n] = copy;
    c->messages[c->n] = (shoal_message){role, {copy, n}};
    c->n++;
    return SHOAL_OK;
}

static void drop_messages(conversation *c, size_t keep)
{
    while (c->n > keep) {
        c->n--;
        shoal_free(c->texts[c->n]);
    }
}

/* Forgets the `n` oldest messages behind the system's. */
static void drop_oldest(conversation *c, size_t n)
{
    size_t head = shoal_context_head(c->messages, c->n);
    if (n == 0) return;
    for (size_t i = head; i < head + n; i++) {
        shoal_free(c->texts[i]);
    }
    memmove(c->texts + head, c->texts + head + n, (c->n - head - n) * sizeof *c->texts);
    memmove(c->messages + head, c->messages + head + n, (c->n - head - n) * sizeof *c->messages);
    c->n -= n;
    shoal_term_note("the context is full: the %zu oldest messages are forgotten", n);
}

static shoal_status reset(conversation *c, shoal_error *err)
{
    drop_messages(c, 0);
    if (c->o->system == NULL) return SHOAL_OK;
    return add_message(c, "system", c->o->system, strlen(c->o->system), err);
}

/* The answer as it comes: shown at once, and kept for the next turn. */
typedef struct answer_text {
    conversation *c;
    shoal_buf text;
    bool show;
} answer_text;

static bool on_text(void *ctx, const char *text, size_t n)
{
    answer_text *a = ctx;
    shoal_reading_end(&a->c->reading, true);
    if (!shoal_buf_put(&a->text, text, n)) return false;
    if (!a->show) return true;
    return fwrite(text, 1, n, stdout) == n && fflush(stdout) == 0;
}

static void say_speed(const conversation *c, const shoal_decode_result *r)
{
    if (!c->o->engine.verbose) return;
    shoal_term_note("%s%zu tokens read, %zu of them kept from before; %zu tokens, %.1f tok/s, "
                    "%llu of %llu drafted accepted%s",
                    shoal_term_colour(SHOAL_COLOUR_DIM), r->n_prompt, r->n_cached, r->n_tokens,
                    shoal_decode_tps(r), (unsigned long long)r->accepted,
                    (unsigned long long)r->drafted, shoal_term_colour(SHOAL_COLOUR_NONE));
}

/* The answer outgrew the context: older turns go, and it goes on behind what stays. */
static shoal_status make_room(void *ctx, const int32_t *generated, size_t n, shoal_tokens *ids,
                              shoal_error *err)
{
    conversation *c = ctx;
    shoal_context_room room = c->room;
    size_t dropped = 0;
    room.reserve += n;
    SHOAL_TRY(shoal_context_encode(&c->ct, c->messages, c->n, &room, ids, &dropped, err));
    if (dropped == 0 || ids->n + n >= room.capacity) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "nothing is left to forget");
    }
    drop_oldest(c, dropped);
    for (size_t i = 0; i < n; i++) {
        SHOAL_TRY(shoal_tokens_push(ids, generated[i], err));
    }
    return SHOAL_OK;
}

static void say_why_it_ends(const conversation *c, const shoal_decode_result *r)
{
    if (r->reason == SHOAL_STOP_CONTEXT) {
        shoal_term_warn("the answer ends here: the context of %zu tokens is full%s",
                        c->room.capacity,
                        c->o->context_shift ? "" : " (--context-shift drops the oldest turns)");
    } else if (r->reason == SHOAL_STOP_CANCELLED && r->n_tokens == 0) {
        shoal_term_note(
            "stopped after %zu of %zu tokens of the prompt; asked again, reading goes on "
            "from there",
            shoal_session_past(c->session), r->n_prompt);
    }
}

static shoal_status decode_answer(conversation *c, const shoal_tokens *prompt, shoal_error *err)
{
    answer_text a = {c, shoal_buf_init(ANSWER_MAX), !c->o->json};
    shoal_tokens tokens = {0};
    shoal_decode_result r = {.n_tokens = 0};
    const shoal_decode_job job = {.prompt = prompt->ids,
                                  .n_prompt = prompt->n,
                                  .how = &c->o->how,
                                  .on_text = on_text,
                                  .ctx = &a,
                                  .cancel = shoal_interrupt_flag(),
                                  .tokens = &tokens,
                                  .store = &c->store,
                                  .adapter = c->adapter,
                                  .on_read = shoal_reading_on_chunk,
                                  .read_ctx = &c->reading,
                                  .make_room = c->o->context_shift ? make_room : NULL,
                                  .room_ctx = c};
    shoal_status st = shoal_decode(c->session, &job, &r, err);
    shoal_reading_end(&c->reading, r.n_tokens > 0);
    if (st == SHOAL_OK && c->o->json) {
        st = shoal_decode_print_json(&r, &tokens, &a.text, err);
    } else if (st == SHOAL_OK) {
        (void)putchar('\n');
        (void)fflush(stdout);
        say_speed(c, &r);
    }
    if (st == SHOAL_OK) say_why_it_ends(c, &r);
    if (st == SHOAL_OK) {
        st = add_message(c, "assistant", shoal_buf_str(&a.text), a.text.len, err);
    }
    shoal_tokens_clear(&tokens);
    shoal_buf_clear(&a.text);
    return st;
}

/* One turn: on failure the conversation is as it was before. */
static shoal_status answer(conversation *c, const char *text, size_t n, shoal_error *err)
{
    shoal_tokens prompt = {0};
    SHOAL_TRY(add_message(c, "user", text, n, err));
    size_t dropped = 0;
    shoal_status st =
        shoal_context_encode(&c->ct, c->messages, c->n, &c->room, &prompt, &dropped, err);
    if (st == SHOAL_OK) {
        drop_oldest(c, dropped);
        st = decode_answer(c, &prompt, err);
    }
    shoal_tokens_clear(&prompt);
    if (st != SHOAL_OK) drop_messages(c, c->n - 1); /* the message that has no answer */
    return st;
}

/* A line without its end; false at end of input or when a signal came. */
static bool read_line(shoal_buf *line)
{
    int ch = 0;
    line->len = 0;
    if (!shoal_buf_put(line, "", 0)) return false; /* ends the old text */
    while ((ch = fgetc(stdin)) != EOF && ch != '\n') {
        if (!shoal_buf_put_u8(line, (uint8_t)ch)) return false;
    }
    return ch == '\n' || line->len > 0;
}

static void greet(const conversation *c)
{
    if (isatty(STDIN_FILENO) != 1) return;
    shoal_term_note("%s; /reset forgets, /quit leaves, Ctrl-C stops an answer",
                    c->o->engine.adapter != NULL ? "chatting with the adapted model"
                                                 : "chatting with the base model");
}

static shoal_status converse(conversation *c, shoal_error *err)
{
    shoal_buf line = shoal_buf_init(LINE_MAX_BYTES);
    bool person = isatty(STDIN_FILENO) == 1;
    shoal_status st = SHOAL_OK;
    greet(c);
    while (st == SHOAL_OK) {
        if (person) {
            (void)fprintf(stderr, "%s>%s ", shoal_term_colour(SHOAL_COLOUR_BOLD),
                          shoal_term_colour(SHOAL_COLOUR_NONE));
        }
        if (!read_line(&line)) break;
        const char *text = shoal_buf_str(&line);
        if (strcmp(text, "/quit") == 0) break;
        if (strcmp(text, "/reset") == 0) {
            st = reset(c, err);
        } else if (line.len > 0) {
            st = answer(c, text, line.len, err);
            shoal_interrupt_clear();
        }
        if (person && st == SHOAL_ERR_TOO_LARGE) { /* a person can go on from here */
            shoal_term_error(err);
            st = SHOAL_OK;
        }
    }
    if (person) (void)fputc('\n', stderr);
    if (st == SHOAL_OK && line.failed) st = shoal_buf_status(&line, err);
    shoal_buf_clear(&line);
    return st;
}

static shoal_status chat(const chat_options *o, const shoal_engine *e, shoal_error *err)
{
    conversation *c = shoal_calloc(1, sizeof *c);
    if (c == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    c->o = o;
    c->adapter = e->adapter;
    c->reading = shoal_reading_init(o->engine.verbose, o->json);
    const shoal_session_opts so = {.n_ctx = (size_t)o->ctx, .adapter = e->adapter, .kv = e->kv};
    shoal_status st = shoal_chat_template_init(&c->ct, e->model->gguf, e->model->tok, err);
    if (st == SHOAL_OK) st = shoal_engine_open_session(e, &so, &c->session, err);
    if (st == SHOAL_OK) {
        st = shoal_prompt_store_open(&c->store, &o->cache, &o->engine, 0, err);
    }
    if (st == SHOAL_OK) st = reset(c, err);
    if (st == SHOAL_OK) {
        c->room = shoal_context_room_of(shoal_session_capacity(c->session), e->model->cfg.n_ctx,
                                        o->how.max_tokens, o->context_shift);
        st = o->prompt != NULL ? answer(c, o->prompt, strlen(o->prompt), err) : converse(c, err);
    }
    drop_messages(c, 0);
    shoal_prompt_store_close(&c->store);
    shoal_session_close(c->session);
    shoal_free(c);
    return st;
}

static shoal_status run(const chat_options *o, shoal_error *err)
{
    shoal_engine e = {0};
    SHOAL_TRY(shoal_decoding_check(&o->how, err));
    shoal_interrupt_install();
    SHOAL_TRY(shoal_engine_open_required(&e, &o->engine, err));
    shoal_status st = chat(o, &e, err);
    shoal_engine_close(&e);
    return st;
}

int shoal_cmd_chat(int argc, char **argv)
{
    shoal_error err = {0};
    chat_options o = {.how = shoal_decoding_default(), .cache = shoal_prompt_options_default("on")};
    shoal_option common[SHOAL_ENGINE_N_OPTIONS];
    shoal_option inputs[SHOAL_ENGINE_N_INPUTS];
    shoal_option decoding[SHOAL_DECODING_N_OPTIONS];
    shoal_option cache[SHOAL_PROMPT_N_OPTIONS];
    const shoal_option options[] = {
        SHOAL_STRING("prompt", 'p', &o.prompt, "PROMPT", "answer this once and end"),
        SHOAL_STRING("system", 0, &o.system, "TEXT", "system message (default: the model's own)"),
        SHOAL_COUNT("ctx", 'c', &o.ctx, "N", "tokens of context (the model's, at most 4096)", 1,
                    1 << 20),
        shoal_engine_kv_option(&o.engine),
        shoal_engine_max_ram_option(&o.engine),
        SHOAL_FLAG("context-shift", 0, &o.context_shift,
                   "drop the oldest turns when the context is full (default: refuse)"),
        SHOAL_FLAG("json", 0, &o.json, "one JSON object an answer, as generate --json")};
    shoal_engine_option_table(&o.engine, common);
    shoal_engine_input_table(&o.engine, inputs);
    shoal_decoding_option_table(&o.how, decoding);
    shoal_prompt_option_table(&o.cache, cache);
    const shoal_option_group groups[] = {{"input", inputs, SHOAL_ENGINE_N_INPUTS},
                                         {"options", options, SHOAL_OPTION_COUNT_OF(options)},
                                         {"decoding", decoding, SHOAL_DECODING_N_OPTIONS},
                                         {"prompt cache (on)", cache, SHOAL_PROMPT_N_OPTIONS},
                                         {"common", common, SHOAL_ENGINE_N_OPTIONS}};
    int code = 0;
    if (!shoal_command_begin(&usage, groups, 5, argc, argv, NULL, &code)) return code;
    return shoal_command_end(run(&o, &err), &err);
}
