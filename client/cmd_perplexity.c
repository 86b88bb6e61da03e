/* cmd_perplexity.c - shoal perplexity: how well the model predicts a text. */
#include <math.h>
#include <stdio.h>

#include "client/command.h"
#include "client/engine.h"
#include "client/interrupt.h"
#include "client/json.h"
#include "client/memory_cap.h"
#include "kernels/base/term.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "lora/infer/session.h"

#define TEXT_MAX ((size_t)256 << 20)

static const shoal_usage usage = {
    .synopsis = "shoal perplexity -m MODEL [-a ADAPTER] -f TEXT [-c CTX] [--json]",
    .about =
        "Cuts the tokens of a text into whole chunks of CTX, runs each on its own and scores the\n"
        "tokens of its second half, each from those before it: the definition of "
        "llama-perplexity.\n"
        "Prints exp(mean NLL); --json: {\"ppl\",\"nll\",\"tokens\"} (mean NLL, tokens scored).",
    .example =
        "  shoal perplexity -m smollm2-135m -f /usr/share/common-licenses/Apache-2.0 -c 512"};

typedef struct perplexity_options {
    shoal_engine_options engine;
    const char *text;
    uint64_t ctx;
    bool json;
} perplexity_options;

typedef struct score_sum {
    double nll;
    size_t tokens;
} score_sum;

static shoal_status load_tokens(const shoal_model *m, const char *path, shoal_tokens *ids,
                                shoal_error *err)
{
    shoal_buf text = shoal_buf_init(0);
    SHOAL_TRY(shoal_file_read(path, TEXT_MAX, &text, err));
    shoal_status st = SHOAL_OK;
    if (shoal_tokenizer_adds_bos(m->tok)) {
        st = shoal_tokens_push(ids, shoal_tokenizer_bos(m->tok), err);
    }
    if (st == SHOAL_OK) {
        st = shoal_tokenize(m->tok, shoal_buf_str(&text), text.len, false, ids, err);
    }
    shoal_buf_clear(&text);
    return st;
}

/* One chunk: with a model that wants BOS, BOS takes the place of the first token. */
static shoal_status score_chunk(shoal_session *s, int32_t *ids, size_t ctx, double *nll,
                                score_sum *sum, shoal_error *err)
{
    const shoal_model *m = shoal_session_model(s);
    if (shoal_tokenizer_adds_bos(m->tok)) ids[0] = shoal_tokenizer_bos(m->tok);
    SHOAL_TRY(shoal_session_score(s, ids, ctx, nll, NULL, err));
    for (size_t i = ctx / 2; i + 1 < ctx; i++) { /* nll[i] is the cost of token i + 1 */
        sum->nll += nll[i];
        sum->tokens++;
    }
    return SHOAL_OK;
}

static shoal_status score_chunks(shoal_session *s, shoal_tokens *ids, const perplexity_options *o,
                                 score_sum *sum, shoal_error *err)
{
    size_t ctx = (size_t)o->ctx;
    size_t n_chunks = ids->n / ctx;
    shoal_progress bar;
    char detail[40] = "";
    double *nll = shoal_calloc(ctx, sizeof *nll);
    if (nll == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    shoal_status st = SHOAL_OK;
    shoal_progress_begin(&bar, "scoring", n_chunks, 0, o->json);
    for (size_t i = 0; st == SHOAL_OK && i < n_chunks; i++) {
        if (shoal_interrupted()) {
            st = shoal_fail(err, SHOAL_ERR_CANCELLED, "stopped after %zu of %zu chunks", i,
                            n_chunks);
            break;
        }
        st = score_chunk(s, ids->ids + i * ctx, ctx, nll, sum, err);
        (void)snprintf(detail, sizeof detail, "perplexity %.3f",
                       exp(sum->nll / (double)(sum->tokens + (sum->tokens == 0))));
        shoal_progress_update(&bar, i + 1, detail);
    }
    shoal_progress_end(&bar, detail);
    shoal_free(nll);
    return st;
}

static shoal_status print_result(const score_sum *sum, bool json, shoal_error *err)
{
    double mean = sum->nll / (double)sum->tokens;
    if (json) {
        return shoal_json_print(stdout,
                                json_pack("{s:f, s:f, s:I}", "ppl", exp(mean), "nll", mean,
                                          "tokens", (json_int_t)sum->tokens),
                                err);
    }
    (void)printf("perplexity %.4f (mean NLL %.5f over %zu tokens)\n", exp(mean), mean, sum->tokens);
    return SHOAL_OK;
}

static shoal_status measure(const shoal_engine *e, const perplexity_options *o, shoal_error *err)
{
    shoal_tokens ids = {0};
    shoal_session *s = NULL;
    score_sum sum = {0.0, 0};
    const shoal_session_opts so = {.n_ctx = (size_t)o->ctx, .adapter = e->adapter, .kv = e->kv};
    shoal_status st = load_tokens(e->model, o->text, &ids, err);
    if (st == SHOAL_OK && ids.n < o->ctx) {
        st =
            shoal_fail(err, SHOAL_ERR_FORMAT, "the text has %zu tokens, less than one chunk of %zu",
                       ids.n, (size_t)o->ctx);
        shoal_hint(err, "give a longer text or a smaller -c");
    }
    if (st == SHOAL_OK) st = shoal_engine_open_session(e, &so, &s, err);
    if (st == SHOAL_OK) st = score_chunks(s, &ids, o, &sum, err);
    if (st == SHOAL_OK) st = print_result(&sum, o->json, err);
    shoal_session_close(s);
    shoal_tokens_clear(&ids);
    return st;
}

static shoal_status run(const perplexity_options *o, shoal_error *err)
{
    shoal_engine e = {0};
    if (o->text == NULL) return shoal_fail(err, SHOAL_ERR_ARG, "no text given: -f TEXT");
    shoal_interrupt_install();
    SHOAL_TRY(shoal_engine_open_required(&e, &o->engine, err));
    shoal_status st = measure(&e, o, err);
    shoal_engine_close(&e);
    return st;
}

int shoal_cmd_perplexity(int argc, char **argv)
{
    shoal_error err = {0};
    perplexity_options o = {.ctx = 512};
    shoal_option common[SHOAL_ENGINE_N_OPTIONS];
    shoal_option inputs[SHOAL_ENGINE_N_INPUTS];
    const shoal_option options[] = {
        SHOAL_STRING("file", 'f', &o.text, "TEXT", "a text file"),
        SHOAL_COUNT("ctx", 'c', &o.ctx, "CTX", "tokens of a chunk (512)", 4, 1 << 20),
        shoal_engine_kv_option(&o.engine), shoal_engine_max_ram_option(&o.engine),
        SHOAL_FLAG("json", 0, &o.json, "one JSON object")};
    shoal_engine_option_table(&o.engine, common);
    shoal_engine_input_table(&o.engine, inputs);
    const shoal_option_group groups[] = {{"input", inputs, SHOAL_ENGINE_N_INPUTS},
                                         {"options", options, SHOAL_OPTION_COUNT_OF(options)},
                                         {"common", common, SHOAL_ENGINE_N_OPTIONS}};
    int code = 0;
    if (!shoal_command_begin(&usage, groups, 3, argc, argv, NULL, &code)) return code;
    return shoal_command_end(run(&o, &err), &err);
}
