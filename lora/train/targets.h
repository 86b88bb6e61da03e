/* targets.h - the projections an adapter changes, as people write them.
 *
 * Layer: lora/train. Threads: pure functions.
 */
#ifndef SHOAL_LORA_TRAIN_TARGETS_H
#define SHOAL_LORA_TRAIN_TARGETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "all", "attn", "mlp", or a comma-separated list of q, k, v, o, gate, up, down (also as PEFT's
 * q_proj and so on) to bits of shoal_proj. False on anything else and on an empty list. */
bool shoal_targets_parse(const char *text, uint32_t *targets);

/* A rank for all of *targets, "8"; or ranks by name, "q=16,v=16,mlp=4"; or both, "8,q=16", where
 * later words hold. Targets no word speaks of leave *targets, those named join it. ranks [7] is by
 * shoal_proj, 0 where not adapted. False on anything else, and on ranks not in 1..256. */
bool shoal_ranks_parse(const char *text, uint32_t *targets, size_t *ranks);

/* The list again, "q,k,v"; cut to fit. */
void shoal_targets_format(uint32_t targets, char *out, size_t n);

#ifdef __cplusplus
}
#endif
#endif
