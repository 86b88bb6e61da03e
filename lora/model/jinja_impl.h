/* jinja_impl.h - what the parts of the template engine share: memory, errors, strings, nodes.
 *
 * Errors are sticky: the first one is kept in the job, and from then on every function returns
 * undefined or NULL quickly. Loops ask shoal_jinja_failed.
 *
 * Layer: lora/model, jinja_*.c only. Threads: a job has one owner.
 */
#ifndef SHOAL_LORA_MODEL_JINJA_IMPL_H
#define SHOAL_LORA_MODEL_JINJA_IMPL_H

#include "lora/model/jinja.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- memory and errors (jinja_job.c) ---------------------------------------------------------
 */

/* Freed as a whole. */
typedef struct jinja_pool {
    struct jinja_block *blocks;
    unsigned char *at; /* the free part of the newest block */
    size_t left;
    size_t used, max; /* bytes of all blocks */
} jinja_pool;

typedef struct jinja_job {
    jinja_pool pool;
    const char *name; /* what errors call the template */
    uint32_t line;    /* being worked on */
    uint32_t depth;
    uint64_t steps, max_steps;
    shoal_status st;
    shoal_error error;
} jinja_job;

/* Zeroed, 16-byte aligned; NULL after noting an error. */
void *shoal_jinja_take(jinja_job *j, size_t n, size_t size);
/* An array of *cap items of which n are used, with room for one more; NULL on failure. */
void *shoal_jinja_grow(jinja_job *j, void *items, size_t n, size_t *cap, size_t size);
void shoal_jinja_pool_clear(jinja_pool *pool);

bool shoal_jinja_failed(const jinja_job *j);
/* "NAME, line N: ..." unless an error is already there. The value is undefined, for return. */
shoal_jinja_value shoal_jinja_fail(jinja_job *j, shoal_status st, const char *fmt, ...)
    SHOAL_PRINTF(3, 4);
/* The same for something the engine does not know, with the hint. */
shoal_jinja_value shoal_jinja_unsupported(jinja_job *j, const char *fmt, ...) SHOAL_PRINTF(2, 3);
/* Counts work; bytes looked at count by the sixteen. */
void shoal_jinja_charge(jinja_job *j, size_t bytes);
/* One level down; false when that is too deep. Every enter, successful or not, has its leave. */
bool shoal_jinja_enter(jinja_job *j);
void shoal_jinja_leave(jinja_job *j);

/* ---- strings (jinja_text.c) ------------------------------------------------------------------
 */

typedef struct jinja_text {
    const char *p;
    size_t n;
    const shoal_jinja_span *spans; /* n_spans 0: all from the template */
    size_t n_spans;
} jinja_text;

/* Zero-initialise. */
typedef struct jinja_builder {
    char *p;
    size_t n, cap;
    shoal_jinja_span *spans;
    size_t n_spans, spans_cap;
} jinja_builder;

void shoal_jinja_put(jinja_job *j, jinja_builder *b, const char *p, size_t n, uint32_t origin);
void shoal_jinja_put_words(jinja_job *j, jinja_builder *b, const char *words);
void shoal_jinja_put_text(jinja_job *j, jinja_builder *b, const jinja_text *t);
/* Bytes [from, from + n) of t with their origins. */
void shoal_jinja_put_part(jinja_job *j, jinja_builder *b, const jinja_text *t, size_t from,
                          size_t n);
shoal_jinja_value shoal_jinja_built(jinja_job *j, const jinja_builder *b);

shoal_jinja_value shoal_jinja_part(jinja_job *j, const jinja_text *t, size_t from, size_t n);
shoal_jinja_value shoal_jinja_words(jinja_job *j,
                                    const char *words); /* template's origin, copied */
uint32_t shoal_jinja_origin_at(const jinja_text *t, size_t at);

bool shoal_jinja_is(shoal_str s, const char *words);
bool shoal_jinja_same(shoal_str a, shoal_str b);
shoal_str shoal_jinja_bytes(const jinja_text *t);

/* Bytes of the first character of t [n >= 1]; which one in *code. */
size_t shoal_jinja_character(const jinja_text *t, uint32_t *code);
/* In characters, as Python counts. */
size_t shoal_jinja_length(jinja_job *j, const jinja_text *t);
/* Byte offset of character `at` (of the end when there are fewer). */
size_t shoal_jinja_offset(jinja_job *j, const jinja_text *t, size_t at);
/* First place of `what` at or after from; t->n when there is none. */
size_t shoal_jinja_search(jinja_job *j, const jinja_text *t, shoal_str what, size_t from);

typedef enum jinja_side { JINJA_LEFT = 1, JINJA_RIGHT = 2, JINJA_BOTH = 3 } jinja_side;
/* Without the characters of `set` (NULL: white space) at its ends. */
shoal_jinja_value shoal_jinja_strip(jinja_job *j, const jinja_text *t, const jinja_text *set,
                                    jinja_side side);
typedef enum jinja_case { JINJA_LOWER, JINJA_UPPER, JINJA_TITLE, JINJA_CAPITALIZE } jinja_case;
shoal_jinja_value shoal_jinja_recase(jinja_job *j, const jinja_text *t, jinja_case how);
shoal_jinja_value shoal_jinja_replace(jinja_job *j, const jinja_text *t, const jinja_text *old,
                                      const jinja_text *with, int64_t max);
/* White space of Python's str.isspace. */
bool shoal_jinja_is_space(uint32_t code);

/* ---- values (jinja_value.c) ------------------------------------------------------------------
 */

typedef enum jinja_flavour { JINJA_LIST, JINJA_TUPLE, JINJA_GENERATOR } jinja_flavour;

typedef struct jinja_list {
    shoal_jinja_value *items;
    size_t n, cap;
    jinja_flavour flavour;
    bool consumed; /* a generator that was walked */
} jinja_list;

typedef struct jinja_dict {
    shoal_jinja_value *keys;
    shoal_jinja_value *values;
    size_t n, keys_cap, values_cap;
} jinja_dict;

shoal_jinja_value shoal_jinja_undefined(void);
shoal_jinja_value shoal_jinja_new_list(jinja_job *j, jinja_flavour flavour);
shoal_jinja_value shoal_jinja_new_dict(jinja_job *j);
void shoal_jinja_append(jinja_job *j, jinja_list *list, shoal_jinja_value v);
void shoal_jinja_dict_set(jinja_job *j, jinja_dict *d, shoal_jinja_value key, shoal_jinja_value v);
/* NULL when the key is not there. */
const shoal_jinja_value *shoal_jinja_dict_get(jinja_job *j, const jinja_dict *d,
                                              shoal_jinja_value key);
const shoal_jinja_value *shoal_jinja_dict_find(jinja_job *j, const jinja_dict *d, shoal_str key);

const char *shoal_jinja_kind_name(shoal_jinja_value v);
bool shoal_jinja_truth(shoal_jinja_value v);
bool shoal_jinja_equal(jinja_job *j, shoal_jinja_value a, shoal_jinja_value b);
/* < 0, 0, > 0; an error for kinds without an order. */
int shoal_jinja_compare(jinja_job *j, shoal_jinja_value a, shoal_jinja_value b);
bool shoal_jinja_contains(jinja_job *j, shoal_jinja_value in, shoal_jinja_value what);
/* Its items as a list: characters of a string, keys of a dict. NULL and an error otherwise. */
jinja_list *shoal_jinja_iterate(jinja_job *j, shoal_jinja_value v);
int64_t shoal_jinja_count(jinja_job *j, shoal_jinja_value v);
bool shoal_jinja_as_int(shoal_jinja_value v, int64_t *out); /* bool counts as 0 or 1 */
/* obj.name, obj['name'], obj[1]; undefined when there is none, an error on undefined itself. */
shoal_jinja_value shoal_jinja_attribute(jinja_job *j, shoal_jinja_value obj, shoal_str name);
shoal_jinja_value shoal_jinja_index(jinja_job *j, shoal_jinja_value obj, shoal_jinja_value key);
/* Undefined bounds stand for those left out. */
shoal_jinja_value shoal_jinja_slice(jinja_job *j, shoal_jinja_value obj, shoal_jinja_value start,
                                    shoal_jinja_value stop, shoal_jinja_value step);
/* jinja_arith.c; op is one of + - * % and / for "//", ^ for "**". */
shoal_jinja_value shoal_jinja_arith(jinja_job *j, char op, shoal_jinja_value a,
                                    shoal_jinja_value b);

/* ---- as text (jinja_print.c) -----------------------------------------------------------------
 */

void shoal_jinja_print(jinja_job *j, jinja_builder *b, shoal_jinja_value v);
/* What print gives, as a string. */
const jinja_text *shoal_jinja_str(jinja_job *j, shoal_jinja_value v);
/* indent < 0: on one line. */
void shoal_jinja_json(jinja_job *j, jinja_builder *b, shoal_jinja_value v, int64_t indent,
                      bool sort_keys);

/* ---- tokens (jinja_lex.c) --------------------------------------------------------------------
 */

typedef enum jinja_token_kind {
    JINJA_TOKEN_END,
    JINJA_TOKEN_DATA,
    JINJA_TOKEN_OUTPUT,     /* {{ */
    JINJA_TOKEN_OUTPUT_END, /* }} */
    JINJA_TOKEN_BLOCK,      /* {% */
    JINJA_TOKEN_BLOCK_END,  /* %} */
    JINJA_TOKEN_NAME,
    JINJA_TOKEN_STRING,
    JINJA_TOKEN_INT,
    JINJA_TOKEN_OP
} jinja_token_kind;

typedef struct jinja_token {
    jinja_token_kind kind;
    uint32_t line;
    shoal_str text; /* of strings: what they mean, escapes resolved */
    int64_t number;
} jinja_token;

/* Ends with one END. `source` has '\n' for every line end. NULL on failure. */
jinja_token *shoal_jinja_lex(jinja_job *j, shoal_str source, size_t *n);

/* ---- the tree (jinja_parse.c, jinja_expr.c) --------------------------------------------------
 */

/* Next to each: which fields it uses. `items` is a list linked by `next`. */
typedef enum jinja_op {
    JINJA_LITERAL,   /* value */
    JINJA_NAME,      /* name */
    JINJA_LIST_OF,   /* items */
    JINJA_TUPLE_OF,  /* items */
    JINJA_DICT_OF,   /* items: key, value, key, value ... */
    JINJA_ATTRIBUTE, /* a.name */
    JINJA_INDEX,     /* a[b] */
    JINJA_SLICE,     /* a[b:c:d], each bound may be NULL */
    JINJA_CALL,      /* a(items) */
    JINJA_ARGUMENT,  /* in items of CALL, FILTER, TEST: a, and name for keywords */
    JINJA_FILTER,    /* a|name(items); a NULL in a filter of a block */
    JINJA_TEST,      /* a is name(items) */
    JINJA_NOT,       /* a */
    JINJA_NEGATE,    /* a */
    JINJA_PLUS,      /* a */
    JINJA_AND,       /* a, b */
    JINJA_OR,        /* a, b */
    JINJA_COND,      /* a if b else c; c may be NULL */
    JINJA_CONCAT,    /* items joined by ~ */
    JINJA_ARITH,     /* a name b */
    JINJA_COMPARE,   /* a, then items: COMPARISON with name and a */
    JINJA_COMPARISON,

    JINJA_TEXT,   /* value */
    JINJA_OUTPUT, /* a */
    JINJA_IF,     /* items: BRANCH with a (NULL: else) and items */
    JINJA_BRANCH,
    JINJA_FOR,       /* for a in b if c: items; else: d's items (d may be NULL) */
    JINJA_SET,       /* a = b */
    JINJA_SET_BLOCK, /* a = items, through the filters b (may be NULL) */
    JINJA_MACRO,     /* name, a's items: PARAMETERs with name and a (default, may be NULL); items */
    JINJA_PARAMETER,
    JINJA_SCOPE, /* items */
    JINJA_BREAK,
    JINJA_CONTINUE,
    JINJA_GROUP /* items */
} jinja_op;

typedef struct jinja_node {
    jinja_op op;
    uint32_t line;
    shoal_str name;
    shoal_jinja_value value;
    struct jinja_node *a, *b, *c, *d;
    struct jinja_node *items;
    struct jinja_node *next;
} jinja_node;

typedef struct jinja_parser {
    jinja_job *job;
    const jinja_token *tokens;
    size_t at;
    uint32_t loops; /* around the place being parsed */
} jinja_parser;

/* The statements of a whole template, as a GROUP. */
jinja_node *shoal_jinja_parse(jinja_job *j, const jinja_token *tokens);

const jinja_token *shoal_jinja_peek(const jinja_parser *p);
bool shoal_jinja_at(const jinja_parser *p, jinja_token_kind kind, const char *text);
bool shoal_jinja_accept(jinja_parser *p, jinja_token_kind kind, const char *text);
void shoal_jinja_expect(jinja_parser *p, jinja_token_kind kind, const char *text);
shoal_str shoal_jinja_expect_name(jinja_parser *p);
jinja_node *shoal_jinja_node(jinja_parser *p, jinja_op op);
/* Notes what was found where it does not belong; NULL. */
jinja_node *shoal_jinja_unexpected(jinja_parser *p, const char *wanted);

/* jinja_expr.c. Without `cond` a following `if` is left alone. */
jinja_node *shoal_jinja_parse_expr(jinja_parser *p, bool cond);
/* "|name(...)|name": a chain whose innermost operand is `of`. */
jinja_node *shoal_jinja_parse_filters(jinja_parser *p, jinja_node *of);

/* ---- evaluation (jinja_eval.c, jinja_render.c) -----------------------------------------------
 */

typedef struct jinja_scope {
    struct jinja_scope *outer;
    jinja_dict vars;
} jinja_scope;

typedef struct jinja_macro {
    const jinja_node *node;
    jinja_scope *scope; /* where it was defined */
} jinja_macro;

typedef struct jinja_loop {
    const jinja_list *list;
    size_t index; /* from 0 */
} jinja_loop;

struct shoal_jinja_data {
    jinja_job job;
    jinja_scope globals;
    bool has_time;
    int64_t time;
    bool rendered;
};

typedef struct jinja_eval {
    jinja_job *job;
    shoal_jinja_data *data;
    jinja_scope *scope;
    jinja_builder *out;
    bool leave_loop, next_turn; /* break, continue on their way to the loop */
} jinja_eval;

shoal_jinja_value shoal_jinja_eval_expr(jinja_eval *e, const jinja_node *node);
void shoal_jinja_eval_body(jinja_eval *e, const jinja_node *first);
/* Opens a scope, runs the body and gives what it put out. */
shoal_jinja_value shoal_jinja_capture(jinja_eval *e, const jinja_node *first, jinja_scope *scope);
jinja_scope *shoal_jinja_new_scope(jinja_eval *e, jinja_scope *outer);
void shoal_jinja_assign(jinja_eval *e, shoal_str name, shoal_jinja_value v);

/* Values of a call: positional ones first. */
typedef struct jinja_args {
    const char *what; /* for errors: the function's name */
    shoal_jinja_value *values;
    shoal_str *names; /* n 0 for positional ones */
    size_t n;
} jinja_args;

jinja_args shoal_jinja_eval_args(jinja_eval *e, const jinja_node *first, const char *what);
/* Sorts arguments into out[n] by position or name; those not given stay as they are. Names are
 * NULL-terminated; the first `required` must be given. */
void shoal_jinja_bind(jinja_job *j, const jinja_args *args, const char *const *names,
                      size_t required, shoal_jinja_value *out);
shoal_jinja_value shoal_jinja_call_macro(jinja_eval *e, const jinja_macro *m,
                                         const jinja_args *args);

/* ---- what templates call (jinja_filters.c, jinja_tests.c, jinja_functions.c, jinja_methods.c) -
 */

shoal_jinja_value shoal_jinja_filter(jinja_eval *e, shoal_str name, shoal_jinja_value in,
                                     const jinja_args *args);
bool shoal_jinja_test(jinja_eval *e, shoal_str name, shoal_jinja_value in, const jinja_args *args);
/* Undefined when there is no such function. */
shoal_jinja_value shoal_jinja_find_function(const shoal_jinja_data *d, shoal_str name);
shoal_jinja_value shoal_jinja_call_function(jinja_eval *e, int function, const jinja_args *args);
/* True when `obj` has a method of that name. */
bool shoal_jinja_has_method(shoal_jinja_value obj, shoal_str name);
shoal_jinja_value shoal_jinja_call_method(jinja_eval *e, shoal_jinja_value obj, shoal_str name,
                                          const jinja_args *args);

#ifdef __cplusplus
}
#endif
#endif
