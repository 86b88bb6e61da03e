/* arch.h - what differs between model families, as one table, and the configuration read with it.
 *
 * A family is a row of ARCHS in arch.c. The forward and backward code knows no family by name: it
 * follows the configuration (which unit gates the mlp, which layers look through a window) and the
 * weights a layer has (biases, norms of queries and keys, norms after attention and mlp).
 *
 * Layer: lora/model. Threads: pure functions.
 */
#ifndef SHOAL_LORA_MODEL_ARCH_H
#define SHOAL_LORA_MODEL_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "kernels/kernels.h"
#include "lora/model/gguf.h"
#include "lora/model/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Reads and checks the configuration of a model file; n_vocab is left to the tokenizer. FORMAT for
 * a damaged file, UNSUPPORTED with a hint for a family or variant this build does not compute. */
SHOAL_MUST_USE shoal_status shoal_config_read(shoal_config *cfg, const shoal_gguf *g,
                                              shoal_error *err);

/* The first row of keys that a row at position `pos` sees through the window, itself included;
 * 0 when it sees all. */
static inline uint32_t shoal_window_first(const shoal_config *cfg, uint32_t pos)
{
    return cfg->window != 0 && pos >= cfg->window ? pos + 1 - (uint32_t)cfg->window : 0;
}

/* The mlp's gated unit of this model and its backward; see kernels.h for what may alias. */
void shoal_glu_fwd(const shoal_exec *ex, const shoal_config *cfg, const float *g, const float *u,
                   size_t n, float *y);
void shoal_glu_bwd(const shoal_exec *ex, const shoal_config *cfg, const float *g, const float *u,
                   const float *dy, size_t n, float *dg, float *du);

#ifdef __cplusplus
}
#endif
#endif
