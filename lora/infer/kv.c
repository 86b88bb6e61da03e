/* kv.c - layout, rings, and the flat form. See kv.h. */
#include "lora/infer/kv.h"

#include <stdint.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/quant.h"
#include "lora/model/arch.h"

enum {
    ALIGN = 64,
    TAKE_BACK = 16 /* tokens that can always be taken back, however short chunks are: drafts */
};

static const struct {
    const char *name;
    shoal_type type;
} KINDS[] = {
    [SHOAL_KV_F16] = {"f16", SHOAL_TYPE_F16},
    [SHOAL_KV_Q8] = {"q8", SHOAL_TYPE_Q8_0},
    [SHOAL_KV_F32] = {"f32", SHOAL_TYPE_F32},
};

bool shoal_kv_kind_parse(const char *name, shoal_kv_kind *out)
{
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        if (strcmp(name, KINDS[i].name) == 0) {
            *out = (shoal_kv_kind)i;
            return true;
        }
    }
    return false;
}

const char *shoal_kv_kind_name(shoal_kv_kind kind)
{
    return KINDS[kind].name;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* First token that token `pos` sees in a local layer. */
static size_t seen_from(const shoal_kv *kv, size_t pos)
{
    return kv->window != 0 && pos >= kv->window ? pos + 1 - kv->window : 0;
}

/* ---- memory -----------------------------------------------------------------------------------
 */

/* Slots of a ring: a chunk is written before its first row looks a window back. Whole tiles, as
 * attention asks. */
static bool ring_slots(size_t window, size_t chunk, size_t *slots)
{
    if (!shoal_add_size(window, max_size(chunk, TAKE_BACK), slots)) return false;
    if (!shoal_add_size(*slots, SHOAL_ATTN_TILE, slots)) return false;
    *slots -= *slots % SHOAL_ATTN_TILE;
    return true;
}

static bool has_local(const shoal_model *m)
{
    for (size_t i = 0; i < m->cfg.n_layer; i++) {
        if (m->layers[i].local) return true;
    }
    return false;
}

/* Bytes of one head of `slots` rows, then of a layer's k and v, added to *total. */
static bool add_layer(const shoal_kv *kv, size_t slots, size_t *total)
{
    size_t head = 0, heads = 0;
    if (!shoal_mul_size(slots, kv->row_bytes, &head) || !shoal_add_size(head, ALIGN - 1, &head)) {
        return false;
    }
    return shoal_mul_size(2 * kv->K, head / ALIGN * ALIGN, &heads) &&
           shoal_arena_add(total, heads, 1);
}

/* Slots of one layer under this plan. */
static size_t slots_of(const shoal_kv *kv, const shoal_model *m, size_t layer)
{
    return m->layers[layer].local && kv->ring != 0 ? kv->ring : kv->n_ctx;
}

shoal_status shoal_kv_plan(shoal_kv *kv, const shoal_model *m, shoal_kv_kind kind, size_t n_ctx,
                           size_t chunk, size_t *bytes, shoal_error *err)
{
    const shoal_config *c = &m->cfg;
    *kv = (shoal_kv){.type = KINDS[kind].type, .n_layer = c->n_layer, .n_ctx = n_ctx};
    kv->K = c->n_head_kv;
    kv->E = c->head_dim;
    kv->row_bytes = shoal_type_row_bytes(shoal_type_get(kv->type), kv->E);
    if (kv->row_bytes == 0) {
        (void)shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "an 8-bit cache for heads %zu wide", kv->E);
        shoal_hint(err, "its blocks are 32 values; f16 works with every model");
        return SHOAL_ERR_UNSUPPORTED;
    }
    kv->window = has_local(m) ? c->window : 0;
    bool fits = kv->window == 0 || ring_slots(kv->window, chunk, &kv->ring);
    if (kv->ring >= n_ctx) kv->ring = 0;
    *bytes = 0;
    fits = fits && shoal_arena_add(bytes, kv->n_layer, sizeof *kv->layers);
    for (size_t i = 0; fits && i < kv->n_layer; i++) {
        fits = add_layer(kv, slots_of(kv, m, i), bytes);
    }
    return fits ? SHOAL_OK : shoal_fail(err, SHOAL_ERR_OVERFLOW, "the cache's size does not fit");
}

void shoal_kv_place(shoal_kv *kv, const shoal_model *m, void *mem)
{
    shoal_arena a = {.base = mem, .size = SIZE_MAX};
    kv->layers = shoal_arena_take(&a, kv->n_layer, sizeof *kv->layers);
    for (size_t i = 0; i < kv->n_layer; i++) {
        shoal_kv_layer *l = &kv->layers[i];
        l->slots = slots_of(kv, m, i);
        l->local = kv->window != 0 && m->layers[i].local;
        l->ring = l->local && kv->ring != 0;
        l->head_bytes = (l->slots * kv->row_bytes + ALIGN - 1) / ALIGN * ALIGN;
        l->k = shoal_arena_take(&a, 2 * kv->K, l->head_bytes);
        l->v = l->k + kv->K * l->head_bytes;
    }
}

size_t shoal_kv_bytes(const shoal_kv *kv)
{
    size_t sum = 0;
    for (size_t i = 0; i < kv->n_layer; i++) {
        sum += 2 * kv->K * kv->layers[i].slots * kv->row_bytes;
    }
    return sum;
}

/* ---- rows -------------------------------------------------------------------------------------
 */

/* Tokens from pos on that lie in consecutive slots, at most n; *slot is the first's. */
static size_t run_of(const shoal_kv_layer *l, size_t pos, size_t n, size_t *slot)
{
    *slot = l->ring ? pos % l->slots : pos;
    return min_size(n, l->slots - *slot);
}

/* Rows x [T, K, E] of one cache of a layer, from position kv->n on. */
static void put_rows(const shoal_kv *kv, const shoal_kv_layer *l, unsigned char *cache,
                     const float *x, size_t T)
{
    for (size_t t = 0; t < T; t++) {
        size_t slot;
        (void)run_of(l, kv->n + t, 1, &slot);
        for (size_t h = 0; h < kv->K; h++) {
            unsigned char *row = cache + h * l->head_bytes + slot * kv->row_bytes;
            shoal_quantize(kv->type, x + (t * kv->K + h) * kv->E, row, kv->E);
        }
    }
}

void shoal_kv_put(const shoal_kv *kv, size_t layer, const float *k, const float *v, size_t T)
{
    const shoal_kv_layer *l = &kv->layers[layer];
    put_rows(kv, l, l->k, k, T);
    put_rows(kv, l, l->v, v, T);
}

void shoal_kv_advance(shoal_kv *kv, size_t T)
{
    kv->n += T;
    if (kv->ring != 0 && kv->n > kv->ring) kv->low = max_size(kv->low, kv->n - kv->ring);
}

void shoal_kv_view(const shoal_kv *kv, size_t layer, shoal_attn *attn)
{
    const shoal_kv_layer *l = &kv->layers[layer];
    attn->k = l->k;
    attn->v = l->v;
    attn->kv_type = kv->type;
    attn->kv_row = kv->row_bytes;
    attn->kv_head = l->head_bytes;
    attn->kv_slots = l->ring ? l->slots : 0;
}

size_t shoal_kv_truncate(shoal_kv *kv, size_t n)
{
    if (n >= kv->n) return kv->n;
    kv->n = kv->low <= seen_from(kv, n) ? n : 0;
    if (kv->n == 0) kv->low = 0;
    return kv->n;
}

/* ---- flat form --------------------------------------------------------------------------------
 */

/* First token of the range [from, end) whose rows a layer gives. */
static size_t given_from(const shoal_kv *kv, const shoal_kv_layer *l, size_t from, size_t end)
{
    return l->local ? min_size(max_size(from, seen_from(kv, end)), end) : from;
}

size_t shoal_kv_state_bytes(const shoal_kv *kv, size_t from, size_t n)
{
    size_t rows = 0;
    for (size_t i = 0; i < kv->n_layer; i++) {
        rows += from + n - given_from(kv, &kv->layers[i], from, from + n);
    }
    return rows * 2 * kv->K * kv->row_bytes;
}

/* Copies rows [from, end) of one cache of a layer out, head by head; returns where `out` goes on.
 */
static unsigned char *take_rows(const shoal_kv *kv, const shoal_kv_layer *l,
                                const unsigned char *cache, size_t from, size_t end,
                                unsigned char *out)
{
    for (size_t h = 0; h < kv->K; h++) {
        for (size_t pos = from, run; pos < end; pos += run) {
            size_t slot;
            run = run_of(l, pos, end - pos, &slot);
            memcpy(out, cache + h * l->head_bytes + slot * kv->row_bytes, run * kv->row_bytes);
            out += run * kv->row_bytes;
        }
    }
    return out;
}

/* The reverse of take_rows, but for ranges that begin at `clear` <= from: rows before `from` become
 * zeros. */
static const unsigned char *give_rows(const shoal_kv *kv, const shoal_kv_layer *l,
                                      unsigned char *cache, size_t clear, size_t from, size_t end,
                                      const unsigned char *in)
{
    for (size_t h = 0; h < kv->K; h++) {
        unsigned char *head = cache + h * l->head_bytes;
        for (size_t pos = clear; pos < end; pos++) {
            size_t slot;
            (void)run_of(l, pos, 1, &slot);
            if (pos < from) {
                memset(head + slot * kv->row_bytes, 0, kv->row_bytes);
                continue;
            }
            memcpy(head + slot * kv->row_bytes, in, kv->row_bytes);
            in += kv->row_bytes;
        }
    }
    return in;
}

bool shoal_kv_export(const shoal_kv *kv, size_t from, size_t n, unsigned char *out)
{
    if (from > kv->n || n > kv->n - from) return false;
    if (kv->low > max_size(from, seen_from(kv, from + n))) return false;
    for (size_t i = 0; i < kv->n_layer; i++) {
        const shoal_kv_layer *l = &kv->layers[i];
        size_t first = given_from(kv, l, from, from + n);
        out = take_rows(kv, l, l->k, first, from + n, out);
        out = take_rows(kv, l, l->v, first, from + n, out);
    }
    return true;
}

bool shoal_kv_import(shoal_kv *kv, size_t from, size_t n, const unsigned char *in)
{
    if (from != kv->n || n > kv->n_ctx - kv->n) return false;
    size_t end = from + n;
    for (size_t i = 0; i < kv->n_layer; i++) {
        const shoal_kv_layer *l = &kv->layers[i];
        size_t first = given_from(kv, l, from, end);
        /* attention multiplies what lies before `first` in its tile by zero: it must be numbers */
        size_t tile = first / SHOAL_ATTN_TILE * SHOAL_ATTN_TILE;
        size_t clear = first == from ? from : max_size(tile, from);
        in = give_rows(kv, l, l->k, clear, first, end, in);
        in = give_rows(kv, l, l->v, clear, first, end, in);
    }
    if (kv->window != 0 && seen_from(kv, end) > from) kv->low = seen_from(kv, end);
    shoal_kv_advance(kv, n);
    return true;
}
