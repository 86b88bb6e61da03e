/* cmd_generate.c - shoal generate: continue a raw prompt. */
#include <stdio.h>
#include <string.h>

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

static const shoal_usage usage = {
    .synopsis = "shoal generate -m MODEL -p PROMPT [options]",
    .about = "Continues a raw prompt: no chat template, but the text of control tokens in the\n"
             "prompt becomes those tokens. --json prints one object at the end:\n"
             "{\"tokens\",\"text\",\"tg_tps\",\"accepted\",\"drafted\",\"prompt_tokens\","
             "\"cached_tokens\"}.",
    .example = "  shoal generate -m smollm2-135m -p \"The capital of France is\" -n 16"};

typedef struct generate_options {
    shoal_engine_options engine;
    shoal_decoding how;
    const char *prompt;
    uint64_t ctx;
    shoal_prompt_options cache;
    bool context_shift, json;
} generate_options;

/* One generation and what it needs. */
typedef struct generation {
    const generate_options *o;
    const shoal_engine *e;
    shoal_session *s;
    shoal_prompt_store store;
    shoal_context_room room;
    shoal_reading reading;
    shoal_tokens prompt, tokens;
    shoal_buf text;
    shoal_decode_result r;
} generation;

static bool write_text(void *ctx, const char *text, size_t n)
{
    generation *g = ctx;
    shoal_reading_end(&g->reading, true);
    return fwrite(text, 1, n, stdout) == n && fflush(stdout) == 0;
}

static bool keep_text(void *ctx, const char *text, size_t n)
{
    generation *g = ctx;
    shoal_reading_end(&g->reading, true);
    return shoal_buf_put(&g->text, text, n);
}

static shoal_status encode_prompt(const shoal_model *m, const char *prompt, shoal_tokens *out,
                                  shoal_error *err)
{
    if (shoal_tokenizer_adds_bos(m->tok)) {
        SHOAL_TRY(shoal_tokens_push(out, shoal_tokenizer_bos(m->tok), err));
    }
    SHOAL_TRY(shoal_tokenize(m->tok, prompt, strlen(prompt), true, out, err));
    if (out->n > 0) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_ARG, "the prompt is empty");
}

/* Tokens at the beginning that are kept when the rest is forgotten. */
static size_t kept_at_beginning(const generation *g)
{
    return shoal_tokenizer_adds_bos(g->e->model->tok) ? 1 : 0;
}

/* Goes on from the later half of prompt and text. */
static shoal_status make_room(void *ctx, const int32_t *generated, size_t n, shoal_tokens *ids,
                              shoal_error *err)
{
    generation *g = ctx;
    for (size_t i = 0; i < g->prompt.n; i++) {
        SHOAL_TRY(shoal_tokens_push(ids, g->prompt.ids[i], err));
    }
    for (size_t i = 0; i < n; i++) {
        SHOAL_TRY(shoal_tokens_push(ids, generated[i], err));
    }
    return shoal_context_cut(ids, kept_at_beginning(g), &g->room, err);
}

static shoal_status open_all(generation *g, shoal_error *err)
{
    const generate_options *o = g->o;
    const shoal_model *m = g->e->model;
    const shoal_session_opts so = {
        .n_ctx = (size_t)o->ctx, .adapter = g->e->adapter, .kv = g->e->kv};
    SHOAL_TRY(encode_prompt(m, o->prompt, &g->prompt, err));
    SHOAL_TRY(shoal_engine_open_session(g->e, &so, &g->s, err));
    g->room = shoal_context_room_of(shoal_session_capacity(g->s), m->cfg.n_ctx, o->how.max_tokens,
                                    o->context_shift);
    SHOAL_TRY(shoal_context_cut(&g->prompt, kept_at_beginning(g), &g->room, err));
    return shoal_prompt_store_open(&g->store, &o->cache, &o->engine, 0, err);
}

static void close_all(generation *g)
{
    shoal_prompt_store_close(&g->store);
    shoal_session_close(g->s);
    shoal_buf_clear(&g->text);
    shoal_tokens_clear(&g->tokens);
    shoal_tokens_clear(&g->prompt);
}

/* What a person should know about how it ended. */
static void say_how_it_went(const generation *g)
{
    const shoal_decode_result *r = &g->r;
    if (r->reason == SHOAL_STOP_CONTEXT) {
        shoal_term_warn("the text ends here: the context of %zu tokens is full%s", g->room.capacity,
                        g->o->context_shift ? "" : " (--context-shift goes on)");
    } else if (r->reason == SHOAL_STOP_CANCELLED && r->n_tokens == 0) {
        shoal_term_note("stopped after %zu of %zu tokens of the prompt%s", shoal_session_past(g->s),
                        r->n_prompt,
                        g->store.cache != NULL ? "; the same prompt goes on from there" : "");
    }
    if (!g->o->engine.verbose || g->o->json) return;
    shoal_term_note("%zu tokens read, %zu of them kept from before; %zu tokens, %.1f tok/s, "
                    "%llu of %llu drafted tokens accepted",
                    r->n_prompt, r->n_cached, r->n_tokens, shoal_decode_tps(r),
                    (unsigned long long)r->accepted, (unsigned long long)r->drafted);
}

static shoal_status decode(generation *g, shoal_error *err)
{
    const generate_options *o = g->o;
    const shoal_decode_job job = {.prompt = g->prompt.ids,
                                  .n_prompt = g->prompt.n,
                                  .how = &o->how,
                                  .on_text = o->json ? keep_text : write_text,
                                  .ctx = g,
                                  .cancel = shoal_interrupt_flag(),
                                  .tokens = &g->tokens,
                                  .store = &g->store,
                                  .adapter = g->e->adapter,
                                  .on_read = shoal_reading_on_chunk,
                                  .read_ctx = &g->reading,
                                  .make_room = o->context_shift ? make_room : NULL,
                                  .room_ctx = g};
    shoal_status st = shoal_decode(g->s, &job, &g->r, err);
    shoal_reading_end(&g->reading, g->r.n_tokens > 0);
    return st;
}

static shoal_status generate(const generate_options *o, const shoal_engine *e, shoal_error *err)
{
    generation g = {.o = o,
                    .e = e,
                    .reading = shoal_reading_init(o->engine.verbose, o->json),
                    .text = shoal_buf_init((size_t)64 << 20)};
    shoal_status st = open_all(&g, err);
    if (st == SHOAL_OK) st = decode(&g, err);
    if (st == SHOAL_OK && o->json) {
        st = shoal_decode_print_json(&g.r, &g.tokens, &g.text, err);
    } else if (st == SHOAL_OK) {
        (void)putchar('\n');
    }
    if (st == SHOAL_OK) say_how_it_went(&g);
    close_all(&g);
    return st;
}

static shoal_status run(const generate_options *o, shoal_error *err)
{
    shoal_engine e = {0};
    SHOAL_TRY(shoal_decoding_check(&o->how, err));
    if (o->prompt == NULL) return shoal_fail(err, SHOAL_ERR_ARG, "no prompt given: -p PROMPT");
    shoal_interrupt_install();
    SHOAL_TRY(shoal_engine_open_required(&e, &o->engine, err));
    shoal_status st = generate(o, &e, err);
    shoal_engine_close(&e);
    return st;
}

int shoal_cmd_generate(int argc, char **argv)
{
    shoal_error err = {0};
    generate_options o = {.how = shoal_decoding_default(),
                          .cache = shoal_prompt_options_default("off")};
    shoal_option common[SHOAL_ENGINE_N_OPTIONS];
    shoal_option inputs[SHOAL_ENGINE_N_INPUTS];
    shoal_option decoding[SHOAL_DECODING_N_OPTIONS];
    shoal_option cache[SHOAL_PROMPT_N_OPTIONS];
    const shoal_option options[] = {
        SHOAL_STRING("prompt", 'p', &o.prompt, "PROMPT", "the text to continue"),
        SHOAL_COUNT("ctx", 'c', &o.ctx, "N", "tokens of context (the model's, at most 4096)", 1,
                    1 << 20),
        shoal_engine_kv_option(&o.engine),
        shoal_engine_max_ram_option(&o.engine),
        SHOAL_FLAG("context-shift", 0, &o.context_shift,
                   "forget the older half when the context is full (default: end)"),
        SHOAL_FLAG("json", 0, &o.json, "one JSON object at the end")};
    o.how.max_tokens = 128;
    shoal_engine_option_table(&o.engine, common);
    shoal_engine_input_table(&o.engine, inputs);
    shoal_decoding_option_table(&o.how, decoding);
    shoal_prompt_option_table(&o.cache, cache);
    const shoal_option_group groups[] = {{"input", inputs, SHOAL_ENGINE_N_INPUTS},
                                         {"options", options, SHOAL_OPTION_COUNT_OF(options)},
                                         {"decoding", decoding, SHOAL_DECODING_N_OPTIONS},
                                         {"prompt cache (off)", cache, SHOAL_PROMPT_N_OPTIONS},
                                         {"common", common, SHOAL_ENGINE_N_OPTIONS}};
    int code = 0;
    if (!shoal_command_begin(&usage, groups, 5, argc, argv, NULL, &code)) return code;
    return shoal_command_end(run(&o, &err), &err);
}
