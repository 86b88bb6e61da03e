/* buf.c - growable buffer and bounded cursor. */
#include "kernels/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/secret.h"

shoal_buf shoal_buf_init(size_t max)
{
    shoal_buf b = {.max = max};
    return b;
}

void shoal_buf_clear(shoal_buf *b)
{
    shoal_free(b->data);
    *b = shoal_buf_init(b->max);
}

void shoal_buf_wipe(shoal_buf *b)
{
    if (b->data != NULL) {
        shoal_wipe(b->data, b->cap);
    }
    shoal_buf_clear(b);
}

/* Grows by doubling into a fresh block and wipes the old one, so that secrets which pass through a
 * buffer leave no stale copy on the heap. */
static bool grow(shoal_buf *b, size_t need)
{
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < need) {
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    }
    uint8_t *data = shoal_alloc(cap);
    if (data == NULL) {
        b->no_memory = true;
        return false;
    }
    if (b->data != NULL) {
        memcpy(data, b->data, b->len + 1);
        shoal_wipe(b->data, b->len);
        shoal_free(b->data);
    }
    b->data = data;
    b->cap = cap;
    return true;
}

uint8_t *shoal_buf_reserve(shoal_buf *b, size_t n)
{
    if (b->failed || n > b->max - b->len || b->max - b->len > b->max) {
        b->failed = true;
        return NULL;
    }
    size_t need = 0;
    if (!shoal_add_size(b->len + 1, n, &need) || (need > b->cap && !grow(b, need))) {
        b->failed = true;
        return NULL;
    }
    return b->data + b->len;
}

bool shoal_buf_put(shoal_buf *b, const void *data, size_t n)
{
    uint8_t *dst = shoal_buf_reserve(b, n);
    if (dst == NULL) return false;
    if (n > 0) {
        memcpy(dst, data, n);
    }
    b->len += n;
    b->data[b->len] = 0;
    return true;
}

bool shoal_buf_put_u8(shoal_buf *b, uint8_t v)
{
    return shoal_buf_put(b, &v, 1);
}

static bool put_le(shoal_buf *b, uint64_t v, size_t n)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(v >> (8 * i));
    }
    return shoal_buf_put(b, bytes, n);
}

bool shoal_buf_put_u16(shoal_buf *b, uint16_t v)
{
    return put_le(b, v, 2);
}

bool shoal_buf_put_u32(shoal_buf *b, uint32_t v)
{
    return put_le(b, v, 4);
}

bool shoal_buf_put_u64(shoal_buf *b, uint64_t v)
{
    return put_le(b, v, 8);
}

bool shoal_buf_put_str(shoal_buf *b, const char *s)
{
    return shoal_buf_put(b, s, strlen(s));
}

bool shoal_buf_putf(shoal_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    uint8_t *dst = n < 0 ? NULL : shoal_buf_reserve(b, (size_t)n);
    if (dst == NULL) {
        b->failed = true;
        return false;
    }
    va_start(ap, fmt);
    (void)vsnprintf((char *)dst, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return true;
}

const char *shoal_buf_str(const shoal_buf *b)
{
    return b->data == NULL ? "" : (const char *)b->data;
}

shoal_status shoal_buf_status(const shoal_buf *b, shoal_error *err)
{
    if (!b->failed) return SHOAL_OK;
    if (b->no_memory) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory for a buffer of %zu bytes", b->len);
    }
    return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the data does not fit its limit of %zu bytes",
                      b->max);
}

shoal_cursor shoal_cursor_init(const void *data, size_t n)
{
    shoal_cursor c = {data, n, false};
    return c;
}

const uint8_t *shoal_cursor_bytes(shoal_cursor *c, uint64_t n)
{
    if (c->failed || n > c->left) {
        c->failed = true;
        return NULL;
    }
    const uint8_t *p = c->p;
    c->p += n;
    c->left -= (size_t)n;
    return p;
}

static uint64_t read_le(shoal_cursor *c, size_t n)
{
    const uint8_t *p = shoal_cursor_bytes(c, n);
    uint64_t v = 0;
    for (size_t i = 0; p != NULL && i < n; i++) {
        v |= (uint64_t)p[i] << (8 * i);
    }
    return v;
}

uint8_t shoal_cursor_u8(shoal_cursor *c)
{
    return (uint8_t)read_le(c, 1);
}

uint16_t shoal_cursor_u16(shoal_cursor *c)
{
    return (uint16_t)read_le(c, 2);
}

uint32_t shoal_cursor_u32(shoal_cursor *c)
{
    return (uint32_t)read_le(c, 4);
}

/* Written out because compilers make one load of it; vocabularies have a length before each token.
 */
uint64_t shoal_cursor_u64(shoal_cursor *c)
{
    const uint8_t *p = shoal_cursor_bytes(c, 8);
    if (p == NULL) return 0;
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 |
           (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 |
           (uint64_t)p[7] << 56;
}

bool shoal_cursor_copy(shoal_cursor *c, void *dst, size_t n)
{
    const uint8_t *p = shoal_cursor_bytes(c, n);
    if (p == NULL) {
        memset(dst, 0, n);
        return false;
    }
    memcpy(dst, p, n);
    return true;
}

bool shoal_cursor_done(const shoal_cursor *c)
{
    return !c->failed && c->left == 0;
}

bool shoal_parse_u64(const char *s, uint64_t *out)
{
    uint64_t v = 0;
    if (*s == '\0') return false;
    for (; *s != '\0'; s++) {
        if (*s < '0' || *s > '9') return false;
        uint64_t digit = (uint64_t)(*s - '0');
        if (v > (UINT64_MAX - digit) / 10) return false;
        v = v * 10 + digit;
    }
    *out = v;
    return true;
}

/* Hex may hold tokens: no tables, no branches on digits. */

static char hex_char(unsigned v)
{
    return (char)('0' + v + (('a' - '0' - 10) & (0u - ((9u - v) >> 31))));
}

void shoal_hex_encode(const uint8_t *data, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = hex_char(data[i] >> 4);
        out[2 * i + 1] = hex_char(data[i] & 15u);
    }
    out[2 * n] = '\0';
}

/* 1 when v is below n, read as signed: what is below zero is not. */
static unsigned within(unsigned v, unsigned n)
{
    return ((v - n) & ~v) >> 31;
}

static unsigned hex_digit(char ch, unsigned *bad)
{
    unsigned digit = (unsigned)(unsigned char)ch - '0';
    unsigned letter = ((unsigned)(unsigned char)ch | 0x20u) - 'a';
    unsigned is_digit = within(digit, 10);
    unsigned is_letter = within(letter, 6);
    *bad |= 1u ^ (is_digit | is_letter);
    return (digit & (0u - is_digit)) | ((letter + 10) & (0u - is_letter));
}

/* Where a text ends is no secret. */
static bool ends_at(char ch)
{
    SHOAL_PUBLIC(&ch, sizeof ch);
    return ch == '\0';
}

bool shoal_hex_decode(const char *hex, uint8_t *out, size_t n)
{
    unsigned bad = 0;
    for (size_t i = 0; i < n; i++) {
        if (ends_at(hex[2 * i]) || ends_at(hex[2 * i + 1])) return false;
        unsigned high = hex_digit(hex[2 * i], &bad);
        out[i] = (uint8_t)(high * 16 + hex_digit(hex[2 * i + 1], &bad));
    }
    SHOAL_PUBLIC(&bad, sizeof bad);
    return bad == 0 && ends_at(hex[2 * n]);
}
