/* cmd_merge.c - shoal adapter merge: a model file that contains an adapter, and what that costs. */
#include <stdio.h>
#include <string.h>

#include "client/command.h"
#include "client/engine.h"
#include "client/interrupt.h"
#include "client/json.h"
#include "client/passages.h"
#include "client/store.h"
#include "kernels/base/term.h"
#include "lora/compress/adapter_merge.h"
#include "lora/compress/quantize.h"

enum { PASSAGE = 256 }; /* tokens */

static const shoal_usage usage = {
    .synopsis = "shoal adapter merge -m MODEL -a ADAPTER OUT.gguf [--type TYPE] [--measure FILE]",
    .about =
        "Writes the model with the adapter in its weights: W + scale B A, quantised again into "
        "the\n"
        "types they had, or into TYPE (as `shoal quantize` names them). Quantising again loses a\n"
        "little of what was learnt; how much is measured: the loss on FILE (.jsonl: "
        "conversations,\n"
        "else text; without FILE a short built-in text) of the model alone, with the adapter, and\n"
        "merged. ADAPTER may also come first: `shoal adapter merge ADAPTER OUT.gguf -m MODEL`.",
    .example =
        "  shoal adapter merge -m smollm2-135m -a notes.gguf merged.gguf --measure valid.jsonl\n"
        "  shoal adapter merge -m smollm2-135m -a notes.gguf merged.gguf --type Q8_0",
    .min_args = 1,
    .max_args = 2};

typedef struct merge_options {
    shoal_engine_options engine;
    const char *out, *type, *measure;
    bool no_measure, json;
} merge_options;

/* Mean NLL of the three models that matter. */
typedef struct merge_losses {
    bool measured;
    shoal_mean_nll base, unmerged, merged;
} merge_losses;

static shoal_status parse_target(const char *name, shoal_merge_target *t, shoal_error *err)
{
    shoal_quantize_target parsed;
    *t = (shoal_merge_target){.same = strcmp(name, "same") == 0};
    if (t->same) return SHOAL_OK;
    if (strcmp(name, "packed") == 0) {
        (void)shoal_fail(err, SHOAL_ERR_ARG, "--type packed is not a type of its own");
        shoal_hint(err, "merge into the same types, then `shoal quantize OUT PACKED packed`");
        return SHOAL_ERR_ARG;
    }
    SHOAL_TRY(shoal_quantize_target_parse(&parsed, name, NULL, err));
    t->type = parsed.type;
    return SHOAL_OK;
}

static void show_progress(void *ctx, uint64_t done, uint64_t total)
{
    shoal_progress *bar = ctx;
    bar->total = total;
    shoal_progress_update(bar, done, "");
}

static shoal_status write_merged(const merge_options *o, const shoal_engine *e,
                                 shoal_rewrite_report *report, shoal_error *err)
{
    shoal_merge_target target;
    shoal_progress bar = {0};
    char in[SHOAL_PATH_MAX];
    char note[96];
    SHOAL_TRY(parse_target(o->type, &target, err));
    SHOAL_TRY(shoal_store_model_path(o->engine.model, in, err));
    (void)snprintf(note, sizeof note, "LoRA, rank %zu, alpha %g, %zu parameters",
                   e->adapter->spec.rank, (double)e->adapter->spec.alpha, e->adapter->n_params);
    shoal_progress_begin(&bar, "merging", 0, 0, o->json);
    shoal_status st = shoal_adapter_merge(in, o->out, e->adapter, &target, note, e->pool,
                                          show_progress, &bar, report, err);
    shoal_progress_end(&bar, "");
    return st;
}

static shoal_status measure_all(const shoal_passages *p, const shoal_engine *e, const char *merged,
                                merge_losses *l, shoal_error *err)
{
    shoal_engine other = *e; /* pool and kernels are shared, the model is not */
    SHOAL_TRY(shoal_passages_nll(p, e, NULL, &l->base, err));
    SHOAL_TRY(shoal_passages_nll(p, e, e->adapter, &l->unmerged, err));
    other.model = NULL;
    SHOAL_TRY(shoal_model_open(&other.model, merged, err));
    shoal_status st = shoal_passages_nll(p, &other, NULL, &l->merged, err);
    shoal_model_close(other.model);
    l->measured = st == SHOAL_OK;
    return st;
}

/* Where the adapter helps on the measured text: is a fifth of that gone? */
static void warn_of_loss(const merge_losses *l)
{
    double gain = l->base.mean - l->unmerged.mean;
    double kept = l->base.mean - l->merged.mean;
    if (!l->measured || gain <= 0.0 || kept >= 0.8 * gain) return;
    shoal_term_warn("the merged model keeps %.0f %% of what the adapter gains; a wider type "
                    "(--type Q8_0) keeps more, the adapter beside its model all",
                    100.0 * (kept > 0.0 ? kept / gain : 0.0));
}

static json_t *loss_or_null(const merge_losses *l, double loss)
{
    return l->measured ? json_real(loss) : json_null();
}

static shoal_status print_json(const merge_options *o, const shoal_rewrite_report *r,
                               const merge_losses *l, shoal_error *err)
{
    return shoal_json_print(
        stdout,
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "path", o->out,
                  "bytes_in", (json_int_t)r->bytes_in, "bytes_out", (json_int_t)r->bytes_out,
                  "merged", (json_int_t)r->changed, "copied", (json_int_t)r->copied, "fallbacks",
                  (json_int_t)r->fallbacks, "tokens", (json_int_t)l->merged.tokens, "loss_base",
                  loss_or_null(l, l->base.mean), "loss_adapter", loss_or_null(l, l->unmerged.mean),
                  "loss_merged", loss_or_null(l, l->merged.mean), "cost",
                  loss_or_null(l, l->merged.mean - l->unmerged.mean)),
        err);
}

static shoal_status print_report(const merge_options *o, const shoal_rewrite_report *r,
                                 const merge_losses *l, shoal_error *err)
{
    char before[32], after[32];
    shoal_format_bytes(r->bytes_in, before, sizeof before);
    shoal_format_bytes(r->bytes_out, after, sizeof after);
    shoal_term_note("wrote %s: %zu matrices merged, %zu tensors copied, %s -> %s", o->out,
                    r->changed, r->copied, before, after);
    if (r->fallbacks > 0) {
        shoal_term_note("%zu matrices have a shape that does not fit the type and took another",
                        r->fallbacks);
    }
    warn_of_loss(l);
    if (o->json) return print_json(o, r, l, err);
    if (!l->measured) return SHOAL_OK;
    (void)printf("loss on %s, %zu tokens\nmodel alone    %.4f\nwith adapter   %.4f\n"
                 "merged         %.4f   merging costs %+.4f\n",
                 shoal_passages_name(o->measure), l->merged.tokens, l->base.mean, l->unmerged.mean,
                 l->merged.mean, l->merged.mean - l->unmerged.mean);
    return SHOAL_OK;
}

/* What is measured on is read before the model is written: a wrong path costs nothing. */
static shoal_status merge(const merge_options *o, const shoal_engine *e, shoal_error *err)
{
    shoal_passages p = {0};
    shoal_rewrite_report report = {0};
    merge_losses losses = {0};
    size_t most = e->model->cfg.n_ctx < PASSAGE ? e->model->cfg.n_ctx : PASSAGE;
    if (!o->no_measure) SHOAL_TRY(shoal_passages_load(&p, o->measure, e->model, most, err));
    shoal_status st = write_merged(o, e, &report, err);
    if (st == SHOAL_OK && !o->no_measure) st = measure_all(&p, e, o->out, &losses, err);
    if (st == SHOAL_OK) st = print_report(o, &report, &losses, err);
    shoal_passages_clear(&p);
    return st;
}

/* `-a ADAPTER OUT`, `ADAPTER OUT`, or with -o for OUT. */
static shoal_status take_arguments(merge_options *o, const shoal_arguments *args, shoal_error *err)
{
    size_t at = 0;
    if (o->engine.adapter == NULL) o->engine.adapter = args->items[at++];
    if (o->out == NULL && at < args->n) o->out = args->items[at++];
    if (o->out != NULL && at == args->n) return SHOAL_OK;
    (void)shoal_fail(err, SHOAL_ERR_ARG,
                     o->out == NULL ? "where should the result go?" : "one file too many is named");
    shoal_hint(err, "shoal adapter merge -m MODEL -a ADAPTER OUT.gguf");
    return SHOAL_ERR_ARG;
}

static shoal_status run(merge_options *o, const shoal_arguments *args, shoal_error *err)
{
    shoal_engine e = {0};
    SHOAL_TRY(take_arguments(o, args, err));
    shoal_interrupt_install();
    SHOAL_TRY(shoal_engine_open_required(&e, &o->engine, err));
    shoal_status st = merge(o, &e, err);
    shoal_engine_close(&e);
    return st;
}

int shoal_cmd_merge(int argc, char **argv)
{
    shoal_error err = {0};
    merge_options o = {.type = "same"};
    shoal_arguments args = {0};
    shoal_option common[SHOAL_ENGINE_N_OPTIONS];
    shoal_option inputs[SHOAL_ENGINE_N_INPUTS];
    const shoal_option options[] = {
        SHOAL_STRING("out", 'o', &o.out, "OUT.gguf", "where the model goes (or last argument)"),
        SHOAL_STRING("type", 0, &o.type, "TYPE", "of the merged matrices: same, Q8_0, ... (same)"),
        SHOAL_STRING("measure", 0, &o.measure, "FILE",
                     "measure the loss on this file (a built-in text)"),
        SHOAL_FLAG("no-measure", 0, &o.no_measure, "measure nothing"),
        SHOAL_FLAG("json", 0, &o.json, "one JSON object on stdout")};
    shoal_engine_option_table(&o.engine, common);
    shoal_engine_input_table(&o.engine, inputs);
    const shoal_option_group groups[] = {{"input", inputs, SHOAL_ENGINE_N_INPUTS},
                                         {"options", options, SHOAL_OPTION_COUNT_OF(options)},
                                         {"common", common, SHOAL_ENGINE_N_OPTIONS}};
    int code = 0;
    if (!shoal_command_begin(&usage, groups, 3, argc, argv, &args, &code)) return code;
    return shoal_command_end(run(&o, &args, &err), &err);
}
