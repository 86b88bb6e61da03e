/* reading.h - the line that says how far a long prompt has been read.
 *
 * On a terminal, or with -v; prompts of one chunk are read before anybody could look.
 *
 * Layer: client. Threads: main thread only.
 */
#ifndef SHOAL_CLIENT_READING_H
#define SHOAL_CLIENT_READING_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/term.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_reading {
    shoal_progress bar;
    bool wanted, begun;
    size_t total;
} shoal_reading;

/* json: nothing is said unless asked for by -v. */
shoal_reading shoal_reading_init(bool verbose, bool json);

/* For shoal_decode_job.on_read; ctx is a shoal_reading. */
void shoal_reading_on_chunk(void *ctx, size_t done, size_t total);

/* The prompt is read, or reading was given up: the line is left as it is. */
void shoal_reading_end(shoal_reading *r, bool whole);

#ifdef __cplusplus
}
#endif
#endif
