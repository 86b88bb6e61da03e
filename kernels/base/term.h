/* term.h - talk to the person at the terminal: notes, errors, colour, one progress bar.
 *
 * Everything here goes to stderr; stdout is for data. Colour and cursor movement only when stderr
 * is a terminal and NO_COLOR is unset (no-color.org) and TERM is not "dumb".
 *
 * Layer: kernels/base, target shoal_cli (only the programs link it: libraries never print).
 * Threads: main thread only.
 */
#ifndef SHOAL_KERNELS_BASE_TERM_H
#define SHOAL_KERNELS_BASE_TERM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* "error: MSG" and, when set, "hint: HINT". */
void shoal_term_error(const shoal_error *err);
void shoal_term_warn(const char *fmt, ...) SHOAL_PRINTF(1, 2);
/* One line of talk, as it is. */
void shoal_term_note(const char *fmt, ...) SHOAL_PRINTF(1, 2);

bool shoal_term_has_colour(void);
bool shoal_term_is_live(void); /* stderr is a terminal that can redraw a line */
size_t shoal_term_width(void); /* columns; 80 when unknown */

/* Escape sequences, "" when there is no colour. */
typedef enum shoal_colour {
    SHOAL_COLOUR_NONE,
    SHOAL_COLOUR_BOLD,
    SHOAL_COLOUR_DIM,
    SHOAL_COLOUR_RED,
    SHOAL_COLOUR_GREEN,
    SHOAL_COLOUR_YELLOW,
    SHOAL_COLOUR_CYAN
} shoal_colour;
const char *shoal_term_colour(shoal_colour c);

/* A bar "label [#####.....]  45 %  detail  ETA 1:23". On a terminal it redraws one line, at most
 * ten times a second; elsewhere it prints a line every ten seconds and one at the end. */
typedef struct shoal_progress {
    const char *label; /* borrowed */
    uint64_t total;    /* 0: unknown, no bar and no ETA */
    uint64_t done;
    uint64_t first; /* where this run began (a resumed one does not begin at 0) */
    double begun_s, drawn_s;
    bool quiet; /* draws nothing (--json, or not wanted) */
} shoal_progress;

void shoal_progress_begin(shoal_progress *p, const char *label, uint64_t total, uint64_t first,
                          bool quiet);
/* `detail` is a short text shown after the percentage; "" for none. */
void shoal_progress_update(shoal_progress *p, uint64_t done, const char *detail);
/* Leaves the last state on its own line. */
void shoal_progress_end(shoal_progress *p, const char *detail);

/* Seconds of a clock that never goes back. */
double shoal_clock_s(void);

/* "1.2 GB", "96 MB": powers of 1000, three digits at most. */
void shoal_format_bytes(uint64_t bytes, char *out, size_t n);
/* "1:23", "2:03:04". */
void shoal_format_seconds(double seconds, char *out, size_t n);

/* Peak resident memory of this process so far, in bytes (getrusage). */
uint64_t shoal_peak_rss(void);
/* Resident memory of this process now (Linux: /proc/self/statm); 0 where the system does not tell.
 */
uint64_t shoal_resident_bytes(void);

#ifdef __cplusplus
}
#endif
#endif
