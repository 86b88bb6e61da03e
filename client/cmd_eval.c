/* cmd_eval.c - shoal eval: loss on a data set and, for JSON answers, how often they are right. */
#include <stdio.h>
#include <string.h>

#include "client/command.h"
#include "client/data.h"
#include "client/decode.h"
#include "client/engine.h"
#include "client/interrupt.h"
#include "client/json.h"
#include "client/json_score.h"
#include "kernels/base/mem.h"
#include "kernels/base/term.h"
#include "lora/train/trainer.h"

enum {
    LOSS_BATCH = 16,  /* samples between two looks at the clock */
    INTENTS_MAX = 32, /* rows of the table by intent */
    ROWS_MIN = 256    /* tokens computed at once for the loss */
};

static const shoal_usage usage = {
    .synopsis = "shoal eval -m MODEL [-a ADAPTER] -d DATA.jsonl [--exact-json] [--json]",
    .about =
        "Measures the mean loss over what the assistant says in a data set (form as for `shoal\n"
        "train`). Where the answers are JSON objects {\"intent\",\"slots\"}, or with --exact-json, "
        "the\n"
        "model also answers each last turn greedily, and the answers are compared with the "
        "data's:\n"
        "exact match, intent accuracy and micro-F1 over slots.\n"
        "--json: {\"loss\",\"tokens\",\"exact_match\",\"intent_accuracy\",\"slot_f1\"}; null: not "
        "measured.",
    .example = "  shoal eval -m smollm2-135m -a notes.gguf -d test.jsonl --json"};

typedef struct eval_options {
    shoal_engine_options engine;
    const char *data, *spec;
    uint64_t ctx, max_tokens;
    bool exact_json, loss_only, json;
} eval_options;

/* Exact matches by intent, for people. */
typedef struct intent_table {
    struct intent_row {
        char name[48];
        size_t rows, exact, intent;
    } row[INTENTS_MAX];
    size_t n;
} intent_table;

typedef struct evaluation {
    const eval_options *o;
    shoal_engine e;
    shoal_dataset data;
    double loss;
    size_t tokens;
    bool answered; /* answers were generated and scored */
    shoal_json_score score;
    intent_table by_intent;
} evaluation;

static bool stop_asked(void *ctx)
{
    (void)ctx;
    return shoal_interrupted();
}

/* ---- loss
 * ---------------------------------------------------------------------------------------- */

/* The trainer wants an adapter; without one, a fresh one of rank 1 changes nothing (B is 0). */
static shoal_status need_adapter(evaluation *v, shoal_error *err)
{
    const shoal_lora_spec spec = {.rank = 1,
                                  .alpha = 1.0f,
                                  .targets = 1u << SHOAL_PROJ_Q,
                                  .first_layer = v->e.model->cfg.n_layer - 1};
    if (v->e.adapter != NULL) return SHOAL_OK;
    return shoal_adapter_open(&v->e.adapter, v->e.model, &spec, 0, err);
}

static shoal_status sum_loss(evaluation *v, shoal_trainer *tr, shoal_error *err)
{
    shoal_progress bar;
    char detail[40] = "";
    double nll = 0.0;
    shoal_progress_begin(&bar, "loss", v->data.n, 0, v->o->json);
    for (size_t i = 0; i < v->data.n; i += LOSS_BATCH) {
        size_t n = v->data.n - i < LOSS_BATCH ? v->data.n - i : LOSS_BATCH;
        shoal_loss one = {.nll = NULL};
        SHOAL_TRY(shoal_trainer_loss(tr, v->data.samples + i, n, &one, err));
        nll += one.nll_sum;
        v->tokens += one.n_supervised;
        (void)snprintf(detail, sizeof detail, "loss %.4f", nll / (double)v->tokens);
        shoal_progress_update(&bar, i + n, detail);
    }
    shoal_progress_end(&bar, detail);
    v->loss = nll / (double)v->tokens;
    return SHOAL_OK;
}

static shoal_status measure_loss(evaluation *v, shoal_error *err)
{
    shoal_trainer *tr = NULL;
    size_t rows = v->data.longest > ROWS_MIN ? v->data.longest : ROWS_MIN;
    const shoal_trainer_options to = {.plan = {.max_tokens = rows}, .stop = stop_asked};
    shoal_status st = shoal_trainer_open(&tr, v->e.model, v->e.adapter, &v->e.exec, &to, err);
    if (st == SHOAL_OK) st = sum_loss(v, tr, err);
    shoal_trainer_close(tr);
    return st;
}

/* ---- answers
 * ------------------------------------------------------------------------------------- */

static bool wants_answers(const evaluation *v)
{
    if (v->o->loss_only) return false;
    if (v->o->exact_json) return true;
    for (size_t i = 0; i < v->data.n; i++) {
        const shoal_example *x = &v->data.examples[i];
        if (x->answer == NULL || !shoal_json_is_intent(x->answer, x->n_answer)) return false;
    }
    return true;
}

static struct intent_row *find_row(intent_table *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->row[i].name, name) == 0) return &t->row[i];
    }
    if (t->n == INTENTS_MAX) return NULL;
    struct intent_row *r = &t->row[t->n++];
    (void)snprintf(r->name, sizeof r->name, "%s", name);
    return r;
}

static void count_intent(evaluation *v, const shoal_example *x, const shoal_json_row *row)
{
    json_t *wanted = NULL;
    if (shoal_json_object(&wanted, x->answer, x->n_answer, "", false, NULL) != SHOAL_OK) return;
    const char *name = json_string_value(json_object_get(wanted, "intent"));
    struct intent_row *r = name == NULL ? NULL : find_row(&v->by_intent, name);
    if (r != NULL) {
        r->rows++;
        r->exact += row->exact;
        r->intent += row->intent;
    }
    json_decref(wanted);
}

static bool keep_text(void *ctx, const char *text, size_t n)
{
    return shoal_buf_put(ctx, text, n);
}

static shoal_status answer_one(evaluation *v, shoal_session *s, size_t i, shoal_error *err)
{
    const shoal_example *x = &v->data.examples[i];
    shoal_decoding how = shoal_decoding_default();
    shoal_decode_result r = {.n_tokens = 0};
    shoal_json_row row;
    if (x->answer == NULL || x->n_prompt > v->data.samples[i].n) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "line %zu has no answer to compare with", x->line);
    }
    shoal_buf text = shoal_buf_init((size_t)16 << 20);
    how.max_tokens = v->o->max_tokens;
    how.spec = v->o->spec;
    const shoal_decode_job job = {.prompt = x->ids,
                                  .n_prompt = x->n_prompt,
                                  .how = &how,
                                  .on_text = keep_text,
                                  .ctx = &text,
                                  .cancel = shoal_interrupt_flag()};
    shoal_status st = shoal_decode(s, &job, &r, err);
    if (st == SHOAL_OK && r.reason == SHOAL_STOP_CANCELLED) {
        st = shoal_fail(err, SHOAL_ERR_CANCELLED, "stopped after %zu of %zu answers", i, v->data.n);
    }
    if (st == SHOAL_OK) {
        shoal_json_score_add(&v->score, shoal_buf_str(&text), text.len, x->answer, x->n_answer,
                             &row);
        count_intent(v, x, &row);
    }
    shoal_buf_clear(&text);
    return st;
}

static shoal_status answer_all(evaluation *v, shoal_error *err)
{
    shoal_session *s = NULL;
    shoal_progress bar;
    char detail[48] = "";
    const shoal_session_opts so = {.adapter = v->o->engine.adapter == NULL ? NULL : v->e.adapter};
    SHOAL_TRY(shoal_session_open(&s, v->e.model, &v->e.exec, &so, err));
    shoal_status st = SHOAL_OK;
    shoal_progress_begin(&bar, "answers", v->data.n, 0, v->o->json);
    for (size_t i = 0; st == SHOAL_OK && i < v->data.n; i++) {
        st = answer_one(v, s, i, err);
        (void)snprintf(detail, sizeof detail, "%zu of %zu exact", v->score.exact, v->score.rows);
        shoal_progress_update(&bar, i + 1, detail);
    }
    shoal_progress_end(&bar, detail);
    shoal_session_close(s);
    v->answered = st == SHOAL_OK;
    return st;
}

/* ---- results
 * ------------------------------------------------------------------------------------- */

static json_t *share(bool measured, size_t part, size_t whole)
{
    return measured && whole > 0 ? json_real((double)part / (double)whole) : json_null();
}

static shoal_status print_json(const evaluation *v, shoal_error *err)
{
    const shoal_json_score *s = &v->score;
    bool intents = v->answered && s->rows_intent > 0;
    return shoal_json_print(stdout,
                            json_pack("{s:f, s:I, s:o, s:o, s:o}", "loss", v->loss, "tokens",
                                      (json_int_t)v->tokens, "exact_match",
                                      share(v->answered, s->exact, s->rows), "intent_accuracy",
                                      share(intents, s->intent, s->rows_intent), "slot_f1",
                                      intents ? json_real(shoal_json_score_f1(s)) : json_null()),
                            err);
}

static double percent(size_t part, size_t whole)
{
    return whole == 0 ? 0.0 : 100.0 * (double)part / (double)whole;
}

static void print_table(const evaluation *v)
{
    const shoal_json_score *s = &v->score;
    (void)printf("loss             %.4f over %zu tokens of %zu conversations\n", v->loss, v->tokens,
                 v->data.n);
    if (!v->answered) return;
    (void)printf("exact match      %5.1f %% (%zu of %zu)\n", percent(s->exact, s->rows), s->exact,
                 s->rows);
    if (s->rows_intent == 0) return;
    (void)printf("intent accuracy  %5.1f %% (%zu of %zu)\nslot F1          %5.1f %%\n",
                 percent(s->intent, s->rows_intent), s->intent, s->rows_intent,
                 100.0 * shoal_json_score_f1(s));
    (void)printf("\n%-24s %6s %6s %6s\n", "intent", "rows", "exact", "intent");
    for (size_t i = 0; i < v->by_intent.n; i++) {
        const struct intent_row *r = &v->by_intent.row[i];
        (void)printf("%-24s %6zu %6zu %6zu\n", r->name, r->rows, r->exact, r->intent);
    }
}

static shoal_status evaluate(evaluation *v, shoal_error *err)
{
    const shoal_data_options data = {.max_tokens = (size_t)v->o->ctx};
    SHOAL_TRY(shoal_dataset_load(&v->data, v->o->data, v->e.model, &data, err));
    shoal_dataset_warn_long(&v->data, data.max_tokens);
    SHOAL_TRY(need_adapter(v, err));
    SHOAL_TRY(measure_loss(v, err));
    if (wants_answers(v)) SHOAL_TRY(answer_all(v, err));
    if (v->o->json) return print_json(v, err);
    print_table(v);
    return SHOAL_OK;
}

static shoal_status run(const eval_options *o, shoal_error *err)
{
    evaluation v = {.o = o};
    if (o->data == NULL) return shoal_fail(err, SHOAL_ERR_ARG, "no data given: -d DATA.jsonl");
    shoal_interrupt_install();
    SHOAL_TRY(shoal_engine_open_required(&v.e, &o->engine, err));
    shoal_status st = evaluate(&v, err);
    shoal_dataset_clear(&v.data);
    shoal_engine_close(&v.e);
    return st;
}

int shoal_cmd_eval(int argc, char **argv)
{
    shoal_error err = {0};
    eval_options o = {.ctx = 2048, .max_tokens = 128, .spec = "auto"};
    shoal_option common[SHOAL_ENGINE_N_OPTIONS];
    shoal_option inputs[SHOAL_ENGINE_N_INPUTS];
    const shoal_option options[] = {
        SHOAL_STRING("data", 'd', &o.data, "DATA.jsonl", "conversations, - for standard input"),
        SHOAL_FLAG("exact-json", 0, &o.exact_json, "generate and compare answers in any case"),
        SHOAL_FLAG("loss-only", 0, &o.loss_only, "do not generate answers"),
        SHOAL_COUNT("max-tokens", 'n', &o.max_tokens, "N", "longest answer in tokens (128)", 1,
                    1 << 20),
        SHOAL_COUNT("ctx", 0, &o.ctx, "N", "longest conversation in tokens (2048)", 2, 1 << 20),
        SHOAL_STRING("spec", 0, &o.spec, "HOW", "speculative decoding: none, ngram or auto (auto)"),
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
