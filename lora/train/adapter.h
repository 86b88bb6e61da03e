/* adapter.h - low-rank adapters over a frozen base model.
 *
 * For each adapted projection W [M, N] an adapter holds A [R, N] and B [M, R]; the effective weight
 * is W + scale * B A with scale = alpha / R.  Source: Hu et al. 2021, section 4.1.
 *
 * All parameters live in one flat f32 array, in manifest order: layer by layer, within a layer in
 * the order of shoal_proj, A before B. That array is what training updates, what a round sums, and
 * what the file holds. Rows of B for q and k are in the order of the GGUF file's own rows (its RoPE
 * pairs); conversion to and from PEFT's order happens only at import and export.
 *
 * Layer: lora/train. May include lora/model and kernels/.
 * Threads: read by many or written by one.
 */
#ifndef SHOAL_LORA_TRAIN_ADAPTER_H
#define SHOAL_LORA_TRAIN_ADAPTER_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "lora/model/model.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_LORA_MAX_RANK = 256 };

/* Which projections, by bit (1u << SHOAL_PROJ_Q ...). */
enum { SHOAL_TARGETS_ALL = (1u << SHOAL_N_PROJ) - 1u };

typedef struct shoal_lora_spec {
    size_t rank;                /* 1..SHOAL_LORA_MAX_RANK; the largest, if they differ */
    float alpha;                /* > 0 */
    uint32_t targets;           /* bits of shoal_proj, not 0 */
    size_t first_layer;         /* the lowest adapted layer; 0 adapts all, n_layer - k the top k */
    size_t ranks[SHOAL_N_PROJ]; /* of each projection, where they differ; all 0: `rank` */
} shoal_lora_spec;

/* Rank of a projection; 0 when it is not adapted. */
size_t shoal_lora_rank(const shoal_lora_spec *spec, shoal_proj p);

/* A and B of one projection; views into the flat array. a is NULL when not adapted. */
typedef struct shoal_lora_pair {
    float *a;    /* [R, N] */
    float *b;    /* [M, R] */
    size_t rank; /* R */
    float scale; /* alpha / R: rsLoRA (Kalajdzievski 2023) is alpha sqrt(R) in the spec */
} shoal_lora_pair;

typedef struct shoal_adapter {
    shoal_lora_spec spec;
    shoal_config cfg;          /* of the base model it belongs to */
    uint64_t base_fingerprint; /* shoal_model_fingerprint(); 0 when the file did not say */
    float *params;             /* [n_params], owned */
    size_t n_params;
    shoal_lora_pair *pairs; /* [n_layer * SHOAL_N_PROJ] */
} shoal_adapter;

/* A fresh adapter: A ~ normal(0, 1/sqrt(N)) from the seed, B = 0, so it changes nothing yet. */
SHOAL_MUST_USE shoal_status shoal_adapter_open(shoal_adapter **out, const shoal_model *m,
                                               const shoal_lora_spec *spec, uint64_t seed,
                                               shoal_error *err);
void shoal_adapter_close(shoal_adapter *a);

/* The pair of a projection; never NULL, its `a` is NULL when not adapted. */
const shoal_lora_pair *shoal_adapter_pair(const shoal_adapter *a, size_t layer, shoal_proj p);

/* Reads a GGUF LoRA file as llama.cpp writes it (general.type=adapter, adapter.type=lora,
 * adapter.lora.alpha; NAME.weight.lora_a [R, N], NAME.weight.lora_b [M, R]; F32 or F16) and checks
 * every shape against the model: an adapter of another model is refused with a hint, and so are
 * values that are not finite. Every adapted layer must adapt the same projections at the same
 * ranks. */
SHOAL_MUST_USE shoal_status shoal_adapter_load(shoal_adapter **out, const shoal_model *m,
                                               const char *path, shoal_error *err);

/* Encodes as such a file (f32) that llama.cpp loads. Same adapter, same bytes. The fingerprint of
 * the base travels in the key shoal.base_fingerprint, which other programs ignore. */
SHOAL_MUST_USE shoal_status shoal_adapter_encode(const shoal_adapter *a, shoal_buf *out,
                                                 shoal_error *err);

/* The same from bytes in memory, e.g. a download; bytes are only read during the call. */
SHOAL_MUST_USE shoal_status shoal_adapter_decode(shoal_adapter **out, const shoal_model *m,
                                                 const void *data, size_t n, shoal_error *err);

/* Canonical text of everything that gives a position in `params` its meaning: architecture, shapes,
 * rank, alpha, targets, order. Equal manifests mean vectors may be added; roles hash it. */
SHOAL_MUST_USE shoal_status shoal_adapter_manifest(const shoal_adapter *a, shoal_buf *out,
                                                   shoal_error *err);

/* Rows of B [heads * E, cols] of q and k between PEFT's order, where a head's rotation pairs are
 * (j, j + E/2), and that of GGUF files of architecture llama, where they are (2j, 2j + 1): within a
 * head, GGUF row 2j is PEFT row j and GGUF row 2j + 1 is PEFT row E/2 + j. E is even; in and out
 * must not overlap. */
void shoal_rope_rows_from_peft(const float *in, float *out, size_t heads, size_t E, size_t cols);
void shoal_rope_rows_to_peft(const float *in, float *out, size_t heads, size_t E, size_t cols);

#ifdef __cplusplus
}
#endif
#endif
