/* safetensors_read.h - reads the reference gradients and adapters of the test vectors.
 *
 * Format: u64 header bytes, a JSON object name -> {dtype, shape, data_offsets}, then the data
 * (huggingface.co/docs/safetensors). F32 only. For trusted files: the vectors.
 */
#ifndef SHOAL_TESTS_SUPPORT_SAFETENSORS_READ_H
#define SHOAL_TESTS_SUPPORT_SAFETENSORS_READ_H

#include <stddef.h>
#include <stdint.h>

#include "lora/train/adapter.h"

typedef struct safetensors safetensors;

/* Fails the running test when it cannot. */
safetensors *safetensors_open(const char *path);
void safetensors_close(safetensors *s);

/* The n values of a tensor of that name and size; fails the test when there is none. */
const float *safetensors_get(const safetensors *s, const char *name, size_t n);

/* Copies the elements of an I16 tensor. */
void safetensors_read_i16(const safetensors *s, const char *name, int16_t *out, size_t n);

/* Copies a PEFT LoRA file into a flat vector in the layout of a->params, rows of q and k put into
 * the order of the GGUF file. Works for adapters and for their gradients. */
void safetensors_read_peft(const safetensors *s, const shoal_adapter *a, float *params);

#endif
