/* checkpoint.c - see the layout in checkpoint.h. */
#include "lora/train/checkpoint.h"

#include <string.h>

#include "kernels/base/hash.h"
#include "kernels/base/mem.h"

static const char MAGIC[8] = {'S', 'H', 'O', 'A', 'L', 'C', 'K', 'P'};

enum {
    VERSION = 2,
    HEADER_BYTES = 8 + 4 + 11 * 8, /* magic, version, eleven numbers */
    SUM_BYTES = 8,
    MANIFEST_MAX = 4096
};

/* 0 on overflow. */
static size_t checkpoint_bytes(size_t n_params, const shoal_optim *optim)
{
    size_t floats = 0;
    size_t bytes = 0;
    if (!shoal_add_size(n_params, optim->n_floats, &floats) ||
        !shoal_mul_size(floats, sizeof(float), &bytes) ||
        !shoal_add_size(bytes, optim->n_codes, &bytes) ||
        !shoal_add_size(bytes, HEADER_BYTES + SUM_BYTES, &bytes)) {
        return 0;
    }
    return bytes;
}

size_t shoal_checkpoint_bytes(size_t n_params)
{
    shoal_optim optim;
    bool fits = shoal_optim_size(&optim, SHOAL_OPTIMIZER_ADAMW, n_params);
    return fits ? checkpoint_bytes(n_params, &optim) : 0;
}

static void hash_u64(uint64_t *h, uint64_t v)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(v >> (8 * i));
    }
    *h = shoal_fnv64(*h, bytes, sizeof bytes);
}

static void hash_float(uint64_t *h, float v)
{
    uint32_t bits = 0;
    memcpy(&bits, &v, sizeof bits);
    hash_u64(h, bits);
}

uint64_t shoal_train_run_id(const shoal_sample *samples, size_t n, const shoal_train_options *opts)
{
    uint64_t h = SHOAL_FNV64_INIT;
    uint64_t ratio = 0;
    memcpy(&ratio, &opts->warmup_ratio, sizeof ratio);
    hash_u64(&h, opts->batch);
    hash_u64(&h, opts->epochs);
    hash_u64(&h, opts->max_steps);
    hash_u64(&h, opts->seed);
    hash_u64(&h, (uint64_t)opts->schedule);
    hash_float(&h, opts->lr);
    hash_float(&h, opts->lr_min);
    hash_u64(&h, ratio);
    hash_u64(&h, n);
    for (size_t i = 0; i < n; i++) {
        hash_u64(&h, samples[i].n);
        for (size_t j = 0; j < samples[i].n; j++) {
            hash_u64(&h, (uint64_t)(uint32_t)samples[i].ids[j] << 1 | (samples[i].mask[j] != 0));
        }
    }
    return h;
}

static shoal_status hash_manifest(const shoal_adapter *a, uint64_t *out, shoal_error *err)
{
    shoal_buf text = shoal_buf_init(MANIFEST_MAX);
    shoal_status st = shoal_adapter_manifest(a, &text, err);
    *out = shoal_fnv64(SHOAL_FNV64_INIT, text.data, text.len);
    shoal_buf_clear(&text);
    return st;
}

static void put_floats(uint8_t *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = 0;
        memcpy(&bits, &src[i], sizeof bits);
        for (size_t b = 0; b < 4; b++) {
            dst[4 * i + b] = (uint8_t)(bits >> (8 * b));
        }
    }
}

static void get_floats(const uint8_t *src, float *dst, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t *b = src + 4 * i;
        uint32_t bits =
            (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
        memcpy(&dst[i], &bits, sizeof bits);
    }
}

static bool put_array(shoal_buf *out, const float *src, size_t n)
{
    uint8_t *dst = shoal_buf_reserve(out, n * sizeof(float));
    if (dst == NULL) {
        return false;
    }
    put_floats(dst, src, n);
    out->len += n * sizeof(float);
    out->data[out->len] = 0;
    return true;
}

shoal_status shoal_checkpoint_encode(shoal_trainer *tr, uint64_t run_id,
                                     const shoal_train_cursor *cursor, shoal_buf *out,
                                     shoal_error *err)
{
    const shoal_adapter *a = shoal_trainer_adapter(tr);
    const shoal_optim *optim = shoal_trainer_optim(tr);
    uint64_t manifest = 0;
    size_t start = out->len;
    SHOAL_TRY(hash_manifest(a, &manifest, err));
    (void)shoal_buf_reserve(out, checkpoint_bytes(a->n_params, optim)); /* grow once */
    shoal_buf_put(out, MAGIC, sizeof MAGIC);
    shoal_buf_put_u32(out, VERSION);
    shoal_buf_put_u64(out, shoal_model_fingerprint(shoal_trainer_model(tr)));
    shoal_buf_put_u64(out, manifest);
    shoal_buf_put_u64(out, run_id);
    shoal_buf_put_u64(out, optim->step);
    shoal_buf_put_u64(out, cursor->epoch);
    shoal_buf_put_u64(out, cursor->next);
    shoal_buf_put_u64(out, cursor->step);
    shoal_buf_put_u64(out, shoal_trainer_method_id(tr));
    shoal_buf_put_u64(out, a->n_params);
    shoal_buf_put_u64(out, optim->n_floats);
    shoal_buf_put_u64(out, optim->n_codes);
    if (put_array(out, a->params, a->n_params) && put_array(out, optim->floats, optim->n_floats)) {
        shoal_buf_put(out, optim->codes, optim->n_codes);
        uint64_t sum = shoal_fnv64(SHOAL_FNV64_INIT, out->data + start, out->len - start);
        shoal_buf_put_u64(out, sum);
    }
    return shoal_buf_status(out, err);
}

/* The header after its magic and version. */
typedef struct header {
    uint64_t fingerprint, manifest, run_id, optim_step;
    shoal_train_cursor cursor;
    uint64_t method;
    uint64_t n, n_floats, n_codes;
} header;

/* Checks frame and sum and reads the header; on success the cursor stands at the arrays. */
static shoal_status read_header(shoal_cursor *c, const uint8_t *data, size_t n, header *h,
                                shoal_error *err)
{
    const uint8_t *magic = shoal_cursor_bytes(c, sizeof MAGIC);
    uint32_t version = shoal_cursor_u32(c);
    if (magic == NULL || memcmp(magic, MAGIC, sizeof MAGIC) != 0) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "this is not a training checkpoint");
    }
    if (!c->failed && version != VERSION) {
        return shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "checkpoint version %u is not known here",
                          (unsigned)version);
    }
    h->fingerprint = shoal_cursor_u64(c);
    h->manifest = shoal_cursor_u64(c);
    h->run_id = shoal_cursor_u64(c);
    h->optim_step = shoal_cursor_u64(c);
    h->cursor.epoch = shoal_cursor_u64(c);
    h->cursor.next = shoal_cursor_u64(c);
    h->cursor.step = shoal_cursor_u64(c);
    h->method = shoal_cursor_u64(c);
    h->n = shoal_cursor_u64(c);
    h->n_floats = shoal_cursor_u64(c);
    h->n_codes = shoal_cursor_u64(c);
    /* No array is longer than the whole, so the casts and sums are safe. */
    bool whole = !c->failed && h->n <= n && h->n_floats <= n && h->n_codes <= n;
    if (whole) {
        const shoal_optim optim = {.n_floats = (size_t)h->n_floats, .n_codes = (size_t)h->n_codes};
        whole = checkpoint_bytes((size_t)h->n, &optim) == n;
    }
    if (whole) {
        shoal_cursor sum = shoal_cursor_init(data + n - SUM_BYTES, SUM_BYTES);
        whole = shoal_fnv64(SHOAL_FNV64_INIT, data, n - SUM_BYTES) == shoal_cursor_u64(&sum);
    }
    if (!whole) {
        shoal_status st = shoal_fail(err, SHOAL_ERR_FORMAT, "the checkpoint is damaged");
        shoal_hint(err, "start without it; nothing else is affected");
        return st;
    }
    return SHOAL_OK;
}

/* Is it of this trainer's model, adapter shape and run? */
static shoal_status check_header(const header *h, shoal_trainer *tr, uint64_t run_id,
                                 shoal_error *err)
{
    const shoal_adapter *a = shoal_trainer_adapter(tr);
    uint64_t fingerprint = shoal_model_fingerprint(shoal_trainer_model(tr));
    uint64_t manifest = 0;
    SHOAL_TRY(hash_manifest(a, &manifest, err));
    if (h->fingerprint != fingerprint || h->manifest != manifest || h->n != a->n_params) {
        shoal_status st =
            shoal_fail(err, SHOAL_ERR_ARG, "the checkpoint is of another model or adapter shape");
        shoal_hint(err, "resume with the model, rank, alpha and targets it was made with");
        return st;
    }
    const shoal_optim *optim = shoal_trainer_optim(tr);
    bool alike = h->method == shoal_trainer_method_id(tr) && h->n_floats == optim->n_floats &&
                 h->n_codes == optim->n_codes;
    if (h->run_id != run_id || !alike) {
        shoal_status st =
            shoal_fail(err, SHOAL_ERR_ARG, "the checkpoint is of a run with other data or options");
        shoal_hint(err, "resume with the same data and options, or start without it");
        return st;
    }
    return SHOAL_OK;
}

shoal_status shoal_checkpoint_decode(shoal_trainer *tr, uint64_t run_id, const void *data, size_t n,
                                     shoal_train_cursor *cursor, shoal_error *err)
{
    shoal_adapter *a = shoal_trainer_adapter(tr);
    shoal_optim *optim = shoal_trainer_optim(tr);
    shoal_cursor c = shoal_cursor_init(data, n);
    header h = {0};
    SHOAL_TRY(read_header(&c, data, n, &h, err));
    SHOAL_TRY(check_header(&h, tr, run_id, err));

    size_t bytes = a->n_params * sizeof(float);
    shoal_trainer_reset(tr);
    get_floats(shoal_cursor_bytes(&c, bytes), a->params, a->n_params);
    get_floats(shoal_cursor_bytes(&c, optim->n_floats * sizeof(float)), optim->floats,
               optim->n_floats);
    if (optim->n_codes > 0) {
        memcpy(optim->codes, shoal_cursor_bytes(&c, optim->n_codes), optim->n_codes);
    }
    optim->step = h.optim_step;
    *cursor = h.cursor;
    return SHOAL_OK;
}
