/* rewrite.c - see rewrite.h. */
#include "lora/compress/rewrite.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "lora/model/gguf_write.h"

enum {
    SPAN_BLOCK = 32,                 /* of the types that have a span */
    GROUP = 8,                       /* rows quantised together: a packed group */
    PIECE_BYTES = 4 * 1024 * 1024,   /* output collected before it is written */
    MAX_COLS = 4 * 1024 * 1024,      /* longest row taken apart; others are copied */
    MAX_HEADER = 1024 * 1024 * 1024, /* metadata and tensor list */
    FILE_TYPE_MIXED = 1024           /* general.file_type: "guess from the tensors" */
};

/* ---- what becomes of a tensor ---------------------------------------------------------------- */

/* The type for rows of `cols` weights: `type` where it fits, else the next wider one that does. */
static shoal_type fitting(shoal_type type, size_t rows, size_t cols)
{
    const shoal_type_info *info = shoal_type_get((uint32_t)type);
    if (rows % info->group != 0) type = shoal_type_plain(type);
    if (cols % info->block == 0) return type;
    shoal_type wider = type == SHOAL_TYPE_Q4_K   ? SHOAL_TYPE_Q5_0
                       : type == SHOAL_TYPE_Q5_K ? SHOAL_TYPE_Q5_1
                                                 : SHOAL_TYPE_Q8_0;
    return cols % shoal_type_get((uint32_t)wider)->block == 0 ? wider : SHOAL_TYPE_F16;
}

/* One tensor on its way. */
typedef struct conversion {
    const shoal_gguf_tensor *tensor;
    shoal_mat from;
    shoal_type to;
    const void *edit; /* what changes its values; NULL: they stay */
    bool copied, fell_back;
    size_t bytes; /* of the output */
} conversion;

static size_t rows_of(const shoal_gguf_tensor *t)
{
    size_t rows = 1;
    for (size_t i = 1; i < t->n_dims; i++) {
        rows *= t->dims[i]; /* checked when the file was opened */
    }
    return rows;
}

static conversion plan_tensor(const shoal_rewrite_rules *rules, const shoal_gguf_tensor *t)
{
    conversion c = {.tensor = t, .copied = true, .bytes = t->bytes};
    const shoal_type_info *info = shoal_type_get(t->type);
    size_t rows = rows_of(t), cols = t->dims[0];
    if (info == NULL || rows < 2 || t->n_dims < 2 || cols > MAX_COLS) return c;
    if (rows % info->group != 0) return c;
    shoal_type wanted = rules->type_of(rules->ctx, t, info->type);
    c.edit = rules->edit_of == NULL ? NULL : rules->edit_of(rules->ctx, t);
    c.to = fitting(wanted, rows, cols);
    c.fell_back = c.to != wanted;
    c.copied = c.to == info->type && c.edit == NULL;
    c.from = (shoal_mat){t->data, info->type, rows, cols, shoal_type_row_bytes(info, cols)};
    size_t row_bytes = shoal_type_row_bytes(shoal_type_get((uint32_t)c.to), cols);
    if (!shoal_mul_size(rows, row_bytes, &c.bytes)) {
        c = (conversion){.tensor = t, .copied = true, .bytes = t->bytes};
    }
    return c;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Groups of rows [first, first + n) of one tensor into `out`, over the pool. */
typedef struct piece {
    const conversion *c;
    const shoal_rewrite_rules *rules;
    size_t first, n; /* rows */
    size_t row_bytes;
    uint8_t *out;
    float *floats;  /* [workers][cols] */
    uint8_t *plain; /* [workers][GROUP * row_bytes] */
    float span;     /* most that a block's weights may span */
    atomic_bool clipped;
} piece;

static bool fits_span(const float *x, size_t n, float span)
{
    for (size_t i = 0; i < n; i += SPAN_BLOCK) {
        float lo = 0.0f, hi = 0.0f;
        for (size_t j = i; j < n && j < i + SPAN_BLOCK; j++) {
            lo = x[j] < lo ? x[j] : lo;
            hi = x[j] > hi ? x[j] : hi;
        }
        if (hi - lo > span) return false;
    }
    return true;
}

static void convert_row(piece *p, size_t row, float *floats, uint8_t *out)
{
    shoal_mat_row(&p->c->from, row, floats);
    if (p->c->edit != NULL) p->rules->edit_row(p->c->edit, row, floats, p->c->from.cols);
    if (!fits_span(floats, p->c->from.cols, p->span)) atomic_store(&p->clipped, true);
    shoal_quantize(shoal_type_plain(p->c->to), floats, out, p->c->from.cols);
}

/* Eight rows to a packed group; unchanged rows that have the plain type keep their bytes. */
static void pack_rows(piece *p, size_t row, unsigned worker, uint8_t *out)
{
    const shoal_mat *from = &p->c->from;
    const void *rows = (const uint8_t *)from->data + row * from->row_bytes;
    if (p->c->edit != NULL || from->type != shoal_type_plain(p->c->to)) {
        uint8_t *plain = p->plain + worker * GROUP * p->row_bytes;
        for (size_t i = 0; i < GROUP; i++) {
            convert_row(p, row + i, p->floats + worker * from->cols, plain + i * p->row_bytes);
        }
        rows = plain;
    }
    shoal_pack_group(p->c->to, rows, p->row_bytes, from->cols, out);
}

static void convert_groups(void *ctx, size_t begin, size_t end, unsigned worker)
{
    piece *p = ctx;
    bool packed = shoal_type_get((uint32_t)p->c->to)->group > 1;
    for (size_t g = begin; g < end; g++) {
        size_t at = g * GROUP;
        uint8_t *out = p->out + at * p->row_bytes;
        if (packed) {
            pack_rows(p, p->first + at, worker, out);
            continue;
        }
        for (size_t i = at; i < p->n && i < at + GROUP; i++, out += p->row_bytes) {
            convert_row(p, p->first + i, p->floats + worker * p->c->from.cols, out);
        }
    }
}

/* ---- the file -------------------------------------------------------------------------------- */

typedef struct rewriting {
    const shoal_gguf *g;
    const shoal_rewrite_rules *rules;
    shoal_pool *pool;
    shoal_rewrite_report *report;
    shoal_file_writer out;
    uint64_t done;
} rewriting;

static void advance(rewriting *r, size_t bytes)
{
    r->done += bytes;
    if (r->rules->progress != NULL) {
        r->rules->progress(r->rules->ctx, r->done, r->report->bytes_in);
    }
}

static shoal_status copy_tensor(rewriting *r, const shoal_gguf_tensor *t, shoal_error *err)
{
    for (size_t at = 0; at < t->bytes; at += PIECE_BYTES) {
        size_t n = t->bytes - at < PIECE_BYTES ? t->bytes - at : PIECE_BYTES;
        SHOAL_TRY(shoal_file_writer_put(&r->out, (const uint8_t *)t->data + at, n, err));
        advance(r, n);
    }
    return SHOAL_OK;
}

static shoal_status refuse_span(const piece *p, shoal_error *err)
{
    const shoal_str *name = &p->c->tensor->name;
    (void)shoal_fail(err, SHOAL_ERR_UNSUPPORTED,
                     "weights of %.*s span more than %.0f, too much for %s", (int)name->n, name->p,
                     (double)p->span, shoal_type_get((uint32_t)p->c->to)->name);
    shoal_hint(err, "choose a type with a binary16 scale, such as Q4_1 or P4_1");
    return SHOAL_ERR_UNSUPPORTED;
}

static shoal_status write_pieces(rewriting *r, piece *p, size_t step, shoal_error *err)
{
    const shoal_mat *from = &p->c->from;
    for (p->first = 0; p->first < from->rows; p->first += step) {
        p->n = from->rows - p->first < step ? from->rows - p->first : step;
        shoal_parallel_for(r->pool, (p->n + GROUP - 1) / GROUP, 1, convert_groups, p);
        if (atomic_load(&p->clipped)) return refuse_span(p, err);
        SHOAL_TRY(shoal_file_writer_put(&r->out, p->out, p->n * p->row_bytes, err));
        advance(r, p->n * from->row_bytes);
    }
    return SHOAL_OK;
}

static shoal_status convert_tensor(rewriting *r, const conversion *c, shoal_error *err)
{
    size_t workers = shoal_pool_size(r->pool), cols = c->from.cols;
    size_t row_bytes = shoal_type_row_bytes(shoal_type_get((uint32_t)c->to), cols);
    size_t step = PIECE_BYTES / row_bytes / GROUP * GROUP;
    step = step < GROUP ? GROUP : step;
    piece p = {.c = c, .rules = r->rules, .row_bytes = row_bytes, .span = shoal_type_span(c->to)};
    p.out = shoal_alloc(step * row_bytes);
    p.floats = shoal_alloc(workers * cols * sizeof *p.floats);
    p.plain = shoal_alloc(workers * GROUP * row_bytes);
    shoal_status st = SHOAL_OK;
    if (p.out == NULL || p.floats == NULL || p.plain == NULL) {
        st = shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory for rows of %zu weights", cols);
    } else {
        st = write_pieces(r, &p, step, err);
    }
    shoal_free(p.out);
    shoal_free(p.floats);
    shoal_free(p.plain);
    return st;
}

static shoal_status write_tensor(rewriting *r, const shoal_gguf_tensor *t, shoal_error *err)
{
    static const uint8_t zeros[SHOAL_GGUF_ALIGNMENT];
    conversion c = plan_tensor(r->rules, t);
    SHOAL_TRY(c.copied ? copy_tensor(r, t, err) : convert_tensor(r, &c, err));
    r->report->copied += c.copied ? 1 : 0;
    r->report->changed += c.copied ? 0 : 1;
    r->report->fallbacks += c.fell_back ? 1 : 0;
    size_t over = c.bytes % SHOAL_GGUF_ALIGNMENT;
    if (over == 0) return SHOAL_OK;
    return shoal_file_writer_put(&r->out, zeros, SHOAL_GGUF_ALIGNMENT - over, err);
}

static void put_metadata(const rewriting *r, shoal_gguf_writer *w)
{
    const char *note_key = r->rules->note_key;
    for (size_t i = 0; i < shoal_gguf_kv_count(r->g); i++) {
        const shoal_gguf_kv *kv = shoal_gguf_kv_at(r->g, i);
        if (shoal_str_eq(kv->key, "general.alignment")) continue; /* ours is the default */
        if (note_key != NULL && shoal_str_eq(kv->key, note_key)) continue;
        if (shoal_str_eq(kv->key, "general.file_type")) {
            shoal_gguf_put_u32(w, "general.file_type", FILE_TYPE_MIXED);
        } else {
            shoal_gguf_put_copy(w, kv);
        }
    }
    if (note_key != NULL) shoal_gguf_put_str(w, note_key, shoal_str_of(r->rules->note));
}

/* Metadata and the list of tensors, with the types they will have. */
static shoal_status write_header(rewriting *r, shoal_error *err)
{
    shoal_gguf_writer w = shoal_gguf_writer_init(MAX_HEADER);
    shoal_buf header = shoal_buf_init(MAX_HEADER);
    put_metadata(r, &w);
    for (size_t i = 0; i < shoal_gguf_tensor_count(r->g); i++) {
        const shoal_gguf_tensor *t = shoal_gguf_tensor_at(r->g, i);
        conversion c = plan_tensor(r->rules, t);
        uint32_t type = c.copied ? t->type : (uint32_t)c.to;
        shoal_gguf_announce(&w, t->name, type, t->dims, t->n_dims, c.bytes);
        r->report->bytes_in += t->bytes;
        r->report->bytes_out += c.bytes;
    }
    shoal_status st = shoal_gguf_writer_finish(&w, &header, err);
    if (st == SHOAL_OK) st = shoal_file_writer_put(&r->out, header.data, header.len, err);
    shoal_buf_clear(&header);
    shoal_gguf_writer_clear(&w);
    return st;
}

static shoal_status write_file(rewriting *r, shoal_error *err)
{
    SHOAL_TRY(write_header(r, err));
    for (size_t i = 0; i < shoal_gguf_tensor_count(r->g); i++) {
        SHOAL_TRY(write_tensor(r, shoal_gguf_tensor_at(r->g, i), err));
    }
    return shoal_file_writer_commit(&r->out, err);
}

/* Before the first byte is written: can every changed matrix be written at all? */
static shoal_status check_types(const rewriting *r, shoal_error *err)
{
    for (size_t i = 0; i < shoal_gguf_tensor_count(r->g); i++) {
        conversion c = plan_tensor(r->rules, shoal_gguf_tensor_at(r->g, i));
        if (c.copied || shoal_type_writable(shoal_type_plain(c.to))) continue;
        (void)shoal_fail(err, SHOAL_ERR_UNSUPPORTED,
                         "%.*s is %s, which can be read but not written", (int)c.tensor->name.n,
                         c.tensor->name.p, shoal_type_get((uint32_t)c.to)->name);
        shoal_hint(err, "choose another type, such as Q4_K or Q8_0");
        return SHOAL_ERR_UNSUPPORTED;
    }
    return SHOAL_OK;
}

static shoal_status refuse_same_file(const char *in, const char *out, shoal_error *err)
{
    struct stat a, b;
    if (stat(in, &a) != 0 || stat(out, &b) != 0) return SHOAL_OK; /* open will tell */
    if (a.st_dev != b.st_dev || a.st_ino != b.st_ino) return SHOAL_OK;
    (void)shoal_fail(err, SHOAL_ERR_ARG, "%s and %s are the same file", in, out);
    shoal_hint(err, "write to a new name; the original may be deleted afterwards");
    return SHOAL_ERR_ARG;
}

shoal_status shoal_rewrite_file(const char *in, const char *out, const shoal_rewrite_rules *rules,
                                shoal_pool *pool, shoal_rewrite_report *report, shoal_error *err)
{
    shoal_gguf *g = NULL;
    *report = (shoal_rewrite_report){0};
    SHOAL_TRY(refuse_same_file(in, out, err));
    SHOAL_TRY(shoal_gguf_open(&g, in, err));
    rewriting r = {.g = g, .rules = rules, .pool = pool, .report = report, .out = {.fd = -1}};
    shoal_status st = check_types(&r, err);
    if (st == SHOAL_OK) st = shoal_file_writer_open(&r.out, out, 0644, err);
    if (st == SHOAL_OK) st = write_file(&r, err);
    shoal_file_writer_abandon(&r.out);
    shoal_gguf_close(g);
    return st;
}
