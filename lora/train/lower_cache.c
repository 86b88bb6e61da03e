/* lower_cache.c - the cache as an object: what it may hold, and what its file is bound to. */
#include "lora/train/lower_cache.h"

#include <string.h>

#include "kernels/base/hash.h"
#include "kernels/base/mem.h"
#include "lora/train/lower.h"
#include "lora/train/pack.h"

enum {
    ARITHMETIC = 1, /* raise it when the same tokens give other bits below an adapter than before */
    WORK_A_BYTE =
        100, /* multiply-adds in the time that storage takes for a byte: 20 G/s, 200 MB/s */
    N_ARRAYS = 7
};

bool shoal_lower_cache_pays(const shoal_model *m, size_t first_layer, bool exact)
{
    double work = 0.0; /* multiply-adds a row */
    for (size_t i = 0; i < first_layer * SHOAL_N_PROJ; i++) {
        const shoal_mat *w = &m->layers[i / SHOAL_N_PROJ].proj[i % SHOAL_N_PROJ];
        work += (double)w->rows * (double)w->cols;
    }
    return work > WORK_A_BYTE * (double)shoal_row_bytes(m->cfg.n_embd, exact);
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static shoal_status collect_texts(shoal_lower_cache *c, const shoal_lower_options *o,
                                  shoal_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < o->n_texts; i++) {
        if (!shoal_add_size(n, o->texts[i].n, &n) || n > UINT32_MAX) {
            return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "too many samples to keep rows of");
        }
    }
    shoal_row_text *texts = shoal_calloc(n, sizeof *texts);
    if (texts == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory for %zu samples", n);
    n = 0;
    for (size_t i = 0; i < o->n_texts; i++) {
        for (size_t k = 0; k < o->texts[i].n; k++) {
            const shoal_sample *s = &o->texts[i].samples[k];
            texts[n++] = (shoal_row_text){.ids = s->ids, .n = (uint32_t)shoal_sample_rows(s)};
        }
    }
    uint64_t most = o->max_bytes / shoal_row_bytes(c->m->cfg.n_embd, c->ex->exact);
    if (most >= SHOAL_ROW_NONE) most = SHOAL_ROW_NONE - 1;
    shoal_row_index_build(&c->index, texts, n, (uint32_t)most);
    return SHOAL_OK;
}

static shoal_status lay_arrays(shoal_lower_cache *c, shoal_error *err)
{
    size_t T = c->max_tokens;
    c->arrays = shoal_calloc(T, N_ARRAYS * sizeof *c->arrays);
    int32_t *ids = shoal_calloc(T, sizeof *ids);
    c->rows.ids = ids;
    if (c->arrays == NULL || ids == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory for %zu rows", T);
    }
    c->number = c->arrays;
    c->at = c->arrays + T;
    c->rows.pos = c->arrays + 2 * T;
    c->rows.first = c->arrays + 3 * T;
    c->rows.hole = c->arrays + 4 * T;
    c->rows.hole_end = c->arrays + 5 * T;
    c->rows.first_local = c->m->cfg.window == 0 ? NULL : c->arrays + 6 * T;
    return SHOAL_OK;
}

shoal_status shoal_lower_cache_open(shoal_lower_cache **out, const shoal_model *m,
                                    const shoal_exec *ex, const shoal_lower_options *opts,
                                    shoal_error *err)
{
    *out = NULL;
    if (opts->first_layer == 0 || opts->first_layer > m->cfg.n_layer || opts->max_tokens == 0) {
        return shoal_fail(err, SHOAL_ERR_ARG, "there are no frozen layers below layer %zu",
                          opts->first_layer);
    }
    shoal_lower_cache *c = shoal_calloc(1, sizeof *c);
    if (c == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    c->m = m;
    c->ex = ex;
    c->first_layer = opts->first_layer;
    c->max_tokens = opts->max_tokens;
    c->store.fd = -1;
    shoal_status st = collect_texts(c, opts, err);
    if (st == SHOAL_OK) st = lay_arrays(c, err);
    if (st == SHOAL_OK) {
        st = shoal_row_store_open(&c->store, m->cfg.n_embd, ex->exact, c->index.n_rows, err);
    }
    if (st != SHOAL_OK) {
        shoal_lower_cache_close(c);
        return st;
    }
    *out = c;
    return SHOAL_OK;
}

void shoal_lower_cache_close(shoal_lower_cache *c)
{
    if (c == NULL) return;
    shoal_row_store_close(&c->store);
    shoal_row_index_clear(&c->index);
    shoal_free(c->rows.ids);
    shoal_free(c->arrays);
    shoal_free(c);
}

/* ---- the file ---------------------------------------------------------------------------------
 */

static uint64_t hash_u64(uint64_t h, uint64_t v)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(v >> (8 * i));
    }
    return shoal_fnv64(h, bytes, sizeof bytes);
}

/* Everything that decides the bits of a row and what its number means. */
static uint64_t binding_of(const shoal_lower_cache *c)
{
    uint64_t h = hash_u64(SHOAL_FNV64_INIT, ARITHMETIC);
    const char *kernels = shoal_exec_name(c->ex);
    h = hash_u64(h, shoal_model_fingerprint(c->m));
    h = hash_u64(h, c->first_layer);
    h = hash_u64(h, c->ex->exact ? 1 : 0);
    h = hash_u64(h, shoal_exec_fingerprint(c->ex));
    h = shoal_fnv64(h, kernels, strlen(kernels));
    h = hash_u64(h, c->index.n);
    for (size_t i = 0; i < c->index.n; i++) {
        const shoal_row_text *t = &c->index.texts[i];
        h = hash_u64(h, t->n);
        for (size_t k = t->shared; k < t->n; k++) {
            h = hash_u64(h, (uint32_t)t->ids[k]);
        }
    }
    return h;
}

shoal_status shoal_lower_cache_attach(shoal_lower_cache *c, const char *path, shoal_error *err)
{
    return shoal_row_store_attach(&c->store, path, binding_of(c), err);
}

shoal_lower_stats shoal_lower_cache_get_stats(const shoal_lower_cache *c)
{
    return (shoal_lower_stats){
        .layers = c->first_layer,
        .n_rows = c->index.n_rows,
        .n_left_out = c->index.n_left_out,
        .file_bytes = (uint64_t)c->index.n_rows * c->store.row_bytes,
        .n_present = c->store.n_present,
        .n_damaged = c->store.n_damaged,
        .foreign = c->store.found == SHOAL_ROWS_FOREIGN,
        .full = c->store.read_only,
        .rows_read = c->rows_read,
        .rows_computed = c->rows_computed,
    };
}
