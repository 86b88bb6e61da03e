/* tls_hello.c - scanning a ClientHello. Numbers are big-endian, as everything in TLS. */
#include "proto/net/tls_hello.h"

#include "kernels/base/buf.h"

enum {
    RECORD_HEAD = 5,
    RECORD_HANDSHAKE = 22,
    HANDSHAKE_HEAD = 4,
    HANDSHAKE_CLIENT_HELLO = 1,
    RANDOM_BYTES = 32,
    SESSION_ID_MAX = 32,
    EXT_MASTER_SECRET = 23,
    EXT_TICKET = 35,
    EXTENSIONS_MAX = 64
};

static size_t take16(shoal_cursor *c)
{
    size_t high = shoal_cursor_u8(c);
    return high << 8 | shoal_cursor_u8(c);
}

/* Skips a vector whose length stands before it in `width` bytes; its length. */
static size_t skip_vector(shoal_cursor *c, int width)
{
    size_t n = width == 1 ? shoal_cursor_u8(c) : take16(c);
    (void)shoal_cursor_bytes(c, n);
    return n;
}

static bool scan_session_id(shoal_cursor *c, tls_hello *out)
{
    out->session_id_n = shoal_cursor_u8(c);
    out->session_id = shoal_cursor_bytes(c, out->session_id_n);
    return out->session_id_n <= SESSION_ID_MAX;
}

static bool scan_extensions(shoal_cursor *c, tls_hello *out)
{
    size_t total = take16(c);
    if (c->failed || c->left != total) {
        return false;
    }
    for (int i = 0; c->left > 0; i++) {
        size_t type = take16(c);
        size_t n = skip_vector(c, 2);
        if (c->failed || i == EXTENSIONS_MAX) {
            return false;
        }
        if (type == EXT_MASTER_SECRET) {
            if (n != 0 || out->master_secret) {
                return false;
            }
            out->master_secret = true;
        } else if (type == EXT_TICKET) {
            out->ticket = n > 0;
        }
    }
    return true;
}

/* The body of the message. A client of our suites always has extensions (its curves). */
static bool scan_body(shoal_cursor *c, tls_hello *out)
{
    size_t version = take16(c);
    (void)shoal_cursor_bytes(c, RANDOM_BYTES);
    bool ok = scan_session_id(c, out);
    size_t suites = skip_vector(c, 2);
    size_t compressions = skip_vector(c, 1);
    return ok && !c->failed && version >> 8 == 3 && suites >= 2 && suites % 2 == 0 &&
           compressions >= 1 && scan_extensions(c, out);
}

/* mbedTLS 2.28 takes a ClientHello only as the whole of one record. */
tls_hello_state tls_hello_scan(const uint8_t *data, size_t n, tls_hello *out)
{
    *out = (tls_hello){0};
    if (n >= 1 && data[0] != RECORD_HANDSHAKE) {
        return TLS_HELLO_BAD;
    }
    if (n < RECORD_HEAD) {
        return TLS_HELLO_MORE;
    }
    size_t length = (size_t)data[3] << 8 | data[4];
    if (data[1] != 3 || length <= HANDSHAKE_HEAD || length > TLS_HELLO_MAX - RECORD_HEAD) {
        return TLS_HELLO_BAD;
    }
    if (n >= RECORD_HEAD + HANDSHAKE_HEAD) {
        const uint8_t *head = data + RECORD_HEAD;
        size_t message = (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
        if (head[0] != HANDSHAKE_CLIENT_HELLO || message + HANDSHAKE_HEAD != length) {
            return TLS_HELLO_BAD;
        }
    }
    if (n < RECORD_HEAD + length) {
        return TLS_HELLO_MORE;
    }
    shoal_cursor c =
        shoal_cursor_init(data + RECORD_HEAD + HANDSHAKE_HEAD, length - HANDSHAKE_HEAD);
    return scan_body(&c, out) ? TLS_HELLO_READY : TLS_HELLO_BAD;
}
