/* delta.c - words to planes and back. */
#include "proto/delta.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "proto/crypto.h"
#include "proto/limits.h"

#ifdef SHOAL_HAVE_ZSTD
#include <zstd.h>
#endif

enum {
    FORM_XOR = 0,
    FORM_STEPS = 1,
    EXCEPTION_BYTES = 8,
    EXCEPTIONS_PART = 16, /* at most one word in so many */
    LEVEL = 3
};

static const char MAGIC[4] = "SHDL";
static const double STEP_MIN = 0x1p-80, STEP_MAX = 0x1p32;

/* ---- head -------------------------------------------------------------------------------------
 */

static bool put_head(shoal_buf *out, const shoal_delta_head *h)
{
    uint64_t step = 0;
    memcpy(&step, &h->step, sizeof step);
    return shoal_buf_put(out, MAGIC, sizeof MAGIC) && shoal_buf_put_u8(out, 1) &&
           shoal_buf_put_u8(out, h->form) && shoal_buf_put_u16(out, 0) &&
           shoal_buf_put_u32(out, h->size) && shoal_buf_put(out, h->from, 32) &&
           shoal_buf_put(out, h->to, 32) && shoal_buf_put_u64(out, step) &&
           shoal_buf_put_u32(out, h->exceptions) && shoal_buf_put_u32(out, h->packed) &&
           shoal_buf_put_u32(out, 0);
}

/* Spec 3.8.1: judged before anything is unpacked. */
static bool head_holds(const shoal_delta_head *h, size_t size)
{
    bool steps = h->form == FORM_STEPS && isfinite(h->step) && h->step >= STEP_MIN &&
                 h->step <= STEP_MAX && h->exceptions <= size / 4 / EXCEPTIONS_PART;
    bool xored = h->form == FORM_XOR && h->step == 0 && !signbit(h->step) && h->exceptions == 0;
    return h->size == size && size > 0 && size <= SHOAL_LIMIT_BLOB && (steps || xored) &&
           h->packed > 0 && (uint64_t)h->packed + SHOAL_DELTA_HEAD_BYTES < size;
}

shoal_status shoal_delta_read_head(const void *delta, size_t n, size_t size, shoal_delta_head *out,
                                   shoal_error *err)
{
    shoal_cursor c = shoal_cursor_init(delta, n);
    const uint8_t *magic = shoal_cursor_bytes(&c, sizeof MAGIC);
    bool ok = magic != NULL && memcmp(magic, MAGIC, sizeof MAGIC) == 0;
    ok = shoal_cursor_u8(&c) == 1 && ok;
    out->form = shoal_cursor_u8(&c);
    ok = shoal_cursor_u16(&c) == 0 && ok;
    out->size = shoal_cursor_u32(&c);
    (void)shoal_cursor_copy(&c, out->from, 32);
    (void)shoal_cursor_copy(&c, out->to, 32);
    uint64_t step = shoal_cursor_u64(&c);
    memcpy(&out->step, &step, sizeof step);
    out->exceptions = shoal_cursor_u32(&c);
    out->packed = shoal_cursor_u32(&c);
    ok = shoal_cursor_u32(&c) == 0 && ok;
    if (!c.failed && ok && head_holds(out, size)) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_FORMAT, "not a delta of a file of %zu bytes", size);
}

#ifdef SHOAL_HAVE_ZSTD

bool shoal_delta_available(void)
{
    return true;
}

/* ---- words ------------------------------------------------------------------------------------
 */

static uint32_t word_at(const uint8_t *p, size_t i)
{
    const uint8_t *b = p + 4 * i;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static void put_word(uint8_t *b, uint32_t v)
{
    for (size_t k = 0; k < 4; k++)
        b[k] = (uint8_t)(v >> (8 * k));
}

static float float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t bits_of(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* Small numbers of either sign as small numbers: 0, -1, 1, -2, ... */
static uint32_t fold(int32_t k)
{
    return ((uint32_t)k << 1) ^ (k < 0 ? UINT32_MAX : 0);
}

static int32_t unfold(uint32_t v)
{
    uint32_t k = (v >> 1) ^ (0U - (v & 1));
    return k <= INT32_MAX ? (int32_t)k : -1 - (int32_t)(UINT32_MAX - k);
}

/* Spec 3.8.2: no step at all leaves every bit, whatever the word is. */
static uint32_t take_steps(uint32_t old, int32_t k, double step)
{
    return k == 0 ? old : bits_of(float_of(old) + (float)((double)k * step));
}

/* The number of steps from old to new; false when none gives its bits. */
static bool find_steps(uint32_t old, uint32_t new, double step, int32_t *out)
{
    double k = ((double)float_of(new) - (double)float_of(old)) / step;
    if (old == new) {
        *out = 0;
        return true;
    }
    if (!(fabs(k) < 1e9)) return false;
    int32_t near = (int32_t)lround(k);
    for (int32_t d = 0; d <= 2; d++) {
        *out = near + (d == 2 ? -1 : d);
        if (take_steps(old, *out, step) == new) return true;
    }
    return false;
}

/* ---- encoding ---------------------------------------------------------------------------------
 */

typedef struct planes {
    uint8_t *bytes; /* [4][words], then the tail, then the exceptions */
    size_t words, tail, used;
} planes;

static size_t room_for(size_t n)
{
    return n + n / 4 / EXCEPTIONS_PART * EXCEPTION_BYTES;
}

static void set_planes(planes *p, size_t i, uint32_t v)
{
    for (size_t k = 0; k < 4; k++)
        p->bytes[k * p->words + i] = (uint8_t)(v >> (8 * k));
}

/* False when too many words are exceptions. */
static bool fill_steps(planes *p, const uint8_t *from, const uint8_t *to, shoal_delta_head *h)
{
    uint8_t *exception = p->bytes + 4 * p->words + p->tail;
    for (size_t i = 0; i < p->words; i++) {
        int32_t k = 0;
        uint32_t new = word_at(to, i);
        if (!find_steps(word_at(from, i), new, h->step, &k)) {
            if (h->exceptions == p->words / EXCEPTIONS_PART) return false;
            put_word(exception, (uint32_t)i);
            put_word(exception + 4, new);
            exception += EXCEPTION_BYTES;
            h->exceptions++;
            k = 0;
        }
        set_planes(p, i, fold(k));
    }
    p->used = (size_t)(exception - p->bytes);
    return true;
}

static void fill_xor(planes *p, const uint8_t *from, const uint8_t *to)
{
    for (size_t i = 0; i < p->words; i++)
        set_planes(p, i, word_at(from, i) ^ word_at(to, i));
    p->used = 4 * p->words + p->tail;
}

static shoal_status pack(shoal_delta_head *h, const planes *p, shoal_buf *out, shoal_error *err)
{
    size_t bound = ZSTD_compressBound(p->used);
    uint8_t *to = shoal_alloc(bound);
    if (to == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a delta");
    size_t got = ZSTD_compress(to, bound, p->bytes, p->used, LEVEL);
    shoal_status st = SHOAL_OK;
    if (ZSTD_isError(got)) {
        st = shoal_fail(err, SHOAL_ERR_INTERNAL, "zstd: %s", ZSTD_getErrorName(got));
    } else if (got + SHOAL_DELTA_HEAD_BYTES >= h->size) {
        st = shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the delta is not smaller than the file");
    } else {
        h->packed = (uint32_t)got;
        if (!put_head(out, h) || !shoal_buf_put(out, to, got)) st = shoal_buf_status(out, err);
    }
    shoal_free(to);
    return st;
}

static shoal_status encode_into(planes *p, const uint8_t *from, const uint8_t *to,
                                shoal_delta_head *h, shoal_buf *out, shoal_error *err)
{
    memcpy(p->bytes + 4 * p->words, to + 4 * p->words, p->tail);
    if (h->step > 0 && fill_steps(p, from, to, h)) {
        h->form = FORM_STEPS;
    } else {
        h->form = FORM_XOR;
        h->step = 0;
        h->exceptions = 0;
        fill_xor(p, from, to);
    }
    return pack(h, p, out, err);
}

shoal_status shoal_delta_encode(const void *from, const void *to, size_t n, double step,
                                shoal_buf *out, shoal_error *err)
{
    if (n == 0 || n > SHOAL_LIMIT_BLOB) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "a file of %zu bytes", n);
    }
    bool usable = step >= STEP_MIN && step <= STEP_MAX;
    shoal_delta_head h = {.size = (uint32_t)n, .step = usable ? step : 0};
    SHOAL_TRY(shoal_sha256(from, n, h.from, err));
    SHOAL_TRY(shoal_sha256(to, n, h.to, err));
    planes p = {.bytes = shoal_alloc(room_for(n)), .words = n / 4, .tail = n % 4};
    if (p.bytes == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a delta");
    shoal_status st = encode_into(&p, from, to, &h, out, err);
    shoal_free(p.bytes);
    return st;
}

/* ---- applying ---------------------------------------------------------------------------------
 */

static uint32_t plane_word(const uint8_t *planes_, size_t words, size_t i)
{
    uint32_t v = 0;
    for (size_t k = 0; k < 4; k++)
        v |= (uint32_t)planes_[k * words + i] << (8 * k);
    return v;
}

/* Ascending, within the file. */
static shoal_status put_exceptions(const shoal_delta_head *h, const uint8_t *at, size_t words,
                                   uint8_t *to, shoal_error *err)
{
    uint64_t next = 0;
    for (uint32_t e = 0; e < h->exceptions; e++, at += EXCEPTION_BYTES) {
        uint32_t i = word_at(at, 0);
        if (i < next || i >= words) {
            return shoal_fail(err, SHOAL_ERR_FORMAT, "a delta whose exceptions are out of order");
        }
        put_word(to + 4 * (size_t)i, word_at(at, 1));
        next = (uint64_t)i + 1;
    }
    return SHOAL_OK;
}

static shoal_status rebuild(const shoal_delta_head *h, const uint8_t *from, const uint8_t *body,
                            uint8_t *to, shoal_error *err)
{
    size_t words = h->size / 4, tail = h->size % 4;
    uint8_t hash[32];
    for (size_t i = 0; i < words; i++) {
        uint32_t old = word_at(from, i), v = plane_word(body, words, i);
        put_word(to + 4 * i, h->form == FORM_XOR ? old ^ v : take_steps(old, unfold(v), h->step));
    }
    memcpy(to + 4 * words, body + 4 * words, tail);
    SHOAL_TRY(put_exceptions(h, body + 4 * words + tail, words, to, err));
    SHOAL_TRY(shoal_sha256(to, h->size, hash, err));
    if (!shoal_equal(hash, h->to, sizeof hash)) {
        return shoal_fail(err, SHOAL_ERR_TAMPERED, "a delta that gives another file");
    }
    return SHOAL_OK;
}

/* Spec 3.8.1: what comes out of the compressed bytes has one length, known before, and no room for
 * more. */
static shoal_status unpack(const shoal_delta_head *h, const uint8_t *packed, uint8_t *body,
                           size_t n, shoal_error *err)
{
    if (ZSTD_getFrameContentSize(packed, h->packed) != n ||
        ZSTD_findFrameCompressedSize(packed, h->packed) != h->packed ||
        ZSTD_decompress(body, n, packed, h->packed) != n) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "a delta that does not unpack");
    }
    return SHOAL_OK;
}

static shoal_status check_from(const shoal_delta_head *h, const void *from, size_t n,
                               shoal_error *err)
{
    uint8_t hash[32];
    SHOAL_TRY(shoal_sha256(from, n, hash, err));
    if (shoal_equal(hash, h->from, sizeof hash)) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_FORMAT, "a delta of another file");
}

shoal_status shoal_delta_apply(const void *from, size_t n, const void *delta, size_t delta_n,
                               shoal_buf *out, shoal_error *err)
{
    shoal_delta_head h;
    SHOAL_TRY(shoal_delta_read_head(delta, delta_n, n, &h, err));
    if (delta_n != (size_t)SHOAL_DELTA_HEAD_BYTES + h.packed) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "a delta of the wrong length");
    }
    SHOAL_TRY(check_from(&h, from, n, err));
    size_t body_n = n + (size_t)h.exceptions * EXCEPTION_BYTES;
    uint8_t *to = shoal_buf_reserve(out, n), *body = shoal_alloc(body_n);
    shoal_status st = SHOAL_OK;
    if (to == NULL || body == NULL) {
        st = shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for an adapter");
    }
    const uint8_t *packed = (const uint8_t *)delta + SHOAL_DELTA_HEAD_BYTES;
    if (st == SHOAL_OK) st = unpack(&h, packed, body, body_n, err);
    if (st == SHOAL_OK) st = rebuild(&h, from, body, to, err);
    if (st == SHOAL_OK) {
        out->len += n;
        out->data[out->len] = 0;
    }
    shoal_free(body);
    return st;
}

#else /* without zstd */

bool shoal_delta_available(void)
{
    return false;
}

static shoal_status missing(shoal_error *err)
{
    return shoal_fail(err, SHOAL_ERR_UNSUPPORTED, "this build has no zstd for deltas");
}

shoal_status shoal_delta_encode(const void *from, const void *to, size_t n, double step,
                                shoal_buf *out, shoal_error *err)
{
    (void)from, (void)to, (void)n, (void)step, (void)out, (void)put_head;
    return missing(err);
}

shoal_status shoal_delta_apply(const void *from, size_t n, const void *delta, size_t delta_n,
                               shoal_buf *out, shoal_error *err)
{
    (void)from, (void)n, (void)delta, (void)delta_n, (void)out;
    return missing(err);
}

#endif
