/* train_cache.h - the cache of frozen lower layers of `shoal train`: whether there is one, where,
 * and what is said about it.
 *
 * It lies beside the checkpoint in ADAPTER.gguf.ckpt.states, private to its owner, and lives as
 * long as a run that can be resumed. Nothing here fails a run: without the cache it has the same
 * result and takes longer.
 *
 * Layer: client. Threads: as the trainer's.
 */
#ifndef SHOAL_CLIENT_TRAIN_CACHE_H
#define SHOAL_CLIENT_TRAIN_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "client/engine.h"
#include "client/store.h"
#include "lora/train/lower_cache.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Without --cache-size. */
#define SHOAL_TRAIN_CACHE_USUAL ((uint64_t)512 * 1000 * 1000)

typedef struct shoal_train_cache_options {
    const char *checkpoint; /* the path of the checkpoint, or "" when nothing is written */
    uint64_t max_bytes;     /* of the file; 0: no cache */
    size_t first_layer;     /* lowest adapted layer */
    size_t max_tokens;      /* rows of a micro-batch */
    uint64_t passes;        /* over the training data; 1: no cache */
    const shoal_lower_texts *texts;
    size_t n_texts;
} shoal_train_cache_options;

typedef struct shoal_train_cache {
    shoal_lower_cache *cache;  /* NULL: none */
    char path[SHOAL_PATH_MAX]; /* of its file, in use or not; "": none */
} shoal_train_cache;

/* Decides, and takes the memory: to be called before memory is planned. */
void shoal_train_cache_open(shoal_train_cache *c, const shoal_engine *e,
                            const shoal_train_cache_options *o);

/* Opens the file and lets the trainer use it. */
void shoal_train_cache_start(shoal_train_cache *c, shoal_trainer *tr);

/* Rows that were read instead of computed, 0..1, so far. */
double shoal_train_cache_share(const shoal_train_cache *c);

/* What a person should know at the end. */
void shoal_train_cache_tell(const shoal_train_cache *c);

/* The trainer must be gone, or not in use any more. The file stays for --resume when `keep`. */
void shoal_train_cache_close(shoal_train_cache *c, bool keep);

#ifdef __cplusplus
}
#endif
#endif
