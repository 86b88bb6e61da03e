/* pretokenize.c - the split patterns by hand: one pass, no backtracking beyond a run of spaces. */
#include "lora/model/pretokenize.h"

#include <stdint.h>
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

static const struct {
    const char *name;
    shoal_pretok kind;
} NAMES[] = {
    {"gpt-2", SHOAL_PRETOK_GPT2},       {"smollm", SHOAL_PRETOK_SMOLLM},
    {"qwen2", SHOAL_PRETOK_QWEN2},      {"deepseek-r1-qwen", SHOAL_PRETOK_QWEN2},
    {"llama-bpe", SHOAL_PRETOK_LLAMA3}, {"llama3", SHOAL_PRETOK_LLAMA3},
    {"llama-v3", SHOAL_PRETOK_LLAMA3},
};

bool shoal_pretok_find(const char *name, size_t n, shoal_pretok *out)
{
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (strlen(NAMES[i].name) == n && memcmp(NAMES[i].name, name, n) == 0) {
            *out = NAMES[i].kind;
            return true;
        }
    }
    return false;
}

/* Bytes of the longest run of one class, of at most `most` characters. */
static size_t run(const char *p, size_t n, shoal_char_class want, size_t most)
{
    size_t at = 0;
    for (; most > 0; most--) {
        shoal_char_class cls = SHOAL_CHAR_OTHER;
        size_t len = look(p + at, n - at, &cls);
        if (len == 0 || cls != want) break;
        at += len;
    }
    return at;
}

static bool equals(const char *p, const char *want, size_t n, bool any_case)
{
    for (size_t i = 0; i < n; i++) {
        bool upper = p[i] >= 'A' && p[i] <= 'Z';
        char c = any_case && upper ? (char)(p[i] | 0x20) : p[i];
        if (c != want[i]) return false;
    }
    return true;
}

/* 's 't 're 've 'm 'll 'd; 0 when none is here. */
static size_t contraction(const char *p, size_t n, bool any_case)
{
    static const char *const ENDINGS[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof ENDINGS / sizeof ENDINGS[0]; i++) {
        size_t len = strlen(ENDINGS[i]);
        if (n >= len && equals(p, ENDINGS[i], len, any_case)) return len;
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

static size_t next_gpt2(shoal_pretok kind, const char *p, size_t n)
{
    shoal_char_class cls = SHOAL_CHAR_OTHER;
    size_t first = look(p, n, &cls);
    if (kind == SHOAL_PRETOK_SMOLLM && cls == SHOAL_CHAR_NUMBER) return first;
    size_t len = p[0] == '\'' ? contraction(p, n, false) : 0;
    if (len > 0) return len;

    size_t lead = p[0] == ' ' ? 1 : 0; /* the " ?" before a word */
    size_t next = look(p + lead, n - lead, &cls);
    bool splits = kind == SHOAL_PRETOK_SMOLLM && cls == SHOAL_CHAR_NUMBER;
    if (next == 0 || splits || cls == SHOAL_CHAR_SPACE) return spaces(kind, p, n);
    return lead + run(p + lead, n - lead, cls, SIZE_MAX);
}

static bool is_line_end(char c)
{
    return c == '\r' || c == '\n';
}

/* \s*[\r\n]+: white space up to the last line end of the run; 0 when it has none. */
static size_t lines(const char *p, size_t n)
{
    size_t all = run(p, n, SHOAL_CHAR_SPACE, SIZE_MAX);
    while (all > 0 && !is_line_end(p[all - 1])) {
        all--;
    }
    return all;
}

/* [^\r\n\p{L}\p{N}]?\p{L}+; 0 when it is not here. `first` is the length of the first character. */
static size_t word(const char *p, size_t n, size_t first, shoal_char_class cls)
{
    size_t lead = cls == SHOAL_CHAR_LETTER ? 0 : first;
    if (cls == SHOAL_CHAR_NUMBER || is_line_end(p[0])) return 0;
    size_t letters = run(p + lead, n - lead, SHOAL_CHAR_LETTER, SIZE_MAX);
    return letters == 0 ? 0 : lead + letters;
}

/*  ?[^\s\p{L}\p{N}]+[\r\n]*; 0 when it is not here. */
static size_t symbols(const char *p, size_t n)
{
    size_t lead = p[0] == ' ' ? 1 : 0;
    size_t len = run(p + lead, n - lead, SHOAL_CHAR_OTHER, SIZE_MAX);
    if (len == 0) return 0;
    len += lead;
    while (len < n && is_line_end(p[len])) {
        len++;
    }
    return len;
}

static size_t next_qwen2(const char *p, size_t n, size_t digits)
{
    shoal_char_class cls = SHOAL_CHAR_OTHER;
    size_t first = look(p, n, &cls);
    size_t len = p[0] == '\'' ? contraction(p, n, true) : 0;
    if (len == 0) len = word(p, n, first, cls);
    if (len == 0) len = run(p, n, SHOAL_CHAR_NUMBER, digits);
    if (len == 0) len = symbols(p, n);
    if (len == 0) len = lines(p, n);
    return len > 0 ? len : spaces(SHOAL_PRETOK_QWEN2, p, n);
}

size_t shoal_pretok_next(shoal_pretok kind, const char *p, size_t n)
{
    switch (kind) {
    case SHOAL_PRETOK_QWEN2: return next_qwen2(p, n, 1);
    case SHOAL_PRETOK_LLAMA3: return next_qwen2(p, n, 3);
    default: return next_gpt2(kind, p, n);
    }
}
