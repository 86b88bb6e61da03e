/* utf8_stream.c - holds back unfinished characters. */
#include "lora/model/utf8_stream.h"

#include <string.h>

#include "lora/model/unicode.h"

static void put_replacement(shoal_buf *out)
{
    shoal_buf_put(out, "\xef\xbf\xbd", 3);
}

/* Takes one byte more into the held ones and passes on what is decided by it. */
static void push_byte(shoal_utf8_stream *s, uint8_t byte, shoal_buf *out)
{
    s->held[s->n++] = byte;
    while (s->n > 0) {
        bool complete = false;
        size_t good = shoal_utf8_well_formed((const char *)s->held, s->n, &complete);
        if (good == s->n && !complete) return; /* may still become a character */
        if (complete) {
            shoal_buf_put(out, s->held, good);
        } else {
            put_replacement(out);
            good = good == 0 ? 1 : good;
        }
        s->n -= good;
        memmove(s->held, s->held + good, s->n);
    }
}

void shoal_utf8_push(shoal_utf8_stream *s, shoal_str piece, shoal_buf *out)
{
    for (size_t i = 0; i < piece.n; i++) {
        push_byte(s, (uint8_t)piece.p[i], out);
    }
}

void shoal_utf8_flush(shoal_utf8_stream *s, shoal_buf *out)
{
    if (s->n > 0) {
        put_replacement(out);
    }
    s->n = 0;
}
