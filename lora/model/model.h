/* model.h - a base model bound to its GGUF file: shapes, weights, tokenizer, template.
 *
 * The file is mapped read-only and never copied: weights are views into the mapping. Everything is
 * checked at open; afterwards a shoal_model is immutable and may be shared by any number of
 * sessions and trainers (one, while residency.h bounds the memory of its weights).
 *
 * Layer: lora/model. Threads: read by many.
 */
#ifndef SHOAL_LORA_MODEL_MODEL_H
#define SHOAL_LORA_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "kernels/kernels.h"
#include "lora/model/pages.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_gguf shoal_gguf;           /* gguf.h */
typedef struct shoal_tokenizer shoal_tokenizer; /* tokenizer.h */
struct shoal_residency;                         /* residency.h */

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

/* The gated unit of the mlp. */
typedef enum shoal_glu { SHOAL_GLU_SILU = 0, SHOAL_GLU_GELU = 1 /* its tanh form */ } shoal_glu;

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

    /* What only some families have; see arch.c for the table. */
    shoal_glu glu;
    bool qkv_bias;
    bool qk_norm;         /* each head's q and k are normalised before rotation */
    bool post_norms;      /* what attention and mlp add to the stream is normalised */
    float embd_scale;     /* of a token's embedding; 1: none */
    float attn_scale;     /* of scores */
    float attn_softcap;   /* of scaled scores; 0: none */
    float logit_softcap;  /* 0: none */
    size_t window;        /* keys that a row of a local layer sees, itself included; 0: no window */
    size_t window_period; /* every period-th layer is global; 0: all are local (if any window) */
    float rope_base_local; /* of local layers */
    float rope_scale;      /* positions of global layers are divided by it (linear scaling) */
} shoal_config;

typedef struct shoal_layer {
    const float *attn_norm; /* [D] */
    const float *ffn_norm;  /* [D] */
    shoal_mat proj[SHOAL_N_PROJ];
    /* Q [H*E, D]  K, V [K*E, D]  O [D, H*E]  GATE, UP [F, D]  DOWN [D, F] */

    bool local; /* looks through cfg.window and turns by model.inv_freq_local */
    /* NULL where the family has none. */
    const float *bias[3];         /* of q [H*E], k and v [K*E] */
    const float *q_norm, *k_norm; /* [E] */
    const float *post_attn_norm;  /* [D] */
    const float *post_ffn_norm;   /* [D] */
} shoal_layer;

typedef struct shoal_model {
    shoal_config cfg;
    shoal_mat embd;              /* [V, D] */
    shoal_mat head;              /* [V, D]; the same view as embd when tied */
    const float *out_norm;       /* [D] */
    const float *inv_freq;       /* [E/2] rotation speeds */
    const float *inv_freq_local; /* [E/2] of local layers; the same array when they do not differ */
    shoal_layer *layers;         /* [n_layer] */
    shoal_gguf *gguf;            /* owned */
    shoal_tokenizer *tok;        /* owned; never NULL */
    struct shoal_residency *residency; /* NULL: weights stay in memory as the system likes */
    struct shoal_model_lazy *lazy; /* private to model.c: what is worked out when first asked for */
} shoal_model;

/* Maps and checks a model file. On failure *out is NULL. */
SHOAL_MUST_USE shoal_status shoal_model_open(shoal_model **out, const char *path, shoal_error *err);

/* The same in pages of a size (shoal_model_open: huge ones). Small for shoal_residency_open. */
SHOAL_MUST_USE shoal_status shoal_model_open_pages(shoal_model **out, const char *path,
                                                   shoal_page_size pages, shoal_error *err);
void shoal_model_close(shoal_model *m);

/* Of shapes and sampled weights, never 0: tells models apart; not a security measure (that is the
 * file's SHA-256, kept by the roles). Worked out when first asked for, as it reads all over the
 * file; kept from then on. */
uint64_t shoal_model_fingerprint(const shoal_model *m);

/* The vector that token `id` enters the first block as, out [D]. */
void shoal_model_embed(const shoal_model *m, int32_t id, float *out);

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
