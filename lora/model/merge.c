/* merge.c - the list of symbols and the heap of possible merges. */
#include "lora/model/merge.h"

#include "kernels/base/mem.h"

enum { NONE = -1 };

/* A possible merge. It is stale when either symbol has grown or gone since. */
typedef struct shoal_merge_pair {
    uint32_t rank;
    int32_t at; /* the left symbol */
    uint32_t n_left, n_right;
    int32_t merged;
} pair;

/* ---- heap -------------------------------------------------------------------------------------
 */

static bool before(const pair *a, const pair *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(shoal_merge_work *w, pair p)
{
    size_t i = w->n_heap++;
    while (i > 0 && before(&p, &w->heap[(i - 1) / 2])) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = p;
}

static pair heap_pop(shoal_merge_work *w)
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

/* ---- symbols ----------------------------------------------------------------------------------
 */

void shoal_merge_clear(shoal_merge_work *w)
{
    shoal_free(w->symbols);
    shoal_free(w->heap);
    *w = (shoal_merge_work){0};
}

/* n symbols start with n - 1 pairs, and each of at most n - 1 merges takes one pair and adds at
 * most two: the heap never holds more than 2 n. */
shoal_status shoal_merge_begin(shoal_merge_work *w, size_t n, shoal_error *err)
{
    w->n = 0;
    if (n <= w->cap) return SHOAL_OK;
    if (n > INT32_MAX / 4) return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the text is too long");
    size_t cap = w->cap == 0 ? 64 : w->cap;
    while (cap < n) {
        cap *= 2;
    }
    shoal_merge_clear(w);
    w->symbols = shoal_calloc(cap, sizeof *w->symbols);
    w->heap = shoal_calloc(cap, 2 * sizeof *w->heap);
    if (w->symbols == NULL || w->heap == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    }
    w->cap = cap;
    return SHOAL_OK;
}

void shoal_merge_push(shoal_merge_work *w, const char *p, size_t n, int32_t id)
{
    int32_t at = (int32_t)w->n;
    w->symbols[w->n++] = (shoal_merge_symbol){p, (uint32_t)n, id, at - 1, NONE};
    if (at > 0) w->symbols[at - 1].next = at;
}

/* ---- merging ----------------------------------------------------------------------------------
 */

/* Adds the pair of symbol `at` and its successor to the heap, if they merge. */
static void consider(shoal_merge_work *w, shoal_merge_find *find, const void *ctx, int32_t at)
{
    if (at == NONE || w->symbols[at].next == NONE) return;
    const shoal_merge_symbol *left = &w->symbols[at];
    const shoal_merge_symbol *right = &w->symbols[left->next];
    shoal_merge_found found;
    if (find(ctx, left, right, &found)) {
        heap_push(w, (pair){found.rank, at, left->n, right->n, found.id});
    }
}

/* Symbols only grow to the right, so the same lengths mean the same bytes. */
static bool is_stale(const shoal_merge_work *w, const pair *p)
{
    const shoal_merge_symbol *left = &w->symbols[p->at];
    return left->n != p->n_left || left->next == NONE || w->symbols[left->next].n != p->n_right;
}

void shoal_merge_run(shoal_merge_work *w, shoal_merge_find *find, const void *ctx)
{
    w->n_heap = 0;
    for (size_t i = 0; i < w->n; i++) {
        consider(w, find, ctx, (int32_t)i);
    }
    while (w->n_heap > 0) {
        pair p = heap_pop(w);
        if (is_stale(w, &p)) continue;
        shoal_merge_symbol *left = &w->symbols[p.at];
        shoal_merge_symbol *right = &w->symbols[left->next];
        left->id = p.merged;
        left->n += right->n;
        left->next = right->next;
        right->n = 0;
        if (left->next != NONE) w->symbols[left->next].prev = p.at;
        consider(w, find, ctx, left->prev);
        consider(w, find, ctx, p.at);
    }
}
