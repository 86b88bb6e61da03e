/* utf8_stream.h - makes streamed token bytes valid UTF-8.
 *
 * A token may end in the middle of a character, so what is shown or sent as JSON goes through here.
 *
 * Source: RFC 3629; replacement of ill-formed parts as The Unicode Standard, section 3.9, U+FFFD
 * substitution of maximal subparts.
 * Layer: lora/model. Threads: one owner.
 */
#ifndef SHOAL_LORA_MODEL_UTF8_STREAM_H
#define SHOAL_LORA_MODEL_UTF8_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "lora/model/gguf.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Zero-initialise. */
typedef struct shoal_utf8_stream {
    uint8_t held[4]; /* the beginning of a character whose end has not come yet */
    size_t n;
} shoal_utf8_stream;

/* Appends what became complete; U+FFFD for bytes that can never become a character. */
void shoal_utf8_push(shoal_utf8_stream *s, shoal_str piece, shoal_buf *out);
/* The end: an unfinished character becomes U+FFFD. */
void shoal_utf8_flush(shoal_utf8_stream *s, shoal_buf *out);

#ifdef __cplusplus
}
#endif
#endif
