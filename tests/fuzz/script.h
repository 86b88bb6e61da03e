/* script.h - a fuzzer's input read as a list of small decisions. Past its end every decision is 0.
 */
#ifndef SHOAL_TESTS_FUZZ_SCRIPT_H
#define SHOAL_TESTS_FUZZ_SCRIPT_H

#include <stdint.h>
#include <stdlib.h>

#include "kernels/base/buf.h"

typedef shoal_cursor script;

static inline uint8_t script_byte(script *s)
{
    return s->left > 0 ? shoal_cursor_u8(s) : 0;
}

static inline uint16_t script_u16(script *s)
{
    unsigned low = script_byte(s);
    return (uint16_t)(low | (unsigned)script_byte(s) << 8);
}

/* Up to 4 changes of one byte each, and now and then a cut or a byte more. */
static inline void script_change(script *s, shoal_buf *b)
{
    unsigned how = script_byte(s);
    for (unsigned i = 0; (how & 0x40) == 0 && i <= how % 4 && b->len > 0; i++) {
        size_t at = script_u16(s) % b->len;
        uint8_t by = script_byte(s);
        b->data[at] = (uint8_t)(how & 0x80 ? by : b->data[at] ^ by);
    }
    if ((how & 0x10) != 0 && b->len > 0) b->len -= 1 + script_byte(s) % b->len;
    if ((how & 0x20) != 0) (void)shoal_buf_put_u8(b, script_byte(s));
}

/* The rest of a short piece of the input, as bytes of its own. */
static inline void script_take(script *s, shoal_buf *b)
{
    size_t n = script_byte(s);
    n = n < s->left ? n : s->left;
    (void)shoal_buf_put(b, shoal_cursor_bytes(s, n), n);
}

/* A broken promise: the fuzzer keeps the input. */
static inline void must(bool holds)
{
    if (!holds) abort();
}

#endif
