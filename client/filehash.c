/* filehash.c - SHA-256 of files, remembered by inode, size and time of change. */
#include "client/filehash.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/record.h"
#include "kernels/base/mem.h"
#include "proto/crypto.h"

enum { CHUNK_BYTES = 1 << 18 };

static shoal_status hash_fd(int fd, const char *path, bool (*stop)(void), uint8_t out[32],
                            shoal_error *err)
{
    uint8_t *chunk = shoal_alloc(CHUNK_BYTES);
    if (chunk == NULL) return shoal_fail(err, SHOAL_ERR_NOMEM, "memory is out");
    shoal_sha256_ctx ctx;
    shoal_sha256_init(&ctx);
    shoal_status st = SHOAL_OK;
    for (;;) {
        ssize_t n = read(fd, chunk, CHUNK_BYTES);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) st = shoal_fail_errno(err, errno, "cannot read %s", path);
        if (n >= 0 && stop != NULL && stop()) st = shoal_fail(err, SHOAL_ERR_CANCELLED, "stopped");
        if (n <= 0 || st != SHOAL_OK) break;
        shoal_sha256_update(&ctx, chunk, (size_t)n);
    }
    shoal_status fin = shoal_sha256_final(&ctx, out, st == SHOAL_OK ? err : NULL);
    shoal_free(chunk);
    return st != SHOAL_OK ? st : fin;
}

shoal_status shoal_file_sha256(const char *path, bool (*stop)(void), uint8_t out[32],
                               shoal_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return shoal_fail_errno(err, errno, "cannot open %s", path);
    shoal_status st = hash_fd(fd, path, stop, out, err);
    (void)close(fd);
    return st;
}

/* What must be unchanged for a remembered hash to hold; also the record's key. */
static void identity_of(const struct stat *sb, char key[SHOAL_RECORD_KEY],
                        char state[SHOAL_RECORD_VALUE])
{
    (void)snprintf(key, SHOAL_RECORD_KEY, "f%" PRIuMAX "_%" PRIuMAX, (uintmax_t)sb->st_dev,
                   (uintmax_t)sb->st_ino);
    (void)snprintf(state, SHOAL_RECORD_VALUE, "%" PRIdMAX "_%" PRIdMAX ".%09ld_%" PRIdMAX ".%09ld",
                   (intmax_t)sb->st_size, (intmax_t)sb->st_mtim.tv_sec, sb->st_mtim.tv_nsec,
                   (intmax_t)sb->st_ctim.tv_sec, sb->st_ctim.tv_nsec);
}

/* "STATE HEX" of a remembered file, if STATE still holds. */
static bool recall(const shoal_record *memory, const char *key, const char *state, uint8_t out[32])
{
    const char *value = shoal_record_get(memory, key);
    size_t n = strlen(state);
    return value != NULL && strncmp(value, state, n) == 0 && value[n] == ' ' &&
           shoal_hex_decode(value + n + 1, out, 32);
}

static void remember(shoal_record *memory, const char *path, const char *key, const char *state,
                     const uint8_t hash[32])
{
    char value[SHOAL_RECORD_VALUE];
    char hex[65];
    shoal_hex_encode(hash, 32, hex);
    int n = snprintf(value, sizeof value, "%s %s", state, hex);
    if (n < 0 || n >= (int)sizeof value) return;
    /* A full memory starts afresh, and one that cannot be written is only slower. */
    shoal_status st = shoal_record_put(memory, key, value, NULL);
    if (st != SHOAL_OK) {
        memory->n = 0;
        st = shoal_record_put(memory, key, value, NULL);
    }
    if (st == SHOAL_OK) st = shoal_record_save(memory, path, NULL);
    (void)st;
}

shoal_status shoal_store_model_hash(const shoal_store *s, const char *path, uint8_t out[32],
                                    shoal_error *err)
{
    struct stat before;
    struct stat after;
    char key[SHOAL_RECORD_KEY];
    char state[SHOAL_RECORD_VALUE];
    char memory_path[SHOAL_PATH_MAX];
    shoal_record memory;
    if (stat(path, &before) != 0) return shoal_fail_errno(err, errno, "cannot open %s", path);
    SHOAL_TRY(shoal_store_path(s, memory_path, err, "models/.hashes"));
    if (shoal_record_load(&memory, memory_path, NULL) != SHOAL_OK) memory.n = 0;
    identity_of(&before, key, state);
    if (recall(&memory, key, state, out)) return SHOAL_OK;
    SHOAL_TRY(shoal_file_sha256(path, NULL, out, err));
    bool same = stat(path, &after) == 0 && after.st_size == before.st_size &&
                after.st_mtim.tv_sec == before.st_mtim.tv_sec &&
                after.st_mtim.tv_nsec == before.st_mtim.tv_nsec;
    if (same) remember(&memory, memory_path, key, state, out);
    return SHOAL_OK;
}

bool shoal_store_model_hash_recall(const shoal_store *s, const char *path, uint8_t out[32])
{
    struct stat now;
    char key[SHOAL_RECORD_KEY];
    char state[SHOAL_RECORD_VALUE];
    char memory_path[SHOAL_PATH_MAX];
    shoal_record memory;
    if (stat(path, &now) != 0) return false;
    if (shoal_store_path(s, memory_path, NULL, "models/.hashes") != SHOAL_OK) return false;
    if (shoal_record_load(&memory, memory_path, NULL) != SHOAL_OK) return false;
    identity_of(&now, key, state);
    return recall(&memory, key, state, out);
}
