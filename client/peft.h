/* peft.h - LoRA adapters in the form of the PEFT library: a directory with adapter_config.json and
 * adapter_model.safetensors.
 *
 * Two things differ from Shoal's own form. Names: base_model.model.model.layers.L.self_attn.q_proj
 * .lora_A.weight and so on. Rows of lora_B of q and k: PEFT has them as the original weights do
 * (RoPE pairs j with j + E/2), a GGUF file of arch llama pairs 2j with 2j + 1, so per head GGUF row
 * 2j is PEFT row j and GGUF row 2j + 1 is PEFT row E/2 + j.
 *
 * Layer: client. Threads: no shared state.
 */
#ifndef SHOAL_CLIENT_PEFT_H
#define SHOAL_CLIENT_PEFT_H

#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "lora/model/model.h"
#include "lora/train/adapter.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Reads a directory for this model. Refused with a hint: ranks that differ between layers, DoRA,
 * trained biases or embeddings, layers left out, shapes of another model. rsLoRA's scale
 * (alpha / sqrt(r)) is carried over in alpha. */
SHOAL_MUST_USE shoal_status shoal_peft_load(shoal_adapter **out, const shoal_model *m,
                                            const char *dir, shoal_error *err);

/* Writes such a directory (made if needed; its parent must exist), each file whole or not at all.
 */
SHOAL_MUST_USE shoal_status shoal_peft_save(const shoal_adapter *a, const char *dir,
                                            shoal_error *err);

/* Appends a safetensors file holding `params`, a flat vector in the layout of a->params (the
 * parameters themselves, or their gradient), under PEFT's names and in PEFT's row order. */
SHOAL_MUST_USE shoal_status shoal_peft_encode(const shoal_adapter *a, const float *params,
                                              shoal_buf *out, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
