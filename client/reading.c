/* reading.c - the line that says how far a long prompt has been read. */
#include "client/reading.h"

#include <stdio.h>

shoal_reading shoal_reading_init(bool verbose, bool json)
{
    return (shoal_reading){.wanted = verbose || (!json && shoal_term_is_live())};
}

static void detail_of(char *out, size_t n, size_t done, size_t total)
{
    (void)snprintf(out, n, "%zu of %zu tokens", done, total);
}

void shoal_reading_on_chunk(void *ctx, size_t done, size_t total)
{
    shoal_reading *r = ctx;
    char detail[64];
    if (!r->begun) shoal_progress_begin(&r->bar, "reading", total, 0, !r->wanted);
    r->begun = true;
    r->total = total;
    detail_of(detail, sizeof detail, done, total);
    shoal_progress_update(&r->bar, done, detail);
}

void shoal_reading_end(shoal_reading *r, bool whole)
{
    char detail[64];
    if (!r->begun) return;
    if (whole) r->bar.done = r->total;
    detail_of(detail, sizeof detail, (size_t)r->bar.done, r->total);
    shoal_progress_end(&r->bar, detail);
    r->begun = false;
}
