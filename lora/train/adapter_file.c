/* adapter_file.c - adapters as GGUF files, the form llama.cpp's convert_lora_to_gguf.py writes. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "lora/model/gguf.h"
#include "lora/model/gguf_write.h"
#include "lora/train/adapter.h"
#include "lora/train/adapter_internal.h"

static const char KEY_ALPHA[] = "adapter.lora.alpha";
static const char KEY_FINGERPRINT[] = "shoal.base_fingerprint";
static const char KEY_BASE_NAME[] = "general.base_model.0.name";

enum { TENSOR_NAME_MAX = 96 };

/* "blk.3.attn_q.weight.lora_a"; side is 'a' or 'b'. */
static void format_name(char out[TENSOR_NAME_MAX], size_t layer, size_t proj, char side)
{
    (void)snprintf(out, TENSOR_NAME_MAX, "blk.%zu.%s.weight.lora_%c", layer,
                   shoal_proj_gguf_name((shoal_proj)proj), side);
}

static const char *name_of_model(const shoal_model *m)
{
    return m->cfg.name[0] != '\0' ? m->cfg.name : "this model";
}

/* Adds "this adapter belongs to X, not to Y" to an error about a misfit. */
static void hint_other_base(const shoal_gguf *g, const shoal_model *m, shoal_error *err)
{
    shoal_str base = shoal_str_of("another base model");
    shoal_error ignored = {0};
    if (shoal_gguf_get_str(g, KEY_BASE_NAME, &base, &ignored) != SHOAL_OK || base.n == 0) {
        base = shoal_str_of("another base model");
    }
    int n = base.n > 100 ? 100 : (int)base.n;
    shoal_hint(err, "this adapter belongs to %.*s, not to %s", n, base.p, name_of_model(m));
}

static shoal_status check_str(const shoal_gguf *g, const char *key, const char *want,
                              shoal_error *err)
{
    shoal_str got = {NULL, 0};
    SHOAL_TRY(shoal_gguf_get_str(g, key, &got, err));
    if (!shoal_str_eq(got, want)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: %s is \"%.*s\", not \"%s\"",
                          shoal_gguf_name(g), key, got.n > 64 ? 64 : (int)got.n, got.p, want);
    }
    return SHOAL_OK;
}

/* Says it is a LoRA adapter, and for a base of this architecture and fingerprint. */
static shoal_status check_kind(const shoal_gguf *g, const shoal_model *m, uint64_t *fingerprint,
                               shoal_error *err)
{
    shoal_status st = check_str(g, "general.type", "adapter", err);
    if (st != SHOAL_OK) {
        shoal_hint(err, "%s does not look like an adapter file", shoal_gguf_name(g));
        return st;
    }
    SHOAL_TRY(check_str(g, "adapter.type", "lora", err));
    st = check_str(g, "general.architecture", m->cfg.arch, err);
    if (st != SHOAL_OK) {
        hint_other_base(g, m, err);
        return st;
    }
    *fingerprint = 0;
    if (shoal_gguf_find(g, KEY_FINGERPRINT) == NULL) {
        return SHOAL_OK; /* written by another program; the shapes will have to do */
    }
    SHOAL_TRY(shoal_gguf_get_uint(g, KEY_FINGERPRINT, UINT64_MAX, fingerprint, err));
    if (*fingerprint != 0 && *fingerprint != shoal_model_fingerprint(m)) {
        st = shoal_fail(err, SHOAL_ERR_ARG, "%s was trained on other base weights",
                        shoal_gguf_name(g));
        hint_other_base(g, m, err);
    }
    return st;
}

/* Ranks, targets and lowest layer, from which tensors there are. */
static shoal_status find_spec(const shoal_gguf *g, const shoal_model *m, shoal_lora_spec *spec,
                              shoal_error *err)
{
    *spec = (shoal_lora_spec){.first_layer = m->cfg.n_layer};
    SHOAL_TRY(shoal_gguf_get_f32(g, KEY_ALPHA, &spec->alpha, err));
    for (size_t i = 0; i < m->cfg.n_layer * SHOAL_N_PROJ; i++) {
        size_t layer = i / SHOAL_N_PROJ;
        size_t proj = i % SHOAL_N_PROJ;
        char name[TENSOR_NAME_MAX];
        format_name(name, layer, proj, 'a');
        const shoal_gguf_tensor *t = shoal_gguf_find_tensor(g, name);
        if (t == NULL) {
            continue;
        }
        if (((spec->targets >> proj) & 1u) == 0) { /* the layers above must agree */
            spec->ranks[proj] = t->n_dims == 2 ? t->dims[1] : 1;
        }
        spec->targets |= 1u << proj;
        if (layer < spec->first_layer) {
            spec->first_layer = layer;
        }
    }
    if (spec->targets == 0) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "%s adapts no projection of this model",
                          shoal_gguf_name(g));
    }
    return SHOAL_OK;
}

/* Expands tensor `name`, which must be [rows, cols], into out. */
static shoal_status read_matrix(const shoal_gguf *g, const shoal_model *m, const char *name,
                                size_t rows, size_t cols, float *out, shoal_error *err)
{
    const shoal_gguf_tensor *t = shoal_gguf_find_tensor(g, name);
    if (t == NULL) {
        shoal_status st =
            shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "%s has no tensor %s", shoal_gguf_name(g), name);
        shoal_hint(err, "every adapted layer must adapt the same projections");
        return st;
    }
    size_t t_rows = t->n_dims >= 2 ? t->dims[1] : 1;
    if (t->n_dims > 2 || t_rows != rows || t->dims[0] != cols) {
        shoal_status st = shoal_fail(err, SHOAL_ERR_ARG, "%s: %s is %zu x %zu, expected %zu x %zu",
                                     shoal_gguf_name(g), name, t_rows, t->dims[0], rows, cols);
        hint_other_base(g, m, err);
        return st;
    }
    shoal_mat mat;
    SHOAL_TRY(shoal_gguf_get_mat(g, name, rows, cols, &mat, err));
    for (size_t r = 0; r < rows; r++) {
        shoal_mat_row(&mat, r, out + r * cols);
    }
    for (size_t i = 0; i < rows * cols; i++) {
        if (!isfinite(out[i])) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "%s: %s holds a value that is not a number",
                              shoal_gguf_name(g), name);
        }
    }
    return SHOAL_OK;
}

static shoal_status read_pairs(const shoal_gguf *g, const shoal_model *m, shoal_adapter *a,
                               shoal_error *err)
{
    size_t n_pairs = 0;
    for (size_t i = 0; i < m->cfg.n_layer * SHOAL_N_PROJ; i++) {
        const shoal_lora_pair *pair = &a->pairs[i];
        if (pair->a == NULL) {
            continue;
        }
        size_t rows = 0;
        size_t cols = 0;
        char name[TENSOR_NAME_MAX];
        shoal_config_proj_shape(&m->cfg, (shoal_proj)(i % SHOAL_N_PROJ), &rows, &cols);
        format_name(name, i / SHOAL_N_PROJ, i % SHOAL_N_PROJ, 'a');
        SHOAL_TRY(read_matrix(g, m, name, pair->rank, cols, pair->a, err));
        format_name(name, i / SHOAL_N_PROJ, i % SHOAL_N_PROJ, 'b');
        SHOAL_TRY(read_matrix(g, m, name, rows, pair->rank, pair->b, err));
        n_pairs++;
    }
    if (shoal_gguf_tensor_count(g) != 2 * n_pairs) {
        return shoal_fail(err, SHOAL_ERR_UNSUPPORTED,
                          "%s adapts more than the seven projections of this model's blocks",
                          shoal_gguf_name(g));
    }
    return SHOAL_OK;
}

static shoal_status load_gguf(shoal_adapter **out, const shoal_model *m, const shoal_gguf *g,
                              shoal_error *err)
{
    uint64_t fingerprint = 0;
    shoal_lora_spec spec;
    SHOAL_TRY(check_kind(g, m, &fingerprint, err));
    SHOAL_TRY(find_spec(g, m, &spec, err));
    SHOAL_TRY(shoal_adapter_alloc(out, &m->cfg, &spec, err));
    (*out)->base_fingerprint = fingerprint;
    shoal_status st = read_pairs(g, m, *out, err);
    if (st != SHOAL_OK) {
        shoal_adapter_close(*out);
        *out = NULL;
    }
    return st;
}

shoal_status shoal_adapter_load(shoal_adapter **out, const shoal_model *m, const char *path,
                                shoal_error *err)
{
    *out = NULL;
    shoal_gguf *g = NULL;
    SHOAL_TRY(shoal_gguf_open(&g, path, err));
    shoal_status st = load_gguf(out, m, g, err);
    shoal_gguf_close(g);
    return st;
}

shoal_status shoal_adapter_decode(shoal_adapter **out, const shoal_model *m, const void *data,
                                  size_t n, shoal_error *err)
{
    *out = NULL;
    void *copy = NULL;
    if ((uintptr_t)data % 8 != 0) { /* the reader needs heap alignment; a body inside a message */
        copy = shoal_alloc(n);
        if (copy == NULL) {
            return shoal_fail(err, SHOAL_ERR_NOMEM, "cannot allocate %zu bytes", n);
        }
        memcpy(copy, data, n);
    }
    shoal_gguf *g = NULL;
    shoal_status st = shoal_gguf_open_memory(&g, copy != NULL ? copy : data, n, "the adapter", err);
    if (st == SHOAL_OK) {
        st = load_gguf(out, m, g, err);
    }
    shoal_gguf_close(g);
    shoal_free(copy);
    return st;
}

static void put_keys(shoal_gguf_writer *w, const shoal_adapter *a)
{
    shoal_gguf_put_str(w, "general.architecture", shoal_str_of(a->cfg.arch));
    shoal_gguf_put_str(w, "general.type", shoal_str_of("adapter"));
    shoal_gguf_put_str(w, "adapter.type", shoal_str_of("lora"));
    shoal_gguf_put_str(w, "general.name", shoal_str_of("Adapter"));
    if (a->cfg.name[0] != '\0') {
        shoal_gguf_put_u32(w, "general.base_model.count", 1);
        shoal_gguf_put_str(w, KEY_BASE_NAME, shoal_str_of(a->cfg.name));
    }
    shoal_gguf_put_f32(w, KEY_ALPHA, a->spec.alpha);
    if (a->base_fingerprint != 0) {
        shoal_gguf_put_u64(w, KEY_FINGERPRINT, a->base_fingerprint);
    }
}

shoal_status shoal_adapter_encode(const shoal_adapter *a, shoal_buf *out, shoal_error *err)
{
    shoal_gguf_writer w = shoal_gguf_writer_init(out->max);
    put_keys(&w, a);
    for (size_t i = 0; i < a->cfg.n_layer * SHOAL_N_PROJ; i++) {
        const shoal_lora_pair *pair = &a->pairs[i];
        if (pair->a == NULL) {
            continue;
        }
        size_t rows = 0;
        size_t cols = 0;
        char name[TENSOR_NAME_MAX];
        shoal_config_proj_shape(&a->cfg, (shoal_proj)(i % SHOAL_N_PROJ), &rows, &cols);
        format_name(name, i / SHOAL_N_PROJ, i % SHOAL_N_PROJ, 'a');
        shoal_gguf_put_matrix(&w, name, SHOAL_TYPE_F32, pair->rank, cols, pair->a);
        format_name(name, i / SHOAL_N_PROJ, i % SHOAL_N_PROJ, 'b');
        shoal_gguf_put_matrix(&w, name, SHOAL_TYPE_F32, rows, pair->rank, pair->b);
    }
    shoal_status st = shoal_gguf_writer_finish(&w, out, err);
    shoal_gguf_writer_clear(&w);
    return st;
}
