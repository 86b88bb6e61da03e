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

static void put_config(shoal_gguf_writer *w, const shoal_tiny_opts *o)
{
    shoal_gguf_put_str(w, "general.architecture", shoal_str_of("llama"));
    shoal_gguf_put_str(w, "general.type", shoal_str_of("model"));
    shoal_gguf_put_str(w, "general.name", shoal_str_of("tiny"));
    shoal_gguf_put_u32(w, "llama.block_count", (uint32_t)o->n_layer);
    shoal_gguf_put_u32(w, "llama.context_length", (uint32_t)o->n_ctx);
    shoal_gguf_put_u32(w, "llama.embedding_length", (uint32_t)o->n_embd);
    shoal_gguf_put_u32(w, "llama.feed_forward_length", (uint32_t)o->n_ff);
    shoal_gguf_put_u32(w, "llama.attention.head_count", (uint32_t)o->n_head);
    shoal_gguf_put_u32(w, "llama.attention.head_count_kv", (uint32_t)o->n_head_kv);
    shoal_gguf_put_u32(w, "llama.attention.key_length", (uint32_t)o->head_dim);
    shoal_gguf_put_u32(w, "llama.attention.value_length", (uint32_t)o->head_dim);
    shoal_gguf_put_u32(w, "llama.rope.dimension_count", (uint32_t)o->head_dim);
    shoal_gguf_put_f32(w, "llama.rope.freq_base", 10000.0f);
    shoal_gguf_put_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
}

/* ---- weights ----------------------------------------------------------------------------------
 */

typedef struct maker {
    shoal_gguf_writer *w;
    const shoal_tiny_opts *o;
    shoal_rng rng;
    shoal_status st; /* the first failure; later steps do nothing */
} maker;

/* Normal weights, quantised row by row. The numbers drawn do not depend on the type. */
static void put_random(maker *k, const char *name, shoal_type type, size_t rows, size_t cols)
{
    const shoal_type_info *info = shoal_type_get((uint32_t)type);
    size_t row_bytes = info == NULL ? 0 : shoal_type_row_bytes(info, cols);
    float *row = shoal_calloc(cols, sizeof *row);
    unsigned char *data = shoal_calloc(rows, row_bytes);
    if (row_bytes == 0 || row == NULL || data == NULL) {
        k->st = row_bytes == 0 ? SHOAL_ERR_ARG : SHOAL_ERR_NOMEM;
    }
    float std = k->o->weight_std > 0 ? k->o->weight_std : 1.0f / sqrtf((float)cols);
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

/* Norm weights: around 1. */
static void put_norm(maker *k, const char *name, size_t n)
{
    float *v = shoal_calloc(n, sizeof *v);
    if (v == NULL) {
        k->st = SHOAL_ERR_NOMEM;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        v[i] = 1.0f + 0.1f * (float)shoal_rng_normal(&k->rng);
    }
    shoal_gguf_put_vector(k->w, name, v, n);
    shoal_free(v);
}

static shoal_type pick(const maker *k, shoal_type quantised)
{
    return k->o->plain_types ? SHOAL_TYPE_F32 : quantised;
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
}

static shoal_tiny_opts with_defaults(const shoal_tiny_opts *opts)
{
    shoal_tiny_opts o = opts == NULL ? (shoal_tiny_opts){0} : *opts;
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
    shoal_buf file = shoal_buf_init(MAX_BYTES);
    shoal_status st = shoal_tiny_model_encode(&file, seed, opts, err);
    if (st == SHOAL_OK) {
        st = shoal_file_write_atomic(path, file.data, file.len, 0600, err);
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
