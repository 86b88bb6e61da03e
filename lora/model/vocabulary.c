/* vocabulary.c - pieces end to end, and a table of 32-bit slots over them. */
#include "lora/model/vocabulary.h"

#include <string.h>

#include "kernels/base/mem.h"
#include "lora/model/slots.h"

enum { NONE = -1 };

/* ---- hash -------------------------------------------------------------------------------------
 */

static uint64_t mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9fb21c651e98df25u;
    return h ^ h >> 32;
}

/* Eight bytes a step: pieces are short, and every start of a program hashes all of them. The value
 * is used within the process only. */
static uint64_t hash_bytes(shoal_str s)
{
    uint64_t h = 0x9e3779b97f4a7c15u ^ s.n;
    const char *p = s.p;
    size_t n = s.n;
    for (; n >= sizeof(uint64_t); n -= sizeof(uint64_t), p += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        h = mix(h, word);
    }
    uint64_t rest = 0;
    if (n >= sizeof(uint32_t)) { /* two loads that overlap */
        uint32_t low;
        uint32_t high;
        memcpy(&low, p, sizeof low);
        memcpy(&high, p + n - sizeof high, sizeof high);
        rest = (uint64_t)high << 32 | low;
    } else if (n > 0) {
        rest = (uint64_t)(uint8_t)p[0] | (uint64_t)(uint8_t)p[n / 2] << 8 |
               (uint64_t)(uint8_t)p[n - 1] << 16;
    }
    return mix(mix(h, rest), s.n);
}

/* ---- table ------------------------------------------------------------------------------------
 */

/* The slot of these bytes, or the empty one where they would go; NULL when neither is near. */
static uint32_t *find_slot(const shoal_vocabulary *v, shoal_str bytes, uint64_t hash)
{
    size_t mask = v->n_slots - 1;
    for (size_t i = 0; i < SHOAL_SLOT_PROBES; i++) {
        uint32_t *slot = &v->slots[((size_t)hash + i) & mask];
        if (*slot == 0) return slot;
        if (!shoal_slot_may_be(*slot, hash)) continue;
        shoal_str have = shoal_vocabulary_piece(v, shoal_slot_index(*slot));
        if (have.n == bytes.n && memcmp(have.p, bytes.p, bytes.n) == 0) return slot;
    }
    return NULL;
}

int32_t shoal_vocabulary_find(const shoal_vocabulary *v, shoal_str bytes)
{
    if (bytes.n == 0) return NONE;
    const uint32_t *slot = find_slot(v, bytes, hash_bytes(bytes));
    return slot == NULL || *slot == 0 ? NONE : (int32_t)shoal_slot_index(*slot);
}

shoal_status shoal_vocabulary_init(shoal_vocabulary *v, size_t max, size_t text_max,
                                   shoal_error *err)
{
    *v = (shoal_vocabulary){.max = max, .n_slots = shoal_slot_count(max)};
    if (max > SHOAL_SLOT_MAX_INDEX || text_max > UINT32_MAX) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "a vocabulary of %zu tokens, %zu bytes", max,
                          text_max);
    }
    v->text = shoal_alloc(text_max);
    v->begin = shoal_calloc(max + 1, sizeof *v->begin);
    v->slots = shoal_calloc(v->n_slots, sizeof *v->slots);
    if (v->text == NULL || v->begin == NULL || v->slots == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    }
    return SHOAL_OK;
}

void shoal_vocabulary_clear(shoal_vocabulary *v)
{
    shoal_free(v->text);
    shoal_free(v->begin);
    shoal_free(v->slots);
    *v = (shoal_vocabulary){0};
}

char *shoal_vocabulary_next(shoal_vocabulary *v)
{
    return v->text + v->begin[v->n];
}

void shoal_vocabulary_add(shoal_vocabulary *v, size_t n)
{
    v->begin[v->n + 1] = v->begin[v->n] + (uint32_t)n;
    v->n++;
}

/* False when there is no place near. */
static bool insert(shoal_vocabulary *v, size_t id, uint64_t hash)
{
    uint32_t *slot = find_slot(v, shoal_vocabulary_piece(v, id), hash);
    if (slot == NULL) return false;
    if (*slot == 0) {
        *slot = shoal_slot_make(hash, id);
    }
    return true;
}

static void trim(shoal_vocabulary *v)
{
    char *text = shoal_realloc(v->text, v->begin[v->n]);
    if (text != NULL) { /* when not, the larger block does as well */
        v->text = text;
    }
}

/* Hashing runs ahead of inserting: the slots are all over a table larger than the caches, and are
 * on their way while further pieces are hashed. */
shoal_status shoal_vocabulary_index(shoal_vocabulary *v, shoal_vocabulary_findable *findable,
                                    const void *ctx, shoal_error *err)
{
    enum { AHEAD = 16 };
    uint64_t hashes[AHEAD] = {0};
    trim(v);
    for (size_t i = 0; i < v->n + AHEAD; i++) {
        size_t id = i - AHEAD;
        bool wanted = i >= AHEAD && v->begin[id + 1] > v->begin[id] && findable(ctx, id);
        if (wanted && !insert(v, id, hashes[id % AHEAD])) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "the vocabulary's tokens collide");
        }
        if (i >= v->n) continue;
        hashes[i % AHEAD] = hash_bytes(shoal_vocabulary_piece(v, i));
        __builtin_prefetch(&v->slots[(size_t)hashes[i % AHEAD] & (v->n_slots - 1)], 1);
    }
    return SHOAL_OK;
}
