/* passages.h - texts that a loss is measured on: conversations, any text file, or the built-in one.
 *
 * A file whose name ends in .jsonl holds conversations (data.h); any other is text, cut into
 * passages whose every token after the first counts. Without a file it is a short general text in
 * several registers (a story, an encyclopaedia, advice, code, figures, a dialogue), which shows
 * what a model forgets, not how good it is.
 *
 * Layer: client. Threads: read by many, written by one.
 */
#ifndef SHOAL_CLIENT_PASSAGES_H
#define SHOAL_CLIENT_PASSAGES_H

#include <stddef.h>
#include <stdint.h>

#include "client/data.h"
#include "client/engine.h"
#include "lora/model/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SHOAL_PASSAGES_MAX_TEXT ((size_t)16 << 20) /* bytes of a text file */

typedef struct shoal_passages {
    const shoal_sample *samples; /* [n], into what follows */
    size_t n;
    shoal_sample *cut; /* of a text; owned, as are the rest */
    shoal_tokens ids;
    uint8_t *mask;
    shoal_dataset data; /* of conversations */
} shoal_passages;

/* Passages of at most max_tokens (>= 2) tokens of `path`, or of the built-in text when it is NULL.
 * A zero-initialised *out is filled; on failure it is empty. */
SHOAL_MUST_USE shoal_status shoal_passages_load(shoal_passages *out, const char *path,
                                                const shoal_model *m, size_t max_tokens,
                                                shoal_error *err);
void shoal_passages_clear(shoal_passages *p);

/* What a measurement is called for a person: the path, or "the built-in text". */
const char *shoal_passages_name(const char *path);

/* A mean in nats over `tokens` targets. */
typedef struct shoal_mean_nll {
    double mean;
    size_t tokens;
} shoal_mean_nll;

/* The mean as inference computes it (exact or fast, as the engine is) with adapter `a`, NULL for
 * none. CANCELLED after Ctrl-C. */
SHOAL_MUST_USE shoal_status shoal_passages_nll(const shoal_passages *p, const shoal_engine *e,
                                               const shoal_adapter *a, shoal_mean_nll *out,
                                               shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
