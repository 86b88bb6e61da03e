/* jinja_lex.c - a template's text as tokens, with the white space around tags as it is to be.
 *
 * trim_blocks: the line end after a block or comment goes. lstrip_blocks: blanks before a block or
 * comment that begins its line go. A '-' inside a tag takes all white space on its side, a '+'
 * keeps what those two would take.
 */
#include <string.h>

#include "lora/model/jinja_impl.h"
#include "lora/model/unicode.h"

typedef struct lexer {
    jinja_job *job;
    const char *p;
    size_t n, at;
    bool line_starts; /* the last tag's end took a line end with it */
    jinja_token *tokens;
    size_t n_tokens, cap;
    char *open; /* closing brackets still to come */
    size_t n_open, open_cap;
} lexer;

static void add(lexer *l, jinja_token_kind kind, shoal_str text, int64_t number)
{
    jinja_token *tokens = shoal_jinja_grow(l->job, l->tokens, l->n_tokens, &l->cap, sizeof *tokens);
    if (tokens == NULL) return;
    l->tokens = tokens;
    l->tokens[l->n_tokens++] = (jinja_token){kind, l->job->line, text, number};
}

static bool looking_at(const lexer *l, const char *words)
{
    size_t n = strlen(words);
    return l->n - l->at >= n && memcmp(l->p + l->at, words, n) == 0;
}

/* Moves on, counting lines. */
static void skip(lexer *l, size_t n)
{
    for (; n > 0; n--) {
        if (l->p[l->at++] == '\n') l->job->line++;
    }
}

static size_t space_at(const lexer *l, size_t at)
{
    uint32_t code = 0;
    if (at >= l->n) return 0;
    size_t n = shoal_utf8_next(l->p + at, l->n - at, &code, NULL);
    return shoal_jinja_is_space(code) ? n : 0;
}

static void skip_space(lexer *l)
{
    for (size_t n = 0; (n = space_at(l, l->at)) > 0;) {
        skip(l, n);
    }
}

/* ---- text between tags ------------------------------------------------------------------------
 */

/* End of [from, to) without the white space at its end. */
static size_t without_space(const lexer *l, size_t from, size_t to)
{
    size_t end = from;
    for (size_t at = from; at < to;) {
        size_t space = space_at(l, at);
        uint32_t code = 0;
        at += space > 0 ? space : shoal_utf8_next(l->p + at, to - at, &code, NULL);
        if (space == 0) end = at;
    }
    return end;
}

/* End of [from, to) without the blanks of its last line, if that line is blank. */
static size_t without_indent(const lexer *l, size_t from, size_t to)
{
    size_t line = to;
    while (line > from && l->p[line - 1] != '\n') {
        line--;
    }
    bool begins_line = line > from || l->line_starts;
    return begins_line && without_space(l, line, to) == line ? line : to;
}

static size_t find_tag(const lexer *l)
{
    for (size_t i = l->at; i + 1 < l->n; i++) {
        char c = l->p[i + 1];
        if (l->p[i] == '{' && (c == '{' || c == '%' || c == '#')) return i;
    }
    return l->n;
}

/* Text up to the next tag and the tag's opening; the tag's second character, or NUL at the end. */
static char lex_data(lexer *l)
{
    size_t from = l->at;
    size_t tag = find_tag(l);
    char kind = tag < l->n ? l->p[tag + 1] : '\0';
    char sign = tag + 2 < l->n ? l->p[tag + 2] : '\0';
    size_t end = tag;
    if (kind != '\0' && sign == '-') {
        end = without_space(l, from, tag);
    } else if ((kind == '%' || kind == '#') && sign != '+') {
        end = without_indent(l, from, tag);
    }
    if (end > from) add(l, JINJA_TOKEN_DATA, (shoal_str){l->p + from, end - from}, 0);
    skip(l, tag - from);
    if (kind != '\0') skip(l, sign == '-' || sign == '+' ? 3 : 2);
    return kind;
}

/* After "X}" of a tag with an optional sign before it: true and past it when one is here. */
static bool lex_tag_end(lexer *l, const char *end, bool plus, bool trim)
{
    bool minus = l->p[l->at] == '-';
    size_t sign = minus || (plus && l->p[l->at] == '+') ? 1 : 0;
    size_t from = l->at;
    l->at += sign;
    bool here = looking_at(l, end);
    l->at = from;
    if (!here) return false;
    skip(l, sign + 2);
    if (minus) {
        skip_space(l);
    } else if (sign == 0 && trim && l->at < l->n && l->p[l->at] == '\n') {
        skip(l, 1);
    }
    l->line_starts = l->p[l->at - 1] == '\n';
    return true;
}

static void lex_comment(lexer *l)
{
    uint32_t line = l->job->line;
    while (l->at < l->n) {
        if (lex_tag_end(l, "#}", true, true)) return;
        skip(l, 1);
    }
    l->job->line = line;
    (void)shoal_jinja_fail(l->job, SHOAL_ERR_FORMAT, "a comment without an end");
}

/* ---- inside tags ------------------------------------------------------------------------------
 */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static size_t put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char LEAD[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; c >>= 6) {
        out[i] = (char)(unsigned char)(0x80 | (c & 0x3f));
    }
    out[0] = (char)(unsigned char)(LEAD[n] | c);
    return n;
}

/* \xHH, \uHHHH, \UHHHHHHHH, \OOO: digits of `base` from s[0] on, at most `max` and at least `min`.
 * How many; the character in *code. */
static size_t escape_number(lexer *l, shoal_str s, int base, size_t min, size_t max, uint32_t *code)
{
    size_t n = 0;
    *code = 0;
    for (; n < max && n < s.n; n++) {
        int digit = hex_digit(s.p[n]);
        if (digit < 0 || digit >= base) break;
        *code = *code * (uint32_t)base + (uint32_t)digit;
    }
    if (n < min || *code > 0x10ffff || (*code >= 0xd800 && *code < 0xe000)) {
        (void)shoal_jinja_unsupported(l->job, "a string with an odd character escape");
    }
    return n;
}

/* One escape, s beginning after the backslash; bytes taken of s, bytes written to out in *n. A
 * result is never longer than what it is written as. */
static size_t lex_escape(lexer *l, shoal_str s, char *out, size_t *n)
{
    static const char FROM[] = "\\'\"abfnrtv";
    static const char TO[] = "\\'\"\a\b\f\n\r\t\v";
    uint32_t code = 0;
    const char *simple = strchr(FROM, s.p[0]);
    shoal_str rest = {s.p + 1, s.n - 1};
    *n = 0;
    if (simple != NULL && *simple != '\0') {
        out[(*n)++] = TO[simple - FROM];
        return 1;
    }
    size_t digits = 0;
    switch (s.p[0]) {
    case '\n': return 1;
    case 'x': digits = escape_number(l, rest, 16, 2, 2, &code); break;
    case 'u': digits = escape_number(l, rest, 16, 4, 4, &code); break;
    case 'U': digits = escape_number(l, rest, 16, 8, 8, &code); break;
    case 'N': (void)shoal_jinja_unsupported(l->job, "characters by name in strings"); return 1;
    default:
        if (s.p[0] < '0' || s.p[0] > '7') { /* kept, backslash and all */
            out[(*n)++] = '\\';
            return 0;
        }
        digits = escape_number(l, s, 8, 1, 3, &code) - 1;
    }
    *n = put_utf8(out, code);
    return 1 + digits;
}

static void lex_string(lexer *l)
{
    char quote = l->p[l->at];
    size_t end = l->at + 1;
    while (end < l->n && l->p[end] != quote) {
        end += l->p[end] == '\\' ? 2 : 1;
    }
    if (end >= l->n) {
        (void)shoal_jinja_fail(l->job, SHOAL_ERR_FORMAT, "a string without an end");
        return;
    }
    char *out = shoal_jinja_take(l->job, end - l->at, 1);
    size_t n = 0;
    for (size_t i = l->at + 1; i < end && !shoal_jinja_failed(l->job);) {
        if (l->p[i] != '\\') {
            out[n++] = l->p[i++];
            continue;
        }
        size_t written = 0;
        i += 1 + lex_escape(l, (shoal_str){l->p + i + 1, end - i - 1}, out + n, &written);
        n += written;
    }
    add(l, JINJA_TOKEN_STRING, (shoal_str){out, n}, 0);
    skip(l, end + 1 - l->at);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name(char c)
{
    return is_digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static void lex_number(lexer *l)
{
    int64_t v = 0;
    size_t end = l->at;
    bool after_dot = l->at > 0 && l->p[l->at - 1] == '.';
    for (; end < l->n && (is_digit(l->p[end]) || l->p[end] == '_'); end++) {
        if (l->p[end] == '_') continue;
        int digit = l->p[end] - '0';
        if (v > (INT64_MAX - digit) / 10) {
            (void)shoal_jinja_unsupported(l->job, "a number of more than 64 bits");
            return;
        }
        v = v * 10 + digit;
    }
    bool fraction = end + 1 < l->n && l->p[end] == '.' && is_digit(l->p[end + 1]) && !after_dot;
    if (fraction || (end < l->n && is_name(l->p[end])) || (l->p[l->at] == '0' && v > 0)) {
        (void)shoal_jinja_unsupported(l->job, "numbers other than whole decimal ones");
        return;
    }
    add(l, JINJA_TOKEN_INT, (shoal_str){l->p + l->at, end - l->at}, v);
    l->at = end;
}

/* Keeps account of brackets: "}}" inside a dict does not end the tag. */
static void lex_operator(lexer *l)
{
    static const char *const OPS[] = {"==", "!=", "<=", ">=", "//", "**"};
    static const char SINGLE[] = "+-*/%~<>=.,:|()[]{};";
    size_t n = 1;
    for (size_t i = 0; i < sizeof OPS / sizeof OPS[0]; i++) {
        if (looking_at(l, OPS[i])) n = 2;
    }
    char c = l->p[l->at];
    if (n == 1 && (c == '\0' || strchr(SINGLE, c) == NULL)) {
        (void)shoal_jinja_fail(l->job, SHOAL_ERR_FORMAT, "an unexpected character '%c'", c);
        return;
    }
    if (c == '(' || c == '[' || c == '{') {
        char *open = shoal_jinja_grow(l->job, l->open, l->n_open, &l->open_cap, 1);
        if (open == NULL) return;
        l->open = open;
        l->open[l->n_open++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (l->n_open == 0 || l->open[--l->n_open] != c) {
            (void)shoal_jinja_fail(l->job, SHOAL_ERR_FORMAT, "an unexpected '%c'", c);
            return;
        }
    }
    add(l, JINJA_TOKEN_OP, (shoal_str){l->p + l->at, n}, 0);
    l->at += n;
}

static void lex_name(lexer *l)
{
    size_t end = l->at;
    while (end < l->n && is_name(l->p[end])) {
        end++;
    }
    add(l, JINJA_TOKEN_NAME, (shoal_str){l->p + l->at, end - l->at}, 0);
    l->at = end;
}

static void lex_tag(lexer *l, bool block)
{
    add(l, block ? JINJA_TOKEN_BLOCK : JINJA_TOKEN_OUTPUT, (shoal_str){"", 0}, 0);
    l->n_open = 0;
    while (!shoal_jinja_failed(l->job)) {
        if (l->at >= l->n) {
            (void)shoal_jinja_fail(l->job, SHOAL_ERR_FORMAT, "a tag without an end");
            return;
        }
        uint32_t line = l->job->line;
        if (l->n_open == 0 && lex_tag_end(l, block ? "%}" : "}}", block, block)) {
            add(l, block ? JINJA_TOKEN_BLOCK_END : JINJA_TOKEN_OUTPUT_END, (shoal_str){"", 0}, 0);
            if (!shoal_jinja_failed(l->job)) l->tokens[l->n_tokens - 1].line = line;
            return;
        }
        char c = l->p[l->at];
        if (space_at(l, l->at) > 0) {
            skip(l, space_at(l, l->at));
        } else if (c == '\'' || c == '"') {
            lex_string(l);
        } else if (is_digit(c)) {
            lex_number(l);
        } else if (is_name(c)) {
            lex_name(l);
        } else if ((unsigned char)c >= 0x80) {
            (void)shoal_jinja_unsupported(l->job, "names beyond ASCII");
        } else {
            lex_operator(l);
        }
    }
}

jinja_token *shoal_jinja_lex(jinja_job *j, shoal_str source, size_t *n)
{
    lexer l = {.job = j, .p = source.p, .n = source.n, .line_starts = true};
    j->line = 1;
    while (!shoal_jinja_failed(j)) {
        char kind = lex_data(&l);
        if (kind == '\0') break;
        if (kind == '#') {
            lex_comment(&l);
        } else {
            lex_tag(&l, kind == '%');
        }
    }
    add(&l, JINJA_TOKEN_END, (shoal_str){"", 0}, 0);
    *n = l.n_tokens;
    return shoal_jinja_failed(j) ? NULL : l.tokens;
}
