/* report.c - collecting what a run tells; the page is report_html.c. */
#include "client/report.h"

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
