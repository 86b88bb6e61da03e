/* pretokenize.c - the GPT-2 split pattern by hand: one pass, no backtracking beyond one character.
 */
#include "lora/model/pretokenize.h"

#include <string.h>

#include "lora/model/unicode.h"

/* The character at p [n]: its bytes and class; 0 bytes at the end. */
static size_t look(const char *p, size_t n, shoal_char_class *cls)
{
    if (n == 0) return 0;
    uint32_t code = 0;
    size_t len = shoal_utf8_next(p, n, &code, NULL);
    *cls = shoal_char_class_of(code);
    return len;
}

/* Bytes of the longest run of one class. */
static size_t run(const char *p, size_t n, shoal_char_class want)
{
    size_t at = 0;
    for (;;) {
        shoal_char_class cls = SHOAL_CHAR_OTHER;
        size_t len = look(p + at, n - at, &cls);
        if (len == 0 || cls != want) return at;
        at += len;
    }
}

/* 's 't 're 've 'm 'll 'd, in lower case only; 0 when none is here. */
static size_t contraction(const char *p, size_t n)
{
    static const char *const ENDINGS[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof ENDINGS / sizeof ENDINGS[0]; i++) {
        size_t len = strlen(ENDINGS[i]);
        if (n >= len && memcmp(p, ENDINGS[i], len) == 0) return len;
    }
    return 0;
}

/* \s+(?!\S)|\s+: white space, but its last character is left to the word that follows. */
static size_t spaces(shoal_pretok kind, const char *p, size_t n)
{
    size_t at = 0;
    size_t last = 0; /* bytes of the last character of the run */
    shoal_char_class cls = SHOAL_CHAR_SPACE;
    size_t len = look(p, n, &cls);
    while (len > 0 && cls == SHOAL_CHAR_SPACE) {
        at += len;
        last = len;
        len = look(p + at, n - at, &cls);
    }
    bool ends_here = len == 0 || (kind == SHOAL_PRETOK_SMOLLM && cls == SHOAL_CHAR_NUMBER);
    return ends_here || at == last ? at : at - last;
}

size_t shoal_pretok_next(shoal_pretok kind, const char *p, size_t n)
{
    shoal_char_class cls = SHOAL_CHAR_OTHER;
    size_t first = look(p, n, &cls);
    if (kind == SHOAL_PRETOK_SMOLLM && cls == SHOAL_CHAR_NUMBER) return first;
    size_t len = p[0] == '\'' ? contraction(p, n) : 0;
    if (len > 0) return len;

    size_t lead = p[0] == ' ' ? 1 : 0; /* the " ?" before a word */
    size_t next = look(p + lead, n - lead, &cls);
    bool splits = kind == SHOAL_PRETOK_SMOLLM && cls == SHOAL_CHAR_NUMBER;
    if (next == 0 || splits || cls == SHOAL_CHAR_SPACE) return spaces(kind, p, n);
    return lead + run(p + lead, n - lead, cls);
}
