/* grad_case.c - see grad_case.h. */
#include "tests/support/grad_case.h"

#include "kernels/base/rng.h"
#include "tests/support/coded_weights.h"

enum { ADAPTER_SEED = 102, SAMPLE_SEED = 103 };

/* Widths that differ from each other where the type's blocks let them, so that none can stand in
 * for another. */
static const grad_family FAMILIES[] = {
    {"llama", {.arch = "llama"}},
    {"mistral", {.arch = "llama", .window = 5, .untied = true}},
    {"qwen2", {.arch = "qwen2"}},
    {"qwen3", {.arch = "qwen3", .head_dim = 32}},
    {"gemma3", {.arch = "gemma3", .period = 2}},
    {"gemma3-capped",
     {.arch = "gemma3",
      .period = 2,
      .rope_factor = 4.0f,
      .attn_softcap = 1.5f,
      .logit_softcap = 2.0f}},
};

static const shoal_type TYPES[] = {
    SHOAL_TYPE_F32,  SHOAL_TYPE_F16,  SHOAL_TYPE_BF16,   SHOAL_TYPE_Q4_0, SHOAL_TYPE_Q4_1,
    SHOAL_TYPE_Q5_0, SHOAL_TYPE_Q5_1, SHOAL_TYPE_IQ4_NL, SHOAL_TYPE_Q8_0, SHOAL_TYPE_Q2_K,
    SHOAL_TYPE_Q3_K, SHOAL_TYPE_Q4_K, SHOAL_TYPE_Q5_K,   SHOAL_TYPE_Q6_K, SHOAL_TYPE_Q4_A,
    SHOAL_TYPE_Q6_A, SHOAL_TYPE_P4_0, SHOAL_TYPE_P4_1,   SHOAL_TYPE_P8_0, SHOAL_TYPE_P4_A,
    SHOAL_TYPE_P6_A,
};

const grad_family *grad_family_at(size_t i)
{
    return i < sizeof FAMILIES / sizeof FAMILIES[0] ? &FAMILIES[i] : NULL;
}

const shoal_type *grad_type_at(size_t i)
{
    return i < sizeof TYPES / sizeof TYPES[0] ? &TYPES[i] : NULL;
}

shoal_tiny_opts grad_case_opts(const grad_family *f, const shoal_type *type)
{
    shoal_tiny_opts o = f->opts;
    bool wide = shoal_type_get((uint32_t)*type)->block > 32;
    o.n_layer = 2;
    o.n_embd = wide ? 256 : 64;
    o.n_head = 4;
    o.n_head_kv = wide ? 1 : 2;
    o.n_ff = wide ? 256 : 96;
    if (wide) o.head_dim = 64;
    o.coded = type;
    return o;
}

shoal_adapter *grad_case_adapter(const shoal_model *m)
{
    shoal_rng rng = shoal_rng_init(ADAPTER_SEED);
    shoal_adapter *a =
        fixture_adapter(m, m->cfg.n_embd > 64 ? 1 : 2, SHOAL_TARGETS_ALL, 0, ADAPTER_SEED);
    coded_values(&rng, 0.0f, 0.1f, a->params, a->n_params);
    return a;
}

void grad_case_samples(const shoal_model *m, fixture_samples *s)
{
    fixture_samples_fill(s, m->cfg.n_vocab, SAMPLE_SEED);
    fixture_samples_share(s, GRAD_CASE_SHARED);
}
