/* schedule.c - warm-up, then constant, linear or cosine. */
#include "lora/train/schedule.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

float shoal_schedule_lr(const shoal_schedule *s, uint64_t step)
{
    if (step < s->warmup_steps) {
        return (float)((double)s->lr * (double)step / (double)s->warmup_steps);
    }
    if (s->kind == SHOAL_SCHEDULE_CONSTANT || s->total_steps <= s->warmup_steps) {
        return s->lr;
    }
    /* How much of the way from the peak lies behind: 0 at the end of the warm-up (or at step 1), 1
     * one step past the end. */
    uint64_t start = s->warmup_steps > 0 ? s->warmup_steps : 1;
    uint64_t at = step < s->total_steps ? step : s->total_steps;
    double done = at <= start ? 0.0 : (double)(at - start) / (double)(s->total_steps - start + 1);
    double pi = 3.14159265358979323846;
    double left = s->kind == SHOAL_SCHEDULE_COSINE ? 0.5 * (1.0 + cos(pi * done)) : 1.0 - done;
    return (float)((double)s->lr_min + ((double)s->lr - (double)s->lr_min) * left);
}

bool shoal_schedule_parse(const char *text, shoal_schedule_kind *kind)
{
    static const char *const NAMES[] = {"constant", "linear", "cosine"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        if (strcmp(text, NAMES[i]) == 0) {
            *kind = (shoal_schedule_kind)i;
            return true;
        }
    }
    return false;
}
