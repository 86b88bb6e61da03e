/* kv.h - keys and values of the tokens a session has read: their layout, and nothing else knows it.
 *
 * Each layer keeps, for each key head, its rows one behind the other: [K][slots][E], so that a
 * query reads one stream. A global layer has a slot for every token of the context. A local layer
 * (one that looks through a window) has a ring: token p lies in slot p mod ring, and the ring holds
 * a window and a chunk, whatever the context. What it forgets can be had again only by reading the
 * tokens again, see shoal_kv_truncate.
 *
 * Rows are f32, f16, or 8-bit blocks of 32 with one f16 scale each (Q8_0 of quant.h).
 *
 * Layer: lora/infer. Threads: one owner.
 */
#ifndef SHOAL_LORA_INFER_KV_H
#define SHOAL_LORA_INFER_KV_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/status.h"
#include "kernels/kernels.h"
#include "lora/model/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum shoal_kv_kind { SHOAL_KV_F16 = 0, SHOAL_KV_Q8 = 1, SHOAL_KV_F32 = 2 } shoal_kv_kind;

/* "f16", "q8", "f32" to a kind; false for anything else. And back. */
SHOAL_MUST_USE bool shoal_kv_kind_parse(const char *name, shoal_kv_kind *out);
const char *shoal_kv_kind_name(shoal_kv_kind kind);

typedef struct shoal_kv_layer {
    unsigned char *k, *v; /* [K][slots][row_bytes], heads head_bytes apart */
    size_t slots;
    size_t head_bytes;
    bool local; /* looks through the window */
    bool ring;  /* token p is in slot p mod slots; otherwise in slot p */
} shoal_kv_layer;

typedef struct shoal_kv {
    shoal_type type;
    size_t n_layer, K, E;
    size_t row_bytes; /* one key of one head */
    size_t n_ctx;     /* tokens it has room for */
    size_t window;    /* of local layers; 0 when there are none */
    size_t ring;      /* slots of local layers; 0 when the context is no longer than that */
    size_t n;         /* tokens held */
    size_t low;       /* first token whose rows the local layers still have */
    shoal_kv_layer *layers;
} shoal_kv;

/* Sizes a cache for n_ctx tokens read at most `chunk` at once; *bytes of memory, 64-byte aligned,
 * are then handed to shoal_kv_place. UNSUPPORTED with a hint when the heads do not divide into
 * blocks of 32 (Q8); OVERFLOW. */
SHOAL_MUST_USE shoal_status shoal_kv_plan(shoal_kv *kv, const shoal_model *m, shoal_kv_kind kind,
                                          size_t n_ctx, size_t chunk, size_t *bytes,
                                          shoal_error *err);

/* Lays the empty cache out in `mem` (borrowed). */
void shoal_kv_place(shoal_kv *kv, const shoal_model *m, void *mem);

/* Bytes of keys and values alone. */
size_t shoal_kv_bytes(const shoal_kv *kv);

/* Writes rows k, v [T, K, E] of one layer behind the tokens held, T <= chunk. When all layers have
 * theirs, shoal_kv_advance makes them tokens held. */
void shoal_kv_put(const shoal_kv *kv, size_t layer, const float *k, const float *v, size_t T);
void shoal_kv_advance(shoal_kv *kv, size_t T);

/* Sets where attention finds a layer's keys and values, and how they lie. */
void shoal_kv_view(const shoal_kv *kv, size_t layer, shoal_attn *attn);

/* Forgets tokens from n on; returns how many are held then. That is n, or 0 when n lies so far back
 * that a ring no longer has what the next row would see (never within 16 tokens of the end):
 * everything has to be read again then. n beyond the end changes nothing. */
size_t shoal_kv_truncate(shoal_kv *kv, size_t n);

/* The state of tokens [from, from + n) as flat bytes, for keeping it elsewhere: of each layer, k
 * then v, head by head, rows in order. Local layers give only rows that a token after the range can
 * see, so ranges that follow one another, imported in order, make a cache that can go on after each
 * of them with the same bits as if the tokens had been read. The form depends on the model, the
 * kind and (from, n), not on n_ctx or chunk. */
size_t shoal_kv_state_bytes(const shoal_kv *kv, size_t from, size_t n);

/* false, out untouched, when the range is not held or a ring no longer has its rows: always
 * possible for a range that ends where the tokens held end. */
SHOAL_MUST_USE bool shoal_kv_export(const shoal_kv *kv, size_t from, size_t n, unsigned char *out);

/* Appends a range of n tokens: `from` must be kv->n. false, nothing changed, when it is not, or
 * when it does not fit. Whatever the bytes, nothing worse than wrong numbers comes of them. */
SHOAL_MUST_USE bool shoal_kv_import(shoal_kv *kv, size_t from, size_t n, const unsigned char *in);

#ifdef __cplusplus
}
#endif
#endif
