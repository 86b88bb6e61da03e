/* cmd_train.c - shoal train: a LoRA adapter from a JSONL file. */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/command.h"
#include "client/data.h"
#include "client/device_health.h"
#include "client/engine.h"
#include "client/interrupt.h"
#include "client/json.h"
#include "client/passages.h"
#include "client/report.h"
#include "client/store.h"
#include "client/train_cache.h"
#include "client/train_fit.h"
#include "client/train_memory.h"
#include "client/train_method.h"
#include "kernels/base/term.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "lora/train/checkpoint.h"
#include "lora/train/loop.h"

enum {
    CTX_USUAL = 512,
    HELD_OUT_SHARE = 10,  /* one sample in so many is held out when there is no --valid */
    HELD_OUT_MAX = 64,    /* and no more than these: the loss is measured twice */
    EVALS_USUAL = 10,     /* measurements on the way when --patience asks for some */
    GENERAL_PASSAGE = 256 /* tokens read at once of the general text */
};
#define REPORT_MAX ((size_t)4 << 20)
#define ADAPTER_MAX ((size_t)1 << 30)

static const shoal_usage usage = {
    .synopsis = "shoal train -m MODEL -d DATA.jsonl -o ADAPTER.gguf [options]",
    .about =
        "Trains a LoRA adapter on conversations, one JSON object a line:\n"
        "  "
        "{\"messages\":[{\"role\":\"user\",\"content\":\"...\"},{\"role\":\"assistant\","
        "\"content\":\"...\"}]}\n"
        "The loss is on what the assistant says. A tenth of the data (64 lines at most) is held "
        "out to\n"
        "measure it before and after, unless --valid names a file. Ctrl-C stops within two "
        "seconds,\n"
        "keeps the work in ADAPTER.gguf.ckpt, and --resume goes on from there to the same result.\n"
        "An adapter whose held-out loss got worse goes to ADAPTER.gguf.rejected instead (exit 4), "
        "unless\n"
        "--keep-anyway. With --patience training ends when held-out loss no longer falls, and the "
        "best\n"
        "adapter is used.",
    .example = "  shoal train -m smollm2-135m -d notes.jsonl -o notes.gguf --rank 8 --epochs 2\n"
               "  shoal chat -m smollm2-135m -a notes.gguf"};

typedef struct train_options {
    shoal_engine_options engine;
    shoal_method method;
    const char *data, *valid, *out, *schedule;
    uint64_t epochs, ctx, batch, seed, max_ram, checkpoint_every, max_steps, cache_size;
    uint64_t eval_every, patience;
    double lr, warmup, clip, weight_decay;
    double min_battery, max_temp; /* percent, degrees Celsius; 0: no limit */
    const char *general, *report;
    bool keep_anyway;
    bool resume, json, train_on_all, max_ram_given, plan;
} train_options;

/* Everything a run holds. */
typedef struct training {
    const train_options *o;
    shoal_train_fit fit; /* what was made smaller to fit the memory */
    bool refused;        /* the plan said that there is too little */
    shoal_engine e;
    shoal_dataset data, valid;
    const shoal_sample *held; /* [n_held], what the loss is measured on */
    size_t n_held;
    shoal_sample *train; /* [n_train], owned; views into data */
    size_t n_train;
    size_t adapter_resident; /* bytes of the adapter that are in memory already */
    shoal_trainer *tr;
    shoal_train_options loop;
    shoal_train_cursor cursor;
    uint64_t run_id;
    char checkpoint[SHOAL_PATH_MAX];
    char best[SHOAL_PATH_MAX]; /* a checkpoint too: the best adapter so far, with --patience */
    uint64_t n_checkpoints;
    shoal_train_cache cache;
    bool ended;               /* the adapter is written */
    shoal_passages general;   /* a text that was not trained on: what was forgotten */
    char out[SHOAL_PATH_MAX]; /* where the adapter went */
    shoal_report report;
    shoal_energy_meter meter;
    shoal_health health;
    double step_begun_s;
    shoal_progress bar;
} training;

/* Asked between blocks. */
static bool stop_asked(void *ctx)
{
    training *t = ctx;
    return shoal_interrupted() || shoal_health_ill(&t->health, shoal_clock_s());
}

/* ---- setting up -------------------------------------------------------------------------------
 */

/* Before any work: can the result be written where it is wanted? */
static shoal_status check_output(training *t, shoal_error *err)
{
    char copy[SHOAL_PATH_MAX];
    int n = snprintf(t->checkpoint, sizeof t->checkpoint, "%s.ckpt", t->o->out);
    (void)snprintf(t->best, sizeof t->best, "%s.best", t->o->out); /* as long */
    if (n < 0 || (size_t)n >= sizeof t->checkpoint) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the path %.100s... is too long", t->o->out);
    }
    memcpy(copy, t->checkpoint, sizeof copy);
    const char *dir = dirname(copy);
    if (access(dir, W_OK | X_OK) != 0) {
        return shoal_fail_errno(err, errno, "cannot write into %.200s", dir);
    }
    if (!t->o->resume || access(t->checkpoint, R_OK) == 0) return SHOAL_OK;
    (void)shoal_fail(err, SHOAL_ERR_NOT_FOUND, "nothing to resume: there is no %.200s",
                     t->checkpoint);
    shoal_hint(err, "leave --resume out to begin anew");
    return SHOAL_ERR_NOT_FOUND;
}

/* --ctx, or what is left of it. */
static size_t ctx_of(const training *t)
{
    uint64_t asked = t->o->ctx != 0 ? t->o->ctx : CTX_USUAL;
    uint64_t most = t->e.model->cfg.n_ctx;
    if (t->o->ctx == 0 && asked > most) asked = most;
    return (size_t)(t->fit.ctx != 0 ? t->fit.ctx : asked);
}

static shoal_status load_data(training *t, shoal_error *err)
{
    const shoal_data_options o = {ctx_of(t), t->o->train_on_all};
    SHOAL_TRY(shoal_dataset_load(&t->data, t->o->data, t->e.model, &o, err));
    if (t->o->valid != NULL) {
        SHOAL_TRY(shoal_dataset_load(&t->valid, t->o->valid, t->e.model, &o, err));
    }
    shoal_dataset_warn_long(&t->data, o.max_tokens);
    return SHOAL_OK;
}

/* Decides what is trained on and what the loss is measured on. The order is seeded, so a resumed
 * run makes the same choice. The samples' order in the file is kept on both sides. */
static shoal_status split_data(training *t, shoal_error *err)
{
    size_t n = t->data.n;
    size_t n_out = t->o->valid != NULL ? 0 : n / HELD_OUT_SHARE;
    if (n_out > HELD_OUT_MAX) n_out = HELD_OUT_MAX;
    size_t *order = shoal_calloc(n, sizeof *order);
    uint8_t *is_out = shoal_calloc(n, 1);
    t->train = shoal_calloc(n, sizeof *t->train);
    if (order == NULL || is_out == NULL || t->train == NULL) {
        shoal_free(order);
        shoal_free(is_out);
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory for the data");
    }
    shoal_rng rng = shoal_rng_init(t->o->seed);
    for (size_t i = 0; i < n; i++) {
        order[i] = i;
    }
    shoal_rng_shuffle(&rng, order, n);
    for (size_t i = 0; i < n_out; i++) {
        is_out[order[i]] = 1;
    }
    /* Held-out samples go to the end of the same array. */
    size_t at_out = n - n_out;
    for (size_t i = 0; i < n; i++) {
        t->train[is_out[i] ? at_out++ : t->n_train++] = t->data.samples[i];
    }
    shoal_free(order);
    shoal_free(is_out);
    t->held = t->o->valid != NULL ? t->valid.samples : n_out > 0 ? t->train + t->n_train : t->train;
    t->n_held = t->o->valid != NULL ? t->valid.n : n_out > 0 ? n_out : n;
    if (t->o->valid != NULL) {
        shoal_term_note("loss before and after is measured on %s (%zu conversations)", t->o->valid,
                        t->n_held);
    } else if (n_out > 0) {
        shoal_term_note("loss before and after is measured on %zu held-out conversations of %zu",
                        n_out, n);
    } else {
        shoal_term_note("too little data to hold any out: loss is measured on the training data");
    }
    return SHOAL_OK;
}

/* A new adapter, or the one of -a to go on from. */
static shoal_status make_adapter(training *t, shoal_error *err)
{
    if (t->e.adapter != NULL) {
        t->adapter_resident = t->e.adapter->n_params * sizeof(float);
        return SHOAL_OK;
    }
    size_t before = shoal_train_resident(&t->e);
    shoal_lora_spec spec;
    shoal_method method = t->o->method;
    if (t->fit.layers != 0) method.last_layers = t->fit.layers;
    SHOAL_TRY(shoal_method_spec(&method, t->e.model->cfg.n_layer, &spec, err));
    SHOAL_TRY(shoal_adapter_open(&t->e.adapter, t->e.model, &spec, t->o->seed, err));
    size_t after = shoal_train_resident(&t->e); /* B is zero and not in memory before a step */
    t->adapter_resident = after > before ? after - before : 0;
    return SHOAL_OK;
}

static size_t longest(const shoal_sample *samples, size_t n)
{
    size_t most = 0;
    for (size_t i = 0; i < n; i++) {
        if (samples[i].n > most) most = samples[i].n;
    }
    return most;
}

static size_t longest_of_all(const training *t)
{
    size_t most =
        longest(t->train, t->n_train + (t->held == t->train + t->n_train ? t->n_held : 0));
    size_t most_held = longest(t->held, t->n_held);
    return most_held > most ? most_held : most;
}

/* As many rows as a batch can fill, but no more than --ctx: short lines are packed. */
static size_t rows_wanted(const training *t)
{
    if (t->fit.rows != 0) return (size_t)t->fit.rows;
    size_t rows = longest_of_all(t) * (size_t)t->o->batch;
    return rows > ctx_of(t) ? ctx_of(t) : rows;
}

/* Completes the options, which say how steps are taken, and makes the plan. */
static shoal_status make_plan(training *t, shoal_plan_options *po, shoal_plan *plan,
                              shoal_error *err)
{
    po->max_tokens = rows_wanted(t);
    po->max_ram = (size_t)t->o->max_ram;
    po->other_bytes = shoal_train_other_bytes(&t->e, t->adapter_resident);
    shoal_status st = shoal_train_plan(&t->e, t->e.adapter, t->o->max_ram_given, po, plan, err);
    t->refused = st == SHOAL_ERR_NOMEM;
    return st;
}

/* Passes over the training data that a run makes, the last perhaps not to its end. */
static uint64_t passes(const training *t)
{
    shoal_train_options once = t->loop;
    once.epochs = 1;
    once.max_steps = 0;
    uint64_t steps = shoal_train_total_steps(&once, t->n_train);
    return (shoal_train_total_steps(&t->loop, t->n_train) - 1) / steps + 1;
}

static shoal_status open_cache(training *t, shoal_error *err)
{
    const shoal_lower_texts texts[] = {
        {t->held, t->n_held}, {t->general.samples, t->general.n}, {t->train, t->n_train}};
    shoal_plan_options method = {.max_tokens = 0};
    SHOAL_TRY(shoal_method_apply(&t->o->method, &method, err));
    const shoal_train_cache_options o = {.checkpoint = t->checkpoint,
                                         .max_bytes = t->o->cache_size,
                                         .first_layer = t->e.adapter->spec.first_layer,
                                         .max_tokens = rows_wanted(t),
                                         .passes = passes(t),
                                         .texts = texts,
                                         /* under noise no two epochs are alike */
                                         .n_texts = method.neftune > 0.0 ? 2 : 3};
    shoal_train_cache_open(&t->cache, &t->e, &o);
    return SHOAL_OK;
}

static shoal_status open_trainer(training *t, shoal_error *err)
{
    shoal_trainer_options to = {.weight_decay = (float)t->o->weight_decay,
                                .clip = (float)t->o->clip,
                                .seed = t->o->seed,
                                .stop = stop_asked,
                                .stop_ctx = t};
    shoal_plan plan;
    SHOAL_TRY(shoal_method_apply(&t->o->method, &to.plan, err));
    SHOAL_TRY(make_plan(t, &to.plan, &plan, err));
    if (t->o->plan) return shoal_train_print_plan(&plan, t->e.model, t->o->json, err);
    SHOAL_TRY(shoal_plan_bound_weights(&plan, t->e.model, err));
    return shoal_trainer_open(&t->tr, t->e.model, t->e.adapter, &t->e.exec, &to, err);
}

static shoal_train_measured on_measure;

/* --eval-every and --patience. */
static shoal_status watch_held_out(training *t, uint64_t total, shoal_error *err)
{
    const train_options *o = t->o;
    uint64_t usual = total / EVALS_USUAL > 0 ? total / EVALS_USUAL : 1;
    uint64_t every = o->eval_every == 0 && o->patience > 0 ? usual : o->eval_every;
    if (o->patience > 0 && t->held == t->train) {
        (void)shoal_fail(err, SHOAL_ERR_STATE, "--patience needs held-out data, and there is none");
        shoal_hint(err, "give --valid FILE, or at least %d conversations", (int)HELD_OUT_SHARE);
        return SHOAL_ERR_STATE;
    }
    if (every > 0) {
        t->loop.watch = (shoal_train_watch){t->held, t->n_held, every, o->patience, on_measure};
    }
    return SHOAL_OK;
}

static shoal_status make_schedule(training *t, shoal_error *err)
{
    const train_options *o = t->o;
    t->loop = (shoal_train_options){.batch = (size_t)o->batch,
                                    .epochs = (size_t)o->epochs,
                                    .max_steps = o->max_steps,
                                    .seed = o->seed,
                                    .lr = (float)o->lr,
                                    .warmup_ratio = o->warmup};
    if (!shoal_schedule_parse(o->schedule, &t->loop.schedule)) {
        (void)shoal_fail(err, SHOAL_ERR_ARG, "--schedule does not know \"%.40s\"", o->schedule);
        shoal_hint(err, "use constant, linear or cosine");
        return SHOAL_ERR_ARG;
    }
    uint64_t total = shoal_train_total_steps(&t->loop, t->n_train);
    if (total == 0) {
        return shoal_fail(err, SHOAL_ERR_ARG, "--epochs and --max-steps leave no step to take");
    }
    SHOAL_TRY(watch_held_out(t, total, err));
    t->run_id = shoal_train_run_id(t->train, t->n_train, &t->loop);
    return SHOAL_OK;
}

/* ---- checkpoints -------------------------------------------------------------------------------
 */

static shoal_status save_checkpoint(training *t, shoal_error *err)
{
    shoal_buf history = shoal_buf_init(SHOAL_CHECKPOINT_NOTES_MAX);
    shoal_train_fit_encode(&t->fit, &history);
    shoal_report_encode(&t->report, shoal_energy_end(&t->meter).joules, &history);
    shoal_status st = shoal_buf_status(&history, err);
    if (st == SHOAL_OK) {
        st =
            shoal_checkpoint_save(t->tr, t->run_id, &t->cursor, &history, t->checkpoint, 0644, err);
    }
    shoal_buf_clear(&history);
    if (st == SHOAL_OK) t->n_checkpoints++;
    return st;
}

static shoal_status load_checkpoint(training *t, shoal_error *err)
{
    shoal_buf history = shoal_buf_init(SHOAL_CHECKPOINT_NOTES_MAX);
    shoal_status st =
        shoal_checkpoint_load(t->tr, t->run_id, t->checkpoint, &t->cursor, &history, err);
    size_t used = 0;
    if (st == SHOAL_OK) st = shoal_train_fit_decode(&t->fit, history.data, history.len, &used, err);
    if (st == SHOAL_OK) {
        st = shoal_report_decode(&t->report, history.data + used, history.len - used, err);
    }
    shoal_buf_clear(&history);
    if (st == SHOAL_ERR_ARG) {
        /* The command line is fine in itself: this is not a usage error. */
        if (err->hint[0] == '\0') {
            shoal_hint(err, "resume with the same data and options as before, or begin anew "
                            "without --resume");
        }
        return SHOAL_ERR_STATE;
    }
    if (st == SHOAL_OK)
        shoal_term_note("resumed after step %llu", (unsigned long long)t->cursor.step);
    return st;
}

/* ---- held-out loss on the way -------------------------------------------------------------------
 */

static shoal_status on_measure(void *ctx, const shoal_train_measure *m, shoal_error *err)
{
    training *t = ctx;
    if (m->is_best && t->o->patience > 0) {
        SHOAL_TRY(shoal_checkpoint_save(t->tr, t->run_id, m->cursor, NULL, t->best, 0644, err));
    }
    if (t->o->json) {
        SHOAL_TRY(shoal_json_print(stdout,
                                   json_pack("{s:I, s:f, s:b}", "step", (json_int_t)m->step,
                                             "held_out_loss", m->loss, "best", m->is_best ? 1 : 0),
                                   err));
    }
    if (t->bar.quiet || !shoal_term_is_live()) {
        shoal_term_note("step %llu: held-out loss %.4f%s", (unsigned long long)m->step, m->loss,
                        m->is_best ? ", the best so far" : "");
    }
    t->step_begun_s = shoal_clock_s(); /* the next step's time is its own */
    return SHOAL_OK;
}

/* With --patience the adapter of the best step becomes the result. */
static shoal_status restore_best(training *t, shoal_error *err)
{
    shoal_report *r = &t->report;
    shoal_train_cursor best = {0};
    if (t->o->patience == 0) return SHOAL_OK;
    r->best_step = t->cursor.best_step;
    r->ended_early = t->cursor.step < shoal_train_total_steps(&t->loop, t->n_train);
    if (r->best_step == t->cursor.step) return SHOAL_OK; /* it is what the trainer holds */
    shoal_status st = shoal_checkpoint_load(t->tr, t->run_id, t->best, &best, NULL, err);
    if (st == SHOAL_OK && best.step != r->best_step) {
        st = shoal_fail(err, SHOAL_ERR_STATE, "%.160s is of step %llu, not %llu", t->best,
                        (unsigned long long)best.step, (unsigned long long)r->best_step);
    }
    if (st != SHOAL_OK) shoal_hint(err, "the file with the best adapter was changed: begin anew");
    return st == SHOAL_ERR_ARG ? SHOAL_ERR_STATE : st;
}

/* ---- running ------------------------------------------------------------------------------------
 */

static shoal_status mean_loss(training *t, const shoal_sample *samples, size_t n, double *loss,
                              shoal_error *err)
{
    shoal_loss sum = {.nll = NULL};
    SHOAL_TRY(shoal_trainer_loss(t->tr, samples, n, &sum, err));
    *loss = sum.nll_sum / (double)sum.n_supervised;
    return SHOAL_OK;
}

static shoal_status measure(training *t, double *held, double *general, shoal_error *err)
{
    SHOAL_TRY(mean_loss(t, t->held, t->n_held, held, err));
    return mean_loss(t, t->general.samples, t->general.n, general, err);
}

static shoal_status print_step(const shoal_train_step *s, double tokens_per_s, shoal_error *err)
{
    return shoal_json_print(
        stdout,
        json_pack("{s:I, s:f, s:f, s:f, s:I, s:I, s:f}", "step", (json_int_t)s->step, "loss",
                  s->loss, "grad_norm", s->grad_norm, "lr", (double)s->lr, "tokens",
                  (json_int_t)s->tokens, "supervised_tokens", (json_int_t)s->supervised_tokens,
                  "tokens_per_s", tokens_per_s),
        err);
}

static void show_step(training *t, const shoal_train_step *s, double tokens_per_s)
{
    char memory[24];
    char detail[96];
    shoal_format_bytes(shoal_peak_rss(), memory, sizeof memory);
    (void)snprintf(detail, sizeof detail, "%llu/%llu  loss %.3f  %.0f tok/s  %s",
                   (unsigned long long)s->step, (unsigned long long)s->total_steps, s->loss,
                   tokens_per_s, memory);
    if (s->step == s->total_steps) {
        t->bar.done = s->step;
        shoal_progress_end(&t->bar, detail);
    } else {
        shoal_progress_update(&t->bar, s->step, detail);
    }
}

static shoal_status on_step(void *ctx, const shoal_train_step *s, shoal_error *err)
{
    training *t = ctx;
    double now = shoal_clock_s();
    double tokens_per_s = (double)s->tokens / (now - t->step_begun_s + 1e-9);
    shoal_report_step(&t->report, s, now - t->step_begun_s);
    shoal_energy_sample(&t->meter);
    t->cursor = *s->cursor;
    if (t->o->json) SHOAL_TRY(print_step(s, tokens_per_s, err));
    show_step(t, s, tokens_per_s);
    if (t->o->checkpoint_every > 0 && s->step % t->o->checkpoint_every == 0) {
        shoal_error why = {0};
        /* A failed checkpoint (a full disk) loses nothing: the old one stays, training goes on. */
        if (save_checkpoint(t, &why) != SHOAL_OK) {
            shoal_term_warn("no checkpoint at step %llu: %s", (unsigned long long)s->step, why.msg);
        }
    }
    t->step_begun_s = shoal_clock_s();
    return SHOAL_OK;
}

static shoal_status write_adapter(training *t, shoal_error *err)
{
    shoal_buf b = shoal_buf_init(ADAPTER_MAX);
    shoal_status st = shoal_adapter_encode(t->e.adapter, &b, err);
    if (st == SHOAL_OK) st = shoal_file_write_atomic(t->out, b.data, b.len, 0644, err);
    shoal_buf_clear(&b);
    return st;
}

/* After a stop: keeps what was learnt and says how to go on. */
static shoal_status stopped(training *t, shoal_error *err)
{
    bool ill = t->health.ill;
    shoal_status st = ill ? SHOAL_ERR_DENIED : SHOAL_ERR_CANCELLED;
    const char *why = ill ? t->health.why : "";
    const char *so = ill ? ": " : "";
    if (t->cursor.step == 0) {
        return shoal_fail(err, st, "%s%sstopped before the first step; %s", why, so,
                          t->o->resume ? "the work is kept as it was" : "nothing to keep");
    }
    SHOAL_TRY(save_checkpoint(t, err));
    (void)shoal_fail(err, st, "%s%sstopped after step %llu; the work is kept in %.200s", why, so,
                     (unsigned long long)t->cursor.step, t->checkpoint);
    shoal_hint(err, "run the same command with --resume to go on");
    return st;
}

static shoal_status write_page(const training *t, shoal_error *err)
{
    shoal_buf b = shoal_buf_init(REPORT_MAX);
    shoal_status st = shoal_report_html(&t->report, &b, err);
    if (st == SHOAL_OK) st = shoal_file_write_atomic(t->o->report, b.data, b.len, 0644, err);
    shoal_buf_clear(&b);
    return st;
}

/* What the report says besides steps and losses. */
static void fill_report(training *t)
{
    shoal_report *r = &t->report;
    r->model = t->o->engine.model;
    r->data = t->o->data;
    r->held_name = t->o->valid != NULL   ? t->o->valid
                   : t->held == t->train ? "on the training data: too little to hold out"
                                         : "held-out conversations";
    r->general_name = shoal_passages_name(t->o->general);
    r->adapter = t->out;
    r->rank = t->e.adapter->spec.rank;
    r->n_params = t->e.adapter->n_params;
    r->n_train = t->n_train;
    r->n_held = t->n_held;
    r->peak_rss = shoal_peak_rss();
    r->cached_share = shoal_train_cache_share(&t->cache);
}

static void tell_report(const training *t)
{
    const shoal_report *r = &t->report;
    char memory[24];
    char time[24];
    shoal_format_bytes(r->peak_rss, memory, sizeof memory);
    shoal_format_seconds(r->seconds, time, sizeof time);
    shoal_term_note("loss          %.4f -> %.4f (%s)", r->loss_before, r->loss_after, r->held_name);
    shoal_term_note("general text  %.4f -> %.4f (%s; what rises is forgotten)", r->general_before,
                    r->general_after, r->general_name);
    if (r->best_step > 0) {
        shoal_term_note("best          step %llu%s", (unsigned long long)r->best_step,
                        r->ended_early ? "; training ended early" : "");
    }
    shoal_term_note("speed         %.0f tok/s over %llu steps in %s", shoal_report_tokens_per_s(r),
                    (unsigned long long)r->steps, time);
    shoal_term_note("peak memory   %s", memory);
    shoal_train_cache_tell(&t->cache);
    shoal_term_note("energy        %.1f J (%s)", r->energy.joules, r->energy.note);
    if (t->o->report != NULL) shoal_term_note("report        %s", t->o->report);
}

static shoal_status print_done(const training *t, shoal_error *err)
{
    const shoal_report *r = &t->report;
    return shoal_json_print(
        stdout,
        json_pack("{s:b, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:s, s:b, s:f, s:I, s:b}", "done", 1,
                  "peak_rss_bytes", (json_int_t)r->peak_rss, "loss_before", r->loss_before,
                  "loss_after", r->loss_after, "general_before", r->general_before, "general_after",
                  r->general_after, "tokens_per_s", shoal_report_tokens_per_s(r), "joules",
                  r->energy.joules, "energy_source", r->energy.source, "activated",
                  r->activated ? 1 : 0, "cached_share", r->cached_share, "best_step",
                  (json_int_t)(r->best_step > 0 ? r->best_step : r->steps), "ended_early",
                  r->ended_early ? 1 : 0),
        err);
}

/* A worse adapter does not take the name that chat and serve are given. */
static shoal_status choose_name(training *t, bool measured, shoal_error *err)
{
    shoal_report *r = &t->report;
    r->better = r->loss_after <= r->loss_before; /* false for a loss that is no number */
    r->activated = !measured || r->better || t->o->keep_anyway;
    int n = snprintf(t->out, sizeof t->out, "%s%s", t->o->out, r->activated ? "" : ".rejected");
    if (n > 0 && (size_t)n < sizeof t->out) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the path %.100s... is too long", t->o->out);
}

static shoal_status verdict(const training *t, shoal_error *err)
{
    const shoal_report *r = &t->report;
    if (r->activated) {
        if (!r->better) shoal_term_warn("held-out loss got worse; kept because of --keep-anyway");
        shoal_term_note("adapter in %s; try it: shoal chat -m %s -a %s", t->out, t->o->engine.model,
                        t->out);
        return SHOAL_OK;
    }
    (void)shoal_fail(err, SHOAL_ERR_STATE,
                     "held-out loss got worse, %.4f -> %.4f: the adapter is not used; it is in "
                     "%.160s",
                     r->loss_before, r->loss_after, t->out);
    shoal_hint(err, "try a lower --lr, fewer --epochs or more data; --keep-anyway keeps it");
    return SHOAL_ERR_STATE;
}

static shoal_status finish(training *t, shoal_error *err)
{
    shoal_error why = {0};
    shoal_status measured = SHOAL_OK;
    SHOAL_TRY(restore_best(t, err));
    t->report.energy = shoal_energy_end(&t->meter);
    t->report.energy.joules += t->report.joules_before;
    measured = measure(t, &t->report.loss_after, &t->report.general_after, err);
    shoal_trainer_close(t->tr); /* its memory first: encoding the adapter needs some */
    t->tr = NULL;
    shoal_status st = choose_name(t, measured == SHOAL_OK, &why);
    if (st == SHOAL_OK) st = write_adapter(t, &why);
    if (st != SHOAL_OK) {
        *err = why;
        return st;
    }
    t->ended = true;
    if (measured == SHOAL_ERR_CANCELLED) {
        return shoal_fail(err, measured,
                          "stopped while measuring the loss; the adapter is in %.200s", t->out);
    }
    SHOAL_TRY(measured);
    if (t->o->resume || t->n_checkpoints > 0) (void)unlink(t->checkpoint);
    if (t->o->patience > 0) (void)unlink(t->best);
    fill_report(t);
    if (t->o->report != NULL) SHOAL_TRY(write_page(t, err));
    tell_report(t);
    if (t->o->json) SHOAL_TRY(print_done(t, err));
    return verdict(t, err);
}

static shoal_status run_training(training *t, shoal_error *err)
{
    SHOAL_TRY(measure(t, &t->report.loss_before, &t->report.general_before, err));
    if (t->o->resume) SHOAL_TRY(load_checkpoint(t, err));
    uint64_t total = shoal_train_total_steps(&t->loop, t->n_train);
    shoal_progress_begin(&t->bar, "training", total, t->cursor.step, t->o->json);
    shoal_energy_begin(&t->meter, "/sys");
    t->step_begun_s = shoal_clock_s();
    shoal_train_cursor cursor = t->cursor;
    shoal_status st =
        shoal_train_run(t->tr, t->train, t->n_train, &t->loop, &cursor, on_step, t, err);
    t->cursor = cursor;
    if (cursor.step < total && !t->bar.quiet && shoal_term_is_live()) (void)fputc('\n', stderr);
    return st;
}

/* In passages that the plan has room for: measuring needs no memory that training does not. */
static shoal_status load_general(training *t, shoal_error *err)
{
    size_t most = rows_wanted(t);
    if (most > GENERAL_PASSAGE) most = GENERAL_PASSAGE;
    return shoal_passages_load(&t->general, t->o->general, t->e.model, most, err);
}

/* Everything between the model and the first step, for one size of the run. */
static shoal_status set_up(training *t, shoal_error *err)
{
    SHOAL_TRY(make_adapter(t, err));
    SHOAL_TRY(load_data(t, err));
    SHOAL_TRY(split_data(t, err));
    SHOAL_TRY(make_schedule(t, err));
    SHOAL_TRY(load_general(t, err));
    SHOAL_TRY(open_cache(t, err));
    return open_trainer(t, err);
}

/* Undoes it, as far as it came; a given adapter stays. `keep` is for the cache's file. */
static void tear_down(training *t, bool keep)
{
    shoal_trainer_close(t->tr);
    shoal_train_cache_close(&t->cache, keep);
    shoal_passages_clear(&t->general);
    shoal_free(t->train);
    shoal_dataset_clear(&t->valid);
    shoal_dataset_clear(&t->data);
    t->tr = NULL;
    t->train = NULL;
    t->n_train = 0;
}

/* A run that is resumed has the size it had. */
static shoal_status recall_size(training *t, shoal_error *err)
{
    size_t used = 0;
    shoal_buf notes = shoal_buf_init(SHOAL_CHECKPOINT_NOTES_MAX);
    shoal_status st = shoal_checkpoint_notes(t->checkpoint, &notes, err);
    if (st == SHOAL_OK) st = shoal_train_fit_decode(&t->fit, notes.data, notes.len, &used, err);
    shoal_buf_clear(&notes);
    return st;
}

/* After a refusal: makes the run smaller, if that is left to us. */
static bool make_smaller(training *t)
{
    const shoal_train_size now = {
        .rows = rows_wanted(t),
        .longest = longest_of_all(t),
        .layers = t->e.model->cfg.n_layer - t->e.adapter->spec.first_layer,
        .ctx = ctx_of(t),
        .layers_fixed = t->o->method.last_layers != 0 || t->o->engine.adapter != NULL,
        .ctx_fixed = t->o->ctx != 0};
    if (t->o->resume || !shoal_train_fit_less(&t->fit, &now)) return false;
    tear_down(t, false);
    if (t->o->engine.adapter == NULL) {
        shoal_adapter_close(t->e.adapter);
        t->e.adapter = NULL;
    }
    shoal_mem_give_back();
    t->refused = false;
    return true;
}

/* The largest run that the memory allows. */
static shoal_status set_up_to_fit(training *t, shoal_error *err)
{
    shoal_status st = set_up(t, err);
    while (t->refused) {
        shoal_error refusal = *err;
        if (!make_smaller(t)) return st;
        *err = (shoal_error){0};
        st = set_up(t, err);
        /* Nothing to learn within so few tokens: the memory is what is wrong. */
        if (st != SHOAL_OK && !t->refused && t->fit.ctx != 0) {
            *err = refusal;
            return SHOAL_ERR_NOMEM;
        }
    }
    return st;
}

static shoal_status prepare(training *t, shoal_error *err)
{
    if (!t->o->plan) SHOAL_TRY(check_output(t, err));
    SHOAL_TRY(shoal_engine_open_required(&t->e, &t->o->engine, err));
    if (t->o->ctx > t->e.model->cfg.n_ctx) {
        return shoal_fail(err, SHOAL_ERR_ARG, "--ctx is over the model's %zu tokens",
                          t->e.model->cfg.n_ctx);
    }
    if (t->o->resume) SHOAL_TRY(recall_size(t, err));
    SHOAL_TRY(set_up_to_fit(t, err));
    shoal_train_fit_tell(&t->fit);
    if (t->o->plan) return SHOAL_OK;
    shoal_train_cache_start(&t->cache, t->tr);
    return shoal_trainer_check(t->tr, t->train, t->n_train, err);
}

/* SHOAL_SYSFS stands in for /sys where that tells nothing of the device (containers, tests). */
static void watch_health(training *t)
{
    shoal_health_limits limits = shoal_health_usual();
    const char *sys = getenv("SHOAL_SYSFS");
    if (sys != NULL) limits.sys = sys;
    limits.least_charge = t->o->min_battery;
    limits.most_celsius = t->o->max_temp;
    if (!(limits.most_celsius > 0.0)) limits.most_battery = 0.0;
    shoal_health_begin(&t->health, &limits);
}

/* *rejected: all went well, but the adapter is worse than none. */
static shoal_status train(const train_options *o, bool *rejected, shoal_error *err)
{
    training t = {.o = o, .report = {.activated = true}};
    if (o->data == NULL || (o->out == NULL && !o->plan)) {
        return shoal_fail(err, SHOAL_ERR_ARG, "-d DATA.jsonl and -o ADAPTER.gguf are needed");
    }
    shoal_interrupt_install();
    watch_health(&t);
    shoal_status st = prepare(&t, err);
    bool run = st == SHOAL_OK && !o->plan;
    if (run) {
        st = run_training(&t, err);
        if (st == SHOAL_ERR_CANCELLED) st = stopped(&t, err);
    }
    if (run && st == SHOAL_OK) st = finish(&t, err);
    *rejected = !t.report.activated && st == SHOAL_ERR_STATE;
    tear_down(&t, !t.ended && access(t.checkpoint, F_OK) == 0);
    shoal_engine_close(&t.e);
    return st;
}

static int parse_and_train(train_options *o, const shoal_option_group *data_and_lora, int argc,
                           char **argv)
{
    shoal_error err = {0};
    shoal_option common[SHOAL_ENGINE_N_OPTIONS];
    shoal_option inputs[SHOAL_ENGINE_N_INPUTS];
    const shoal_option steps[] = {
        SHOAL_NUMBER("lr", 0, &o->lr, "X", "peak learning rate (2e-3)", 1e-9, 10),
        SHOAL_STRING("schedule", 0, &o->schedule, "KIND", "constant, linear or cosine (cosine)"),
        SHOAL_NUMBER("warmup", 0, &o->warmup, "RATIO", "share of steps that warm up (0.03)", 0, 1),
        SHOAL_COUNT("eval-every", 0, &o->eval_every, "N",
                    "measure the held-out loss every N steps (0: before and after)", 0, 0),
        SHOAL_COUNT("patience", 0, &o->patience, "N",
                    "end after N measurements without a better one; the best adapter stays", 0, 0),
        SHOAL_COUNT("epochs", 0, &o->epochs, "N", "passes over the data (1)", 1, 100000),
        SHOAL_COUNT("max-steps", 0, &o->max_steps, "N", "stop after so many steps", 0, 0),
        SHOAL_COUNT("batch", 0, &o->batch, "N", "conversations a step (4)", 1, 65536),
        SHOAL_COUNT("ctx", 0, &o->ctx, "N", "longest conversation in tokens (512)", 2,
                    SHOAL_TRAIN_MAX_TOKENS),
        SHOAL_NUMBER("clip", 0, &o->clip, "X", "bound on the gradient norm, 0: none (1)", 0, 1e9),
        SHOAL_NUMBER("weight-decay", 0, &o->weight_decay, "X",
                     "of the parameters, a step of lr (0)", 0, 1),
        SHOAL_FLAG("train-on-all", 0, &o->train_on_all, "learn all, not only the assistant's text"),
        SHOAL_COUNT("seed", 0, &o->seed, "N", "of start, order and held-out lines (1)", 0, 0)};
    const shoal_option safety[] = {
        SHOAL_SIZE("max-ram", 0, &o->max_ram, "SIZE",
                   "memory to stay under, e.g. 256M; 0: the fewest tapes (235 MB)",
                   &o->max_ram_given),
        SHOAL_NUMBER("min-battery", 0, &o->min_battery, "PERCENT",
                     "stop when the battery discharges below it; 0: never (15)", 0, 100),
        SHOAL_NUMBER("max-temp", 0, &o->max_temp, "CELSIUS",
                     "stop when the device is hotter, or its battery than 45; 0: never (95)", 0,
                     200),
        SHOAL_FLAG("plan", 0, &o->plan, "say how much memory this takes, and stop"),
        SHOAL_COUNT("checkpoint-every", 0, &o->checkpoint_every, "N", "keep the work every N steps",
                    0, 0),
        SHOAL_FLAG("resume", 0, &o->resume, "go on from ADAPTER.gguf.ckpt"),
        SHOAL_SIZE("cache-size", 0, &o->cache_size, "SIZE",
                   "disk for what layers below --last-layers give; 0: none (512M)", NULL)};
    shoal_engine_option_table(&o->engine, common);
    shoal_engine_input_table(&o->engine, inputs);
    inputs[1].help = "go on from this adapter; its rank, alpha and targets hold";
    const shoal_option_group groups[] = {
        {"input", inputs, SHOAL_ENGINE_N_INPUTS},
        data_and_lora[0],
        data_and_lora[1],
        {"training", steps, SHOAL_OPTION_COUNT_OF(steps)},
        {"memory and safety", safety, SHOAL_OPTION_COUNT_OF(safety)},
        {"common", common, SHOAL_ENGINE_N_OPTIONS}};
    int code = 0;
    if (!shoal_command_begin(&usage, groups, SHOAL_OPTION_COUNT_OF(groups), argc, argv, NULL,
                             &code)) {
        return code;
    }
    o->engine.max_ram = o->max_ram; /* small pages, so that weights can be streamed */
    bool rejected = false;
    code = shoal_command_end(train(o, &rejected, &err), &err);
    return rejected ? SHOAL_EXIT_VERIFY : code;
}

int shoal_cmd_train(int argc, char **argv)
{
    train_options o = {.method = shoal_method_default(),
                       .schedule = "cosine",
                       .epochs = 1,
                       .batch = 4,
                       .seed = 1,
                       .max_ram = SHOAL_TRAIN_RAM_USUAL,
                       .lr = 2e-3,
                       .cache_size = SHOAL_TRAIN_CACHE_USUAL,
                       .min_battery = shoal_health_usual().least_charge,
                       .max_temp = shoal_health_usual().most_celsius,
                       .warmup = 0.03,
                       .clip = 1.0};
    const shoal_option data[] = {
        SHOAL_STRING("data", 'd', &o.data, "DATA.jsonl", "conversations to learn"),
        SHOAL_STRING("valid", 0, &o.valid, "FILE", "measure the loss on this file"),
        SHOAL_STRING("out", 'o', &o.out, "ADAPTER.gguf", "where the adapter goes"),
        SHOAL_STRING("general", 0, &o.general, "FILE",
                     "measure forgetting on this text or .jsonl (a built-in text)"),
        SHOAL_STRING("report", 0, &o.report, "FILE.html", "write a page with curves"),
        SHOAL_FLAG("keep-anyway", 0, &o.keep_anyway, "use the adapter even if it got worse"),
        SHOAL_FLAG("json", 0, &o.json, "one JSON object a step on stdout")};
    shoal_option lora[SHOAL_METHOD_N_OPTIONS];
    shoal_method_table(&o.method, lora);
    const shoal_option_group groups[] = {{"data", data, SHOAL_OPTION_COUNT_OF(data)},
                                         {"adapter and method", lora, SHOAL_OPTION_COUNT_OF(lora)}};
    return parse_and_train(&o, groups, argc, argv);
}
