/* prompt_cache.h - what was read once need not be read again: states of prompts, in memory and on
 * disk.
 *
 * What sessions have read is kept in blocks of 64 tokens (prompt_block.h), so conversations that
 * begin alike share the blocks of their common beginning, a conversation that grows adds only its
 * new blocks, and any beginning of what was kept can be found again, to the token. A restored state
 * has the bits that reading the tokens gives. Blocks are kept in memory up to a number of bytes, in
 * a directory up to another, or both; those used longest ago go first.
 *
 * A cache never fails an answer: what is missing, damaged or of another model, adapter, kernel or
 * arithmetic is a miss, and damaged files are removed.
 *
 * Layer: lora/infer. Threads: one owner; the directory may be shared by processes (cache_dir.h).
 */
#ifndef SHOAL_LORA_INFER_PROMPT_CACHE_H
#define SHOAL_LORA_INFER_PROMPT_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "lora/infer/prompt_block.h"
#include "lora/infer/session.h"

typedef struct shoal_prompt_cache shoal_prompt_cache;

typedef struct shoal_prompt_cache_opts {
    const char *dir; /* NULL: nothing on disk; else as shoal_cache_dir_open says */
    uint64_t dir_bytes;
    size_t memory_bytes; /* 0: nothing in memory */
} shoal_prompt_cache_opts;

SHOAL_MUST_USE shoal_status shoal_prompt_cache_open(shoal_prompt_cache **out,
                                                    const shoal_prompt_cache_opts *opts,
                                                    shoal_error *err);
void shoal_prompt_cache_close(shoal_prompt_cache *c);

/* Makes the session hold the longest beginning of ids [n] that it has itself or the cache knows,
 * and returns its length. What the session held beyond that is dropped: keep it first. */
size_t shoal_prompt_cache_restore(shoal_prompt_cache *c, const shoal_prompt_key *key,
                                  shoal_session *s, const int32_t *ids, size_t n);

/* Keeps what the session holds and the cache has not yet: whole blocks, and with `tail` also the
 * tokens behind the last whole one. Sequences shorter than a block are read again sooner than they
 * are fetched and are not kept. Without `tail` it may be called between the chunks of an
 * evaluation. An error (a full disk) leaves what was kept until then. */
SHOAL_MUST_USE shoal_status shoal_prompt_cache_keep(shoal_prompt_cache *c,
                                                    const shoal_prompt_key *key,
                                                    const shoal_session *s, bool tail,
                                                    shoal_error *err);

typedef struct shoal_prompt_cache_stats {
    uint64_t restored;   /* tokens */
    uint64_t kept;       /* tokens */
    uint64_t damaged;    /* blocks found and thrown away */
    size_t memory_bytes; /* held now */
    size_t memory_blocks;
} shoal_prompt_cache_stats;

shoal_prompt_cache_stats shoal_prompt_cache_stats_of(const shoal_prompt_cache *c);

#endif
