/* tiny_model.c - vocabulary, template and random weights of the tests' models. */
#include "tests/support/tiny_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "lora/model/gguf_write.h"
#include "tests/support/coded_weights.h"

enum { MAX_BYTES = 1 << 28, MAX_TOKEN = 16 };

static const char *const CONTROL[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};

/* In the byte alphabet: U+0120 is the space. Each side is a byte or an earlier result. */
#define SP "\xc4\xa0"
static const char *const MERGES[] = {
    SP " t",   SP " a",  "i n",     "h e",   SP " " SP,    "r e",     "o n",    "e r",
    SP "t he", "a t",    SP " s",   SP " o", "e n",        SP " c",   "e s",    SP " w",
    "n d",     "i t",    "o r",     "i s",   "a l",        SP " p",   "in g",   SP " f",
    "a n",     "e d",    "o u",     SP " b", SP " m",      SP "a nd", SP " in", SP "o f",
    "a r",     SP "t o", SP " d",   SP " h", "l l",        "l e",     "s t",    SP " n",
    "i c",     "u s",    "y st",    "e m",   "yst em",     "s ystem", "us er",  "a s",
    "as s",    "is t",   "ass ist", "an t",  "assist ant", "v e",     "ou t",   "l i",
    "c e",     "i g",    "ig h",    "igh t", "l ight",     "t u",     "tu r",   "tur n",
    SP "o n",
};
#undef SP

static const char TEMPLATE[] =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a tiny model<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

enum {
    N_CONTROL = sizeof CONTROL / sizeof CONTROL[0],
    N_MERGES = sizeof MERGES / sizeof MERGES[0],
    N_VOCAB = N_CONTROL + 256 + N_MERGES
};

/* A byte as GPT-2 vocabularies write it, in UTF-8; out [3]. */
static void write_byte(unsigned byte, char *out)
{
    bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
    unsigned code = byte;
    if (!printable) {
        unsigned before = byte <= 0x20 ? byte : byte <= 0xa0 ? byte - 0x7f + 0x21 : 0x21 + 34;
        code = 0x100 + before;
    }
    if (code < 0x80) {
        out[0] = (char)code;
        out[1] = '\0';
    } else {
        out[0] = (char)(unsigned char)(0xc0 | code >> 6);
        out[1] = (char)(unsigned char)(0x80 | (code & 0x3f));
        out[2] = '\0';
    }
}

static bool is_arch(const shoal_tiny_opts *o, const char *arch)
{
    return strcmp(o->arch, arch) == 0;
}

static void put_vocabulary(shoal_gguf_writer *w)
{
    char text[N_VOCAB][MAX_TOKEN];
    shoal_str tokens[N_VOCAB];
    shoal_str merges[N_MERGES];
    int32_t types[N_VOCAB];
    for (size_t i = 0; i < N_VOCAB; i++) {
        if (i < N_CONTROL) {
            (void)snprintf(text[i], MAX_TOKEN, "%s", CONTROL[i]);
        } else if (i < N_CONTROL + 256) {
            write_byte((unsigned)(i - N_CONTROL), text[i]);
        } else {
            const char *merge = MERGES[i - N_CONTROL - 256];
            const char *space = strchr(merge, ' ');
            (void)snprintf(text[i], MAX_TOKEN, "%.*s%s", (int)(space - merge), merge, space + 1);
            merges[i - N_CONTROL - 256] = shoal_str_of(merge);
        }
        tokens[i] = shoal_str_of(text[i]);
        types[i] = i < N_CONTROL ? 3 : 1;
    }
    shoal_gguf_put_str(w, "tokenizer.ggml.model", shoal_str_of("gpt2"));
    shoal_gguf_put_str(w, "tokenizer.ggml.pre", shoal_str_of("smollm"));
    shoal_gguf_put_strs(w, "tokenizer.ggml.tokens", tokens, N_VOCAB);
    shoal_gguf_put_i32s(w, "tokenizer.ggml.token_type", types, N_VOCAB);
    shoal_gguf_put_strs(w, "tokenizer.ggml.merges", merges, N_MERGES);
    shoal_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", 1);
    shoal_gguf_put_u32(w, "tokenizer.ggml.eos_token_id", 2);
    shoal_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", false);
    shoal_gguf_put_str(w, "tokenizer.chat_template", shoal_str_of(TEMPLATE));
}

/* "<arch>.<key>". */
typedef struct key_text {
    char s[64];
} key_text;

static key_text key_of(const shoal_tiny_opts *o, const char *key)
{
    key_text k;
    (void)snprintf(k.s, sizeof k.s, "%s.%s", o->arch, key);
    return k;
}

static void put_size(shoal_gguf_writer *w, const shoal_tiny_opts *o, const char *key, size_t v)
{
    shoal_gguf_put_u32(w, key_of(o, key).s, (uint32_t)v);
}

static void put_real(shoal_gguf_writer *w, const shoal_tiny_opts *o, const char *key, float v)
{
    shoal_gguf_put_f32(w, key_of(o, key).s, v);
}

/* Keys that are there only when asked for. */
static void put_variants(shoal_gguf_writer *w, const shoal_tiny_opts *o)
{
    if (o->window > 0) put_size(w, o, "attention.sliding_window", o->window);
    if (o->period > 0) put_size(w, o, "attention.sliding_window_pattern", o->period);
    if (o->local_layers != NULL) {
        shoal_gguf_put_bools(w, key_of(o, "attention.sliding_window_pattern").s, o->local_layers,
                             o->n_layer);
    }
    if (o->rope_factor > 0) {
        shoal_gguf_put_str(w, key_of(o, "rope.scaling.type").s, shoal_str_of("linear"));
        put_real(w, o, "rope.scaling.factor", o->rope_factor);
    }
    if (o->attn_softcap > 0) put_real(w, o, "attn_logit_softcapping", o->attn_softcap);
    if (o->logit_softcap > 0) put_real(w, o, "final_logit_softcapping", o->logit_softcap);
}

static void put_config(shoal_gguf_writer *w, const shoal_tiny_opts *o)
{
    shoal_gguf_put_str(w, "general.architecture", shoal_str_of(o->arch));
    shoal_gguf_put_str(w, "general.type", shoal_str_of("model"));
    shoal_gguf_put_str(w, "general.name", shoal_str_of("tiny"));
    put_size(w, o, "block_count", o->n_layer);
    put_size(w, o, "context_length", o->n_ctx);
    put_size(w, o, "embedding_length", o->n_embd);
    put_size(w, o, "feed_forward_length", o->n_ff);
    put_size(w, o, "attention.head_count", o->n_head);
    put_size(w, o, "attention.head_count_kv", o->n_head_kv);
    put_size(w, o, "attention.key_length", o->head_dim);
    put_size(w, o, "attention.value_length", o->head_dim);
    put_size(w, o, "rope.dimension_count", o->head_dim);
    put_real(w, o, "rope.freq_base", is_arch(o, "gemma3") ? 1e6f : 10000.0f);
    put_real(w, o, "attention.layer_norm_rms_epsilon", 1e-5f);
    put_variants(w, o);
}

static const shoal_tiny_variant VARIANTS[] = {
    {"llama", {.n_layer = 3, .plain_types = true}},
    {"llama-window", {.n_layer = 2, .plain_types = true, .window = 5, .rope_factor = 2.0f}},
    {"qwen2", {.arch = "qwen2", .n_layer = 2, .plain_types = true}},
    {"qwen3", {.arch = "qwen3", .n_layer = 2, .plain_types = true, .head_dim = 32}},
    {"gemma3", {.arch = "gemma3", .n_layer = 3, .plain_types = true, .period = 2}},
    {"gemma3-scaled",
     {.arch = "gemma3",
      .n_layer = 7,
      .n_embd = 32,
      .n_ff = 64,
      .plain_types = true,
      .window = 7,
      .rope_factor = 4.0f}},
    {"gemma3-capped",
     {.arch = "gemma3",
      .n_layer = 2,
      .plain_types = true,
      .period = 2,
      .attn_softcap = 1.5f,
      .logit_softcap = 2.0f}},
};

const shoal_tiny_variant *shoal_tiny_variant_at(size_t i)
{
    return i < sizeof VARIANTS / sizeof VARIANTS[0] ? &VARIANTS[i] : NULL;
}

const shoal_tiny_variant *shoal_tiny_variant_find(const char *name)
{
    const shoal_tiny_variant *v = NULL;
    for (size_t i = 0; (v = shoal_tiny_variant_at(i)) != NULL; i++) {
        if (strcmp(v->name, name) == 0) return v;
    }
    return NULL;
}

/* ---- weights ----------------------------------------------------------------------------------
 */

typedef struct maker {
    shoal_gguf_writer *w;
    const shoal_tiny_opts *o;
    shoal_rng rng;
    shoal_status st; /* the first failure; later steps do nothing */
} maker;

static float std_of(const maker *k, size_t cols)
{
    return k->o->weight_std > 0 ? k->o->weight_std : 1.0f / sqrtf((float)cols);
}

static void put_coded(maker *k, const char *name, size_t rows, size_t cols)
{
    shoal_type type = *k->o->coded;
    const shoal_type_info *info = shoal_type_get((uint32_t)type);
    if (info != NULL && rows % info->group != 0) {
        type = shoal_type_plain(type);
        info = shoal_type_get((uint32_t)type);
    }
    unsigned char *data =
        info == NULL ? NULL : shoal_calloc(rows, shoal_type_row_bytes(info, cols));
    if (data != NULL && coded_weights(&k->rng, type, std_of(k, cols), rows, cols, data)) {
        shoal_gguf_put_matrix(k->w, name, type, rows, cols, data);
    } else {
        k->st = SHOAL_ERR_ARG;
    }
    shoal_free(data);
}

/* Normal weights, quantised row by row. The numbers drawn do not depend on the type. */
static void put_random(maker *k, const char *name, shoal_type type, size_t rows, size_t cols)
{
    if (k->o->coded != NULL) {
        put_coded(k, name, rows, cols);
        return;
    }
    const shoal_type_info *info = shoal_type_get((uint32_t)type);
    size_t row_bytes = info == NULL ? 0 : shoal_type_row_bytes(info, cols);
    float *row = shoal_calloc(cols, sizeof *row);
    unsigned char *data = shoal_calloc(rows, row_bytes);
    if (row_bytes == 0 || row == NULL || data == NULL) {
        k->st = row_bytes == 0 ? SHOAL_ERR_ARG : SHOAL_ERR_NOMEM;
    }
    float std = std_of(k, cols);
    for (size_t r = 0; r < rows && k->st == SHOAL_OK; r++) {
        for (size_t c = 0; c < cols; c++) {
            row[c] = std * (float)shoal_rng_normal(&k->rng);
        }
        shoal_quantize(type, row, data + r * row_bytes, cols);
    }
    if (k->st == SHOAL_OK) {
        shoal_gguf_put_matrix(k->w, name, type, rows, cols, data);
    }
    shoal_free(row);
    shoal_free(data);
}

/* A vector of normal values: norm weights around 1, biases around 0. */
static void put_vec(maker *k, const char *name, size_t n, float mean, float std)
{
    float *v = shoal_calloc(n, sizeof *v);
    if (v == NULL) {
        k->st = SHOAL_ERR_NOMEM;
        return;
    }
    if (k->o->coded != NULL) coded_values(&k->rng, mean, std, v, n);
    for (size_t i = 0; i < n && k->o->coded == NULL; i++) {
        v[i] = mean + std * (float)shoal_rng_normal(&k->rng);
    }
    shoal_gguf_put_vector(k->w, name, v, n);
    shoal_free(v);
}

static void put_norm(maker *k, const char *name, size_t n)
{
    put_vec(k, name, n, 1.0f, 0.1f);
}

static shoal_type pick(const maker *k, shoal_type quantised)
{
    return k->o->plain_types ? SHOAL_TYPE_F32 : quantised;
}

/* What only some families have. */
static void put_layer_extras(maker *k, size_t layer)
{
    const shoal_tiny_opts *o = k->o;
    bool gemma = is_arch(o, "gemma3");
    const struct {
        const char *stem;
        size_t n;
        bool wanted, bias;
    } vecs[] = {
        {"attn_q.bias", o->n_head * o->head_dim, is_arch(o, "qwen2"), true},
        {"attn_k.bias", o->n_head_kv * o->head_dim, is_arch(o, "qwen2"), true},
        {"attn_v.bias", o->n_head_kv * o->head_dim, is_arch(o, "qwen2"), true},
        {"attn_q_norm.weight", o->head_dim, gemma || is_arch(o, "qwen3"), false},
        {"attn_k_norm.weight", o->head_dim, gemma || is_arch(o, "qwen3"), false},
        {"post_attention_norm.weight", o->n_embd, gemma, false},
        {"post_ffw_norm.weight", o->n_embd, gemma, false},
    };
    for (size_t i = 0; i < sizeof vecs / sizeof vecs[0]; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "blk.%zu.%s", layer, vecs[i].stem);
        if (vecs[i].wanted && vecs[i].bias) put_vec(k, name, vecs[i].n, 0.0f, 0.3f);
        if (vecs[i].wanted && !vecs[i].bias) put_norm(k, name, vecs[i].n);
    }
}

static void put_layer(maker *k, size_t layer)
{
    const shoal_tiny_opts *o = k->o;
    size_t q = o->n_head * o->head_dim;
    size_t kv = o->n_head_kv * o->head_dim;
    bool odd = layer == 1;
    shoal_type attn = odd ? SHOAL_TYPE_Q8_0 : SHOAL_TYPE_Q4_1;
    const struct {
        const char *stem;
        shoal_type type;
        size_t rows, cols;
    } mats[] = {
        {"attn_q", attn, q, o->n_embd},
        {"attn_k", attn, kv, o->n_embd},
        {"attn_v", attn, kv, o->n_embd},
        {"attn_output", attn, o->n_embd, q},
        {"ffn_gate", odd ? SHOAL_TYPE_Q4_0 : SHOAL_TYPE_Q4_1, o->n_ff, o->n_embd},
        {"ffn_up", SHOAL_TYPE_Q4_1, o->n_ff, o->n_embd},
        {"ffn_down", odd ? SHOAL_TYPE_F16 : SHOAL_TYPE_Q4_1, o->n_embd, o->n_ff},
    };
    char name[64];
    (void)snprintf(name, sizeof name, "blk.%zu.attn_norm.weight", layer);
    put_norm(k, name, o->n_embd);
    (void)snprintf(name, sizeof name, "blk.%zu.ffn_norm.weight", layer);
    put_norm(k, name, o->n_embd);
    for (size_t i = 0; i < sizeof mats / sizeof mats[0]; i++) {
        (void)snprintf(name, sizeof name, "blk.%zu.%s.weight", layer, mats[i].stem);
        put_random(k, name, pick(k, mats[i].type), mats[i].rows, mats[i].cols);
    }
    put_layer_extras(k, layer);
}

static shoal_tiny_opts with_defaults(const shoal_tiny_opts *opts)
{
    shoal_tiny_opts o = opts == NULL ? (shoal_tiny_opts){0} : *opts;
    if (o.arch == NULL) o.arch = "llama";
    if (o.window == 0 && is_arch(&o, "gemma3")) o.window = 8;
    if (o.n_layer == 0) o.n_layer = 2;
    if (o.n_embd == 0) o.n_embd = 64;
    if (o.n_head == 0) o.n_head = 4;
    if (o.n_head_kv == 0) o.n_head_kv = 2;
    if (o.head_dim == 0) o.head_dim = o.n_embd / o.n_head;
    if (o.n_ff == 0) o.n_ff = 128;
    if (o.n_ctx == 0) o.n_ctx = 512;
    return o;
}

shoal_status shoal_tiny_model_encode(shoal_buf *out, uint64_t seed, const shoal_tiny_opts *opts,
                                     shoal_error *err)
{
    shoal_tiny_opts o = with_defaults(opts);
    shoal_gguf_writer w = shoal_gguf_writer_init(MAX_BYTES);
    maker k = {&w, &o, shoal_rng_init(seed), SHOAL_OK};
    put_config(&w, &o);
    put_vocabulary(&w);
    put_random(&k, "token_embd.weight", pick(&k, SHOAL_TYPE_Q8_0), N_VOCAB, o.n_embd);
    if (o.untied) {
        put_random(&k, "output.weight", pick(&k, SHOAL_TYPE_Q8_0), N_VOCAB, o.n_embd);
    }
    for (size_t i = 0; i < o.n_layer; i++) {
        put_layer(&k, i);
    }
    put_norm(&k, "output_norm.weight", o.n_embd);
    shoal_status st = k.st;
    if (st != SHOAL_OK) {
        (void)shoal_fail(err, st, "cannot make a tiny model of these sizes");
    } else {
        st = shoal_gguf_writer_finish(&w, out, err);
    }
    shoal_gguf_writer_clear(&w);
    return st;
}

shoal_status shoal_tiny_model_write(const char *path, uint64_t seed, const shoal_tiny_opts *opts,
                                    shoal_error *err)
{
    shoal_file_writer w = {0};
    shoal_buf file = shoal_buf_init(MAX_BYTES);
    shoal_status st = shoal_tiny_model_encode(&file, seed, opts, err);
    if (st == SHOAL_OK) {
        st = shoal_file_writer_open(&w, path, 0600, err);
        if (st == SHOAL_OK) st = shoal_file_writer_put(&w, file.data, file.len, err);
        if (st == SHOAL_OK) st = shoal_file_writer_commit_unsynced(&w, err);
        shoal_file_writer_abandon(&w);
    }
    shoal_buf_clear(&file);
    return st;
}

shoal_status shoal_tiny_model_temp(char path_out[128], uint64_t seed, const shoal_tiny_opts *opts,
                                   shoal_error *err)
{
    const char *dir = getenv("TMPDIR");
    if (dir == NULL || strlen(dir) > 80) dir = "/tmp";
    (void)snprintf(path_out, 128, "%s/shoal-tiny-XXXXXX", dir);
    int fd = mkstemp(path_out);
    if (fd < 0) return shoal_fail(err, SHOAL_ERR_IO, "cannot make a temporary file");
    (void)close(fd);
    return shoal_tiny_model_write(path_out, seed, opts, err);
}
