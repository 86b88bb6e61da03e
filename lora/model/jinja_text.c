/* jinja_text.c - strings that know where each of their bytes came from. */
#include <string.h>

#include "lora/model/jinja_impl.h"
#include "lora/model/tokenizer.h"
#include "lora/model/unicode.h"

/* ---- building ---------------------------------------------------------------------------------
 */

/* Doubles, so that a string of n bytes costs at most a few times n. */
static bool reserve(jinja_job *j, jinja_builder *b, size_t n)
{
    if (n <= b->cap - b->n) return true;
    if (n > SHOAL_TOKENIZER_MAX_TEXT || b->n + n > SHOAL_TOKENIZER_MAX_TEXT) {
        (void)shoal_jinja_fail(j, SHOAL_ERR_TOO_LARGE, "a text of more than %d bytes",
                               (int)SHOAL_TOKENIZER_MAX_TEXT);
        return false;
    }
    size_t cap = b->cap == 0 ? 32 : 2 * b->cap;
    if (cap < b->n + n) cap = b->n + n;
    char *p = shoal_jinja_take(j, cap, 1);
    if (p == NULL) return false;
    if (b->n > 0) memcpy(p, b->p, b->n);
    b->p = p;
    b->cap = cap;
    return true;
}

void shoal_jinja_put(jinja_job *j, jinja_builder *b, const char *p, size_t n, uint32_t origin)
{
    shoal_jinja_span *last = b->n_spans == 0 ? NULL : &b->spans[b->n_spans - 1];
    if (n == 0 && (origin == 0 || (last != NULL && last->origin == origin))) return;
    shoal_jinja_charge(j, n);
    if (shoal_jinja_failed(j) || !reserve(j, b, n)) return;
    if (n > 0) memcpy(b->p + b->n, p, n);
    b->n += n;
    if (last != NULL && last->origin == origin) {
        last->n += n;
        return;
    }
    shoal_jinja_span *spans =
        shoal_jinja_grow(j, b->spans, b->n_spans, &b->spans_cap, sizeof *b->spans);
    if (spans == NULL) return;
    b->spans = spans;
    b->spans[b->n_spans++] = (shoal_jinja_span){n, origin};
}

void shoal_jinja_put_words(jinja_job *j, jinja_builder *b, const char *words)
{
    shoal_jinja_put(j, b, words, strlen(words), 0);
}

void shoal_jinja_put_text(jinja_job *j, jinja_builder *b, const jinja_text *t)
{
    if (t == NULL) return;
    if (t->n_spans == 0) {
        shoal_jinja_put(j, b, t->p, t->n, 0);
        return;
    }
    size_t at = 0;
    for (size_t i = 0; i < t->n_spans && !shoal_jinja_failed(j); i++) {
        shoal_jinja_put(j, b, t->p + at, t->spans[i].n, t->spans[i].origin);
        at += t->spans[i].n;
    }
}

uint32_t shoal_jinja_origin_at(const jinja_text *t, size_t at)
{
    size_t end = 0;
    for (size_t i = 0; i < t->n_spans; i++) {
        end += t->spans[i].n;
        if (at < end) return t->spans[i].origin;
    }
    return t->n_spans == 0 ? 0 : t->spans[t->n_spans - 1].origin;
}

/* An empty part still says where it was cut from: an empty answer is an answer. */
void shoal_jinja_put_part(jinja_job *j, jinja_builder *b, const jinja_text *t, size_t from,
                          size_t n)
{
    if (n == 0) {
        shoal_jinja_put(j, b, "", 0, shoal_jinja_origin_at(t, from));
        return;
    }
    if (t->n_spans == 0) {
        shoal_jinja_put(j, b, t->p + from, n, 0);
        return;
    }
    shoal_jinja_charge(j, 16 * t->n_spans);
    size_t begin = 0;
    for (size_t i = 0; i < t->n_spans && begin <= from + n; i++) {
        size_t end = begin + t->spans[i].n;
        size_t lo = begin > from ? begin : from;
        size_t hi = end < from + n ? end : from + n;
        bool mark = t->spans[i].n == 0 && begin >= from;
        if (lo < hi || mark) shoal_jinja_put(j, b, t->p + lo, hi - lo, t->spans[i].origin);
        begin = end;
    }
}

shoal_jinja_value shoal_jinja_built(jinja_job *j, const jinja_builder *b)
{
    jinja_text *t = shoal_jinja_take(j, 1, sizeof *t);
    if (t == NULL) return shoal_jinja_undefined();
    bool plain = b->n_spans == 0 || (b->n_spans == 1 && b->spans[0].origin == 0);
    *t = (jinja_text){b->n == 0 ? "" : b->p, b->n, plain ? NULL : b->spans, plain ? 0 : b->n_spans};
    return (shoal_jinja_value){.kind = SHOAL_JINJA_STRING, .u.text = t};
}

/* Parts of one origin share the bytes: walking over a long string costs little. */
shoal_jinja_value shoal_jinja_part(jinja_job *j, const jinja_text *t, size_t from, size_t n)
{
    if (t->n_spans > 1) {
        jinja_builder b = {0};
        shoal_jinja_put_part(j, &b, t, from, n);
        return shoal_jinja_built(j, &b);
    }
    jinja_text *part = shoal_jinja_take(j, 1, sizeof *part);
    shoal_jinja_span *span = t->n_spans == 0 ? NULL : shoal_jinja_take(j, 1, sizeof *span);
    if (shoal_jinja_failed(j)) return shoal_jinja_undefined();
    if (span != NULL) *span = (shoal_jinja_span){n, t->spans[0].origin};
    *part = (jinja_text){t->p + from, n, span, t->n_spans};
    return (shoal_jinja_value){.kind = SHOAL_JINJA_STRING, .u.text = part};
}

shoal_jinja_value shoal_jinja_words(jinja_job *j, const char *words)
{
    jinja_builder b = {0};
    shoal_jinja_put_words(j, &b, words);
    return shoal_jinja_built(j, &b);
}

/* ---- looking at bytes and characters ----------------------------------------------------------
 */

bool shoal_jinja_is(shoal_str s, const char *words)
{
    return shoal_str_eq(s, words);
}

bool shoal_jinja_same(shoal_str a, shoal_str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

shoal_str shoal_jinja_bytes(const jinja_text *t)
{
    return t == NULL ? (shoal_str){"", 0} : (shoal_str){t->p, t->n};
}

size_t shoal_jinja_character(const jinja_text *t, uint32_t *code)
{
    return shoal_utf8_next(t->p, t->n, code, NULL);
}

size_t shoal_jinja_length(jinja_job *j, const jinja_text *t)
{
    shoal_jinja_charge(j, t->n);
    size_t n = 0;
    uint32_t code = 0;
    for (size_t at = 0; at < t->n; n++) {
        at += shoal_utf8_next(t->p + at, t->n - at, &code, NULL);
    }
    return n;
}

size_t shoal_jinja_offset(jinja_job *j, const jinja_text *t, size_t at)
{
    size_t offset = 0;
    uint32_t code = 0;
    for (; at > 0 && offset < t->n; at--) {
        offset += shoal_utf8_next(t->p + offset, t->n - offset, &code, NULL);
    }
    shoal_jinja_charge(j, offset);
    return offset;
}

/* By bytes: in UTF-8 that finds whole characters. */
size_t shoal_jinja_search(jinja_job *j, const jinja_text *t, shoal_str what, size_t from)
{
    if (what.n == 0) return from;
    shoal_jinja_charge(j, t->n - from);
    while (t->n - from >= what.n && !shoal_jinja_failed(j)) {
        const char *hit = memchr(t->p + from, what.p[0], t->n - from - what.n + 1);
        if (hit == NULL) break;
        from = (size_t)(hit - t->p);
        if (memcmp(hit, what.p, what.n) == 0) return from;
        shoal_jinja_charge(j, what.n);
        from++;
    }
    return t->n;
}

bool shoal_jinja_is_space(uint32_t code)
{
    return (code >= 0x09 && code <= 0x0d) || (code >= 0x1c && code <= 0x20) || code == 0x85 ||
           code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
           code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

/* ---- stripping --------------------------------------------------------------------------------
 */

static bool strips(jinja_job *j, const jinja_text *set, const char *p, size_t n, uint32_t code)
{
    if (set == NULL) return shoal_jinja_is_space(code);
    return shoal_jinja_search(j, set, (shoal_str){p, n}, 0) < set->n;
}

/* Bytes of the last character of p [n]. */
static size_t last_character(const char *p, size_t n)
{
    size_t max = n < 4 ? n : 4;
    for (size_t k = 2; k <= max; k++) {
        uint32_t code = 0;
        bool valid = false;
        if (shoal_utf8_next(p + n - k, k, &code, &valid) == k && valid) return k;
    }
    return 1;
}

shoal_jinja_value shoal_jinja_strip(jinja_job *j, const jinja_text *t, const jinja_text *set,
                                    jinja_side side)
{
    size_t from = 0;
    size_t to = t->n;
    uint32_t code = 0;
    while ((side & JINJA_LEFT) != 0 && from < to && !shoal_jinja_failed(j)) {
        size_t n = shoal_utf8_next(t->p + from, to - from, &code, NULL);
        if (!strips(j, set, t->p + from, n, code)) break;
        from += n;
    }
    while ((side & JINJA_RIGHT) != 0 && from < to && !shoal_jinja_failed(j)) {
        size_t n = last_character(t->p + from, to - from);
        (void)shoal_utf8_next(t->p + to - n, n, &code, NULL);
        if (!strips(j, set, t->p + to - n, n, code)) break;
        to -= n;
    }
    shoal_jinja_charge(j, t->n - (to - from));
    return shoal_jinja_part(j, t, from, to - from);
}

/* ---- changing ---------------------------------------------------------------------------------
 */

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static char recase(char c, bool upper)
{
    if (upper) return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

shoal_jinja_value shoal_jinja_recase(jinja_job *j, const jinja_text *t, jinja_case how)
{
    char *p = shoal_jinja_take(j, t->n, 1);
    jinja_text *made = shoal_jinja_take(j, 1, sizeof *made);
    if (made == NULL || p == NULL) return shoal_jinja_undefined();
    bool in_word = false;
    for (size_t i = 0; i < t->n; i++) {
        if ((unsigned char)t->p[i] >= 0x80) {
            return shoal_jinja_unsupported(j, "upper and lower case beyond ASCII");
        }
        bool first = how == JINJA_CAPITALIZE ? i == 0 : !in_word;
        p[i] = recase(t->p[i], how == JINJA_UPPER || (how >= JINJA_TITLE && first));
        in_word = is_letter(t->p[i]);
    }
    shoal_jinja_charge(j, t->n);
    *made = (jinja_text){p, t->n, t->spans, t->n_spans};
    return (shoal_jinja_value){.kind = SHOAL_JINJA_STRING, .u.text = made};
}

/* An empty `old` stands between all characters, as in Python. */
shoal_jinja_value shoal_jinja_replace(jinja_job *j, const jinja_text *t, const jinja_text *old,
                                      const jinja_text *with, int64_t max)
{
    jinja_builder b = {0};
    size_t at = 0;
    size_t kept = 0; /* from here on not yet put */
    for (; max != 0 && at <= t->n && !shoal_jinja_failed(j); max--) {
        size_t hit = shoal_jinja_search(j, t, shoal_jinja_bytes(old), at);
        if (old->n > 0 && hit >= t->n) break;
        if (hit > kept) shoal_jinja_put_part(j, &b, t, kept, hit - kept);
        shoal_jinja_put_text(j, &b, with);
        kept = hit + old->n;
        at = kept;
        if (old->n > 0) continue;
        uint32_t code = 0;
        at += hit < t->n ? shoal_utf8_next(t->p + hit, t->n - hit, &code, NULL) : 1;
    }
    if (kept < t->n || t->n == 0) shoal_jinja_put_part(j, &b, t, kept, t->n - kept);
    return shoal_jinja_built(j, &b);
}
