/* prompt_store.h - the prompt cache of the programs: where it lies, what its keys are, its options.
 *
 * The cache holds what was said, so it lies in $SHOAL_HOME/cache for the user's eyes alone, and
 * what was not used for a week goes. Its keys need the model's SHA-256, which is remembered by the
 * file's inode, size and times (filehash.h); a file not yet known is hashed after the first answer,
 * never before one, and files over a gigabyte only on demand (`shoal model info FILE`).
 *
 * Layer: client. Threads: one user at a time.
 */
#ifndef SHOAL_CLIENT_PROMPT_STORE_H
#define SHOAL_CLIENT_PROMPT_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/engine.h"
#include "client/store.h"
#include "kernels/base/options.h"
#include "kernels/base/status.h"
#include "lora/infer/prompt_cache.h"
#include "lora/train/adapter.h"

/* No C++ here: session.h is C. */

/* The values of --prompt-cache and --cache-size. */
typedef struct shoal_prompt_options {
    const char *how; /* "off", "on", "memory" or a directory, told by a slash */
    uint64_t bytes;  /* on disk */
    bool given;      /* --prompt-cache was: then what cannot be had is an error */
} shoal_prompt_options;

shoal_prompt_options shoal_prompt_options_default(const char *how); /* 256 MB */

enum { SHOAL_PROMPT_N_OPTIONS = 2 };
void shoal_prompt_option_table(shoal_prompt_options *o, shoal_option table[SHOAL_PROMPT_N_OPTIONS]);

enum { SHOAL_PROMPT_ADAPTERS = 17 };

typedef struct shoal_prompt_store {
    shoal_prompt_cache *cache; /* NULL: off, and then every call below does nothing */
    shoal_store home;
    char model_path[SHOAL_PATH_MAX];
    uint8_t model[32];
    bool model_known, given_up, warned;
    struct shoal_known_adapter {
        const shoal_adapter *adapter;
        uint8_t hash[32];
    } adapters[SHOAL_PROMPT_ADAPTERS];
    size_t n_adapters;
} shoal_prompt_store;

/* Opens the cache for the model of `e`. memory_bytes: held in memory as well. Under --max-ram,
 * whose plan knows nothing of a cache, it stays off unless asked for, and out of memory in any
 * case. */
SHOAL_MUST_USE shoal_status shoal_prompt_store_open(shoal_prompt_store *p,
                                                    const shoal_prompt_options *o,
                                                    const shoal_engine_options *e,
                                                    size_t memory_bytes, shoal_error *err);
void shoal_prompt_store_close(shoal_prompt_store *p);

/* As shoal_prompt_cache_restore. p may be NULL: then what the session itself holds of ids. */
size_t shoal_prompt_store_restore(shoal_prompt_store *p, const shoal_adapter *adapter,
                                  shoal_session *s, const int32_t *ids, size_t n);

/* As shoal_prompt_cache_keep; failures are told once in the log. The last call of an answer
 * (`tail`) may take the time to hash the model. p may be NULL. */
void shoal_prompt_store_keep(shoal_prompt_store *p, const shoal_adapter *adapter,
                             const shoal_session *s, bool tail);

/* The directory of "on". */
SHOAL_MUST_USE shoal_status shoal_prompt_store_dir(const shoal_store *home,
                                                   char out[SHOAL_PATH_MAX], shoal_error *err);

/* Removes everything in it: *n files, *bytes. A home without a cache is OK. */
SHOAL_MUST_USE shoal_status shoal_prompt_store_clear(const shoal_store *home, size_t *n,
                                                     uint64_t *bytes, shoal_error *err);

/* SHA-256 of everything an adapter does: its manifest and its parameters. */
SHOAL_MUST_USE shoal_status shoal_adapter_sha256(const shoal_adapter *a, uint8_t out[32],
                                                 shoal_error *err);

#endif
