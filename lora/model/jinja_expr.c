/* jinja_expr.c - expressions: from tokens to a tree, by the reference's grammar.
 *
 * From loosest to tightest: if-else, or, and, not, comparisons, + -, ~, * / // %, **, signs, then
 * what follows a value: .name [index] (call) |filter, is test.
 */
#include "lora/model/jinja_impl.h"

static jinja_node *parse_or(jinja_parser *p);

static bool at_op(const jinja_parser *p, const char *op)
{
    return shoal_jinja_at(p, JINJA_TOKEN_OP, op);
}

static bool accept_op(jinja_parser *p, const char *op)
{
    return shoal_jinja_accept(p, JINJA_TOKEN_OP, op);
}

static bool accept_name(jinja_parser *p, const char *name)
{
    return shoal_jinja_accept(p, JINJA_TOKEN_NAME, name);
}

static jinja_node *make(jinja_parser *p, jinja_op op, jinja_node *a, jinja_node *b)
{
    jinja_node *node = shoal_jinja_node(p, op);
    if (node == NULL) return NULL;
    node->a = a;
    node->b = b;
    return node;
}

static jinja_node *literal(jinja_parser *p, shoal_jinja_value v)
{
    jinja_node *node = shoal_jinja_node(p, JINJA_LITERAL);
    if (node != NULL) node->value = v;
    return node;
}

/* ---- values -----------------------------------------------------------------------------------
 */

/* "a" 'b' next to each other are one string. */
static jinja_node *parse_string(jinja_parser *p)
{
    jinja_builder b = {0};
    while (shoal_jinja_at(p, JINJA_TOKEN_STRING, NULL)) {
        shoal_str s = shoal_jinja_peek(p)->text;
        shoal_jinja_put(p->job, &b, s.p, s.n, 0);
        (void)shoal_jinja_accept(p, JINJA_TOKEN_STRING, NULL);
    }
    return literal(p, shoal_jinja_built(p->job, &b));
}

static jinja_node *parse_name(jinja_parser *p)
{
    shoal_str name = shoal_jinja_expect_name(p);
    if (shoal_jinja_is(name, "true") || shoal_jinja_is(name, "True")) {
        return literal(p, shoal_jinja_bool(true));
    }
    if (shoal_jinja_is(name, "false") || shoal_jinja_is(name, "False")) {
        return literal(p, shoal_jinja_bool(false));
    }
    if (shoal_jinja_is(name, "none") || shoal_jinja_is(name, "None")) {
        return literal(p, shoal_jinja_none());
    }
    static const char *const MAGIC[] = {"caller", "varargs", "kwargs", "self",
                                        "super",  "lipsum",  "cycler", "joiner"};
    for (size_t i = 0; i < sizeof MAGIC / sizeof MAGIC[0]; i++) {
        if (shoal_jinja_is(name, MAGIC[i])) {
            (void)shoal_jinja_unsupported(p->job, "the name '%s'", MAGIC[i]);
        }
    }
    jinja_node *node = shoal_jinja_node(p, JINJA_NAME);
    if (node != NULL) node->name = name;
    return node;
}

/* Expressions with commas between and maybe after them, up to and with `close`. *comma: was there
 * one. With `pairs` each is "key: value", two items in the list. */
static jinja_node *parse_items(jinja_parser *p, const char *close, bool pairs, bool *comma)
{
    jinja_node *first = NULL;
    jinja_node **link = &first;
    *comma = false;
    while (!shoal_jinja_failed(p->job) && !at_op(p, close)) {
        for (int part = 0; part < (pairs ? 2 : 1); part++) {
            if (part == 1) shoal_jinja_expect(p, JINJA_TOKEN_OP, ":");
            jinja_node *node = shoal_jinja_parse_expr(p, true);
            if (node == NULL) return NULL;
            *link = node;
            link = &node->next;
        }
        if (!accept_op(p, ",")) break;
        *comma = true;
    }
    shoal_jinja_expect(p, JINJA_TOKEN_OP, close);
    return first;
}

static jinja_node *parse_bracket(jinja_parser *p)
{
    bool comma = false;
    if (accept_op(p, "(")) {
        jinja_node *first = parse_items(p, ")", false, &comma);
        if (first != NULL && !comma) return first;
        jinja_node *tuple = shoal_jinja_node(p, JINJA_TUPLE_OF);
        if (tuple != NULL) tuple->items = first;
        return tuple;
    }
    bool dict = at_op(p, "{");
    jinja_node *node = shoal_jinja_node(p, dict ? JINJA_DICT_OF : JINJA_LIST_OF);
    if (!accept_op(p, "{") && !accept_op(p, "[")) return shoal_jinja_unexpected(p, "a value");
    jinja_node *items = parse_items(p, dict ? "}" : "]", dict, &comma);
    if (node != NULL) node->items = items;
    return node;
}

static jinja_node *parse_primary(jinja_parser *p)
{
    const jinja_token *t = shoal_jinja_peek(p);
    if (t->kind == JINJA_TOKEN_NAME) return parse_name(p);
    if (t->kind == JINJA_TOKEN_STRING) return parse_string(p);
    if (t->kind == JINJA_TOKEN_INT) {
        (void)shoal_jinja_accept(p, JINJA_TOKEN_INT, NULL);
        return literal(p, shoal_jinja_int(t->number));
    }
    return parse_bracket(p);
}

/* ---- what follows a value ---------------------------------------------------------------------
 */

/* After "(": arguments and ")". Chained nodes are copied into ARGUMENTs, so that an expression is
 * never in two lists. */
static jinja_node *parse_arguments(jinja_parser *p)
{
    jinja_node *first = NULL;
    jinja_node **link = &first;
    while (!shoal_jinja_failed(p->job) && !at_op(p, ")")) {
        if (first != NULL) {
            shoal_jinja_expect(p, JINJA_TOKEN_OP, ",");
            if (at_op(p, ")")) break;
        }
        if (at_op(p, "*") || at_op(p, "**")) {
            (void)shoal_jinja_unsupported(p->job, "arguments from a list");
            return NULL;
        }
        jinja_node *arg = shoal_jinja_node(p, JINJA_ARGUMENT);
        if (arg == NULL) return NULL;
        const jinja_token *after = &p->tokens[p->at + 1];
        if (shoal_jinja_at(p, JINJA_TOKEN_NAME, NULL) && after->kind == JINJA_TOKEN_OP &&
            shoal_jinja_is(after->text, "=")) {
            arg->name = shoal_jinja_expect_name(p);
            (void)accept_op(p, "=");
        }
        arg->a = shoal_jinja_parse_expr(p, true);
        *link = arg;
        link = &arg->next;
    }
    shoal_jinja_expect(p, JINJA_TOKEN_OP, ")");
    return first;
}

static jinja_node *parse_call(jinja_parser *p, jinja_node *of)
{
    jinja_node *node = make(p, JINJA_CALL, of, NULL);
    jinja_node *args = parse_arguments(p);
    if (node != NULL) node->items = args;
    return node;
}

static jinja_node *parse_dot(jinja_parser *p, jinja_node *of)
{
    const jinja_token *t = shoal_jinja_peek(p);
    if (shoal_jinja_accept(p, JINJA_TOKEN_INT, NULL)) {
        return make(p, JINJA_INDEX, of, literal(p, shoal_jinja_int(t->number)));
    }
    jinja_node *node = make(p, JINJA_ATTRIBUTE, of, NULL);
    shoal_str name = shoal_jinja_expect_name(p);
    if (node != NULL) node->name = name;
    return node;
}

static jinja_node *parse_bound(jinja_parser *p)
{
    return at_op(p, ":") || at_op(p, "]") ? NULL : shoal_jinja_parse_expr(p, true);
}

/* After "[". */
static jinja_node *parse_subscript(jinja_parser *p, jinja_node *of)
{
    jinja_node *first = parse_bound(p);
    if (!accept_op(p, ":")) {
        if (first == NULL) return shoal_jinja_unexpected(p, "an index");
        shoal_jinja_expect(p, JINJA_TOKEN_OP, "]");
        return make(p, JINJA_INDEX, of, first);
    }
    jinja_node *node = make(p, JINJA_SLICE, of, first);
    if (node == NULL) return NULL;
    node->c = parse_bound(p);
    if (accept_op(p, ":")) node->d = parse_bound(p);
    shoal_jinja_expect(p, JINJA_TOKEN_OP, "]");
    return node;
}

static jinja_node *parse_postfix(jinja_parser *p, jinja_node *node)
{
    while (node != NULL && !shoal_jinja_failed(p->job)) {
        if (accept_op(p, ".")) {
            node = parse_dot(p, node);
        } else if (accept_op(p, "[")) {
            node = parse_subscript(p, node);
        } else if (accept_op(p, "(")) {
            node = parse_call(p, node);
        } else {
            break;
        }
    }
    return node;
}

static jinja_node *parse_filter(jinja_parser *p, jinja_node *of)
{
    jinja_node *node = make(p, JINJA_FILTER, of, NULL);
    if (node == NULL) return NULL;
    node->name = shoal_jinja_expect_name(p);
    if (at_op(p, ".")) (void)shoal_jinja_unsupported(p->job, "a filter with a dot in its name");
    if (accept_op(p, "(")) node->items = parse_arguments(p);
    return node;
}

jinja_node *shoal_jinja_parse_filters(jinja_parser *p, jinja_node *of)
{
    while (!shoal_jinja_failed(p->job) && accept_op(p, "|")) {
        of = parse_filter(p, of);
    }
    return of;
}

/* "is divisibleby 3": one argument may go without brackets. */
static bool at_bare_argument(const jinja_parser *p)
{
    static const char *const NOT_THESE[] = {"else", "or", "and"};
    const jinja_token *t = shoal_jinja_peek(p);
    if (t->kind == JINJA_TOKEN_STRING || t->kind == JINJA_TOKEN_INT) return true;
    if (t->kind == JINJA_TOKEN_OP) return at_op(p, "[") || at_op(p, "{");
    for (size_t i = 0; i < sizeof NOT_THESE / sizeof NOT_THESE[0]; i++) {
        if (shoal_jinja_is(t->text, NOT_THESE[i])) return false;
    }
    return t->kind == JINJA_TOKEN_NAME;
}

static jinja_node *parse_test(jinja_parser *p, jinja_node *of)
{
    bool negated = accept_name(p, "not");
    jinja_node *node = make(p, JINJA_TEST, of, NULL);
    if (node == NULL) return NULL;
    node->name = shoal_jinja_expect_name(p);
    if (accept_op(p, "(")) {
        node->items = parse_arguments(p);
    } else if (at_bare_argument(p)) {
        if (shoal_jinja_at(p, JINJA_TOKEN_NAME, "is")) {
            return shoal_jinja_unexpected(p, "an operator");
        }
        jinja_node *arg = shoal_jinja_node(p, JINJA_ARGUMENT);
        if (arg == NULL) return NULL;
        arg->a = parse_postfix(p, parse_primary(p));
        node->items = arg;
    }
    return negated ? make(p, JINJA_NOT, node, NULL) : node;
}

static jinja_node *parse_filters_and_tests(jinja_parser *p, jinja_node *node)
{
    while (node != NULL && !shoal_jinja_failed(p->job)) {
        if (accept_op(p, "|")) {
            node = parse_filter(p, node);
        } else if (accept_name(p, "is")) {
            node = parse_test(p, node);
        } else if (accept_op(p, "(")) {
            node = parse_call(p, node);
        } else {
            break;
        }
    }
    return node;
}

/* ---- operators --------------------------------------------------------------------------------
 */

/* A sign binds tighter than a filter: -1|string is (-1)|string. */
static jinja_node *parse_unary(jinja_parser *p, bool filters)
{
    jinja_node *node = NULL;
    if (shoal_jinja_enter(p->job)) {
        if (accept_op(p, "-")) {
            node = make(p, JINJA_NEGATE, parse_unary(p, false), NULL);
        } else if (accept_op(p, "+")) {
            node = make(p, JINJA_PLUS, parse_unary(p, false), NULL);
        } else {
            node = parse_primary(p);
        }
        node = parse_postfix(p, node);
        if (filters) node = parse_filters_and_tests(p, node);
    }
    shoal_jinja_leave(p->job);
    return node;
}

/* The binary operators of one level, tightest last; ~ is apart, it takes many operands. */
static const char *const POWER[] = {"**", NULL};
static const char *const TIMES[] = {"*", "/", "//", "%", NULL};
static const char *const PLUS[] = {"+", "-", NULL};

static const char *accept_any(jinja_parser *p, const char *const *ops)
{
    for (; *ops != NULL; ops++) {
        if (accept_op(p, *ops)) return *ops;
    }
    return NULL;
}

static jinja_node *arith(jinja_parser *p, const char *op, jinja_node *a, jinja_node *b)
{
    jinja_node *node = make(p, JINJA_ARITH, a, b);
    if (node != NULL) node->name = shoal_str_of(op);
    return node;
}

static jinja_node *parse_power(jinja_parser *p)
{
    jinja_node *a = parse_unary(p, true);
    for (const char *op = NULL; (op = accept_any(p, POWER)) != NULL;) {
        a = arith(p, op, a, parse_unary(p, true));
    }
    return a;
}

static jinja_node *parse_times(jinja_parser *p)
{
    jinja_node *a = parse_power(p);
    for (const char *op = NULL; (op = accept_any(p, TIMES)) != NULL;) {
        a = arith(p, op, a, parse_power(p));
    }
    return a;
}

static jinja_node *parse_concat(jinja_parser *p)
{
    jinja_node *a = parse_times(p);
    if (a == NULL || !at_op(p, "~")) return a;
    jinja_node *node = shoal_jinja_node(p, JINJA_CONCAT);
    if (node == NULL) return NULL;
    node->items = a;
    while (a != NULL && accept_op(p, "~")) {
        a->next = parse_times(p);
        a = a->next;
    }
    return node;
}

static jinja_node *parse_plus(jinja_parser *p)
{
    jinja_node *a = parse_concat(p);
    for (const char *op = NULL; (op = accept_any(p, PLUS)) != NULL;) {
        a = arith(p, op, a, parse_concat(p));
    }
    return a;
}

/* The operator of a comparison, past it; NULL when none is here. */
static const char *accept_comparison(jinja_parser *p)
{
    static const char *const OPS[] = {"==", "!=", "<", "<=", ">", ">=", NULL};
    const char *op = accept_any(p, OPS);
    if (op != NULL) return op;
    if (accept_name(p, "in")) return "in";
    const jinja_token *after = &p->tokens[p->at + 1];
    if (!shoal_jinja_at(p, JINJA_TOKEN_NAME, "not") || after->kind != JINJA_TOKEN_NAME ||
        !shoal_jinja_is(after->text, "in")) {
        return NULL;
    }
    (void)accept_name(p, "not");
    (void)accept_name(p, "in");
    return "not in";
}

static jinja_node *parse_comparison(jinja_parser *p)
{
    jinja_node *a = parse_plus(p);
    jinja_node *node = NULL;
    jinja_node **link = NULL;
    for (const char *op = NULL; (op = accept_comparison(p)) != NULL;) {
        if (node == NULL) {
            node = make(p, JINJA_COMPARE, a, NULL);
            if (node == NULL) return NULL;
            link = &node->items;
        }
        jinja_node *step = shoal_jinja_node(p, JINJA_COMPARISON);
        if (step == NULL) return NULL;
        step->name = shoal_str_of(op);
        step->a = parse_plus(p);
        *link = step;
        link = &step->next;
    }
    return node == NULL ? a : node;
}

/* `not not not x` nests without brackets, so it is counted here, not by recursion. */
static jinja_node *parse_not(jinja_parser *p)
{
    size_t nots = 0;
    while (accept_name(p, "not")) {
        nots++;
    }
    jinja_node *node = parse_comparison(p);
    for (; nots > 0 && node != NULL; nots--) {
        node = make(p, JINJA_NOT, node, NULL);
    }
    return node;
}

static jinja_node *parse_and(jinja_parser *p)
{
    jinja_node *a = parse_not(p);
    while (accept_name(p, "and")) {
        a = make(p, JINJA_AND, a, parse_not(p));
    }
    return a;
}

static jinja_node *parse_or(jinja_parser *p)
{
    jinja_node *a = parse_and(p);
    while (accept_name(p, "or")) {
        a = make(p, JINJA_OR, a, parse_and(p));
    }
    return a;
}

jinja_node *shoal_jinja_parse_expr(jinja_parser *p, bool cond)
{
    jinja_node *a = NULL;
    if (shoal_jinja_enter(p->job)) {
        a = parse_or(p);
        while (cond && accept_name(p, "if")) {
            jinja_node *condition = parse_or(p);
            a = make(p, JINJA_COND, a, condition);
            if (a != NULL && accept_name(p, "else")) {
                a->c = shoal_jinja_parse_expr(p, true);
            }
        }
    }
    shoal_jinja_leave(p->job);
    return shoal_jinja_failed(p->job) ? NULL : a;
}
