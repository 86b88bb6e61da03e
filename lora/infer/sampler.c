/* sampler.c - selection from a heap: only as many candidates are ordered as the cuts leave. */
#include "lora/infer/sampler.h"

#include <math.h>
#include <stdbool.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

typedef struct candidate {
    float score; /* logit / temperature; without cuts the weight itself */
    int32_t id;
} candidate;

struct shoal_sampler {
    shoal_sampling how;
    shoal_rng rng;
    size_t n_vocab;
    candidate *heap; /* [n_vocab] */
    candidate *kept; /* [n_vocab] best first */
};

int32_t shoal_argmax(const float *logits, size_t n)
{
    size_t best = 0;
    float top = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        if (logits[i] > top) {
            top = logits[i];
            best = i;
        }
    }
    return (int32_t)best;
}

shoal_status shoal_sampler_open(shoal_sampler **out, const shoal_sampling *how, size_t n_vocab,
                                shoal_error *err)
{
    *out = NULL;
    bool sound = how->temperature >= 0.0f && isfinite(how->temperature) && how->top_p >= 0.0f &&
                 how->top_p <= 1.0f && how->min_p >= 0.0f && how->min_p <= 1.0f && n_vocab > 0;
    if (!sound) {
        (void)shoal_fail(err, SHOAL_ERR_ARG, "sampling settings out of range");
        shoal_hint(err, "temperature is 0 or more; top-p and min-p are between 0 and 1");
        return SHOAL_ERR_ARG;
    }
    shoal_sampler *s = shoal_calloc(1, sizeof *s);
    if (s == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    s->how = *how;
    s->rng = shoal_rng_init(how->seed);
    s->n_vocab = n_vocab;
    s->heap = shoal_calloc(n_vocab, sizeof *s->heap);
    s->kept = shoal_calloc(n_vocab, sizeof *s->kept);
    if (s->heap == NULL || s->kept == NULL) {
        shoal_sampler_close(s);
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    }
    *out = s;
    return SHOAL_OK;
}

void shoal_sampler_close(shoal_sampler *s)
{
    if (s == NULL) return;
    shoal_free(s->heap);
    shoal_free(s->kept);
    shoal_free(s);
}

/* ---- candidates in order ----------------------------------------------------------------------
 */

static bool better(candidate a, candidate b)
{
    return a.score != b.score ? a.score > b.score : a.id < b.id;
}

/* Lets the item at i sink to its place. */
static void sink_down(candidate *heap, size_t n, size_t i)
{
    candidate item = heap[i];
    for (size_t child = 2 * i + 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && better(heap[child + 1], heap[child])) child++;
        if (!better(heap[child], item)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = item;
}

static void make_heap(candidate *heap, size_t n)
{
    for (size_t i = n / 2; i-- > 0;) {
        sink_down(heap, n, i);
    }
}

static candidate take_best(candidate *heap, size_t *n)
{
    candidate best = heap[0];
    heap[0] = heap[--*n];
    if (*n > 0) sink_down(heap, *n, 0);
    return best;
}

/* ---- drawing ----------------------------------------------------------------------------------
 */

/* Weight relative to the best, exp(score - top); not a number counts as impossible. */
static double weight(float score, float top)
{
    double w = exp((double)score - (double)top);
    return w > 0.0 ? w : 0.0;
}

/* Without cuts: over all ids in their order, nothing sorted. The heap only keeps the weights. */
static int32_t draw_from_all(shoal_sampler *s, const float *logits, double u)
{
    int32_t best = shoal_argmax(logits, s->n_vocab);
    float t = s->how.temperature;
    float top = logits[best] / t;
    double total = 0.0;
    for (size_t i = 0; i < s->n_vocab; i++) {
        s->heap[i].score = (float)weight(logits[i] / t, top);
        total += (double)s->heap[i].score;
    }
    double left = u * total;
    for (size_t i = 0; i < s->n_vocab; i++) {
        double w = (double)s->heap[i].score;
        if (left < w) return (int32_t)i;
        left -= w;
    }
    return best; /* rounding left a crumb, or no logit is a number */
}

/* Sum of the weights of n candidates. */
static double mass_of(const candidate *c, size_t n, float top)
{
    double mass = 0.0;
    for (size_t i = 0; i < n; i++) {
        mass += weight(c[i].score, top);
    }
    return mass;
}

/* Takes the best candidates into `kept` as far as top-k, top-p and min-p reach. The mass that top-p
 * is a share of is that of the top-k alone, which is why these are taken first. */
static size_t cut(shoal_sampler *s, size_t n_heap)
{
    const shoal_sampling *how = &s->how;
    float top = s->heap[0].score;
    bool cut_p = how->top_p > 0.0f && how->top_p < 1.0f;
    bool cut_k = how->top_k > 0 && how->top_k < n_heap;
    double mass = 0.0;
    if (cut_k) {
        for (size_t i = 0; i < how->top_k; i++) {
            s->kept[i] = take_best(s->heap, &n_heap);
        }
        n_heap = how->top_k;
        mass = mass_of(s->kept, n_heap, top);
    } else {
        mass = mass_of(s->heap, n_heap, top);
    }
    double want = cut_p ? (double)how->top_p * mass : (double)INFINITY;
    double have = 0.0;
    size_t n = 0;
    for (size_t left = n_heap; n < n_heap && (n == 0 || have < want); n++) {
        if (!cut_k) s->kept[n] = take_best(s->heap, &left);
        double w = weight(s->kept[n].score, top);
        if (n > 0 && w < (double)how->min_p) break;
        have += w;
    }
    return n;
}

static int32_t draw_from_kept(const shoal_sampler *s, size_t n, double u)
{
    float top = s->kept[0].score;
    double left = u * mass_of(s->kept, n, top);
    for (size_t i = 0; i < n; i++) {
        double w = weight(s->kept[i].score, top);
        if (left < w) return s->kept[i].id;
        left -= w;
    }
    return s->kept[0].id;
}

int32_t shoal_sampler_next(shoal_sampler *s, const float *logits)
{
    const shoal_sampling *how = &s->how;
    if (how->temperature == 0.0f) return shoal_argmax(logits, s->n_vocab);
    double u = shoal_rng_double(&s->rng);
    bool cuts = how->top_k > 0 || (how->top_p > 0.0f && how->top_p < 1.0f) || how->min_p > 0.0f;
    if (!cuts) return draw_from_all(s, logits, u);

    size_t n_heap = 0;
    for (size_t i = 0; i < s->n_vocab; i++) {
        float score = logits[i] / how->temperature;
        if (score > -INFINITY) s->heap[n_heap++] = (candidate){score, (int32_t)i};
    }
    if (n_heap == 0) return 0;
    make_heap(s->heap, n_heap);
    return draw_from_kept(s, cut(s, n_heap), u);
}
