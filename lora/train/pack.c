/* pack.c - common beginnings, first-fit-decreasing, and the layout of a row of tokens. */
#include "lora/train/pack.h"

#include <string.h>

#include "kernels/noise.h"

#define NOT_LAID UINT32_MAX

size_t shoal_sample_rows(const shoal_sample *s)
{
    for (size_t i = s->n; i > 1; i--) {
        if (s->mask[i - 1] != 0) {
            return i - 1;
        }
    }
    return 0;
}

size_t shoal_sample_targets(const shoal_sample *s)
{
    size_t n = 0;
    for (size_t i = 1; i < s->n; i++) {
        n += s->mask[i] != 0;
    }
    return n;
}

/* ---- common beginnings ----------------------------------------------------------------------- */

/* Tokens of a sample that may be shared: those whose rows predict no target. */
static size_t may_share(const shoal_sample *s)
{
    size_t first = 1;
    while (first < s->n && s->mask[first] == 0) {
        first++;
    }
    return first - 1;
}

static size_t common_beginning(const shoal_sample *a, const shoal_sample *b)
{
    size_t most = may_share(a) < may_share(b) ? may_share(a) : may_share(b);
    size_t n = 0;
    while (n < most && a->ids[n] == b->ids[n]) {
        n++;
    }
    return n;
}

static const shoal_sample *sample(const shoal_packing *p, size_t i)
{
    return &p->samples[p->from + i];
}

/* Dictionary order of what may be shared, so that common beginnings lie next to each other. */
static bool begins_before(const shoal_packing *p, size_t a, size_t b)
{
    const shoal_sample *x = sample(p, a);
    const shoal_sample *y = sample(p, b);
    size_t n = common_beginning(x, y);
    size_t left_x = may_share(x) - n;
    size_t left_y = may_share(y) - n;
    return left_x > 0 && left_y > 0 ? x->ids[n] < y->ids[n] : left_x < left_y;
}

/* Order of placing: large groups before small ones, a group's longest sample first. */
static bool is_placed_before(const shoal_packing *p, size_t a, size_t b)
{
    size_t ga = p->group[a];
    size_t gb = p->group[b];
    if (ga == gb) return p->rows[a] > p->rows[b];
    return p->together[ga] != p->together[gb] ? p->together[ga] > p->together[gb] : ga < gb;
}

/* Stable insertion: a window is small, and nothing may be allocated. */
static void sort(const shoal_packing *p, bool (*before)(const shoal_packing *, size_t, size_t),
                 uint16_t *order)
{
    for (size_t i = 0; i < p->n; i++) {
        size_t at = i;
        for (; at > 0 && before(p, i, order[at - 1]); at--) {
            order[at] = order[at - 1];
        }
        order[at] = (uint16_t)i;
    }
}

/* Cuts the sorted samples into groups so that as many rows as possible are saved: saved[j], the
 * most among the first j, ends with a group from start[j] on, whose members but one do without
 * their common beginning. */
static void cut_groups(const shoal_packing *p, const uint16_t *order, uint16_t *start)
{
    uint64_t saved[SHOAL_PACK_WINDOW + 1] = {0};
    uint32_t next[SHOAL_PACK_WINDOW]; /* tokens in common with the next sample */
    for (size_t i = 0; i + 1 < p->n; i++) {
        next[i] = (uint32_t)common_beginning(sample(p, order[i]), sample(p, order[i + 1]));
    }
    for (size_t end = 1; end <= p->n; end++) {
        saved[end] = saved[end - 1];
        start[end] = (uint16_t)(end - 1);
        uint32_t common = UINT32_MAX;
        for (size_t i = end - 1; i-- > 0;) {
            common = next[i] < common ? next[i] : common;
            uint64_t with = saved[i] + (uint64_t)common * (end - 1 - i);
            if (common >= SHOAL_PACK_SHARE_MIN && with > saved[end] && !p->apart) {
                saved[end] = with;
                start[end] = (uint16_t)i;
            }
        }
    }
}

static void make_groups(shoal_packing *p)
{
    uint16_t order[SHOAL_PACK_WINDOW];
    uint16_t start[SHOAL_PACK_WINDOW + 1];
    sort(p, begins_before, order);
    cut_groups(p, order, start);
    p->n_groups = 0;
    for (size_t end = p->n; end > 0; end = start[end]) {
        size_t first = start[end];
        p->shared[p->n_groups] = 0;
        if (end - first > 1) { /* the ends of a sorted run have in common what all have */
            size_t common = common_beginning(sample(p, order[first]), sample(p, order[end - 1]));
            p->shared[p->n_groups] = (uint32_t)common;
        }
        p->together[p->n_groups] = p->shared[p->n_groups];
        for (size_t i = first; i < end; i++) {
            p->group[order[i]] = (uint16_t)p->n_groups;
            p->together[p->n_groups] += p->rows[order[i]] - p->shared[p->n_groups];
        }
        p->n_groups++;
    }
}

/* ---- first-fit-decreasing -------------------------------------------------------------------- */

/* The packs so far. */
typedef struct bins {
    size_t max_rows;
    size_t used[SHOAL_PACK_WINDOW]; /* rows of each */
} bins;

/* Puts sample i where it fits; `order` [done] are those that have their place. */
static void place(shoal_packing *p, bins *b, size_t i, const uint16_t *order, size_t done)
{
    bool has_beginning[SHOAL_PACK_WINDOW] = {false};
    for (size_t k = 0; k < done; k++) {
        if (p->group[order[k]] == p->group[i]) {
            has_beginning[p->pack[order[k]]] = true;
        }
    }
    size_t own = p->rows[i] - p->shared[p->group[i]];
    size_t at = 0;
    while (at < p->n_packs && !(has_beginning[at] && own <= b->max_rows - b->used[at])) {
        at++;
    }
    if (at == p->n_packs) { /* the first of its group: where all of it fits */
        bool is_first = done == 0 || p->group[order[done - 1]] != p->group[i];
        size_t whole = p->together[p->group[i]];
        own = p->rows[i];
        size_t need = is_first && whole <= b->max_rows ? whole : own;
        at = 0;
        while (at < p->n_packs && need > b->max_rows - b->used[at]) {
            at++;
        }
    }
    if (at == p->n_packs) {
        b->used[p->n_packs++] = 0;
    }
    p->pack[i] = (uint16_t)at;
    b->used[at] += own;
}

size_t shoal_packing_make(shoal_packing *p, const shoal_sample *samples, size_t from, size_t n,
                          size_t max_rows)
{
    uint16_t order[SHOAL_PACK_WINDOW];
    bins b;
    b.max_rows = max_rows;
    p->samples = samples;
    p->from = from;
    p->n = n - from < SHOAL_PACK_WINDOW ? n - from : SHOAL_PACK_WINDOW;
    p->n_packs = 0;
    for (size_t i = 0; i < p->n; i++) {
        p->rows[i] = (uint32_t)shoal_sample_rows(sample(p, i));
    }
    make_groups(p);
    sort(p, is_placed_before, order);
    for (size_t i = 0; i < p->n; i++) {
        place(p, &b, order[i], order, i);
    }
    return p->n;
}

/* ---- layout ---------------------------------------------------------------------------------- */

/* Keys and length of the rows of tokens [begin, end), which come next. */
static void append_keys(shoal_pack *pack, const shoal_sample *s, size_t begin, size_t end)
{
    uint64_t key = pack->start_key;
    for (size_t i = 0; pack->key != NULL && i < end; i++) {
        key = shoal_noise_key(key, (uint64_t)(uint32_t)s->ids[i]);
        if (i >= begin) pack->key[pack->n_rows + i - begin] = key;
    }
    for (size_t i = begin; pack->length != NULL && i < end; i++) {
        pack->length[pack->n_rows + i - begin] = (uint32_t)s->n;
    }
}

/* Rows of tokens [begin, end) of a sample, which see `shared` rows from `base` on and those before
 * them from token `shared` on. */
static void append_rows(shoal_pack *pack, const shoal_sample *s, size_t begin, size_t end,
                        size_t base, size_t shared)
{
    size_t own = pack->n_rows - (begin - shared);
    append_keys(pack, s, begin, end);
    for (size_t i = begin; i < end; i++) {
        size_t t = pack->n_rows++;
        pack->ids[t] = s->ids[i];
        pack->pos[t] = (uint32_t)i;
        pack->first[t] = (uint32_t)base;
        pack->hole[t] = (uint32_t)(base + shared);
        pack->hole_end[t] = (uint32_t)own;
    }
    pack->has_holes = pack->has_holes || own > base + shared;
}

static void append_targets(shoal_pack *pack, const shoal_sample *s, size_t begin, size_t end,
                           size_t index)
{
    for (size_t i = begin; i < end; i++) {
        if (s->mask[i + 1] != 0) {
            pack->sup_row[pack->n_sup] = (uint32_t)(pack->n_rows + i - begin);
            pack->sup_target[pack->n_sup] = s->ids[i + 1];
            pack->sup_sample[pack->n_sup] = (uint32_t)index;
            pack->n_sup++;
        }
    }
}

void shoal_packing_fill(const shoal_packing *p, size_t which, shoal_pack *pack)
{
    uint32_t laid[SHOAL_PACK_WINDOW]; /* where a group's beginning lies in this pack */
    memset(laid, 0xff, sizeof laid);  /* NOT_LAID */
    pack->n_rows = 0;
    pack->n_sup = 0;
    pack->n_tokens = 0;
    pack->has_holes = false;
    for (size_t i = 0; i < p->n; i++) {
        if (p->pack[i] != which) {
            continue;
        }
        const shoal_sample *s = sample(p, i);
        uint32_t *base = &laid[p->group[i]];
        size_t shared = p->shared[p->group[i]];
        if (*base == NOT_LAID) {
            *base = (uint32_t)pack->n_rows;
            append_rows(pack, s, 0, shared, pack->n_rows, 0);
        }
        append_targets(pack, s, shared, p->rows[i], p->from + i);
        append_rows(pack, s, shared, p->rows[i], *base, shared);
        pack->n_tokens += p->rows[i];
    }
}
