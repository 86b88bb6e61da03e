/* pretokenize.h - cuts text into the pieces that BPE merges within.
 *
 * Layer: lora/model. Threads: pure functions.
 */
#ifndef SHOAL_LORA_MODEL_PRETOKENIZE_H
#define SHOAL_LORA_MODEL_PRETOKENIZE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* GPT2 is the pattern of Radford et al. 2019:
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * SMOLLM first makes every number character a piece of its own, then applies GPT2 between them. */
typedef enum shoal_pretok { SHOAL_PRETOK_GPT2 = 1, SHOAL_PRETOK_SMOLLM = 2 } shoal_pretok;

/* Bytes of the piece at the beginning of p [n >= 1]; at least 1. */
size_t shoal_pretok_next(shoal_pretok kind, const char *p, size_t n);

#ifdef __cplusplus
}
#endif
#endif
