/* jinja_filters.c - what stands after '|'. */
#include "lora/model/jinja_impl.h"

/* A filter: its value, and its arguments sorted by its parameters. */
typedef struct call {
    jinja_eval *e;
    jinja_job *j;
    shoal_jinja_value v;
    shoal_jinja_value in[4];
    const jinja_args *args;
} call;

typedef shoal_jinja_value filter_fn(const call *c);

static bool given(shoal_jinja_value v)
{
    return v.kind != SHOAL_JINJA_UNDEFINED && v.kind != SHOAL_JINJA_NONE;
}

/* ---- strings ----------------------------------------------------------------------------------
 */

static shoal_jinja_value trim(const call *c)
{
    const jinja_text *set = given(c->in[0]) ? shoal_jinja_str(c->j, c->in[0]) : NULL;
    return shoal_jinja_strip(c->j, shoal_jinja_str(c->j, c->v), set, JINJA_BOTH);
}

static shoal_jinja_value lower(const call *c)
{
    return shoal_jinja_recase(c->j, shoal_jinja_str(c->j, c->v), JINJA_LOWER);
}

static shoal_jinja_value upper(const call *c)
{
    return shoal_jinja_recase(c->j, shoal_jinja_str(c->j, c->v), JINJA_UPPER);
}

static shoal_jinja_value capitalize(const call *c)
{
    return shoal_jinja_recase(c->j, shoal_jinja_str(c->j, c->v), JINJA_CAPITALIZE);
}

static shoal_jinja_value string(const call *c)
{
    return (shoal_jinja_value){.kind = SHOAL_JINJA_STRING, .u.text = shoal_jinja_str(c->j, c->v)};
}

static shoal_jinja_value replace(const call *c)
{
    int64_t max = -1;
    if (given(c->in[2]) && !shoal_jinja_as_int(c->in[2], &max)) {
        return shoal_jinja_fail(c->j, SHOAL_ERR_FORMAT, "replace: how often is not a number");
    }
    const jinja_text *old = shoal_jinja_str(c->j, c->in[0]);
    const jinja_text *with = shoal_jinja_str(c->j, c->in[1]);
    return shoal_jinja_replace(c->j, shoal_jinja_str(c->j, c->v), old, with, max);
}

static shoal_jinja_value tojson(const call *c)
{
    int64_t indent = -1;
    if (shoal_jinja_truth(c->in[0])) {
        return shoal_jinja_unsupported(c->j, "tojson with ensure_ascii");
    }
    if (given(c->in[1]) && (!shoal_jinja_as_int(c->in[1], &indent) || indent < 0)) {
        return shoal_jinja_unsupported(c->j, "tojson with this indent");
    }
    if (given(c->in[2])) return shoal_jinja_unsupported(c->j, "tojson with separators");
    jinja_builder b = {0};
    shoal_jinja_json(c->j, &b, c->v, indent, shoal_jinja_truth(c->in[3]));
    return shoal_jinja_built(c->j, &b);
}

/* ---- numbers ----------------------------------------------------------------------------------
 */

/* Digits with a sign, white space around them allowed; false for anything else. */
static bool parse_int(jinja_job *j, const jinja_text *t, int64_t *out)
{
    shoal_jinja_value stripped = shoal_jinja_strip(j, t, NULL, JINJA_BOTH);
    if (shoal_jinja_failed(j)) return false;
    shoal_str s = shoal_jinja_bytes(stripped.u.text);
    bool negative = s.n > 0 && s.p[0] == '-';
    size_t from = negative || (s.n > 0 && s.p[0] == '+') ? 1 : 0;
    if (s.n <= from || s.n - from > 18) return false;
    *out = 0;
    for (size_t i = from; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        *out = *out * 10 + (s.p[i] - '0');
    }
    if (negative) *out = -*out;
    return true;
}

/* Python also reads "1_0", "1.5" and long numbers: those that could be such are refused. */
static bool may_be_number(shoal_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((s.p[i] >= '0' && s.p[i] <= '9') || (unsigned char)s.p[i] >= 0x80) return true;
    }
    return false;
}

static shoal_jinja_value to_int(const call *c)
{
    int64_t n = 0;
    if (shoal_jinja_as_int(c->v, &n)) return shoal_jinja_int(n);
    if (c->v.kind == SHOAL_JINJA_STRING) {
        if (parse_int(c->j, c->v.u.text, &n)) return shoal_jinja_int(n);
        if (may_be_number(shoal_jinja_bytes(c->v.u.text))) {
            return shoal_jinja_unsupported(c->j, "int of a text that is not plain digits");
        }
    }
    return c->args->n > 0 ? c->in[0] : shoal_jinja_int(0);
}

static shoal_jinja_value length(const call *c)
{
    return shoal_jinja_int(shoal_jinja_count(c->j, c->v));
}

/* ---- lists ------------------------------------------------------------------------------------
 */

static shoal_jinja_value first(const call *c)
{
    const jinja_list *list = shoal_jinja_iterate(c->j, c->v);
    return list == NULL || list->n == 0 ? shoal_jinja_undefined() : list->items[0];
}

static shoal_jinja_value last(const call *c)
{
    const jinja_list *list = shoal_jinja_iterate(c->j, c->v);
    return list == NULL || list->n == 0 ? shoal_jinja_undefined() : list->items[list->n - 1];
}

static shoal_jinja_value reverse(const call *c)
{
    bool text = c->v.kind == SHOAL_JINJA_STRING;
    if (text) {
        shoal_jinja_value none = shoal_jinja_undefined();
        return shoal_jinja_slice(c->j, c->v, none, none, shoal_jinja_int(-1));
    }
    const jinja_list *list = shoal_jinja_iterate(c->j, c->v);
    shoal_jinja_value v = shoal_jinja_new_list(c->j, JINJA_GENERATOR);
    for (size_t i = list == NULL ? 0 : list->n; i-- > 0 && !shoal_jinja_failed(c->j);) {
        shoal_jinja_append(c->j, v.u.list, list->items[i]);
    }
    return v;
}

static shoal_jinja_value to_list(const call *c)
{
    const jinja_list *list = shoal_jinja_iterate(c->j, c->v);
    shoal_jinja_value v = shoal_jinja_new_list(c->j, JINJA_LIST);
    for (size_t i = 0; list != NULL && i < list->n && !shoal_jinja_failed(c->j); i++) {
        shoal_jinja_append(c->j, v.u.list, list->items[i]);
    }
    return v;
}

static shoal_jinja_value items(const call *c)
{
    shoal_jinja_value v = shoal_jinja_new_list(c->j, JINJA_GENERATOR);
    if (c->v.kind == SHOAL_JINJA_UNDEFINED || shoal_jinja_failed(c->j)) return v;
    if (c->v.kind != SHOAL_JINJA_DICT) {
        return shoal_jinja_fail(c->j, SHOAL_ERR_FORMAT, "items of a %s",
                                shoal_jinja_kind_name(c->v));
    }
    const jinja_dict *d = c->v.u.dict;
    for (size_t i = 0; i < d->n && !shoal_jinja_failed(c->j); i++) {
        shoal_jinja_value pair = shoal_jinja_new_list(c->j, JINJA_TUPLE);
        shoal_jinja_append(c->j, pair.u.list, d->keys[i]);
        shoal_jinja_append(c->j, pair.u.list, d->values[i]);
        shoal_jinja_append(c->j, v.u.list, pair);
    }
    return v;
}

static shoal_jinja_value default_value(const call *c)
{
    bool missing = c->v.kind == SHOAL_JINJA_UNDEFINED ||
                   (shoal_jinja_truth(c->in[1]) && !shoal_jinja_truth(c->v));
    if (!missing) return c->v;
    return c->args->n > 0 ? c->in[0] : shoal_jinja_words(c->j, "");
}

/* "a.b.0" of a value, as map, join and selectattr look attributes up: [part] before .part. */
static shoal_jinja_value by_path(const call *c, shoal_jinja_value v, shoal_jinja_value path)
{
    if (path.kind == SHOAL_JINJA_INT) return shoal_jinja_index(c->j, v, path);
    if (path.kind != SHOAL_JINJA_STRING) {
        return shoal_jinja_fail(c->j, SHOAL_ERR_FORMAT, "a %s as an attribute's name",
                                shoal_jinja_kind_name(path));
    }
    shoal_str rest = shoal_jinja_bytes(path.u.text);
    while (!shoal_jinja_failed(c->j)) {
        size_t n = 0;
        while (n < rest.n && rest.p[n] != '.') {
            n++;
        }
        jinja_builder b = {0};
        shoal_jinja_put(c->j, &b, rest.p, n, 0);
        shoal_jinja_value part = shoal_jinja_built(c->j, &b);
        int64_t number = 0;
        if (shoal_jinja_failed(c->j)) break;
        if (parse_int(c->j, part.u.text, &number)) part = shoal_jinja_int(number);
        v = shoal_jinja_index(c->j, v, part);
        if (n == rest.n) return v;
        rest = (shoal_str){rest.p + n + 1, rest.n - n - 1};
    }
    return shoal_jinja_undefined();
}

static shoal_jinja_value join(const call *c)
{
    const jinja_list *list = shoal_jinja_iterate(c->j, c->v);
    jinja_builder b = {0};
    for (size_t i = 0; list != NULL && i < list->n && !shoal_jinja_failed(c->j); i++) {
        shoal_jinja_value v = list->items[i];
        if (given(c->in[1])) v = by_path(c, v, c->in[1]);
        if (i > 0) shoal_jinja_print(c->j, &b, c->in[0]);
        shoal_jinja_print(c->j, &b, v);
    }
    return shoal_jinja_built(c->j, &b);
}

/* ---- filters of filters and tests -------------------------------------------------------------
 */

/* The arguments from the k-th on. */
static jinja_args rest_of(const jinja_args *a, size_t k)
{
    k = k < a->n ? k : a->n;
    return (jinja_args){a->what, a->values + k, a->names + k, a->n - k};
}

/* map(attribute='a.b', default=x), map('filter', ...) */
static shoal_jinja_value map(const call *c)
{
    const jinja_args *a = c->args;
    const jinja_list *list = shoal_jinja_iterate(c->j, c->v);
    shoal_jinja_value out = shoal_jinja_new_list(c->j, JINJA_GENERATOR);
    bool attribute = a->n > 0 && shoal_jinja_is(a->names[0], "attribute");
    bool filter = a->n > 0 && a->names[0].n == 0 && a->values[0].kind == SHOAL_JINJA_STRING;
    bool fallback = a->n == 2 && shoal_jinja_is(a->names[1], "default");
    if ((!filter && !attribute) || (attribute && a->n > 1 && !fallback)) {
        return shoal_jinja_unsupported(c->j, "map with these arguments");
    }
    const jinja_args rest = rest_of(a, 1);
    for (size_t i = 0; list != NULL && i < list->n && !shoal_jinja_failed(c->j); i++) {
        shoal_jinja_value v = list->items[i];
        if (attribute) {
            v = by_path(c, v, a->values[0]);
            if (fallback && v.kind == SHOAL_JINJA_UNDEFINED) v = a->values[1];
        } else {
            v = shoal_jinja_filter(c->e, shoal_jinja_bytes(a->values[0].u.text), v, &rest);
        }
        shoal_jinja_append(c->j, out.u.list, v);
    }
    return out;
}

/* select and reject: the items (or an attribute of theirs) that a test holds for, or does not. */
static shoal_jinja_value choose(const call *c, bool attribute, bool wanted)
{
    const size_t at = attribute ? 1 : 0; /* where the test's name stands */
    const jinja_args *a = c->args;
    const jinja_list *list = shoal_jinja_iterate(c->j, c->v);
    shoal_jinja_value out = shoal_jinja_new_list(c->j, JINJA_GENERATOR);
    if (a->n < at) return shoal_jinja_fail(c->j, SHOAL_ERR_FORMAT, "which attribute is missing");
    if (a->n > at && a->values[at].kind != SHOAL_JINJA_STRING) {
        return shoal_jinja_fail(c->j, SHOAL_ERR_FORMAT, "a test's name is missing");
    }
    const jinja_args rest = rest_of(a, at + 1);
    for (size_t i = 0; list != NULL && i < list->n && !shoal_jinja_failed(c->j); i++) {
        shoal_jinja_value v = list->items[i];
        if (attribute) v = by_path(c, v, a->values[0]);
        bool holds = a->n > at
                         ? shoal_jinja_test(c->e, shoal_jinja_bytes(a->values[at].u.text), v, &rest)
                         : shoal_jinja_truth(v);
        if (holds == wanted) shoal_jinja_append(c->j, out.u.list, list->items[i]);
    }
    return out;
}

static shoal_jinja_value select_items(const call *c)
{
    return choose(c, false, true);
}

static shoal_jinja_value reject_items(const call *c)
{
    return choose(c, false, false);
}

static shoal_jinja_value select_attribute(const call *c)
{
    return choose(c, true, true);
}

static shoal_jinja_value reject_attribute(const call *c)
{
    return choose(c, true, false);
}

/* ---- the table --------------------------------------------------------------------------------
 */

enum { MAX_PARAMETERS = 5 };

static const struct filter {
    const char *name;
    filter_fn *fn;
    size_t required;
    bool own_arguments; /* looks at args itself */
    const char *parameters[MAX_PARAMETERS];
} FILTERS[] = {
    {"trim", trim, 0, false, {"chars", NULL}},
    {"lower", lower, 0, false, {NULL}},
    {"upper", upper, 0, false, {NULL}},
    {"capitalize", capitalize, 0, false, {NULL}},
    {"string", string, 0, false, {NULL}},
    {"replace", replace, 2, false, {"old", "new", "count", NULL}},
    {"tojson", tojson, 0, false, {"ensure_ascii", "indent", "separators", "sort_keys", NULL}},
    {"int", to_int, 0, false, {"default", NULL}},
    {"length", length, 0, false, {NULL}},
    {"count", length, 0, false, {NULL}},
    {"first", first, 0, false, {NULL}},
    {"last", last, 0, false, {NULL}},
    {"reverse", reverse, 0, false, {NULL}},
    {"list", to_list, 0, false, {NULL}},
    {"items", items, 0, false, {NULL}},
    {"default", default_value, 0, false, {"default_value", "boolean", NULL}},
    {"d", default_value, 0, false, {"default_value", "boolean", NULL}},
    {"join", join, 0, false, {"d", "attribute", NULL}},
    {"map", map, 0, true, {NULL}},
    {"select", select_items, 0, true, {NULL}},
    {"reject", reject_items, 0, true, {NULL}},
    {"selectattr", select_attribute, 0, true, {NULL}},
    {"rejectattr", reject_attribute, 0, true, {NULL}},
};

shoal_jinja_value shoal_jinja_filter(jinja_eval *e, shoal_str name, shoal_jinja_value in,
                                     const jinja_args *args)
{
    for (size_t i = 0; i < sizeof FILTERS / sizeof FILTERS[0]; i++) {
        const struct filter *f = &FILTERS[i];
        if (!shoal_jinja_is(name, f->name)) continue;
        jinja_args named = *args;
        named.what = f->name;
        call c = {.e = e, .j = e->job, .v = in, .args = &named};
        if (!f->own_arguments) shoal_jinja_bind(e->job, &named, f->parameters, f->required, c.in);
        shoal_jinja_value v = shoal_jinja_undefined();
        /* map('map', ...) nests without the evaluator. */
        if (shoal_jinja_enter(e->job)) v = f->fn(&c);
        shoal_jinja_leave(e->job);
        return v;
    }
    return shoal_jinja_unsupported(e->job, "the filter '%.*s'", (int)(name.n < 60 ? name.n : 60),
                                   name.p);
}
