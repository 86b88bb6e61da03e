/* cmd_bench.c - shoal bench: how fast this machine reads, writes and trains. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/command.h"
#include "client/decode.h"
#include "client/engine.h"
#include "client/interrupt.h"
#include "client/json.h"
#include "client/memory_cap.h"
#include "client/train_memory.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/base/term.h"
#include "lora/infer/session.h"
#include "lora/model/residency.h"
#include "lora/train/plan.h"
#include "lora/train/trainer.h"

/* Rows: reads of 1 to ROWS_MAX tokens behind a context of ROWS_PAST; ROWS_ROUNDS of each a run. */
enum { REPEAT_MAX = 32, ROWS_MAX = 8, ROWS_PAST = 64, ROWS_ROUNDS = 8 };

static const shoal_usage usage = {
    .synopsis = "shoal bench -m MODEL [-a ADAPTER] [-t THREADS] [-p 512] [-n 128] [--json]",
    .about =
        "Measures, on this machine and file: prefill of -p tokens (pp), decoding of -n tokens "
        "plain\n"
        "(tg) and with n-gram speculation (spec), and LoRA training (train, one sample of --train\n"
        "tokens a step, within the memory that `shoal train` takes: 235 MB or --max-ram). The "
        "median\n"
        "of -r runs counts. --only asks for some of them; the others are\n"
        "null in --json: "
        "{\"pp_tps\",\"tg_tps\",\"spec_tg_tps\",\"train_tps\",\"peak_rss_bytes\",\"kernels\"}.\n"
        "--only rows: the time of 1 to 8 tokens read at once, \"rows_ms\":[...] in --json.",
    .example = "  shoal bench -m smollm2-135m -t 2 -p 512 -n 128 --json\n"
               "  shoal bench -m smollm2-135m --only train --train 256"};

typedef struct bench_options {
    shoal_engine_options engine;
    const char *only;
    uint64_t prompt, generate, train, repeat;
    bool json;
} bench_options;

/* Tokens per second; negative: not measured. rows_ms[n - 1]: milliseconds of n tokens at once. */
typedef struct bench_result {
    double pp, tg, spec, train;
    double rows_ms[ROWS_MAX];
} bench_result;

/* What the decoding runs continue: plain prose, so that speculation is neither favoured nor
 * starved. */
static const char decode_prompt[] =
    "A small harbour town lies between two hills. In the morning the boats go out, and in the "
    "evening they come back with fish. The people of the town mend nets, paint the boats and tell "
    "each other about the weather. One day";

static bool asked(const bench_options *o, const char *part)
{
    size_t n = strlen(part);
    if (o->only == NULL) return strcmp(part, "rows") != 0;
    for (const char *p = o->only; *p != '\0'; p += strcspn(p, ","), p += *p == ',') {
        if (strcspn(p, ",") == n && memcmp(p, part, n) == 0) return true;
    }
    return false;
}

static shoal_status check_only(const char *only, shoal_error *err)
{
    for (const char *p = only; p != NULL && *p != '\0'; p += strcspn(p, ","), p += *p == ',') {
        size_t n = strcspn(p, ",");
        bool known = (n == 2 && (memcmp(p, "pp", 2) == 0 || memcmp(p, "tg", 2) == 0)) ||
                     (n == 4 && (memcmp(p, "spec", 4) == 0 || memcmp(p, "rows", 4) == 0)) ||
                     (n == 5 && memcmp(p, "train", 5) == 0);
        if (known) continue;
        (void)shoal_fail(err, SHOAL_ERR_ARG, "--only does not know \"%.*s\"",
                         (int)(n > 40 ? 40 : n), p);
        shoal_hint(err, "use a list of pp, tg, spec, rows, train");
        return SHOAL_ERR_ARG;
    }
    return SHOAL_OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return n % 2 != 0 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

/* Called again and again; sets *tps. */
typedef shoal_status bench_fn(const shoal_engine *e, const bench_options *o, void *state,
                              double *tps, shoal_error *err);

static shoal_status repeat(const shoal_engine *e, const bench_options *o, bench_fn *fn, void *state,
                           const char *label, double *result, shoal_error *err)
{
    double v[REPEAT_MAX];
    double warm = 0.0;
    SHOAL_TRY(fn(e, o, state, &warm, err)); /* touches pages and caches, does not count */
    for (size_t i = 0; i < o->repeat; i++) {
        if (shoal_interrupted()) return shoal_fail(err, SHOAL_ERR_CANCELLED, "stopped");
        SHOAL_TRY(fn(e, o, state, &v[i], err));
    }
    *result = median(v, (size_t)o->repeat);
    shoal_term_note("%-22s %8.1f tok/s", label, *result);
    return SHOAL_OK;
}

static void random_ids(int32_t *ids, size_t n, size_t n_vocab)
{
    shoal_rng rng = shoal_rng_init(7);
    for (size_t i = 0; i < n; i++) {
        ids[i] = (int32_t)shoal_rng_below(&rng, n_vocab);
    }
}

/* ---- the five parts
 * ------------------------------------------------------------------------------ */

typedef struct read_state {
    shoal_session *s;
    int32_t *ids;
} read_state;

static shoal_status read_once(const shoal_engine *e, const bench_options *o, void *state,
                              double *tps, shoal_error *err)
{
    read_state *r = state;
    (void)e;
    (void)shoal_session_truncate(r->s, 0);
    double begun = shoal_clock_s();
    SHOAL_TRY(shoal_session_eval(r->s, r->ids, (size_t)o->prompt, SHOAL_LOGITS_LAST, err));
    *tps = (double)o->prompt / (shoal_clock_s() - begun);
    return SHOAL_OK;
}

static shoal_status bench_read(const shoal_engine *e, const bench_options *o, double *result,
                               shoal_error *err)
{
    size_t n = (size_t)o->prompt;
    read_state r = {NULL, shoal_calloc(n, sizeof *r.ids)};
    const shoal_session_opts so = {.n_ctx = n, .adapter = e->adapter, .kv = e->kv};
    shoal_status st = SHOAL_OK;
    if (r.ids == NULL) st = shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    if (st == SHOAL_OK) st = shoal_engine_open_session(e, &so, &r.s, err);
    if (st == SHOAL_OK) {
        random_ids(r.ids, n, e->model->cfg.n_vocab);
        st = repeat(e, o, read_once, &r, "prefill", result, err);
    }
    shoal_session_close(r.s);
    shoal_free(r.ids);
    return st;
}

typedef struct write_state {
    shoal_session *s;
    shoal_tokens prompt;
    const shoal_draft_source *draft;
    double first_s;
    double last_s;
    size_t n;
} write_state;

static bool on_token(void *ctx, int32_t id)
{
    write_state *w = ctx;
    (void)id;
    w->last_s = shoal_clock_s();
    if (w->n++ == 0) w->first_s = w->last_s;
    return !shoal_interrupted();
}

static shoal_status write_once(const shoal_engine *e, const bench_options *o, void *state,
                               double *tps, shoal_error *err)
{
    write_state *w = state;
    shoal_gen_result r = {.n_tokens = 0};
    (void)e;
    w->n = 0;
    (void)shoal_session_truncate(w->s, 0);
    /* One token more than is counted: the first comes with the prompt. */
    const shoal_gen_opts go = {.max_tokens = (size_t)o->generate + 1,
                               .ignore_stop = true,
                               .draft = w->draft,
                               .on_token = on_token,
                               .ctx = w};
    SHOAL_TRY(shoal_generate(w->s, w->prompt.ids, w->prompt.n, &go, &r, err));
    *tps = w->n < 2 ? 0.0 : (double)(w->n - 1) / (w->last_s - w->first_s);
    return SHOAL_OK;
}

static shoal_status bench_write(const shoal_engine *e, const bench_options *o, bool speculate,
                                double *result, shoal_error *err)
{
    shoal_ngram_source ngram = shoal_ngram_source_init();
    const shoal_draft_source source = {shoal_ngram_draft, &ngram};
    write_state w = {.draft = speculate ? &source : NULL};
    shoal_status st =
        shoal_tokenize(e->model->tok, decode_prompt, strlen(decode_prompt), false, &w.prompt, err);
    if (st == SHOAL_OK) {
        const shoal_session_opts so = {
            .n_ctx = w.prompt.n + (size_t)o->generate + 16, .adapter = e->adapter, .kv = e->kv};
        st = shoal_engine_open_session(e, &so, &w.s, err);
    }
    if (st == SHOAL_OK) {
        st =
            repeat(e, o, write_once, &w, speculate ? "decode, speculative" : "decode", result, err);
    }
    shoal_session_close(w.s);
    shoal_tokens_clear(&w.prompt);
    return st;
}

/* One read of n tokens at once, logits for each: what verifying n - 1 drafted tokens costs. */
static shoal_status rows_once(shoal_session *s, const int32_t *ids, size_t n, double *ms,
                              shoal_error *err)
{
    (void)shoal_session_truncate(s, ROWS_PAST);
    double begun = shoal_clock_s();
    SHOAL_TRY(shoal_session_eval(s, ids, n, SHOAL_LOGITS_ALL, err));
    *ms = 1e3 * (shoal_clock_s() - begun);
    return SHOAL_OK;
}

/* Times [ROWS_MAX][rounds]: every width in each round, so that a disturbance meets all of them. */
static shoal_status rows_rounds(shoal_session *s, const int32_t *ids, double *times, size_t rounds,
                                shoal_error *err)
{
    double warm = 0.0;
    SHOAL_TRY(shoal_session_eval(s, ids, ROWS_PAST, SHOAL_LOGITS_LAST, err));
    SHOAL_TRY(rows_once(s, ids, ROWS_MAX, &warm, err));
    for (size_t r = 0; r < rounds; r++) {
        if (shoal_interrupted()) return shoal_fail(err, SHOAL_ERR_CANCELLED, "stopped");
        for (size_t n = 1; n <= ROWS_MAX; n++) {
            SHOAL_TRY(rows_once(s, ids, n, &times[(n - 1) * rounds + r], err));
        }
    }
    return SHOAL_OK;
}

static void rows_report(double *times, size_t rounds, double ms[ROWS_MAX])
{
    char line[ROWS_MAX * 8 + 1] = "";
    for (size_t n = 1; n <= ROWS_MAX; n++) {
        size_t used = strlen(line);
        ms[n - 1] = median(times + (n - 1) * rounds, rounds);
        (void)snprintf(line + used, sizeof line - used, " %.4g", ms[n - 1]);
    }
    shoal_term_note("%-22s%s ms", "1 to 8 tokens at once", line);
}

static shoal_status bench_rows(const shoal_engine *e, const bench_options *o, double ms[ROWS_MAX],
                               shoal_error *err)
{
    const shoal_session_opts so = {
        .n_ctx = ROWS_PAST + ROWS_MAX, .logit_rows = ROWS_MAX, .adapter = e->adapter, .kv = e->kv};
    size_t rounds = ROWS_ROUNDS * (size_t)o->repeat;
    int32_t ids[ROWS_PAST];
    shoal_session *s = NULL;
    double *times = shoal_calloc(ROWS_MAX * rounds, sizeof *times);
    shoal_status st = SHOAL_OK;
    if (times == NULL) st = shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    if (st == SHOAL_OK) st = shoal_engine_open_session(e, &so, &s, err);
    if (st == SHOAL_OK) {
        random_ids(ids, ROWS_PAST, e->model->cfg.n_vocab);
        st = rows_rounds(s, ids, times, rounds, err);
    }
    if (st == SHOAL_OK) rows_report(times, rounds, ms);
    shoal_session_close(s);
    shoal_free(times);
    return st;
}

typedef struct train_state {
    shoal_trainer *tr;
    shoal_sample sample;
} train_state;

static shoal_status train_once(const shoal_engine *e, const bench_options *o, void *state,
                               double *tps, shoal_error *err)
{
    train_state *t = state;
    shoal_loss loss = {.nll = NULL};
    double norm = 0.0;
    (void)e;
    double begun = shoal_clock_s();
    SHOAL_TRY(shoal_trainer_accumulate(t->tr, &t->sample, 1, 1.0f / (float)o->train, &loss, err));
    SHOAL_TRY(shoal_trainer_step(t->tr, 1e-4f, &norm, err));
    *tps = (double)o->train / (shoal_clock_s() - begun);
    return SHOAL_OK;
}

/* A trainer as `shoal train` opens it, for one text of --train tokens. */
static shoal_status open_trainer(const shoal_engine *e, const bench_options *o, shoal_adapter **a,
                                 shoal_trainer **tr, shoal_error *err)
{
    const shoal_lora_spec spec = {.rank = 8, .alpha = 16.0f, .targets = SHOAL_TARGETS_ALL};
    bool bounded = o->engine.max_ram != 0;
    uint64_t max_ram = bounded ? o->engine.max_ram : SHOAL_TRAIN_RAM_USUAL;
    shoal_trainer_options to = {.plan = {.max_tokens = (size_t)o->train}, .clip = 1.0f};
    shoal_plan plan;
    shoal_residency_close(e->model); /* of a session before: its share of the weights is free */
    to.plan.max_ram = max_ram < SIZE_MAX ? (size_t)max_ram : SIZE_MAX;
    to.plan.other_bytes = shoal_train_other_bytes(e, 0); /* the adapter is not there yet */
    SHOAL_TRY(shoal_adapter_open(a, e->model, &spec, 1, err));
    SHOAL_TRY(shoal_train_plan(e, *a, bounded, &to.plan, &plan, err));
    SHOAL_TRY(shoal_plan_bound_weights(&plan, e->model, err));
    return shoal_trainer_open(tr, e->model, *a, &e->exec, &to, err);
}

/* Rank 8 on all projections, one text of --train tokens with every one learnt. */
static shoal_status bench_train(const shoal_engine *e, const bench_options *o, double *result,
                                shoal_error *err)
{
    size_t n = (size_t)o->train;
    shoal_adapter *a = NULL;
    train_state t = {NULL, {NULL, NULL, n}};
    int32_t *ids = shoal_calloc(n, sizeof *ids);
    uint8_t *mask = shoal_calloc(n, 1);
    shoal_status st = SHOAL_OK;
    if (ids == NULL || mask == NULL) st = shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    if (st == SHOAL_OK) st = open_trainer(e, o, &a, &t.tr, err);
    if (st == SHOAL_OK) {
        random_ids(ids, n, e->model->cfg.n_vocab);
        memset(mask, 1, n);
        t.sample.ids = ids;
        t.sample.mask = mask;
        st = repeat(e, o, train_once, &t, "LoRA training", result, err);
    }
    shoal_trainer_close(t.tr);
    shoal_adapter_close(a);
    shoal_free(mask);
    shoal_free(ids);
    return st;
}

/* ---- results
 * ------------------------------------------------------------------------------------- */

static json_t *tps_json(double tps)
{
    return tps < 0.0 ? json_null() : json_real(tps);
}

static json_t *rows_json(const double ms[ROWS_MAX])
{
    json_t *a = json_array();
    for (size_t i = 0; i < ROWS_MAX; i++) {
        (void)json_array_append_new(a, json_real(ms[i]));
    }
    return a;
}

static json_t *result_json(const shoal_engine *e, const bench_result *r)
{
    json_t *o = json_pack("{s:o, s:o, s:o, s:o, s:I, s:s}", "pp_tps", tps_json(r->pp), "tg_tps",
                          tps_json(r->tg), "spec_tg_tps", tps_json(r->spec), "train_tps",
                          tps_json(r->train), "peak_rss_bytes", (json_int_t)shoal_peak_rss(),
                          "kernels", shoal_exec_name(&e->exec));
    if (r->rows_ms[0] >= 0.0) (void)json_object_set_new(o, "rows_ms", rows_json(r->rows_ms));
    return o;
}

static shoal_status print_result(const shoal_engine *e, const bench_options *o,
                                 const bench_result *r, shoal_error *err)
{
    char memory[24];
    shoal_format_bytes(shoal_peak_rss(), memory, sizeof memory);
    shoal_term_note("%-22s %8s\n%-22s %8s, %u threads", "peak memory", memory, "kernels",
                    shoal_exec_name(&e->exec), shoal_pool_size(e->pool));
    return o->json ? shoal_json_print(stdout, result_json(e, r), err) : SHOAL_OK;
}

static shoal_status measure(const shoal_engine *e, const bench_options *o, shoal_error *err)
{
    bench_result r = {-1.0, -1.0, -1.0, -1.0, {-1.0}};
    bool tg = o->generate > 0;
    if (o->prompt > 0 && asked(o, "pp")) SHOAL_TRY(bench_read(e, o, &r.pp, err));
    if (tg && asked(o, "tg")) SHOAL_TRY(bench_write(e, o, false, &r.tg, err));
    if (tg && asked(o, "spec")) SHOAL_TRY(bench_write(e, o, true, &r.spec, err));
    if (asked(o, "rows")) SHOAL_TRY(bench_rows(e, o, r.rows_ms, err));
    if (o->train > 0 && asked(o, "train")) SHOAL_TRY(bench_train(e, o, &r.train, err));
    return print_result(e, o, &r, err);
}

static shoal_status run(const bench_options *o, shoal_error *err)
{
    shoal_engine e = {0};
    shoal_engine_options eo = o->engine;
    SHOAL_TRY(check_only(o->only, err));
    shoal_interrupt_install();
    /* As `shoal train`: in small pages, so that weights can be streamed. */
    bool train_alone = o->only != NULL && strcmp(o->only, "train") == 0;
    if (train_alone && eo.max_ram == 0) eo.max_ram = SHOAL_TRAIN_RAM_USUAL;
    SHOAL_TRY(shoal_engine_open_required(&e, &eo, err));
    shoal_status st = measure(&e, o, err);
    shoal_engine_close(&e);
    return st;
}

int shoal_cmd_bench(int argc, char **argv)
{
    shoal_error err = {0};
    bench_options o = {.prompt = 512, .generate = 128, .train = 256, .repeat = 3};
    shoal_option common[SHOAL_ENGINE_N_OPTIONS];
    shoal_option inputs[SHOAL_ENGINE_N_INPUTS];
    const shoal_option options[] = {
        SHOAL_COUNT("prompt", 'p', &o.prompt, "N", "tokens to read; 0 leaves it out (512)", 0,
                    65536),
        SHOAL_COUNT("generate", 'n', &o.generate, "N", "tokens to write; 0 leaves it out (128)", 0,
                    65536),
        SHOAL_COUNT("train", 0, &o.train, "N", "tokens of a training step; 0: none (256)", 0,
                    65536),
        SHOAL_COUNT("repeat", 'r', &o.repeat, "N", "runs of each part (3)", 1, REPEAT_MAX),
        shoal_engine_kv_option(&o.engine),
        SHOAL_STRING("only", 0, &o.only, "LIST", "of pp,tg,spec,rows,train"),
        shoal_engine_max_ram_option(&o.engine),
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
