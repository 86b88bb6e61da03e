/* gguf.c - opens GGUF files: bounds, limits and consistency of everything a reader later uses. */
#include "lora/model/gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/buf.h"
#include "kernels/base/mem.h"

enum {
    DEFAULT_ALIGNMENT = 32,
    MIN_ALIGNMENT = 8,
    MIN_KV_BYTES = 8 + 1 + 4 + 1,            /* key length, key, type, value */
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8 /* name, n_dims, one dim, type, offset */
};

static const uint64_t MAX_DIM = (uint64_t)1 << 31;

/* A name and where its entry is, for lookup by bisection. (Sorting, unlike hashing, has no input
 * that makes it slow.) */
typedef struct name_index {
    shoal_str name;
    size_t at;
} name_index;

struct shoal_gguf {
    char *name;
    const uint8_t *bytes; /* [size] the whole file */
    size_t size;
    bool mapped;
    shoal_page_size pages; /* of the mapping */
    shoal_gguf_kv *kv;     /* [n_kv] */
    size_t n_kv;
    shoal_gguf_tensor *tensors; /* [n_tensors] */
    size_t n_tensors;
    name_index *kv_index;     /* [n_kv] sorted by name */
    name_index *tensor_index; /* [n_tensors] sorted by name */
};

/* The element types a file may hold, by number, so that sizes can be checked even of tensors this
 * build does not compute with. Source: ggml.h, ggml-common.h (block sizes are part of the format).
 */
typedef struct file_type {
    uint32_t type;
    const char *name;
    size_t block, block_bytes;
} file_type;

static const file_type FILE_TYPES[] = {
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},
    {3, "Q4_1", 32, 20},      {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},
    {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},      {10, "Q2_K", 256, 84},
    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66},
    {17, "IQ2_XS", 256, 74},  {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},
    {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},  {22, "IQ2_S", 256, 82},
    {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
    {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},
    {29, "IQ1_M", 256, 56},   {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},
    {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},    {250, "P4_0", 32, 18},
    {251, "P4_1", 32, 20},    {252, "P8_0", 32, 34},    {248, "Q4_A", 32, 18},
    {249, "Q6_A", 32, 26},    {253, "P4_A", 32, 18},    {254, "P6_A", 32, 26}, /* kernels/quant.h */
};

static const file_type *find_type(uint32_t type)
{
    for (size_t i = 0; i < sizeof FILE_TYPES / sizeof FILE_TYPES[0]; i++) {
        if (FILE_TYPES[i].type == type) return &FILE_TYPES[i];
    }
    return NULL;
}

const char *shoal_gguf_type_name(uint32_t gguf_type)
{
    const file_type *t = find_type(gguf_type);
    return t == NULL ? "unknown" : t->name;
}

shoal_str shoal_str_of(const char *s)
{
    return (shoal_str){s, strlen(s)};
}

bool shoal_str_eq(shoal_str a, const char *b)
{
    size_t n = strlen(b);
    return a.n == n && (n == 0 || memcmp(a.p, b, n) == 0);
}

/* A name from a file as it may be shown: printable ASCII, at most 63 characters. */
typedef struct shown {
    char text[64];
} shown;

static shown show(shoal_str s)
{
    shown out;
    size_t n = s.n < sizeof out.text - 1 ? s.n : sizeof out.text - 1;
    for (size_t i = 0; i < n; i++) {
        out.text[i] = s.p[i] >= 0x20 && s.p[i] < 0x7f ? s.p[i] : '?';
    }
    out.text[n] = '\0';
    return out;
}

static shoal_status damaged(const shoal_gguf *g, shoal_error *err, const char *what, shoal_str name)
{
    if (name.n > 0) {
        (void)shoal_fail(err, SHOAL_ERR_FORMAT, "%s: %s ('%s')", g->name, what, show(name).text);
    } else {
        (void)shoal_fail(err, SHOAL_ERR_FORMAT, "%s: %s", g->name, what);
    }
    shoal_hint(err, "the file is damaged or incomplete; fetch it again");
    return SHOAL_ERR_FORMAT;
}

static const shoal_str NO_NAME = {NULL, 0};

static shoal_str read_string(shoal_cursor *c, size_t max)
{
    uint64_t n = shoal_cursor_u64(c);
    if (n > max) {
        c->failed = true;
    }
    const uint8_t *p = c->failed ? NULL : shoal_cursor_bytes(c, n);
    return p == NULL ? NO_NAME : (shoal_str){(const char *)p, (size_t)n};
}

/* ---- values -----------------------------------------------------------------------------------
 */

/* Bytes of a scalar type; 0 for strings, arrays and unknown numbers. */
static size_t scalar_bytes(uint32_t type)
{
    switch (type) {
    case SHOAL_GGUF_U8:
    case SHOAL_GGUF_I8:
    case SHOAL_GGUF_BOOL: return 1;
    case SHOAL_GGUF_U16:
    case SHOAL_GGUF_I16: return 2;
    case SHOAL_GGUF_U32:
    case SHOAL_GGUF_I32:
    case SHOAL_GGUF_F32: return 4;
    case SHOAL_GGUF_U64:
    case SHOAL_GGUF_I64:
    case SHOAL_GGUF_F64: return 8;
    default: return 0;
    }
}

/* Moves past n values of one type; false when they are not all there or the type is unknown. */
static bool skip_values(shoal_cursor *c, uint32_t type, uint64_t n)
{
    size_t size = scalar_bytes(type);
    if (size > 0) {
        return n <= c->left / size && shoal_cursor_bytes(c, n * size) != NULL;
    }
    if (type != SHOAL_GGUF_STRING || n > c->left / sizeof(uint64_t)) return false;
    for (uint64_t i = 0; i < n && !c->failed; i++) {
        (void)read_string(c, SHOAL_GGUF_MAX_STRING);
    }
    return !c->failed;
}

static shoal_status read_kv(const shoal_gguf *g, shoal_cursor *c, shoal_gguf_kv *kv,
                            shoal_error *err)
{
    kv->key = read_string(c, SHOAL_GGUF_MAX_KEY);
    uint32_t type = shoal_cursor_u32(c);
    if (c->failed || kv->key.n == 0) return damaged(g, err, "a key does not fit", NO_NAME);
    uint64_t n = 1;
    uint32_t elem = type;
    if (type == SHOAL_GGUF_ARRAY) {
        elem = shoal_cursor_u32(c);
        n = shoal_cursor_u64(c);
        if (elem == SHOAL_GGUF_ARRAY) return damaged(g, err, "arrays of arrays", kv->key);
    }
    kv->data = c->p;
    if (c->failed || !skip_values(c, elem, n)) {
        return damaged(g, err, "a value does not fit or its type is unknown", kv->key);
    }
    kv->type = (shoal_gguf_vtype)type;
    kv->elem = (shoal_gguf_vtype)elem;
    kv->n = (size_t)n;
    kv->bytes = (size_t)(c->p - kv->data);
    return SHOAL_OK;
}

/* ---- names ------------------------------------------------------------------------------------
 */

static int compare_str(shoal_str a, shoal_str b)
{
    int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

static int by_name(const void *a, const void *b)
{
    return compare_str(((const name_index *)a)->name, ((const name_index *)b)->name);
}

/* Sorts the index; FORMAT when a name occurs twice. */
static shoal_status sort_names(const shoal_gguf *g, name_index *index, size_t n, const char *what,
                               shoal_error *err)
{
    qsort(index, n, sizeof *index, by_name);
    for (size_t i = 1; i < n; i++) {
        if (by_name(&index[i - 1], &index[i]) == 0) return damaged(g, err, what, index[i].name);
    }
    return SHOAL_OK;
}

static const name_index *find_name(const name_index *index, size_t n, const char *name)
{
    name_index key = {shoal_str_of(name), 0};
    return n == 0 ? NULL : bsearch(&key, index, n, sizeof *index, by_name);
}

/* ---- tensors ----------------------------------------------------------------------------------
 */

/* Checks dims against the type and fills in the tensor's size. */
static shoal_status size_tensor(const shoal_gguf *g, shoal_gguf_tensor *t, shoal_error *err)
{
    const file_type *type = find_type(t->type);
    if (type == NULL) {
        (void)shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "%s: tensor '%s' has unknown type %u", g->name,
                         show(t->name).text, (unsigned)t->type);
        shoal_hint(err, "use a file with types F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K "
                        "... Q6_K or IQ4_NL");
        return SHOAL_ERR_UNSUPPORTED;
    }
    size_t blocks = t->dims[0] / type->block;
    bool fits = t->dims[0] % type->block == 0;
    for (size_t i = 1; i < t->n_dims; i++) {
        fits = fits && shoal_mul_size(blocks, t->dims[i], &blocks);
    }
    if (!fits || !shoal_mul_size(blocks, type->block_bytes, &t->bytes) || t->bytes > g->size) {
        return damaged(g, err, "a tensor's shape does not fit", t->name);
    }
    return SHOAL_OK;
}

/* Reads a tensor header; `offset` gets the place of its data after the start of all data. */
static shoal_status read_tensor(const shoal_gguf *g, shoal_cursor *c, shoal_gguf_tensor *t,
                                uint64_t *offset, shoal_error *err)
{
    t->name = read_string(c, SHOAL_GGUF_MAX_KEY);
    uint32_t n_dims = shoal_cursor_u32(c);
    if (c->failed || t->name.n == 0 || n_dims < 1 || n_dims > SHOAL_GGUF_MAX_DIMS) {
        return damaged(g, err, "a tensor header does not fit", t->name);
    }
    t->n_dims = n_dims;
    for (size_t i = 0; i < n_dims; i++) {
        uint64_t dim = shoal_cursor_u64(c);
        if (dim < 1 || dim > MAX_DIM) return damaged(g, err, "a tensor's shape is off", t->name);
        t->dims[i] = (size_t)dim;
    }
    t->type = shoal_cursor_u32(c);
    *offset = shoal_cursor_u64(c);
    if (c->failed) return damaged(g, err, "a tensor header does not fit", t->name);
    return size_tensor(g, t, err);
}

static int by_place(const void *a, const void *b)
{
    const uint8_t *pa = (*(const shoal_gguf_tensor *const *)a)->data;
    const uint8_t *pb = (*(const shoal_gguf_tensor *const *)b)->data;
    return (pa > pb) - (pa < pb);
}

static shoal_status check_overlap(const shoal_gguf *g, shoal_error *err)
{
    if (g->n_tensors < 2) return SHOAL_OK;
    const shoal_gguf_tensor **order = shoal_calloc(g->n_tensors, sizeof *order);
    if (order == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < g->n_tensors; i++) {
        order[i] = &g->tensors[i];
    }
    qsort(order, g->n_tensors, sizeof *order, by_place);
    shoal_status st = SHOAL_OK;
    for (size_t i = 1; i < g->n_tensors && st == SHOAL_OK; i++) {
        const uint8_t *end = (const uint8_t *)order[i - 1]->data + order[i - 1]->bytes;
        if (end > (const uint8_t *)order[i]->data) {
            st = damaged(g, err, "tensors overlap", order[i]->name);
        }
    }
    shoal_free(order);
    return st;
}

/* ---- open -------------------------------------------------------------------------------------
 */

static shoal_status check_version(const shoal_gguf *g, uint32_t version, shoal_error *err)
{
    if (version == 2 || version == 3) return SHOAL_OK;
    (void)shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "%s: GGUF version %u is not supported", g->name,
                     (unsigned)version);
    shoal_hint(err, "%s",
               (version & 0xffff) == 0 && version != 0
                   ? "the file is big-endian; convert it to little-endian"
                   : "convert it to GGUF version 3");
    return SHOAL_ERR_UNSUPPORTED;
}

/* Counts checked against the bytes there, then room for that many entries. */
static shoal_status read_header(shoal_gguf *g, shoal_cursor *c, shoal_error *err)
{
    const uint8_t *magic = shoal_cursor_bytes(c, 4);
    if (magic == NULL || memcmp(magic, "GGUF", 4) != 0) {
        (void)shoal_fail(err, SHOAL_ERR_FORMAT, "%s: not a GGUF file", g->name);
        shoal_hint(err, "a model or adapter file begins with the letters GGUF");
        return SHOAL_ERR_FORMAT;
    }
    uint32_t version = shoal_cursor_u32(c);
    if (c->failed) return damaged(g, err, "it ends within its header", NO_NAME);
    SHOAL_TRY(check_version(g, version, err));
    uint64_t n_tensors = shoal_cursor_u64(c);
    uint64_t n_kv = shoal_cursor_u64(c);
    if (c->failed || n_kv > SHOAL_GGUF_MAX_KV || n_kv > c->left / MIN_KV_BYTES ||
        n_tensors > SHOAL_GGUF_MAX_TENSORS || n_tensors > c->left / MIN_TENSOR_BYTES) {
        return damaged(g, err, "the counts of keys or tensors do not fit", NO_NAME);
    }
    g->n_kv = (size_t)n_kv;
    g->n_tensors = (size_t)n_tensors;
    g->kv = shoal_calloc(g->n_kv, sizeof *g->kv);
    g->kv_index = shoal_calloc(g->n_kv, sizeof *g->kv_index);
    g->tensors = shoal_calloc(g->n_tensors, sizeof *g->tensors);
    g->tensor_index = shoal_calloc(g->n_tensors, sizeof *g->tensor_index);
    if (g->kv == NULL || g->kv_index == NULL || g->tensors == NULL || g->tensor_index == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "%s: out of memory", g->name);
    }
    return SHOAL_OK;
}

static shoal_status read_kvs(shoal_gguf *g, shoal_cursor *c, shoal_error *err)
{
    for (size_t i = 0; i < g->n_kv; i++) {
        SHOAL_TRY(read_kv(g, c, &g->kv[i], err));
        g->kv_index[i] = (name_index){g->kv[i].key, i};
    }
    return sort_names(g, g->kv_index, g->n_kv, "a key occurs twice", err);
}

static shoal_status read_alignment(const shoal_gguf *g, size_t *alignment, shoal_error *err)
{
    uint64_t v = DEFAULT_ALIGNMENT;
    shoal_status st =
        shoal_gguf_get_uint(g, "general.alignment", SHOAL_GGUF_MAX_ALIGNMENT, &v, err);
    if (st != SHOAL_OK && st != SHOAL_ERR_NOT_FOUND) return st;
    if (v < MIN_ALIGNMENT || (v & (v - 1)) != 0) {
        return damaged(g, err, "general.alignment is not a power of two of at least 8", NO_NAME);
    }
    *alignment = (size_t)v;
    return SHOAL_OK;
}

/* Sets `data` of every tensor, now that the start of all data is known. */
static shoal_status place_tensors(shoal_gguf *g, const uint64_t *offsets, size_t header_bytes,
                                  shoal_error *err)
{
    size_t alignment = 0;
    SHOAL_TRY(read_alignment(g, &alignment, err));
    size_t start = (header_bytes + alignment - 1) & ~(alignment - 1);
    size_t data_bytes = start <= g->size ? g->size - start : 0;
    for (size_t i = 0; i < g->n_tensors; i++) {
        shoal_gguf_tensor *t = &g->tensors[i];
        if (offsets[i] % alignment != 0) {
            return damaged(g, err, "a tensor's data is misaligned", t->name);
        }
        if (offsets[i] > data_bytes || t->bytes > data_bytes - offsets[i]) {
            return damaged(g, err, "a tensor's data lies beyond the end of the file", t->name);
        }
        t->data = g->bytes + start + offsets[i];
    }
    return check_overlap(g, err);
}

static shoal_status read_tensors(shoal_gguf *g, shoal_cursor *c, shoal_error *err)
{
    uint64_t *offsets = shoal_calloc(g->n_tensors, sizeof *offsets);
    if (offsets == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "%s: out of memory", g->name);
    shoal_status st = SHOAL_OK;
    for (size_t i = 0; i < g->n_tensors && st == SHOAL_OK; i++) {
        st = read_tensor(g, c, &g->tensors[i], &offsets[i], err);
        g->tensor_index[i] = (name_index){g->tensors[i].name, i};
    }
    if (st == SHOAL_OK) {
        st = sort_names(g, g->tensor_index, g->n_tensors, "a tensor occurs twice", err);
    }
    if (st == SHOAL_OK) {
        st = place_tensors(g, offsets, g->size - c->left, err);
    }
    shoal_free(offsets);
    return st;
}

static shoal_status parse(shoal_gguf *g, shoal_error *err)
{
    shoal_cursor c = shoal_cursor_init(g->bytes, g->size);
    SHOAL_TRY(read_header(g, &c, err));
    SHOAL_TRY(read_kvs(g, &c, err));
    return read_tensors(g, &c, err);
}

/* Maps a regular file; nothing is kept open. */
static shoal_status map_file(shoal_gguf *g, const char *path, shoal_page_size pages,
                             shoal_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not block us */
    if (fd < 0) return shoal_fail_errno(err, errno, "cannot open '%s'", path);
    struct stat sb;
    shoal_status st = SHOAL_OK;
    if (fstat(fd, &sb) != 0) {
        st = shoal_fail_errno(err, errno, "cannot look at '%s'", path);
    } else if (!S_ISREG(sb.st_mode)) {
        st = shoal_fail(err, SHOAL_ERR_FORMAT, "'%s' is not a regular file", path);
    } else if (sb.st_size <= 0 || (uint64_t)sb.st_size > SIZE_MAX) {
        st = damaged(g, err, "the file is empty", NO_NAME);
    } else {
        const void *p = shoal_pages_map(fd, (size_t)sb.st_size, pages);
        if (p == NULL) {
            st = shoal_fail_errno(err, errno, "cannot map '%s'", path);
        } else {
            g->bytes = p;
            g->size = (size_t)sb.st_size;
            g->mapped = true;
            g->pages = pages;
        }
    }
    (void)close(fd);
    return st;
}

static shoal_gguf *new_gguf(const char *name)
{
    shoal_gguf *g = shoal_calloc(1, sizeof *g);
    if (g == NULL) return NULL;
    g->name = shoal_strdup(name);
    if (g->name == NULL) {
        shoal_free(g);
        return NULL;
    }
    return g;
}

shoal_status shoal_gguf_open(shoal_gguf **out, const char *path, shoal_error *err)
{
    return shoal_gguf_open_pages(out, path, SHOAL_PAGES_HUGE, err);
}

shoal_status shoal_gguf_open_pages(shoal_gguf **out, const char *path, shoal_page_size pages,
                                   shoal_error *err)
{
    *out = NULL;
    shoal_gguf *g = new_gguf(path);
    if (g == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    shoal_status st = map_file(g, path, pages, err);
    if (st == SHOAL_OK) {
        st = parse(g, err);
    }
    if (st != SHOAL_OK) {
        shoal_gguf_close(g);
        return st;
    }
    *out = g;
    return SHOAL_OK;
}

shoal_status shoal_gguf_open_memory(shoal_gguf **out, const void *data, size_t n, const char *name,
                                    shoal_error *err)
{
    *out = NULL;
    if (data == NULL || (uintptr_t)data % MIN_ALIGNMENT != 0) {
        return shoal_fail(err, SHOAL_ERR_ARG, "%s: bytes must be aligned to 8", name);
    }
    shoal_gguf *g = new_gguf(name);
    if (g == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory");
    g->bytes = data;
    g->size = n;
    shoal_status st = parse(g, err);
    if (st != SHOAL_OK) {
        shoal_gguf_close(g);
        return st;
    }
    *out = g;
    return SHOAL_OK;
}

void shoal_gguf_close(shoal_gguf *g)
{
    if (g == NULL) return;
    if (g->mapped) shoal_pages_unmap(g->bytes, g->size);
    shoal_free(g->kv);
    shoal_free(g->kv_index);
    shoal_free(g->tensors);
    shoal_free(g->tensor_index);
    shoal_free(g->name);
    shoal_free(g);
}

/* ---- entries ----------------------------------------------------------------------------------
 */

const char *shoal_gguf_name(const shoal_gguf *g)
{
    return g->name;
}

shoal_mapping shoal_gguf_mapping(const shoal_gguf *g)
{
    return g->mapped ? (shoal_mapping){g->bytes, g->size, g->pages}
                     : (shoal_mapping){NULL, 0, SHOAL_PAGES_SMALL};
}

size_t shoal_gguf_kv_count(const shoal_gguf *g)
{
    return g->n_kv;
}

const shoal_gguf_kv *shoal_gguf_kv_at(const shoal_gguf *g, size_t i)
{
    return &g->kv[i];
}

size_t shoal_gguf_tensor_count(const shoal_gguf *g)
{
    return g->n_tensors;
}

const shoal_gguf_tensor *shoal_gguf_tensor_at(const shoal_gguf *g, size_t i)
{
    return &g->tensors[i];
}

const shoal_gguf_kv *shoal_gguf_find(const shoal_gguf *g, const char *key)
{
    const name_index *at = find_name(g->kv_index, g->n_kv, key);
    return at == NULL ? NULL : &g->kv[at->at];
}

const shoal_gguf_tensor *shoal_gguf_find_tensor(const shoal_gguf *g, const char *name)
{
    const name_index *at = find_name(g->tensor_index, g->n_tensors, name);
    return at == NULL ? NULL : &g->tensors[at->at];
}
