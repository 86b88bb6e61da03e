/* speculate.c - prompt lookup, and how long a draft is worth its verification. */
#include "lora/infer/speculate.h"

#include <stdbool.h>

/* ---- prompt lookup ----------------------------------------------------------------------------
 */

shoal_ngram_source shoal_ngram_source_init(void)
{
    return (shoal_ngram_source){.max_match = 3, .min_match = 1, .window = 4096};
}

static bool ends_alike(const int32_t *a, const int32_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (a[i] != b[i]) return false;
    }
    return true;
}

/* Where what followed the latest earlier occurrence of the last `match` tokens begins; n if none.
 */
static size_t find_earlier(const int32_t *history, size_t n, size_t match, size_t window)
{
    const int32_t *suffix = history + n - match;
    size_t lowest = n > window ? n - window : 0;
    for (size_t at = n - match; at-- > lowest;) {
        if (history[at] == suffix[0] && ends_alike(history + at, suffix, match)) return at + match;
    }
    return n;
}

size_t shoal_ngram_draft(void *ngram_source, const int32_t *history, size_t n, int32_t *out,
                         size_t max)
{
    const shoal_ngram_source *src = ngram_source;
    for (size_t match = src->max_match; match >= src->min_match && match > 0; match--) {
        if (n <= match) continue;
        size_t from = find_earlier(history, n, match, src->window);
        size_t most = match == 1 && max > 1 ? 1 : max; /* weak evidence, short guess */
        size_t len = 0;
        while (len < most && from + len < n) {
            out[len] = history[from + len];
            len++;
        }
        if (len > 0) return len;
    }
    return 0;
}

/* ---- length -----------------------------------------------------------------------------------
 */

enum { DEFAULT_DRAFT = 3, PROBE_EVERY = 16 };

/* Verifying one token more costs about 0.2 of a plain step on the processors measured, so a draft
 * must be right more often than that; below it, only an occasional probe is worth while. */
static const float RATE_MEMORY = 0.9f;
static const float RATE_LONG = 0.6f;
static const float RATE_MIDDLE = 0.4f;
static const float RATE_SHORT = 0.25f;

shoal_draft_control shoal_draft_control_init(size_t max)
{
    size_t most = max == 0 ? DEFAULT_DRAFT : max;
    return (shoal_draft_control){
        .max = most < SHOAL_DRAFT_MAX ? most : SHOAL_DRAFT_MAX,
        .rate = RATE_LONG, /* begin hopefully: the first rejections correct it */
    };
}

size_t shoal_draft_length(shoal_draft_control *c)
{
    size_t len = 0;
    if (c->rate >= RATE_LONG) {
        len = c->max;
    } else if (c->rate >= RATE_MIDDLE) {
        len = 2;
    } else if (c->rate >= RATE_SHORT || c->idle >= PROBE_EVERY) {
        len = 1;
    }
    c->idle++;
    return len < c->max ? len : c->max;
}

void shoal_draft_report(shoal_draft_control *c, size_t drafted, size_t accepted)
{
    c->drafted += drafted;
    c->accepted += accepted;
    if (drafted == 0) return;
    c->idle = 0;
    float share = (float)accepted / (float)drafted;
    c->rate = RATE_MEMORY * c->rate + (1.0f - RATE_MEMORY) * share;
}
