/* adapter.c - the parameters of an adapter in memory: layout, initialisation, manifest. */
#include "lora/train/adapter.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "lora/train/adapter_internal.h"

static bool adapted(const shoal_lora_spec *spec, size_t layer, size_t proj)
{
    return layer >= spec->first_layer && ((spec->targets >> proj) & 1u) != 0;
}

size_t shoal_lora_rank(const shoal_lora_spec *spec, shoal_proj p)
{
    if (((spec->targets >> (unsigned)p) & 1u) == 0) {
        return 0;
    }
    return spec->ranks[p] != 0 ? spec->ranks[p] : spec->rank;
}

/* One way to say a thing: `rank` is the largest, `ranks` is all 0 when none differs from it. */
static shoal_lora_spec normalised(const shoal_lora_spec *spec)
{
    shoal_lora_spec out = *spec;
    bool differ = false;
    out.rank = 0;
    for (size_t p = 0; p < SHOAL_N_PROJ; p++) {
        out.ranks[p] = shoal_lora_rank(spec, (shoal_proj)p);
        differ = differ || (out.rank != 0 && out.ranks[p] != 0 && out.ranks[p] != out.rank);
        out.rank = out.ranks[p] > out.rank ? out.ranks[p] : out.rank;
    }
    if (!differ) {
        memset(out.ranks, 0, sizeof out.ranks);
    }
    return out;
}

static shoal_status check_ranks(const shoal_lora_spec *spec, shoal_error *err)
{
    for (size_t p = 0; p < SHOAL_N_PROJ; p++) {
        size_t rank = shoal_lora_rank(spec, (shoal_proj)p);
        bool wanted = ((spec->targets >> p) & 1u) != 0;
        if (wanted ? rank < 1 || rank > SHOAL_LORA_MAX_RANK : spec->ranks[p] != 0) {
            return shoal_fail(err, SHOAL_ERR_ARG, "adapter rank %zu is not in 1..%d",
                              wanted ? rank : spec->ranks[p], (int)SHOAL_LORA_MAX_RANK);
        }
    }
    return SHOAL_OK;
}

shoal_status shoal_lora_spec_check(const shoal_lora_spec *spec, const shoal_config *cfg,
                                   shoal_error *err)
{
    if (!isfinite(spec->alpha) || spec->alpha <= 0.0f) {
        return shoal_fail(err, SHOAL_ERR_ARG, "adapter alpha must be a positive number");
    }
    if (spec->targets == 0 || (spec->targets & ~(uint32_t)SHOAL_TARGETS_ALL) != 0) {
        return shoal_fail(err, SHOAL_ERR_ARG, "adapter targets name no projection");
    }
    SHOAL_TRY(check_ranks(spec, err));
    if (spec->first_layer >= cfg->n_layer) {
        return shoal_fail(err, SHOAL_ERR_ARG, "adapter starts at layer %zu of a model with %zu",
                          spec->first_layer, cfg->n_layer);
    }
    return SHOAL_OK;
}

/* Parameters of one adapted layer; false on overflow. */
static bool count_layer_params(const shoal_lora_spec *spec, const shoal_config *cfg, size_t *out)
{
    size_t total = 0;
    for (size_t p = 0; p < SHOAL_N_PROJ; p++) {
        size_t rows = 0;
        size_t cols = 0;
        size_t sides = 0;
        size_t n = 0;
        if (!adapted(spec, spec->first_layer, p)) {
            continue;
        }
        shoal_config_proj_shape(cfg, (shoal_proj)p, &rows, &cols);
        if (!shoal_add_size(rows, cols, &sides) ||
            !shoal_mul_size(sides, shoal_lora_rank(spec, (shoal_proj)p), &n) ||
            !shoal_add_size(total, n, &total)) {
            return false;
        }
    }
    *out = total;
    return true;
}

/* Points every pair into the flat array, in manifest order. */
static void place_pairs(shoal_adapter *a)
{
    const shoal_lora_spec *spec = &a->spec;
    float *next = a->params;
    for (size_t i = 0; i < a->cfg.n_layer * SHOAL_N_PROJ; i++) {
        size_t rows = 0;
        size_t cols = 0;
        if (!adapted(spec, i / SHOAL_N_PROJ, i % SHOAL_N_PROJ)) {
            continue;
        }
        shoal_config_proj_shape(&a->cfg, (shoal_proj)(i % SHOAL_N_PROJ), &rows, &cols);
        size_t rank = shoal_lora_rank(spec, (shoal_proj)(i % SHOAL_N_PROJ));
        a->pairs[i].rank = rank;
        a->pairs[i].scale = spec->alpha / (float)rank;
        a->pairs[i].a = next;
        next += rank * cols;
        a->pairs[i].b = next;
        next += rows * rank;
    }
}

shoal_status shoal_adapter_alloc(shoal_adapter **out, const shoal_config *cfg,
                                 const shoal_lora_spec *spec, shoal_error *err)
{
    *out = NULL;
    SHOAL_TRY(shoal_lora_spec_check(spec, cfg, err));
    size_t n = 0;
    size_t n_pairs = 0;
    size_t bytes = 0;
    if (!count_layer_params(spec, cfg, &n) ||
        !shoal_mul_size(n, cfg->n_layer - spec->first_layer, &n) ||
        !shoal_mul_size(n, sizeof(float), &bytes) ||
        !shoal_mul_size(cfg->n_layer, SHOAL_N_PROJ, &n_pairs)) {
        return shoal_fail(err, SHOAL_ERR_OVERFLOW, "the adapter is too large for this machine");
    }
    shoal_adapter *a = shoal_calloc(1, sizeof *a);
    if (a != NULL) {
        a->spec = normalised(spec);
        a->cfg = *cfg;
        a->n_params = n;
        a->params = shoal_alloc_aligned(bytes);
        a->pairs = shoal_calloc(n_pairs, sizeof *a->pairs);
    }
    if (a == NULL || a->params == NULL || a->pairs == NULL) {
        shoal_adapter_close(a);
        return shoal_fail(err, SHOAL_ERR_NOMEM, "cannot allocate an adapter of %zu bytes", bytes);
    }
    memset(a->params, 0, bytes);
    place_pairs(a);
    *out = a;
    return SHOAL_OK;
}

/* Hu et al. 2021, 4.1: A random, B zero, so that B A = 0 at the start. A is uniform within
 * 1 / sqrt(inputs), as PEFT draws it (Kaiming with a = sqrt(5)): a step of B moves the output by
 * what A x is large, so learning rates found with PEFT hold here as well. */
static void init_params(shoal_adapter *a, uint64_t seed)
{
    shoal_rng rng = shoal_rng_init(seed);
    for (size_t i = 0; i < a->cfg.n_layer * SHOAL_N_PROJ; i++) {
        const shoal_lora_pair *pair = &a->pairs[i];
        if (pair->a == NULL) {
            continue;
        }
        size_t rows = 0;
        size_t cols = 0;
        shoal_config_proj_shape(&a->cfg, (shoal_proj)(i % SHOAL_N_PROJ), &rows, &cols);
        double bound = 1.0 / sqrt((double)cols);
        for (size_t j = 0; j < pair->rank * cols; j++) {
            pair->a[j] = (float)(bound * (2.0 * shoal_rng_double(&rng) - 1.0));
        }
    }
}

shoal_status shoal_adapter_open(shoal_adapter **out, const shoal_model *m,
                                const shoal_lora_spec *spec, uint64_t seed, shoal_error *err)
{
    SHOAL_TRY(shoal_adapter_alloc(out, &m->cfg, spec, err));
    (*out)->base_fingerprint = shoal_model_fingerprint(m);
    init_params(*out, seed);
    return SHOAL_OK;
}

void shoal_adapter_close(shoal_adapter *a)
{
    if (a == NULL) {
        return;
    }
    shoal_free_aligned(a->params);
    shoal_free(a->pairs);
    shoal_free(a);
}

const shoal_lora_pair *shoal_adapter_pair(const shoal_adapter *a, size_t layer, shoal_proj p)
{
    return &a->pairs[layer * SHOAL_N_PROJ + (size_t)p];
}

shoal_status shoal_adapter_manifest(const shoal_adapter *a, shoal_buf *out, shoal_error *err)
{
    const shoal_config *c = &a->cfg;
    uint32_t alpha_bits = 0;
    memcpy(&alpha_bits, &a->spec.alpha, sizeof alpha_bits);
    shoal_buf_putf(out, "shoal adapter 1\narch %s\nlayers %zu\nembd %zu\n", c->arch, c->n_layer,
                   c->n_embd);
    shoal_buf_putf(out, "heads %zu\nheads_kv %zu\nhead_dim %zu\nff %zu\nvocab %zu\n", c->n_head,
                   c->n_head_kv, c->head_dim, c->n_ff, c->n_vocab);
    /* Bits, because decimal text of a float depends on who prints it. */
    shoal_buf_putf(out, "rank %zu\nalpha 0x%08x\nfirst_layer %zu\ntargets", a->spec.rank,
                   (unsigned)alpha_bits, a->spec.first_layer);
    for (size_t p = 0; p < SHOAL_N_PROJ; p++) {
        if (((a->spec.targets >> p) & 1u) != 0) {
            shoal_buf_putf(out, " %s", shoal_proj_gguf_name((shoal_proj)p));
            if (a->spec.ranks[p] != 0) {
                shoal_buf_putf(out, ":%zu", a->spec.ranks[p]);
            }
        }
    }
    shoal_buf_putf(out, "\norder layer projection a b\ntype f32\nparams %zu\n", a->n_params);
    return shoal_buf_status(out, err);
}

void shoal_rope_rows_from_peft(const float *in, float *out, size_t heads, size_t E, size_t cols)
{
    for (size_t h = 0; h < heads; h++) {
        for (size_t j = 0; j < E / 2; j++) {
            const float *src = in + (h * E + j) * cols;
            float *dst = out + (h * E + 2 * j) * cols;
            memcpy(dst, src, cols * sizeof *dst);
            memcpy(dst + cols, src + E / 2 * cols, cols * sizeof *dst);
        }
    }
}

void shoal_rope_rows_to_peft(const float *in, float *out, size_t heads, size_t E, size_t cols)
{
    for (size_t h = 0; h < heads; h++) {
        for (size_t j = 0; j < E / 2; j++) {
            const float *src = in + (h * E + 2 * j) * cols;
            float *dst = out + (h * E + j) * cols;
            memcpy(dst, src, cols * sizeof *dst);
            memcpy(dst + E / 2 * cols, src + cols, cols * sizeof *dst);
        }
    }
}
