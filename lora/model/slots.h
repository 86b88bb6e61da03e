/* slots.h - slots of open-addressing tables that map a hash to an index below 2^20.
 *
 * A slot is 32 bits: 21 of index + 1 (0: empty), 11 of the hash. A probe that meets another hash
 * sees so from the slot and need not look at what the index stands for.
 *
 * Layer: lora/model (private to it).
 */
#ifndef SHOAL_LORA_MODEL_SLOTS_H
#define SHOAL_LORA_MODEL_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SHOAL_SLOT_INDEX_BITS = 21, SHOAL_SLOT_MAX_INDEX = 1 << 20, SHOAL_SLOT_PROBES = 1024 };

static inline uint32_t shoal_slot_make(uint64_t hash, size_t index)
{
    return (uint32_t)(hash >> 53) << SHOAL_SLOT_INDEX_BITS | (uint32_t)(index + 1);
}

/* Of a slot that is not empty. */
static inline size_t shoal_slot_index(uint32_t slot)
{
    return (slot & ((1u << SHOAL_SLOT_INDEX_BITS) - 1)) - 1;
}

static inline bool shoal_slot_may_be(uint32_t slot, uint64_t hash)
{
    return slot >> SHOAL_SLOT_INDEX_BITS == (uint32_t)(hash >> 53);
}

/* Slots for n entries, at most half full. */
static inline size_t shoal_slot_count(size_t n)
{
    size_t slots = 16;
    while (slots < 2 * n) {
        slots *= 2;
    }
    return slots;
}

#endif
