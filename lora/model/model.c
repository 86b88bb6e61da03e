/* model.c - binds the tensors of a GGUF file to the roles they play, checking every shape. */
#include "lora/model/model.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "lora/model/gguf.h"
#include "lora/model/tokenizer.h"

enum {
    MAX_LAYERS = 1024,
    MAX_WIDTH = 1 << 20, /* of any dimension but the vocabulary's */
    COLUMN_BLOCK = 32,   /* activations are handled in blocks of this many */
    NAME_BYTES = 96
};

/* What differs between architectures. */
typedef struct arch {
    const char *name; /* general.architecture and prefix of its keys */
    shoal_rope_style rope_style;
} arch;

static const arch ARCHS[] = {
    {"llama", SHOAL_ROPE_PAIRS},
};

/* ---- projections ------------------------------------------------------------------------------
 */

static const struct {
    const char *gguf, *peft;
} PROJ_NAMES[SHOAL_N_PROJ] = {
    [SHOAL_PROJ_Q] = {"attn_q", "q_proj"},         [SHOAL_PROJ_K] = {"attn_k", "k_proj"},
    [SHOAL_PROJ_V] = {"attn_v", "v_proj"},         [SHOAL_PROJ_O] = {"attn_output", "o_proj"},
    [SHOAL_PROJ_GATE] = {"ffn_gate", "gate_proj"}, [SHOAL_PROJ_UP] = {"ffn_up", "up_proj"},
    [SHOAL_PROJ_DOWN] = {"ffn_down", "down_proj"},
};

const char *shoal_proj_gguf_name(shoal_proj p)
{
    return PROJ_NAMES[p].gguf;
}

const char *shoal_proj_peft_name(shoal_proj p)
{
    return PROJ_NAMES[p].peft;
}

void shoal_config_proj_shape(const shoal_config *cfg, shoal_proj p, size_t *rows, size_t *cols)
{
    size_t q_width = cfg->n_head * cfg->head_dim;
    size_t kv_width = cfg->n_head_kv * cfg->head_dim;
    *cols = p == SHOAL_PROJ_O ? q_width : p == SHOAL_PROJ_DOWN ? cfg->n_ff : cfg->n_embd;
    switch (p) {
    case SHOAL_PROJ_Q: *rows = q_width; break;
    case SHOAL_PROJ_K:
    case SHOAL_PROJ_V: *rows = kv_width; break;
    case SHOAL_PROJ_GATE:
    case SHOAL_PROJ_UP: *rows = cfg->n_ff; break;
    default: *rows = cfg->n_embd; break;
    }
}

/* ---- configuration ----------------------------------------------------------------------------
 */

/* "llama" and "block_count" to "llama.block_count". */
typedef struct key_name {
    char text[NAME_BYTES];
} key_name;

static key_name key_of(const char *arch_name, const char *key)
{
    key_name k;
    (void)snprintf(k.text, sizeof k.text, "%s.%s", arch_name, key);
    return k;
}

static shoal_status unsupported(const shoal_gguf *g, shoal_error *err, const char *what)
{
    (void)shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "%s: %s", shoal_gguf_name(g), what);
    shoal_hint(err,
               "this build computes plain llama models (RoPE, RMSNorm, SwiGLU, grouped heads)");
    return SHOAL_ERR_UNSUPPORTED;
}

static shoal_status find_arch(const shoal_gguf *g, const arch **out, shoal_error *err)
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
static shoal_status get_size(const shoal_gguf *g, const arch *a, const char *key, uint64_t max,
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

static shoal_status get_positive(const shoal_gguf *g, const arch *a, const char *key,
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

/* Things that would make the plain computation silently wrong. */
static shoal_status refuse_variants(const shoal_gguf *g, const arch *a, const shoal_config *cfg,
                                    shoal_error *err)
{
    size_t rope_dims = 0;
    SHOAL_TRY(get_size(g, a, "rope.dimension_count", MAX_WIDTH, cfg->head_dim, &rope_dims, err));
    if (rope_dims != cfg->head_dim)
        return unsupported(g, err, "it rotates only a part of each head");
    key_name experts = key_of(a->name, "expert_count");
    uint64_t n_experts = 0;
    shoal_status st = shoal_gguf_get_uint(g, experts.text, UINT64_MAX, &n_experts, err);
    if (st != SHOAL_OK && st != SHOAL_ERR_NOT_FOUND) return st;
    if (n_experts > 0) return unsupported(g, err, "it is a mixture of experts");
    key_name scaling = key_of(a->name, "rope.scaling.type");
    shoal_str kind = {"none", 4};
    st = shoal_gguf_get_str(g, scaling.text, &kind, err);
    if (st != SHOAL_OK && st != SHOAL_ERR_NOT_FOUND) return st;
    if (!shoal_str_eq(kind, "none")) return unsupported(g, err, "it scales its rotations");
    return SHOAL_OK;
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

static shoal_status read_config(shoal_config *cfg, const shoal_gguf *g, shoal_error *err)
{
    const arch *a = NULL;
    SHOAL_TRY(find_arch(g, &a, err));
    copy_text(cfg->arch, sizeof cfg->arch, shoal_str_of(a->name));
    shoal_str name = {"", 0};
    shoal_status st = shoal_gguf_get_str(g, "general.name", &name, err);
    if (st != SHOAL_OK && st != SHOAL_ERR_NOT_FOUND) return st;
    copy_text(cfg->name, sizeof cfg->name, name);
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
    SHOAL_TRY(get_positive(g, a, "rope.freq_base", 10000.0f, &cfg->rope_base, err));
    SHOAL_TRY(get_positive(g, a, "attention.layer_norm_rms_epsilon", 0.0f, &cfg->norm_eps, err));
    cfg->rope_style = a->rope_style;
    SHOAL_TRY(check_sizes(g, cfg, err));
    return refuse_variants(g, a, cfg, err);
}

/* ---- weights ----------------------------------------------------------------------------------
 */

/* While binding: counts the tensors used, so that one nobody asked for is noticed. */
typedef struct binder {
    shoal_model *m;
    size_t used;
    shoal_error *err;
} binder;

static shoal_status bind_mat(binder *b, const char *name, size_t rows, size_t cols, shoal_mat *out)
{
    b->used++;
    shoal_status st = shoal_gguf_get_mat(b->m->gguf, name, rows, cols, out, b->err);
    return st == SHOAL_ERR_NOT_FOUND ? SHOAL_ERR_FORMAT : st;
}

/* A vector of f32. */
static shoal_status bind_vec(binder *b, const char *name, size_t n, const float **out)
{
    shoal_mat mat;
    SHOAL_TRY(bind_mat(b, name, 1, n, &mat));
    if (mat.type != SHOAL_TYPE_F32) {
        return shoal_fail(b->err, SHOAL_ERR_UNSUPPORTED, "%s: tensor '%s' is not F32",
                          shoal_gguf_name(b->m->gguf), name);
    }
    *out = mat.data;
    return SHOAL_OK;
}

static shoal_status bind_layer(binder *b, size_t layer)
{
    shoal_layer *l = &b->m->layers[layer];
    const shoal_config *cfg = &b->m->cfg;
    char name[NAME_BYTES];
    (void)snprintf(name, sizeof name, "blk.%zu.attn_norm.weight", layer);
    SHOAL_TRY(bind_vec(b, name, cfg->n_embd, &l->attn_norm));
    (void)snprintf(name, sizeof name, "blk.%zu.ffn_norm.weight", layer);
    SHOAL_TRY(bind_vec(b, name, cfg->n_embd, &l->ffn_norm));
    for (shoal_proj p = 0; p < SHOAL_N_PROJ; p++) {
        size_t rows = 0;
        size_t cols = 0;
        shoal_config_proj_shape(cfg, p, &rows, &cols);
        (void)snprintf(name, sizeof name, "blk.%zu.%s.weight", layer, PROJ_NAMES[p].gguf);
        SHOAL_TRY(bind_mat(b, name, rows, cols, &l->proj[p]));
    }
    return SHOAL_OK;
}

/* Rotation speeds base^(-2j/E) (Su et al. 2021, 3.2.2), divided by the file's own factors when it
 * has some (tensor rope_freqs.weight). */
static shoal_status bind_rope(binder *b)
{
    const shoal_config *cfg = &b->m->cfg;
    size_t half = cfg->head_dim / 2;
    const float *factors = NULL;
    if (shoal_gguf_find_tensor(b->m->gguf, "rope_freqs.weight") != NULL) {
        SHOAL_TRY(bind_vec(b, "rope_freqs.weight", half, &factors));
    }
    float *inv_freq = shoal_calloc(half, sizeof *inv_freq);
    if (inv_freq == NULL) return shoal_fail(b->err, SHOAL_ERR_NOMEM, "out of memory");
    b->m->inv_freq = inv_freq;
    for (size_t j = 0; j < half; j++) {
        double power = -2.0 * (double)j / (double)cfg->head_dim;
        double factor = factors == NULL ? 1.0 : (double)factors[j];
        inv_freq[j] = (float)(pow((double)cfg->rope_base, power) / factor);
        if (!isfinite(inv_freq[j])) {
            return shoal_fail(b->err, SHOAL_ERR_FORMAT, "%s: a rotation factor is not finite",
                              shoal_gguf_name(b->m->gguf));
        }
    }
    return SHOAL_OK;
}

static shoal_status bind(shoal_model *m, shoal_error *err)
{
    binder b = {m, 0, err};
    shoal_config *cfg = &m->cfg;
    cfg->n_vocab = shoal_tokenizer_vocab(m->tok);
    m->layers = shoal_calloc(cfg->n_layer, sizeof *m->layers);
    if (m->layers == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    SHOAL_TRY(bind_mat(&b, "token_embd.weight", cfg->n_vocab, cfg->n_embd, &m->embd));
    SHOAL_TRY(bind_vec(&b, "output_norm.weight", cfg->n_embd, &m->out_norm));
    m->head = m->embd;
    if (shoal_gguf_find_tensor(m->gguf, "output.weight") != NULL) {
        SHOAL_TRY(bind_mat(&b, "output.weight", cfg->n_vocab, cfg->n_embd, &m->head));
    }
    for (size_t i = 0; i < cfg->n_layer; i++) {
        SHOAL_TRY(bind_layer(&b, i));
    }
    SHOAL_TRY(bind_rope(&b));
    if (b.used != shoal_gguf_tensor_count(m->gguf)) {
        return unsupported(m->gguf, err, "it has tensors that a plain model does not have");
    }
    return SHOAL_OK;
}

/* ---- fingerprint ------------------------------------------------------------------------------
 */

static uint64_t mix(uint64_t h, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++) {
        h = (h ^ (v & 0xff)) * 0x100000001b3u; /* FNV-1a */
        v >>= 8;
    }
    return h;
}

/* Shape, type, and 64 words spread over the matrix. */
static uint64_t mix_mat(uint64_t h, const shoal_mat *w)
{
    h = mix(mix(mix(h, (uint64_t)w->type), w->rows), w->cols);
    size_t words = w->rows * w->row_bytes / sizeof(uint64_t);
    size_t step = words / 64 + 1;
    for (size_t i = 0; i < words; i += step) {
        uint64_t v = 0;
        memcpy(&v, (const unsigned char *)w->data + i * sizeof v, sizeof v);
        h = mix(h, v);
    }
    return h;
}

static uint64_t fingerprint(const shoal_model *m)
{
    const shoal_config *cfg = &m->cfg;
    uint64_t h = 0xcbf29ce484222325u;
    const size_t sizes[] = {cfg->n_layer,  cfg->n_embd, cfg->n_head,  cfg->n_head_kv,
                            cfg->head_dim, cfg->n_ff,   cfg->n_vocab, (size_t)cfg->rope_style};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        h = mix(h, sizes[i]);
    }
    h = mix_mat(h, &m->embd);
    h = mix_mat(h, &m->head);
    for (size_t i = 0; i < cfg->n_layer; i++) {
        for (size_t p = 0; p < SHOAL_N_PROJ; p++) {
            h = mix_mat(h, &m->layers[i].proj[p]);
        }
    }
    return h == 0 ? 1 : h; /* 0 means unknown in adapter files */
}

/* ---- open -------------------------------------------------------------------------------------
 */

static shoal_status load(shoal_model *m, const char *path, shoal_error *err)
{
    SHOAL_TRY(shoal_gguf_open(&m->gguf, path, err));
    SHOAL_TRY(read_config(&m->cfg, m->gguf, err));
    shoal_status st = shoal_tokenizer_open(&m->tok, m->gguf, err);
    if (st != SHOAL_OK) return st == SHOAL_ERR_NOT_FOUND ? SHOAL_ERR_FORMAT : st;
    SHOAL_TRY(bind(m, err));
    m->fingerprint = fingerprint(m);
    return SHOAL_OK;
}

shoal_status shoal_model_open(shoal_model **out, const char *path, shoal_error *err)
{
    *out = NULL;
    shoal_model *m = shoal_calloc(1, sizeof *m);
    if (m == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    shoal_status st = load(m, path, err);
    if (st != SHOAL_OK) {
        shoal_model_close(m);
        return st;
    }
    *out = m;
    return SHOAL_OK;
}

void shoal_model_close(shoal_model *m)
{
    if (m == NULL) return;
    union {
        const float *in;
        float *out;
    } inv_freq = {m->inv_freq}; /* ours, though readers see it const */
    shoal_free(inv_freq.out);
    shoal_free(m->layers);
    shoal_tokenizer_close(m->tok);
    shoal_gguf_close(m->gguf);
    shoal_free(m);
}
