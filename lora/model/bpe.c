/* bpe.c - merge table and heap-driven merging. */
#include "lora/model/bpe.h"

#include <stdbool.h>

#include "kernels/base/mem.h"

enum { MAX_PROBES = 1024, NONE = -1 };

/* A symbol of the piece being merged: a list over an array. id NONE without `alive`: merged away.
 */
typedef struct shoal_bpe_symbol {
    int32_t id; /* NONE: a byte without a token, which nothing merges with */
    int32_t prev, next;
    bool alive;
} symbol;

/* A possible merge. It is stale when either symbol has changed since. */
typedef struct shoal_bpe_pair {
    uint32_t rank;
    int32_t at; /* the left symbol */
    int32_t left, right, merged;
} pair;

/* ---- table ------------------------------------------------------------------------------------
 */

shoal_status shoal_bpe_init(shoal_bpe *b, size_t n_merges, shoal_error *err)
{
    *b = (shoal_bpe){.n_slots = 16};
    while (b->n_slots < 2 * n_merges) {
        b->n_slots *= 2;
    }
    for (size_t i = 0; i < 256; i++) {
        b->byte_id[i] = NONE;
    }
    b->slots = shoal_calloc(b->n_slots, sizeof *b->slots);
    if (b->slots == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < b->n_slots; i++) {
        b->slots[i].left = NONE;
    }
    return SHOAL_OK;
}

void shoal_bpe_clear(shoal_bpe *b)
{
    shoal_free(b->slots);
    b->slots = NULL;
    b->n_slots = 0;
}

/* The finaliser of splitmix64 over both ids. */
static size_t hash_pair(int32_t left, int32_t right)
{
    uint64_t z = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (size_t)(z ^ (z >> 31));
}

/* The slot of a pair, or the empty one where it would go; NULL when neither is near. */
static shoal_bpe_merge *find_slot(const shoal_bpe *b, int32_t left, int32_t right)
{
    size_t mask = b->n_slots - 1;
    size_t at = hash_pair(left, right) & mask;
    for (size_t i = 0; i < MAX_PROBES; i++) {
        shoal_bpe_merge *slot = &b->slots[(at + i) & mask];
        if (slot->left == NONE || (slot->left == left && slot->right == right)) return slot;
    }
    return NULL;
}

shoal_status shoal_bpe_add(shoal_bpe *b, shoal_bpe_merge merge, shoal_error *err)
{
    shoal_bpe_merge *slot = find_slot(b, merge.left, merge.right);
    if (slot == NULL)
        return shoal_fail(err, SHOAL_ERR_FORMAT, "the merges of the vocabulary collide");
    if (slot->left == NONE) {
        *slot = merge;
    }
    return SHOAL_OK;
}

/* ---- heap -------------------------------------------------------------------------------------
 */

static bool before(const pair *a, const pair *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(shoal_bpe_work *w, pair p)
{
    size_t i = w->n_heap++;
    while (i > 0 && before(&p, &w->heap[(i - 1) / 2])) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = p;
}

static pair heap_pop(shoal_bpe_work *w)
{
    pair top = w->heap[0];
    pair last = w->heap[--w->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= w->n_heap) break;
        if (child + 1 < w->n_heap && before(&w->heap[child + 1], &w->heap[child])) child++;
        if (!before(&w->heap[child], &last)) break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

/* ---- merging ----------------------------------------------------------------------------------
 */

void shoal_bpe_work_clear(shoal_bpe_work *w)
{
    shoal_free(w->symbols);
    shoal_free(w->heap);
    *w = (shoal_bpe_work){0};
}

/* A piece of n symbols starts with n - 1 pairs, and each of at most n - 1 merges takes one pair and
 * adds at most two: the heap never holds more than 2 n. */
static shoal_status make_room(shoal_bpe_work *w, size_t n, shoal_error *err)
{
    if (n <= w->cap) return SHOAL_OK;
    size_t cap = w->cap == 0 ? 64 : w->cap;
    while (cap < n) {
        cap *= 2;
    }
    shoal_bpe_work_clear(w);
    w->symbols = shoal_calloc(cap, sizeof *w->symbols);
    w->heap = shoal_calloc(cap, 2 * sizeof *w->heap);
    if (w->symbols == NULL || w->heap == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    }
    w->cap = cap;
    return SHOAL_OK;
}

/* Adds the pair of symbol `at` and its successor to the heap, if the vocabulary merges them. */
static void consider(const shoal_bpe *b, shoal_bpe_work *w, int32_t at)
{
    if (at == NONE || w->symbols[at].next == NONE) return;
    int32_t left = w->symbols[at].id;
    int32_t right = w->symbols[w->symbols[at].next].id;
    if (left == NONE || right == NONE) return;
    const shoal_bpe_merge *m = find_slot(b, left, right);
    if (m != NULL && m->left != NONE) {
        heap_push(w, (pair){m->rank, at, left, right, m->merged});
    }
}

static void merge(const shoal_bpe *b, shoal_bpe_work *w, const pair *p)
{
    symbol *left = &w->symbols[p->at];
    if (!left->alive || left->id != p->left || left->next == NONE) return;
    symbol *right = &w->symbols[left->next];
    if (right->id != p->right) return;
    left->id = p->merged;
    left->next = right->next;
    right->alive = false;
    if (left->next != NONE) {
        w->symbols[left->next].prev = p->at;
    }
    consider(b, w, left->prev);
    consider(b, w, p->at);
}

shoal_status shoal_bpe_encode(const shoal_bpe *b, shoal_bpe_work *w, const char *piece, size_t n,
                              shoal_bpe_emit *emit, void *ctx, shoal_error *err)
{
    if (n == 0) return SHOAL_OK;
    if (n > INT32_MAX / 4) return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the text is too long");
    SHOAL_TRY(make_room(w, n, err));
    for (size_t i = 0; i < n; i++) {
        int32_t at = (int32_t)i;
        w->symbols[i] = (symbol){b->byte_id[(uint8_t)piece[i]], at - 1, at + 1, true};
    }
    w->symbols[n - 1].next = NONE;
    w->n_heap = 0;
    for (size_t i = 0; i < n; i++) {
        consider(b, w, (int32_t)i);
    }
    while (w->n_heap > 0) {
        pair p = heap_pop(w);
        merge(b, w, &p);
    }
    for (int32_t i = 0; i != NONE; i = w->symbols[i].next) {
        if (w->symbols[i].id != NONE) SHOAL_TRY(emit(ctx, w->symbols[i].id, err));
    }
    return SHOAL_OK;
}
