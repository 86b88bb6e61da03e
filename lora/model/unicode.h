/* unicode.h - just enough Unicode for pre-tokenizers: decoding and three classes.
 *
 * Layer: lora/model. Threads: pure functions.
 */
#ifndef SHOAL_LORA_MODEL_UNICODE_H
#define SHOAL_LORA_MODEL_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum shoal_char_class {
    SHOAL_CHAR_OTHER,
    SHOAL_CHAR_LETTER, /* \p{L} */
    SHOAL_CHAR_NUMBER, /* \p{N} */
    SHOAL_CHAR_SPACE   /* \s: White_Space */
} shoal_char_class;

shoal_char_class shoal_char_class_of(uint32_t code);

/* Bytes of p [n >= 1] that begin a character correctly; *complete when they are all of it. 0 when
 * the first byte begins none. */
size_t shoal_utf8_well_formed(const char *p, size_t n, bool *complete);

/* Bytes in the well-formed UTF-8 character at p, n >= 1 bytes there; its code in *code. Bytes that
 * form no character count one by one as U+FFFD, with `*valid` (may be NULL) false. */
size_t shoal_utf8_next(const char *p, size_t n, uint32_t *code, bool *valid);

#ifdef __cplusplus
}
#endif
#endif
