/* train_memory.c - see train_memory.h. */
#include "client/train_memory.h"

#include <stdio.h>

#include "client/json.h"
#include "kernels/base/term.h"
#include "lora/model/gguf.h"
#include "lora/model/pages.h"

/* Stacks, library code not yet used, buffers of files. */
#define MARGIN ((size_t)3 << 20)
/* Where the system does not tell what is resident. */
#define PROGRAM_USUAL ((size_t)32 << 20)
#define TABLE_MAX ((size_t)4096)

size_t shoal_train_resident(const shoal_engine *e)
{
    shoal_mapping map = shoal_gguf_mapping(e->model->gguf);
    shoal_pages_drop(map, map.p, map.n);
    return (size_t)shoal_resident_bytes();
}

size_t shoal_train_other_bytes(const shoal_engine *e, size_t adapter_resident)
{
    (void)shoal_model_fingerprint(e->model); /* reads samples of all weights; trainers ask for it */
    size_t resident = shoal_train_resident(e);
    if (resident == 0) resident = PROGRAM_USUAL;
    resident -= adapter_resident < resident ? adapter_resident : resident;
    return resident + e->exec.scratch_bytes + MARGIN;
}

shoal_status shoal_train_plan(const shoal_engine *e, const shoal_adapter *a, bool bound_given,
                              shoal_plan_options *po, shoal_plan *plan, shoal_error *err)
{
    po->exact = e->exec.exact;
    po->recompute = po->max_ram == 0 ? SHOAL_RECOMPUTE_ON : SHOAL_RECOMPUTE_AUTO;
    shoal_status st = shoal_plan_make(plan, e->model, a, po, err);
    if (st == SHOAL_ERR_NOMEM && !bound_given) {
        po->max_ram = 0;
        po->recompute = SHOAL_RECOMPUTE_ON;
        st = shoal_plan_make(plan, e->model, a, po, err);
    }
    return st;
}

static json_t *plan_json(const shoal_plan *p, const shoal_model *m)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "peak_bytes",
                     (json_int_t)p->peak_bytes, "program_bytes", (json_int_t)p->other_bytes,
                     "weight_bytes", (json_int_t)p->weight_bytes, "adapter_bytes",
                     (json_int_t)p->adapter_bytes, "optimizer_bytes", (json_int_t)p->optim_bytes,
                     "input_bytes", (json_int_t)p->input_bytes, "tape_bytes",
                     (json_int_t)((p->tapes - 1) * p->tape_bytes), "scratch_bytes",
                     (json_int_t)p->work_bytes, "max_tokens", (json_int_t)p->max_tokens, "tapes",
                     (json_int_t)p->tapes, "blocks", (json_int_t)(m->cfg.n_layer - p->first_layer),
                     "window_bytes", (json_int_t)p->window_bytes);
}

shoal_status shoal_train_print_plan(const shoal_plan *plan, const shoal_model *m, bool json,
                                    shoal_error *err)
{
    if (json) return shoal_json_print(stdout, plan_json(plan, m), err);
    shoal_buf table = shoal_buf_init(TABLE_MAX);
    shoal_plan_print(plan, &table);
    shoal_status st = shoal_buf_status(&table, err);
    if (st == SHOAL_OK && fputs(shoal_buf_str(&table), stdout) == EOF) {
        st = shoal_fail(err, SHOAL_ERR_IO, "cannot write the plan");
    }
    shoal_buf_clear(&table);
    return st;
}
