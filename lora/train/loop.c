/* loop.c - epochs over shuffled samples. */
#include "lora/train/loop.h"

#include <math.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

/* The run in progress. */
typedef struct run {
    shoal_trainer *tr;
    const shoal_sample *samples;
    size_t n;
    const shoal_train_options *opts;
    shoal_schedule schedule;
    shoal_train_cursor *cursor;
    size_t *order;       /* [n] samples of the epoch in hand */
    shoal_sample *batch; /* [opts->batch] */
    uint64_t ordered;    /* epoch + 1 that `order` holds; 0: none yet */
} run;

uint64_t shoal_train_total_steps(const shoal_train_options *opts, size_t n_samples)
{
    if (opts->batch == 0 || n_samples == 0) {
        return 0;
    }
    uint64_t per_epoch = (n_samples - 1) / opts->batch + 1;
    if (opts->epochs == 0) {
        return opts->max_steps;
    }
    if (opts->epochs > UINT64_MAX / per_epoch) {
        return 0;
    }
    uint64_t all = opts->epochs * per_epoch;
    return opts->max_steps != 0 && opts->max_steps < all ? opts->max_steps : all;
}

/* The order of an epoch depends on the seed and its number alone. */
static void order_epoch(run *r)
{
    if (r->ordered == r->cursor->epoch + 1) {
        return;
    }
    shoal_rng seeds = shoal_rng_init(r->opts->seed);
    shoal_rng rng = shoal_rng_init(shoal_rng_u64(&seeds) ^ r->cursor->epoch);
    for (size_t i = 0; i < r->n; i++) {
        r->order[i] = i;
    }
    shoal_rng_shuffle(&rng, r->order, r->n);
    r->ordered = r->cursor->epoch + 1;
}

/* Copies the next batch's samples together and returns how many they are. */
static size_t take_batch(run *r, size_t *n_targets)
{
    size_t left = r->n - (size_t)r->cursor->next;
    size_t n = left < r->opts->batch ? left : r->opts->batch;
    *n_targets = 0;
    for (size_t i = 0; i < n; i++) {
        r->batch[i] = r->samples[r->order[r->cursor->next + i]];
        *n_targets += shoal_sample_targets(&r->batch[i]);
    }
    return n;
}

static void advance(run *r, size_t n)
{
    r->cursor->step++;
    r->cursor->next += n;
    if (r->cursor->next >= r->n) {
        r->cursor->next = 0;
        r->cursor->epoch++;
    }
}

static shoal_status run_step(run *r, shoal_train_step *report, shoal_error *err)
{
    size_t n_targets = 0;
    shoal_loss loss = {0};
    order_epoch(r);
    size_t n = take_batch(r, &n_targets);

    report->epoch = r->cursor->epoch;
    report->step = r->cursor->step + 1;
    report->lr = shoal_schedule_lr(&r->schedule, report->step);
    SHOAL_TRY(shoal_trainer_accumulate(r->tr, r->batch, n, 1.0f / (float)n_targets, &loss, err));
    SHOAL_TRY(shoal_trainer_step(r->tr, report->lr, &report->grad_norm, err));
    report->loss = loss.nll_sum / (double)loss.n_supervised;
    report->tokens = loss.n_tokens;
    report->supervised_tokens = loss.n_supervised;
    advance(r, n);
    return SHOAL_OK;
}

/* ---- held-out loss on the way ----------------------------------------------------------------
 */

static bool is_due(const run *r)
{
    uint64_t every = r->opts->watch.every;
    uint64_t step = r->cursor->step;
    return every != 0 && step > r->cursor->measured &&
           (step % every == 0 || step == r->schedule.total_steps);
}

/* The cursor moves on only when what is best has been kept: resuming measures again otherwise. */
static shoal_status measure(run *r, void *ctx, shoal_error *err)
{
    const shoal_train_watch *w = &r->opts->watch;
    shoal_loss loss = {0};
    SHOAL_TRY(shoal_trainer_loss(r->tr, w->held, w->n_held, &loss, err));
    shoal_train_cursor next = *r->cursor;
    shoal_train_measure m = {.step = next.step, .cursor = &next};
    m.loss = loss.nll_sum / (double)loss.n_supervised;
    m.is_best = next.best_step == 0 || m.loss < next.best_loss;
    next.measured = next.step;
    next.stale = m.is_best ? 0 : next.stale + 1;
    if (m.is_best) {
        next.best_step = next.step;
        next.best_loss = m.loss;
    }
    if (w->on_measure != NULL) {
        SHOAL_TRY(w->on_measure(ctx, &m, err));
    }
    *r->cursor = next;
    return SHOAL_OK;
}

bool shoal_train_ended_early(const shoal_train_options *opts, const shoal_train_cursor *cursor)
{
    return opts->watch.patience != 0 && cursor->stale >= opts->watch.patience;
}

static shoal_status check_run(const run *r, shoal_error *err)
{
    const shoal_train_options *o = r->opts;
    if (r->n == 0) {
        return shoal_fail(err, SHOAL_ERR_ARG, "there is nothing to train on");
    }
    if (r->schedule.total_steps == 0) {
        return shoal_fail(err, SHOAL_ERR_ARG, "the options ask for no training step, or too many");
    }
    if (!isfinite(o->lr) || o->lr <= 0.0f || !(o->lr_min >= 0.0f && o->lr_min <= o->lr)) {
        return shoal_fail(err, SHOAL_ERR_ARG, "the learning rate must be a positive number");
    }
    if (!(o->warmup_ratio >= 0.0 && o->warmup_ratio <= 1.0)) {
        return shoal_fail(err, SHOAL_ERR_ARG, "the warm-up must be a share between 0 and 1");
    }
    if (o->watch.patience > 0 && o->watch.every == 0) {
        return shoal_fail(err, SHOAL_ERR_ARG, "patience needs measurements to wait for");
    }
    if (o->watch.every > 0 && o->watch.n_held == 0) {
        return shoal_fail(err, SHOAL_ERR_ARG, "there is no held-out text to measure");
    }
    if (r->cursor->next >= r->n) {
        return shoal_fail(err, SHOAL_ERR_ARG, "the place to go on at is not in the data");
    }
    SHOAL_TRY(shoal_trainer_check(r->tr, r->samples, r->n, err));
    return shoal_trainer_check(r->tr, o->watch.held, o->watch.n_held, err);
}

static shoal_status run_steps(run *r, shoal_train_callback *on_step, void *ctx, shoal_error *err)
{
    for (;;) {
        if (is_due(r)) {
            SHOAL_TRY(measure(r, ctx, err));
        }
        if (r->cursor->step >= r->schedule.total_steps ||
            shoal_train_ended_early(r->opts, r->cursor)) {
            return SHOAL_OK;
        }
        shoal_train_step report = {0};
        SHOAL_TRY(run_step(r, &report, err));
        report.total_steps = r->schedule.total_steps;
        report.cursor = r->cursor;
        if (on_step != NULL) {
            SHOAL_TRY(on_step(ctx, &report, err));
        }
    }
}

shoal_status shoal_train_run(shoal_trainer *tr, const shoal_sample *samples, size_t n,
                             const shoal_train_options *opts, shoal_train_cursor *cursor,
                             shoal_train_callback *on_step, void *ctx, shoal_error *err)
{
    run r = {.tr = tr, .samples = samples, .n = n, .opts = opts, .cursor = cursor};
    uint64_t total = shoal_train_total_steps(opts, n);
    uint64_t warmup = (uint64_t)(opts->warmup_ratio * (double)total);
    r.schedule = (shoal_schedule){opts->schedule, opts->lr, opts->lr_min, warmup, total};
    SHOAL_TRY(check_run(&r, err));

    size_t most = opts->batch < n ? opts->batch : n;
    r.order = shoal_calloc(n, sizeof *r.order);
    r.batch = shoal_calloc(most, sizeof *r.batch);
    shoal_status st = SHOAL_OK;
    if (r.order == NULL || r.batch == NULL) {
        st = shoal_fail(err, SHOAL_ERR_NOMEM, "cannot allocate the order of %zu samples", n);
    } else {
        st = run_steps(&r, on_step, ctx, err);
    }
    shoal_free(r.order);
    shoal_free(r.batch);
    return st;
}
