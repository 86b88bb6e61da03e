/* model.c - binds the tensors of a GGUF file to the roles they play, checking every shape. */
#include "lora/model/model.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "lora/model/arch.h"
#include "lora/model/gguf.h"
#include "lora/model/residency.h"
#include "lora/model/tokenizer.h"

enum { NAME_BYTES = 96 };

struct shoal_model_lazy {
    _Atomic uint64_t fingerprint; /* 0: not yet known. Two threads may work it out at once: to the
                                     same value. */
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

/* The vector blk.<layer>.<stem>. */
static shoal_status bind_layer_vec(binder *b, size_t layer, const char *stem, size_t n,
                                   const float **out)
{
    char name[NAME_BYTES];
    (void)snprintf(name, sizeof name, "blk.%zu.%s", layer, stem);
    return bind_vec(b, name, n, out);
}

/* What only some families have. */
static shoal_status bind_layer_extras(binder *b, size_t layer)
{
    static const char *const BIAS[] = {"attn_q.bias", "attn_k.bias", "attn_v.bias"};
    const shoal_config *cfg = &b->m->cfg;
    shoal_layer *l = &b->m->layers[layer];
    for (size_t i = 0; i < 3 && cfg->qkv_bias; i++) {
        size_t rows = (i == 0 ? cfg->n_head : cfg->n_head_kv) * cfg->head_dim;
        SHOAL_TRY(bind_layer_vec(b, layer, BIAS[i], rows, &l->bias[i]));
    }
    if (cfg->qk_norm) {
        SHOAL_TRY(bind_layer_vec(b, layer, "attn_q_norm.weight", cfg->head_dim, &l->q_norm));
        SHOAL_TRY(bind_layer_vec(b, layer, "attn_k_norm.weight", cfg->head_dim, &l->k_norm));
    }
    if (cfg->post_norms) {
        SHOAL_TRY(bind_layer_vec(b, layer, "post_attention_norm.weight", cfg->n_embd,
                                 &l->post_attn_norm));
        SHOAL_TRY(bind_layer_vec(b, layer, "post_ffw_norm.weight", cfg->n_embd, &l->post_ffn_norm));
    }
    return SHOAL_OK;
}

static shoal_status bind_layer(binder *b, size_t layer)
{
    shoal_layer *l = &b->m->layers[layer];
    const shoal_config *cfg = &b->m->cfg;
    l->local =
        cfg->window != 0 && (cfg->window_period == 0 || (layer + 1) % cfg->window_period != 0);
    SHOAL_TRY(bind_layer_vec(b, layer, "attn_norm.weight", cfg->n_embd, &l->attn_norm));
    SHOAL_TRY(bind_layer_vec(b, layer, "ffn_norm.weight", cfg->n_embd, &l->ffn_norm));
    for (shoal_proj p = 0; p < SHOAL_N_PROJ; p++) {
        char name[NAME_BYTES];
        size_t rows = 0;
        size_t cols = 0;
        shoal_config_proj_shape(cfg, p, &rows, &cols);
        (void)snprintf(name, sizeof name, "blk.%zu.%s.weight", layer, PROJ_NAMES[p].gguf);
        SHOAL_TRY(bind_mat(b, name, rows, cols, &l->proj[p]));
    }
    return bind_layer_extras(b, layer);
}

/* Rotation speeds base^(-2j/E) (Su et al. 2021, 3.2.2) over `scale` and over the file's own
 * factors, when it has some. */
static shoal_status make_speeds(binder *b, float base, float scale, const float *factors,
                                const float **out)
{
    size_t half = b->m->cfg.head_dim / 2;
    float *inv_freq = shoal_calloc(half, sizeof *inv_freq);
    if (inv_freq == NULL) return shoal_fail(b->err, SHOAL_ERR_NOMEM, "out of memory");
    *out = inv_freq;
    for (size_t j = 0; j < half; j++) {
        double power = -2.0 * (double)j / (double)b->m->cfg.head_dim;
        double factor = (double)scale * (factors == NULL ? 1.0 : (double)factors[j]);
        inv_freq[j] = (float)(pow((double)base, power) / factor);
        if (!isfinite(inv_freq[j])) {
            return shoal_fail(b->err, SHOAL_ERR_FORMAT, "%s: a rotation factor is not finite",
                              shoal_gguf_name(b->m->gguf));
        }
    }
    return SHOAL_OK;
}

static shoal_status bind_rope(binder *b)
{
    const shoal_config *cfg = &b->m->cfg;
    const float *factors = NULL;
    if (shoal_gguf_find_tensor(b->m->gguf, "rope_freqs.weight") != NULL) {
        SHOAL_TRY(bind_vec(b, "rope_freqs.weight", cfg->head_dim / 2, &factors));
    }
    SHOAL_TRY(make_speeds(b, cfg->rope_base, cfg->rope_scale, factors, &b->m->inv_freq));
    b->m->inv_freq_local = b->m->inv_freq;
    if (cfg->rope_base_local == 0.0f) return SHOAL_OK;
    b->m->inv_freq_local = NULL; /* until it is made: close must not see the same array twice */
    return make_speeds(b, cfg->rope_base_local, 1.0f, NULL, &b->m->inv_freq_local);
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
        shoal_fail(err, SHOAL_ERR_UNSUPPORTED,
                   "%s: it has tensors that a plain %s model does not have",
                   shoal_gguf_name(m->gguf), cfg->arch);
        shoal_hint(err, "ignoring them would give wrong answers, so the file is refused");
        return SHOAL_ERR_UNSUPPORTED;
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

/* Little-endian word i of the matrix in its plain form: a packed file has the same fingerprint, so
 * adapters fit both. */
static uint64_t plain_word(const shoal_mat *w, size_t i)
{
    uint64_t v = 0;
    for (size_t b = 0; b < sizeof v; b++) {
        v |= (uint64_t)shoal_mat_plain_byte(w, i * sizeof v + b) << 8 * b;
    }
    return v;
}

/* Shape, type, and 64 words spread over the matrix, which does not stay in memory for their sake.
 */
static uint64_t mix_mat(const shoal_model *m, uint64_t h, const shoal_mat *w)
{
    h = mix(mix(mix(h, (uint64_t)shoal_type_plain(w->type)), w->rows), w->cols);
    size_t words = w->rows * w->row_bytes / sizeof(uint64_t);
    size_t step = words / 64 + 1;
    for (size_t i = 0; i < words; i += step) {
        h = mix(h, plain_word(w, i));
    }
    shoal_pages_drop(shoal_gguf_mapping(m->gguf), w->data, w->rows * w->row_bytes);
    return h;
}

static uint64_t make_fingerprint(const shoal_model *m)
{
    const shoal_config *cfg = &m->cfg;
    uint64_t h = 0xcbf29ce484222325u;
    const size_t sizes[] = {cfg->n_layer,  cfg->n_embd, cfg->n_head,  cfg->n_head_kv,
                            cfg->head_dim, cfg->n_ff,   cfg->n_vocab, (size_t)cfg->rope_style};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        h = mix(h, sizes[i]);
    }
    h = mix_mat(m, h, &m->embd);
    h = mix_mat(m, h, &m->head);
    for (size_t i = 0; i < cfg->n_layer; i++) {
        for (size_t p = 0; p < SHOAL_N_PROJ; p++) {
            h = mix_mat(m, h, &m->layers[i].proj[p]);
        }
    }
    return h == 0 ? 1 : h; /* 0 means unknown in adapter files */
}

uint64_t shoal_model_fingerprint(const shoal_model *m)
{
    uint64_t h = atomic_load_explicit(&m->lazy->fingerprint, memory_order_relaxed);
    if (h == 0) {
        h = make_fingerprint(m);
        atomic_store_explicit(&m->lazy->fingerprint, h, memory_order_relaxed);
    }
    return h;
}

/* ---- open -------------------------------------------------------------------------------------
 */

static shoal_status load(shoal_model *m, const char *path, shoal_page_size pages, shoal_error *err)
{
    SHOAL_TRY(shoal_gguf_open_pages(&m->gguf, path, pages, err));
    SHOAL_TRY(shoal_config_read(&m->cfg, m->gguf, err));
    shoal_status st = shoal_tokenizer_open(&m->tok, m->gguf, err);
    if (st != SHOAL_OK) return st == SHOAL_ERR_NOT_FOUND ? SHOAL_ERR_FORMAT : st;
    SHOAL_TRY(bind(m, err));
    /* The vocabulary was copied and is most of what was touched so far: megabytes that nobody reads
     * again need not stay. */
    shoal_mapping map = shoal_gguf_mapping(m->gguf);
    shoal_pages_drop(map, map.p, map.n);
    return SHOAL_OK;
}

shoal_status shoal_model_open(shoal_model **out, const char *path, shoal_error *err)
{
    return shoal_model_open_pages(out, path, SHOAL_PAGES_HUGE, err);
}

shoal_status shoal_model_open_pages(shoal_model **out, const char *path, shoal_page_size pages,
                                    shoal_error *err)
{
    *out = NULL;
    shoal_model *m = shoal_calloc(1, sizeof *m);
    if (m == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    m->lazy = shoal_calloc(1, sizeof *m->lazy);
    shoal_status st = m->lazy == NULL ? shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory")
                                      : load(m, path, pages, err);
    if (st != SHOAL_OK) {
        shoal_model_close(m);
        return st;
    }
    *out = m;
    return SHOAL_OK;
}

/* Frees what is ours, though readers see it const. */
static void free_const(const float *p)
{
    union {
        const float *in;
        float *out;
    } both = {p};
    shoal_free(both.out);
}

void shoal_model_close(shoal_model *m)
{
    if (m == NULL) return;
    shoal_residency_close(m);
    shoal_free(m->lazy);
    if (m->inv_freq_local != m->inv_freq) free_const(m->inv_freq_local);
    free_const(m->inv_freq);
    shoal_free(m->layers);
    shoal_tokenizer_close(m->tok);
    shoal_gguf_close(m->gguf);
    shoal_free(m);
}

/* ---- embedding --------------------------------------------------------------------------------
 */

void shoal_model_embed(const shoal_model *m, int32_t id, float *out)
{
    shoal_mat_row(&m->embd, (size_t)id, out);
    float scale = m->cfg.embd_scale;
    for (size_t i = 0; i < m->cfg.n_embd && scale != 1.0f; i++) {
        out[i] *= scale;
    }
    if (m->residency == NULL) return;
    size_t first = (size_t)id / 8 * 8; /* packed rows lie in groups of eight */
    size_t left = m->embd.rows - first;
    shoal_mat group = shoal_mat_rows(&m->embd, first, left < 8 ? left : 8);
    shoal_residency_touched(m, group.data, group.rows * group.row_bytes);
}
