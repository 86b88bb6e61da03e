/* publish.c - decode, average, add, encode, store, sign. */
#include "aggregator/publish.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/blob.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "lora/train/adapter.h"
#include "proto/delta.h"

/* ---- files ------------------------------------------------------------------------------------
 */

shoal_status shoal_model_file_sha256(const char *path, uint8_t out[32], shoal_error *err)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        return shoal_fail_errno(err, errno, "cannot open %s", path);
    }
    shoal_sha256_ctx ctx;
    uint8_t part[8192];
    size_t n;
    shoal_sha256_init(&ctx);
    while ((n = fread(part, 1, sizeof part, f)) > 0) {
        shoal_sha256_update(&ctx, part, n);
    }
    int bad = ferror(f);
    (void)fclose(f);
    shoal_status st = shoal_sha256_final(&ctx, out, err);
    return bad != 0 ? shoal_fail(err, SHOAL_ERR_IO, "cannot read %s", path) : st;
}

static shoal_status store_adapter(const char *dir, const shoal_adapter *a, shoal_adapter_release *r,
                                  shoal_error *err)
{
    shoal_buf file = shoal_buf_init(SHOAL_LIMIT_BLOB);
    shoal_status st = shoal_adapter_encode(a, &file, err);
    if (st == SHOAL_OK) {
        r->size = file.len;
        st = shoal_blob_put(dir, file.data, file.len, r->sha256, err);
    }
    shoal_buf_clear(&file);
    return st;
}

static shoal_status load_adapter(const char *dir, const shoal_model *m,
                                 const shoal_adapter_release *r, shoal_adapter **out,
                                 shoal_error *err)
{
    shoal_buf file = shoal_buf_init(0);
    SHOAL_TRY(shoal_blob_get(dir, r->sha256, &file, err));
    shoal_status st = shoal_adapter_decode(out, m, file.data, file.len, err);
    shoal_buf_clear(&file);
    return st;
}

/* ---- the next version -------------------------------------------------------------------------
 */

/* params += mean; the sum of a damaged or hostile round must not become a version. */
static shoal_status add_mean(shoal_adapter *a, const float *mean, double *norm, shoal_error *err)
{
    double squares = 0;
    for (size_t i = 0; i < a->n_params; i++) {
        a->params[i] += mean[i];
        squares += (double)mean[i] * (double)mean[i];
        if (!isfinite(a->params[i])) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "the averaged update is not finite");
        }
    }
    *norm = sqrt(squares);
    return SHOAL_OK;
}

static shoal_status apply_sum(shoal_publication *p, shoal_adapter *a, shoal_error *err)
{
    const shoal_codec *codec = &p->task->codec;
    if (a->n_params != codec->dim) {
        return shoal_fail(err, SHOAL_ERR_INTERNAL, "the adapter has another size than the task");
    }
    uint8_t signs[32];
    SHOAL_TRY(shoal_sa_rotation_key(p->ctx, signs, err));
    float *mean = shoal_calloc(a->n_params, sizeof *mean);
    if (mean == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for the averaged update");
    }
    shoal_status st = shoal_codec_decode(p->ex, codec, signs, p->sum, mean, &p->weight_sum, err);
    if (st == SHOAL_OK) {
        st = add_mean(a, mean, &p->update_norm, err);
    }
    shoal_free(mean);
    return st;
}

static shoal_status sign_next(shoal_publication *p, const shoal_adapter *a, shoal_error *err)
{
    shoal_adapter_release *r = &p->made;
    *r = (shoal_adapter_release){.version = p->from->version + 1, .round = p->round};
    memcpy(r->task_id, p->task->id, sizeof r->task_id);
    memcpy(r->base_sha256, p->task->base_sha256, sizeof r->base_sha256);
    memcpy(r->previous_sha256, p->from->sha256, sizeof r->previous_sha256);
    SHOAL_TRY(store_adapter(p->dir, a, r, err));
    return shoal_release_sign(r, p->task_key, err);
}

/* Where no rotation came between, the mean is a whole number of these in every coordinate. */
static double step_of(const shoal_publication *p)
{
    const shoal_codec *c = &p->task->codec;
    if (c->rotation != 0) {
        return 0;
    }
    return 1.0 / (ldexp(1.0, c->scale_log2) * (double)p->weight_sum);
}

static shoal_status make_delta(const shoal_publication *p, shoal_error *err)
{
    shoal_buf from = shoal_buf_init(0), to = shoal_buf_init(0);
    shoal_buf delta = shoal_buf_init(SHOAL_LIMIT_BLOB);
    shoal_status st = shoal_blob_get(p->dir, p->from->sha256, &from, err);
    if (st == SHOAL_OK) {
        st = shoal_blob_get(p->dir, p->made.sha256, &to, err);
    }
    if (st == SHOAL_OK && from.len != to.len) {
        st = shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "the versions differ in size");
    }
    if (st == SHOAL_OK) {
        st = shoal_delta_encode(from.data, to.data, to.len, step_of(p), &delta, err);
    }
    if (st == SHOAL_OK) {
        st = shoal_blob_put_delta(p->dir, p->from->sha256, p->made.sha256, &delta, err);
    }
    if (st == SHOAL_OK) {
        shoal_log(SHOAL_LOG_INFO, "publish", "version=%llu bytes=%zu delta=%zu",
                  (unsigned long long)p->made.version, to.len, delta.len);
    }
    shoal_buf_clear(&from);
    shoal_buf_clear(&to);
    shoal_buf_clear(&delta);
    return st;
}

/* A version without a delta is fetched whole. */
static void offer_delta(const shoal_publication *p)
{
    shoal_error why = {0};
    if (shoal_delta_available() && make_delta(p, &why) != SHOAL_OK) {
        shoal_log(SHOAL_LOG_INFO, "publish", "no delta to version=%llu: %s",
                  (unsigned long long)p->made.version, why.msg);
    }
}

shoal_status shoal_publish(shoal_publication *p, shoal_error *err)
{
    shoal_model *m = NULL;
    shoal_adapter *a = NULL;
    shoal_status st = shoal_model_open(&m, p->task->model_path, err);
    if (st == SHOAL_OK) {
        st = load_adapter(p->dir, m, p->from, &a, err);
    }
    if (st == SHOAL_OK) {
        st = apply_sum(p, a, err);
    }
    if (st == SHOAL_OK) {
        st = sign_next(p, a, err);
    }
    shoal_adapter_close(a);
    shoal_model_close(m);
    if (st == SHOAL_OK) {
        offer_delta(p);
    }
    return st;
}

shoal_status shoal_publish_first(const char *dir, const shoal_key *task_key, shoal_db_task *t,
                                 uint64_t seed, shoal_adapter_release *out, shoal_error *err)
{
    shoal_model *m = NULL;
    shoal_adapter *a = NULL;
    shoal_lora_spec spec = {
        .rank = t->train.rank, .alpha = t->train.alpha, .targets = t->train.targets};
    *out = (shoal_adapter_release){.version = 0};
    memcpy(out->task_id, t->id, sizeof out->task_id);
    memcpy(out->base_sha256, t->base_sha256, sizeof out->base_sha256);
    shoal_status st = shoal_model_open(&m, t->model_path, err);
    if (st == SHOAL_OK) {
        st = shoal_adapter_open(&a, m, &spec, seed, err);
    }
    if (st == SHOAL_OK && a->n_params > SHOAL_LIMIT_DIM) {
        st = shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the adapter has %zu parameters, at most %d fit",
                        a->n_params, SHOAL_LIMIT_DIM);
        shoal_hint(err, "choose a smaller --rank or fewer --targets");
    }
    if (st == SHOAL_OK) {
        t->codec.dim = (uint32_t)a->n_params;
        st = store_adapter(dir, a, out, err);
    }
    if (st == SHOAL_OK) {
        st = shoal_release_sign(out, task_key, err);
    }
    shoal_adapter_close(a);
    shoal_model_close(m);
    return st;
}
