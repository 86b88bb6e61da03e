/* cmd_generate.c - shoal generate: continue a raw prompt. */
#include <stdio.h>
#include <string.h>

#include "client/command.h"
#include "client/decode.h"
#include "client/engine.h"
#include "client/interrupt.h"
#include "client/json.h"
#include "client/memory_cap.h"
#include "kernels/base/term.h"

static const shoal_usage usage = {
    .synopsis = "shoal generate -m MODEL -p PROMPT [options]",
    .about = "Continues a raw prompt: no chat template, but the text of control tokens in the\n"
             "prompt becomes those tokens. --json prints one object at the end:\n"
             "{\"tokens\",\"text\",\"tg_tps\",\"accepted\",\"drafted\"}.",
    .example = "  shoal generate -m smollm2-135m -p \"The capital of France is\" -n 16"};

typedef struct generate_options {
    shoal_engine_options engine;
    shoal_decoding how;
    const char *prompt;
    uint64_t ctx;
    bool json;
} generate_options;

static bool write_text(void *ctx, const char *text, size_t n)
{
    (void)ctx;
    return fwrite(text, 1, n, stdout) == n && fflush(stdout) == 0;
}

static bool keep_text(void *ctx, const char *text, size_t n)
{
    return shoal_buf_put(ctx, text, n);
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

static shoal_status generate(const generate_options *o, const shoal_engine *e, shoal_error *err)
{
    shoal_session *s = NULL;
    shoal_tokens prompt = {0};
    shoal_tokens tokens = {0};
    shoal_buf text = shoal_buf_init((size_t)64 << 20);
    shoal_decode_result r = {.n_tokens = 0};
    const shoal_session_opts so = {.n_ctx = (size_t)o->ctx, .adapter = e->adapter, .kv = e->kv};
    shoal_status st = encode_prompt(e->model, o->prompt, &prompt, err);
    if (st == SHOAL_OK) st = shoal_engine_open_session(e, &so, &s, err);
    if (st == SHOAL_OK) {
        const shoal_decode_job job = {.prompt = prompt.ids,
                                      .n_prompt = prompt.n,
                                      .how = &o->how,
                                      .on_text = o->json ? keep_text : write_text,
                                      .ctx = &text,
                                      .cancel = shoal_interrupt_flag(),
                                      .tokens = &tokens};
        st = shoal_decode(s, &job, &r, err);
    }
    if (st == SHOAL_OK && o->json) {
        st = shoal_decode_print_json(&r, &tokens, &text, err);
    } else if (st == SHOAL_OK) {
        (void)putchar('\n');
        if (o->engine.verbose) {
            shoal_term_note("%zu tokens, %.1f tok/s, %llu of %llu drafted tokens accepted",
                            r.n_tokens, shoal_decode_tps(&r), (unsigned long long)r.accepted,
                            (unsigned long long)r.drafted);
        }
    }
    shoal_session_close(s);
    shoal_buf_clear(&text);
    shoal_tokens_clear(&tokens);
    shoal_tokens_clear(&prompt);
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
    generate_options o = {.how = shoal_decoding_default()};
    shoal_option common[SHOAL_ENGINE_N_OPTIONS];
    shoal_option inputs[SHOAL_ENGINE_N_INPUTS];
    shoal_option decoding[SHOAL_DECODING_N_OPTIONS];
    const shoal_option options[] = {
        SHOAL_STRING("prompt", 'p', &o.prompt, "PROMPT", "the text to continue"),
        SHOAL_COUNT("ctx", 'c', &o.ctx, "N", "tokens of context (the model's, at most 4096)", 1,
                    1 << 20),
        shoal_engine_kv_option(&o.engine), shoal_engine_max_ram_option(&o.engine),
        SHOAL_FLAG("json", 0, &o.json, "one JSON object at the end")};
    o.how.max_tokens = 128;
    shoal_engine_option_table(&o.engine, common);
    shoal_engine_input_table(&o.engine, inputs);
    shoal_decoding_option_table(&o.how, decoding);
    const shoal_option_group groups[] = {{"input", inputs, SHOAL_ENGINE_N_INPUTS},
                                         {"options", options, SHOAL_OPTION_COUNT_OF(options)},
                                         {"decoding", decoding, SHOAL_DECODING_N_OPTIONS},
                                         {"common", common, SHOAL_ENGINE_N_OPTIONS}};
    int code = 0;
    if (!shoal_command_begin(&usage, groups, 4, argc, argv, NULL, &code)) return code;
    return shoal_command_end(run(&o, &err), &err);
}
