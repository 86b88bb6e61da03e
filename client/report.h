/* report.h - what a training run tells at its end: figures for a terminal, a page with curves.
 *
 * Layer: client. Threads: one owner. A step allocates nothing.
 */
#ifndef SHOAL_CLIENT_REPORT_H
#define SHOAL_CLIENT_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/energy.h"
#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "lora/train/loop.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_REPORT_POINTS = 192 };

/* Means over the steps from `step` (1-based) on. */
typedef struct shoal_report_point {
    uint64_t step;
    double loss, lr, grad_norm;
} shoal_report_point;

typedef struct shoal_report {
    /* Texts, borrowed; shown as they are, whatever they hold. */
    const char *model, *data, *held_name, *general_name, *adapter;
    size_t rank, n_params, n_train, n_held;
    double loss_before, loss_after;       /* on held-out text, nats a token */
    double general_before, general_after; /* on a general text: what was forgotten */
    bool better;                          /* loss_after is not above loss_before */
    bool activated;                       /* the adapter has the name that was asked for */
    uint64_t best_step;                   /* whose adapter it is, by held-out loss; 0: the last's */
    bool ended_early;                     /* no better one was in sight */
    uint64_t steps, tokens;               /* of the whole run, however often it was resumed */
    double seconds;                       /* in steps */
    double joules_before;                 /* of its parts before the last --resume */
    uint64_t peak_rss;
    double cached_share; /* of the rows of frozen lower layers, read instead of computed */
    shoal_energy energy; /* of all parts; its source is the last one's */
    shoal_report_point points[SHOAL_REPORT_POINTS];
    size_t n_points;
    uint64_t stride, in_last; /* steps a point is a mean of; steps in the last one so far */
} shoal_report;

/* Adds a finished step of `seconds`. The curve keeps at most SHOAL_REPORT_POINTS points: when they
 * are used up, neighbours are merged. */
void shoal_report_step(shoal_report *r, const shoal_train_step *s, double seconds);

/* What was seen so far as bytes, for a checkpoint's notes, and back: a resumed run goes on with the
 * curve. `joules` are those of this part alone. No bytes at all are a run without a past; anything
 * that encode cannot have written is SHOAL_ERR_FORMAT, and *r is then as it was. */
void shoal_report_encode(const shoal_report *r, double joules, shoal_buf *out);
SHOAL_MUST_USE shoal_status shoal_report_decode(shoal_report *r, const void *data, size_t n,
                                                shoal_error *err);

double shoal_report_tokens_per_s(const shoal_report *r);

/* One self-contained page: no script, nothing loaded from elsewhere, all texts escaped, light and
 * dark. */
SHOAL_MUST_USE shoal_status shoal_report_html(const shoal_report *r, shoal_buf *out,
                                              shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
