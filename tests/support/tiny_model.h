/* tiny_model.h - writes small random models so that unit tests need no network.
 *
 * A tiny model is a complete GGUF file of one of the families: byte-level BPE vocabulary with
 * ChatML control tokens and some merges, the ChatML template, random weights from a seed. Same
 * options, same bytes.
 */
#ifndef SHOAL_TESTS_SUPPORT_TINY_MODEL_H
#define SHOAL_TESTS_SUPPORT_TINY_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "kernels/quant.h"

/* Zero fields mean the default in brackets. Columns (n_embd, n_head * head_dim, n_ff) must be
 * multiples of 32. */
typedef struct shoal_tiny_opts {
    const char *arch;         /* ["llama"], "qwen2", "qwen3", "gemma3" */
    size_t window;            /* attention.sliding_window; gemma3 [8], others none */
    size_t period;            /* gemma3: attention.sliding_window_pattern [not written: 6] */
    const bool *local_layers; /* the pattern as a list [n_layer] instead; NULL: none */
    float rope_factor;        /* linear scaling [none] */
    float attn_softcap;       /* [none] */
    float logit_softcap;      /* [none] */
    size_t n_layer;           /* [2] */
    size_t n_embd;            /* [64] */
    size_t n_head;            /* [4] */
    size_t n_head_kv;         /* [2] */
    size_t head_dim;          /* [n_embd / n_head] */
    size_t n_ff;              /* [128] */
    size_t n_ctx;             /* [512] */
    float weight_std;         /* [1 / sqrt(columns)] */
    bool plain_types;         /* f32 projections, embedding and head: for gradient checks */
    bool untied;              /* a separate output.weight */
    const shoal_type *coded;  /* all matrices of this type, their codes and all vectors from
                                 integers (coded_weights.h): the same bytes everywhere. Rows that
                                 do not fill a packed type's groups have its plain type */
    /* Otherwise: embedding Q8_0, projections Q4_1, with layer 1's attention in Q8_0, its gate in
     * Q4_0 and its down in F16, so that every computable type occurs. */
} shoal_tiny_opts;

/* Every family and every variant a file may ask for, in f32: what gradient checks and the reference
 * of tests/kat/tiny_forward.json run through. */
typedef struct shoal_tiny_variant {
    const char *name;
    shoal_tiny_opts opts;
} shoal_tiny_variant;

/* NULL after the last / when there is no such name. */
const shoal_tiny_variant *shoal_tiny_variant_at(size_t i);
const shoal_tiny_variant *shoal_tiny_variant_find(const char *name);

/* Writes the file; opts may be NULL. */
SHOAL_MUST_USE shoal_status shoal_tiny_model_write(const char *path, uint64_t seed,
                                                   const shoal_tiny_opts *opts, shoal_error *err);

/* The same bytes appended to a buffer. */
SHOAL_MUST_USE shoal_status shoal_tiny_model_encode(shoal_buf *out, uint64_t seed,
                                                    const shoal_tiny_opts *opts, shoal_error *err);

/* A fresh temporary file holding a tiny model; path_out [128]. Remove it with remove(). */
SHOAL_MUST_USE shoal_status shoal_tiny_model_temp(char path_out[128], uint64_t seed,
                                                  const shoal_tiny_opts *opts, shoal_error *err);

#endif
