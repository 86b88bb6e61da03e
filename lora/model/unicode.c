/* unicode.c - classes by bisection in generated tables; UTF-8 by the table of RFC 3629, section 4.
 */
#include "lora/model/unicode.h"

#include <stdlib.h>

typedef struct code_range {
    uint32_t first, last;
} code_range;

#include "lora/model/unicode_tables.inc"

static int compare_range(const void *key, const void *item)
{
    uint32_t code = *(const uint32_t *)key;
    const code_range *r = item;
    return (code > r->last) - (code < r->first);
}

static bool in_table(uint32_t code, const code_range *table, size_t bytes)
{
    return bsearch(&code, table, bytes / sizeof *table, sizeof *table, compare_range) != NULL;
}

static shoal_char_class ascii_class(uint32_t code)
{
    uint32_t lower = code | 0x20;
    if (lower >= 'a' && lower <= 'z') return SHOAL_CHAR_LETTER;
    if (code >= '0' && code <= '9') return SHOAL_CHAR_NUMBER;
    if (code == ' ' || (code >= '\t' && code <= '\r')) return SHOAL_CHAR_SPACE;
    return SHOAL_CHAR_OTHER;
}

shoal_char_class shoal_char_class_of(uint32_t code)
{
    if (code < 0x80) return ascii_class(code);
    if (in_table(code, LETTERS, sizeof LETTERS)) return SHOAL_CHAR_LETTER;
    if (in_table(code, NUMBERS, sizeof NUMBERS)) return SHOAL_CHAR_NUMBER;
    if (in_table(code, SPACES, sizeof SPACES)) return SHOAL_CHAR_SPACE;
    return SHOAL_CHAR_OTHER;
}

/* Length of a character by its first byte, and the range of its second; 0 when it starts none. */
static size_t sequence(uint8_t lead, uint8_t *lo, uint8_t *hi)
{
    *lo = 0x80;
    *hi = 0xbf;
    if (lead < 0x80) return 1;
    if (lead >= 0xc2 && lead <= 0xdf) return 2;
    if (lead >= 0xe0 && lead <= 0xef) {
        if (lead == 0xe0) *lo = 0xa0; /* no overlong forms */
        if (lead == 0xed) *hi = 0x9f; /* no surrogates */
        return 3;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        if (lead == 0xf0) *lo = 0x90;
        if (lead == 0xf4) *hi = 0x8f; /* nothing above U+10FFFF */
        return 4;
    }
    return 0;
}

size_t shoal_utf8_well_formed(const char *p, size_t n, bool *complete)
{
    uint8_t lo = 0;
    uint8_t hi = 0;
    size_t want = sequence((uint8_t)p[0], &lo, &hi);
    size_t got = want == 0 ? 0 : 1;
    while (got > 0 && got < want && got < n) {
        uint8_t byte = (uint8_t)p[got];
        if (byte < lo || byte > hi) break;
        lo = 0x80;
        hi = 0xbf;
        got++;
    }
    *complete = want > 0 && got == want;
    return got;
}

size_t shoal_utf8_next(const char *p, size_t n, uint32_t *code, bool *valid)
{
    bool complete = false;
    size_t len = shoal_utf8_well_formed(p, n, &complete);
    if (valid != NULL) {
        *valid = complete;
    }
    if (!complete) {
        *code = 0xfffd;
        return 1;
    }
    static const uint8_t LEAD_MASK[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t c = (uint8_t)p[0] & LEAD_MASK[len];
    for (size_t i = 1; i < len; i++) {
        c = c << 6 | ((uint8_t)p[i] & 0x3f);
    }
    *code = c;
    return len;
}
