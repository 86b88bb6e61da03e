/* report.c - collecting what a run tells; the page is report_html.c. */
#include "client/report.h"

#include <string.h>

enum { HISTORY_VERSION = 1 };

/* b into a, weighted by their numbers of steps. */
static void merge_points(shoal_report_point *a, const shoal_report_point *b, double na, double nb)
{
    double share = nb / (na + nb);
    a->loss += share * (b->loss - a->loss);
    a->lr += share * (b->lr - a->lr);
    a->grad_norm += share * (b->grad_norm - a->grad_norm);
}

static void halve(shoal_report *r)
{
    for (size_t i = 0; i < r->n_points / 2; i++) {
        shoal_report_point p = r->points[2 * i];
        merge_points(&p, &r->points[2 * i + 1], 1.0, 1.0);
        r->points[i] = p;
    }
    r->n_points /= 2;
    r->stride *= 2;
    r->in_last = r->stride;
}

void shoal_report_step(shoal_report *r, const shoal_train_step *s, double seconds)
{
    const shoal_report_point p = {s->step, s->loss, (double)s->lr, s->grad_norm};
    r->steps++;
    r->tokens += s->tokens;
    r->seconds += seconds;
    if (r->stride == 0) r->stride = r->in_last = 1;
    if (r->n_points > 0 && r->in_last < r->stride) {
        merge_points(&r->points[r->n_points - 1], &p, (double)r->in_last, 1.0);
        r->in_last++;
        return;
    }
    if (r->n_points == SHOAL_REPORT_POINTS) halve(r);
    r->points[r->n_points++] = p;
    r->in_last = 1;
}

double shoal_report_tokens_per_s(const shoal_report *r)
{
    return r->seconds > 0.0 ? (double)r->tokens / r->seconds : 0.0;
}

/* ---- kept in checkpoints ----------------------------------------------------------------------
 * u32 version  u64 steps  u64 tokens  f64 seconds  f64 joules  u64 stride  u64 in_last  u32
 * n_points n_points times: u64 step  f64 loss  f64 lr  f64 grad_norm little-endian */

static void put_double(shoal_buf *b, double v)
{
    uint64_t bits = 0;
    memcpy(&bits, &v, sizeof bits);
    (void)shoal_buf_put_u64(b, bits);
}

static double get_double(shoal_cursor *c)
{
    uint64_t bits = shoal_cursor_u64(c);
    double v = 0.0;
    memcpy(&v, &bits, sizeof v);
    return v;
}

void shoal_report_encode(const shoal_report *r, double joules, shoal_buf *out)
{
    shoal_buf_put_u32(out, HISTORY_VERSION);
    shoal_buf_put_u64(out, r->steps);
    shoal_buf_put_u64(out, r->tokens);
    put_double(out, r->seconds);
    put_double(out, r->joules_before + joules);
    shoal_buf_put_u64(out, r->stride);
    shoal_buf_put_u64(out, r->in_last);
    shoal_buf_put_u32(out, (uint32_t)r->n_points);
    for (size_t i = 0; i < r->n_points; i++) {
        const shoal_report_point *p = &r->points[i];
        shoal_buf_put_u64(out, p->step);
        put_double(out, p->loss);
        put_double(out, p->lr);
        put_double(out, p->grad_norm);
    }
}

/* Can steps have left it like this? */
static bool is_sound(const shoal_report *r, const shoal_cursor *c)
{
    if (!shoal_cursor_done(c)) return false;
    for (size_t i = 0; i < r->n_points; i++) {
        if (r->points[i].step <= (i == 0 ? 0 : r->points[i - 1].step)) return false;
    }
    return r->n_points == 0 ? r->steps == 0 : r->in_last >= 1 && r->in_last <= r->stride;
}

shoal_status shoal_report_decode(shoal_report *r, const void *data, size_t n, shoal_error *err)
{
    shoal_cursor c = shoal_cursor_init(data, n);
    shoal_report past = *r;
    if (n == 0) return SHOAL_OK;
    bool known = shoal_cursor_u32(&c) == HISTORY_VERSION;
    past.steps = shoal_cursor_u64(&c);
    past.tokens = shoal_cursor_u64(&c);
    past.seconds = get_double(&c);
    past.joules_before = get_double(&c);
    past.stride = shoal_cursor_u64(&c);
    past.in_last = shoal_cursor_u64(&c);
    past.n_points = shoal_cursor_u32(&c);
    known = known && past.n_points <= SHOAL_REPORT_POINTS;
    for (size_t i = 0; known && i < past.n_points; i++) {
        past.points[i].step = shoal_cursor_u64(&c);
        past.points[i].loss = get_double(&c);
        past.points[i].lr = get_double(&c);
        past.points[i].grad_norm = get_double(&c);
    }
    if (!known || !is_sound(&past, &c)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "the history of the run is damaged");
    }
    *r = past;
    return SHOAL_OK;
}
