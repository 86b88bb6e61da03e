/* buf.h - a growable byte buffer with a stated maximum, and a bounded read cursor.
 *
 * Every byte that comes from outside is read through the cursor: no read goes past the end, and a
 * failed read leaves the cursor in the failed state, so a parser may check once at the end.
 * Numbers are little-endian, as in GGUF and in Shoal's own canonical encodings.
 *
 * Layer: kernels/base. Threads: one owner.
 */
#ifndef SHOAL_KERNELS_BASE_BUF_H
#define SHOAL_KERNELS_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_buf {
    uint8_t *data; /* [len], NULL while empty; a NUL byte always follows the contents */
    size_t len;
    size_t cap;
    size_t max;     /* len never exceeds this */
    bool failed;    /* an append did not fit or memory ran out; sticky */
    bool no_memory; /* which of the two */
} shoal_buf;

/* An empty buffer that will never hold more than max bytes. Nothing is allocated yet. */
shoal_buf shoal_buf_init(size_t max);

/* Frees; the buffer is empty and usable again. shoal_buf_wipe overwrites the contents first. */
void shoal_buf_clear(shoal_buf *b);
void shoal_buf_wipe(shoal_buf *b);

/* Appends. On failure returns false, sets `failed` and leaves the contents as they were. */
bool shoal_buf_put(shoal_buf *b, const void *data, size_t n);
bool shoal_buf_put_u8(shoal_buf *b, uint8_t v);
bool shoal_buf_put_u16(shoal_buf *b, uint16_t v);
bool shoal_buf_put_u32(shoal_buf *b, uint32_t v);
bool shoal_buf_put_u64(shoal_buf *b, uint64_t v);
bool shoal_buf_put_str(shoal_buf *b, const char *s);
bool shoal_buf_putf(shoal_buf *b, const char *fmt, ...) SHOAL_PRINTF(2, 3);

/* Makes room for n more bytes and returns where they go (len is not changed); NULL on failure. */
uint8_t *shoal_buf_reserve(shoal_buf *b, size_t n);

/* Contents as a C string ("" while empty). */
const char *shoal_buf_str(const shoal_buf *b);

/* SHOAL_OK, or TOO_LARGE / NOMEM when an append failed. */
shoal_status shoal_buf_status(const shoal_buf *b, shoal_error *err);

typedef struct shoal_cursor {
    const uint8_t *p;
    size_t left;
    bool failed;
} shoal_cursor;

shoal_cursor shoal_cursor_init(const void *data, size_t n);

/* Each returns 0 / NULL and sets `failed` when fewer bytes are left. */
uint8_t shoal_cursor_u8(shoal_cursor *c);
uint16_t shoal_cursor_u16(shoal_cursor *c);
uint32_t shoal_cursor_u32(shoal_cursor *c);
uint64_t shoal_cursor_u64(shoal_cursor *c);
const uint8_t *shoal_cursor_bytes(shoal_cursor *c, uint64_t n);

/* Copies n bytes out; false and dst zeroed when fewer are left. */
bool shoal_cursor_copy(shoal_cursor *c, void *dst, size_t n);

/* True when nothing failed and nothing is left: a whole message was read. */
bool shoal_cursor_done(const shoal_cursor *c);

/* Decimal text to number; false on anything but digits, on empty text and on overflow. */
bool shoal_parse_u64(const char *s, uint64_t *out);

/* Lower-case hex of n bytes into out[2n+1]; and back (false on wrong length or digit, out then
 * holds anything). The time depends on n and on where the text ends, not on the digits. */
void shoal_hex_encode(const uint8_t *data, size_t n, char *out);
bool shoal_hex_decode(const char *hex, uint8_t *out, size_t n);

#ifdef __cplusplus
}
#endif
#endif
