/* block_memory.c - a small unordered list: there are hundreds of blocks, each of a megabyte. */
#include "lora/infer/block_memory.h"

#include <string.h>

#include "kernels/base/mem.h"

shoal_block_memory shoal_block_memory_init(size_t max_bytes)
{
    return (shoal_block_memory){.max_bytes = max_bytes};
}

/* Blocks hold what was said: their memory is wiped. */
static void remove_at(shoal_block_memory *m, size_t i)
{
    shoal_memory_block *b = &m->items[i];
    shoal_wipe(b->data, b->bytes);
    shoal_free(b->data);
    m->bytes -= b->bytes;
    *b = m->items[--m->n];
}

void shoal_block_memory_clear(shoal_block_memory *m)
{
    while (m->n > 0) {
        remove_at(m, m->n - 1);
    }
    shoal_free(m->items);
    *m = shoal_block_memory_init(m->max_bytes);
}

static bool same_ref(const shoal_prompt_ref *a, const shoal_prompt_ref *b)
{
    return a->own == b->own && a->parent == b->parent && a->from == b->from && a->n == b->n;
}

/* m->n when it is not there. */
static size_t index_of(const shoal_block_memory *m, const shoal_prompt_ref *ref)
{
    size_t i = 0;
    while (i < m->n && !same_ref(&m->items[i].ref, ref)) {
        i++;
    }
    return i;
}

const shoal_memory_block *shoal_block_memory_find(const shoal_block_memory *m,
                                                  const shoal_prompt_ref *ref)
{
    size_t i = index_of(m, ref);
    return i < m->n ? &m->items[i] : NULL;
}

static void remove_oldest(shoal_block_memory *m)
{
    size_t oldest = 0;
    for (size_t i = 1; i < m->n; i++) {
        if (m->items[i].used < m->items[oldest].used) oldest = i;
    }
    remove_at(m, oldest);
}

static bool has_slot(shoal_block_memory *m)
{
    if (m->n < m->cap) return true;
    size_t cap = m->cap == 0 ? 64 : 2 * m->cap;
    if (cap > SHOAL_BLOCK_MEMORY_MAX) return false;
    shoal_memory_block *bigger = shoal_realloc(m->items, cap * sizeof *bigger);
    if (bigger == NULL) return false;
    m->items = bigger;
    m->cap = cap;
    return true;
}

void shoal_block_memory_put(shoal_block_memory *m, const shoal_prompt_ref *ref,
                            const shoal_buf *bytes)
{
    if (bytes->len > m->max_bytes || index_of(m, ref) < m->n) return;
    while (m->n > 0 && (m->bytes > m->max_bytes - bytes->len || m->n == SHOAL_BLOCK_MEMORY_MAX)) {
        remove_oldest(m);
    }
    uint8_t *data = shoal_alloc(bytes->len);
    if (data == NULL || !has_slot(m)) {
        shoal_free(data);
        return;
    }
    memcpy(data, bytes->data, bytes->len);
    m->items[m->n++] = (shoal_memory_block){*ref, data, bytes->len, ++m->clock};
    m->bytes += bytes->len;
}

void shoal_block_memory_touch(shoal_block_memory *m, const shoal_prompt_ref *ref)
{
    size_t i = index_of(m, ref);
    if (i < m->n) m->items[i].used = ++m->clock;
}

void shoal_block_memory_remove(shoal_block_memory *m, const shoal_prompt_ref *ref)
{
    size_t i = index_of(m, ref);
    if (i < m->n) remove_at(m, i);
}

void shoal_block_memory_each(const shoal_block_memory *m, shoal_on_memory_block *fn, void *ctx)
{
    for (size_t i = m->n; i-- > 0;) {
        if (!fn(ctx, &m->items[i])) return;
    }
}
