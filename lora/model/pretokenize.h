/* pretokenize.h - cuts text into the pieces that BPE merges within.
 *
 * Layer: lora/model. Threads: pure functions.
 */
#ifndef SHOAL_LORA_MODEL_PRETOKENIZE_H
#define SHOAL_LORA_MODEL_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* GPT2 is the pattern of Radford et al. 2019:
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * SMOLLM first makes every number character a piece of its own, then applies GPT2 between them.
 * QWEN2 (and LLAMA3, which takes up to three number characters, \p{N}{1,3}):
 *     (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*
 *     |\s*[\r\n]+|\s+(?!\S)|\s+ */
typedef enum shoal_pretok {
    SHOAL_PRETOK_GPT2 = 1,
    SHOAL_PRETOK_SMOLLM = 2,
    SHOAL_PRETOK_QWEN2 = 3,
    SHOAL_PRETOK_LLAMA3 = 4
} shoal_pretok;

/* By the name in tokenizer.ggml.pre; false when it is unknown. */
bool shoal_pretok_find(const char *name, size_t n, shoal_pretok *out);

/* Bytes of the piece at the beginning of p [n >= 1]; at least 1. */
size_t shoal_pretok_next(shoal_pretok kind, const char *p, size_t n);

#ifdef __cplusplus
}
#endif
#endif
