/* vocabulary.h - the pieces of a tokenizer: id to bytes, and bytes to id.
 *
 * Made to be small and quick to build, since every start of a program builds one: the bytes lie end
 * to end, a piece costs four bytes of offset, and the way back is an open-addressing table of
 * 32-bit slots (21 bits of id + 1, 11 bits of the hash, so that a probe rarely has to look at the
 * bytes).
 *
 * Layer: lora/model. Threads: immutable once filled; read by many.
 */
#ifndef SHOAL_LORA_MODEL_VOCABULARY_H
#define SHOAL_LORA_MODEL_VOCABULARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "lora/model/gguf.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_vocabulary {
    size_t n, max;   /* pieces there; pieces there is room for, at most 2^20 */
    char *text;      /* [text_max] the pieces' bytes, end to end */
    uint32_t *begin; /* [max + 1] where piece i begins; piece i + 1 begins where it ends */
    uint32_t *slots; /* [n_slots] 0: empty */
    size_t n_slots;  /* a power of two, at least 2 max */
} shoal_vocabulary;

/* Room for max pieces with text_max bytes together. TOO_LARGE, NOMEM. */
SHOAL_MUST_USE shoal_status shoal_vocabulary_init(shoal_vocabulary *v, size_t max, size_t text_max,
                                                  shoal_error *err);
void shoal_vocabulary_clear(shoal_vocabulary *v);

/* Where the bytes of the next piece go; at most what text_max leaves. */
char *shoal_vocabulary_next(shoal_vocabulary *v);

/* The next piece is the n bytes written there. */
void shoal_vocabulary_add(shoal_vocabulary *v, size_t n);

/* Whether piece `id` may be found by its bytes. */
typedef bool shoal_vocabulary_findable(const void *ctx, size_t id);

/* Once all pieces are there: bytes are found as the first findable piece that has them, and room
 * for text that was not used is given back. FORMAT when the table degenerates (pieces made to
 * collide).
 */
SHOAL_MUST_USE shoal_status shoal_vocabulary_index(shoal_vocabulary *v,
                                                   shoal_vocabulary_findable *findable,
                                                   const void *ctx, shoal_error *err);

static inline shoal_str shoal_vocabulary_piece(const shoal_vocabulary *v, size_t id)
{
    shoal_str piece = {v->text + v->begin[id], v->begin[id + 1] - v->begin[id]};
    return piece;
}

/* -1 when no findable piece has these bytes. */
int32_t shoal_vocabulary_find(const shoal_vocabulary *v, shoal_str bytes);

#ifdef __cplusplus
}
#endif
#endif
