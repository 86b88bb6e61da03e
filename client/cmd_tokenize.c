/* cmd_tokenize.c - shoal tokenize: text lines on stdin to token ids. */
#include <stdio.h>

#include "client/command.h"
#include "client/data.h"
#include "client/engine.h"
#include "client/json.h"

static const shoal_usage usage = {
    .synopsis = "shoal tokenize -m MODEL [--json]",
    .about =
        "Reads lines {\"text\":...,\"parse_special\":bool} from standard input and prints the ids "
        "of\n"
        "each, without BOS: {\"ids\":[...]} with --json, else numbers separated by blanks. With\n"
        "parse_special the text of control tokens becomes those tokens; the default is false.",
    .example = "  printf '{\"text\":\"Hello\"}\\n' | shoal tokenize -m smollm2-135m --json"};

typedef struct tokenizing {
    const shoal_model *m;
    bool json;
} tokenizing;

static shoal_status print_plain(const shoal_tokens *t, shoal_error *err)
{
    for (size_t i = 0; i < t->n; i++) {
        (void)printf(i == 0 ? "%d" : " %d", (int)t->ids[i]);
    }
    if (putchar('\n') == EOF) return shoal_fail(err, SHOAL_ERR_IO, "cannot write the output");
    return SHOAL_OK;
}

static shoal_status tokenize_line(void *ctx, const char *line, size_t n, size_t number,
                                  shoal_error *err)
{
    const tokenizing *job = ctx;
    char where[48];
    json_t *obj = NULL;
    shoal_str text = {NULL, 0};
    shoal_tokens ids = {0};
    (void)snprintf(where, sizeof where, "standard input:%zu", number);
    SHOAL_TRY(shoal_json_object(&obj, line, n, where, true, err));
    shoal_status st = SHOAL_OK;
    if (!shoal_json_str(obj, "text", &text)) {
        st = shoal_fail(err, SHOAL_ERR_FORMAT, "%s: no \"text\" string", where);
    } else {
        bool special = json_is_true(json_object_get(obj, "parse_special"));
        st = shoal_tokenize(job->m->tok, text.p, text.n, special, &ids, err);
    }
    if (st == SHOAL_OK && job->json) {
        json_t *out = json_pack("{s:o}", "ids", shoal_json_from_ids(ids.ids, ids.n));
        st = shoal_json_print(stdout, out, err);
    } else if (st == SHOAL_OK) {
        st = print_plain(&ids, err);
    }
    shoal_tokens_clear(&ids);
    json_decref(obj);
    return st;
}

int shoal_cmd_tokenize(int argc, char **argv)
{
    shoal_error err = {0};
    shoal_engine_options eo = {0};
    shoal_option common[SHOAL_ENGINE_N_OPTIONS];
    shoal_option inputs[SHOAL_ENGINE_N_INPUTS];
    tokenizing job = {NULL, false};
    const shoal_option options[] = {SHOAL_FLAG("json", 0, &job.json, "one JSON object a line")};
    shoal_engine_option_table(&eo, common);
    shoal_engine_input_table(&eo, inputs);
    const shoal_option_group groups[] = {{"input", inputs, 1},
                                         {"options", options, SHOAL_OPTION_COUNT_OF(options)},
                                         {"common", common, SHOAL_ENGINE_N_OPTIONS}};
    int code = 0;
    if (!shoal_command_begin(&usage, groups, 3, argc, argv, NULL, &code)) return code;
    shoal_engine e = {0};
    shoal_status st = shoal_engine_open_required(&e, &eo, &err);
    if (st == SHOAL_OK) {
        job.m = e.model;
        st = shoal_lines_each("-", tokenize_line, &job, &err);
    }
    shoal_engine_close(&e);
    return shoal_command_end(st, &err);
}
