/* bpe.c - the merge table, and pieces as lists of bytes. */
#include "lora/model/bpe.h"

#include "kernels/base/mem.h"
#include "lora/model/slots.h"

enum { NONE = -1 };

/* ---- table ------------------------------------------------------------------------------------
 */

shoal_status shoal_bpe_init(shoal_bpe *b, size_t n_merges, shoal_error *err)
{
    *b = (shoal_bpe){.max = n_merges, .n_slots = shoal_slot_count(n_merges)};
    for (size_t i = 0; i < 256; i++) {
        b->byte_id[i] = NONE;
    }
    b->merges = shoal_calloc(n_merges, sizeof *b->merges);
    b->slots = shoal_calloc(b->n_slots, sizeof *b->slots);
    if (b->merges == NULL || b->slots == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    }
    return SHOAL_OK;
}

void shoal_bpe_clear(shoal_bpe *b)
{
    shoal_free(b->merges);
    shoal_free(b->slots);
    b->merges = NULL;
    b->slots = NULL;
    b->n_slots = 0;
}

/* The finaliser of splitmix64 over both ids. */
static uint64_t hash_pair(int32_t left, int32_t right)
{
    uint64_t z = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The slot of a pair, or the empty one where it would go; NULL when neither is near. */
static uint32_t *find_slot(const shoal_bpe *b, int32_t left, int32_t right, uint64_t hash)
{
    size_t mask = b->n_slots - 1;
    for (size_t i = 0; i < SHOAL_SLOT_PROBES; i++) {
        uint32_t *slot = &b->slots[((size_t)hash + i) & mask];
        if (*slot == 0) return slot;
        if (!shoal_slot_may_be(*slot, hash)) continue;
        const shoal_bpe_merge *m = &b->merges[shoal_slot_index(*slot)];
        if (m->left == left && m->right == right) return slot;
    }
    return NULL;
}

shoal_status shoal_bpe_add(shoal_bpe *b, shoal_bpe_merge merge, shoal_error *err)
{
    uint64_t hash = hash_pair(merge.left, merge.right);
    uint32_t *slot = find_slot(b, merge.left, merge.right, hash);
    if (slot == NULL || b->n == b->max) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "the merges of the vocabulary collide");
    }
    if (*slot == 0) {
        *slot = shoal_slot_make(hash, b->n);
    }
    b->merges[b->n++] = merge;
    return SHOAL_OK;
}

/* ---- encoding ---------------------------------------------------------------------------------
 */

static bool find_merge(const void *ctx, const shoal_merge_symbol *left,
                       const shoal_merge_symbol *right, shoal_merge_found *out)
{
    if (left->id == NONE || right->id == NONE) return false;
    const shoal_bpe *b = ctx;
    const uint32_t *slot = find_slot(b, left->id, right->id, hash_pair(left->id, right->id));
    if (slot == NULL || *slot == 0) return false;
    size_t rank = shoal_slot_index(*slot);
    *out = (shoal_merge_found){(uint32_t)rank, b->merges[rank].merged};
    return true;
}

shoal_status shoal_bpe_encode(const shoal_bpe *b, shoal_merge_work *w, const char *piece, size_t n,
                              shoal_merge_emit *emit, void *ctx, shoal_error *err)
{
    if (n == 0) return SHOAL_OK;
    SHOAL_TRY(shoal_merge_begin(w, n, err));
    for (size_t i = 0; i < n; i++) {
        shoal_merge_push(w, piece + i, 1, b->byte_id[(uint8_t)piece[i]]);
    }
    shoal_merge_run(w, find_merge, b);
    for (int32_t i = 0; i != NONE; i = w->symbols[i].next) {
        if (w->symbols[i].id != NONE) SHOAL_TRY(emit(ctx, w->symbols[i].id, err));
    }
    return SHOAL_OK;
}
