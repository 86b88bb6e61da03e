/* checkpoint.c - see the layout in checkpoint.h. */
#include "lora/train/checkpoint.h"

#include <string.h>

#include "kernels/base/file.h"
#include "kernels/base/hash.h"
#include "kernels/base/mem.h"

static const char MAGIC[8] = {'S', 'H', 'O', 'A', 'L', 'C', 'K', 'P'};

enum {
    VERSION = 4,
    HEADER_BYTES = 8 + 4 + 16 * 8, /* magic, version, sixteen numbers */
    SUM_BYTES = 8,
    MANIFEST_MAX = 4096,
    CHUNK = 8 * 1024 /* on the stack: stopping allocates next to nothing */
};

/* ---- whose checkpoint it is ------------------------------------------------------------------ */

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

static uint64_t double_bits(double v)
{
    uint64_t bits = 0;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static void hash_samples(uint64_t *h, const shoal_sample *samples, size_t n)
{
    hash_u64(h, n);
    for (size_t i = 0; i < n; i++) {
        hash_u64(h, samples[i].n);
        for (size_t j = 0; j < samples[i].n; j++) {
            hash_u64(h, (uint64_t)(uint32_t)samples[i].ids[j] << 1 | (samples[i].mask[j] != 0));
        }
    }
}

uint64_t shoal_train_run_id(const shoal_sample *samples, size_t n, const shoal_train_options *opts)
{
    uint64_t h = SHOAL_FNV64_INIT;
    hash_u64(&h, opts->batch);
    hash_u64(&h, opts->epochs);
    hash_u64(&h, opts->max_steps);
    hash_u64(&h, opts->seed);
    hash_u64(&h, (uint64_t)opts->schedule);
    hash_float(&h, opts->lr);
    hash_float(&h, opts->lr_min);
    hash_u64(&h, double_bits(opts->warmup_ratio));
    hash_samples(&h, samples, n);
    if (opts->watch.every > 0) {
        hash_u64(&h, opts->watch.every);
        hash_u64(&h, opts->watch.patience);
        hash_samples(&h, opts->watch.held, opts->watch.n_held);
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

/* ---- writing ----------------------------------------------------------------------------------
 */

/* The file on its way to disk, and the sum of what it holds so far. */
typedef struct sink {
    shoal_file_writer file;
    uint64_t sum;
} sink;

static shoal_status put(sink *s, const void *data, size_t n, shoal_error *err)
{
    s->sum = shoal_fnv64(s->sum, data, n);
    return shoal_file_writer_put(&s->file, data, n, err);
}

static void encode_floats(uint8_t *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = 0;
        memcpy(&bits, &src[i], sizeof bits);
        for (size_t b = 0; b < 4; b++) {
            dst[4 * i + b] = (uint8_t)(bits >> (8 * b));
        }
    }
}

static shoal_status put_floats(sink *s, const float *src, size_t n, shoal_error *err)
{
    uint8_t chunk[CHUNK];
    while (n > 0) {
        size_t part = n < CHUNK / 4 ? n : CHUNK / 4;
        encode_floats(chunk, src, part);
        SHOAL_TRY(put(s, chunk, 4 * part, err));
        src += part;
        n -= part;
    }
    return SHOAL_OK;
}

static shoal_status put_header(sink *s, shoal_trainer *tr, uint64_t run_id,
                               const shoal_train_cursor *cursor, size_t n_notes, shoal_error *err)
{
    const shoal_adapter *a = shoal_trainer_adapter(tr);
    const shoal_optim *optim = shoal_trainer_optim(tr);
    shoal_buf head = shoal_buf_init(HEADER_BYTES);
    uint64_t manifest = 0;
    SHOAL_TRY(hash_manifest(a, &manifest, err));
    shoal_buf_put(&head, MAGIC, sizeof MAGIC);
    shoal_buf_put_u32(&head, VERSION);
    shoal_buf_put_u64(&head, shoal_model_fingerprint(shoal_trainer_model(tr)));
    shoal_buf_put_u64(&head, manifest);
    shoal_buf_put_u64(&head, run_id);
    shoal_buf_put_u64(&head, optim->step);
    shoal_buf_put_u64(&head, cursor->epoch);
    shoal_buf_put_u64(&head, cursor->next);
    shoal_buf_put_u64(&head, cursor->step);
    shoal_buf_put_u64(&head, cursor->measured);
    shoal_buf_put_u64(&head, cursor->best_step);
    shoal_buf_put_u64(&head, cursor->stale);
    shoal_buf_put_u64(&head, double_bits(cursor->best_loss));
    shoal_buf_put_u64(&head, shoal_trainer_method_id(tr));
    shoal_buf_put_u64(&head, a->n_params);
    shoal_buf_put_u64(&head, optim->n_floats);
    shoal_buf_put_u64(&head, optim->n_codes);
    shoal_buf_put_u64(&head, n_notes);
    shoal_status st = shoal_buf_status(&head, err);
    if (st == SHOAL_OK) st = put(s, head.data, head.len, err);
    shoal_buf_clear(&head);
    return st;
}

static shoal_status put_state(sink *s, shoal_trainer *tr, shoal_error *err)
{
    const shoal_adapter *a = shoal_trainer_adapter(tr);
    const shoal_optim *optim = shoal_trainer_optim(tr);
    SHOAL_TRY(put_floats(s, a->params, a->n_params, err));
    SHOAL_TRY(put_floats(s, optim->floats, optim->n_floats, err));
    return optim->n_codes == 0 ? SHOAL_OK : put(s, optim->codes, optim->n_codes, err);
}

static shoal_status put_sum(sink *s, shoal_error *err)
{
    uint8_t bytes[SUM_BYTES];
    for (size_t i = 0; i < SUM_BYTES; i++) {
        bytes[i] = (uint8_t)(s->sum >> (8 * i));
    }
    return shoal_file_writer_put(&s->file, bytes, sizeof bytes, err);
}

shoal_status shoal_checkpoint_save(shoal_trainer *tr, uint64_t run_id,
                                   const shoal_train_cursor *cursor, const shoal_buf *notes,
                                   const char *path, unsigned mode, shoal_error *err)
{
    sink s = {.sum = SHOAL_FNV64_INIT};
    size_t n_notes = notes == NULL ? 0 : notes->len;
    if (n_notes > SHOAL_CHECKPOINT_NOTES_MAX) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "notes of %zu bytes are too long", n_notes);
    }
    SHOAL_TRY(shoal_file_writer_open(&s.file, path, mode, err));
    shoal_status st = put_header(&s, tr, run_id, cursor, n_notes, err);
    if (st == SHOAL_OK) st = put_state(&s, tr, err);
    if (st == SHOAL_OK && n_notes > 0) st = put(&s, notes->data, n_notes, err);
    if (st == SHOAL_OK) st = put_sum(&s, err);
    if (st == SHOAL_OK) return shoal_file_writer_commit(&s.file, err);
    shoal_file_writer_abandon(&s.file);
    return st;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

/* The header after its magic and version. */
typedef struct header {
    uint64_t fingerprint, manifest, run_id, optim_step;
    shoal_train_cursor cursor;
    uint64_t method;
    uint64_t n, n_floats, n_codes, n_notes;
} header;

static shoal_status damaged(shoal_error *err)
{
    (void)shoal_fail(err, SHOAL_ERR_FORMAT, "the checkpoint is damaged");
    shoal_hint(err, "start without it; nothing else is affected");
    return SHOAL_ERR_FORMAT;
}

/* Is a file of `size` bytes what the header says? None of its arrays is longer than the file, so
 * the sum is safe. */
static bool has_size(const header *h, uint64_t size)
{
    uint64_t most = size < UINT64_MAX / 16 ? size : 0;
    return h->n <= most && h->n_floats <= most && h->n_codes <= most && h->n_notes <= most &&
           h->n_notes <= SHOAL_CHECKPOINT_NOTES_MAX &&
           HEADER_BYTES + 4 * (h->n + h->n_floats) + h->n_codes + h->n_notes + SUM_BYTES == size;
}

static shoal_status parse_header(shoal_cursor *c, header *h, shoal_error *err)
{
    const uint8_t *magic = shoal_cursor_bytes(c, sizeof MAGIC);
    uint32_t version = shoal_cursor_u32(c);
    if (magic == NULL || memcmp(magic, MAGIC, sizeof MAGIC) != 0) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "this is not a training checkpoint");
    }
    if (version != VERSION) {
        (void)shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "checkpoint version %u is not known here",
                         (unsigned)version);
        shoal_hint(err, "finish it with the program that wrote it, or begin anew");
        return SHOAL_ERR_UNSUPPORTED;
    }
    h->fingerprint = shoal_cursor_u64(c);
    h->manifest = shoal_cursor_u64(c);
    h->run_id = shoal_cursor_u64(c);
    h->optim_step = shoal_cursor_u64(c);
    h->cursor.epoch = shoal_cursor_u64(c);
    h->cursor.next = shoal_cursor_u64(c);
    h->cursor.step = shoal_cursor_u64(c);
    h->cursor.measured = shoal_cursor_u64(c);
    h->cursor.best_step = shoal_cursor_u64(c);
    h->cursor.stale = shoal_cursor_u64(c);
    uint64_t best_loss = shoal_cursor_u64(c);
    memcpy(&h->cursor.best_loss, &best_loss, sizeof best_loss);
    h->method = shoal_cursor_u64(c);
    h->n = shoal_cursor_u64(c);
    h->n_floats = shoal_cursor_u64(c);
    h->n_codes = shoal_cursor_u64(c);
    h->n_notes = shoal_cursor_u64(c);
    return SHOAL_OK;
}

/* Reads the header and then the whole file for its sum; the file stands at its end. */
static shoal_status read_header(shoal_file_reader *f, header *h, shoal_error *err)
{
    uint8_t chunk[CHUNK];
    if (f->size < HEADER_BYTES + SUM_BYTES) return damaged(err);
    SHOAL_TRY(shoal_file_reader_get(f, chunk, HEADER_BYTES, err));
    shoal_cursor c = shoal_cursor_init(chunk, HEADER_BYTES);
    SHOAL_TRY(parse_header(&c, h, err));
    if (!has_size(h, f->size)) return damaged(err);
    uint64_t sum = shoal_fnv64(SHOAL_FNV64_INIT, chunk, HEADER_BYTES);
    for (uint64_t left = f->size - HEADER_BYTES - SUM_BYTES; left > 0;) {
        size_t part = left < CHUNK ? (size_t)left : CHUNK;
        SHOAL_TRY(shoal_file_reader_get(f, chunk, part, err));
        sum = shoal_fnv64(sum, chunk, part);
        left -= part;
    }
    SHOAL_TRY(shoal_file_reader_get(f, chunk, SUM_BYTES, err));
    c = shoal_cursor_init(chunk, SUM_BYTES);
    return shoal_cursor_u64(&c) == sum ? SHOAL_OK : damaged(err);
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

/* Into the array itself, whose bytes are then put in this machine's order. */
static shoal_status get_floats(shoal_file_reader *f, float *dst, size_t n, shoal_error *err)
{
    SHOAL_TRY(shoal_file_reader_get(f, dst, n * sizeof *dst, err));
    for (size_t i = 0; i < n; i++) {
        uint8_t b[4];
        memcpy(b, &dst[i], sizeof b);
        uint32_t bits =
            (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
        memcpy(&dst[i], &bits, sizeof bits);
    }
    return SHOAL_OK;
}

static shoal_status get_notes(shoal_file_reader *f, size_t n, shoal_buf *notes, shoal_error *err)
{
    if (notes == NULL || n == 0) return SHOAL_OK;
    uint8_t *to = shoal_buf_reserve(notes, n);
    if (to == NULL) return shoal_buf_status(notes, err);
    SHOAL_TRY(shoal_file_reader_get(f, to, n, err));
    notes->len += n;
    notes->data[notes->len] = 0;
    return SHOAL_OK;
}

/* The second reading, of a file that was found whole. */
static shoal_status get_state(shoal_file_reader *f, const header *h, shoal_trainer *tr,
                              shoal_buf *notes, shoal_error *err)
{
    shoal_adapter *a = shoal_trainer_adapter(tr);
    shoal_optim *optim = shoal_trainer_optim(tr);
    f->at = HEADER_BYTES;
    shoal_trainer_reset(tr);
    SHOAL_TRY(get_floats(f, a->params, a->n_params, err));
    SHOAL_TRY(get_floats(f, optim->floats, optim->n_floats, err));
    if (optim->n_codes > 0) {
        SHOAL_TRY(shoal_file_reader_get(f, optim->codes, optim->n_codes, err));
    }
    SHOAL_TRY(get_notes(f, (size_t)h->n_notes, notes, err));
    optim->step = h->optim_step;
    return SHOAL_OK;
}

shoal_status shoal_checkpoint_load(shoal_trainer *tr, uint64_t run_id, const char *path,
                                   shoal_train_cursor *cursor, shoal_buf *notes, shoal_error *err)
{
    shoal_file_reader f;
    header h = {0};
    SHOAL_TRY(shoal_file_reader_open(&f, path, err));
    shoal_status st = read_header(&f, &h, err);
    if (st == SHOAL_OK) st = check_header(&h, tr, run_id, err);
    if (st == SHOAL_OK) st = get_state(&f, &h, tr, notes, err);
    if (st == SHOAL_OK) *cursor = h.cursor;
    shoal_file_reader_close(&f);
    return st;
}

shoal_status shoal_checkpoint_notes(const char *path, shoal_buf *notes, shoal_error *err)
{
    shoal_file_reader f;
    header h = {0};
    SHOAL_TRY(shoal_file_reader_open(&f, path, err));
    shoal_status st = read_header(&f, &h, err);
    if (st == SHOAL_OK) {
        f.at = HEADER_BYTES + 4 * (h.n + h.n_floats) + h.n_codes;
        st = get_notes(&f, (size_t)h.n_notes, notes, err);
    }
    shoal_file_reader_close(&f);
    return st;
}
