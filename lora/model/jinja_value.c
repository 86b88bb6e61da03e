/* jinja_value.c - lists, dicts, and what two values are to each other. As Python has it. */
#include <string.h>

#include "lora/model/jinja_impl.h"
#include "lora/model/unicode.h"

shoal_jinja_value shoal_jinja_undefined(void)
{
    return (shoal_jinja_value){.kind = SHOAL_JINJA_UNDEFINED};
}

shoal_jinja_value shoal_jinja_none(void)
{
    return (shoal_jinja_value){.kind = SHOAL_JINJA_NONE};
}

shoal_jinja_value shoal_jinja_bool(bool truth)
{
    return (shoal_jinja_value){.kind = SHOAL_JINJA_BOOL, .u.truth = truth};
}

shoal_jinja_value shoal_jinja_int(int64_t number)
{
    return (shoal_jinja_value){.kind = SHOAL_JINJA_INT, .u.number = number};
}

/* ---- lists and dicts --------------------------------------------------------------------------
 */

shoal_jinja_value shoal_jinja_new_list(jinja_job *j, jinja_flavour flavour)
{
    jinja_list *list = shoal_jinja_take(j, 1, sizeof *list);
    if (list == NULL) return shoal_jinja_undefined();
    list->flavour = flavour;
    return (shoal_jinja_value){.kind = SHOAL_JINJA_LIST, .u.list = list};
}

shoal_jinja_value shoal_jinja_new_dict(jinja_job *j)
{
    jinja_dict *dict = shoal_jinja_take(j, 1, sizeof *dict);
    if (dict == NULL) return shoal_jinja_undefined();
    return (shoal_jinja_value){.kind = SHOAL_JINJA_DICT, .u.dict = dict};
}

void shoal_jinja_append(jinja_job *j, jinja_list *list, shoal_jinja_value v)
{
    if (list == NULL || shoal_jinja_failed(j)) return;
    shoal_jinja_charge(j, 0);
    void *items = shoal_jinja_grow(j, list->items, list->n, &list->cap, sizeof *list->items);
    if (items == NULL) return;
    list->items = items;
    list->items[list->n++] = v;
}

const shoal_jinja_value *shoal_jinja_dict_find(jinja_job *j, const jinja_dict *d, shoal_str key)
{
    shoal_jinja_charge(j, d->n);
    for (size_t i = 0; i < d->n; i++) {
        if (d->keys[i].kind == SHOAL_JINJA_STRING &&
            shoal_jinja_same(shoal_jinja_bytes(d->keys[i].u.text), key)) {
            return &d->values[i];
        }
    }
    return NULL;
}

const shoal_jinja_value *shoal_jinja_dict_get(jinja_job *j, const jinja_dict *d,
                                              shoal_jinja_value key)
{
    if (key.kind == SHOAL_JINJA_STRING) {
        return shoal_jinja_dict_find(j, d, shoal_jinja_bytes(key.u.text));
    }
    if (key.kind == SHOAL_JINJA_LIST || key.kind == SHOAL_JINJA_DICT) {
        (void)shoal_jinja_unsupported(j, "a %s as a key", shoal_jinja_kind_name(key));
        return NULL;
    }
    for (size_t i = 0; i < d->n && !shoal_jinja_failed(j); i++) {
        if (shoal_jinja_equal(j, d->keys[i], key)) return &d->values[i];
    }
    return NULL;
}

void shoal_jinja_dict_set(jinja_job *j, jinja_dict *d, shoal_jinja_value key, shoal_jinja_value v)
{
    const shoal_jinja_value *have = shoal_jinja_dict_get(j, d, key);
    if (shoal_jinja_failed(j)) return;
    if (have != NULL) {
        d->values[have - d->values] = v;
        return;
    }
    void *keys = shoal_jinja_grow(j, d->keys, d->n, &d->keys_cap, sizeof *d->keys);
    void *values = shoal_jinja_grow(j, d->values, d->n, &d->values_cap, sizeof *d->values);
    if (keys == NULL || values == NULL) return;
    d->keys = keys;
    d->values = values;
    d->keys[d->n] = key;
    d->values[d->n++] = v;
}

/* ---- comparing --------------------------------------------------------------------------------
 */

const char *shoal_jinja_kind_name(shoal_jinja_value v)
{
    switch (v.kind) {
    case SHOAL_JINJA_UNDEFINED: return "undefined value";
    case SHOAL_JINJA_NONE: return "none";
    case SHOAL_JINJA_BOOL: return "truth value";
    case SHOAL_JINJA_INT: return "number";
    case SHOAL_JINJA_STRING: return "string";
    case SHOAL_JINJA_LIST:
        if (v.u.list->flavour == JINJA_GENERATOR) return "generator";
        return v.u.list->flavour == JINJA_TUPLE ? "tuple" : "list";
    case SHOAL_JINJA_DICT: return "dict";
    case SHOAL_JINJA_NAMESPACE: return "namespace";
    case SHOAL_JINJA_MACRO: return "macro";
    case SHOAL_JINJA_FUNCTION: return "function";
    case SHOAL_JINJA_LOOP: return "loop";
    }
    return "value";
}

bool shoal_jinja_as_int(shoal_jinja_value v, int64_t *out)
{
    if (v.kind == SHOAL_JINJA_INT) *out = v.u.number;
    if (v.kind == SHOAL_JINJA_BOOL) *out = v.u.truth;
    return v.kind == SHOAL_JINJA_INT || v.kind == SHOAL_JINJA_BOOL;
}

bool shoal_jinja_truth(shoal_jinja_value v)
{
    switch (v.kind) {
    case SHOAL_JINJA_UNDEFINED:
    case SHOAL_JINJA_NONE: return false;
    case SHOAL_JINJA_BOOL: return v.u.truth;
    case SHOAL_JINJA_INT: return v.u.number != 0;
    case SHOAL_JINJA_STRING: return v.u.text->n > 0;
    case SHOAL_JINJA_LIST: return v.u.list->flavour == JINJA_GENERATOR || v.u.list->n > 0;
    case SHOAL_JINJA_DICT: return v.u.dict->n > 0;
    default: return true;
    }
}

static bool equal_lists(jinja_job *j, const jinja_list *a, const jinja_list *b)
{
    if (a == b) return true;
    if (a->flavour != b->flavour || a->n != b->n || a->flavour == JINJA_GENERATOR) return false;
    for (size_t i = 0; i < a->n; i++) {
        if (!shoal_jinja_equal(j, a->items[i], b->items[i])) return false;
    }
    return true;
}

static bool equal_dicts(jinja_job *j, const jinja_dict *a, const jinja_dict *b)
{
    if (a == b) return true;
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        const shoal_jinja_value *other = shoal_jinja_dict_get(j, b, a->keys[i]);
        if (other == NULL || !shoal_jinja_equal(j, a->values[i], *other)) return false;
    }
    return true;
}

static bool equal_kinds(jinja_job *j, shoal_jinja_value a, shoal_jinja_value b)
{
    switch (a.kind) {
    case SHOAL_JINJA_UNDEFINED:
    case SHOAL_JINJA_NONE: return true;
    case SHOAL_JINJA_STRING:
        shoal_jinja_charge(j, a.u.text->n);
        return shoal_jinja_same(shoal_jinja_bytes(a.u.text), shoal_jinja_bytes(b.u.text));
    case SHOAL_JINJA_LIST: return equal_lists(j, a.u.list, b.u.list);
    case SHOAL_JINJA_DICT: return equal_dicts(j, a.u.dict, b.u.dict);
    case SHOAL_JINJA_NAMESPACE: return a.u.dict == b.u.dict;
    case SHOAL_JINJA_MACRO: return a.u.macro == b.u.macro;
    case SHOAL_JINJA_FUNCTION: return a.u.function == b.u.function;
    default: return a.u.loop == b.u.loop;
    }
}

bool shoal_jinja_equal(jinja_job *j, shoal_jinja_value a, shoal_jinja_value b)
{
    int64_t x = 0;
    int64_t y = 0;
    if (shoal_jinja_as_int(a, &x) && shoal_jinja_as_int(b, &y)) return x == y;
    if (a.kind != b.kind) return false;
    shoal_jinja_charge(j, 0);
    bool equal = shoal_jinja_enter(j) && equal_kinds(j, a, b);
    shoal_jinja_leave(j);
    return equal && !shoal_jinja_failed(j);
}

int shoal_jinja_compare(jinja_job *j, shoal_jinja_value a, shoal_jinja_value b)
{
    int64_t x = 0;
    int64_t y = 0;
    if (shoal_jinja_as_int(a, &x) && shoal_jinja_as_int(b, &y)) return (x > y) - (x < y);
    if (a.kind == SHOAL_JINJA_STRING && b.kind == SHOAL_JINJA_STRING) {
        shoal_str s = shoal_jinja_bytes(a.u.text);
        shoal_str t = shoal_jinja_bytes(b.u.text);
        size_t n = s.n < t.n ? s.n : t.n;
        shoal_jinja_charge(j, n);
        int order = n == 0 ? 0 : memcmp(s.p, t.p, n); /* UTF-8 sorts as its characters do */
        return order != 0 ? order : (s.n > t.n) - (s.n < t.n);
    }
    if (a.kind == SHOAL_JINJA_LIST && b.kind == SHOAL_JINJA_LIST) {
        (void)shoal_jinja_unsupported(j, "ordering lists");
        return 0;
    }
    (void)shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "a %s and a %s have no order",
                           shoal_jinja_kind_name(a), shoal_jinja_kind_name(b));
    return 0;
}

bool shoal_jinja_contains(jinja_job *j, shoal_jinja_value in, shoal_jinja_value what)
{
    if (in.kind == SHOAL_JINJA_STRING) {
        if (what.kind != SHOAL_JINJA_STRING) {
            (void)shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "a %s cannot be in a string",
                                   shoal_jinja_kind_name(what));
            return false;
        }
        shoal_str s = shoal_jinja_bytes(what.u.text);
        return s.n == 0 || shoal_jinja_search(j, in.u.text, s, 0) < in.u.text->n;
    }
    if (in.kind == SHOAL_JINJA_DICT) return shoal_jinja_dict_get(j, in.u.dict, what) != NULL;
    const jinja_list *list = shoal_jinja_iterate(j, in);
    for (size_t i = 0; list != NULL && i < list->n && !shoal_jinja_failed(j); i++) {
        if (shoal_jinja_equal(j, list->items[i], what)) return true;
    }
    return false;
}

/* ---- items ------------------------------------------------------------------------------------
 */

static jinja_list *characters(jinja_job *j, const jinja_text *t)
{
    shoal_jinja_value v = shoal_jinja_new_list(j, JINJA_LIST);
    uint32_t code = 0;
    for (size_t at = 0; at < t->n && !shoal_jinja_failed(j);) {
        size_t n = shoal_utf8_next(t->p + at, t->n - at, &code, NULL);
        shoal_jinja_append(j, v.u.list, shoal_jinja_part(j, t, at, n));
        at += n;
    }
    return shoal_jinja_failed(j) ? NULL : v.u.list;
}

static jinja_list *keys(jinja_job *j, const jinja_dict *d)
{
    shoal_jinja_value v = shoal_jinja_new_list(j, JINJA_LIST);
    for (size_t i = 0; i < d->n && !shoal_jinja_failed(j); i++) {
        shoal_jinja_append(j, v.u.list, d->keys[i]);
    }
    return shoal_jinja_failed(j) ? NULL : v.u.list;
}

jinja_list *shoal_jinja_iterate(jinja_job *j, shoal_jinja_value v)
{
    switch (v.kind) {
    case SHOAL_JINJA_UNDEFINED: return shoal_jinja_new_list(j, JINJA_LIST).u.list;
    case SHOAL_JINJA_STRING: return characters(j, v.u.text);
    case SHOAL_JINJA_DICT: return keys(j, v.u.dict);
    case SHOAL_JINJA_LIST:
        if (v.u.list->flavour == JINJA_GENERATOR && v.u.list->consumed) {
            (void)shoal_jinja_unsupported(j, "walking over a generator twice");
            return NULL;
        }
        v.u.list->consumed = true;
        return v.u.list;
    default:
        (void)shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "a %s has no items", shoal_jinja_kind_name(v));
        return NULL;
    }
}

int64_t shoal_jinja_count(jinja_job *j, shoal_jinja_value v)
{
    switch (v.kind) {
    case SHOAL_JINJA_UNDEFINED: return 0;
    case SHOAL_JINJA_STRING: return (int64_t)shoal_jinja_length(j, v.u.text);
    case SHOAL_JINJA_DICT: return (int64_t)v.u.dict->n;
    case SHOAL_JINJA_LIST:
        if (v.u.list->flavour != JINJA_GENERATOR) return (int64_t)v.u.list->n;
        break;
    default: break;
    }
    (void)shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "a %s has no length", shoal_jinja_kind_name(v));
    return 0;
}

/* ---- parts ------------------------------------------------------------------------------------
 */

static shoal_jinja_value of_undefined(jinja_job *j)
{
    return shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "a part is asked of something undefined");
}

/* depth counts recursive calls of a loop, which do not exist here. */
static shoal_jinja_value loop_attribute(jinja_job *j, const jinja_loop *l, shoal_str name)
{
    size_t n = l->list->n;
    const struct {
        const char *name;
        size_t value;
    } NUMBERS[] = {
        {"index", l->index + 1},
        {"index0", l->index},
        {"revindex", n - l->index},
        {"length", n},
        {"revindex0", n - l->index - 1},
        {"depth", 1},
        {"depth0", 0},
    };
    for (size_t i = 0; i < sizeof NUMBERS / sizeof NUMBERS[0]; i++) {
        if (shoal_jinja_is(name, NUMBERS[i].name)) {
            return shoal_jinja_int((int64_t)NUMBERS[i].value);
        }
    }
    if (shoal_jinja_is(name, "first")) return shoal_jinja_bool(l->index == 0);
    if (shoal_jinja_is(name, "last")) return shoal_jinja_bool(l->index + 1 == n);
    if (shoal_jinja_is(name, "previtem")) {
        return l->index == 0 ? shoal_jinja_undefined() : l->list->items[l->index - 1];
    }
    if (shoal_jinja_is(name, "nextitem")) {
        return l->index + 1 == n ? shoal_jinja_undefined() : l->list->items[l->index + 1];
    }
    return shoal_jinja_unsupported(j, "loop.%.*s", (int)(name.n < 40 ? name.n : 40), name.p);
}

shoal_jinja_value shoal_jinja_attribute(jinja_job *j, shoal_jinja_value obj, shoal_str name)
{
    const shoal_jinja_value *v = NULL;
    switch (obj.kind) {
    case SHOAL_JINJA_UNDEFINED: return of_undefined(j);
    case SHOAL_JINJA_LOOP: return loop_attribute(j, obj.u.loop, name);
    case SHOAL_JINJA_NAMESPACE:
        v = shoal_jinja_dict_find(j, obj.u.dict, name);
        return v == NULL ? shoal_jinja_undefined() : *v;
    default: break;
    }
    if (shoal_jinja_has_method(obj, name)) {
        return shoal_jinja_unsupported(j, "the method '%.*s' without a call", (int)name.n, name.p);
    }
    if (obj.kind == SHOAL_JINJA_MACRO || obj.kind == SHOAL_JINJA_FUNCTION) {
        return shoal_jinja_unsupported(j, "attributes of a %s", shoal_jinja_kind_name(obj));
    }
    if (obj.kind == SHOAL_JINJA_DICT) v = shoal_jinja_dict_find(j, obj.u.dict, name);
    return v == NULL ? shoal_jinja_undefined() : *v;
}

static shoal_jinja_value item(jinja_job *j, shoal_jinja_value obj, int64_t at)
{
    int64_t n = shoal_jinja_count(j, obj);
    if (at < 0) at += n;
    if (at < 0 || at >= n || shoal_jinja_failed(j)) return shoal_jinja_undefined();
    if (obj.kind == SHOAL_JINJA_LIST) return obj.u.list->items[at];
    const jinja_text *t = obj.u.text;
    size_t from = shoal_jinja_offset(j, t, (size_t)at);
    const jinja_text rest = {.p = t->p + from, .n = t->n - from};
    return shoal_jinja_part(j, t, from, shoal_jinja_offset(j, &rest, 1));
}

shoal_jinja_value shoal_jinja_index(jinja_job *j, shoal_jinja_value obj, shoal_jinja_value key)
{
    int64_t at = 0;
    if (obj.kind == SHOAL_JINJA_UNDEFINED) return of_undefined(j);
    if (obj.kind == SHOAL_JINJA_DICT) {
        const shoal_jinja_value *v = shoal_jinja_dict_get(j, obj.u.dict, key);
        if (v != NULL || key.kind != SHOAL_JINJA_STRING) {
            return v == NULL ? shoal_jinja_undefined() : *v;
        }
    }
    if (key.kind == SHOAL_JINJA_STRING) {
        return shoal_jinja_attribute(j, obj, shoal_jinja_bytes(key.u.text));
    }
    bool sequence = obj.kind == SHOAL_JINJA_STRING ||
                    (obj.kind == SHOAL_JINJA_LIST && obj.u.list->flavour != JINJA_GENERATOR);
    if (sequence && shoal_jinja_as_int(key, &at)) return item(j, obj, at);
    return shoal_jinja_undefined();
}

/* ---- slices -----------------------------------------------------------------------------------
 */

/* A bound as Python resolves it: counted from the end when negative, then clamped to [lo, hi]. */
static int64_t bound(jinja_job *j, shoal_jinja_value v, int64_t absent, int64_t n, int64_t lo,
                     int64_t hi)
{
    int64_t at = 0;
    if (v.kind == SHOAL_JINJA_UNDEFINED || v.kind == SHOAL_JINJA_NONE) return absent;
    if (!shoal_jinja_as_int(v, &at)) {
        (void)shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "a %s as the bound of a slice",
                               shoal_jinja_kind_name(v));
        return absent;
    }
    if (at < 0) at += n;
    return at < lo ? lo : at > hi ? hi : at;
}

static shoal_jinja_value slice_text(jinja_job *j, const jinja_text *t, int64_t from, int64_t to)
{
    size_t begin = shoal_jinja_offset(j, t, (size_t)from);
    size_t end = to > from ? shoal_jinja_offset(j, t, (size_t)to) : begin;
    return shoal_jinja_part(j, t, begin, end - begin);
}

shoal_jinja_value shoal_jinja_slice(jinja_job *j, shoal_jinja_value obj, shoal_jinja_value start,
                                    shoal_jinja_value stop, shoal_jinja_value step)
{
    int64_t by = 1;
    if (obj.kind == SHOAL_JINJA_UNDEFINED) return of_undefined(j);
    bool text = obj.kind == SHOAL_JINJA_STRING;
    bool list = obj.kind == SHOAL_JINJA_LIST && obj.u.list->flavour != JINJA_GENERATOR;
    if (!text && !list) {
        return shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "a slice of a %s", shoal_jinja_kind_name(obj));
    }
    if (step.kind != SHOAL_JINJA_UNDEFINED && step.kind != SHOAL_JINJA_NONE &&
        (!shoal_jinja_as_int(step, &by) || by == 0 || by < -INT32_MAX || by > INT32_MAX)) {
        return shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "a slice's step is not a sensible number");
    }
    int64_t n = shoal_jinja_count(j, obj);
    int64_t from = bound(j, start, by > 0 ? 0 : n - 1, n, by > 0 ? 0 : -1, by > 0 ? n : n - 1);
    int64_t to = bound(j, stop, by > 0 ? n : -1, n, by > 0 ? 0 : -1, by > 0 ? n : n - 1);
    if (shoal_jinja_failed(j)) return shoal_jinja_undefined();
    if (text && by == 1) return slice_text(j, obj.u.text, from, to);
    const jinja_list *all = text ? characters(j, obj.u.text) : obj.u.list;
    shoal_jinja_value taken = shoal_jinja_new_list(j, text ? JINJA_LIST : obj.u.list->flavour);
    jinja_builder b = {0};
    for (int64_t i = from; (by > 0 ? i < to : i > to) && !shoal_jinja_failed(j); i += by) {
        if (text) {
            shoal_jinja_put_text(j, &b, all->items[i].u.text);
        } else {
            shoal_jinja_append(j, taken.u.list, all->items[i]);
        }
    }
    return text ? shoal_jinja_built(j, &b) : taken;
}
