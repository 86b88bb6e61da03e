/* tail.c - whole lines of a growing file. */
#include "client/tail.h"

#include <stdio.h>
#include <string.h>
#include <sys/types.h>

bool shoal_tail_open(shoal_tail *t, const char *path)
{
    t->offset = 0;
    int n = snprintf(t->path, sizeof t->path, "%s", path);
    return n >= 0 && (size_t)n < sizeof t->path;
}

const char *shoal_tail_next(shoal_tail *t)
{
    FILE *f = fopen(t->path, "rb");
    const char *line = NULL;
    if (f == NULL) return NULL;
    while (fseeko(f, (off_t)t->offset, SEEK_SET) == 0) {
        size_t n = fread(t->line, 1, sizeof t->line - 1, f);
        char *end = memchr(t->line, '\n', n);
        if (end != NULL) {
            *end = '\0';
            t->offset += (uint64_t)(end - t->line) + 1;
            line = t->line;
            break;
        }
        if (n < sizeof t->line - 1) break; /* not whole yet */
        t->offset += n;                    /* too long: its rest will not be JSON either */
    }
    (void)fclose(f);
    return line;
}
