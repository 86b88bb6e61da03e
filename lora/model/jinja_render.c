/* jinja_render.c - statements, and the engine's outer functions. */
#include <string.h>

#include "kernels/base/mem.h"
#include "lora/model/jinja_impl.h"

/* ---- scopes -----------------------------------------------------------------------------------
 */

jinja_scope *shoal_jinja_new_scope(jinja_eval *e, jinja_scope *outer)
{
    jinja_scope *s = shoal_jinja_take(e->job, 1, sizeof *s);
    if (s != NULL) s->outer = outer;
    return s;
}

void shoal_jinja_assign(jinja_eval *e, shoal_str name, shoal_jinja_value v)
{
    jinja_dict *vars = &e->scope->vars;
    if (shoal_jinja_failed(e->job)) return;
    const shoal_jinja_value *have = shoal_jinja_dict_find(e->job, vars, name);
    if (have != NULL) {
        vars->values[have - vars->values] = v;
        return;
    }
    jinja_text *key = shoal_jinja_take(e->job, 1, sizeof *key);
    if (key == NULL) return;
    *key = (jinja_text){.p = name.p, .n = name.n};
    shoal_jinja_dict_set(e->job, vars,
                         (shoal_jinja_value){.kind = SHOAL_JINJA_STRING, .u.text = key}, v);
}

/* One name, or as many names as the value has items. */
static void assign_target(jinja_eval *e, const jinja_node *target, shoal_jinja_value v)
{
    if (target->op == JINJA_NAME) {
        shoal_jinja_assign(e, target->name, v);
        return;
    }
    const jinja_list *list = shoal_jinja_iterate(e->job, v);
    size_t at = 0;
    const jinja_node *name = target->items;
    for (; name != NULL && list != NULL && at < list->n; name = name->next) {
        shoal_jinja_assign(e, name->name, list->items[at++]);
    }
    if (list != NULL && (name != NULL || at < list->n)) {
        (void)shoal_jinja_fail(e->job, SHOAL_ERR_FORMAT, "%zu values for another number of names",
                               list->n);
    }
}

static void set(jinja_eval *e, const jinja_node *target, shoal_jinja_value v)
{
    if (shoal_jinja_failed(e->job)) return;
    if (target->op != JINJA_ATTRIBUTE) {
        assign_target(e, target, v);
        return;
    }
    shoal_jinja_value ns = shoal_jinja_eval_expr(e, target->a);
    if (shoal_jinja_failed(e->job)) return;
    if (ns.kind != SHOAL_JINJA_NAMESPACE) {
        (void)shoal_jinja_fail(e->job, SHOAL_ERR_FORMAT, "an attribute of a %s is set",
                               shoal_jinja_kind_name(ns));
        return;
    }
    jinja_text *key = shoal_jinja_take(e->job, 1, sizeof *key);
    if (key == NULL) return;
    *key = (jinja_text){.p = target->name.p, .n = target->name.n};
    shoal_jinja_dict_set(e->job, ns.u.dict,
                         (shoal_jinja_value){.kind = SHOAL_JINJA_STRING, .u.text = key}, v);
}

shoal_jinja_value shoal_jinja_capture(jinja_eval *e, const jinja_node *first, jinja_scope *scope)
{
    jinja_builder b = {0};
    jinja_eval inner = {.job = e->job, .data = e->data, .scope = scope, .out = &b};
    if (scope == NULL) return shoal_jinja_undefined();
    shoal_jinja_eval_body(&inner, first);
    return shoal_jinja_built(e->job, &b);
}

/* ---- statements -------------------------------------------------------------------------------
 */

static void eval_if(jinja_eval *e, const jinja_node *node)
{
    for (const jinja_node *b = node->items; b != NULL && !shoal_jinja_failed(e->job); b = b->next) {
        if (b->a == NULL || shoal_jinja_truth(shoal_jinja_eval_expr(e, b->a))) {
            shoal_jinja_eval_body(e, b->items);
            return;
        }
    }
}

/* The items that pass the loop's `if`, each tried in a scope of its own. */
static const jinja_list *loop_items(jinja_eval *e, const jinja_node *node)
{
    const jinja_list *all = shoal_jinja_iterate(e->job, shoal_jinja_eval_expr(e, node->b));
    if (all == NULL || node->c == NULL || shoal_jinja_failed(e->job)) return all;
    jinja_list *kept = shoal_jinja_new_list(e->job, JINJA_LIST).u.list;
    jinja_scope *outer = e->scope;
    for (size_t i = 0; i < all->n && !shoal_jinja_failed(e->job); i++) {
        e->scope = shoal_jinja_new_scope(e, outer);
        if (e->scope == NULL) break;
        assign_target(e, node->a, all->items[i]);
        if (shoal_jinja_truth(shoal_jinja_eval_expr(e, node->c))) {
            shoal_jinja_append(e->job, kept, all->items[i]);
        }
    }
    e->scope = outer;
    return kept;
}

static void eval_turns(jinja_eval *e, const jinja_node *node, const jinja_list *list)
{
    jinja_scope *outer = e->scope;
    for (size_t i = 0; i < list->n && !e->leave_loop && !shoal_jinja_failed(e->job); i++) {
        jinja_loop *loop = shoal_jinja_take(e->job, 1, sizeof *loop);
        e->scope = shoal_jinja_new_scope(e, outer);
        if (loop == NULL || e->scope == NULL) break;
        *loop = (jinja_loop){list, i};
        shoal_jinja_assign(e, shoal_str_of("loop"),
                           (shoal_jinja_value){.kind = SHOAL_JINJA_LOOP, .u.loop = loop});
        assign_target(e, node->a, list->items[i]);
        shoal_jinja_eval_body(e, node->items);
        e->next_turn = false;
    }
    e->leave_loop = false;
    e->scope = outer;
}

static void eval_for(jinja_eval *e, const jinja_node *node)
{
    const jinja_list *list = loop_items(e, node);
    if (list == NULL || shoal_jinja_failed(e->job)) return;
    if (list->n > 0) {
        eval_turns(e, node, list);
    } else if (node->d != NULL) {
        jinja_scope *outer = e->scope;
        e->scope = shoal_jinja_new_scope(e, outer);
        if (e->scope != NULL) shoal_jinja_eval_body(e, node->d->items);
        e->scope = outer;
    }
}

/* The filters of a block set, innermost first. */
static shoal_jinja_value filtered(jinja_eval *e, const jinja_node *node, shoal_jinja_value v)
{
    if (node == NULL) return v;
    if (shoal_jinja_enter(e->job)) {
        v = filtered(e, node->a, v);
        jinja_args args = shoal_jinja_eval_args(e, node->items, "a filter");
        if (!shoal_jinja_failed(e->job)) v = shoal_jinja_filter(e, node->name, v, &args);
    }
    shoal_jinja_leave(e->job);
    return v;
}

static void eval_set_block(jinja_eval *e, const jinja_node *node)
{
    shoal_jinja_value v = shoal_jinja_capture(e, node->items, shoal_jinja_new_scope(e, e->scope));
    v = filtered(e, node->b, v);
    set(e, node->a, v);
}

static void eval_macro(jinja_eval *e, const jinja_node *node)
{
    jinja_macro *m = shoal_jinja_take(e->job, 1, sizeof *m);
    if (m == NULL) return;
    *m = (jinja_macro){node, e->scope};
    shoal_jinja_assign(e, node->name, (shoal_jinja_value){.kind = SHOAL_JINJA_MACRO, .u.macro = m});
}

/* Values of a macro's parameters, by position and name; those left out get their defaults. */
static void bind_parameters(jinja_eval *in, const jinja_node *first, const jinja_args *args)
{
    size_t used = 0;
    size_t at = 0;
    for (const jinja_node *p = first; p != NULL; p = p->next, at++) {
        const shoal_jinja_value *given = NULL;
        for (size_t i = 0; i < args->n; i++) {
            bool named = args->names[i].n > 0;
            bool here = named ? shoal_jinja_same(args->names[i], p->name) : i == at;
            if (here && given == NULL) {
                given = &args->values[i];
                used++;
            }
        }
        shoal_jinja_value v = shoal_jinja_undefined();
        if (given == NULL && p->a != NULL) v = shoal_jinja_eval_expr(in, p->a);
        shoal_jinja_assign(in, p->name, given != NULL ? *given : v);
    }
    if (used < args->n) {
        (void)shoal_jinja_fail(in->job, SHOAL_ERR_FORMAT, "arguments that the macro has not");
    }
}

shoal_jinja_value shoal_jinja_call_macro(jinja_eval *e, const jinja_macro *m,
                                         const jinja_args *args)
{
    shoal_jinja_value v = shoal_jinja_undefined();
    if (shoal_jinja_enter(e->job)) {
        jinja_eval in = {
            .job = e->job, .data = e->data, .scope = shoal_jinja_new_scope(e, m->scope)};
        if (in.scope != NULL) bind_parameters(&in, m->node->a->items, args);
        if (!shoal_jinja_failed(e->job)) v = shoal_jinja_capture(&in, m->node->items, in.scope);
    }
    shoal_jinja_leave(e->job);
    return v;
}

static void eval_scope(jinja_eval *e, const jinja_node *node)
{
    jinja_scope *outer = e->scope;
    e->scope = shoal_jinja_new_scope(e, outer);
    if (e->scope != NULL) shoal_jinja_eval_body(e, node->items);
    e->scope = outer;
}

static void eval_statement(jinja_eval *e, const jinja_node *node)
{
    switch (node->op) {
    case JINJA_TEXT: shoal_jinja_put_text(e->job, e->out, node->value.u.text); break;
    case JINJA_OUTPUT: {
        shoal_jinja_value v = shoal_jinja_eval_expr(e, node->a);
        if (!shoal_jinja_failed(e->job)) shoal_jinja_print(e->job, e->out, v);
        break;
    }
    case JINJA_IF: eval_if(e, node); break;
    case JINJA_FOR: eval_for(e, node); break;
    case JINJA_SET: set(e, node->a, shoal_jinja_eval_expr(e, node->b)); break;
    case JINJA_SET_BLOCK: eval_set_block(e, node); break;
    case JINJA_MACRO: eval_macro(e, node); break;
    case JINJA_SCOPE: eval_scope(e, node); break;
    case JINJA_BREAK: e->leave_loop = true; break;
    case JINJA_CONTINUE: e->next_turn = true; break;
    default: (void)shoal_jinja_fail(e->job, SHOAL_ERR_INTERNAL, "no statement"); break;
    }
}

void shoal_jinja_eval_body(jinja_eval *e, const jinja_node *first)
{
    if (shoal_jinja_enter(e->job)) {
        for (const jinja_node *node = first;
             node != NULL && !shoal_jinja_failed(e->job) && !e->leave_loop && !e->next_turn;
             node = node->next) {
            shoal_jinja_charge(e->job, 0);
            e->job->line = node->line;
            eval_statement(e, node);
        }
    }
    shoal_jinja_leave(e->job);
}

/* ---- templates --------------------------------------------------------------------------------
 */

struct shoal_jinja {
    jinja_job job; /* the tree's memory */
    char name[64];
    const jinja_node *root;
};

/* The source with '\n' for "\r\n" and '\r', and without one line end at its end. */
static shoal_str normalise(jinja_job *j, shoal_str source)
{
    char *p = shoal_jinja_take(j, source.n, 1);
    size_t n = 0;
    for (size_t i = 0; p != NULL && i < source.n; i++) {
        bool pair = source.p[i] == '\r' && i + 1 < source.n && source.p[i + 1] == '\n';
        if (!pair) p[n++] = source.p[i] == '\r' ? '\n' : source.p[i];
    }
    if (n > 0 && p[n - 1] == '\n') n--;
    return (shoal_str){p, n};
}

static void parse(shoal_jinja *t, shoal_str source)
{
    jinja_job *j = &t->job;
    size_t n = 0;
    j->line = 1;
    if (source.n > SHOAL_JINJA_MAX_SOURCE) {
        (void)shoal_jinja_fail(j, SHOAL_ERR_TOO_LARGE, "a template of %zu bytes", source.n);
        return;
    }
    shoal_str text = normalise(j, source);
    if (shoal_jinja_failed(j)) return;
    const jinja_token *tokens = shoal_jinja_lex(j, text, &n);
    if (tokens != NULL) t->root = shoal_jinja_parse(j, tokens);
}

shoal_status shoal_jinja_open(shoal_jinja **out, shoal_str source, const char *name,
                              shoal_error *err)
{
    *out = NULL;
    shoal_jinja *t = shoal_calloc(1, sizeof *t);
    if (t == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    size_t n = strlen(name);
    memcpy(t->name, name, n < sizeof t->name ? n : sizeof t->name - 1);
    t->job.name = t->name;
    t->job.pool.max = (size_t)1 << 28;
    t->job.max_steps = SHOAL_JINJA_MAX_STEPS;
    parse(t, source);
    shoal_status st = t->job.st;
    if (st == SHOAL_OK) {
        *out = t;
        return st;
    }
    if (err != NULL) *err = t->job.error;
    shoal_jinja_close(t);
    return st;
}

void shoal_jinja_close(shoal_jinja *t)
{
    if (t == NULL) return;
    shoal_jinja_pool_clear(&t->job.pool);
    shoal_free(t);
}

/* ---- data -------------------------------------------------------------------------------------
 */

shoal_status shoal_jinja_data_open(shoal_jinja_data **out, size_t max_bytes, shoal_error *err)
{
    *out = shoal_calloc(1, sizeof **out);
    if (*out == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    (*out)->job.pool.max = max_bytes;
    (*out)->job.max_steps = UINT64_MAX; /* filling in is the caller's, rendering the template's */
    return SHOAL_OK;
}

void shoal_jinja_data_close(shoal_jinja_data *d)
{
    if (d == NULL) return;
    shoal_jinja_pool_clear(&d->job.pool);
    shoal_free(d);
}

shoal_jinja_value shoal_jinja_string(shoal_jinja_data *d, shoal_str text, uint32_t origin)
{
    jinja_builder b = {0};
    shoal_jinja_put(&d->job, &b, text.p, text.n, origin);
    return shoal_jinja_built(&d->job, &b);
}

shoal_jinja_value shoal_jinja_list(shoal_jinja_data *d)
{
    return shoal_jinja_new_list(&d->job, JINJA_LIST);
}

shoal_jinja_value shoal_jinja_dict(shoal_jinja_data *d)
{
    return shoal_jinja_new_dict(&d->job);
}

void shoal_jinja_push(shoal_jinja_data *d, shoal_jinja_value list, shoal_jinja_value item)
{
    if (list.kind == SHOAL_JINJA_LIST) shoal_jinja_append(&d->job, list.u.list, item);
}

void shoal_jinja_set(shoal_jinja_data *d, shoal_jinja_value dict, const char *key,
                     shoal_jinja_value value)
{
    if (dict.kind != SHOAL_JINJA_DICT) return;
    shoal_jinja_value k = shoal_jinja_words(&d->job, key);
    if (!shoal_jinja_failed(&d->job)) shoal_jinja_dict_set(&d->job, dict.u.dict, k, value);
}

void shoal_jinja_define(shoal_jinja_data *d, const char *name, shoal_jinja_value value)
{
    shoal_jinja_value k = shoal_jinja_words(&d->job, name);
    if (!shoal_jinja_failed(&d->job)) shoal_jinja_dict_set(&d->job, &d->globals.vars, k, value);
}

void shoal_jinja_set_time(shoal_jinja_data *d, int64_t unix_seconds)
{
    d->has_time = true;
    d->time = unix_seconds;
}

shoal_status shoal_jinja_render(const shoal_jinja *t, shoal_jinja_data *d, shoal_jinja_output *out,
                                shoal_error *err)
{
    *out = (shoal_jinja_output){.text = {"", 0}};
    if (d->rendered) return shoal_fail(err, SHOAL_ERR_STATE, "data of an earlier rendering");
    d->rendered = true;
    jinja_job *j = &d->job;
    j->name = t->name;
    j->steps = 0;
    j->max_steps = SHOAL_JINJA_MAX_STEPS + (uint64_t)j->pool.used;
    jinja_eval e = {.job = j, .data = d};
    jinja_scope *scope = shoal_jinja_new_scope(&e, &d->globals);
    shoal_jinja_value v = shoal_jinja_capture(&e, t->root->items, scope);
    j->name = NULL; /* the template may go before the data */
    if (shoal_jinja_failed(j)) {
        if (err != NULL) *err = j->error;
        return j->st;
    }
    const jinja_text *text = v.u.text;
    out->text = shoal_jinja_bytes(text);
    out->spans = text->spans;
    out->n_spans = text->n_spans;
    return SHOAL_OK;
}
