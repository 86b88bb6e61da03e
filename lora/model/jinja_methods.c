/* jinja_methods.c - methods of strings and dicts. */
#include "lora/model/jinja_impl.h"

typedef enum method {
    STRIP,
    LSTRIP,
    RSTRIP,
    SPLIT,
    STARTSWITH,
    ENDSWITH,
    UPPER,
    LOWER,
    TITLE,
    CAPITALIZE,
    REPLACE,
    JOIN,
    FIND,
    COUNT,
    N_OF_STRINGS,
    ITEMS = N_OF_STRINGS,
    KEYS,
    VALUES,
    GET,
    N_METHODS
} method;

static const char *const NAMES[N_METHODS] = {"strip",    "lstrip", "rstrip", "split", "startswith",
                                             "endswith", "upper",  "lower",  "title", "capitalize",
                                             "replace",  "join",   "find",   "count", "items",
                                             "keys",     "values", "get"};

static int find_method(shoal_jinja_value obj, shoal_str name)
{
    int from = obj.kind == SHOAL_JINJA_STRING ? STRIP : ITEMS;
    int to = obj.kind == SHOAL_JINJA_STRING ? N_OF_STRINGS : N_METHODS;
    if (obj.kind != SHOAL_JINJA_STRING && obj.kind != SHOAL_JINJA_DICT) return -1;
    for (int i = from; i < to; i++) {
        if (shoal_jinja_is(name, NAMES[i])) return i;
    }
    return -1;
}

bool shoal_jinja_has_method(shoal_jinja_value obj, shoal_str name)
{
    return find_method(obj, name) >= 0;
}

/* ---- strings ----------------------------------------------------------------------------------
 */

/* An argument that has to be a string; NULL after noting the error. */
static const jinja_text *text_argument(jinja_job *j, shoal_jinja_value v)
{
    if (v.kind == SHOAL_JINJA_STRING) return v.u.text;
    (void)shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "a %s where a string should be",
                           shoal_jinja_kind_name(v));
    return NULL;
}

/* Words between runs of white space; after max of them the rest, its beginning stripped
 * and its end not, as Python has it. */
static void split_words(jinja_job *j, const jinja_text *t, int64_t max, jinja_list *out)
{
    shoal_jinja_value left = shoal_jinja_strip(j, t, NULL, JINJA_LEFT);
    while (!shoal_jinja_failed(j) && left.u.text->n > 0) {
        const jinja_text *s = left.u.text;
        size_t n = 0;
        uint32_t code = 0;
        while (n < s->n && max != 0) {
            const jinja_text rest = {.p = s->p + n, .n = s->n - n};
            size_t width = shoal_jinja_character(&rest, &code);
            if (shoal_jinja_is_space(code)) break;
            n += width;
        }
        if (max-- == 0) {
            shoal_jinja_append(j, out, left);
            return;
        }
        shoal_jinja_append(j, out, shoal_jinja_part(j, s, 0, n));
        shoal_jinja_charge(j, n);
        shoal_jinja_value rest = shoal_jinja_part(j, s, n, s->n - n);
        if (shoal_jinja_failed(j)) return;
        left = shoal_jinja_strip(j, rest.u.text, NULL, JINJA_LEFT);
    }
}

static shoal_jinja_value split(jinja_job *j, const jinja_text *t, const shoal_jinja_value *in)
{
    int64_t max = -1;
    shoal_jinja_value list = shoal_jinja_new_list(j, JINJA_LIST);
    if (in[1].kind != SHOAL_JINJA_UNDEFINED && !shoal_jinja_as_int(in[1], &max)) {
        return shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "split: how often is not a number");
    }
    if (in[0].kind == SHOAL_JINJA_UNDEFINED || in[0].kind == SHOAL_JINJA_NONE) {
        if (!shoal_jinja_failed(j)) split_words(j, t, max, list.u.list);
        return list;
    }
    const jinja_text *by = text_argument(j, in[0]);
    if (by == NULL) return list;
    if (by->n == 0) return shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "split by an empty string");
    size_t from = 0;
    for (; max != 0 && !shoal_jinja_failed(j); max--) {
        size_t hit = shoal_jinja_search(j, t, shoal_jinja_bytes(by), from);
        if (hit >= t->n) break;
        shoal_jinja_append(j, list.u.list, shoal_jinja_part(j, t, from, hit - from));
        from = hit + by->n;
    }
    shoal_jinja_append(j, list.u.list, shoal_jinja_part(j, t, from, t->n - from));
    return list;
}

static bool has_end(const jinja_text *t, const jinja_text *end, bool at_start)
{
    if (end->n > t->n) return false;
    const char *p = at_start ? t->p : t->p + (t->n - end->n);
    return shoal_jinja_same((shoal_str){p, end->n}, shoal_jinja_bytes(end));
}

/* startswith, endswith: of one string, or of any in a tuple. */
static shoal_jinja_value has_ends(jinja_job *j, const jinja_text *t, shoal_jinja_value ends,
                                  bool at_start)
{
    bool tuple = ends.kind == SHOAL_JINJA_LIST && ends.u.list->flavour == JINJA_TUPLE;
    size_t n = tuple ? ends.u.list->n : 1;
    for (size_t i = 0; i < n; i++) {
        const jinja_text *end = text_argument(j, tuple ? ends.u.list->items[i] : ends);
        if (end == NULL) break;
        shoal_jinja_charge(j, end->n);
        if (has_end(t, end, at_start)) return shoal_jinja_bool(true);
    }
    return shoal_jinja_bool(false);
}

static shoal_jinja_value find_text(jinja_job *j, const jinja_text *t, const jinja_text *what,
                                   bool count)
{
    size_t from = 0;
    int64_t n = 0;
    if (what->n == 0) return shoal_jinja_unsupported(j, "searching for an empty string");
    while (!shoal_jinja_failed(j)) {
        size_t hit = shoal_jinja_search(j, t, shoal_jinja_bytes(what), from);
        if (hit >= t->n) break;
        const jinja_text before = {.p = t->p, .n = hit};
        if (!count) return shoal_jinja_int((int64_t)shoal_jinja_length(j, &before));
        from = hit + what->n;
        n++;
    }
    return shoal_jinja_int(count ? n : -1);
}

static shoal_jinja_value replace(jinja_job *j, const jinja_text *t, const shoal_jinja_value *in)
{
    int64_t max = -1;
    const jinja_text *old = text_argument(j, in[0]);
    const jinja_text *with = text_argument(j, in[1]);
    if (in[2].kind != SHOAL_JINJA_UNDEFINED && !shoal_jinja_as_int(in[2], &max)) {
        return shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "replace: how often is not a number");
    }
    return shoal_jinja_failed(j) ? shoal_jinja_undefined()
                                 : shoal_jinja_replace(j, t, old, with, max);
}

static shoal_jinja_value join(jinja_job *j, const jinja_text *between, shoal_jinja_value of)
{
    const jinja_list *list = shoal_jinja_iterate(j, of);
    jinja_builder b = {0};
    for (size_t i = 0; list != NULL && i < list->n && !shoal_jinja_failed(j); i++) {
        if (i > 0) shoal_jinja_put_text(j, &b, between);
        shoal_jinja_put_text(j, &b, text_argument(j, list->items[i]));
    }
    return shoal_jinja_built(j, &b);
}

static shoal_jinja_value of_string(jinja_job *j, method m, const jinja_text *t,
                                   const shoal_jinja_value *in)
{
    bool given = in[0].kind != SHOAL_JINJA_UNDEFINED && in[0].kind != SHOAL_JINJA_NONE;
    switch (m) {
    case STRIP:
    case LSTRIP:
    case RSTRIP: {
        const jinja_text *set = given ? text_argument(j, in[0]) : NULL;
        if (shoal_jinja_failed(j)) return shoal_jinja_undefined();
        jinja_side side = m == STRIP ? JINJA_BOTH : m == LSTRIP ? JINJA_LEFT : JINJA_RIGHT;
        return shoal_jinja_strip(j, t, set, side);
    }
    case SPLIT: return split(j, t, in);
    case STARTSWITH:
    case ENDSWITH: return has_ends(j, t, in[0], m == STARTSWITH);
    case UPPER: return shoal_jinja_recase(j, t, JINJA_UPPER);
    case LOWER: return shoal_jinja_recase(j, t, JINJA_LOWER);
    case TITLE: return shoal_jinja_recase(j, t, JINJA_TITLE);
    case CAPITALIZE: return shoal_jinja_recase(j, t, JINJA_CAPITALIZE);
    case REPLACE: return replace(j, t, in);
    case JOIN: return join(j, t, in[0]);
    default: {
        const jinja_text *what = text_argument(j, in[0]);
        return what == NULL ? shoal_jinja_undefined() : find_text(j, t, what, m == COUNT);
    }
    }
}

/* ---- dicts ------------------------------------------------------------------------------------
 */

static shoal_jinja_value entries(jinja_job *j, const jinja_dict *d, method m)
{
    shoal_jinja_value list = shoal_jinja_new_list(j, JINJA_LIST);
    for (size_t i = 0; i < d->n && !shoal_jinja_failed(j); i++) {
        shoal_jinja_value v = m == KEYS ? d->keys[i] : d->values[i];
        if (m == ITEMS) {
            v = shoal_jinja_new_list(j, JINJA_TUPLE);
            shoal_jinja_append(j, v.u.list, d->keys[i]);
            shoal_jinja_append(j, v.u.list, d->values[i]);
        }
        shoal_jinja_append(j, list.u.list, v);
    }
    return list;
}

shoal_jinja_value shoal_jinja_call_method(jinja_eval *e, shoal_jinja_value obj, shoal_str name,
                                          const jinja_args *args)
{
    /* In Python most of these take no names; those that do have these. */
    static const char *const NONE[] = {NULL};
    static const char *const ONE[] = {"", NULL};
    static const char *const TWO[] = {"", "", NULL};
    static const char *const THREE[] = {"", "", "", NULL};
    static const char *const SPLIT_NAMES[] = {"sep", "maxsplit", NULL};
    int found = find_method(obj, name);
    if (found < 0) return shoal_jinja_unsupported(e->job, "a method");
    method m = (method)found;
    shoal_jinja_value in[3] = {{0}};
    jinja_args named = *args;
    named.what = NAMES[m];
    switch (m) {
    case STRIP:
    case LSTRIP:
    case RSTRIP: shoal_jinja_bind(e->job, &named, ONE, 0, in); break;
    case SPLIT: shoal_jinja_bind(e->job, &named, SPLIT_NAMES, 0, in); break;
    case REPLACE: shoal_jinja_bind(e->job, &named, THREE, 2, in); break;
    case STARTSWITH:
    case ENDSWITH:
    case JOIN:
    case FIND:
    case COUNT: shoal_jinja_bind(e->job, &named, ONE, 1, in); break;
    case GET: shoal_jinja_bind(e->job, &named, TWO, 1, in); break;
    default: shoal_jinja_bind(e->job, &named, NONE, 0, in); break;
    }
    if (shoal_jinja_failed(e->job)) return shoal_jinja_undefined();
    if (obj.kind == SHOAL_JINJA_STRING) return of_string(e->job, m, obj.u.text, in);
    if (m != GET) return entries(e->job, obj.u.dict, m);
    const shoal_jinja_value *v = shoal_jinja_dict_get(e->job, obj.u.dict, in[0]);
    if (v != NULL) return *v;
    return args->n > 1 ? in[1] : shoal_jinja_none();
}
