/* peft.c - to and from the PEFT library's directory form. */
#include "client/peft.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "client/json.h"
#include "client/safetensors.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"

enum {
    CONFIG_MAX = 1 << 20, /* bytes of adapter_config.json */
    NAME_MAX_BYTES = 128,
    PATH_BYTES = 1024
};

/* ---- names and row order -----------------------------------------------------------------------
 */

static void tensor_name(char out[NAME_MAX_BYTES], size_t layer, shoal_proj p, char which)
{
    bool mlp = p == SHOAL_PROJ_GATE || p == SHOAL_PROJ_UP || p == SHOAL_PROJ_DOWN;
    (void)snprintf(out, NAME_MAX_BYTES, "base_model.model.model.layers.%zu.%s.%s.lora_%c.weight",
                   layer, mlp ? "mlp" : "self_attn", shoal_proj_peft_name(p), which);
}

/* PEFT's row of GGUF's row `i` of a q or k weight. */
static size_t peft_row(const shoal_config *cfg, shoal_proj p, size_t i)
{
    bool rotated = p == SHOAL_PROJ_Q || p == SHOAL_PROJ_K;
    if (!rotated || cfg->rope_style != SHOAL_ROPE_PAIRS) return i;
    size_t in_head = i % cfg->head_dim;
    return i - in_head + in_head / 2 + (in_head % 2) * (cfg->head_dim / 2);
}

/* B [M, R] between the two orders; src and dst do not overlap. */
static void rows_to_peft(const shoal_config *cfg, shoal_proj p, size_t rows, size_t rank,
                         const float *src, float *dst)
{
    for (size_t i = 0; i < rows; i++) {
        memcpy(dst + peft_row(cfg, p, i) * rank, src + i * rank, rank * sizeof *dst);
    }
}

static void rows_from_peft(const shoal_config *cfg, shoal_proj p, size_t rows, size_t rank,
                           const float *src, float *dst)
{
    for (size_t i = 0; i < rows; i++) {
        memcpy(dst + i * rank, src + peft_row(cfg, p, i) * rank, rank * sizeof *dst);
    }
}

static shoal_status join_path(char out[PATH_BYTES], const char *dir, const char *file,
                              shoal_error *err)
{
    int n = snprintf(out, PATH_BYTES, "%s/%s", dir, file);
    if (n > 0 && n < PATH_BYTES) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the path %.200s is too long", dir);
}

/* ---- reading the configuration -----------------------------------------------------------------
 */

static bool is_set(const json_t *config, const char *key)
{
    const json_t *v = json_object_get(config, key);
    if (v == NULL || json_is_null(v) || json_is_false(v)) return false;
    if (json_is_object(v)) return json_object_size(v) > 0;
    if (json_is_array(v)) return json_array_size(v) > 0;
    return true;
}

/* The projection PEFT calls `name`; SHOAL_N_PROJ when there is none. */
static size_t find_projection(const char *name)
{
    size_t p = 0;
    while (p < SHOAL_N_PROJ && strcmp(name, shoal_proj_peft_name((shoal_proj)p)) != 0) {
        p++;
    }
    return p;
}

/* rank_pattern: ranks by projection ("q_proj": 16) are taken. Patterns for single layers pass only
 * when they say what `r` says. False on others. */
static bool read_ranks(const json_t *config, json_int_t r, shoal_lora_spec *spec)
{
    const char *name = NULL;
    json_t *v = NULL;
    json_object_foreach(json_object_get(config, "rank_pattern"), name, v)
    {
        size_t p = find_projection(name);
        json_int_t rank = json_integer_value(v);
        if (rank < 1 || rank > SHOAL_LORA_MAX_RANK) return false;
        if (p < SHOAL_N_PROJ) spec->ranks[p] = (size_t)rank;
        if (p == SHOAL_N_PROJ && rank != r) return false;
    }
    return true;
}

/* alpha_pattern: only patterns that say the same as the main value pass. */
static bool pattern_is_uniform(const json_t *config, const char *key, double value)
{
    const char *name = NULL;
    json_t *v = NULL;
    json_object_foreach(json_object_get(config, key), name, v)
    {
        double difference = json_number_value(v) - value;
        if (!json_is_number(v) || difference < 0.0 || difference > 0.0) return false;
    }
    return true;
}

static shoal_status refuse(const char *what, shoal_error *err)
{
    (void)shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "adapter_config.json: %s", what);
    shoal_hint(err,
               "Shoal takes plain LoRA: one alpha, the same ranks in all layers, no biases, no "
               "other trained modules");
    return SHOAL_ERR_UNSUPPORTED;
}

static shoal_status check_plain(const json_t *config, shoal_error *err)
{
    const char *type = json_string_value(json_object_get(config, "peft_type"));
    const char *bias = json_string_value(json_object_get(config, "bias"));
    if (type == NULL || strcmp(type, "LORA") != 0) return refuse("peft_type is not LORA", err);
    if (bias != NULL && strcmp(bias, "none") != 0) return refuse("it trains biases", err);
    static const char *const unset[] = {
        "use_dora",          "fan_in_fan_out",    "modules_to_save", "lora_bias",
        "use_qalora",        "layer_replication", "use_bdlora",      "trainable_token_indices",
        "target_parameters", "megatron_config"};
    for (size_t i = 0; i < sizeof unset / sizeof unset[0]; i++) {
        if (is_set(config, unset[i])) {
            char what[80];
            (void)snprintf(what, sizeof what, "\"%s\" is set", unset[i]);
            return refuse(what, err);
        }
    }
    return SHOAL_OK;
}

static shoal_status read_spec(const json_t *config, shoal_lora_spec *spec, shoal_error *err)
{
    SHOAL_TRY(check_plain(config, err));
    json_int_t rank = json_integer_value(json_object_get(config, "r"));
    double alpha = json_number_value(json_object_get(config, "lora_alpha"));
    if (rank < 1 || rank > SHOAL_LORA_MAX_RANK) return refuse("\"r\" is out of range", err);
    if (!(alpha > 0.0 && alpha < 1e6)) return refuse("\"lora_alpha\" is out of range", err);
    if (!read_ranks(config, rank, spec)) {
        return refuse("\"rank_pattern\" gives layers different ranks", err);
    }
    if (!pattern_is_uniform(config, "alpha_pattern", alpha)) {
        return refuse("\"alpha_pattern\" gives layers different alphas", err);
    }
    if (json_is_true(json_object_get(config, "use_rslora"))) {
        if (!pattern_is_uniform(config, "rank_pattern", (double)rank)) {
            return refuse("\"use_rslora\" with several ranks, which no one alpha can say", err);
        }
        alpha *= sqrt((double)rank);
    }
    spec->rank = (size_t)rank;
    spec->alpha = (float)alpha;
    return SHOAL_OK;
}

static shoal_status load_spec(const char *dir, shoal_lora_spec *spec, shoal_error *err)
{
    char path[PATH_BYTES];
    shoal_buf text = shoal_buf_init(0);
    json_t *config = NULL;
    SHOAL_TRY(join_path(path, dir, "adapter_config.json", err));
    shoal_status st = shoal_file_read(path, CONFIG_MAX, &text, err);
    if (st == SHOAL_OK) {
        st = shoal_json_object(&config, shoal_buf_str(&text), text.len, path, true, err);
    }
    if (st == SHOAL_OK) st = read_spec(config, spec, err);
    json_decref(config);
    shoal_buf_clear(&text);
    return st;
}

/* ---- reading the tensors -----------------------------------------------------------------------
 */

/* Projections of which the file holds at least one tensor, and the lowest layer it adapts. */
static void find_targets(const shoal_safetensors *s, size_t n_layer, shoal_lora_spec *spec)
{
    char name[NAME_MAX_BYTES];
    spec->targets = 0;
    for (size_t l = 0; l < n_layer; l++) {
        for (unsigned p = 0; p < SHOAL_N_PROJ; p++) {
            tensor_name(name, l, (shoal_proj)p, 'A');
            if (shoal_safetensors_find(s, name) == NULL) continue;
            if (spec->targets == 0) spec->first_layer = l;
            spec->targets |= 1u << p;
        }
        if (spec->targets != 0) return; /* the layers above must hold the same */
    }
}

static shoal_status take_tensor(const shoal_safetensors *s, size_t layer, shoal_proj p, char which,
                                size_t rows, size_t cols, float *out, shoal_error *err)
{
    char name[NAME_MAX_BYTES];
    tensor_name(name, layer, p, which);
    const shoal_st_tensor *t = shoal_safetensors_find(s, name);
    if (t == NULL) {
        (void)shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "the adapter has no tensor %s", name);
        shoal_hint(err, "Shoal adapts the same projections in every layer from the lowest up");
        return SHOAL_ERR_UNSUPPORTED;
    }
    if (t->n_dims != 2 || t->dims[0] != rows || t->dims[1] != cols) {
        (void)shoal_fail(err, SHOAL_ERR_FORMAT, "%s is not [%zu, %zu]", name, rows, cols);
        shoal_hint(err, "the adapter belongs to another base model, or its rank is not uniform");
        return SHOAL_ERR_FORMAT;
    }
    shoal_st_to_f32(t, out);
    for (size_t i = 0; i < t->n; i++) {
        if (!isfinite(out[i])) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "%s holds a value that is not finite", name);
        }
    }
    return SHOAL_OK;
}

static shoal_status take_pair(shoal_adapter *a, const shoal_safetensors *s, size_t layer,
                              shoal_proj p, float *work, shoal_error *err)
{
    size_t rows = 0;
    size_t cols = 0;
    const shoal_lora_pair *pair = shoal_adapter_pair(a, layer, p);
    shoal_config_proj_shape(&a->cfg, p, &rows, &cols);
    SHOAL_TRY(take_tensor(s, layer, p, 'A', pair->rank, cols, pair->a, err));
    SHOAL_TRY(take_tensor(s, layer, p, 'B', rows, pair->rank, work, err));
    rows_from_peft(&a->cfg, p, rows, pair->rank, work, pair->b);
    return SHOAL_OK;
}

/* Largest B of the adapter, in floats: the scratch a reordering needs. */
static size_t work_floats(const shoal_config *cfg, size_t rank)
{
    size_t most = 0;
    for (unsigned p = 0; p < SHOAL_N_PROJ; p++) {
        size_t rows = 0;
        size_t cols = 0;
        shoal_config_proj_shape(cfg, (shoal_proj)p, &rows, &cols);
        if (rows > most) most = rows;
    }
    return most * rank;
}

static shoal_status fill(shoal_adapter *a, const shoal_safetensors *s, shoal_error *err)
{
    size_t n_used = 0;
    float *work = shoal_calloc(work_floats(&a->cfg, a->spec.rank), sizeof *work);
    if (work == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    shoal_status st = SHOAL_OK;
    for (size_t i = 0; st == SHOAL_OK && i < a->cfg.n_layer * SHOAL_N_PROJ; i++) {
        shoal_proj p = (shoal_proj)(i % SHOAL_N_PROJ);
        if (shoal_adapter_pair(a, i / SHOAL_N_PROJ, p)->a == NULL) continue;
        st = take_pair(a, s, i / SHOAL_N_PROJ, p, work, err);
        n_used += 2;
    }
    shoal_free(work);
    if (st == SHOAL_OK && n_used != s->n) {
        (void)shoal_fail(
            err, SHOAL_ERR_UNSUPPORTED,
            "the adapter has %zu tensors of which %zu are LoRA weights of this model's "
            "projections",
            s->n, n_used);
        shoal_hint(err, "it belongs to another base model or trains more than projections");
        return SHOAL_ERR_UNSUPPORTED;
    }
    return st;
}

static shoal_status build(shoal_adapter **out, const shoal_model *m, const shoal_safetensors *s,
                          shoal_lora_spec spec, shoal_error *err)
{
    find_targets(s, m->cfg.n_layer, &spec);
    for (size_t p = 0; p < SHOAL_N_PROJ; p++) {
        if ((spec.targets >> p & 1u) == 0) spec.ranks[p] = 0;
    }
    if (spec.targets == 0) {
        (void)shoal_fail(err, SHOAL_ERR_FORMAT,
                         "no LoRA tensor of this model's layers in the file");
        shoal_hint(err, "names look like base_model.model.model.layers.0.self_attn.q_proj.lora_A."
                        "weight");
        return SHOAL_ERR_FORMAT;
    }
    SHOAL_TRY(shoal_adapter_open(out, m, &spec, 0, err));
    shoal_status st = fill(*out, s, err);
    if (st != SHOAL_OK) {
        shoal_adapter_close(*out);
        *out = NULL;
    }
    return st;
}

shoal_status shoal_peft_load(shoal_adapter **out, const shoal_model *m, const char *dir,
                             shoal_error *err)
{
    char path[PATH_BYTES];
    shoal_lora_spec spec = {.rank = 0};
    shoal_safetensors s = {.n = 0};
    *out = NULL;
    SHOAL_TRY(load_spec(dir, &spec, err));
    SHOAL_TRY(join_path(path, dir, "adapter_model.safetensors", err));
    SHOAL_TRY(shoal_safetensors_load(&s, path, err));
    shoal_status st = build(out, m, &s, spec, err);
    shoal_safetensors_clear(&s);
    return st;
}

/* ---- writing ------------------------------------------------------------------------------------
 */

/* Everything encode needs besides the result. */
typedef struct encoding {
    char (*names)[NAME_MAX_BYTES]; /* [n] */
    shoal_st_entry *entries;       /* [n] */
    float *rows;                   /* reordered B of q and k of all layers */
    size_t n;
    size_t rows_used;
} encoding;

static void add_entry(encoding *e, size_t layer, shoal_proj p, char which, size_t rows, size_t cols,
                      const float *data)
{
    tensor_name(e->names[e->n], layer, p, which);
    e->entries[e->n] = (shoal_st_entry){e->names[e->n], rows, cols, data};
    e->n++;
}

static void add_pair(encoding *e, const shoal_adapter *a, const float *params, size_t layer,
                     shoal_proj p)
{
    size_t rows = 0;
    size_t cols = 0;
    const shoal_lora_pair *pair = shoal_adapter_pair(a, layer, p);
    if (pair->a == NULL) return;
    shoal_config_proj_shape(&a->cfg, p, &rows, &cols);
    const float *pa = params + (pair->a - a->params);
    const float *pb = params + (pair->b - a->params);
    float *b = e->rows + e->rows_used;
    rows_to_peft(&a->cfg, p, rows, pair->rank, pb, b);
    e->rows_used += rows * pair->rank;
    add_entry(e, layer, p, 'A', pair->rank, cols, pa);
    add_entry(e, layer, p, 'B', rows, pair->rank, b);
}

shoal_status shoal_peft_encode(const shoal_adapter *a, const float *params, shoal_buf *out,
                               shoal_error *err)
{
    size_t most = a->cfg.n_layer * SHOAL_N_PROJ * 2;
    encoding e = {shoal_calloc(most, sizeof *e.names), shoal_calloc(most, sizeof *e.entries),
                  shoal_calloc(a->n_params, sizeof *e.rows), 0, 0};
    shoal_status st = SHOAL_OK;
    if (e.names == NULL || e.entries == NULL || e.rows == NULL) {
        st = shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    } else {
        for (size_t i = 0; i < a->cfg.n_layer * SHOAL_N_PROJ; i++) {
            add_pair(&e, a, params, i / SHOAL_N_PROJ, (shoal_proj)(i % SHOAL_N_PROJ));
        }
        st = shoal_safetensors_encode(e.entries, e.n, out, err);
    }
    shoal_free(e.names);
    shoal_free(e.entries);
    shoal_free(e.rows);
    return st;
}

/* rank_pattern, for the projections whose rank is not `r`. */
static void add_ranks(json_t *config, const shoal_adapter *a)
{
    json_t *ranks = json_object();
    for (size_t p = 0; p < SHOAL_N_PROJ; p++) {
        size_t rank = shoal_lora_rank(&a->spec, (shoal_proj)p);
        if (rank == 0 || rank == a->spec.rank) continue;
        (void)json_object_set_new(ranks, shoal_proj_peft_name((shoal_proj)p),
                                  json_integer((json_int_t)rank));
    }
    (void)json_object_set_new(config, "rank_pattern", ranks);
}

static json_t *config_json(const shoal_adapter *a)
{
    json_t *targets = json_array();
    for (unsigned p = 0; p < SHOAL_N_PROJ; p++) {
        if ((a->spec.targets >> p & 1u) == 0) continue;
        (void)json_array_append_new(targets, json_string(shoal_proj_peft_name((shoal_proj)p)));
    }
    json_t *config = json_pack(
        "{s:s, s:s, s:n, s:I, s:f, s:f, s:s, s:b, s:b, s:b, s:b, s:o}", "peft_type", "LORA",
        "task_type", "CAUSAL_LM", "base_model_name_or_path", "r", (json_int_t)a->spec.rank,
        "lora_alpha", (double)a->spec.alpha, "lora_dropout", 0.0, "bias", "none", "fan_in_fan_out",
        0, "inference_mode", 1, "use_rslora", 0, "use_dora", 0, "target_modules", targets);
    add_ranks(config, a);
    if (a->spec.first_layer == 0) return config;
    json_t *layers = json_array();
    for (size_t l = a->spec.first_layer; l < a->cfg.n_layer; l++) {
        (void)json_array_append_new(layers, json_integer((json_int_t)l));
    }
    (void)json_object_set_new(config, "layers_to_transform", layers);
    return config;
}

static shoal_status save_part(const char *dir, const char *file, shoal_buf *data, shoal_error *err)
{
    char path[PATH_BYTES];
    SHOAL_TRY(shoal_buf_status(data, err));
    SHOAL_TRY(join_path(path, dir, file, err));
    return shoal_file_write_atomic(path, data->data, data->len, 0644, err);
}

shoal_status shoal_peft_save(const shoal_adapter *a, const char *dir, shoal_error *err)
{
    shoal_buf config = shoal_buf_init(CONFIG_MAX);
    shoal_buf tensors = shoal_buf_init(SHOAL_ST_MAX_FILE);
    if (mkdir(dir, 0777) != 0 && errno != EEXIST) {
        return shoal_fail_errno(err, errno, "cannot make the directory %.200s", dir);
    }
    shoal_status st = shoal_json_encode(&config, config_json(a), err);
    if (st == SHOAL_OK) st = shoal_peft_encode(a, a->params, &tensors, err);
    if (st == SHOAL_OK) st = save_part(dir, "adapter_model.safetensors", &tensors, err);
    if (st == SHOAL_OK) st = save_part(dir, "adapter_config.json", &config, err);
    shoal_buf_clear(&config);
    shoal_buf_clear(&tensors);
    return st;
}
