/* stop_text.c - ends an answer at given texts. */
#include "client/stop_text.h"

#include <string.h>

#define HELD_MAX ((size_t)1 << 20)

shoal_stop_text shoal_stop_text_init(const shoal_str *stops, size_t n_stops)
{
    return (shoal_stop_text){stops, n_stops, shoal_buf_init(HELD_MAX)};
}

void shoal_stop_text_clear(shoal_stop_text *s)
{
    shoal_buf_clear(&s->held);
}

/* Earliest place in text where a stop text begins; n when there is none. */
static size_t find_stop(const shoal_stop_text *s, const char *text, size_t n)
{
    for (size_t at = 0; at < n; at++) {
        for (size_t i = 0; i < s->n_stops; i++) {
            size_t len = s->stops[i].n;
            if (len <= n - at && memcmp(text + at, s->stops[i].p, len) == 0) return at;
        }
    }
    return n;
}

/* Bytes at the end of text that could still become a stop text. */
static size_t open_tail(const shoal_stop_text *s, const char *text, size_t n)
{
    for (size_t at = 0; at < n; at++) {
        for (size_t i = 0; i < s->n_stops; i++) {
            size_t left = n - at;
            if (left < s->stops[i].n && memcmp(text + at, s->stops[i].p, left) == 0) return left;
        }
    }
    return 0;
}

bool shoal_stop_text_push(shoal_stop_text *s, const char *piece, size_t n, shoal_buf *out)
{
    if (s->n_stops == 0) {
        shoal_buf_put(out, piece, n);
        return false;
    }
    shoal_buf_put(&s->held, piece, n);
    const char *text = shoal_buf_str(&s->held);
    size_t len = s->held.len;
    size_t at = find_stop(s, text, len);
    if (at < len) {
        shoal_buf_put(out, text, at);
        s->held.len = 0;
        return true;
    }
    size_t keep = open_tail(s, text, len);
    shoal_buf_put(out, text, len - keep);
    if (keep > 0) memmove(s->held.data, s->held.data + (len - keep), keep);
    s->held.len = keep;
    return false;
}

void shoal_stop_text_flush(shoal_stop_text *s, shoal_buf *out)
{
    shoal_buf_put(out, shoal_buf_str(&s->held), s->held.len);
    s->held.len = 0;
}
