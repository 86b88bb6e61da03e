/* cmd_score.c - shoal score: what the model makes of given tokens, position by position. */
#include <stdio.h>

#include "client/command.h"
#include "client/data.h"
#include "client/engine.h"
#include "client/json.h"
#include "client/memory_cap.h"
#include "client/top_logits.h"
#include "kernels/base/mem.h"
#include "lora/infer/session.h"

static const shoal_usage usage = {
    .synopsis = "shoal score -m MODEL [-a ADAPTER] -f IN.jsonl [--json]",
    .about = "Reads lines {\"ids\":[...]} or {\"text\":\"...\"} (\"-\" is standard input) and "
             "prints for each\n"
             "{\"ids\",\"nll\",\"argmax\",\"top_ids\",\"top_logits\"}: nll[i] is the cost in nats "
             "of ids[i+1]\n"
             "given ids[..i], argmax[i] the best next token there, top_* the eight best at the "
             "end. Text\n"
             "gets BOS where the model wants it; control tokens in it are understood unless the "
             "line says\n"
             "\"parse_special\":false.",
    .example = "  printf '{\"text\":\"The capital of France is\"}\\n' |\n"
               "    shoal score -m smollm2-135m -f - --json"};

enum { SESSION_MIN = 512 };

typedef struct scoring {
    const shoal_engine *e;
    const char *name;
    shoal_session *session; /* large enough for all lines so far */
    size_t capacity;
} scoring;

/* Makes sure n tokens fit; sessions grow by doubling up to the model's context. */
static shoal_status make_room(scoring *s, size_t n, shoal_error *err)
{
    size_t most = s->e->model->cfg.n_ctx;
    if (n <= s->capacity) return SHOAL_OK;
    if (n > most) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "%zu tokens, over the model's context of %zu",
                          n, most);
    }
    size_t capacity = s->capacity == 0 ? SESSION_MIN : s->capacity;
    while (capacity < n) {
        capacity *= 2;
    }
    if (capacity > most) capacity = most;
    shoal_session_close(s->session);
    s->session = NULL;
    s->capacity = 0;
    const shoal_session_opts so = {.n_ctx = capacity, .adapter = s->e->adapter, .kv = s->e->kv};
    SHOAL_TRY(shoal_engine_open_session(s->e, &so, &s->session, err));
    s->capacity = capacity;
    return SHOAL_OK;
}

static shoal_status read_ids(const scoring *s, const json_t *obj, const char *where,
                             shoal_tokens *ids, shoal_error *err)
{
    const shoal_model *m = s->e->model;
    shoal_str text = {NULL, 0};
    const json_t *given = json_object_get(obj, "ids");
    if (given != NULL) return shoal_json_ids(given, m->cfg.n_vocab, ids, where, err);
    if (!shoal_json_str(obj, "text", &text)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: neither \"ids\" nor \"text\"", where);
    }
    if (shoal_tokenizer_adds_bos(m->tok)) {
        SHOAL_TRY(shoal_tokens_push(ids, shoal_tokenizer_bos(m->tok), err));
    }
    bool special = !json_is_false(json_object_get(obj, "parse_special"));
    return shoal_tokenize(m->tok, text.p, text.n, special, ids, err);
}

static shoal_status print_scores(scoring *s, const shoal_tokens *ids, const double *nll,
                                 const int32_t *argmax, shoal_error *err)
{
    int32_t top_ids[SHOAL_TOP_LOGITS];
    float top[SHOAL_TOP_LOGITS];
    size_t n_top = shoal_top_logits(shoal_session_logits(s->session, 0), s->e->model->cfg.n_vocab,
                                    top_ids, top);
    json_t *costs = json_array();
    for (size_t i = 0; i + 1 < ids->n; i++) {
        (void)json_array_append_new(costs, json_real(nll[i]));
    }
    return shoal_json_print(stdout,
                            json_pack("{s:o, s:o, s:o, s:o, s:o}", "ids",
                                      shoal_json_from_ids(ids->ids, ids->n), "nll", costs, "argmax",
                                      shoal_json_from_ids(argmax, ids->n), "top_ids",
                                      shoal_json_from_ids(top_ids, n_top), "top_logits",
                                      shoal_json_from_floats(top, n_top)),
                            err);
}

static shoal_status score_ids(scoring *s, const shoal_tokens *ids, const char *where,
                              shoal_error *err)
{
    if (ids->n == 0) return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: no tokens to score", where);
    SHOAL_TRY(make_room(s, ids->n, err));
    double *nll = shoal_calloc(ids->n, sizeof *nll);
    int32_t *argmax = shoal_calloc(ids->n, sizeof *argmax);
    shoal_status st = SHOAL_OK;
    if (nll == NULL || argmax == NULL) st = shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    if (st == SHOAL_OK) {
        st = shoal_session_score(s->session, ids->ids, ids->n, nll, argmax, err);
    }
    if (st == SHOAL_OK) st = print_scores(s, ids, nll, argmax, err);
    shoal_free(nll);
    shoal_free(argmax);
    return st;
}

static shoal_status score_line(void *ctx, const char *line, size_t n, size_t number,
                               shoal_error *err)
{
    scoring *s = ctx;
    char where[128];
    json_t *obj = NULL;
    shoal_tokens ids = {0};
    (void)snprintf(where, sizeof where, "%.90s:%zu", s->name, number);
    SHOAL_TRY(shoal_json_object(&obj, line, n, where, true, err));
    shoal_status st = read_ids(s, obj, where, &ids, err);
    if (st == SHOAL_OK) st = score_ids(s, &ids, where, err);
    shoal_tokens_clear(&ids);
    json_decref(obj);
    return st;
}

static shoal_status run(const shoal_engine_options *eo, const char *path, shoal_error *err)
{
    shoal_engine e = {0};
    if (path == NULL) return shoal_fail(err, SHOAL_ERR_ARG, "no input given: -f IN.jsonl");
    SHOAL_TRY(shoal_engine_open_required(&e, eo, err));
    scoring s = {.e = &e, .name = path[0] == '-' && path[1] == '\0' ? "standard input" : path};
    shoal_status st = shoal_lines_each(path, score_line, &s, err);
    shoal_session_close(s.session);
    shoal_engine_close(&e);
    return st;
}

int shoal_cmd_score(int argc, char **argv)
{
    shoal_error err = {0};
    shoal_engine_options eo = {0};
    const char *path = NULL;
    bool json = false; /* the only form there is; the flag is accepted for symmetry */
    shoal_option common[SHOAL_ENGINE_N_OPTIONS];
    shoal_option inputs[SHOAL_ENGINE_N_INPUTS];
    const shoal_option options[] = {
        SHOAL_STRING("file", 'f', &path, "IN.jsonl", "lines to score, - for standard input"),
        shoal_engine_max_ram_option(&eo), shoal_engine_kv_option(&eo),
        SHOAL_FLAG("json", 0, &json, "one JSON object a line (always so)")};
    shoal_engine_option_table(&eo, common);
    shoal_engine_input_table(&eo, inputs);
    const shoal_option_group groups[] = {{"input", inputs, SHOAL_ENGINE_N_INPUTS},
                                         {"options", options, SHOAL_OPTION_COUNT_OF(options)},
                                         {"common", common, SHOAL_ENGINE_N_OPTIONS}};
    int code = 0;
    if (!shoal_command_begin(&usage, groups, 3, argc, argv, NULL, &code)) return code;
    return shoal_command_end(run(&eo, path, &err), &err);
}
