/* trainer.c - micro-batches, gradient accumulation and the optimiser step. */
#include "lora/train/trainer.h"

#include <math.h>
#include <string.h>

#include "kernels/base/hash.h"
#include "kernels/base/mem.h"
#include "kernels/noise.h"
#include "lora/train/pack.h"
#include "lora/train/step.h"
#include "lora/train/trained.h"
#include "lora/train/workspace.h"

struct shoal_trainer {
    const shoal_model *m; /* borrowed */
    shoal_adapter *a;     /* borrowed */
    const shoal_exec *ex; /* borrowed */
    shoal_trainer_options opts;
    shoal_plan plan;
    shoal_workspace ws;
    shoal_packing packing;
    shoal_lower_cache *cache; /* borrowed; NULL: none */
};

static shoal_status check_options(const shoal_trainer_options *o, shoal_error *err)
{
    bool betas_ok = o->beta1 >= 0.0f && o->beta1 < 1.0f && o->beta2 >= 0.0f && o->beta2 < 1.0f;
    bool rest_ok = o->eps >= 0.0f && o->weight_decay >= 0.0f && o->clip >= 0.0f;
    if (!betas_ok || !rest_ok || !isfinite(o->eps + o->weight_decay + o->clip)) {
        return shoal_fail(err, SHOAL_ERR_ARG, "an optimiser setting is out of range");
    }
    return SHOAL_OK;
}

/* Adapters are made or loaded for a model; this catches one paired with another. */
static shoal_status check_pairing(const shoal_model *m, const shoal_adapter *a, shoal_error *err)
{
    bool same = a->cfg.n_layer == m->cfg.n_layer &&
                (a->base_fingerprint == 0 || a->base_fingerprint == shoal_model_fingerprint(m));
    for (size_t p = 0; same && p < SHOAL_N_PROJ; p++) {
        size_t rows[2] = {0, 0};
        size_t cols[2] = {0, 0};
        shoal_config_proj_shape(&a->cfg, (shoal_proj)p, &rows[0], &cols[0]);
        shoal_config_proj_shape(&m->cfg, (shoal_proj)p, &rows[1], &cols[1]);
        same = rows[0] == rows[1] && cols[0] == cols[1];
    }
    return same ? SHOAL_OK : shoal_fail(err, SHOAL_ERR_ARG, "the adapter is of another model");
}

static void set_defaults(shoal_trainer_options *o)
{
    if (o->beta1 == 0.0f && o->beta2 == 0.0f && o->eps == 0.0f) {
        o->beta1 = 0.9f;
        o->beta2 = 0.999f;
        o->eps = 1e-8f;
    }
}

shoal_status shoal_trainer_open(shoal_trainer **out, const shoal_model *m, shoal_adapter *a,
                                const shoal_exec *ex, const shoal_trainer_options *opts,
                                shoal_error *err)
{
    *out = NULL;
    shoal_plan plan;
    shoal_plan_options planned = opts->plan;
    planned.exact = ex->exact;
    SHOAL_TRY(check_options(opts, err));
    SHOAL_TRY(check_pairing(m, a, err));
    SHOAL_TRY(shoal_plan_make(&plan, m, a, &planned, err));
    shoal_trainer *tr = shoal_calloc(1, sizeof *tr);
    if (tr == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "cannot allocate a trainer");
    }
    tr->m = m;
    tr->a = a;
    tr->ex = ex;
    tr->opts = *opts;
    tr->plan = plan;
    set_defaults(&tr->opts);
    shoal_status st = shoal_workspace_open(&tr->ws, &plan, m, a, err);
    if (st != SHOAL_OK) {
        shoal_free(tr);
        return st;
    }
    a->base_fingerprint = shoal_model_fingerprint(m);
    *out = tr;
    return SHOAL_OK;
}

void shoal_trainer_close(shoal_trainer *tr)
{
    if (tr == NULL) {
        return;
    }
    shoal_workspace_close(&tr->ws);
    shoal_free(tr);
}

void shoal_trainer_use_cache(shoal_trainer *tr, shoal_lower_cache *cache)
{
    tr->cache = cache;
}

static shoal_status check_sample(const shoal_trainer *tr, const shoal_sample *s, size_t index,
                                 shoal_error *err)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->ids[i] < 0 || (size_t)s->ids[i] >= tr->m->cfg.n_vocab) {
            return shoal_fail(err, SHOAL_ERR_FORMAT,
                              "sample %zu: token %d at position %zu is not in the vocabulary",
                              index, (int)s->ids[i], i);
        }
    }
    size_t rows = shoal_sample_rows(s);
    if (rows == 0) {
        return shoal_fail(err, SHOAL_ERR_ARG, "sample %zu has no token to learn", index);
    }
    if (rows > tr->plan.max_tokens) {
        shoal_status st =
            shoal_fail(err, SHOAL_ERR_TOO_LARGE, "sample %zu has %zu tokens, more than %zu", index,
                       rows, tr->plan.max_tokens);
        shoal_hint(err, "raise the context length, or split the sample");
        return st;
    }
    return SHOAL_OK;
}

shoal_status shoal_trainer_check(const shoal_trainer *tr, const shoal_sample *samples, size_t n,
                                 shoal_error *err)
{
    if (n > UINT32_MAX) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "%zu samples are too many", n);
    }
    for (size_t i = 0; i < n; i++) {
        SHOAL_TRY(check_sample(tr, &samples[i], i, err));
    }
    return SHOAL_OK;
}

/* One micro-batch that lies in the workspace; weight 0 is forward only. */
static shoal_status run_pack(shoal_trainer *tr, float weight, shoal_loss *loss, shoal_error *err)
{
    shoal_step step = {.m = tr->m,
                       .a = tr->a,
                       .ex = tr->ex,
                       .plan = &tr->plan,
                       .ws = &tr->ws,
                       .T = tr->ws.pack.n_rows,
                       .stop = tr->opts.stop,
                       .stop_ctx = tr->opts.stop_ctx,
                       .cache = tr->cache,
                       .learns = weight != 0.0f};
    shoal_workspace_set_rows(&tr->ws, &tr->plan, &tr->m->cfg, &tr->a->spec, step.T);
    if (!shoal_step_forward(&step)) {
        return shoal_fail(err, SHOAL_ERR_CANCELLED, "training was asked to stop");
    }
    shoal_step_head(&step, weight, loss->nll, &loss->nll_sum);
    loss->n_supervised += tr->ws.pack.n_sup;
    loss->n_tokens += tr->ws.pack.n_tokens;
    loss->n_rows += tr->ws.pack.n_rows;
    if (!isfinite(loss->nll_sum)) {
        shoal_status st = shoal_fail(err, SHOAL_ERR_OVERFLOW, "the loss is not a finite number");
        shoal_hint(err, "a lower learning rate usually helps");
        return st;
    }
    if (weight != 0.0f && !shoal_step_backward(&step)) {
        return shoal_fail(err, SHOAL_ERR_CANCELLED, "training was asked to stop");
    }
    return SHOAL_OK;
}

static shoal_status run_all(shoal_trainer *tr, const shoal_sample *samples, size_t n, float weight,
                            shoal_loss *loss, shoal_error *err)
{
    loss->nll_sum = 0.0;
    loss->n_supervised = 0;
    loss->n_tokens = 0;
    loss->n_rows = 0;
    for (size_t i = 0; loss->nll != NULL && i < n; i++) {
        loss->nll[i] = 0.0;
    }
    tr->packing.apart = weight != 0.0f && tr->plan.neftune > 0.0;
    tr->ws.pack.start_key = shoal_noise_key(tr->opts.seed, tr->ws.optim.step);
    for (size_t from = 0; from < n;) {
        from += shoal_packing_make(&tr->packing, samples, from, n, tr->plan.max_tokens);
        for (size_t i = 0; i < tr->packing.n_packs; i++) {
            shoal_packing_fill(&tr->packing, i, &tr->ws.pack);
            SHOAL_TRY(run_pack(tr, weight, loss, err));
        }
    }
    return SHOAL_OK;
}

static void zero_gradient(shoal_trainer *tr)
{
    memset(tr->ws.grad, 0, tr->plan.n_trained * sizeof *tr->ws.grad);
}

shoal_status shoal_trainer_accumulate(shoal_trainer *tr, const shoal_sample *samples, size_t n,
                                      float weight, shoal_loss *loss, shoal_error *err)
{
    if (!isfinite(weight) || weight == 0.0f) {
        return shoal_fail(err, SHOAL_ERR_ARG, "the weight of a target must be a number, not 0");
    }
    SHOAL_TRY(shoal_trainer_check(tr, samples, n, err));
    shoal_status st = run_all(tr, samples, n, weight, loss, err);
    if (st != SHOAL_OK) {
        zero_gradient(tr);
    }
    return st;
}

shoal_status shoal_trainer_loss(shoal_trainer *tr, const shoal_sample *samples, size_t n,
                                shoal_loss *loss, shoal_error *err)
{
    SHOAL_TRY(shoal_trainer_check(tr, samples, n, err));
    return run_all(tr, samples, n, 0.0f, loss, err);
}

/* All parameters that have a gradient. */
static void update(shoal_trainer *tr, const shoal_adamw *h)
{
    const shoal_optim *optim = &tr->ws.optim;
    shoal_adapter *a = tr->a;
    if (!tr->plan.freeze_a) {
        shoal_optim_update(optim, tr->ex, h, 0, a->n_params, a->params, tr->ws.grad);
        return;
    }
    for (size_t i = a->spec.first_layer * SHOAL_N_PROJ; i < a->cfg.n_layer * SHOAL_N_PROJ; i++) {
        size_t layer = i / SHOAL_N_PROJ;
        shoal_proj p = (shoal_proj)(i % SHOAL_N_PROJ);
        if (a->pairs[i].a != NULL) {
            size_t at = shoal_trained_b(a, true, layer, p);
            shoal_optim_update(optim, tr->ex, h, at, shoal_trained_b_size(a, layer, p),
                               a->pairs[i].b, tr->ws.grad + at);
        }
    }
}

shoal_status shoal_trainer_step(shoal_trainer *tr, float lr, double *grad_norm, shoal_error *err)
{
    double norm = sqrt(shoal_sum_squares(tr->ex, tr->ws.grad, tr->plan.n_trained));
    if (grad_norm != NULL) {
        *grad_norm = norm;
    }
    if (!isfinite(norm)) {
        zero_gradient(tr);
        return shoal_fail(err, SHOAL_ERR_OVERFLOW, "the gradient is not finite; step skipped");
    }
    double clip = (double)tr->opts.clip;
    double scale = clip > 0.0 && norm > clip ? clip / norm : 1.0;
    const shoal_trainer_options *o = &tr->opts;
    shoal_adamw adamw = {.lr = lr, .beta1 = o->beta1, .beta2 = o->beta2, .eps = o->eps};
    adamw.weight_decay = o->weight_decay;
    adamw.grad_scale = (float)scale;
    tr->ws.optim.step++;
    update(tr, &adamw);
    zero_gradient(tr);
    return SHOAL_OK;
}

void shoal_trainer_reset(shoal_trainer *tr)
{
    zero_gradient(tr);
    shoal_optim_reset(&tr->ws.optim);
}

static uint64_t hash_number(uint64_t h, double x)
{
    uint8_t bytes[sizeof x];
    memcpy(bytes, &x, sizeof x);
    return shoal_fnv64(h, bytes, sizeof bytes);
}

uint64_t shoal_trainer_method_id(const shoal_trainer *tr)
{
    const shoal_trainer_options *o = &tr->opts;
    const double settings[] = {(double)tr->plan.optimizer,
                               (double)o->beta1,
                               (double)o->beta2,
                               (double)o->eps,
                               (double)o->weight_decay,
                               (double)o->clip,
                               tr->plan.freeze_a ? 1.0 : 0.0,
                               (double)tr->plan.dropout,
                               tr->plan.neftune};
    uint64_t h = SHOAL_FNV64_INIT;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        h = hash_number(h, settings[i]);
    }
    if (tr->plan.dropout > 0 || tr->plan.neftune > 0.0) {
        h = shoal_noise_key(h, o->seed);
    }
    return h;
}

const float *shoal_trainer_grad(const shoal_trainer *tr)
{
    return tr->ws.grad;
}

shoal_optim *shoal_trainer_optim(shoal_trainer *tr)
{
    return &tr->ws.optim;
}

const shoal_plan *shoal_trainer_plan(const shoal_trainer *tr)
{
    return &tr->plan;
}

const shoal_model *shoal_trainer_model(const shoal_trainer *tr)
{
    return tr->m;
}

shoal_adapter *shoal_trainer_adapter(shoal_trainer *tr)
{
    return tr->a;
}
