/* report_html.c - the page of a training run. */
#include <float.h>
#include <math.h>
#include <stdio.h>

#include "client/report.h"
#include "kernels/base/term.h"

/* A chart in its own units; the page scales it. */
enum { WIDTH = 640, HEIGHT = 200, LEFT = 64, RIGHT = 12, TOP = 12, BOTTOM = 28 };

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<title>Training report</title>\n<style>\n"
    ":root{color-scheme:light dark;--ink:#1b2733;--soft:#5b6b7a;--line:#d4dce3;--bg:#fff;"
    "--curve:#0b6bcb;--good:#1a7f47;--bad:#b3261e}\n"
    "@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa8b5;--line:#33404c;"
    "--bg:#11181f;--curve:#6cb2ff;--good:#5fd08f;--bad:#ff8a80}}\n"
    "body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--bg);max-width:44rem;"
    "margin:2rem auto;padding:0 1rem}\n"
    "h1{font-size:1.5rem;margin:0 0 .25rem}h2{font-size:1.05rem;margin:1.75rem 0 .25rem}\n"
    "p{margin:.25rem 0}.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}\n"
    "table{border-collapse:collapse;width:100%;margin-top:1rem}"
    "th,td{text-align:left;padding:.35rem .75rem .35rem 0;border-bottom:1px solid var(--line);"
    "vertical-align:top;overflow-wrap:anywhere}th{font-weight:500;color:var(--soft);"
    "white-space:nowrap}\n"
    "svg{width:100%;height:auto;display:block}svg text{font-size:12px;fill:var(--soft)}\n"
    ".axis{stroke:var(--line);fill:none}.curve{stroke:var(--curve);stroke-width:2;fill:none;"
    "stroke-linejoin:round}.dot{fill:var(--curve)}\n"
    "</style>\n</head>\n<body>\n";

static void put_escaped(shoal_buf *b, const char *s)
{
    for (; *s != '\0'; s++) {
        switch (*s) {
        case '&': shoal_buf_put_str(b, "&amp;"); break;
        case '<': shoal_buf_put_str(b, "&lt;"); break;
        case '>': shoal_buf_put_str(b, "&gt;"); break;
        case '"': shoal_buf_put_str(b, "&quot;"); break;
        case '\'': shoal_buf_put_str(b, "&#39;"); break;
        default:
            if ((unsigned char)*s >= 0x20) shoal_buf_put(b, s, 1);
        }
    }
}

/* ---- figures --------------------------------------------------------------------------------- */

static void put_row(shoal_buf *b, const char *name, const char *value, const char *note)
{
    shoal_buf_putf(b, "<tr><th scope=\"row\">%s</th><td>", name);
    put_escaped(b, value);
    if (note != NULL) {
        shoal_buf_put_str(b, " <span class=\"soft\">");
        put_escaped(b, note);
        shoal_buf_put_str(b, "</span>");
    }
    shoal_buf_put_str(b, "</td></tr>\n");
}

static void put_change(shoal_buf *b, const char *name, double before, double after,
                       const char *note)
{
    char text[96];
    (void)snprintf(text, sizeof text, "%.4f \xe2\x86\x92 %.4f (%+.4f)", before, after,
                   after - before);
    put_row(b, name, text, note);
}

static void put_figures(shoal_buf *b, const shoal_report *r)
{
    char text[96];
    char memory[24];
    char time[24];
    shoal_buf_put_str(b, "<table>\n");
    put_change(b, "Held-out loss", r->loss_before, r->loss_after, r->held_name);
    put_change(b, "General text", r->general_before, r->general_after, r->general_name);
    shoal_format_seconds(r->seconds, time, sizeof time);
    (void)snprintf(text, sizeof text, "%.0f tokens/s", shoal_report_tokens_per_s(r));
    put_row(b, "Speed", text, NULL);
    (void)snprintf(text, sizeof text, "%s, %llu steps, %llu tokens", time,
                   (unsigned long long)r->steps, (unsigned long long)r->tokens);
    put_row(b, "Time", text, NULL);
    if (r->best_step > 0) {
        (void)snprintf(text, sizeof text, "step %llu", (unsigned long long)r->best_step);
        put_row(b, "Best", text, r->ended_early ? "training ended early" : NULL);
    }
    shoal_format_bytes(r->peak_rss, memory, sizeof memory);
    put_row(b, "Peak memory", memory, NULL);
    if (r->cached_share > 0.0) {
        (void)snprintf(text, sizeof text, "%.0f %% of rows read", 100.0 * r->cached_share);
        put_row(b, "Cache of lower layers", text, NULL);
    }
    (void)snprintf(text, sizeof text, "%.1f J", r->energy.joules);
    put_row(b, "Energy", text, r->energy.note);
    (void)snprintf(text, sizeof text, "rank %zu, %zu parameters", r->rank, r->n_params);
    put_row(b, "Adapter", r->adapter, text);
    put_row(b, "Model", r->model, NULL);
    (void)snprintf(text, sizeof text, "%zu trained on, %zu measured on", r->n_train, r->n_held);
    put_row(b, "Data", r->data, text);
    shoal_buf_put_str(b, "</table>\n");
}

static void put_verdict(shoal_buf *b, const shoal_report *r)
{
    shoal_buf_put_str(b, "<h1>Training report</h1>\n");
    if (r->better) {
        shoal_buf_put_str(b, "<p class=\"good\">Held-out loss went down: the adapter helps on text "
                             "it was not trained on.</p>\n");
    } else {
        shoal_buf_putf(b, "<p class=\"bad\">Held-out loss went up: the adapter %s.</p>\n",
                       r->activated ? "was kept because that was asked for" : "is not used");
    }
}

/* ---- curves ---------------------------------------------------------------------------------- */

typedef double shoal_point_value(const shoal_report_point *p);

static double loss_of(const shoal_report_point *p)
{
    return p->loss;
}

static double lr_of(const shoal_report_point *p)
{
    return p->lr;
}

static double norm_of(const shoal_report_point *p)
{
    return p->grad_norm;
}

typedef struct chart {
    const char *title;
    shoal_point_value *value;
    double low, high; /* of the values */
} chart;

static void find_range(chart *c, const shoal_report *r)
{
    c->low = DBL_MAX;
    c->high = -DBL_MAX;
    for (size_t i = 0; i < r->n_points; i++) {
        double v = c->value(&r->points[i]);
        if (!isfinite(v)) continue;
        c->low = v < c->low ? v : c->low;
        c->high = v > c->high ? v : c->high;
    }
    if (c->low > c->high) c->low = c->high = 0.0;
    if (c->low == c->high) { /* a level curve lies in the middle */
        double pad = c->low == 0.0 ? 1.0 : 0.5 * fabs(c->low);
        c->low -= pad;
        c->high += pad;
    }
}

static double x_of(const shoal_report *r, size_t i)
{
    double first = (double)r->points[0].step;
    double last = (double)r->points[r->n_points - 1].step;
    double share = last > first ? ((double)r->points[i].step - first) / (last - first) : 0.5;
    return LEFT + share * (WIDTH - LEFT - RIGHT);
}

static double y_of(const chart *c, double v)
{
    return TOP + (c->high - v) / (c->high - c->low) * (HEIGHT - TOP - BOTTOM);
}

static void put_curve(shoal_buf *b, const shoal_report *r, const chart *c)
{
    if (r->n_points == 1) {
        shoal_buf_putf(b, "<circle class=\"dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", x_of(r, 0),
                       y_of(c, c->value(&r->points[0])));
        return;
    }
    shoal_buf_put_str(b, "<polyline class=\"curve\" points=\"");
    for (size_t i = 0; i < r->n_points; i++) {
        double v = c->value(&r->points[i]);
        if (isfinite(v)) shoal_buf_putf(b, "%.1f,%.1f ", x_of(r, i), y_of(c, v));
    }
    shoal_buf_put_str(b, "\"/>\n");
}

static void put_chart(shoal_buf *b, const shoal_report *r, chart c)
{
    find_range(&c, r);
    shoal_buf_putf(b,
                   "<h2>%s</h2>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s by step, "
                   "%.4g to %.4g\">\n<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n",
                   c.title, WIDTH, HEIGHT, c.title, c.low, c.high, LEFT, TOP, HEIGHT - BOTTOM,
                   WIDTH - RIGHT);
    for (int i = 0; i <= 2; i++) {
        double v = c.low + 0.5 * i * (c.high - c.low);
        shoal_buf_putf(b, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.3g</text>\n", LEFT - 6,
                       y_of(&c, v) + 4.0, v);
    }
    shoal_buf_putf(b,
                   "<text x=\"%d\" y=\"%d\">step %llu</text>\n"
                   "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%llu</text>\n",
                   LEFT, HEIGHT - 8, (unsigned long long)r->points[0].step, WIDTH - RIGHT,
                   HEIGHT - 8, (unsigned long long)r->points[r->n_points - 1].step);
    put_curve(b, r, &c);
    shoal_buf_put_str(b, "</svg>\n");
}

shoal_status shoal_report_html(const shoal_report *r, shoal_buf *out, shoal_error *err)
{
    shoal_buf_put_str(out, head);
    put_verdict(out, r);
    put_figures(out, r);
    if (r->n_points > 0) {
        put_chart(out, r, (chart){.title = "Training loss", .value = loss_of});
        put_chart(out, r, (chart){.title = "Learning rate", .value = lr_of});
        put_chart(out, r, (chart){.title = "Gradient norm before clipping", .value = norm_of});
    }
    shoal_buf_put_str(out, "</body>\n</html>\n");
    return shoal_buf_status(out, err);
}
