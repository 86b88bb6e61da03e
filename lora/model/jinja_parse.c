/* jinja_parse.c - statements: from tokens to a tree. */
#include <stdio.h>

#include "kernels/base/mem.h"
#include "lora/model/jinja_impl.h"

/* ---- tokens -----------------------------------------------------------------------------------
 */

/* After an error every token looks like the end, so that no loop goes on. */
const jinja_token *shoal_jinja_peek(const jinja_parser *p)
{
    static const jinja_token END = {.kind = JINJA_TOKEN_END, .text = {"", 0}};
    return shoal_jinja_failed(p->job) ? &END : &p->tokens[p->at];
}

bool shoal_jinja_at(const jinja_parser *p, jinja_token_kind kind, const char *text)
{
    const jinja_token *t = shoal_jinja_peek(p);
    return t->kind == kind && (text == NULL || shoal_jinja_is(t->text, text));
}

static void advance(jinja_parser *p)
{
    if (shoal_jinja_failed(p->job) || p->tokens[p->at].kind == JINJA_TOKEN_END) return;
    p->at++;
    p->job->line = p->tokens[p->at].line;
}

bool shoal_jinja_accept(jinja_parser *p, jinja_token_kind kind, const char *text)
{
    if (!shoal_jinja_at(p, kind, text)) return false;
    advance(p);
    return true;
}

static const char *describe(const jinja_token *t, char *room, size_t n)
{
    switch (t->kind) {
    case JINJA_TOKEN_END: return "the end of the template";
    case JINJA_TOKEN_DATA: return "text";
    case JINJA_TOKEN_OUTPUT: return "'{{'";
    case JINJA_TOKEN_OUTPUT_END: return "'}}'";
    case JINJA_TOKEN_BLOCK: return "'{%'";
    case JINJA_TOKEN_BLOCK_END: return "'%}'";
    case JINJA_TOKEN_STRING: return "a string";
    default: break;
    }
    size_t len = t->text.n < 40 ? t->text.n : 40;
    (void)snprintf(room, n, "'%.*s'", (int)len, t->text.p);
    return room;
}

jinja_node *shoal_jinja_unexpected(jinja_parser *p, const char *wanted)
{
    char room[48];
    (void)shoal_jinja_fail(p->job, SHOAL_ERR_FORMAT, "%s where %s should be",
                           describe(shoal_jinja_peek(p), room, sizeof room), wanted);
    return NULL;
}

void shoal_jinja_expect(jinja_parser *p, jinja_token_kind kind, const char *text)
{
    if (shoal_jinja_accept(p, kind, text)) return;
    char room[48];
    const jinja_token want = {.kind = kind, .text = shoal_str_of(text == NULL ? "" : text)};
    (void)shoal_jinja_unexpected(p, describe(&want, room, sizeof room));
}

shoal_str shoal_jinja_expect_name(jinja_parser *p)
{
    shoal_str name = shoal_jinja_peek(p)->text;
    if (shoal_jinja_accept(p, JINJA_TOKEN_NAME, NULL)) return name;
    (void)shoal_jinja_unexpected(p, "a name");
    return (shoal_str){"", 0};
}

jinja_node *shoal_jinja_node(jinja_parser *p, jinja_op op)
{
    jinja_node *node = shoal_jinja_take(p->job, 1, sizeof *node);
    if (node == NULL) return NULL;
    node->op = op;
    node->line = p->job->line;
    return node;
}

/* ---- statements -------------------------------------------------------------------------------
 */

static jinja_node *parse_statement(jinja_parser *p);

static bool at_end_tag(const jinja_parser *p, const char *const *ends)
{
    if (!shoal_jinja_at(p, JINJA_TOKEN_BLOCK, NULL)) return false;
    const jinja_token *word = &p->tokens[p->at + 1]; /* a tag is never the last token */
    for (size_t i = 0; ends != NULL && ends[i] != NULL; i++) {
        if (word->kind == JINJA_TOKEN_NAME && shoal_jinja_is(word->text, ends[i])) return true;
    }
    return false;
}

static jinja_node *parse_piece(jinja_parser *p)
{
    const jinja_token *t = shoal_jinja_peek(p);
    if (t->kind == JINJA_TOKEN_DATA) {
        jinja_node *node = shoal_jinja_node(p, JINJA_TEXT);
        jinja_text *text = shoal_jinja_take(p->job, 1, sizeof *text);
        if (node == NULL || text == NULL) return NULL;
        *text = (jinja_text){.p = t->text.p, .n = t->text.n};
        node->value = (shoal_jinja_value){.kind = SHOAL_JINJA_STRING, .u.text = text};
        advance(p);
        return node;
    }
    if (shoal_jinja_accept(p, JINJA_TOKEN_OUTPUT, NULL)) {
        jinja_node *node = shoal_jinja_node(p, JINJA_OUTPUT);
        jinja_node *a = shoal_jinja_parse_expr(p, true);
        shoal_jinja_expect(p, JINJA_TOKEN_OUTPUT_END, NULL);
        if (node != NULL) node->a = a;
        return node;
    }
    shoal_jinja_expect(p, JINJA_TOKEN_BLOCK, NULL);
    return parse_statement(p);
}

/* Statements up to a tag that begins with one of `ends` (NULL: up to the end), which is left. */
static jinja_node *parse_body(jinja_parser *p, const char *const *ends)
{
    jinja_node *first = NULL;
    jinja_node **link = &first;
    if (shoal_jinja_enter(p->job)) {
        while (!shoal_jinja_at(p, JINJA_TOKEN_END, NULL) && !at_end_tag(p, ends)) {
            jinja_node *node = parse_piece(p);
            if (node == NULL) break;
            *link = node;
            link = &node->next;
        }
        if (ends != NULL && shoal_jinja_at(p, JINJA_TOKEN_END, NULL)) {
            (void)shoal_jinja_fail(p->job, SHOAL_ERR_FORMAT, "'%s' is missing", ends[0]);
        }
    }
    shoal_jinja_leave(p->job);
    return first;
}

/* "%} body {% end %}" */
static jinja_node *parse_block(jinja_parser *p, const char *end)
{
    const char *const ends[] = {end, NULL};
    shoal_jinja_expect(p, JINJA_TOKEN_BLOCK_END, NULL);
    jinja_node *body = parse_body(p, ends);
    shoal_jinja_expect(p, JINJA_TOKEN_BLOCK, NULL);
    shoal_jinja_expect(p, JINJA_TOKEN_NAME, end);
    shoal_jinja_expect(p, JINJA_TOKEN_BLOCK_END, NULL);
    return body;
}

/* One branch: its condition (unless an else), its body. The tag that follows is left open after
 * its "{%". */
static jinja_node *parse_branch(jinja_parser *p, bool with_condition)
{
    static const char *const ENDS[] = {"endif", "elif", "else", NULL};
    static const char *const LAST[] = {"endif", NULL};
    jinja_node *branch = shoal_jinja_node(p, JINJA_BRANCH);
    if (branch == NULL) return NULL;
    if (with_condition) branch->a = shoal_jinja_parse_expr(p, false);
    shoal_jinja_expect(p, JINJA_TOKEN_BLOCK_END, NULL);
    branch->items = parse_body(p, with_condition ? ENDS : LAST);
    shoal_jinja_expect(p, JINJA_TOKEN_BLOCK, NULL);
    return branch;
}

static jinja_node *parse_if(jinja_parser *p)
{
    jinja_node *node = shoal_jinja_node(p, JINJA_IF);
    jinja_node *branch = parse_branch(p, true);
    if (node == NULL || branch == NULL) return NULL;
    node->items = branch;
    while (branch != NULL && !shoal_jinja_accept(p, JINJA_TOKEN_NAME, "endif")) {
        bool condition = shoal_jinja_accept(p, JINJA_TOKEN_NAME, "elif");
        if (!condition) shoal_jinja_expect(p, JINJA_TOKEN_NAME, "else");
        branch->next = parse_branch(p, condition);
        branch = branch->next;
    }
    shoal_jinja_expect(p, JINJA_TOKEN_BLOCK_END, NULL);
    return node;
}

/* "a", "a, b", "(a, b)", and for set also "a.b". */
static jinja_node *parse_target(jinja_parser *p, bool attribute)
{
    bool bracket = shoal_jinja_accept(p, JINJA_TOKEN_OP, "(");
    jinja_node *first = shoal_jinja_node(p, JINJA_NAME);
    if (first == NULL) return NULL;
    first->name = shoal_jinja_expect_name(p);
    if (attribute && !bracket && shoal_jinja_accept(p, JINJA_TOKEN_OP, ".")) {
        jinja_node *node = shoal_jinja_node(p, JINJA_ATTRIBUTE);
        if (node == NULL) return NULL;
        node->a = first;
        node->name = shoal_jinja_expect_name(p);
        return node;
    }
    if (!bracket && !shoal_jinja_at(p, JINJA_TOKEN_OP, ",")) return first;
    jinja_node *tuple = shoal_jinja_node(p, JINJA_TUPLE_OF);
    if (tuple == NULL) return NULL;
    tuple->items = first;
    for (jinja_node *last = first; shoal_jinja_accept(p, JINJA_TOKEN_OP, ",");) {
        last->next = shoal_jinja_node(p, JINJA_NAME);
        if (last->next == NULL) return NULL;
        last = last->next;
        last->name = shoal_jinja_expect_name(p);
    }
    if (bracket) shoal_jinja_expect(p, JINJA_TOKEN_OP, ")");
    return tuple;
}

static jinja_node *parse_for(jinja_parser *p)
{
    static const char *const ENDS[] = {"endfor", "else", NULL};
    jinja_node *node = shoal_jinja_node(p, JINJA_FOR);
    if (node == NULL) return NULL;
    node->a = parse_target(p, false);
    shoal_jinja_expect(p, JINJA_TOKEN_NAME, "in");
    node->b = shoal_jinja_parse_expr(p, false);
    if (shoal_jinja_accept(p, JINJA_TOKEN_NAME, "if")) node->c = shoal_jinja_parse_expr(p, true);
    if (shoal_jinja_at(p, JINJA_TOKEN_NAME, "recursive")) {
        (void)shoal_jinja_unsupported(p->job, "a recursive for loop");
    }
    shoal_jinja_expect(p, JINJA_TOKEN_BLOCK_END, NULL);
    p->loops++;
    node->items = parse_body(p, ENDS);
    p->loops--;
    shoal_jinja_expect(p, JINJA_TOKEN_BLOCK, NULL);
    if (shoal_jinja_accept(p, JINJA_TOKEN_NAME, "else")) {
        node->d = shoal_jinja_node(p, JINJA_GROUP);
        jinja_node *body = parse_block(p, "endfor");
        if (node->d != NULL) node->d->items = body;
        return node;
    }
    shoal_jinja_expect(p, JINJA_TOKEN_NAME, "endfor");
    shoal_jinja_expect(p, JINJA_TOKEN_BLOCK_END, NULL);
    return node;
}

/* "a, b" after its first item. */
static jinja_node *parse_bare_tuple(jinja_parser *p, jinja_node *first)
{
    jinja_node *tuple = shoal_jinja_node(p, JINJA_TUPLE_OF);
    if (tuple == NULL) return NULL;
    tuple->items = first;
    for (jinja_node *last = first; last != NULL && shoal_jinja_accept(p, JINJA_TOKEN_OP, ",");) {
        if (shoal_jinja_at(p, JINJA_TOKEN_BLOCK_END, NULL)) break;
        last->next = shoal_jinja_parse_expr(p, true);
        last = last->next;
    }
    return tuple;
}

static jinja_node *parse_set(jinja_parser *p)
{
    jinja_node *node = shoal_jinja_node(p, JINJA_SET);
    jinja_node *target = parse_target(p, true);
    if (node == NULL) return NULL;
    node->a = target;
    if (shoal_jinja_accept(p, JINJA_TOKEN_OP, "=")) {
        node->b = shoal_jinja_parse_expr(p, true);
        if (shoal_jinja_at(p, JINJA_TOKEN_OP, ",")) node->b = parse_bare_tuple(p, node->b);
        shoal_jinja_expect(p, JINJA_TOKEN_BLOCK_END, NULL);
        return node;
    }
    node->op = JINJA_SET_BLOCK;
    if (shoal_jinja_at(p, JINJA_TOKEN_OP, "|")) node->b = shoal_jinja_parse_filters(p, NULL);
    node->items = parse_block(p, "endset");
    return node;
}

static jinja_node *parse_parameters(jinja_parser *p)
{
    jinja_node *first = NULL;
    jinja_node **link = &first;
    shoal_jinja_expect(p, JINJA_TOKEN_OP, "(");
    while (!shoal_jinja_failed(p->job) && !shoal_jinja_at(p, JINJA_TOKEN_OP, ")")) {
        if (first != NULL) shoal_jinja_expect(p, JINJA_TOKEN_OP, ",");
        jinja_node *node = shoal_jinja_node(p, JINJA_PARAMETER);
        if (node == NULL) return NULL;
        node->name = shoal_jinja_expect_name(p);
        if (shoal_jinja_accept(p, JINJA_TOKEN_OP, "=")) {
            node->a = shoal_jinja_parse_expr(p, true);
        }
        *link = node;
        link = &node->next;
    }
    shoal_jinja_expect(p, JINJA_TOKEN_OP, ")");
    return first;
}

static jinja_node *parse_macro(jinja_parser *p)
{
    jinja_node *node = shoal_jinja_node(p, JINJA_MACRO);
    jinja_node *group = shoal_jinja_node(p, JINJA_GROUP);
    if (node == NULL || group == NULL) return NULL;
    node->name = shoal_jinja_expect_name(p);
    node->a = group;
    group->items = parse_parameters(p);
    uint32_t loops = p->loops;
    p->loops = 0; /* a break in a macro does not leave the caller's loop */
    node->items = parse_block(p, "endmacro");
    p->loops = loops;
    return node;
}

static jinja_node *parse_jump(jinja_parser *p, jinja_op op)
{
    if (p->loops == 0) {
        (void)shoal_jinja_fail(p->job, SHOAL_ERR_FORMAT, "break or continue outside of a loop");
    }
    jinja_node *node = shoal_jinja_node(p, op);
    shoal_jinja_expect(p, JINJA_TOKEN_BLOCK_END, NULL);
    return node;
}

static jinja_node *parse_scope(jinja_parser *p)
{
    jinja_node *node = shoal_jinja_node(p, JINJA_SCOPE);
    uint32_t loops = p->loops;
    p->loops = 0;
    jinja_node *body = parse_block(p, "endgeneration");
    p->loops = loops;
    if (node != NULL) node->items = body;
    return node;
}

/* After "{%". */
static jinja_node *parse_statement(jinja_parser *p)
{
    if (shoal_jinja_accept(p, JINJA_TOKEN_NAME, "if")) return parse_if(p);
    if (shoal_jinja_accept(p, JINJA_TOKEN_NAME, "for")) return parse_for(p);
    if (shoal_jinja_accept(p, JINJA_TOKEN_NAME, "set")) return parse_set(p);
    if (shoal_jinja_accept(p, JINJA_TOKEN_NAME, "macro")) return parse_macro(p);
    if (shoal_jinja_accept(p, JINJA_TOKEN_NAME, "generation")) return parse_scope(p);
    if (shoal_jinja_accept(p, JINJA_TOKEN_NAME, "break")) return parse_jump(p, JINJA_BREAK);
    if (shoal_jinja_accept(p, JINJA_TOKEN_NAME, "continue")) return parse_jump(p, JINJA_CONTINUE);
    static const char *const KNOWN[] = {"include", "import",     "from", "extends", "block",
                                        "call",    "filter",     "with", "raw",     "do",
                                        "trans",   "autoescape", "debug"};
    const jinja_token *t = shoal_jinja_peek(p);
    for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++) {
        if (t->kind == JINJA_TOKEN_NAME && shoal_jinja_is(t->text, KNOWN[i])) {
            (void)shoal_jinja_unsupported(p->job, "the statement '%s'", KNOWN[i]);
            return NULL;
        }
    }
    return shoal_jinja_unexpected(p, "a statement");
}

jinja_node *shoal_jinja_parse(jinja_job *j, const jinja_token *tokens)
{
    jinja_parser p = {.job = j, .tokens = tokens};
    j->line = tokens[0].line;
    jinja_node *group = shoal_jinja_node(&p, JINJA_GROUP);
    if (group != NULL) group->items = parse_body(&p, NULL);
    return group;
}
