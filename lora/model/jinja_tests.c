/* jinja_tests.c - what stands after `is`. */
#include "lora/model/jinja_impl.h"

typedef bool test_fn(jinja_job *j, shoal_jinja_value v, shoal_jinja_value other);

static bool is_sequence_kind(shoal_jinja_value v)
{
    if (v.kind == SHOAL_JINJA_LIST) return v.u.list->flavour != JINJA_GENERATOR;
    return v.kind == SHOAL_JINJA_STRING || v.kind == SHOAL_JINJA_DICT ||
           v.kind == SHOAL_JINJA_UNDEFINED;
}

#define TEST(name, expression)                                                   \
    static bool name(jinja_job *j, shoal_jinja_value v, shoal_jinja_value other) \
    {                                                                            \
        (void)j;                                                                 \
        (void)v;                                                                 \
        (void)other;                                                             \
        return (expression);                                                     \
    }
TEST(defined, v.kind != SHOAL_JINJA_UNDEFINED)
TEST(undefined, v.kind == SHOAL_JINJA_UNDEFINED)
TEST(none, v.kind == SHOAL_JINJA_NONE)
TEST(string, v.kind == SHOAL_JINJA_STRING)
TEST(mapping, v.kind == SHOAL_JINJA_DICT)
TEST(sequence, is_sequence_kind(v))
TEST(iterable, is_sequence_kind(v) || v.kind == SHOAL_JINJA_LIST || v.kind == SHOAL_JINJA_LOOP)
TEST(boolean, v.kind == SHOAL_JINJA_BOOL)
TEST(number, v.kind == SHOAL_JINJA_BOOL || v.kind == SHOAL_JINJA_INT)
TEST(integer, v.kind == SHOAL_JINJA_INT)
TEST(is_true, v.kind == SHOAL_JINJA_BOOL && v.u.truth)
TEST(is_false, v.kind == SHOAL_JINJA_BOOL && !v.u.truth)
TEST(callable, v.kind == SHOAL_JINJA_MACRO || v.kind == SHOAL_JINJA_FUNCTION)
TEST(equal, shoal_jinja_equal(j, v, other))
TEST(not_equal, !shoal_jinja_equal(j, v, other))
TEST(less, shoal_jinja_compare(j, v, other) < 0)
TEST(less_or_equal, shoal_jinja_compare(j, v, other) <= 0)
TEST(greater, shoal_jinja_compare(j, v, other) > 0)
TEST(greater_or_equal, shoal_jinja_compare(j, v, other) >= 0)
TEST(in, shoal_jinja_contains(j, other, v))
#undef TEST

/* odd, even, divisibleby: what is left of v divided by n. */
static int64_t rest(jinja_job *j, shoal_jinja_value v, shoal_jinja_value n)
{
    shoal_jinja_value r = shoal_jinja_arith(j, '%', v, n);
    return r.kind == SHOAL_JINJA_INT ? r.u.number : -1;
}

static bool odd(jinja_job *j, shoal_jinja_value v, shoal_jinja_value other)
{
    (void)other;
    return rest(j, v, shoal_jinja_int(2)) == 1;
}

static bool even(jinja_job *j, shoal_jinja_value v, shoal_jinja_value other)
{
    (void)other;
    return rest(j, v, shoal_jinja_int(2)) == 0;
}

static bool divisible(jinja_job *j, shoal_jinja_value v, shoal_jinja_value other)
{
    return rest(j, v, other) == 0;
}

static const struct test {
    const char *name;
    test_fn *fn;
    size_t arguments;
} TESTS[] = {
    {"defined", defined, 0},
    {"undefined", undefined, 0},
    {"none", none, 0},
    {"string", string, 0},
    {"mapping", mapping, 0},
    {"sequence", sequence, 0},
    {"iterable", iterable, 0},
    {"boolean", boolean, 0},
    {"number", number, 0},
    {"integer", integer, 0},
    {"true", is_true, 0},
    {"false", is_false, 0},
    {"callable", callable, 0},
    {"odd", odd, 0},
    {"even", even, 0},
    {"divisibleby", divisible, 1},
    {"equalto", equal, 1},
    {"eq", equal, 1},
    {"==", equal, 1},
    {"ne", not_equal, 1},
    {"!=", not_equal, 1},
    {"lt", less, 1},
    {"lessthan", less, 1},
    {"<", less, 1},
    {"le", less_or_equal, 1},
    {"<=", less_or_equal, 1},
    {"gt", greater, 1},
    {"greaterthan", greater, 1},
    {">", greater, 1},
    {"ge", greater_or_equal, 1},
    {">=", greater_or_equal, 1},
    {"in", in, 1},
};

bool shoal_jinja_test(jinja_eval *e, shoal_str name, shoal_jinja_value in_value,
                      const jinja_args *args)
{
    for (size_t i = 0; i < sizeof TESTS / sizeof TESTS[0]; i++) {
        const struct test *t = &TESTS[i];
        if (!shoal_jinja_is(name, t->name)) continue;
        if (args->n != t->arguments) {
            (void)shoal_jinja_fail(e->job, SHOAL_ERR_FORMAT, "the test '%s' takes %zu arguments",
                                   t->name, t->arguments);
            return false;
        }
        return t->fn(e->job, in_value, args->n > 0 ? args->values[0] : shoal_jinja_undefined());
    }
    (void)shoal_jinja_unsupported(e->job, "the test '%.*s'", (int)(name.n < 60 ? name.n : 60),
                                  name.p);
    return false;
}
