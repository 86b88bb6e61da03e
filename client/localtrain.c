/* localtrain.c - one device's training for one round. */
#include "client/localtrain.h"

#include <string.h>
#include <unistd.h>

#include "client/train_memory.h"
#include "kernels/base/mem.h"
#include "lora/model/residency.h"
#include "lora/train/checkpoint.h"
#include "lora/train/trainer.h"

/* What the step callback gathers on top of the caller's. */
typedef struct run {
    const shoal_local_job *job;
    shoal_update *out;
} run;

static shoal_status on_step(void *ctx, const shoal_train_step *step, shoal_error *err)
{
    run *r = ctx;
    if (step->step == 1) r->out->loss_first = step->loss;
    r->out->loss_last = step->loss;
    r->out->tokens += step->tokens;
    return r->job->on_step == NULL ? SHOAL_OK : r->job->on_step(r->job->ctx, step, err);
}

static bool stop_asked(void *ctx)
{
    const run *r = ctx;
    return r->job->stop != NULL && r->job->stop();
}

/* The order of samples follows from the adapter and the number of the update: a repeat of the same
 * round is the same run, but an update that takes the place of a spent one is another. */
static shoal_train_options options_of(const shoal_local_job *job)
{
    uint64_t seed = 0;
    memcpy(&seed, job->release->sha256, sizeof seed);
    seed ^= job->number * UINT64_C(0x9E3779B97F4A7C15);
    return (shoal_train_options){.batch = job->spec->batch,
                                 .epochs = job->spec->local_epochs,
                                 .max_steps = job->spec->local_steps,
                                 .seed = seed,
                                 .schedule = SHOAL_SCHEDULE_CONSTANT,
                                 .lr = job->spec->lr,
                                 .lr_min = job->spec->lr};
}

static shoal_status check_job(const shoal_local_job *job, shoal_error *err)
{
    const shoal_lora_spec *a = &job->start->spec;
    const shoal_train_spec *t = job->spec;
    bool mixed = false; /* tasks know one rank */
    for (size_t p = 0; p < SHOAL_N_PROJ; p++)
        mixed = mixed || a->ranks[p] != 0;
    if (mixed || a->rank != t->rank || a->targets != t->targets || a->alpha != t->alpha) {
        return shoal_fail(err, SHOAL_ERR_FORMAT,
                          "the adapter's rank, alpha or targets are not the task's");
    }
    if (t->batch == 0 || (t->local_epochs == 0 && t->local_steps == 0) || !(t->lr > 0)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "the task's training settings are empty");
    }
    return SHOAL_OK;
}

/* Goes on from a checkpoint of this very run, if there is one; anything else is ignored. */
static void resume(const shoal_local_job *job, shoal_trainer *tr, uint64_t run_id,
                   shoal_train_cursor *cursor)
{
    const char *path = job->checkpoint_path;
    if (path == NULL) return;
    if (shoal_checkpoint_load(tr, run_id, path, cursor, NULL, NULL) == SHOAL_OK) return;
    memcpy(shoal_trainer_adapter(tr)->params, job->start->params,
           job->start->n_params * sizeof *job->start->params);
    shoal_trainer_reset(tr);
}

static shoal_status keep(const shoal_local_job *job, shoal_trainer *tr, uint64_t run_id,
                         const shoal_train_cursor *cursor, shoal_error *err)
{
    if (job->checkpoint_path == NULL || cursor->step == 0) return SHOAL_OK;
    return shoal_checkpoint_save(tr, run_id, cursor, NULL, job->checkpoint_path, 0600, err);
}

/* Rows of a micro-batch: what one batch can fill, and no more than the task's context. */
static size_t rows_of(const shoal_local_job *job)
{
    size_t rows = job->data->longest * job->spec->batch;
    return rows < job->spec->ctx ? rows : job->spec->ctx;
}

/* A trainer within the owner's bound, planned as `shoal train` plans. */
static shoal_status open_trainer(shoal_trainer **out, const shoal_local_job *job, shoal_adapter *a,
                                 run *r, shoal_error *err)
{
    const shoal_engine *e = job->engine;
    shoal_trainer_options o = {.clip = 1.0f, .stop = stop_asked, .stop_ctx = r};
    shoal_plan plan;
    o.plan.max_tokens = rows_of(job);
    o.plan.max_ram = job->max_ram;
    o.plan.other_bytes = shoal_train_other_bytes(e, a->n_params * sizeof *a->params);
    SHOAL_TRY(shoal_train_plan(e, a, job->max_ram_given, &o.plan, &plan, err));
    SHOAL_TRY(shoal_plan_bound_weights(&plan, e->model, err));
    shoal_status st = shoal_trainer_open(out, e->model, a, &e->exec, &o, err);
    if (st != SHOAL_OK) shoal_residency_close(e->model);
    return st;
}

static shoal_status train(const shoal_local_job *job, shoal_adapter *a, shoal_update *out,
                          shoal_error *err)
{
    shoal_trainer *tr = NULL;
    run r = {.job = job, .out = out};
    shoal_train_options opt = options_of(job);
    shoal_train_cursor cursor = {0};
    SHOAL_TRY(open_trainer(&tr, job, a, &r, err));
    uint64_t run_id = shoal_train_run_id(job->data->samples, job->data->n, &opt);
    resume(job, tr, run_id, &cursor);
    shoal_status st =
        shoal_train_run(tr, job->data->samples, job->data->n, &opt, &cursor, on_step, &r, err);
    if (st == SHOAL_ERR_CANCELLED) {
        shoal_status kept = keep(job, tr, run_id, &cursor, err);
        if (kept != SHOAL_OK) st = kept;
    } else if (st == SHOAL_OK && job->checkpoint_path != NULL) {
        (void)unlink(job->checkpoint_path);
    }
    shoal_trainer_close(tr);
    shoal_residency_close(job->engine->model);
    return st;
}

/* A second adapter with the same parameters. */
static shoal_status copy_adapter(const shoal_local_job *job, shoal_adapter **out, shoal_error *err)
{
    shoal_status st = shoal_adapter_open(out, job->engine->model, &job->start->spec, 0, err);
    if (st != SHOAL_OK) return st;
    memcpy((*out)->params, job->start->params, job->start->n_params * sizeof(float));
    return SHOAL_OK;
}

shoal_status shoal_local_train(const shoal_local_job *job, shoal_update *out, shoal_error *err)
{
    shoal_adapter *a = NULL;
    memset(out, 0, sizeof *out);
    SHOAL_TRY(check_job(job, err));
    SHOAL_TRY(copy_adapter(job, &a, err));
    shoal_status st = train(job, a, out, err);
    if (st == SHOAL_OK) {
        out->delta = shoal_calloc(a->n_params, sizeof *out->delta);
        if (out->delta == NULL) st = shoal_fail(err, SHOAL_ERR_NOMEM, "memory is out");
    }
    if (st == SHOAL_OK) {
        out->n = a->n_params;
        for (size_t i = 0; i < out->n; i++)
            out->delta[i] = a->params[i] - job->start->params[i];
        memcpy(out->adapter_sha256, job->release->sha256, 32);
        out->version = job->release->version;
        out->number = job->number;
        out->weight = (uint32_t)job->data->n;
    }
    shoal_adapter_close(a);
    if (st != SHOAL_OK) shoal_update_clear(out);
    return st;
}
