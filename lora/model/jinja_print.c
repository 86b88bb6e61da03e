/* jinja_print.c - values as text: as Python prints them, and as JSON. */
#include <stdio.h>
#include <string.h>

#include "lora/model/jinja_impl.h"

static void put_int(jinja_job *j, jinja_builder *b, int64_t v)
{
    char digits[24];
    (void)snprintf(digits, sizeof digits, "%lld", (long long)v);
    shoal_jinja_put_words(j, b, digits);
}

/* ---- Python's way -----------------------------------------------------------------------------
 */

static void put_repr(jinja_job *j, jinja_builder *b, shoal_jinja_value v);

/* Which characters beyond ASCII Python shows as they are depends on its Unicode tables. */
static void put_quoted(jinja_job *j, jinja_builder *b, const jinja_text *t)
{
    bool single = t->n > 0 && memchr(t->p, '\'', t->n) != NULL;
    bool twice = t->n > 0 && memchr(t->p, '"', t->n) != NULL;
    char quote = single && !twice ? '"' : '\'';
    shoal_jinja_put(j, b, &quote, 1, 0);
    for (size_t i = 0; i < t->n && !shoal_jinja_failed(j); i++) {
        char c = t->p[i];
        char room[8] = {c};
        if ((unsigned char)c >= 0x7f) {
            (void)shoal_jinja_unsupported(j, "showing a list of texts beyond ASCII");
        } else if (c == '\n' || c == '\r' || c == '\t') {
            (void)snprintf(room, sizeof room, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        } else if (c == '\\' || c == quote) {
            (void)snprintf(room, sizeof room, "\\%c", c);
        } else if ((unsigned char)c < 0x20) {
            (void)snprintf(room, sizeof room, "\\x%02x", (unsigned)c);
        }
        shoal_jinja_put(j, b, room, strlen(room), shoal_jinja_origin_at(t, i));
    }
    shoal_jinja_put(j, b, &quote, 1, 0);
}

static void put_list(jinja_job *j, jinja_builder *b, const jinja_list *list)
{
    bool tuple = list->flavour == JINJA_TUPLE;
    shoal_jinja_put_words(j, b, tuple ? "(" : "[");
    for (size_t i = 0; i < list->n && !shoal_jinja_failed(j); i++) {
        if (i > 0) shoal_jinja_put_words(j, b, ", ");
        put_repr(j, b, list->items[i]);
    }
    shoal_jinja_put_words(j, b, tuple ? (list->n == 1 ? ",)" : ")") : "]");
}

static void put_dict(jinja_job *j, jinja_builder *b, const jinja_dict *d)
{
    shoal_jinja_put_words(j, b, "{");
    for (size_t i = 0; i < d->n && !shoal_jinja_failed(j); i++) {
        if (i > 0) shoal_jinja_put_words(j, b, ", ");
        put_repr(j, b, d->keys[i]);
        shoal_jinja_put_words(j, b, ": ");
        put_repr(j, b, d->values[i]);
    }
    shoal_jinja_put_words(j, b, "}");
}

static void put_repr(jinja_job *j, jinja_builder *b, shoal_jinja_value v)
{
    if (shoal_jinja_enter(j)) {
        if (v.kind == SHOAL_JINJA_STRING) {
            put_quoted(j, b, v.u.text);
        } else if (v.kind == SHOAL_JINJA_UNDEFINED) {
            shoal_jinja_put_words(j, b, "Undefined");
        } else {
            shoal_jinja_print(j, b, v);
        }
    }
    shoal_jinja_leave(j);
}

void shoal_jinja_print(jinja_job *j, jinja_builder *b, shoal_jinja_value v)
{
    switch (v.kind) {
    case SHOAL_JINJA_UNDEFINED: return;
    case SHOAL_JINJA_NONE: shoal_jinja_put_words(j, b, "None"); return;
    case SHOAL_JINJA_BOOL: shoal_jinja_put_words(j, b, v.u.truth ? "True" : "False"); return;
    case SHOAL_JINJA_INT: put_int(j, b, v.u.number); return;
    case SHOAL_JINJA_STRING: shoal_jinja_put_text(j, b, v.u.text); return;
    case SHOAL_JINJA_DICT: put_dict(j, b, v.u.dict); return;
    case SHOAL_JINJA_LIST:
        if (v.u.list->flavour != JINJA_GENERATOR) {
            put_list(j, b, v.u.list);
            return;
        }
        break;
    default: break;
    }
    (void)shoal_jinja_unsupported(j, "showing a %s", shoal_jinja_kind_name(v));
}

const jinja_text *shoal_jinja_str(jinja_job *j, shoal_jinja_value v)
{
    static const jinja_text EMPTY = {.p = ""};
    if (v.kind == SHOAL_JINJA_STRING) return v.u.text;
    jinja_builder b = {0};
    shoal_jinja_print(j, &b, v);
    shoal_jinja_value s = shoal_jinja_built(j, &b);
    return s.kind == SHOAL_JINJA_STRING ? s.u.text : &EMPTY;
}

/* ---- JSON -------------------------------------------------------------------------------------
 */

typedef struct json_writer {
    jinja_job *job;
    jinja_builder *out;
    int64_t indent; /* < 0: one line */
    bool sort_keys;
} json_writer;

static void put_json(json_writer *w, shoal_jinja_value v, size_t depth);

static void put_json_string(jinja_job *j, jinja_builder *b, const jinja_text *t)
{
    static const char FROM[] = "\"\\\n\r\t\b\f";
    static const char TO[] = "\"\\nrtbf";
    shoal_jinja_put_words(j, b, "\"");
    for (size_t i = 0; i < t->n && !shoal_jinja_failed(j); i++) {
        char c = t->p[i];
        char room[8] = {c, '\0'};
        size_t n = 1;
        const char *hit = c == '\0' ? NULL : strchr(FROM, c);
        if (hit != NULL) {
            room[0] = '\\';
            room[1] = TO[hit - FROM];
            n = 2;
        } else if ((unsigned char)c < 0x20) {
            n = (size_t)snprintf(room, sizeof room, "\\u%04x", (unsigned)c);
        }
        shoal_jinja_put(j, b, room, n, shoal_jinja_origin_at(t, i));
    }
    shoal_jinja_put_words(j, b, "\"");
}

static void put_line(json_writer *w, size_t depth)
{
    if (w->indent < 0) return;
    shoal_jinja_put_words(w->job, w->out, "\n");
    for (size_t i = depth * (size_t)w->indent; i > 0 && !shoal_jinja_failed(w->job); i--) {
        shoal_jinja_put_words(w->job, w->out, " ");
    }
}

static void put_comma(json_writer *w, size_t i, size_t depth)
{
    if (i > 0) shoal_jinja_put_words(w->job, w->out, w->indent < 0 ? ", " : ",");
    put_line(w, depth);
}

static void put_json_list(json_writer *w, const jinja_list *list, size_t depth)
{
    shoal_jinja_put_words(w->job, w->out, "[");
    for (size_t i = 0; i < list->n && !shoal_jinja_failed(w->job); i++) {
        put_comma(w, i, depth + 1);
        put_json(w, list->items[i], depth + 1);
    }
    if (list->n > 0) put_line(w, depth);
    shoal_jinja_put_words(w->job, w->out, "]");
}

/* Which entry comes i-th in order of keys: how many are smaller. Quadratic, and charged. */
static size_t sorted(json_writer *w, const jinja_dict *d, size_t i)
{
    for (size_t k = 0; k < d->n; k++) {
        size_t smaller = 0;
        for (size_t other = 0; other < d->n && !shoal_jinja_failed(w->job); other++) {
            smaller += shoal_jinja_compare(w->job, d->keys[other], d->keys[k]) < 0;
        }
        if (smaller == i) return k;
    }
    return i;
}

static void put_json_dict(json_writer *w, const jinja_dict *d, size_t depth)
{
    shoal_jinja_put_words(w->job, w->out, "{");
    for (size_t i = 0; i < d->n && !shoal_jinja_failed(w->job); i++) {
        size_t k = w->sort_keys ? sorted(w, d, i) : i;
        put_comma(w, i, depth + 1);
        if (d->keys[k].kind != SHOAL_JINJA_STRING) {
            (void)shoal_jinja_unsupported(w->job, "JSON with keys that are no strings");
            return;
        }
        put_json_string(w->job, w->out, d->keys[k].u.text);
        shoal_jinja_put_words(w->job, w->out, ": ");
        put_json(w, d->values[k], depth + 1);
    }
    if (d->n > 0) put_line(w, depth);
    shoal_jinja_put_words(w->job, w->out, "}");
}

static void put_json_kind(json_writer *w, shoal_jinja_value v, size_t depth)
{
    switch (v.kind) {
    case SHOAL_JINJA_NONE: shoal_jinja_put_words(w->job, w->out, "null"); return;
    case SHOAL_JINJA_BOOL:
        shoal_jinja_put_words(w->job, w->out, v.u.truth ? "true" : "false");
        return;
    case SHOAL_JINJA_INT: put_int(w->job, w->out, v.u.number); return;
    case SHOAL_JINJA_STRING: put_json_string(w->job, w->out, v.u.text); return;
    case SHOAL_JINJA_DICT: put_json_dict(w, v.u.dict, depth); return;
    case SHOAL_JINJA_LIST:
        if (v.u.list->flavour != JINJA_GENERATOR) {
            put_json_list(w, v.u.list, depth);
            return;
        }
        break;
    default: break;
    }
    (void)shoal_jinja_fail(w->job, SHOAL_ERR_FORMAT, "a %s has no JSON form",
                           shoal_jinja_kind_name(v));
}

static void put_json(json_writer *w, shoal_jinja_value v, size_t depth)
{
    if (shoal_jinja_enter(w->job)) put_json_kind(w, v, depth);
    shoal_jinja_leave(w->job);
}

void shoal_jinja_json(jinja_job *j, jinja_builder *b, shoal_jinja_value v, int64_t indent,
                      bool sort_keys)
{
    json_writer w = {j, b, indent, sort_keys};
    put_json(&w, v, 0);
}
