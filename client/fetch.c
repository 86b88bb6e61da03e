/* fetch.c - base models by address; what known and unknown models share. */
#include "client/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/fetch_internal.h"
#include "client/filehash.h"
#include "client/net.h"
#include "kernels/base/term.h"
#include "proto/crypto.h"

static const uint64_t MODEL_MAX_BYTES = (uint64_t)64 << 30;

/* Renames a checked file into place and syncs its directory, so that the name survives a crash. */
static shoal_status publish(const char *from, const char *to, shoal_error *err)
{
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return shoal_fail_errno(err, errno, "cannot open %s", from);
    int synced = fsync(fd);
    int why = errno;
    (void)close(fd);
    if (synced != 0) return shoal_fail_errno(err, why, "cannot write %s", from);
    if (rename(from, to) != 0) {
        return shoal_fail_errno(err, errno, "cannot move the model to %s", to);
    }
    char dir[SHOAL_PATH_MAX];
    (void)snprintf(dir, sizeof dir, "%s", to);
    char *slash = strrchr(dir, '/');
    if (slash != NULL) slash[slash == dir ? 1 : 0] = '\0';
    fd = open(slash == NULL ? "." : dir, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
    return SHOAL_OK;
}

shoal_status shoal_fetch_verify(const shoal_fetch *f, const char *got, const uint8_t sha256[32],
                                shoal_error *err)
{
    uint8_t hash[32];
    char have[65];
    char want[65];
    SHOAL_TRY(shoal_file_sha256(got, f->stop, hash, err));
    if (shoal_equal(hash, sha256, sizeof hash)) return publish(got, f->path, err);
    (void)unlink(got);
    shoal_hex_encode(hash, sizeof hash, have);
    shoal_hex_encode(sha256, 32, want);
    shoal_fail(err, SHOAL_ERR_TAMPERED, "the file has SHA-256 %s instead of %s and was removed",
               have, want);
    shoal_hint(err, "fetch it again; if it happens twice, the source holds another file");
    return SHOAL_ERR_TAMPERED;
}

bool shoal_fetch_have(shoal_fetch *f, const uint8_t sha256[32])
{
    uint8_t hash[32];
    struct stat sb;
    f->already = stat(f->path, &sb) == 0 && S_ISREG(sb.st_mode) &&
                 shoal_store_model_hash(f->store, f->path, hash, NULL) == SHOAL_OK &&
                 shoal_equal(hash, sha256, sizeof hash);
    return f->already;
}

/* models/<last part of the address>, with ".gguf" unless it ends so. */
static shoal_status default_path(shoal_fetch *f, const char *url, shoal_error *err)
{
    char name[72];
    const char *path = strstr(url, "://");
    path = path == NULL ? url : path + 3;
    const char *last = strrchr(path, '/');
    size_t n = last == NULL ? 0 : strcspn(last + 1, "?#");
    if (n > 5 && strncmp(last + 1 + n - 5, ".gguf", 5) == 0) n -= 5;
    int put =
        last == NULL ? 0 : snprintf(name, sizeof name, "%.*s", (int)(n < 65 ? n : 65), last + 1);
    if (put <= 0 || !shoal_store_name_ok(name)) {
        shoal_fail(err, SHOAL_ERR_ARG, "the address does not say what to call the model");
        shoal_hint(err, "give a file name with -o");
        return SHOAL_ERR_ARG;
    }
    return shoal_store_path(f->store, f->path, err, "models/%s.gguf", name);
}

typedef struct bar {
    shoal_progress p;
    bool begun, quiet;
} bar;

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    bar *b = ctx;
    char detail[32];
    if (!b->begun && done == 0) return;
    if (!b->begun) shoal_progress_begin(&b->p, "fetching", total, done, b->quiet);
    b->begun = true;
    shoal_format_bytes(done, detail, sizeof detail);
    shoal_progress_update(&b->p, done, detail);
}

shoal_status shoal_fetch_url(shoal_fetch *f, const char *url, const uint8_t sha256[32],
                             shoal_error *err)
{
    char part[SHOAL_PATH_MAX];
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) {
        return shoal_fail(err, SHOAL_ERR_ARG, "an address begins with https:// or http://");
    }
    if (f->path[0] == '\0') SHOAL_TRY(default_path(f, url, err));
    if (shoal_fetch_have(f, sha256)) return SHOAL_OK;
    if (snprintf(part, sizeof part, "%s.part", f->path) >= (int)sizeof part) {
        return shoal_fail(err, SHOAL_ERR_ARG, "the path is too long");
    }
    /* A complete part is left by a stop between the last byte and the check. */
    uint8_t hash[32];
    if (access(part, R_OK) == 0 && shoal_file_sha256(part, f->stop, hash, NULL) == SHOAL_OK &&
        shoal_equal(hash, sha256, sizeof hash)) {
        return publish(part, f->path, err);
    }
    bar b = {.quiet = f->quiet};
    shoal_net_download d = {.url = url,
                            .path = part,
                            .max_bytes = MODEL_MAX_BYTES,
                            .stop = f->stop,
                            .progress = on_progress,
                            .progress_ctx = &b};
    shoal_status st = shoal_net_fetch_file(&d, err);
    if (b.begun) shoal_progress_end(&b.p, st == SHOAL_OK ? "done" : "stopped");
    if (st == SHOAL_OK) return shoal_fetch_verify(f, part, sha256, err);
    struct stat sb;
    if (stat(part, &sb) == 0 && sb.st_size == 0) {
        (void)unlink(part);
    } else if (st == SHOAL_ERR_CANCELLED || shoal_net_is_away(st)) {
        shoal_hint(err, "the same command goes on where this one stopped");
    }
    return st;
}
