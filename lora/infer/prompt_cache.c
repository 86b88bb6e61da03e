/* prompt_cache.c - finding, restoring and keeping chains of blocks. */
#include "lora/infer/prompt_cache.h"

#include <string.h>

#include "kernels/base/mem.h"
#include "lora/infer/block_memory.h"
#include "lora/infer/cache_dir.h"

enum { SIBLINGS_MAX = 256 }; /* blocks behind one parent whose tokens are compared */

struct shoal_prompt_cache {
    shoal_block_memory memory;
    shoal_cache_dir dir;
    bool has_dir;
    shoal_prompt_cache_stats stats;
};

shoal_status shoal_prompt_cache_open(shoal_prompt_cache **out, const shoal_prompt_cache_opts *opts,
                                     shoal_error *err)
{
    *out = NULL;
    shoal_prompt_cache *c = shoal_calloc(1, sizeof *c);
    if (c == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    c->memory = shoal_block_memory_init(opts->memory_bytes);
    c->has_dir = opts->dir != NULL;
    if (c->has_dir) {
        shoal_status st = shoal_cache_dir_open(&c->dir, opts->dir, opts->dir_bytes, err);
        if (st != SHOAL_OK) {
            shoal_prompt_cache_close(c);
            return st;
        }
    }
    *out = c;
    return SHOAL_OK;
}

void shoal_prompt_cache_close(shoal_prompt_cache *c)
{
    if (c == NULL) return;
    shoal_block_memory_clear(&c->memory);
    shoal_free(c);
}

shoal_prompt_cache_stats shoal_prompt_cache_stats_of(const shoal_prompt_cache *c)
{
    shoal_prompt_cache_stats s = c->stats;
    s.memory_bytes = c->memory.bytes;
    s.memory_blocks = c->memory.n;
    return s;
}

/* ---- both places as one -----------------------------------------------------------------------
 */

static bool has(const shoal_prompt_cache *c, const shoal_prompt_ref *ref)
{
    return shoal_block_memory_find(&c->memory, ref) != NULL ||
           (c->has_dir && shoal_cache_dir_has(&c->dir, ref));
}

/* Is it where it stays longest? */
static bool is_kept(const shoal_prompt_cache *c, const shoal_prompt_ref *ref)
{
    return c->has_dir ? shoal_cache_dir_has(&c->dir, ref)
                      : shoal_block_memory_find(&c->memory, ref) != NULL;
}

/* By value: the caller's may be in the list it is removed from. */
static void throw_away(shoal_prompt_cache *c, shoal_prompt_ref ref)
{
    shoal_block_memory_remove(&c->memory, &ref);
    if (c->has_dir) shoal_cache_dir_remove(&c->dir, &ref);
}

/* Marks a chain as used, its end first: so a block never goes before those that need it. */
static void touch_chain(shoal_prompt_cache *c, const shoal_prompt_ref *refs, size_t n)
{
    while (n-- > 0) {
        shoal_block_memory_touch(&c->memory, &refs[n]);
        if (c->has_dir) shoal_cache_dir_touch(&c->dir, &refs[n]);
    }
}

/* ---- chains -----------------------------------------------------------------------------------
 */

/* The whole blocks of a sequence, one behind the other. */
typedef struct chain {
    shoal_prompt_id id;
    const int32_t *ids; /* [n_ids], borrowed */
    size_t n_ids;
    shoal_prompt_ref *refs; /* [n] whole blocks and room for one tail */
    size_t n;
} chain;

static bool chain_open(chain *ch, const shoal_session *s, const shoal_prompt_key *key,
                       const int32_t *ids, size_t n_ids)
{
    *ch = (chain){.id = shoal_prompt_id_of(s, key), .ids = ids, .n_ids = n_ids};
    if (n_ids > SHOAL_PROMPT_TOKENS_MAX) return false;
    size_t n = n_ids / SHOAL_PROMPT_BLOCK;
    ch->refs = shoal_calloc(n + 1, sizeof *ch->refs);
    if (ch->refs == NULL) return false;
    uint64_t parent = shoal_prompt_root(&ch->id);
    for (size_t i = 0; i < n; i++) {
        uint32_t from = (uint32_t)(i * SHOAL_PROMPT_BLOCK);
        ch->refs[i] = shoal_prompt_ref_of(parent, from, ids + from, SHOAL_PROMPT_BLOCK);
        parent = ch->refs[i].own;
    }
    ch->n = n;
    return true;
}

/* The key under which the blocks behind the first `n` stand. */
static uint64_t parent_after(const chain *ch, size_t n)
{
    return n == 0 ? shoal_prompt_root(&ch->id) : ch->refs[n - 1].own;
}

/* ---- the block that goes on where the chain of whole ones ends --------------------------------
 */

/* A block of which the first tokens, perhaps all, agree with the sequence. */
typedef struct partial {
    shoal_prompt_ref ref;
    size_t common; /* its tokens that agree; 0: there is none */
} partial;

typedef struct sibling_search {
    shoal_prompt_cache *c;
    const chain *ch;
    uint64_t parent;
    size_t from, n_looked_at;
    partial best;
} sibling_search;

static void compare(sibling_search *q, const shoal_prompt_ref *ref, const void *data, size_t n)
{
    shoal_prompt_block b;
    if (shoal_prompt_block_decode_head(&b, data, n, NULL) != SHOAL_OK || b.from != q->from) {
        throw_away(q->c, *ref);
        q->c->stats.damaged++;
        return;
    }
    size_t end = shoal_prompt_block_common(&b, &q->ch->id, q->ch->ids, q->ch->n_ids);
    if (end > q->from && end - q->from > q->best.common) {
        q->best = (partial){.ref = *ref, .common = end - q->from};
    }
}

static bool is_sibling(sibling_search *q, const shoal_prompt_ref *ref)
{
    return ref->parent == q->parent && ref->from == q->from && q->n_looked_at++ < SIBLINGS_MAX;
}

static bool on_memory_block(void *ctx, const shoal_memory_block *m)
{
    sibling_search *q = ctx;
    if (is_sibling(q, &m->ref)) compare(q, &m->ref, m->data, m->bytes);
    return true;
}

static bool on_disk_block(void *ctx, const shoal_cache_file *f)
{
    sibling_search *q = ctx;
    shoal_buf head;
    if (!is_sibling(q, &f->ref)) return true;
    size_t bytes = shoal_prompt_head_bytes((size_t)f->ref.from + f->ref.n);
    if (shoal_cache_dir_read(&q->c->dir, &f->ref, bytes, bytes, &head, NULL) == SHOAL_OK) {
        compare(q, &f->ref, head.data, head.len);
    }
    shoal_buf_clear(&head);
    return true;
}

/* The block behind the first `n` whole ones that goes furthest along the sequence. */
static partial find_partial(shoal_prompt_cache *c, const chain *ch, size_t n)
{
    sibling_search q = {
        .c = c, .ch = ch, .parent = parent_after(ch, n), .from = n * SHOAL_PROMPT_BLOCK};
    if (q.from >= ch->n_ids) return q.best;
    shoal_block_memory_each(&c->memory, on_memory_block, &q);
    if (c->has_dir) {
        q.n_looked_at = 0;
        shoal_status st = shoal_cache_dir_walk(&c->dir, on_disk_block, &q, NULL);
        (void)st; /* a directory that cannot be read has no blocks */
    }
    return q.best;
}

/* ---- restoring --------------------------------------------------------------------------------
 */

/* Appends a block to the session if it is what it should be. */
static bool import_bytes(shoal_session *s, const chain *ch, const shoal_prompt_ref *ref,
                         size_t common, const void *data, size_t n)
{
    shoal_prompt_block b;
    int32_t ids[SHOAL_PROMPT_BLOCK];
    if (shoal_prompt_block_decode(&b, data, n, NULL) != SHOAL_OK || b.from != ref->from ||
        b.n != ref->n || b.from != shoal_session_past(s)) {
        return false;
    }
    if (shoal_prompt_block_common(&b, &ch->id, ch->ids, ch->n_ids) != b.from + common) return false;
    for (size_t i = 0; i < b.n; i++) {
        ids[i] = shoal_prompt_block_token(&b, b.from + i);
    }
    return shoal_session_import(s, ids, b.n, b.state, b.state_bytes, NULL) == SHOAL_OK;
}

static bool import_block(shoal_prompt_cache *c, shoal_session *s, const chain *ch,
                         const shoal_prompt_ref *ref, size_t common)
{
    const shoal_memory_block *m = shoal_block_memory_find(&c->memory, ref);
    if (m != NULL) return import_bytes(s, ch, ref, common, m->data, m->bytes);
    shoal_buf bytes;
    size_t state = shoal_session_state_bytes(s, ref->from, ref->n);
    size_t most = shoal_prompt_block_bytes((size_t)ref->from + ref->n, state);
    if (!c->has_dir) return false;
    shoal_status st = shoal_cache_dir_read(&c->dir, ref, 0, most, &bytes, NULL);
    bool ok = st == SHOAL_OK && import_bytes(s, ch, ref, common, bytes.data, bytes.len);
    if (!ok && st != SHOAL_ERR_NOT_FOUND) {
        throw_away(c, *ref);
        c->stats.damaged++;
    }
    if (ok) shoal_block_memory_put(&c->memory, ref, &bytes);
    shoal_buf_clear(&bytes);
    return ok;
}

/* Does a block hold all rows of its tokens? Those of local layers with a window shorter than a
 * block do not, and cannot be cut. */
static bool can_be_cut(const shoal_session *s, const shoal_prompt_ref *ref)
{
    return shoal_session_state_bytes(s, ref->from, ref->n) ==
           ref->n * shoal_session_state_bytes(s, ref->from, 1);
}

/* Imports whole blocks [first, n) and then the agreeing part of a block behind them. */
static void import_chain(shoal_prompt_cache *c, shoal_session *s, const chain *ch, size_t first,
                         size_t n, const partial *tail)
{
    for (size_t i = first; i < n; i++) {
        if (import_block(c, s, ch, &ch->refs[i], SHOAL_PROMPT_BLOCK)) continue;
        /* What damaged one block may have damaged those behind it, and they are no use without it:
         * all of them will be written anew. */
        for (size_t k = i; k < n; k++) {
            throw_away(c, ch->refs[k]);
        }
        return;
    }
    bool whole = tail->common == tail->ref.n;
    if (tail->common == 0 || (!whole && !can_be_cut(s, &tail->ref)) ||
        tail->ref.from + tail->ref.n > shoal_session_capacity(s)) {
        return;
    }
    if (!import_block(c, s, ch, &tail->ref, tail->common) || whole) return;
    size_t wanted = tail->ref.from + tail->common;
    if (shoal_session_truncate(s, wanted) == wanted) return;
    const partial none = {.common = 0};
    import_chain(c, s, ch, 0, n, &none); /* all was forgotten: without the part then */
}

static size_t common_with_session(const shoal_session *s, const int32_t *ids, size_t n)
{
    size_t past = shoal_session_past(s);
    const int32_t *held = shoal_session_tokens(s);
    size_t i = 0;
    while (i < past && i < n && held[i] == ids[i]) {
        i++;
    }
    return i;
}

/* Goes back to the last block border the session still agrees with and on from there. */
static void restore_chain(shoal_prompt_cache *c, shoal_session *s, chain *ch)
{
    size_t same = common_with_session(s, ch->ids, ch->n_ids);
    size_t held = shoal_session_truncate(s, same);
    size_t n = 0;
    while (n < ch->n && has(c, &ch->refs[n])) {
        n++;
    }
    partial tail = find_partial(c, ch, n);
    if (n * SHOAL_PROMPT_BLOCK + tail.common <= held) return;
    size_t first = held / SHOAL_PROMPT_BLOCK;
    first = shoal_session_truncate(s, first * SHOAL_PROMPT_BLOCK) / SHOAL_PROMPT_BLOCK;
    import_chain(c, s, ch, first, n, &tail);
    if (tail.common > 0) ch->refs[n++] = tail.ref;
    touch_chain(c, ch->refs, n);
    if (shoal_session_past(s) > held) c->stats.restored += shoal_session_past(s) - held;
}

size_t shoal_prompt_cache_restore(shoal_prompt_cache *c, const shoal_prompt_key *key,
                                  shoal_session *s, const int32_t *ids, size_t n)
{
    chain ch;
    size_t most = shoal_session_capacity(s);
    if (chain_open(&ch, s, key, ids, n < most ? n : most)) restore_chain(c, s, &ch);
    shoal_free(ch.refs);
    return common_with_session(s, ids, n);
}

/* ---- keeping ----------------------------------------------------------------------------------
 */

static shoal_status keep_block(shoal_prompt_cache *c, const shoal_session *s,
                               const shoal_prompt_id *id, const shoal_prompt_ref *ref,
                               shoal_error *err)
{
    shoal_buf bytes = shoal_buf_init(SHOAL_PROMPT_BLOCK_MAX);
    shoal_status st = shoal_prompt_block_encode(s, id, ref->from, ref->n, &bytes, err);
    if (st == SHOAL_OK && c->has_dir && !shoal_cache_dir_has(&c->dir, ref)) {
        st = shoal_cache_dir_make_room(&c->dir, bytes.len, err);
        if (st == SHOAL_OK) st = shoal_cache_dir_write(&c->dir, ref, bytes.data, bytes.len, err);
    }
    if (st == SHOAL_OK) {
        c->stats.kept += ref->n;
        shoal_block_memory_put(&c->memory, ref, &bytes);
    }
    shoal_buf_clear(&bytes);
    return st;
}

/* Shorter blocks of the same tokens serve no purpose beside a longer one. */
static void drop_shorter(shoal_prompt_cache *c, const chain *ch, const shoal_prompt_ref *ref)
{
    const int32_t *ids = ch->ids + ref->from;
    for (size_t n = 1; n < ref->n; n++) {
        shoal_prompt_ref shorter = shoal_prompt_ref_of(ref->parent, ref->from, ids, n);
        if (has(c, &shorter)) throw_away(c, shorter);
    }
}

static shoal_status keep_chain(shoal_prompt_cache *c, const shoal_session *s, chain *ch, bool tail,
                               shoal_error *err)
{
    shoal_status st = SHOAL_OK;
    size_t whole = ch->n * SHOAL_PROMPT_BLOCK;
    size_t rest = ch->n_ids - whole;
    size_t done = 0;
    if (tail && rest > 0 && find_partial(c, ch, ch->n).common < rest) {
        ch->refs[ch->n] =
            shoal_prompt_ref_of(parent_after(ch, ch->n), (uint32_t)whole, ch->ids + whole, rest);
        ch->n++;
    }
    bool news = false;
    uint64_t room = c->has_dir ? c->dir.max_bytes : c->memory.max_bytes;
    for (; st == SHOAL_OK && done < ch->n; done++) {
        uint64_t bytes = shoal_session_state_bytes(s, ch->refs[done].from, ch->refs[done].n);
        if (bytes > room / (done + 1)) break; /* a chain must not push itself out */
        if (is_kept(c, &ch->refs[done])) continue;
        st = keep_block(c, s, &ch->id, &ch->refs[done], err);
        if (st == SHOAL_OK) drop_shorter(c, ch, &ch->refs[done]);
        news = true;
    }
    if (news) touch_chain(c, ch->refs, done);
    /* Local layers may have forgotten the rows of an early block: the chain ends there. */
    return st == SHOAL_ERR_STATE ? SHOAL_OK : st;
}

shoal_status shoal_prompt_cache_keep(shoal_prompt_cache *c, const shoal_prompt_key *key,
                                     const shoal_session *s, bool tail, shoal_error *err)
{
    chain ch;
    size_t n = shoal_session_past(s);
    if (n < SHOAL_PROMPT_BLOCK) return SHOAL_OK;
    bool open = chain_open(&ch, s, key, shoal_session_tokens(s), n);
    shoal_status st =
        open ? keep_chain(c, s, &ch, tail, err) : shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    shoal_free(ch.refs);
    return st;
}
