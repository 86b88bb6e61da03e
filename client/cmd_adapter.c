/* cmd_adapter.c - shoal adapter: look at adapters, convert them from and to PEFT directories. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "client/command.h"
#include "client/engine.h"
#include "client/json.h"
#include "client/peft.h"
#include "client/store.h"
#include "lora/train/targets.h"
#include "kernels/base/term.h"
#include "kernels/base/file.h"

#define ADAPTER_MAX ((size_t)1 << 30)

typedef struct adapter_options {
    shoal_engine_options engine;
    const char *out;
    bool json;
} adapter_options;

/* Parses a subcommand's line; IN [OUT] or IN -o OUT. */
static bool begin(const shoal_usage *usage, adapter_options *o, shoal_arguments *args, int argc,
                  char **argv, int *code)
{
    shoal_option common[SHOAL_ENGINE_N_OPTIONS];
    shoal_option inputs[SHOAL_ENGINE_N_INPUTS];
    const shoal_option options[] = {
        SHOAL_FLAG("json", 0, &o->json, "one JSON object on stdout"),
        SHOAL_STRING("out", 'o', &o->out, "PATH", "where the result goes (or second argument)")};
    shoal_engine_option_table(&o->engine, common);
    shoal_engine_input_table(&o->engine, inputs);
    const shoal_option_group groups[] = {{"input", inputs, 1},
                                         {"options", options, usage->max_args > 1 ? 2 : 1},
                                         {"common", common, SHOAL_ENGINE_N_OPTIONS}};
    if (!shoal_command_begin(usage, groups, 3, argc, argv, args, code)) return false;
    if (o->out == NULL && args->n > 1) o->out = args->items[1];
    o->engine.adapter = args->items[0];
    return true;
}

/* ---- info --------------------------------------------------------------------------------------
 */

/* What a GGUF adapter says of itself, with no model at hand. */
typedef struct facts {
    char arch[33];
    double alpha;
    size_t rank; /* of the first tensor */
    size_t n_params;
    size_t n_tensors;
    uint32_t targets;
    const char *fits; /* "yes" when checked against a model, else "not checked" */
} facts;

static bool ends_with(shoal_str s, const char *suffix)
{
    size_t n = strlen(suffix);
    return s.n >= n && memcmp(s.p + s.n - n, suffix, n) == 0;
}

static bool contains(shoal_str s, const char *part)
{
    size_t n = strlen(part);
    for (size_t i = 0; i + n <= s.n; i++) {
        if (memcmp(s.p + i, part, n) == 0) return true;
    }
    return false;
}

static void count_tensor(facts *f, const shoal_gguf_tensor *t)
{
    size_t count = 1;
    for (size_t d = 0; d < t->n_dims; d++) {
        count *= t->dims[d]; /* the reader has checked the product */
    }
    f->n_params += count;
    if (f->rank == 0 && ends_with(t->name, ".lora_a") && t->n_dims == 2) f->rank = t->dims[1];
    for (unsigned p = 0; p < SHOAL_N_PROJ; p++) {
        char stem[40];
        (void)snprintf(stem, sizeof stem, ".%s.", shoal_proj_gguf_name((shoal_proj)p));
        if (contains(t->name, stem)) f->targets |= 1u << p;
    }
}

static shoal_status read_facts(facts *f, const char *path, shoal_error *err)
{
    shoal_gguf *g = NULL;
    shoal_str text = {NULL, 0};
    float alpha = 0.0f;
    SHOAL_TRY(shoal_gguf_open(&g, path, err));
    shoal_status st = shoal_gguf_get_str(g, "general.type", &text, err);
    if (st != SHOAL_OK || !shoal_str_eq(text, "adapter")) {
        shoal_gguf_close(g);
        (void)shoal_fail(err, SHOAL_ERR_FORMAT, "%.200s is a GGUF file but not an adapter", path);
        shoal_hint(err, "`shoal model info FILE` describes a model");
        return SHOAL_ERR_FORMAT;
    }
    st = shoal_gguf_get_f32(g, "adapter.lora.alpha", &alpha, err);
    if (st == SHOAL_OK) st = shoal_gguf_get_str(g, "general.architecture", &text, err);
    if (st == SHOAL_OK) {
        (void)snprintf(f->arch, sizeof f->arch, "%.*s", text.n > 32 ? 32 : (int)text.n, text.p);
        f->alpha = (double)alpha;
        f->n_tensors = shoal_gguf_tensor_count(g);
        for (size_t i = 0; i < f->n_tensors; i++) {
            count_tensor(f, shoal_gguf_tensor_at(g, i));
        }
    }
    shoal_gguf_close(g);
    return st;
}

static void take_facts(facts *f, const shoal_adapter *a)
{
    (void)snprintf(f->arch, sizeof f->arch, "%s", a->cfg.arch);
    f->alpha = (double)a->spec.alpha;
    f->rank = a->spec.rank;
    f->n_params = a->n_params;
    f->targets = a->spec.targets;
    f->fits = "yes";
    for (size_t i = 0; i < a->cfg.n_layer * SHOAL_N_PROJ; i++) {
        if (a->pairs[i].a != NULL) f->n_tensors += 2;
    }
}

static shoal_status print_facts(const facts *f, bool json, shoal_error *err)
{
    char targets[64];
    char size[24];
    shoal_targets_format(f->targets, targets, sizeof targets);
    if (json) {
        return shoal_json_print(stdout,
                                json_pack("{s:s, s:I, s:f, s:s, s:I, s:I, s:s}", "arch", f->arch,
                                          "rank", (json_int_t)f->rank, "alpha", f->alpha, "targets",
                                          targets, "tensors", (json_int_t)f->n_tensors, "params",
                                          (json_int_t)f->n_params, "fits_model", f->fits),
                                err);
    }
    shoal_format_bytes(4 * (uint64_t)f->n_params, size, sizeof size);
    (void)printf("architecture  %s\nrank          %zu\nalpha         %g (scale %g)\n"
                 "targets       %s\ntensors       %zu\nparameters    %zu (%s as f32)\n"
                 "fits model    %s\n",
                 f->arch, f->rank, f->alpha, f->alpha / (double)(f->rank > 0 ? f->rank : 1),
                 targets, f->n_tensors, f->n_params, size, f->fits);
    return SHOAL_OK;
}

static shoal_status info(const adapter_options *o, shoal_error *err)
{
    facts f = {.fits = "not checked (give -m MODEL)"};
    shoal_engine e = {0};
    char path[SHOAL_PATH_MAX];
    struct stat sb;
    if (o->engine.model != NULL) {
        SHOAL_TRY(shoal_engine_open(&e, &o->engine, err));
        take_facts(&f, e.adapter);
        shoal_engine_close(&e);
        return print_facts(&f, o->json, err);
    }
    SHOAL_TRY(shoal_store_adapter_path(o->engine.adapter, path, err));
    if (stat(path, &sb) == 0 && S_ISDIR(sb.st_mode)) {
        return shoal_fail(err, SHOAL_ERR_ARG, "a PEFT directory needs its model: give -m MODEL");
    }
    SHOAL_TRY(read_facts(&f, path, err));
    return print_facts(&f, o->json, err);
}

static int cmd_info(int argc, char **argv)
{
    static const shoal_usage usage = {
        .synopsis = "shoal adapter info ADAPTER [-m MODEL] [--json]",
        .about = "Says what an adapter holds; with -m also whether it fits that model.",
        .example = "  shoal adapter info notes.gguf -m smollm2-135m",
        .min_args = 1,
        .max_args = 1};
    shoal_error err = {0};
    adapter_options o = {.json = false};
    shoal_arguments args = {.n = 0};
    int code = 0;
    if (!begin(&usage, &o, &args, argc, argv, &code)) return code;
    return shoal_command_end(info(&o, &err), &err);
}

/* ---- import and export
 * --------------------------------------------------------------------------- */

static shoal_status check_out(const adapter_options *o, shoal_error *err)
{
    if (o->out != NULL) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_ARG, "where should the result go? give -o PATH");
}

static shoal_status write_gguf(const shoal_adapter *a, const char *path, shoal_error *err)
{
    shoal_buf b = shoal_buf_init(ADAPTER_MAX);
    shoal_status st = shoal_adapter_encode(a, &b, err);
    if (st == SHOAL_OK) st = shoal_file_write_atomic(path, b.data, b.len, 0644, err);
    shoal_buf_clear(&b);
    return st;
}

static shoal_status convert(const adapter_options *o, bool to_peft, shoal_error *err)
{
    shoal_engine e = {0};
    SHOAL_TRY(check_out(o, err));
    SHOAL_TRY(shoal_engine_open_required(&e, &o->engine, err));
    shoal_status st =
        to_peft ? shoal_peft_save(e.adapter, o->out, err) : write_gguf(e.adapter, o->out, err);
    if (st == SHOAL_OK) {
        shoal_term_note("wrote %s: rank %zu, %zu parameters", o->out, e.adapter->spec.rank,
                        e.adapter->n_params);
    }
    shoal_engine_close(&e);
    return st;
}

static int cmd_import(int argc, char **argv)
{
    static const shoal_usage usage = {
        .synopsis = "shoal adapter import PEFT_DIR -o ADAPTER.gguf -m MODEL",
        .about =
            "Converts a PEFT directory (adapter_config.json, adapter_model.safetensors) to a GGUF\n"
            "LoRA file that Shoal and llama.cpp load. The rows of lora_B of q and k change "
            "places,\n"
            "because GGUF files pair the rotated dimensions in another order.",
        .example = "  shoal adapter import my-peft-dir -o mine.gguf -m smollm2-135m",
        .min_args = 1,
        .max_args = 2};
    shoal_error err = {0};
    adapter_options o = {.json = false};
    shoal_arguments args = {.n = 0};
    int code = 0;
    if (!begin(&usage, &o, &args, argc, argv, &code)) return code;
    return shoal_command_end(convert(&o, false, &err), &err);
}

static int cmd_export(int argc, char **argv)
{
    static const shoal_usage usage = {
        .synopsis = "shoal adapter export ADAPTER.gguf -o PEFT_DIR -m MODEL",
        .about = "Converts a GGUF LoRA file to a directory that the PEFT library loads.",
        .example = "  shoal adapter export notes.gguf -o notes-peft -m smollm2-135m",
        .min_args = 1,
        .max_args = 2};
    shoal_error err = {0};
    adapter_options o = {.json = false};
    shoal_arguments args = {.n = 0};
    int code = 0;
    if (!begin(&usage, &o, &args, argc, argv, &code)) return code;
    return shoal_command_end(convert(&o, true, &err), &err);
}

int shoal_cmd_adapter(int argc, char **argv)
{
    static const shoal_command table[] = {
        {"info", cmd_info, "say what an adapter holds and whether it fits a model"},
        {"import", cmd_import, "PEFT directory to GGUF LoRA file"},
        {"export", cmd_export, "GGUF LoRA file to PEFT directory"},
        {"merge", shoal_cmd_merge, "write a model that contains the adapter"},
    };
    return shoal_command_dispatch("shoal adapter", "Looks at adapters and converts them.", table,
                                  sizeof table / sizeof table[0], argc, argv);
}
