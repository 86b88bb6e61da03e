/* term.c - talk to the person at the terminal. */
#define _DEFAULT_SOURCE /* winsize and TIOCGWINSZ */
#include "kernels/base/term.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { BAR_CELLS = 24, BAR_MIN = 5 };

bool shoal_term_is_live(void)
{
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) == 1 && term != NULL && strcmp(term, "dumb") != 0;
}

bool shoal_term_has_colour(void)
{
    const char *no_color = getenv("NO_COLOR");
    return (no_color == NULL || no_color[0] == '\0') && shoal_term_is_live();
}

size_t shoal_term_width(void)
{
    struct winsize ws;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col >= 20) return ws.ws_col;
    return 80;
}

const char *shoal_term_colour(shoal_colour c)
{
    static const char *const codes[] = {
        [SHOAL_COLOUR_NONE] = "\033[0m",   [SHOAL_COLOUR_BOLD] = "\033[1m",
        [SHOAL_COLOUR_DIM] = "\033[2m",    [SHOAL_COLOUR_RED] = "\033[31m",
        [SHOAL_COLOUR_GREEN] = "\033[32m", [SHOAL_COLOUR_YELLOW] = "\033[33m",
        [SHOAL_COLOUR_CYAN] = "\033[36m",
    };
    return shoal_term_has_colour() ? codes[c] : "";
}

static void labelled(shoal_colour c, const char *label, const char *text)
{
    (void)fprintf(stderr, "%s%s:%s %s\n", shoal_term_colour(c), label,
                  shoal_term_colour(SHOAL_COLOUR_NONE), text);
}

void shoal_term_error(const shoal_error *err)
{
    labelled(SHOAL_COLOUR_RED, "error",
             err->msg[0] != '\0' ? err->msg : shoal_status_text(err->code));
    if (err->hint[0] != '\0') labelled(SHOAL_COLOUR_CYAN, "hint", err->hint);
}

void shoal_term_warn(const char *fmt, ...)
{
    char text[640];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    labelled(SHOAL_COLOUR_YELLOW, "warning", text);
}

void shoal_term_note(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vfprintf(stderr, fmt, ap);
    va_end(ap);
    (void)fputc('\n', stderr);
}

double shoal_clock_s(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

void shoal_format_bytes(uint64_t bytes, char *out, size_t n)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double v = (double)bytes;
    size_t unit = 0;
    while (v >= 999.5 && unit + 1 < sizeof units / sizeof units[0]) {
        v /= 1000.0;
        unit++;
    }
    (void)snprintf(out, n, unit > 0 && v < 9.95 ? "%.1f %s" : "%.0f %s", v, units[unit]);
}

void shoal_format_seconds(double seconds, char *out, size_t n)
{
    if (!(seconds >= 0.0) || seconds > 3.6e8) {
        (void)snprintf(out, n, "--:--");
        return;
    }
    unsigned long s = (unsigned long)(seconds + 0.5);
    if (s >= 3600) {
        (void)snprintf(out, n, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
    } else {
        (void)snprintf(out, n, "%lu:%02lu", s / 60, s % 60);
    }
}

uint64_t shoal_peak_rss(void)
{
    struct rusage ru;
    if (getrusage(RUSAGE_SELF, &ru) != 0) return 0;
    return (uint64_t)ru.ru_maxrss * 1024u; /* Linux counts kilobytes */
}

/* From the pages themselves, where the system adds them up: newer kernels count in each processor
 * apart, and statm is megabytes off (Linux 6.2 on). */
static uint64_t resident_by_pages(void)
{
    char line[128];
    unsigned long long kb = 0;
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    if (f == NULL) return 0;
    while (fgets(line, sizeof line, f) != NULL && sscanf(line, "Rss: %llu kB", &kb) != 1) {
    }
    (void)fclose(f);
    return (uint64_t)kb * 1024;
}

uint64_t shoal_resident_bytes(void)
{
    uint64_t exact = resident_by_pages();
    if (exact > 0) return exact;
    unsigned long size = 0; /* in pages, and so is the next */
    unsigned long resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    int n = f == NULL ? 0 : fscanf(f, "%lu %lu", &size, &resident);
    if (f != NULL) (void)fclose(f);
    return n == 2 ? (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static double eta_s(const shoal_progress *p, double now)
{
    if (p->done <= p->first || p->total < p->done) return -1.0;
    double per_item = (now - p->begun_s) / (double)(p->done - p->first);
    return per_item * (double)(p->total - p->done);
}

/* "label [####....]  45 %  detail  ETA 1:23": the bar takes the cells the words leave. */
static void compose(const shoal_progress *p, const char *detail, double now, char *line, size_t n)
{
    char bar[BAR_CELLS + 1];
    char eta[24];
    double share = (double)p->done / (double)p->total;
    shoal_format_seconds(eta_s(p, now), eta, sizeof eta);
    size_t words = strlen(p->label) + strlen(detail) + strlen(eta) + sizeof " []  45 %    ETA ";
    size_t width = shoal_term_width();
    size_t cells = width < words + BAR_MIN ? BAR_MIN : width - words;
    if (cells > BAR_CELLS) cells = BAR_CELLS;
    memset(bar, '.', cells);
    memset(bar, '#', (size_t)((share > 1.0 ? 1.0 : share) * (double)cells));
    bar[cells] = '\0';
    (void)snprintf(line, n, "%s [%s] %3.0f %%  %s%sETA %s", p->label, bar, 100.0 * share, detail,
                   detail[0] != '\0' ? "  " : "", eta);
}

static void draw(shoal_progress *p, const char *detail, const char *end)
{
    char line[256];
    double now = shoal_clock_s();
    p->drawn_s = now;
    if (p->total == 0) {
        (void)snprintf(line, sizeof line, "%s  %s", p->label, detail);
    } else {
        compose(p, detail, now, line, sizeof line);
    }
    if (shoal_term_is_live()) {
        (void)fprintf(stderr, "\r%.*s\033[K%s", (int)shoal_term_width() - 1, line, end);
    } else {
        (void)fprintf(stderr, "%s\n", line);
    }
    (void)fflush(stderr);
}

void shoal_progress_begin(shoal_progress *p, const char *label, uint64_t total, uint64_t first,
                          bool quiet)
{
    *p = (shoal_progress){.label = label, .total = total, .done = first, .first = first};
    p->begun_s = shoal_clock_s();
    p->quiet = quiet;
    if (!quiet && shoal_term_is_live()) draw(p, "", "");
}

void shoal_progress_update(shoal_progress *p, uint64_t done, const char *detail)
{
    p->done = done;
    double every = shoal_term_is_live() ? 0.1 : 10.0;
    double since = p->drawn_s > 0.0 ? p->drawn_s : p->begun_s;
    if (p->quiet || shoal_clock_s() - since < every) return;
    draw(p, detail, "");
}

void shoal_progress_end(shoal_progress *p, const char *detail)
{
    if (!p->quiet) draw(p, detail, "\n");
    p->quiet = true;
}
