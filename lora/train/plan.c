/* plan.c - how many tapes fit, and what the whole will take. */
#include "lora/train/plan.h"

#include <math.h>

#include "kernels/base/mem.h"
#include "lora/model/gguf.h"
#include "lora/model/residency.h"
#include "lora/train/trained.h"
#include "lora/train/workspace.h"

static bool add_mat(size_t *total, const shoal_mat *w)
{
    size_t bytes = 0;
    return shoal_mul_size(w->rows, w->row_bytes, &bytes) && shoal_add_size(*total, bytes, total);
}

/* Bytes of all weights the step reads; a tied head counts once. */
static bool count_base(const shoal_model *m, size_t *out)
{
    size_t total = 0;
    bool fits = add_mat(&total, &m->embd);
    if (m->head.data != m->embd.data) {
        fits = fits && add_mat(&total, &m->head);
    }
    for (size_t i = 0; i < m->cfg.n_layer * SHOAL_N_PROJ; i++) {
        fits = fits && add_mat(&total, &m->layers[i / SHOAL_N_PROJ].proj[i % SHOAL_N_PROJ]);
    }
    *out = total;
    return fits;
}

/* All byte counts for the choices in the plan. */
static bool count_all(shoal_plan *plan, const shoal_model *m, const shoal_adapter *a)
{
    size_t total = 0;
    if (!shoal_workspace_size(plan, m, a) || !count_base(m, &plan->base_bytes)) {
        return false;
    }
    size_t head = m->head.rows * m->head.row_bytes; /* counted above, so it fits */
    plan->weight_bytes = plan->window_bytes == 0 ? plan->base_bytes : head + plan->window_bytes;
    plan->adapter_bytes = a->n_params * sizeof(float);
    plan->peak_bytes = 0;
    if (!shoal_add_size(plan->arena_bytes, plan->adapter_bytes, &total) ||
        !shoal_add_size(total, plan->weight_bytes, &total) ||
        !shoal_add_size(total, plan->other_bytes, &total)) {
        return false;
    }
    plan->peak_bytes = total;
    return true;
}

static shoal_status check_options(const shoal_plan_options *opts, shoal_error *err)
{
    if (opts->max_tokens < 1 || opts->max_tokens > SHOAL_TRAIN_MAX_TOKENS) {
        return shoal_fail(err, SHOAL_ERR_ARG, "a micro-batch of %zu tokens is not in 1..%d",
                          opts->max_tokens, (int)SHOAL_TRAIN_MAX_TOKENS);
    }
    if (opts->recompute > SHOAL_RECOMPUTE_ON) {
        return shoal_fail(err, SHOAL_ERR_ARG, "unknown recompute choice %d", (int)opts->recompute);
    }
    if (opts->optimizer > SHOAL_OPTIMIZER_SGD) {
        return shoal_fail(err, SHOAL_ERR_ARG, "unknown optimiser %d", (int)opts->optimizer);
    }
    if (!(opts->dropout >= 0.0 && opts->dropout < 1.0)) {
        return shoal_fail(err, SHOAL_ERR_ARG, "dropout must be a share below 1, from 0 on");
    }
    if (!(opts->neftune >= 0.0) || !isfinite(opts->neftune)) {
        return shoal_fail(err, SHOAL_ERR_ARG, "the noise on embeddings must be a number >= 0");
    }
    return SHOAL_OK;
}

/* Kernels thin out a whole row at a time. */
static shoal_status check_widths(const shoal_plan_options *opts, const shoal_model *m,
                                 shoal_error *err)
{
    for (unsigned p = 0; p < SHOAL_N_PROJ && opts->dropout > 0.0; p++) {
        if (m->layers[0].proj[p].cols > SHOAL_DROPOUT_MAX_COLS) {
            return shoal_fail(err, SHOAL_ERR_UNSUPPORTED,
                              "dropout is for inputs of at most %d values",
                              (int)SHOAL_DROPOUT_MAX_COLS);
        }
    }
    return SHOAL_OK;
}

/* What a plan is made from. */
typedef struct maker {
    const shoal_model *m;
    const shoal_adapter *a;
    const shoal_plan_options *opts;
    size_t n_blocks; /* that are adapted */
} maker;

/* The least window of the layers' weights, where they can be read through one and it saves
 * anything; else 0. */
static size_t least_window(const maker *k)
{
    shoal_mapping map = shoal_gguf_mapping(k->m->gguf);
    size_t least = shoal_residency_least_layers(k->m);
    bool can = k->opts->max_ram != 0 && map.p != NULL && map.pages == SHOAL_PAGES_SMALL;
    return can && least < shoal_residency_most_layers(k->m) - least ? least : 0;
}

/* Tapes to keep, given the plan with one tape. */
static size_t choose_tapes(const maker *k, const shoal_plan *one)
{
    if (k->opts->recompute == SHOAL_RECOMPUTE_ON) {
        return 1;
    }
    if (k->opts->recompute == SHOAL_RECOMPUTE_OFF) {
        return k->n_blocks;
    }
    /* The default aim is for what training takes; what the program holds is not its business. */
    size_t budget =
        k->opts->max_ram != 0 ? k->opts->max_ram : SHOAL_TRAIN_RAM_DEFAULT + one->other_bytes;
    if (budget <= one->peak_bytes) {
        return 1;
    }
    size_t more = (budget - one->peak_bytes) / one->tape_bytes;
    return more >= k->n_blocks - 1 ? k->n_blocks : 1 + more;
}

/* The plan with this window, and as many tapes as then fit. */
static bool count_choice(const maker *k, size_t window, shoal_plan *out)
{
    shoal_plan plan = {.max_tokens = k->opts->max_tokens,
                       .first_layer = k->a->spec.first_layer,
                       .tapes = 1,
                       .exact = k->opts->exact,
                       .window_bytes = window,
                       .optimizer = k->opts->optimizer,
                       .freeze_a = k->opts->freeze_a,
                       .dropout = shoal_dropout_level(k->opts->dropout),
                       .neftune = k->opts->neftune,
                       .n_trained = shoal_trained_count(k->a, k->opts->freeze_a),
                       .other_bytes = k->opts->other_bytes};
    if (!count_all(&plan, k->m, k->a)) {
        return false;
    }
    plan.tapes = choose_tapes(k, &plan);
    *out = plan;
    return count_all(out, k->m, k->a);
}

static bool fits(const maker *k, const shoal_plan *plan)
{
    return k->opts->max_ram == 0 || plan->peak_bytes <= k->opts->max_ram;
}

/* Gives the room that is left to the weights. */
static void widen_window(const maker *k, shoal_plan *plan)
{
    size_t most = shoal_residency_most_layers(k->m);
    size_t left = k->opts->max_ram - plan->peak_bytes;
    size_t more = most - plan->window_bytes;
    more = more < left ? more : left;
    plan->window_bytes += more;
    plan->weight_bytes += more;
    plan->peak_bytes += more;
}

/* Walks down the order of plan.h to the first choice that fits, or to its end. */
static bool choose(const maker *k, shoal_plan *plan)
{
    size_t window = least_window(k);
    if (!count_choice(k, 0, plan)) {
        return false;
    }
    bool all = plan->tapes == k->n_blocks || k->opts->recompute == SHOAL_RECOMPUTE_ON;
    if (window == 0 || (all && fits(k, plan))) {
        return true;
    }
    if (!count_choice(k, window, plan)) {
        return false;
    }
    if (fits(k, plan)) {
        widen_window(k, plan);
    }
    return true;
}

/* The longest micro-batch that would fit; 0: none. */
static size_t longest_that_fits(const maker *k)
{
    size_t least = 0;
    size_t most = k->opts->max_tokens;
    while (most - least > 1) { /* `least` fits, `most` does not */
        size_t half = least + (most - least) / 2;
        shoal_plan_options opts = *k->opts;
        maker shorter = {k->m, k->a, &opts, k->n_blocks};
        shoal_plan plan;
        opts.max_tokens = half;
        if (choose(&shorter, &plan) && fits(&shorter, &plan)) {
            least = half;
        } else {
            most = half;
        }
    }
    return least;
}

static shoal_status refuse(const maker *k, const shoal_plan *plan, shoal_error *err)
{
    const size_t unit = (size_t)1 << 20;
    size_t needed = plan->peak_bytes / unit + 1;
    (void)shoal_fail(err, SHOAL_ERR_NOMEM, "training needs %zu MiB, and %zu MiB are allowed",
                     needed, k->opts->max_ram / unit);
    size_t tokens = longest_that_fits(k);
    if (k->opts->recompute == SHOAL_RECOMPUTE_OFF) {
        shoal_hint(err, "let activations be recomputed, or allow %zuM", needed);
    } else if (tokens == 0) {
        shoal_hint(err, "allow %zuM; a smaller rank or fewer adapted layers needs less", needed);
    } else {
        shoal_hint(err, "allow %zuM, or at most %zu tokens (--ctx); a smaller rank needs less too",
                   needed, tokens);
    }
    return SHOAL_ERR_NOMEM;
}

shoal_status shoal_plan_make(shoal_plan *out, const shoal_model *m, const shoal_adapter *a,
                             const shoal_plan_options *opts, shoal_error *err)
{
    SHOAL_TRY(check_options(opts, err));
    SHOAL_TRY(check_widths(opts, m, err));
    maker k = {m, a, opts, m->cfg.n_layer - a->spec.first_layer};
    shoal_plan plan;
    if (!choose(&k, &plan)) {
        return shoal_fail(err, SHOAL_ERR_OVERFLOW, "a step of %zu tokens is too large to count",
                          opts->max_tokens);
    }
    if (!fits(&k, &plan)) {
        return refuse(&k, &plan, err);
    }
    *out = plan;
    return SHOAL_OK;
}

shoal_status shoal_plan_bound_weights(const shoal_plan *plan, shoal_model *m, shoal_error *err)
{
    return plan->window_bytes == 0 ? SHOAL_OK
                                   : shoal_residency_open_layers(m, plan->window_bytes, err);
}

static void print_line(shoal_buf *out, const char *what, size_t bytes)
{
    size_t tenths = bytes / 100000; /* MB with one digit, without locale */
    shoal_buf_putf(out, "%-28s %6zu.%zu MB\n", what, tenths / 10, tenths % 10);
}

void shoal_plan_print(const shoal_plan *plan, shoal_buf *out)
{
    shoal_buf_putf(out, "%zu tokens a micro-batch, %zu tapes kept, blocks from %zu up\n",
                   plan->max_tokens, plan->tapes, plan->first_layer);
    if (plan->window_bytes != 0) {
        shoal_buf_putf(out, "layers' weights are read through a window\n");
    }
    print_line(out, "program and data", plan->other_bytes);
    print_line(out, "base weights (mapped)", plan->weight_bytes);
    print_line(out, "adapter", plan->adapter_bytes);
    print_line(out, "gradient and moments", plan->optim_bytes);
    print_line(out, "block inputs", plan->input_bytes);
    print_line(out, "tapes", plan->tape_bytes * (plan->tapes - 1));
    print_line(out, "scratch and one tape", plan->work_bytes);
    print_line(out, "peak", plan->peak_bytes);
}
