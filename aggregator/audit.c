/* audit.c - the hash-chained log. */
#include "aggregator/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "proto/crypto.h"

enum { HEX = 64, CHUNK = 1 << 16 };

static const char HASH_MEMBER[] = ",\"hash\":\"";
static const char LABEL[] = "shoal/audit";

/* Locks of a file do not keep threads of one process apart. */
static pthread_mutex_t g_turn = PTHREAD_MUTEX_INITIALIZER;

/* ---- one line ---------------------------------------------------------------------------------
 */

static shoal_status hash_line(const char *line, size_t n, uint8_t out[32], shoal_error *err)
{
    shoal_sha256_ctx h;
    shoal_sha256_init(&h);
    shoal_sha256_update(&h, LABEL, sizeof LABEL);
    shoal_sha256_update(&h, line, n);
    return shoal_sha256_final(&h, out, err);
}

/* The entry in front of a line's hash, and the hash; false when the line is not of the form. */
static bool split_line(const char *line, size_t n, size_t *body, uint8_t hash[32])
{
    char hex[HEX + 1] = {0};
    size_t tail = sizeof HASH_MEMBER - 1 + HEX + 2;
    if (n < tail || memcmp(line + n - 2, "\"}", 2) != 0) {
        return false;
    }
    *body = n - tail;
    memcpy(hex, line + n - 2 - HEX, HEX);
    return memcmp(line + *body, HASH_MEMBER, sizeof HASH_MEMBER - 1) == 0 &&
           shoal_hex_decode(hex, hash, 32);
}

/* "{"n":7," -> 7 */
static bool number_of(const char *line, size_t n, uint64_t *out)
{
    static const char begin[] = "{\"n\":";
    char digits[24] = {0};
    size_t at = sizeof begin - 1;
    if (n < at || memcmp(line, begin, at) != 0) {
        return false;
    }
    size_t k = 0;
    while (at + k < n && k < sizeof digits - 1 && line[at + k] != ',') {
        digits[k] = line[at + k];
        k++;
    }
    return shoal_parse_u64(digits, out);
}

/* Texts come from devices and operators: what JSON cannot hold as it is becomes '?'. */
static void put_text(shoal_buf *out, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        bool plain = *p >= 0x20 && *p != 0x7f && *p != '"' && *p != '\\';
        (void)shoal_buf_put_u8(out, plain ? *p : '?');
    }
}

static void put_field(shoal_buf *out, const shoal_audit_field *f)
{
    char hex[2 * 64 + 1];
    (void)shoal_buf_putf(out, ",\"%s\":", f->name);
    if (f->text == NULL && f->hex == NULL) {
        (void)shoal_buf_putf(out, "%" PRIu64, f->number);
        return;
    }
    (void)shoal_buf_put_u8(out, '"');
    if (f->text != NULL) {
        put_text(out, f->text);
    } else {
        shoal_hex_encode(f->hex, f->hex_n < 64 ? f->hex_n : 64, hex);
        (void)shoal_buf_put_str(out, hex);
    }
    (void)shoal_buf_put_u8(out, '"');
}

/* ---- the end of the log -----------------------------------------------------------------------
 */

typedef struct log_tail {
    uint64_t n;       /* entries */
    uint8_t hash[32]; /* of the last one */
    uint64_t end;     /* where the next line begins */
    size_t torn;      /* bytes behind it */
} log_tail;

static shoal_status damaged(shoal_error *err, const char *path)
{
    shoal_status st = shoal_fail(err, SHOAL_ERR_TAMPERED, "the end of %s is damaged", path);
    shoal_hint(err, "`shoal-aggregator audit verify` says where; set the file aside to go on");
    return st;
}

/* The last whole line decides; nothing before it is read. */
static shoal_status read_tail(int fd, const char *path, log_tail *t, shoal_error *err)
{
    char bytes[2 * SHOAL_AUDIT_LINE];
    struct stat s;
    size_t got = 0;
    *t = (log_tail){0};
    if (fstat(fd, &s) != 0) {
        return shoal_fail_errno(err, errno, "cannot examine %s", path);
    }
    uint64_t size = (uint64_t)s.st_size;
    uint64_t from = size > sizeof bytes ? size - sizeof bytes : 0;
    SHOAL_TRY(shoal_file_get_at(fd, from, bytes, (size_t)(size - from), &got, err));
    size_t end = got;
    while (end > 0 && bytes[end - 1] != '\n') {
        end--;
    }
    t->torn = got - end;
    t->end = from + end;
    if (end == 0) {
        return from == 0 ? SHOAL_OK : damaged(err, path);
    }
    size_t start = end - 1;
    while (start > 0 && bytes[start - 1] != '\n') {
        start--;
    }
    size_t body = 0;
    uint64_t n = 0;
    const char *line = bytes + start;
    if ((start == 0 && from > 0) || !split_line(line, end - 1 - start, &body, t->hash) ||
        !number_of(line, body, &n)) {
        return damaged(err, path);
    }
    t->n = n;
    return SHOAL_OK;
}

/* ---- appending --------------------------------------------------------------------------------
 */

static shoal_status make_line(const log_tail *t, int64_t now_s, const char *event,
                              const shoal_audit_field *fields, shoal_buf *out, shoal_error *err)
{
    char hex[HEX + 1];
    uint8_t hash[32];
    (void)shoal_buf_putf(out, "{\"n\":%" PRIu64 ",\"t\":%" PRId64 ",\"event\":\"%s\"", t->n + 1,
                         now_s, event);
    for (; fields != NULL && fields->name != NULL; fields++) {
        put_field(out, fields);
    }
    if (t->torn > 0) {
        (void)shoal_buf_putf(out, ",\"removed_bytes\":%zu", t->torn);
    }
    shoal_hex_encode(t->hash, 32, hex);
    (void)shoal_buf_putf(out, ",\"prev\":\"%s\"", hex);
    SHOAL_TRY(shoal_buf_status(out, err));
    SHOAL_TRY(hash_line((const char *)out->data, out->len, hash, err));
    shoal_hex_encode(hash, 32, hex);
    (void)shoal_buf_putf(out, "%s%s\"}\n", HASH_MEMBER, hex);
    return shoal_buf_status(out, err);
}

static shoal_status append_locked(int fd, const char *path, int64_t now_s, const char *event,
                                  const shoal_audit_field *fields, shoal_error *err)
{
    log_tail t;
    shoal_buf line = shoal_buf_init(SHOAL_AUDIT_LINE);
    SHOAL_TRY(read_tail(fd, path, &t, err));
    if (t.torn > 0 && ftruncate(fd, (off_t)t.end) != 0) {
        return shoal_fail_errno(err, errno, "cannot mend %s", path);
    }
    shoal_status st = make_line(&t, now_s, event, fields, &line, err);
    if (st == SHOAL_OK) {
        st = shoal_file_put_at(fd, t.end, line.data, line.len, err);
        if (st == SHOAL_OK && fsync(fd) != 0) {
            st = shoal_fail_errno(err, errno, "cannot write %s", path);
        }
        if (st != SHOAL_OK && ftruncate(fd, (off_t)t.end) != 0) {
            shoal_hint(err, "the next entry removes what was written of this one");
        }
    }
    shoal_buf_clear(&line);
    return st;
}

shoal_status shoal_audit_append(const char *path, int64_t now_s, const char *event,
                                const shoal_audit_field *fields, shoal_error *err)
{
    (void)pthread_mutex_lock(&g_turn);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    shoal_status st =
        fd >= 0 ? SHOAL_OK : shoal_fail_errno(err, errno, "cannot open the audit log %s", path);
    if (st == SHOAL_OK) {
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int rc;
        while ((rc = fcntl(fd, F_SETLKW, &whole)) != 0 && errno == EINTR) {
        }
        st = rc == 0 ? append_locked(fd, path, now_s, event, fields, err)
                     : shoal_fail_errno(err, errno, "cannot lock the audit log %s", path);
        (void)close(fd);
    }
    (void)pthread_mutex_unlock(&g_turn);
    return st;
}

/* ---- verifying --------------------------------------------------------------------------------
 */

static shoal_status check_line(shoal_audit_summary *s, const char *line, size_t n,
                               const uint8_t *expected, const char *path, shoal_error *err)
{
    uint8_t want[32];
    uint8_t hash[32];
    char prev[sizeof ",\"prev\":\"\"" + HEX];
    char hex[HEX + 1];
    size_t body = 0;
    uint64_t number = 0;
    shoal_hex_encode(s->head, 32, hex);
    static const char begin[] = ",\"prev\":\"";
    size_t tail = sizeof begin - 1 + HEX + 1;
    memcpy(prev, begin, sizeof begin);
    memcpy(prev + sizeof begin - 1, hex, HEX);
    prev[tail - 1] = '"';
    bool whole = split_line(line, n, &body, hash) && body > tail && number_of(line, body, &number);
    SHOAL_TRY(hash_line(line, whole ? body : 0, want, err));
    if (!whole || number != s->entries + 1 || memcmp(want, hash, 32) != 0 ||
        memcmp(line + body - tail, prev, tail) != 0) {
        return shoal_fail(err, SHOAL_ERR_TAMPERED, "%s line %" PRIu64 " does not fit the chain",
                          path, s->entries + 1);
    }
    s->entries++;
    memcpy(s->head, hash, 32);
    s->seen = s->seen || (expected != NULL && memcmp(expected, hash, 32) == 0);
    return SHOAL_OK;
}

/* The lines of `bytes`, *used of them; a line that is not finished is left. */
static shoal_status check_lines(shoal_audit_summary *s, const char *bytes, size_t n, size_t *used,
                                const uint8_t *expected, const char *path, shoal_error *err)
{
    *used = 0;
    for (;;) {
        const char *line = bytes + *used;
        const char *end = memchr(line, '\n', n - *used);
        if (end == NULL) {
            return SHOAL_OK;
        }
        SHOAL_TRY(check_line(s, line, (size_t)(end - line), expected, path, err));
        *used = (size_t)(end - bytes) + 1;
    }
}

static shoal_status verify_file(int fd, const char *path, const uint8_t *expected,
                                shoal_audit_summary *s, shoal_error *err)
{
    static const size_t cap = CHUNK;
    shoal_buf bytes = shoal_buf_init(CHUNK);
    char *room = (char *)shoal_buf_reserve(&bytes, cap);
    uint64_t at = 0;
    size_t got = 0;
    size_t used = 0;
    shoal_status st = room != NULL ? SHOAL_OK : shoal_buf_status(&bytes, err);
    while (st == SHOAL_OK) {
        st = shoal_file_get_at(fd, at, room, cap, &got, err);
        if (st == SHOAL_OK) {
            st = check_lines(s, room, got, &used, expected, path, err);
        }
        if (st == SHOAL_OK && used == 0) {
            s->torn = got;
            if (got > SHOAL_AUDIT_LINE) {
                st = shoal_fail(err, SHOAL_ERR_TAMPERED, "%s line %" PRIu64 " is too long", path,
                                s->entries + 1);
            }
            break;
        }
        at += used;
    }
    shoal_buf_clear(&bytes);
    return st;
}

shoal_status shoal_audit_verify(const char *path, const uint8_t *expected, shoal_audit_summary *out,
                                shoal_error *err)
{
    *out = (shoal_audit_summary){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? SHOAL_OK : shoal_fail_errno(err, errno, "cannot open %s", path);
    }
    shoal_status st = verify_file(fd, path, expected, out, err);
    (void)close(fd);
    return st;
}
