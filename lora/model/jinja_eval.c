/* jinja_eval.c - the value of an expression. */
#include "lora/model/jinja_impl.h"

static shoal_jinja_value look_up(jinja_eval *e, shoal_str name)
{
    for (const jinja_scope *s = e->scope; s != NULL; s = s->outer) {
        const shoal_jinja_value *v = shoal_jinja_dict_find(e->job, &s->vars, name);
        if (v != NULL) return *v;
    }
    return shoal_jinja_find_function(e->data, name);
}

static shoal_jinja_value eval_list(jinja_eval *e, const jinja_node *node)
{
    shoal_jinja_value v =
        shoal_jinja_new_list(e->job, node->op == JINJA_TUPLE_OF ? JINJA_TUPLE : JINJA_LIST);
    for (const jinja_node *i = node->items; i != NULL && !shoal_jinja_failed(e->job); i = i->next) {
        shoal_jinja_append(e->job, v.u.list, shoal_jinja_eval_expr(e, i));
    }
    return v;
}

static shoal_jinja_value eval_dict(jinja_eval *e, const jinja_node *node)
{
    shoal_jinja_value v = shoal_jinja_new_dict(e->job);
    for (const jinja_node *i = node->items; i != NULL && !shoal_jinja_failed(e->job);
         i = i->next->next) {
        shoal_jinja_value key = shoal_jinja_eval_expr(e, i);
        shoal_jinja_value value = shoal_jinja_eval_expr(e, i->next);
        if (!shoal_jinja_failed(e->job)) shoal_jinja_dict_set(e->job, v.u.dict, key, value);
    }
    return v;
}

static shoal_jinja_value eval_concat(jinja_eval *e, const jinja_node *node)
{
    jinja_builder b = {0};
    for (const jinja_node *i = node->items; i != NULL && !shoal_jinja_failed(e->job); i = i->next) {
        shoal_jinja_print(e->job, &b, shoal_jinja_eval_expr(e, i));
    }
    return shoal_jinja_built(e->job, &b);
}

static bool holds(jinja_job *j, shoal_str op, shoal_jinja_value a, shoal_jinja_value b)
{
    if (shoal_jinja_is(op, "==")) return shoal_jinja_equal(j, a, b);
    if (shoal_jinja_is(op, "!=")) return !shoal_jinja_equal(j, a, b);
    if (shoal_jinja_is(op, "in")) return shoal_jinja_contains(j, b, a);
    if (shoal_jinja_is(op, "not in")) return !shoal_jinja_contains(j, b, a);
    int order = shoal_jinja_compare(j, a, b);
    if (shoal_jinja_is(op, "<")) return order < 0;
    if (shoal_jinja_is(op, "<=")) return order <= 0;
    return shoal_jinja_is(op, ">") ? order > 0 : order >= 0;
}

/* a < b < c is a < b and b < c. */
static shoal_jinja_value eval_comparison(jinja_eval *e, const jinja_node *node)
{
    shoal_jinja_value left = shoal_jinja_eval_expr(e, node->a);
    for (const jinja_node *i = node->items; i != NULL && !shoal_jinja_failed(e->job); i = i->next) {
        shoal_jinja_value right = shoal_jinja_eval_expr(e, i->a);
        if (shoal_jinja_failed(e->job)) break;
        if (!holds(e->job, i->name, left, right)) return shoal_jinja_bool(false);
        left = right;
    }
    return shoal_jinja_bool(true);
}

static shoal_jinja_value eval_bound(jinja_eval *e, const jinja_node *node)
{
    return node == NULL ? shoal_jinja_undefined() : shoal_jinja_eval_expr(e, node);
}

static shoal_jinja_value eval_arith(jinja_eval *e, const jinja_node *node)
{
    shoal_jinja_value a = shoal_jinja_eval_expr(e, node->a);
    shoal_jinja_value b = shoal_jinja_eval_expr(e, node->b);
    char op = node->name.p[0];
    if (node->name.n == 2) {
        op = op == '*' ? '^' : '/';
    } else if (op == '/') {
        return shoal_jinja_unsupported(e->job, "division with '/': its result is no whole number");
    }
    return shoal_jinja_arith(e->job, op, a, b);
}

static shoal_jinja_value eval_sign(jinja_eval *e, const jinja_node *node)
{
    int64_t v = 0;
    shoal_jinja_value a = shoal_jinja_eval_expr(e, node->a);
    if (!shoal_jinja_as_int(a, &v)) {
        return shoal_jinja_fail(e->job, SHOAL_ERR_FORMAT, "a sign before a %s",
                                shoal_jinja_kind_name(a));
    }
    shoal_jinja_value zero = shoal_jinja_int(0);
    return shoal_jinja_arith(e->job, node->op == JINJA_NEGATE ? '-' : '+', zero, a);
}

/* ---- calls ------------------------------------------------------------------------------------
 */

jinja_args shoal_jinja_eval_args(jinja_eval *e, const jinja_node *first, const char *what)
{
    jinja_args args = {.what = what};
    size_t n = 0;
    for (const jinja_node *i = first; i != NULL; i = i->next) {
        n++;
    }
    args.values = shoal_jinja_take(e->job, n, sizeof *args.values);
    args.names = shoal_jinja_take(e->job, n, sizeof *args.names);
    bool keyword = false;
    for (const jinja_node *i = first; i != NULL && !shoal_jinja_failed(e->job); i = i->next) {
        keyword = keyword || i->name.n > 0;
        if (keyword && i->name.n == 0) {
            (void)shoal_jinja_fail(e->job, SHOAL_ERR_FORMAT, "an argument after a named one");
            break;
        }
        shoal_jinja_value v = shoal_jinja_eval_expr(e, i->a);
        if (shoal_jinja_failed(e->job)) break;
        args.names[args.n] = i->name;
        args.values[args.n++] = v;
    }
    return args;
}

void shoal_jinja_bind(jinja_job *j, const jinja_args *args, const char *const *names,
                      size_t required, shoal_jinja_value *out)
{
    size_t n = 0;
    size_t given = 0; /* of the required ones */
    while (names[n] != NULL) {
        n++;
    }
    for (size_t i = 0; i < args->n && !shoal_jinja_failed(j); i++) {
        size_t at = i;
        for (size_t k = 0; args->names[i].n > 0; k++) {
            at = k;
            if (k == n || shoal_jinja_is(args->names[i], names[k])) break;
        }
        if (at >= n) {
            (void)shoal_jinja_unsupported(j, "'%s' with these arguments", args->what);
            return;
        }
        out[at] = args->values[i];
        given += at < required;
    }
    if (given < required) {
        (void)shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "'%s' needs more arguments", args->what);
    }
}

/* A method is looked for before an entry of that name, as Python does. */
static shoal_jinja_value eval_call(jinja_eval *e, const jinja_node *node)
{
    shoal_jinja_value callee = shoal_jinja_undefined();
    const jinja_node *f = node->a;
    if (f->op == JINJA_ATTRIBUTE) {
        shoal_jinja_value obj = shoal_jinja_eval_expr(e, f->a);
        if (shoal_jinja_failed(e->job)) return callee;
        if (shoal_jinja_has_method(obj, f->name)) {
            jinja_args args = shoal_jinja_eval_args(e, node->items, "a method");
            if (shoal_jinja_failed(e->job)) return callee;
            return shoal_jinja_call_method(e, obj, f->name, &args);
        }
        callee = shoal_jinja_attribute(e->job, obj, f->name);
        if (callee.kind != SHOAL_JINJA_MACRO && obj.kind != SHOAL_JINJA_UNDEFINED) {
            return shoal_jinja_unsupported(e->job, "the method '%.*s' of a %s", (int)f->name.n,
                                           f->name.p, shoal_jinja_kind_name(obj));
        }
    } else {
        callee = shoal_jinja_eval_expr(e, f);
    }
    jinja_args args = shoal_jinja_eval_args(e, node->items, "a function");
    if (shoal_jinja_failed(e->job)) return shoal_jinja_undefined();
    if (callee.kind == SHOAL_JINJA_MACRO) return shoal_jinja_call_macro(e, callee.u.macro, &args);
    if (callee.kind == SHOAL_JINJA_FUNCTION) {
        return shoal_jinja_call_function(e, callee.u.function, &args);
    }
    if (f->op == JINJA_NAME && callee.kind == SHOAL_JINJA_UNDEFINED) {
        return shoal_jinja_unsupported(e->job, "the function '%.*s'", (int)f->name.n, f->name.p);
    }
    return shoal_jinja_fail(e->job, SHOAL_ERR_FORMAT, "a %s is called",
                            shoal_jinja_kind_name(callee));
}

static shoal_jinja_value eval_filter(jinja_eval *e, const jinja_node *node)
{
    shoal_jinja_value in = shoal_jinja_eval_expr(e, node->a);
    jinja_args args = shoal_jinja_eval_args(e, node->items, "a filter");
    if (shoal_jinja_failed(e->job)) return shoal_jinja_undefined();
    return shoal_jinja_filter(e, node->name, in, &args);
}

static shoal_jinja_value eval_test(jinja_eval *e, const jinja_node *node)
{
    shoal_jinja_value in = shoal_jinja_eval_expr(e, node->a);
    jinja_args args = shoal_jinja_eval_args(e, node->items, "a test");
    if (shoal_jinja_failed(e->job)) return shoal_jinja_undefined();
    return shoal_jinja_bool(shoal_jinja_test(e, node->name, in, &args));
}

/* ---- all together -----------------------------------------------------------------------------
 */

static shoal_jinja_value eval_choice(jinja_eval *e, const jinja_node *node)
{
    if (node->op == JINJA_COND) {
        shoal_jinja_value condition = shoal_jinja_eval_expr(e, node->b);
        return eval_bound(e, shoal_jinja_truth(condition) ? node->a : node->c);
    }
    shoal_jinja_value a = shoal_jinja_eval_expr(e, node->a);
    bool stop = shoal_jinja_truth(a) == (node->op == JINJA_OR);
    return stop || shoal_jinja_failed(e->job) ? a : shoal_jinja_eval_expr(e, node->b);
}

static shoal_jinja_value eval_part(jinja_eval *e, const jinja_node *node)
{
    shoal_jinja_value obj = shoal_jinja_eval_expr(e, node->a);
    if (shoal_jinja_failed(e->job)) return obj;
    if (node->op == JINJA_ATTRIBUTE) return shoal_jinja_attribute(e->job, obj, node->name);
    shoal_jinja_value b = eval_bound(e, node->b);
    if (shoal_jinja_failed(e->job)) return b;
    if (node->op == JINJA_INDEX) return shoal_jinja_index(e->job, obj, b);
    shoal_jinja_value c = eval_bound(e, node->c);
    shoal_jinja_value d = eval_bound(e, node->d);
    if (shoal_jinja_failed(e->job)) return d;
    return shoal_jinja_slice(e->job, obj, b, c, d);
}

static shoal_jinja_value eval_node(jinja_eval *e, const jinja_node *node)
{
    switch (node->op) {
    case JINJA_LITERAL: return node->value;
    case JINJA_NAME: return look_up(e, node->name);
    case JINJA_LIST_OF:
    case JINJA_TUPLE_OF: return eval_list(e, node);
    case JINJA_DICT_OF: return eval_dict(e, node);
    case JINJA_ATTRIBUTE:
    case JINJA_INDEX:
    case JINJA_SLICE: return eval_part(e, node);
    case JINJA_CALL: return eval_call(e, node);
    case JINJA_FILTER: return eval_filter(e, node);
    case JINJA_TEST: return eval_test(e, node);
    case JINJA_NOT: return shoal_jinja_bool(!shoal_jinja_truth(shoal_jinja_eval_expr(e, node->a)));
    case JINJA_NEGATE:
    case JINJA_PLUS: return eval_sign(e, node);
    case JINJA_AND:
    case JINJA_OR:
    case JINJA_COND: return eval_choice(e, node);
    case JINJA_CONCAT: return eval_concat(e, node);
    case JINJA_ARITH: return eval_arith(e, node);
    case JINJA_COMPARE: return eval_comparison(e, node);
    default: return shoal_jinja_fail(e->job, SHOAL_ERR_INTERNAL, "no expression");
    }
}

shoal_jinja_value shoal_jinja_eval_expr(jinja_eval *e, const jinja_node *node)
{
    shoal_jinja_value v = shoal_jinja_undefined();
    shoal_jinja_charge(e->job, 0);
    if (shoal_jinja_enter(e->job)) {
        e->job->line = node->line;
        v = eval_node(e, node);
    }
    shoal_jinja_leave(e->job);
    return shoal_jinja_failed(e->job) ? shoal_jinja_undefined() : v;
}
