/* block_memory.h - blocks of read prompts in memory, up to a number of bytes; see prompt_cache.h.
 *
 * Layer: lora/infer (private to the prompt cache). Threads: one owner.
 */
#ifndef SHOAL_LORA_INFER_BLOCK_MEMORY_H
#define SHOAL_LORA_INFER_BLOCK_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "lora/infer/prompt_block.h"

enum { SHOAL_BLOCK_MEMORY_MAX = 1 << 14 }; /* blocks */

typedef struct shoal_memory_block {
    shoal_prompt_ref ref;
    uint8_t *data; /* [bytes], owned */
    size_t bytes;
    uint64_t used; /* the larger, the later */
} shoal_memory_block;

typedef struct shoal_block_memory {
    shoal_memory_block *items; /* [n], in no order */
    size_t n, cap;
    size_t bytes, max_bytes;
    uint64_t clock;
} shoal_block_memory;

/* Empty; max_bytes 0 keeps nothing. */
shoal_block_memory shoal_block_memory_init(size_t max_bytes);
void shoal_block_memory_clear(shoal_block_memory *m);

/* NULL when it is not there. */
const shoal_memory_block *shoal_block_memory_find(const shoal_block_memory *m,
                                                  const shoal_prompt_ref *ref);

/* Takes a copy, unless it is there; blocks used longest ago make room. Keeps nothing when memory is
 * out or the block is larger than all of it. */
void shoal_block_memory_put(shoal_block_memory *m, const shoal_prompt_ref *ref,
                            const shoal_buf *bytes);
void shoal_block_memory_touch(shoal_block_memory *m, const shoal_prompt_ref *ref);
void shoal_block_memory_remove(shoal_block_memory *m, const shoal_prompt_ref *ref);

/* Every block, last one first, so that the one being looked at may be removed. False ends it. */
typedef bool shoal_on_memory_block(void *ctx, const shoal_memory_block *b);
void shoal_block_memory_each(const shoal_block_memory *m, shoal_on_memory_block *fn, void *ctx);

#endif
