/* cmd_grad.c - shoal grad: the loss and LoRA gradients of one masked batch, no optimiser step. */
#include <stdio.h>

#include "client/command.h"
#include "client/engine.h"
#include "client/json.h"
#include "client/peft.h"
#include "client/safetensors.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "lora/train/trainer.h"

enum { BATCH_MAX_SAMPLES = 4096 };
#define BATCH_MAX_BYTES ((size_t)64 << 20)

static const shoal_usage usage = {
    .synopsis = "shoal grad -m MODEL -a ADAPTER -f BATCH.json -o GRADS.safetensors [--json]",
    .about =
        "Computes the mean loss over the masked tokens of a batch and its gradient by every LoRA\n"
        "weight, without changing anything. BATCH.json is "
        "{\"samples\":[{\"ids\":[...],\"mask\":[...]}]};\n"
        "mask[i] = 1 makes ids[i] a target. The gradients go to a safetensors file under PEFT's\n"
        "names; the loss is printed ({\"loss\":...} with --json).",
    .example =
        "  shoal grad -m smollm2-135m -a peft-dir -f batch.json -o grads.safetensors --json"};

typedef struct grad_options {
    shoal_engine_options engine;
    const char *batch, *out;
    bool json;
} grad_options;

/* A batch file in memory. */
typedef struct batch {
    shoal_tokens *ids; /* [n] */
    shoal_buf *masks;  /* [n] */
    shoal_sample *samples;
    size_t n;
    size_t longest;
    size_t n_targets;
} batch;

static void batch_clear(batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        shoal_tokens_clear(&b->ids[i]);
        shoal_buf_clear(&b->masks[i]);
    }
    shoal_free(b->ids);
    shoal_free(b->masks);
    shoal_free(b->samples);
    *b = (batch){0};
}

static shoal_status read_mask(const json_t *array, size_t n, shoal_buf *out, const char *where,
                              shoal_error *err)
{
    if (json_array_size(array) != n) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: \"mask\" is not as long as \"ids\"", where);
    }
    for (size_t i = 0; i < n; i++) {
        json_int_t v = json_integer_value(json_array_get(array, i));
        if (!json_is_integer(json_array_get(array, i)) || (v != 0 && v != 1)) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: mask[%zu] is not 0 or 1", where, i);
        }
        (void)shoal_buf_put_u8(out, (uint8_t)v);
    }
    return shoal_buf_status(out, err);
}

static shoal_status read_sample(batch *b, size_t i, const json_t *item, size_t n_vocab,
                                shoal_error *err)
{
    char where[32];
    (void)snprintf(where, sizeof where, "samples[%zu]", i);
    SHOAL_TRY(shoal_json_ids(json_object_get(item, "ids"), n_vocab, &b->ids[i], where, err));
    SHOAL_TRY(read_mask(json_object_get(item, "mask"), b->ids[i].n, &b->masks[i], where, err));
    b->samples[i] = (shoal_sample){b->ids[i].ids, b->masks[i].data, b->ids[i].n};
    b->n_targets += shoal_sample_targets(&b->samples[i]);
    if (b->ids[i].n > b->longest) b->longest = b->ids[i].n;
    return SHOAL_OK;
}

static shoal_status read_samples(batch *b, const json_t *list, size_t n_vocab, shoal_error *err)
{
    size_t n = json_array_size(list);
    if (n == 0 || n > BATCH_MAX_SAMPLES) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "\"samples\" is not a list of 1 to %d samples",
                          BATCH_MAX_SAMPLES);
    }
    b->ids = shoal_calloc(n, sizeof *b->ids);
    b->masks = shoal_calloc(n, sizeof *b->masks);
    b->samples = shoal_calloc(n, sizeof *b->samples);
    if (b->ids == NULL || b->masks == NULL || b->samples == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        b->masks[i] = shoal_buf_init(BATCH_MAX_BYTES);
        b->n = i + 1;
        SHOAL_TRY(read_sample(b, i, json_array_get(list, i), n_vocab, err));
    }
    if (b->n_targets == 0) return shoal_fail(err, SHOAL_ERR_FORMAT, "the masks select no token");
    return SHOAL_OK;
}

static shoal_status batch_load(batch *b, const char *path, size_t n_vocab, shoal_error *err)
{
    shoal_buf text = shoal_buf_init(0);
    json_t *obj = NULL;
    SHOAL_TRY(shoal_file_read(path, BATCH_MAX_BYTES, &text, err));
    shoal_status st = shoal_json_object(&obj, shoal_buf_str(&text), text.len, path, true, err);
    if (st == SHOAL_OK) st = read_samples(b, json_object_get(obj, "samples"), n_vocab, err);
    json_decref(obj);
    shoal_buf_clear(&text);
    return st;
}

static shoal_status compute(shoal_trainer *tr, const batch *b, double *loss, shoal_error *err)
{
    shoal_loss sum = {.nll = NULL};
    float weight = 1.0f / (float)b->n_targets;
    SHOAL_TRY(shoal_trainer_accumulate(tr, b->samples, b->n, weight, &sum, err));
    *loss = sum.nll_sum / (double)sum.n_supervised;
    return SHOAL_OK;
}

static shoal_status write_grads(shoal_trainer *tr, const char *path, shoal_error *err)
{
    shoal_buf out = shoal_buf_init(SHOAL_ST_MAX_FILE);
    shoal_status st =
        shoal_peft_encode(shoal_trainer_adapter(tr), shoal_trainer_grad(tr), &out, err);
    if (st == SHOAL_OK) st = shoal_file_write_atomic(path, out.data, out.len, 0644, err);
    shoal_buf_clear(&out);
    return st;
}

static shoal_status run(const grad_options *o, shoal_error *err)
{
    shoal_engine e = {0};
    batch b = {0};
    shoal_trainer *tr = NULL;
    double loss = 0.0;
    if (o->batch == NULL || o->out == NULL || o->engine.adapter == NULL) {
        return shoal_fail(err, SHOAL_ERR_ARG, "-a ADAPTER, -f BATCH.json and -o OUT are needed");
    }
    SHOAL_TRY(shoal_engine_open_required(&e, &o->engine, err));
    shoal_status st = batch_load(&b, o->batch, e.model->cfg.n_vocab, err);
    if (st == SHOAL_OK) {
        const shoal_trainer_options to = {.plan = {.max_tokens = b.longest}};
        st = shoal_trainer_open(&tr, e.model, e.adapter, &e.exec, &to, err);
    }
    if (st == SHOAL_OK) st = compute(tr, &b, &loss, err);
    if (st == SHOAL_OK) st = write_grads(tr, o->out, err);
    if (st == SHOAL_OK && o->json) {
        st = shoal_json_print(stdout, json_pack("{s:f}", "loss", loss), err);
    } else if (st == SHOAL_OK) {
        (void)printf("loss %.6f over %zu tokens\n", loss, b.n_targets);
    }
    shoal_trainer_close(tr);
    batch_clear(&b);
    shoal_engine_close(&e);
    return st;
}

int shoal_cmd_grad(int argc, char **argv)
{
    shoal_error err = {0};
    grad_options o = {.json = false};
    shoal_option common[SHOAL_ENGINE_N_OPTIONS];
    shoal_option inputs[SHOAL_ENGINE_N_INPUTS];
    const shoal_option options[] = {
        SHOAL_STRING("file", 'f', &o.batch, "BATCH.json", "the batch"),
        SHOAL_STRING("out", 'o', &o.out, "FILE", "where the gradients go"),
        SHOAL_FLAG("json", 0, &o.json, "print the loss as JSON")};
    shoal_engine_option_table(&o.engine, common);
    shoal_engine_input_table(&o.engine, inputs);
    const shoal_option_group groups[] = {{"input", inputs, SHOAL_ENGINE_N_INPUTS},
                                         {"options", options, SHOAL_OPTION_COUNT_OF(options)},
                                         {"common", common, SHOAL_ENGINE_N_OPTIONS}};
    int code = 0;
    if (!shoal_command_begin(&usage, groups, 3, argc, argv, NULL, &code)) return code;
    return shoal_command_end(run(&o, &err), &err);
}
