/* residency.c - a window of parts over the mapped weights, and the thread that reads ahead. */
#include "lora/model/residency.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "lora/model/gguf.h"
#include "lora/model/pages.h"

enum {
    ROW_UNIT = 64,       /* rows of a slice of the head: whole groups of every packed type */
    JOIN_GAP = 64 * 1024 /* ranges nearer than this are read as one */
};
#define NO_PART SIZE_MAX

typedef struct span {
    const unsigned char *p;
    size_t n;
} span;

typedef enum part_state { ABSENT, LOADING, PRESENT } part_state;

typedef struct part {
    size_t first_span, n_spans;
    size_t bytes; /* resident at most */
    bool kept;
    part_state state;
} part;

struct shoal_residency {
    shoal_mapping map;
    span *spans;
    part *parts; /* [n_parts] */
    size_t n_parts;
    size_t n_layer; /* what lies in [n_layer, n_parts) are slices of the head */
    shoal_mat head;
    size_t slice_rows; /* 0: the head is no part, all of it may stay */
    size_t window;     /* bytes of parts that are not kept, at once */

    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* of what follows, and of all states */
    pthread_cond_t work;  /* for the thread: there may be room, or it is to stop */
    pthread_cond_t ready; /* for the user: a part is there */
    bool stop;
    size_t from; /* parts below are not read ahead: they are not in use */
    size_t last; /* the part needed last, and the direction that follows from the last two */
    bool backwards;
    size_t next;   /* the part to be read next; NO_PART: nothing is missing */
    size_t loaded; /* bytes of parts not kept that are in memory or on their way */
    size_t kept_loaded;
    shoal_residency_stats stats;
};

/* ---- parts ------------------------------------------------------------------------------------
 */

/* Weights, norms and biases of a layer. */
enum { LAYER_SPANS = SHOAL_N_PROJ + 9 };

static void add_span(span *out, size_t *n, const void *p, size_t bytes)
{
    if (p == NULL || bytes == 0) return;
    out[(*n)++] = (span){p, bytes};
}

static int by_place(const void *a, const void *b)
{
    const span *x = a;
    const span *y = b;
    return (x->p > y->p) - (x->p < y->p);
}

/* Sorts and joins neighbours; how many are left. */
static size_t join_spans(span *s, size_t n)
{
    qsort(s, n, sizeof *s, by_place);
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (used > 0 && s[i].p <= s[used - 1].p + s[used - 1].n + JOIN_GAP) {
            s[used - 1].n = (size_t)(s[i].p - s[used - 1].p) + s[i].n;
        } else {
            s[used++] = s[i];
        }
    }
    return used;
}

static size_t layer_spans(const shoal_model *m, size_t layer, span out[LAYER_SPANS])
{
    const shoal_layer *l = &m->layers[layer];
    const shoal_config *c = &m->cfg;
    size_t n = 0;
    for (size_t p = 0; p < SHOAL_N_PROJ; p++) {
        add_span(out, &n, l->proj[p].data, l->proj[p].rows * l->proj[p].row_bytes);
    }
    for (size_t i = 0; i < 3; i++) {
        add_span(out, &n, l->bias[i], l->proj[i].rows * sizeof(float));
    }
    add_span(out, &n, l->attn_norm, c->n_embd * sizeof(float));
    add_span(out, &n, l->ffn_norm, c->n_embd * sizeof(float));
    add_span(out, &n, l->q_norm, c->head_dim * sizeof(float));
    add_span(out, &n, l->k_norm, c->head_dim * sizeof(float));
    add_span(out, &n, l->post_attn_norm, c->n_embd * sizeof(float));
    add_span(out, &n, l->post_ffn_norm, c->n_embd * sizeof(float));
    return join_spans(out, n);
}

static size_t spans_bytes(const span *s, size_t n)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        total += shoal_pages_bytes(s[i].p, s[i].n);
    }
    return total;
}

static size_t layer_bytes(const shoal_model *m, size_t layer)
{
    span spans[LAYER_SPANS];
    size_t n = layer_spans(m, layer, spans);
    return spans_bytes(spans, n);
}

static size_t largest_layer(const shoal_model *m)
{
    size_t most = 0;
    for (size_t i = 0; i < m->cfg.n_layer; i++) {
        size_t bytes = layer_bytes(m, i);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* Slices of the head are as large as the largest layer: smaller ones would not make the window
 * smaller. */
static size_t head_slice_rows(const shoal_model *m)
{
    size_t room = largest_layer(m);
    room = room > 2 * SHOAL_PAGES_WINDOW ? room - 2 * SHOAL_PAGES_WINDOW : 0;
    size_t rows = room / m->head.row_bytes / ROW_UNIT * ROW_UNIT;
    if (rows < ROW_UNIT) rows = ROW_UNIT;
    return rows < m->head.rows ? rows : m->head.rows;
}

static size_t slice_count(const shoal_mat *head, size_t slice_rows)
{
    return (head->rows + slice_rows - 1) / slice_rows;
}

static shoal_mat slice_of(const shoal_mat *head, size_t slice_rows, size_t i, size_t *first_row)
{
    *first_row = i * slice_rows;
    size_t left = head->rows - *first_row;
    return shoal_mat_rows(head, *first_row, left < slice_rows ? left : slice_rows);
}

static size_t slice_bytes(const shoal_mat *w)
{
    return shoal_pages_bytes(w->data, w->rows * w->row_bytes);
}

size_t shoal_residency_least(const shoal_model *m)
{
    size_t most = largest_layer(m);
    size_t rows = head_slice_rows(m);
    size_t slice = rows * m->head.row_bytes + 2 * (size_t)SHOAL_PAGES_WINDOW;
    return 2 * (slice > most ? slice : most) + SHOAL_PAGES_WINDOW; /* and a row of the embedding */
}

size_t shoal_residency_least_layers(const shoal_model *m)
{
    return 2 * largest_layer(m) + SHOAL_PAGES_WINDOW;
}

static size_t all_layers(const shoal_model *m)
{
    size_t total = 0;
    for (size_t i = 0; i < m->cfg.n_layer; i++) {
        total += layer_bytes(m, i);
    }
    return total;
}

size_t shoal_residency_most_layers(const shoal_model *m)
{
    return shoal_residency_least_layers(m) + all_layers(m);
}

size_t shoal_residency_most(const shoal_model *m)
{
    size_t total = shoal_residency_least(m) + all_layers(m);
    size_t rows = head_slice_rows(m);
    size_t first = 0;
    for (size_t i = 0; i < slice_count(&m->head, rows); i++) {
        shoal_mat w = slice_of(&m->head, rows, i, &first);
        total += slice_bytes(&w);
    }
    return total;
}

static void fill_parts(shoal_residency *r, const shoal_model *m)
{
    size_t used = 0;
    for (size_t i = 0; i < r->n_parts; i++) {
        part *p = &r->parts[i];
        p->first_span = used;
        if (i < r->n_layer) {
            p->n_spans = layer_spans(m, i, r->spans + used);
        } else {
            size_t first = 0;
            shoal_mat w = slice_of(&r->head, r->slice_rows, i - r->n_layer, &first);
            r->spans[used] = (span){w.data, w.rows * w.row_bytes};
            p->n_spans = 1;
        }
        p->bytes = spans_bytes(r->spans + used, p->n_spans);
        used += p->n_spans;
    }
}

/* All spans in the order of the file, every second one an area of its own, so that no fault maps a
 * neighbour that is not wanted. What lies before, between and after them is even. */
static void keep_apart(shoal_residency *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_parts; i++) {
        n += r->parts[i].n_spans;
    }
    span *s = shoal_calloc(n, sizeof *s);
    if (s == NULL) return; /* a few megabytes of neighbours more */
    memcpy(s, r->spans, n * sizeof *s);
    qsort(s, n, sizeof *s, by_place);
    for (size_t i = 0; i < n; i++) {
        shoal_pages_part(r->map, s[i].p, s[i].n, i % 2 == 0);
    }
    shoal_free(s);
}

/* Whether part i is one of `keep` parts spread evenly over n. */
static bool is_spread(size_t i, size_t keep, size_t n)
{
    return (i + 1) * keep / n > i * keep / n;
}

/* Keeps as many parts as `room` bytes hold. */
static void choose_kept(shoal_residency *r, size_t room)
{
    size_t keep = r->n_parts;
    size_t bytes = 0;
    for (;; keep--) {
        bytes = 0;
        for (size_t i = 0; i < r->n_parts; i++) {
            bytes += is_spread(i, keep, r->n_parts) ? r->parts[i].bytes : 0;
        }
        if (bytes <= room) break;
    }
    for (size_t i = 0; i < r->n_parts; i++) {
        r->parts[i].kept = is_spread(i, keep, r->n_parts);
    }
    r->stats.n_kept = keep;
    r->stats.kept_bytes = bytes;
}

/* ---- reading ahead ----------------------------------------------------------------------------
 */

static void fetch(const shoal_residency *r, const part *p)
{
    for (size_t i = 0; i < p->n_spans; i++) {
        const span *s = &r->spans[p->first_span + i];
        shoal_pages_fetch(r->map, s->p, s->n);
    }
}

static void drop(const shoal_residency *r, const part *p)
{
    for (size_t i = 0; i < p->n_spans; i++) {
        const span *s = &r->spans[p->first_span + i];
        shoal_pages_drop(r->map, s->p, s->n);
    }
}

/* The first part after i, in the order of use (training's second half goes from the top down), that
 * is not kept in memory already. */
static size_t part_after(const shoal_residency *r, size_t i)
{
    for (size_t k = 1; k <= r->n_parts; k++) {
        size_t j = (r->backwards ? i + r->n_parts - k : i + k) % r->n_parts;
        if (j >= r->from && (!r->parts[j].kept || r->parts[j].state == ABSENT)) return j;
    }
    return NO_PART;
}

static bool can_load(const shoal_residency *r)
{
    if (r->next == NO_PART || r->parts[r->next].state != ABSENT) return false;
    const part *p = &r->parts[r->next];
    return p->kept || r->loaded + p->bytes <= r->window;
}

static void count(shoal_residency *r, part *p, bool in)
{
    size_t *sum = p->kept ? &r->kept_loaded : &r->loaded;
    *sum = in ? *sum + p->bytes : *sum - p->bytes;
    size_t now = r->loaded + r->kept_loaded;
    if (now > r->stats.peak_bytes) r->stats.peak_bytes = now;
}

/* Lock held; given up while reading. */
static void load_next(shoal_residency *r)
{
    size_t i = r->next;
    part *p = &r->parts[i];
    p->state = LOADING;
    count(r, p, true);
    pthread_mutex_unlock(&r->lock);
    fetch(r, p);
    pthread_mutex_lock(&r->lock);
    p->state = PRESENT;
    r->stats.loads++;
    r->stats.loaded_bytes += p->bytes;
    if (r->next == i) {
        r->next = part_after(r, i);
    } else if (!p->kept) { /* meanwhile the user wants another one */
        drop(r, p);
        p->state = ABSENT;
        count(r, p, false);
    }
    pthread_cond_signal(&r->ready);
}

static void *read_ahead(void *arg)
{
    shoal_residency *r = arg;
    pthread_mutex_lock(&r->lock);
    while (!r->stop) {
        if (can_load(r)) {
            load_next(r);
        } else {
            pthread_cond_wait(&r->work, &r->lock);
        }
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Lock held. The order was left (a prompt in several chunks uses no head between them): what was
 * read ahead makes room for part i. */
static void turn_to(shoal_residency *r, size_t i)
{
    for (size_t j = 0; j < r->n_parts; j++) {
        part *p = &r->parts[j];
        if (p->kept || p->state != PRESENT) continue;
        drop(r, p);
        p->state = ABSENT;
        count(r, p, false);
    }
    r->next = i;
    pthread_cond_signal(&r->work);
}

void shoal_residency_need(const shoal_model *m, size_t i)
{
    shoal_residency *r = m->residency;
    if (r == NULL || i >= r->n_parts) return;
    pthread_mutex_lock(&r->lock);
    r->stats.needs++;
    if (i != r->last) r->backwards = i + 1 == r->last;
    r->last = i;
    if (r->parts[i].state == ABSENT && (r->next != i || !can_load(r))) turn_to(r, i);
    while (r->parts[i].state != PRESENT) {
        pthread_cond_wait(&r->ready, &r->lock);
    }
    pthread_mutex_unlock(&r->lock);
}

void shoal_residency_use_from(const shoal_model *m, size_t first)
{
    shoal_residency *r = m->residency;
    if (r == NULL || first >= r->n_parts) return;
    pthread_mutex_lock(&r->lock);
    r->from = first;
    if (r->next != NO_PART && r->next < first) {
        r->next = first;
        pthread_cond_signal(&r->work);
    }
    pthread_mutex_unlock(&r->lock);
}

void shoal_residency_done(const shoal_model *m, size_t i)
{
    shoal_residency *r = m->residency;
    if (r == NULL || i >= r->n_parts || r->parts[i].kept) return;
    drop(r, &r->parts[i]); /* first, so that the thread does not fill the room before it is there */
    pthread_mutex_lock(&r->lock);
    if (r->parts[i].state == PRESENT) {
        r->parts[i].state = ABSENT;
        count(r, &r->parts[i], false);
    }
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->lock);
}

/* ---- open and close ---------------------------------------------------------------------------
 */

static shoal_status too_small(size_t least, size_t budget, shoal_error *err)
{
    (void)shoal_fail(err, SHOAL_ERR_TOO_LARGE,
                     "%zu bytes for weights; this model is read in parts and needs %zu", budget,
                     least);
    shoal_hint(err, "give it more memory, or use a model with smaller layers");
    return SHOAL_ERR_TOO_LARGE;
}

static shoal_status start(shoal_residency *r, shoal_error *err)
{
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->work, NULL);
    pthread_cond_init(&r->ready, NULL);
    if (pthread_create(&r->thread, NULL, read_ahead, r) != 0) {
        pthread_cond_destroy(&r->ready);
        pthread_cond_destroy(&r->work);
        pthread_mutex_destroy(&r->lock);
        return shoal_fail(err, SHOAL_ERR_NOMEM, "cannot start the thread that reads ahead");
    }
    r->running = true;
    return SHOAL_OK;
}

static void close_residency(shoal_residency *r)
{
    if (r->running) {
        pthread_mutex_lock(&r->lock);
        r->stop = true;
        pthread_cond_signal(&r->work);
        pthread_mutex_unlock(&r->lock);
        pthread_join(r->thread, NULL);
        pthread_cond_destroy(&r->ready);
        pthread_cond_destroy(&r->work);
        pthread_mutex_destroy(&r->lock);
    }
    shoal_free(r->spans);
    shoal_free(r->parts);
    shoal_free(r);
}

/* The window is the least that works: two parts, one in use and one on its way. What is left of the
 * budget keeps parts. */
static shoal_status cut(shoal_residency *r, const shoal_model *m, size_t budget, bool head,
                        shoal_error *err)
{
    size_t least = head ? shoal_residency_least(m) : shoal_residency_least_layers(m);
    r->map = shoal_gguf_mapping(m->gguf);
    r->n_layer = m->cfg.n_layer;
    r->head = m->head;
    r->slice_rows = head ? head_slice_rows(m) : 0;
    size_t slices = head ? slice_count(&r->head, r->slice_rows) : 0;
    r->n_parts = r->n_layer + slices;
    r->parts = shoal_calloc(r->n_parts, sizeof *r->parts);
    r->spans = shoal_calloc(r->n_layer * LAYER_SPANS + slices, sizeof *r->spans);
    if (r->parts == NULL || r->spans == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    }
    fill_parts(r, m);
    keep_apart(r);
    r->window = least - SHOAL_PAGES_WINDOW;
    choose_kept(r, budget - least);
    r->stats.n_parts = r->n_parts;
    r->stats.window = r->window;
    return SHOAL_OK;
}

static shoal_status open_parts(shoal_model *m, size_t budget, bool head, shoal_error *err)
{
    size_t least = head ? shoal_residency_least(m) : shoal_residency_least_layers(m);
    shoal_residency_close(m);
    if (budget < least) return too_small(least, budget, err);
    if (shoal_gguf_mapping(m->gguf).pages != SHOAL_PAGES_SMALL) {
        return shoal_fail(err, SHOAL_ERR_ARG, "the model was opened in huge pages");
    }
    shoal_residency *r = shoal_calloc(1, sizeof *r);
    if (r == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    shoal_status st = cut(r, m, budget, head, err);
    if (st == SHOAL_OK) st = start(r, err);
    if (st != SHOAL_OK) {
        close_residency(r);
        return st;
    }
    shoal_pages_drop(r->map, r->map.p, r->map.n); /* whatever opening it touched */
    m->residency = r;
    return SHOAL_OK;
}

shoal_status shoal_residency_open(shoal_model *m, size_t budget, shoal_error *err)
{
    return open_parts(m, budget, true, err);
}

shoal_status shoal_residency_open_layers(shoal_model *m, size_t budget, shoal_error *err)
{
    return open_parts(m, budget, false, err);
}

void shoal_residency_close(shoal_model *m)
{
    if (m->residency == NULL) return;
    shoal_mapping map = m->residency->map;
    close_residency(m->residency);
    m->residency = NULL;
    shoal_pages_part(map, map.p, map.n, false);
    shoal_pages_drop(map, map.p, map.n);
}

/* ---- queries ----------------------------------------------------------------------------------
 */

size_t shoal_residency_head_slices(const shoal_model *m)
{
    const shoal_residency *r = m->residency;
    return r == NULL || r->slice_rows == 0 ? 1 : r->n_parts - r->n_layer;
}

shoal_mat shoal_residency_head_slice(const shoal_model *m, size_t i, size_t *first_row)
{
    const shoal_residency *r = m->residency;
    *first_row = 0;
    return r == NULL || r->slice_rows == 0 ? m->head
                                           : slice_of(&r->head, r->slice_rows, i, first_row);
}

void shoal_residency_touched(const shoal_model *m, const void *p, size_t n)
{
    const shoal_residency *r = m->residency;
    if (r == NULL) return;
    bool stays = r->slice_rows == 0 && m->head.data == m->embd.data;
    if (!stays) shoal_pages_drop(r->map, p, n);
}

shoal_residency_stats shoal_residency_get_stats(const shoal_model *m)
{
    shoal_residency *r = m->residency;
    if (r == NULL) return (shoal_residency_stats){0};
    pthread_mutex_lock(&r->lock);
    shoal_residency_stats s = r->stats;
    pthread_mutex_unlock(&r->lock);
    return s;
}
