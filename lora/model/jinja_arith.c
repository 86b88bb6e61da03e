/* jinja_arith.c - arithmetic on whole numbers, and + and * of strings and lists. */
#include "lora/model/jinja_impl.h"

static shoal_jinja_value too_big(jinja_job *j)
{
    return shoal_jinja_unsupported(j, "a number of more than 64 bits");
}

/* Python rounds towards minus infinity. b is not 0; INT64_MIN / -1 does not fit. */
static bool divide(int64_t a, int64_t b, int64_t *quotient, int64_t *rest)
{
    if (a == INT64_MIN && b == -1) return false;
    *quotient = a / b;
    *rest = a % b;
    if (*rest != 0 && (*rest < 0) != (b < 0)) {
        *quotient -= 1;
        *rest += b;
    }
    return true;
}

static bool add(int64_t a, int64_t b, int64_t *out)
{
    if ((b > 0 && a > INT64_MAX - b) || (b < 0 && a < INT64_MIN - b)) return false;
    *out = a + b;
    return true;
}

static bool multiply(int64_t a, int64_t b, int64_t *out)
{
    const int64_t limit = INT64_C(1)
                          << 31; /* beyond it: rather refused than computed in 128 bits */
    bool small = a > -limit && a < limit && b > -limit && b < limit;
    if (!small && a != 0 && b != 0 && a != 1 && b != 1) return false;
    *out = a * b;
    return true;
}

static bool power(int64_t a, int64_t b, int64_t *out)
{
    int64_t v = 1;
    bool fits = true;
    if ((a == 1 || a == -1 || a == 0) && b > 2) b = 2 + b % 2;
    for (; b > 0 && fits; b--) {
        fits = multiply(v, a, &v);
    }
    *out = v;
    return fits;
}

static shoal_jinja_value numbers(jinja_job *j, char op, int64_t a, int64_t b)
{
    int64_t v = 0;
    int64_t rest = 0;
    bool fits = true;
    if ((op == '/' || op == '%') && b == 0) {
        return shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "a division by zero");
    }
    if (op == '^' && b < 0) return shoal_jinja_unsupported(j, "a power below zero");
    switch (op) {
    case '+': fits = add(a, b, &v); break;
    case '-': fits = b != INT64_MIN && add(a, -b, &v); break;
    case '*': fits = multiply(a, b, &v); break;
    case '/': fits = divide(a, b, &v, &rest); break;
    case '%': fits = divide(a, b, &rest, &v); break;
    default: fits = power(a, b, &v); break;
    }
    return fits ? shoal_jinja_int(v) : too_big(j);
}

static shoal_jinja_value repeat(jinja_job *j, const jinja_text *t, int64_t times)
{
    jinja_builder b = {0};
    for (; times > 0 && t->n > 0 && !shoal_jinja_failed(j); times--) {
        shoal_jinja_put_text(j, &b, t);
    }
    return shoal_jinja_built(j, &b);
}

static shoal_jinja_value join_lists(jinja_job *j, const jinja_list *a, const jinja_list *b)
{
    shoal_jinja_value v = shoal_jinja_new_list(j, a->flavour);
    for (size_t i = 0; i < a->n + b->n && !shoal_jinja_failed(j); i++) {
        shoal_jinja_append(j, v.u.list, i < a->n ? a->items[i] : b->items[i - a->n]);
    }
    return v;
}

static shoal_jinja_value add_values(jinja_job *j, shoal_jinja_value a, shoal_jinja_value b)
{
    if (a.kind == SHOAL_JINJA_STRING && b.kind == SHOAL_JINJA_STRING) {
        jinja_builder out = {0};
        shoal_jinja_put_text(j, &out, a.u.text);
        shoal_jinja_put_text(j, &out, b.u.text);
        return shoal_jinja_built(j, &out);
    }
    if (a.kind == SHOAL_JINJA_LIST && b.kind == SHOAL_JINJA_LIST &&
        a.u.list->flavour == b.u.list->flavour && a.u.list->flavour != JINJA_GENERATOR) {
        return join_lists(j, a.u.list, b.u.list);
    }
    return shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "a %s and a %s cannot be added",
                            shoal_jinja_kind_name(a), shoal_jinja_kind_name(b));
}

shoal_jinja_value shoal_jinja_arith(jinja_job *j, char op, shoal_jinja_value a, shoal_jinja_value b)
{
    int64_t x = 0;
    int64_t y = 0;
    if (shoal_jinja_failed(j)) return shoal_jinja_undefined();
    if (shoal_jinja_as_int(a, &x) && shoal_jinja_as_int(b, &y)) return numbers(j, op, x, y);
    if (op == '+') return add_values(j, a, b);
    if (op == '*' && a.kind == SHOAL_JINJA_STRING && shoal_jinja_as_int(b, &y)) {
        return repeat(j, a.u.text, y);
    }
    if (op == '*' && b.kind == SHOAL_JINJA_STRING && shoal_jinja_as_int(a, &x)) {
        return repeat(j, b.u.text, x);
    }
    if (op == '%' && a.kind == SHOAL_JINJA_STRING) {
        return shoal_jinja_unsupported(j, "formatting a string with %%");
    }
    if (op == '*' && (a.kind == SHOAL_JINJA_LIST || b.kind == SHOAL_JINJA_LIST)) {
        return shoal_jinja_unsupported(j, "repeating a list");
    }
    return shoal_jinja_fail(j, SHOAL_ERR_FORMAT, "a %s and a %s in arithmetic",
                            shoal_jinja_kind_name(a), shoal_jinja_kind_name(b));
}
