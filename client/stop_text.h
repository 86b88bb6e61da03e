/* stop_text.h - ends an answer at given texts, also when one comes in pieces.
 *
 * What could be the beginning of a stop text is held back until it is known not to be one, so a
 * stream never shows part of a stop text.
 *
 * Layer: client. Threads: one owner.
 */
#ifndef SHOAL_CLIENT_STOP_TEXT_H
#define SHOAL_CLIENT_STOP_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/buf.h"
#include "lora/model/gguf.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_stop_text {
    const shoal_str *stops; /* [n_stops], borrowed, none empty */
    size_t n_stops;
    shoal_buf held; /* the tail not yet released */
} shoal_stop_text;

shoal_stop_text shoal_stop_text_init(const shoal_str *stops, size_t n_stops);
void shoal_stop_text_clear(shoal_stop_text *s);

/* Takes a piece and appends to `out` what may be shown. True: a stop text is complete; `out` got
 * what stood before it and the rest is dropped. */
bool shoal_stop_text_push(shoal_stop_text *s, const char *piece, size_t n, shoal_buf *out);

/* At the end of the answer: releases what is still held back. */
void shoal_stop_text_flush(shoal_stop_text *s, shoal_buf *out);

#ifdef __cplusplus
}
#endif
#endif
