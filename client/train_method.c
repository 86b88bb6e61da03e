/* train_method.c - an adapter's shape and the method, from the command line. */
#include "client/train_method.h"

#include <math.h>
#include <string.h>

#include "lora/train/targets.h"

shoal_method shoal_method_default(void)
{
    return (shoal_method){.rank = "8", .targets = "all", .optimizer = "adamw", .alpha = 16.0};
}

void shoal_method_table(shoal_method *o, shoal_option table[SHOAL_METHOD_N_OPTIONS])
{
    const shoal_option rows[SHOAL_METHOD_N_OPTIONS] = {
        SHOAL_STRING("rank", 0, &o->rank, "R", "rank of the adapter, or as q=16,v=16,mlp=4 (8)"),
        SHOAL_NUMBER("alpha", 0, &o->alpha, "A", "scale is alpha / rank (16)", 1e-3, 1e5),
        SHOAL_FLAG("rslora", 0, &o->rslora, "scale is alpha / sqrt(rank): for high ranks"),
        SHOAL_STRING("targets", 0, &o->targets, "LIST",
                     "all, attn, mlp, or of q,k,v,o,gate,up,down (all)"),
        SHOAL_COUNT("last-layers", 0, &o->last_layers, "K",
                    "adapt the top K layers only: faster, smaller", 1, 1e6),
        SHOAL_FLAG("freeze-a", 0, &o->freeze_a, "train B only (LoRA-FA): half the optimiser"),
        SHOAL_STRING("optimizer", 0, &o->optimizer, "KIND",
                     "adamw, adamw8 (a quarter of its memory) or sgd (adamw)"),
        SHOAL_NUMBER("dropout", 0, &o->dropout, "P",
                     "leave out a share P of the adapter's inputs, against overfitting (0)", 0,
                     0.999),
        SHOAL_NUMBER("neftune", 0, &o->neftune, "A",
                     "noise on embeddings in training, often 5 (0: none)", 0, 1e3)};
    memcpy(table, rows, sizeof rows);
}

static shoal_status read_ranks(const shoal_method *o, shoal_lora_spec *spec, shoal_error *err)
{
    if (!shoal_targets_parse(o->targets, &spec->targets)) {
        (void)shoal_fail(err, SHOAL_ERR_ARG, "--targets does not know \"%.60s\"", o->targets);
        shoal_hint(err, "use all, attn, mlp, or a list of q,k,v,o,gate,up,down");
        return SHOAL_ERR_ARG;
    }
    if (!shoal_ranks_parse(o->rank, &spec->targets, spec->ranks)) {
        (void)shoal_fail(err, SHOAL_ERR_ARG, "--rank does not take \"%.60s\"", o->rank);
        shoal_hint(err, "use a number from 1 to %d, or ranks by name as in q=16,v=16,mlp=4",
                   (int)SHOAL_LORA_MAX_RANK);
        return SHOAL_ERR_ARG;
    }
    return SHOAL_OK;
}

/* rsLoRA (Kalajdzievski 2023): alpha / sqrt(R). Files know alpha / R alone, with one alpha for all,
 * so it is alpha sqrt(R) there, which every reader understands; several ranks it could not say. */
static shoal_status scale_alpha(const shoal_method *o, shoal_lora_spec *spec, shoal_error *err)
{
    size_t rank = 0;
    for (unsigned p = 0; p < SHOAL_N_PROJ; p++) {
        size_t other = shoal_lora_rank(spec, (shoal_proj)p);
        if (rank != 0 && other != 0 && other != rank) {
            (void)shoal_fail(err, SHOAL_ERR_ARG, "--rslora needs one rank for all projections");
            shoal_hint(err, "adapter files hold one alpha, which cannot say several such scales");
            return SHOAL_ERR_ARG;
        }
        rank = other != 0 ? other : rank;
    }
    spec->alpha = (float)(o->alpha * sqrt((double)rank));
    return SHOAL_OK;
}

shoal_status shoal_method_spec(const shoal_method *o, size_t n_layer, shoal_lora_spec *spec,
                               shoal_error *err)
{
    *spec = (shoal_lora_spec){.alpha = (float)o->alpha};
    SHOAL_TRY(read_ranks(o, spec, err));
    if (o->rslora) SHOAL_TRY(scale_alpha(o, spec, err));
    if (o->last_layers > n_layer) {
        return shoal_fail(err, SHOAL_ERR_ARG, "--last-layers is over the model's %zu layers",
                          n_layer);
    }
    spec->first_layer = o->last_layers == 0 ? 0 : n_layer - (size_t)o->last_layers;
    return SHOAL_OK;
}

shoal_status shoal_method_apply(const shoal_method *o, shoal_plan_options *plan, shoal_error *err)
{
    if (!shoal_optimizer_parse(o->optimizer, &plan->optimizer)) {
        (void)shoal_fail(err, SHOAL_ERR_ARG, "--optimizer does not know \"%.40s\"", o->optimizer);
        shoal_hint(err, "use adamw, adamw8 or sgd");
        return SHOAL_ERR_ARG;
    }
    plan->freeze_a = o->freeze_a;
    plan->dropout = o->dropout;
    plan->neftune = o->neftune;
    return SHOAL_OK;
}
