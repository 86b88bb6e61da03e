/* row_index.c - sorted texts and the tree of their common beginnings. */
#include "lora/train/row_index.h"

#include <stdbool.h>
#include <stdlib.h>

#include "kernels/base/mem.h"

static size_t common(const int32_t *a, size_t na, const int32_t *b, size_t nb)
{
    size_t most = na < nb ? na : nb;
    size_t n = 0;
    while (n < most && a[n] == b[n]) {
        n++;
    }
    return n;
}

/* Dictionary order, a beginning before what goes on. */
static int compare_texts(const void *pa, const void *pb)
{
    const shoal_row_text *a = pa;
    const shoal_row_text *b = pb;
    size_t n = common(a->ids, a->n, b->ids, b->n);
    if (n < a->n && n < b->n) return a->ids[n] < b->ids[n] ? -1 : 1;
    return (a->n > b->n) - (a->n < b->n);
}

/* Text i's place in the tree: all texts between its parent and itself share with it at least what
 * the parent does, so the chain of parents is as deep as the tree and not as long as the list. */
static void join(shoal_row_text *texts, size_t i)
{
    shoal_row_text *t = &texts[i];
    size_t p = i == 0 ? 0 : i - 1;
    t->shared = i == 0 ? 0 : (uint32_t)common(t->ids, t->n, texts[p].ids, texts[p].n);
    while (t->shared > 0 && texts[p].shared >= t->shared) {
        p = texts[p].parent;
    }
    t->parent = (uint32_t)p;
}

void shoal_row_index_build(shoal_row_index *x, shoal_row_text *texts, size_t n, uint32_t max_rows)
{
    *x = (shoal_row_index){.texts = texts};
    if (n > 1) qsort(texts, n, sizeof *texts, compare_texts);
    for (; x->n < n; x->n++) {
        shoal_row_text *t = &texts[x->n];
        join(texts, x->n);
        if (t->n - t->shared > max_rows - x->n_rows) break;
        t->first = x->n_rows;
        x->n_rows += t->n - t->shared;
    }
    x->n_left_out = (uint32_t)(n - x->n);
}

void shoal_row_index_clear(shoal_row_index *x)
{
    shoal_free(x->texts);
    *x = (shoal_row_index){.texts = NULL};
}

/* A text in two pieces. */
typedef struct pieces {
    const int32_t *head, *own;
    size_t n_head, n_own;
} pieces;

/* How many of the pieces' tokens t begins with. */
static size_t agrees(const shoal_row_text *t, const pieces *p)
{
    size_t n = common(t->ids, t->n, p->head, p->n_head);
    if (n < p->n_head) return n;
    return n + common(t->ids + n, t->n - n, p->own, p->n_own);
}

static bool is_before(const shoal_row_text *t, const pieces *p)
{
    size_t n = agrees(t, p);
    if (n == p->n_head + p->n_own) return false;
    int32_t next = n < p->n_head ? p->head[n] : p->own[n - p->n_head];
    return n == t->n || t->ids[n] < next;
}

/* The first text in the order that is not before the pieces: if any begins with them, it does. */
static size_t lower_bound(const shoal_row_index *x, const pieces *p)
{
    size_t from = 0;
    size_t to = x->n;
    while (from < to) {
        size_t half = from + (to - from) / 2;
        if (is_before(&x->texts[half], p)) {
            from = half + 1;
        } else {
            to = half;
        }
    }
    return from;
}

void shoal_row_index_find(const shoal_row_index *x, const int32_t *head, size_t n_head,
                          const int32_t *own, size_t n_own, uint32_t *numbers)
{
    const pieces p = {head, own, n_head, n_own};
    size_t i = lower_bound(x, &p);
    if (i == x->n || agrees(&x->texts[i], &p) < n_head + n_own) {
        for (size_t k = 0; k < n_own; k++) {
            numbers[k] = SHOAL_ROW_NONE;
        }
        return;
    }
    for (size_t k = n_own; k-- > 0;) { /* from the end, so that parents are met in order */
        uint32_t row = (uint32_t)(n_head + k);
        while (row < x->texts[i].shared) {
            i = x->texts[i].parent;
        }
        numbers[k] = x->texts[i].first + (row - x->texts[i].shared);
    }
}
