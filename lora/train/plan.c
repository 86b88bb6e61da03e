/* plan.c - how many tapes fit, and what the whole will take. */
#include "lora/train/plan.h"

#include "kernels/base/mem.h"
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

/* All byte counts for the number of tapes in the plan. */
static bool count_all(shoal_plan *plan, const shoal_model *m, const shoal_adapter *a)
{
    size_t total = 0;
    if (!shoal_workspace_size(plan, m, a) || !count_base(m, &plan->base_bytes)) {
        return false;
    }
    plan->adapter_bytes = a->n_params * sizeof(float);
    plan->peak_bytes = 0;
    if (!shoal_add_size(plan->arena_bytes, plan->adapter_bytes, &total) ||
        !shoal_add_size(total, plan->base_bytes, &total)) {
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
    return SHOAL_OK;
}

/* Tapes to keep, given the plan with one tape. */
static size_t choose_tapes(const shoal_plan *one, const shoal_plan_options *opts, size_t n_blocks)
{
    if (opts->recompute == SHOAL_RECOMPUTE_ON) {
        return 1;
    }
    if (opts->recompute == SHOAL_RECOMPUTE_OFF) {
        return n_blocks;
    }
    size_t budget = opts->max_ram != 0 ? opts->max_ram : SHOAL_TRAIN_RAM_DEFAULT;
    if (budget <= one->peak_bytes) {
        return 1;
    }
    size_t more = (budget - one->peak_bytes) / one->tape_bytes;
    return more >= n_blocks - 1 ? n_blocks : 1 + more;
}

static shoal_status refuse(const shoal_plan *plan, const shoal_plan_options *opts, shoal_error *err)
{
    shoal_status st =
        shoal_fail(err, SHOAL_ERR_NOMEM, "training needs %zu MB, and %zu MB are allowed",
                   (plan->peak_bytes >> 20) + 1, opts->max_ram >> 20);
    if (opts->recompute == SHOAL_RECOMPUTE_OFF) {
        shoal_hint(err, "let activations be recomputed, or allow %zu MB",
                   (plan->peak_bytes >> 20) + 1);
    } else {
        shoal_hint(err,
                   "a smaller context or rank, or fewer adapted layers, needs less; "
                   "the base model alone takes %zu MB",
                   plan->base_bytes >> 20);
    }
    return st;
}

shoal_status shoal_plan_make(shoal_plan *out, const shoal_model *m, const shoal_adapter *a,
                             const shoal_plan_options *opts, shoal_error *err)
{
    SHOAL_TRY(check_options(opts, err));
    shoal_plan plan = {0};
    plan.max_tokens = opts->max_tokens;
    plan.head_rows = opts->head_rows != 0 ? opts->head_rows : SHOAL_HEAD_ROWS_DEFAULT;
    if (plan.head_rows > plan.max_tokens) {
        plan.head_rows = plan.max_tokens;
    }
    plan.first_layer = a->spec.first_layer;
    plan.optimizer = opts->optimizer;
    plan.freeze_a = opts->freeze_a;
    plan.n_trained = shoal_trained_count(a, opts->freeze_a);
    plan.tapes = 1;
    if (!count_all(&plan, m, a)) {
        return shoal_fail(err, SHOAL_ERR_OVERFLOW, "a step of %zu tokens is too large to count",
                          opts->max_tokens);
    }
    plan.tapes = choose_tapes(&plan, opts, m->cfg.n_layer - plan.first_layer);
    if (!count_all(&plan, m, a)) {
        return shoal_fail(err, SHOAL_ERR_OVERFLOW, "a step of %zu tokens is too large to count",
                          opts->max_tokens);
    }
    if (opts->max_ram != 0 && plan.peak_bytes > opts->max_ram) {
        return refuse(&plan, opts, err);
    }
    *out = plan;
    return SHOAL_OK;
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
    print_line(out, "base weights (mapped)", plan->base_bytes);
    print_line(out, "adapter", plan->adapter_bytes);
    print_line(out, "gradient and moments", plan->optim_bytes);
    print_line(out, "block inputs", plan->input_bytes);
    print_line(out, "tapes", plan->tape_bytes * plan->tapes);
    print_line(out, "scratch", plan->work_bytes);
    print_line(out, "head", plan->head_bytes);
    print_line(out, "peak", plan->peak_bytes);
}
