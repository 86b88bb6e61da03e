/* tail.h - the lines another process is writing to a file, as they become whole.
 *
 * Layer: client/. Threads: one owner.
 */
#ifndef SHOAL_CLIENT_TAIL_H
#define SHOAL_CLIENT_TAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_TAIL_LINE = 8192 };

/* Zero-initialise, then open. */
typedef struct shoal_tail {
    char path[1024];
    uint64_t offset; /* bytes of the file already taken */
    char line[SHOAL_TAIL_LINE];
} shoal_tail;

/* Begins at the file's first byte; the file need not exist yet. False when the path is too long. */
bool shoal_tail_open(shoal_tail *t, const char *path);

/* The next whole line without its end, valid until the next call; NULL when there is none yet. A
 * line longer than the buffer is passed over. */
const char *shoal_tail_next(shoal_tail *t);

#ifdef __cplusplus
}
#endif
#endif
