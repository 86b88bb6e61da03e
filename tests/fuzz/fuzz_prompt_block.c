/* fuzz_prompt_block.c - any bytes as a block of the prompt cache: its head and the whole. */
#include <stdint.h>
#include <string.h>

#include "kernels/base/hash.h"
#include "kernels/base/mem.h"
#include "lora/infer/prompt_block.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned g_sink; /* keeps the reads below */

static void use(const shoal_prompt_block *b)
{
    const int32_t ids[3] = {1, 2, 3};
    shoal_prompt_id id;
    memcpy(id.bytes, b->id, sizeof id.bytes);
    g_sink += (unsigned)shoal_prompt_block_common(b, &id, ids, 3);
    for (size_t i = 0; i < (size_t)b->from + b->n; i++) {
        g_sink += (unsigned)shoal_prompt_block_token(b, i);
    }
    for (size_t i = 0; i < b->state_bytes; i++) {
        g_sink += b->state[i];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    shoal_prompt_block b;
    if (shoal_prompt_block_decode_head(&b, data, size, NULL) == SHOAL_OK) use(&b);
    if (shoal_prompt_block_decode(&b, data, size, NULL) == SHOAL_OK) use(&b);
    if (size < 8) return 0;
    /* The sum stands in the way of chance: once more with a right one. */
    uint8_t *copy = shoal_alloc(size);
    if (copy == NULL) return 0;
    memcpy(copy, data, size - 8);
    uint64_t sum = shoal_fnv64(SHOAL_FNV64_INIT, data, size - 8);
    for (size_t i = 0; i < 8; i++) {
        copy[size - 8 + i] = (uint8_t)(sum >> (8 * i));
    }
    if (shoal_prompt_block_decode(&b, copy, size, NULL) == SHOAL_OK) use(&b);
    shoal_free(copy);
    return 0;
}
