/* arch.c - the table of families, and reading a file's configuration. */
#include "lora/model/arch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_LAYERS = 1024,
    MAX_WIDTH = 1 << 20, /* of any dimension but the vocabulary's */
    COLUMN_BLOCK = 32,   /* activations are handled in blocks of this many */
    NAME_BYTES = 96
};

/* What differs between families, beyond what the files themselves say. */
typedef struct family {
    const char *name; /* general.architecture and prefix of its keys */
    shoal_rope_style rope_style;
    shoal_glu glu;
    bool qkv_bias, qk_norm, post_norms;
    bool embd_times_sqrt_width;
    bool windowed;         /* attention.sliding_window counts; period 0: in all layers */
    size_t window_period;  /* unless the file says another */
    float rope_base_local; /* of local layers unless the file says another; 0: as global ones */
    size_t width_scale_at; /* with this many layers scores are scaled by the width over heads, not
                              by the head's; files do not say so */
} family;

static const family ARCHS[] = {
    /* Llama, SmolLM2, Mistral (Jiang et al. 2023: a window in all layers, when the file has one) */
    {.name = "llama", .rope_style = SHOAL_ROPE_PAIRS, .windowed = true},
    /* Qwen 2 and 2.5 (Yang et al. 2024) */
    {.name = "qwen2", .rope_style = SHOAL_ROPE_HALVES, .qkv_bias = true},
    /* Qwen 3, dense (Yang et al. 2025) */
    {.name = "qwen3", .rope_style = SHOAL_ROPE_HALVES, .qk_norm = true},
    /* Gemma 3, text (Gemma Team 2025): five local layers to a global one; norm weights are stored
     * with their 1 added */
    {.name = "gemma3",
     .rope_style = SHOAL_ROPE_HALVES,
     .glu = SHOAL_GLU_GELU,
     .qk_norm = true,
     .post_norms = true,
     .embd_times_sqrt_width = true,
     .windowed = true,
     .window_period = 6,
     .rope_base_local = 10000.0f,
     .width_scale_at = 62},
};

/* ---- configuration ----------------------------------------------------------------------------
 */

/* "llama" and "block_count" to "llama.block_count". */
typedef struct key_name {
    char text[NAME_BYTES];
} key_name;

static key_name key_of(const char *family_name, const char *key)
{
    key_name k;
    (void)snprintf(k.text, sizeof k.text, "%s.%s", family_name, key);
    return k;
}

static shoal_status unsupported(const shoal_gguf *g, shoal_error *err, const char *what)
{
    (void)shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "%s: %s", shoal_gguf_name(g), what);
    shoal_hint(
        err,
        "this build computes dense models of the families llama, mistral, qwen2, qwen3, gemma3");
    return SHOAL_ERR_UNSUPPORTED;
}

static shoal_status find_arch(const shoal_gguf *g, const family **out, shoal_error *err)
{
    shoal_str name = {"", 0};
    SHOAL_TRY(shoal_gguf_get_str(g, "general.architecture", &name, err));
    shoal_str type = {"", 0};
    if (shoal_gguf_find(g, "general.type") != NULL) {
        SHOAL_TRY(shoal_gguf_get_str(g, "general.type", &type, err));
    }
    if (shoal_str_eq(type, "adapter")) {
        (void)shoal_fail(err, SHOAL_ERR_FORMAT, "%s: is an adapter, not a model",
                         shoal_gguf_name(g));
        shoal_hint(err, "give it with -a and the model it belongs to with -m");
        return SHOAL_ERR_FORMAT;
    }
    for (size_t i = 0; i < sizeof ARCHS / sizeof ARCHS[0]; i++) {
        if (shoal_str_eq(name, ARCHS[i].name)) {
            *out = &ARCHS[i];
            return SHOAL_OK;
        }
    }
    return unsupported(g, err, "its architecture is not supported");
}

/* A size in [1, max]; a missing key gives `fallback` unless that is 0. */
static shoal_status get_size(const shoal_gguf *g, const family *a, const char *key, uint64_t max,
                             size_t fallback, size_t *out, shoal_error *err)
{
    key_name k = key_of(a->name, key);
    uint64_t v = 0;
    shoal_status st = shoal_gguf_get_uint(g, k.text, max, &v, err);
    if (st == SHOAL_ERR_NOT_FOUND && fallback != 0) {
        *out = fallback;
        return SHOAL_OK;
    }
    if (st == SHOAL_ERR_NOT_FOUND) st = SHOAL_ERR_FORMAT; /* a model without it is no model */
    if (st != SHOAL_OK) return st;
    if (v == 0)
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: '%s' is 0", shoal_gguf_name(g), k.text);
    *out = (size_t)v;
    return SHOAL_OK;
}

static shoal_status get_positive(const shoal_gguf *g, const family *a, const char *key,
                                 float fallback, float *out, shoal_error *err)
{
    key_name k = key_of(a->name, key);
    shoal_status st = shoal_gguf_get_f32(g, k.text, out, err);
    if (st == SHOAL_ERR_NOT_FOUND && fallback > 0.0f) {
        *out = fallback;
        return SHOAL_OK;
    }
    if (st == SHOAL_ERR_NOT_FOUND) st = SHOAL_ERR_FORMAT;
    if (st != SHOAL_OK) return st;
    if (!(*out > 0.0f) || !isfinite(*out)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: '%s' is not a positive number",
                          shoal_gguf_name(g), k.text);
    }
    return SHOAL_OK;
}

/* An optional number above 0; `*out` keeps its value when the file has none. */
static shoal_status get_optional(const shoal_gguf *g, const family *a, const char *key, float *out,
                                 shoal_error *err)
{
    key_name k = key_of(a->name, key);
    if (shoal_gguf_find(g, k.text) == NULL) return SHOAL_OK;
    return get_positive(g, a, key, 0.0f, out, err);
}

/* ---- rotations --------------------------------------------------------------------------------
 */

/* No scaling, or positions divided by a factor. */
static shoal_status read_rope_scale(shoal_config *cfg, const shoal_gguf *g, const family *a,
                                    shoal_error *err)
{
    key_name key = key_of(a->name, "rope.scaling.type");
    shoal_str kind = {"none", 4};
    shoal_status st = shoal_gguf_get_str(g, key.text, &kind, err);
    if (st != SHOAL_OK && st != SHOAL_ERR_NOT_FOUND) return st;
    cfg->rope_scale = 1.0f;
    if (shoal_str_eq(kind, "linear")) {
        return get_positive(g, a, "rope.scaling.factor", 0.0f, &cfg->rope_scale, err);
    }
    if (!shoal_str_eq(kind, "none"))
        return unsupported(g, err, "it scales its rotations in another way than by a factor");
    return SHOAL_OK;
}

static shoal_status read_rope(shoal_config *cfg, const shoal_gguf *g, const family *a,
                              shoal_error *err)
{
    size_t rope_dims = 0;
    SHOAL_TRY(get_size(g, a, "rope.dimension_count", MAX_WIDTH, cfg->head_dim, &rope_dims, err));
    if (rope_dims != cfg->head_dim)
        return unsupported(g, err, "it rotates only a part of each head");
    cfg->rope_style = a->rope_style;
    SHOAL_TRY(get_positive(g, a, "rope.freq_base", 10000.0f, &cfg->rope_base, err));
    cfg->rope_base_local = a->rope_base_local;
    if (a->rope_base_local > 0.0f) {
        SHOAL_TRY(get_optional(g, a, "rope.freq_base_swa", &cfg->rope_base_local, err));
    }
    return read_rope_scale(cfg, g, a, err);
}

/* ---- sliding window ---------------------------------------------------------------------------
 */

/* A list that says of each layer whether it is local: as a period, which is all that occurs. */
static shoal_status period_of_list(shoal_config *cfg, const shoal_gguf *g,
                                   const shoal_gguf_kv *list, shoal_error *err)
{
    if (list->elem != SHOAL_GGUF_BOOL || list->n != cfg->n_layer) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: its list of local layers has another length",
                          shoal_gguf_name(g));
    }
    size_t global = 0;
    while (global < list->n && list->data[global] != 0) {
        global++;
    }
    cfg->window_period = global < list->n ? global + 1 : 0;
    for (size_t i = 0; i < list->n; i++) {
        bool is_local = cfg->window_period == 0 || (i + 1) % cfg->window_period != 0;
        if ((list->data[i] != 0) != is_local)
            return unsupported(g, err, "its local layers follow no period");
    }
    return SHOAL_OK;
}

static shoal_status read_window(shoal_config *cfg, const shoal_gguf *g, const family *a,
                                shoal_error *err)
{
    key_name key = key_of(a->name, "attention.sliding_window");
    uint64_t width = 0;
    shoal_status st = shoal_gguf_get_uint(g, key.text, UINT32_MAX, &width, err);
    if (st != SHOAL_OK && st != SHOAL_ERR_NOT_FOUND) return st;
    if (!a->windowed) {
        return width == 0 || width >= cfg->n_ctx /* sees everything */
                   ? SHOAL_OK
                   : unsupported(g, err, "it does not say which of its layers have a window");
    }
    if (width == 0) {
        cfg->rope_base_local = 0.0f; /* no layer is local */
        return SHOAL_OK;
    }
    cfg->window = (size_t)width;
    cfg->window_period = a->window_period;
    key = key_of(a->name, "attention.sliding_window_pattern");
    const shoal_gguf_kv *pattern = shoal_gguf_find(g, key.text);
    if (pattern == NULL) return SHOAL_OK;
    if (pattern->type == SHOAL_GGUF_ARRAY) return period_of_list(cfg, g, pattern, err);
    return get_size(g, a, "attention.sliding_window_pattern", MAX_LAYERS, 0, &cfg->window_period,
                    err);
}

/* ---- the rest ---------------------------------------------------------------------------------
 */

static shoal_status read_scales(shoal_config *cfg, const shoal_gguf *g, const family *a,
                                shoal_error *err)
{
    size_t per_head = cfg->head_dim;
    if (a->width_scale_at != 0 && cfg->n_layer == a->width_scale_at) {
        per_head = cfg->n_embd / cfg->n_head;
    }
    cfg->attn_scale = 1.0f / sqrtf((float)per_head);
    cfg->embd_scale = a->embd_times_sqrt_width ? sqrtf((float)cfg->n_embd) : 1.0f;
    SHOAL_TRY(get_optional(g, a, "attention.scale", &cfg->attn_scale, err));
    SHOAL_TRY(get_optional(g, a, "attn_logit_softcapping", &cfg->attn_softcap, err));
    return get_optional(g, a, "final_logit_softcapping", &cfg->logit_softcap, err);
}

static shoal_status refuse_experts(const shoal_gguf *g, const family *a, shoal_error *err)
{
    key_name experts = key_of(a->name, "expert_count");
    uint64_t n_experts = 0;
    shoal_status st = shoal_gguf_get_uint(g, experts.text, UINT64_MAX, &n_experts, err);
    if (st != SHOAL_OK && st != SHOAL_ERR_NOT_FOUND) return st;
    return n_experts > 0 ? unsupported(g, err, "it is a mixture of experts") : SHOAL_OK;
}

/* Relations between sizes that the kernels rely on. */
static shoal_status check_sizes(const shoal_gguf *g, const shoal_config *cfg, shoal_error *err)
{
    size_t q_width = cfg->n_head * cfg->head_dim;
    bool blocks = cfg->n_embd % COLUMN_BLOCK == 0 && q_width % COLUMN_BLOCK == 0 &&
                  cfg->n_ff % COLUMN_BLOCK == 0;
    if (!blocks || cfg->head_dim % 2 != 0 || cfg->n_head % cfg->n_head_kv != 0) {
        return unsupported(g, err, "its sizes are not multiples of 32, or its heads do not divide");
    }
    if (cfg->head_dim > SHOAL_ATTN_MAX_E) {
        return unsupported(g, err, "its attention heads are too wide");
    }
    return SHOAL_OK;
}

static void copy_text(char *dst, size_t size, shoal_str s)
{
    size_t n = s.n < size - 1 ? s.n : size - 1;
    for (size_t i = 0; i < n; i++) {
        dst[i] = s.p[i] >= 0x20 && s.p[i] < 0x7f ? s.p[i] : '?'; /* it is shown on terminals */
    }
    dst[n] = '\0';
}

static shoal_status read_sizes(shoal_config *cfg, const shoal_gguf *g, const family *a,
                               shoal_error *err)
{
    SHOAL_TRY(get_size(g, a, "block_count", MAX_LAYERS, 0, &cfg->n_layer, err));
    SHOAL_TRY(get_size(g, a, "embedding_length", MAX_WIDTH, 0, &cfg->n_embd, err));
    SHOAL_TRY(get_size(g, a, "feed_forward_length", MAX_WIDTH, 0, &cfg->n_ff, err));
    SHOAL_TRY(get_size(g, a, "context_length", UINT32_MAX, 0, &cfg->n_ctx, err));
    SHOAL_TRY(get_size(g, a, "attention.head_count", MAX_WIDTH, 0, &cfg->n_head, err));
    SHOAL_TRY(
        get_size(g, a, "attention.head_count_kv", cfg->n_head, cfg->n_head, &cfg->n_head_kv, err));
    SHOAL_TRY(get_size(g, a, "attention.key_length", MAX_WIDTH, cfg->n_embd / cfg->n_head,
                       &cfg->head_dim, err));
    size_t value_dim = 0;
    SHOAL_TRY(get_size(g, a, "attention.value_length", MAX_WIDTH, cfg->head_dim, &value_dim, err));
    if (value_dim != cfg->head_dim)
        return unsupported(g, err, "its keys and values differ in width");
    return SHOAL_OK;
}

shoal_status shoal_config_read(shoal_config *cfg, const shoal_gguf *g, shoal_error *err)
{
    const family *a = NULL;
    *cfg = (shoal_config){0};
    SHOAL_TRY(find_arch(g, &a, err));
    copy_text(cfg->arch, sizeof cfg->arch, shoal_str_of(a->name));
    shoal_str name = {"", 0};
    shoal_status st = shoal_gguf_get_str(g, "general.name", &name, err);
    if (st != SHOAL_OK && st != SHOAL_ERR_NOT_FOUND) return st;
    copy_text(cfg->name, sizeof cfg->name, name);
    cfg->glu = a->glu;
    cfg->qkv_bias = a->qkv_bias;
    cfg->qk_norm = a->qk_norm;
    cfg->post_norms = a->post_norms;
    SHOAL_TRY(read_sizes(cfg, g, a, err));
    SHOAL_TRY(get_positive(g, a, "attention.layer_norm_rms_epsilon", 0.0f, &cfg->norm_eps, err));
    SHOAL_TRY(check_sizes(g, cfg, err));
    SHOAL_TRY(read_rope(cfg, g, a, err));
    SHOAL_TRY(read_window(cfg, g, a, err));
    SHOAL_TRY(read_scales(cfg, g, a, err));
    return refuse_experts(g, a, err);
}

/* ---- the gated unit ---------------------------------------------------------------------------
 */

void shoal_glu_fwd(const shoal_exec *ex, const shoal_config *cfg, const float *g, const float *u,
                   size_t n, float *y)
{
    if (cfg->glu == SHOAL_GLU_GELU) {
        shoal_geglu_fwd(ex, g, u, n, y);
    } else {
        shoal_swiglu_fwd(ex, g, u, n, y);
    }
}

void shoal_glu_bwd(const shoal_exec *ex, const shoal_config *cfg, const float *g, const float *u,
                   const float *dy, size_t n, float *dg, float *du)
{
    if (cfg->glu == SHOAL_GLU_GELU) {
        shoal_geglu_bwd(ex, g, u, dy, n, dg, du);
    } else {
        shoal_swiglu_bwd(ex, g, u, dy, n, dg, du);
    }
}
