/* adapter_merge.c - see adapter_merge.h. */
#include "lora/compress/adapter_merge.h"

#include <stdio.h>

typedef struct merging {
    const shoal_adapter *a;
    const shoal_merge_target *target;
    shoal_rewrite_progress *progress;
    void *ctx; /* of progress */
} merging;

/* The pair of the projection that tensor `t` is; NULL when the adapter leaves it alone. */
static const void *pair_of(void *ctx, const shoal_gguf_tensor *t)
{
    const shoal_adapter *a = ((const merging *)ctx)->a;
    for (size_t i = 0; i < a->cfg.n_layer * SHOAL_N_PROJ; i++) {
        size_t layer = i / SHOAL_N_PROJ;
        shoal_proj proj = (shoal_proj)(i % SHOAL_N_PROJ);
        char name[64];
        (void)snprintf(name, sizeof name, "blk.%zu.%s.weight", layer, shoal_proj_gguf_name(proj));
        if (!shoal_str_eq(t->name, name)) continue;
        const shoal_lora_pair *pair = shoal_adapter_pair(a, layer, proj);
        return pair->a == NULL ? NULL : pair;
    }
    return NULL;
}

static shoal_type type_of(void *ctx, const shoal_gguf_tensor *t, shoal_type from)
{
    const merging *m = ctx;
    return m->target->same || pair_of(ctx, t) == NULL ? from : m->target->type;
}

/* row[n] += scale * B[index] A, summed over the rank in order. */
static void add_row(const void *edit, size_t index, float *row, size_t n)
{
    const shoal_lora_pair *pair = edit;
    const float *b = pair->b + index * pair->rank;
    for (size_t r = 0; r < pair->rank; r++) {
        const float *a = pair->a + r * n;
        float w = pair->scale * b[r];
        for (size_t i = 0; i < n; i++) {
            row[i] += w * a[i];
        }
    }
}

static void forward_progress(void *ctx, uint64_t done, uint64_t total)
{
    const merging *m = ctx;
    m->progress(m->ctx, done, total);
}

shoal_status shoal_adapter_merge(const char *in, const char *out, const shoal_adapter *a,
                                 const shoal_merge_target *target, const char *note,
                                 shoal_pool *pool, shoal_rewrite_progress *progress, void *ctx,
                                 shoal_rewrite_report *report, shoal_error *err)
{
    merging m = {a, target, progress, ctx};
    const shoal_rewrite_rules rules = {.type_of = type_of,
                                       .edit_of = pair_of,
                                       .edit_row = add_row,
                                       .note_key = "shoal.merged_adapter",
                                       .note = note,
                                       .progress = progress == NULL ? NULL : forward_progress,
                                       .ctx = &m};
    return shoal_rewrite_file(in, out, &rules, pool, report, err);
}
