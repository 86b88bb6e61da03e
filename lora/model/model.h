/* model.h - a base model bound to its GGUF file: shapes, weights, tokenizer, template.
 *
 * The file is mapped read-only and never copied: weights are views into the mapping. Everything is
 * checked at open; afterwards a shoal_model is immutable and may be shared by any number of
 * sessions and trainers.
 *
 * Layer: lora/model. Threads: read by many.
 */
#ifndef SHOAL_LORA_MODEL_MODEL_H
#define SHOAL_LORA_MODEL_MODEL_H

#include "kernels/base/status.h"
#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_gguf shoal_gguf;           /* gguf.h */
typedef struct shoal_tokenizer shoal_tokenizer; /* tokenizer.h */

/* The seven projections of a block, in manifest order. */
typedef enum shoal_proj {
    SHOAL_PROJ_Q,
    SHOAL_PROJ_K,
    SHOAL_PROJ_V,
    SHOAL_PROJ_O,
    SHOAL_PROJ_GATE,
    SHOAL_PROJ_UP,
    SHOAL_PROJ_DOWN,
    SHOAL_N_PROJ
} shoal_proj;

typedef struct shoal_config {
    char arch[32];
    char name[128]; /* general.name, or "" */
    size_t n_layer;
    size_t n_embd;    /* D */
    size_t n_head;    /* H */
    size_t n_head_kv; /* K */
    size_t head_dim;  /* E */
    size_t n_ff;      /* F */
    size_t n_vocab;   /* V */
    size_t n_ctx;     /* context the model was trained for */
    float rope_base;
    float norm_eps;
    shoal_rope_style rope_style;
} shoal_config;

typedef struct shoal_layer {
    const float *attn_norm; /* [D] */
    const float *ffn_norm;  /* [D] */
    shoal_mat proj[SHOAL_N_PROJ];
    /* Q [H*E, D]  K, V [K*E, D]  O [D, H*E]  GATE, UP [F, D]  DOWN [D, F] */
} shoal_layer;

typedef struct shoal_model {
    shoal_config cfg;
    shoal_mat embd;        /* [V, D] */
    shoal_mat head;        /* [V, D]; the same view as embd when tied */
    const float *out_norm; /* [D] */
    const float *inv_freq; /* [E/2] rotation speeds */
    shoal_layer *layers;   /* [n_layer] */
    shoal_gguf *gguf;      /* owned */
    shoal_tokenizer *tok;  /* owned; never NULL */
    uint64_t fingerprint;  /* of shapes and sampled weights: tells models apart, not a security
                              measure (that is the file's SHA-256, kept by the roles) */
} shoal_model;

/* Maps and checks a model file. On failure *out is NULL. */
SHOAL_MUST_USE shoal_status shoal_model_open(shoal_model **out, const char *path, shoal_error *err);
void shoal_model_close(shoal_model *m);

/* M and N of a projection, from the configuration. */
void shoal_config_proj_shape(const shoal_config *cfg, shoal_proj p, size_t *rows, size_t *cols);

/* "attn_q", "ffn_gate", ...: the GGUF tensor stem; and "q_proj", "gate_proj", ... as PEFT names it.
 */
const char *shoal_proj_gguf_name(shoal_proj p);
const char *shoal_proj_peft_name(shoal_proj p);

#ifdef __cplusplus
}
#endif
#endif
