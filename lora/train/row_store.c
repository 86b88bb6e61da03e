/* row_store.c - see the layout in row_store.h. */
#include "lora/train/row_store.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/buf.h"
#include "kernels/base/file.h"
#include "kernels/base/hash.h"
#include "kernels/base/mem.h"
#include "kernels/halves.h"
#include "kernels/quant.h"

static const char MAGIC[8] = {'S', 'H', 'O', 'A', 'L', 'R', 'O', 'W'};

enum {
    VERSION = 1,
    HEADER_BYTES = 8 + 4 + 4 + 8 + 8 + 8,
    ROWS_AT = 64, /* first byte of row 0 */
    EXPONENT_BYTES = 4,
    SUM_BYTES = 8,
    AT_ONCE = 32, /* rows read or written by one call */
};

/* ---- values -----------------------------------------------------------------------------------
 */

/* The scales of a row: into f16 and back. Exact, being powers of two. */
static float into_f16(int32_t exponent)
{
    return shoal_half_power(SHOAL_HALF_TOP - exponent);
}

static float out_of_f16(int32_t exponent)
{
    return shoal_half_power(exponent - SHOAL_HALF_TOP);
}

int32_t shoal_row_round(float *x, size_t D)
{
    float most = 0.0f;
    for (size_t i = 0; i < D; i++) {
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    }
    int exponent = shoal_half_exponent(most);
    float in = into_f16(exponent);
    float out = out_of_f16(exponent);
    for (size_t i = 0; i < D; i++) {
        x[i] = shoal_f16_to_f32(shoal_f32_to_f16(x[i] * in)) * out;
    }
    return exponent;
}

static size_t value_bytes(size_t D, bool f32)
{
    return f32 ? D * sizeof(float) : EXPONENT_BYTES + D * sizeof(uint16_t);
}

size_t shoal_row_bytes(size_t D, bool f32)
{
    return value_bytes(D, f32) + SUM_BYTES;
}

static void put_values(const shoal_row_store *s, const float *x, int32_t exponent, uint8_t *out)
{
    if (s->f32) {
        memcpy(out, x, s->D * sizeof *x);
        return;
    }
    float in = into_f16(exponent);
    memcpy(out, &exponent, EXPONENT_BYTES);
    for (size_t i = 0; i < s->D; i++) {
        uint16_t half = shoal_f32_to_f16(x[i] * in);
        memcpy(out + EXPONENT_BYTES + i * sizeof half, &half, sizeof half);
    }
}

static void get_values(const shoal_row_store *s, const uint8_t *in, float *x)
{
    int32_t exponent = 0;
    if (s->f32) {
        memcpy(x, in, s->D * sizeof *x);
        return;
    }
    memcpy(&exponent, in, EXPONENT_BYTES);
    float out = out_of_f16(exponent);
    for (size_t i = 0; i < s->D; i++) {
        uint16_t half = 0;
        memcpy(&half, in + EXPONENT_BYTES + i * sizeof half, sizeof half);
        x[i] = shoal_f16_to_f32(half) * out;
    }
}

/* ---- sums and bits ----------------------------------------------------------------------------
 */

static uint64_t sum_of(const shoal_row_store *s, uint32_t row, const uint8_t *values)
{
    const uint64_t place[2] = {s->binding, row};
    uint64_t h = shoal_fnv64(SHOAL_FNV64_INIT, place, sizeof place);
    return shoal_fnv64(h, values, s->row_bytes - SUM_BYTES);
}

static bool is_whole(const shoal_row_store *s, uint32_t row, const uint8_t *bytes)
{
    uint64_t sum = 0;
    memcpy(&sum, bytes + s->row_bytes - SUM_BYTES, SUM_BYTES);
    return sum == sum_of(s, row, bytes);
}

bool shoal_row_store_has(const shoal_row_store *s, uint32_t row)
{
    return row < s->n_rows && (s->present[row / 8] >> (row % 8) & 1) != 0;
}

static void set_present(shoal_row_store *s, uint32_t row, bool is)
{
    if (shoal_row_store_has(s, row) == is) return;
    s->present[row / 8] ^= (uint8_t)(1u << (row % 8));
    s->n_present = is ? s->n_present + 1 : s->n_present - 1;
}

static uint64_t place_of(const shoal_row_store *s, uint32_t row)
{
    return ROWS_AT + (uint64_t)row * s->row_bytes;
}

/* ---- opening ----------------------------------------------------------------------------------
 */

shoal_status shoal_row_store_open(shoal_row_store *s, size_t D, bool f32, uint32_t n_rows,
                                  shoal_error *err)
{
    size_t buffer = 0;
    *s = (shoal_row_store){.fd = -1, .D = D, .f32 = f32, .n_rows = n_rows};
    s->row_bytes = shoal_row_bytes(D, f32);
    if (!shoal_mul_size(s->row_bytes, AT_ONCE, &buffer)) {
        return shoal_fail(err, SHOAL_ERR_OVERFLOW, "rows of %zu values are too long", D);
    }
    s->present = shoal_calloc((size_t)n_rows / 8 + 1, 1);
    s->buffer = shoal_alloc(buffer);
    if (s->present == NULL || s->buffer == NULL) {
        shoal_row_store_close(s);
        return shoal_fail(err, SHOAL_ERR_NOMEM, "out of memory for a store of %u rows",
                          (unsigned)n_rows);
    }
    memset(s->buffer, 0, buffer); /* in memory from now on, as the plan counts it */
    return SHOAL_OK;
}

void shoal_row_store_close(shoal_row_store *s)
{
    if (s->fd >= 0) {
        shoal_row_store_flush(s);
        (void)close(s->fd);
    }
    shoal_free(s->present);
    if (s->buffer != NULL) shoal_wipe(s->buffer, AT_ONCE * s->row_bytes);
    shoal_free(s->buffer);
    *s = (shoal_row_store){.fd = -1};
}

static void make_header(const shoal_row_store *s, uint8_t out[HEADER_BYTES])
{
    shoal_buf b = shoal_buf_init(HEADER_BYTES);
    shoal_buf_put(&b, MAGIC, sizeof MAGIC);
    shoal_buf_put_u32(&b, VERSION);
    shoal_buf_put_u32(&b, (uint32_t)s->row_bytes);
    shoal_buf_put_u64(&b, s->binding);
    shoal_buf_put_u64(&b, s->n_rows);
    shoal_buf_put_u64(&b, shoal_fnv64(SHOAL_FNV64_INIT, b.data, b.len));
    memset(out, 0, HEADER_BYTES); /* out of memory: a header no file has */
    if (b.len == HEADER_BYTES) memcpy(out, b.data, b.len);
    shoal_buf_clear(&b);
}

/* A file of our own that others may not change; -1 when there is none that can be used. */
static int open_existing(shoal_row_store *s, const char *path, const uint8_t *header)
{
    uint8_t bytes[HEADER_BYTES];
    size_t got = 0;
    struct stat sb;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    s->found = fd < 0 && errno == ENOENT ? SHOAL_ROWS_NEW : SHOAL_ROWS_FOREIGN;
    if (fd < 0) return -1;
    bool ours = fstat(fd, &sb) == 0 && S_ISREG(sb.st_mode) && sb.st_uid == geteuid() &&
                (sb.st_mode & (S_IRWXG | S_IRWXO)) == 0 &&
                shoal_file_get_at(fd, 0, bytes, sizeof bytes, &got, NULL) == SHOAL_OK &&
                got == HEADER_BYTES && memcmp(bytes, header, HEADER_BYTES) == 0;
    if (!ours) {
        (void)close(fd);
        return -1;
    }
    s->found = SHOAL_ROWS_OWN;
    return fd;
}

static shoal_status create(shoal_row_store *s, const char *path, const uint8_t *header,
                           shoal_error *err)
{
    if (s->found == SHOAL_ROWS_FOREIGN && unlink(path) != 0) {
        return shoal_fail_errno(err, errno, "cannot remove %s", path);
    }
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
    if (fd < 0) return shoal_fail_errno(err, errno, "cannot make %s", path);
    shoal_status st = shoal_file_put_at(fd, 0, header, HEADER_BYTES, err);
    if (st != SHOAL_OK) {
        (void)close(fd);
        (void)unlink(path);
        return st;
    }
    s->fd = fd;
    return SHOAL_OK;
}

static bool is_blank(const uint8_t *p, size_t n)
{
    size_t i = 0;
    while (i < n && p[i] == 0) {
        i++;
    }
    return i == n;
}

/* Finds out which rows are there. */
static void survey(shoal_row_store *s)
{
    for (uint32_t row = 0; row < s->n_rows;) {
        size_t got = 0;
        uint32_t left = s->n_rows - row;
        uint32_t n = left < AT_ONCE ? left : AT_ONCE;
        if (shoal_file_get_at(s->fd, place_of(s, row), s->buffer, n * s->row_bytes, &got, NULL) !=
                SHOAL_OK ||
            got == 0) {
            return;
        }
        memset(s->buffer + got, 0, n * s->row_bytes - got);
        for (uint32_t i = 0; i < n; i++) {
            const uint8_t *bytes = s->buffer + i * s->row_bytes;
            bool whole = is_whole(s, row + i, bytes);
            set_present(s, row + i, whole);
            s->n_damaged += !whole && !is_blank(bytes, s->row_bytes);
        }
        row += n;
    }
}

shoal_status shoal_row_store_attach(shoal_row_store *s, const char *path, uint64_t binding,
                                    shoal_error *err)
{
    uint8_t header[HEADER_BYTES];
    s->binding = binding;
    make_header(s, header);
    s->fd = open_existing(s, path, header);
    if (s->fd < 0) return create(s, path, header, err);
    survey(s);
    return SHOAL_OK;
}

/* ---- rows -------------------------------------------------------------------------------------
 */

void shoal_row_store_flush(shoal_row_store *s)
{
    size_t n = s->n_pending * s->row_bytes;
    if (s->n_pending == 0) return;
    if (shoal_file_put_at(s->fd, place_of(s, s->pending_first), s->buffer, n, NULL) == SHOAL_OK) {
        for (uint32_t i = 0; i < s->n_pending; i++) {
            set_present(s, s->pending_first + i, true);
        }
        s->written_bytes += n;
    } else {
        s->read_only = true;
    }
    s->n_pending = 0;
}

void shoal_row_store_put(shoal_row_store *s, uint32_t row, const float *x, int32_t exponent)
{
    if (s->n_pending == AT_ONCE || row != s->pending_first + s->n_pending) {
        shoal_row_store_flush(s);
    }
    if (s->fd < 0 || s->read_only || row >= s->n_rows || shoal_row_store_has(s, row)) return;
    if (s->n_pending == 0) s->pending_first = row;
    uint8_t *bytes = s->buffer + s->n_pending * s->row_bytes;
    put_values(s, x, exponent, bytes);
    uint64_t sum = sum_of(s, row, bytes);
    memcpy(bytes + s->row_bytes - SUM_BYTES, &sum, SUM_BYTES);
    s->n_pending++;
}

static bool get_some(shoal_row_store *s, uint32_t first, uint32_t n, float *x)
{
    size_t got = 0;
    bool all = true;
    if (shoal_file_get_at(s->fd, place_of(s, first), s->buffer, n * s->row_bytes, &got, NULL) !=
        SHOAL_OK) {
        got = 0;
    }
    memset(s->buffer + got, 0, n * s->row_bytes - got);
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *bytes = s->buffer + i * s->row_bytes;
        if (is_whole(s, first + i, bytes)) {
            get_values(s, bytes, x + i * s->D);
        } else {
            set_present(s, first + i, false);
            s->n_damaged++;
            all = false;
        }
    }
    return all;
}

bool shoal_row_store_get(shoal_row_store *s, uint32_t first, size_t n, float *x)
{
    bool all = true;
    shoal_row_store_flush(s); /* the buffer is needed */
    for (size_t done = 0; done < n;) {
        size_t some = n - done < AT_ONCE ? n - done : AT_ONCE;
        all = get_some(s, first + (uint32_t)done, (uint32_t)some, x + done * s->D) && all;
        done += some;
    }
    return all;
}
