/* jinja_job.c - the engine's memory, its first error, and its bounds. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "lora/model/jinja_impl.h"

enum { BLOCK_BYTES = 16384, ALIGN = 16, MESSAGE = 240 };

typedef struct jinja_block {
    struct jinja_block *next;
    size_t pad; /* keeps what follows aligned to 16 */
} jinja_block;

static void *take_block(jinja_job *j, size_t bytes)
{
    jinja_pool *pool = &j->pool;
    size_t size = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
    size_t total = size + sizeof(jinja_block);
    if (total < size || total > pool->max - pool->used) {
        (void)shoal_jinja_fail(j, SHOAL_ERR_TOO_LARGE, "more memory than a template may use");
        return NULL;
    }
    jinja_block *block = shoal_alloc(total);
    if (block == NULL) {
        (void)shoal_jinja_fail(j, SHOAL_ERR_NOMEM, "out of memory");
        return NULL;
    }
    pool->used += total;
    block->next = pool->blocks;
    pool->blocks = block;
    unsigned char *data = (unsigned char *)(block + 1);
    if (size - bytes > pool->left) { /* the rest of it is the better place for what comes next */
        pool->at = data + bytes;
        pool->left = size - bytes;
    }
    return data;
}

void *shoal_jinja_take(jinja_job *j, size_t n, size_t size)
{
    size_t bytes = 0;
    if (shoal_jinja_failed(j)) return NULL;
    if (!shoal_mul_size(n, size, &bytes) || bytes > SIZE_MAX - BLOCK_BYTES) {
        (void)shoal_jinja_fail(j, SHOAL_ERR_TOO_LARGE, "more memory than a template may use");
        return NULL;
    }
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    void *p = j->pool.at;
    if (bytes > j->pool.left || p == NULL) {
        p = take_block(j, bytes);
        if (p == NULL) return NULL;
    } else {
        j->pool.at += bytes;
        j->pool.left -= bytes;
    }
    if (bytes > 0) memset(p, 0, bytes);
    return p;
}

void *shoal_jinja_grow(jinja_job *j, void *items, size_t n, size_t *cap, size_t size)
{
    if (n < *cap) return items;
    size_t more = *cap == 0 ? 4 : 2 * *cap;
    void *grown = shoal_jinja_take(j, more, size);
    if (grown == NULL) return NULL;
    if (n > 0) memcpy(grown, items, n * size);
    *cap = more;
    return grown;
}

void shoal_jinja_pool_clear(jinja_pool *pool)
{
    for (jinja_block *block = pool->blocks; block != NULL;) {
        jinja_block *next = block->next;
        shoal_free(block);
        block = next;
    }
    *pool = (jinja_pool){.max = pool->max};
}

bool shoal_jinja_failed(const jinja_job *j)
{
    return j->st != SHOAL_OK;
}

static void note(jinja_job *j, shoal_status st, const char *fmt, va_list ap) SHOAL_PRINTF(3, 0);

/* A message may quote the template or the data: only printable ASCII and whole UTF-8 survive well,
 * so control characters are shown as '?'. */
static void note(jinja_job *j, shoal_status st, const char *fmt, va_list ap)
{
    char message[MESSAGE];
    if (vsnprintf(message, sizeof message, fmt, ap) < 0) message[0] = '\0';
    for (char *c = message; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    }
    j->st = shoal_fail(&j->error, st, "%.60s, line %u: %s", j->name == NULL ? "data" : j->name,
                       (unsigned)j->line, message);
}

shoal_jinja_value shoal_jinja_fail(jinja_job *j, shoal_status st, const char *fmt, ...)
{
    if (!shoal_jinja_failed(j)) {
        va_list ap;
        va_start(ap, fmt);
        note(j, st, fmt, ap);
        va_end(ap);
    }
    return shoal_jinja_undefined();
}

shoal_jinja_value shoal_jinja_unsupported(jinja_job *j, const char *fmt, ...)
{
    if (!shoal_jinja_failed(j)) {
        va_list ap;
        va_start(ap, fmt);
        note(j, SHOAL_ERR_UNSUPPORTED, fmt, ap);
        va_end(ap);
        shoal_hint(&j->error, "this template needs more of Jinja than is built in; raw prompts "
                              "(generate, score) work with any model");
    }
    return shoal_jinja_undefined();
}

void shoal_jinja_charge(jinja_job *j, size_t bytes)
{
    j->steps += 1 + bytes / 16;
    if (j->steps > j->max_steps) {
        (void)shoal_jinja_fail(j, SHOAL_ERR_TOO_LARGE, "more work than a template may make");
    }
}

bool shoal_jinja_enter(jinja_job *j)
{
    if (++j->depth > SHOAL_JINJA_MAX_DEPTH) {
        (void)shoal_jinja_fail(j, SHOAL_ERR_TOO_LARGE, "nested more than %d deep",
                               (int)SHOAL_JINJA_MAX_DEPTH);
    }
    return !shoal_jinja_failed(j);
}

void shoal_jinja_leave(jinja_job *j)
{
    j->depth--;
}
