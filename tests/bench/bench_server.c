/* bench_server.c - a running aggregator under the load of thousands of devices over mutual TLS.
 *
 * Usage: bench_server --bin DIR --dir DEPLOYMENT --devices N [--rate R] [--seconds S] [--quick]
 *
 * DEPLOYMENT was made by `shoal-aggregator init` and has one task. Devices are made and recorded
 * beforehand, then `shoal-aggregator run` is started, and stopped at the end by its process id. One
 * JSON object a phase on stdout:
 *
 *   idle     memory of the server with no, half and all connections open and idle
 *   control  check-ins at R a second: time from when one was due to the end of its answer
 *   storm    all connections are dropped and come back at once, each with a check-in; `resume` says
 *            how; a few others, on a thread of their own, stay connected and go on asking
 *   revoked  a device that was revoked resumes its session and asks
 *
 * Exit code 0 when every device was served as it should, 1 otherwise. Times are never judged.
 */
#define _GNU_SOURCE /* RLIMIT_NOFILE with large N, kill, random */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "aggregator/deployment.h"
#include "aggregator/key_file.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "proto/x509.h"
#include "tests/bench/load_device.h"

enum {
    FEW = 20, /* devices that stay connected, and go on asking, while the others are in a storm */
    FEW_RATE = 40,  /* their check-ins a second, together */
    AT_A_TIME = 64, /* handshakes while the crowd gathers */
    ATTEMPT_MS = 15000,
    PHASE_MS = 240000,
    RETRY_MS = 500,
    RETRY_MAX_MS = 8000,
    DAY_S = 24 * 3600
};

typedef struct options {
    const char *bin, *dir;
    size_t devices;
    double rate, seconds;
    bool quick;
} options;

typedef struct samples {
    double *ms;
    size_t n, cap;
} samples;

/* The few, with a loop of their own: what they wait for is the server, not this program. */
typedef struct aside {
    load_crowd crowd;
    samples check_ins;
    size_t asked, wrong;
    atomic_bool stop;
    pthread_t thread;
} aside;

typedef struct bench {
    options opt;
    load_crowd crowd;
    aside few;
    shoal_rng rng;
    pid_t server;
    char request[512];
    bool ask_at_once; /* a device that connects asks */
    samples check_ins;
    size_t ready, answered;
    size_t full, resumed, retries, busy, wrong;
    bool bad; /* something was not as it should be */
} bench;

static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "error: %s: %s\n", what, why);
    exit(1);
}

static void must(shoal_status st, const char *what, const shoal_error *err)
{
    if (st != SHOAL_OK) {
        die(what, err->msg);
    }
}

/* ---- figures ----------------------------------------------------------------------------------
 */

static void add_sample(samples *s, double ms)
{
    if (s->n == s->cap) {
        s->cap = s->cap > 0 ? 2 * s->cap : 4096;
        s->ms = realloc(s->ms, s->cap * sizeof *s->ms);
        if (s->ms == NULL) {
            die("bench", "out of memory");
        }
    }
    s->ms[s->n++] = ms;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The value that this part of the samples does not exceed. */
static double quantile(samples *s, double part)
{
    if (s->n == 0) {
        return 0;
    }
    qsort(s->ms, s->n, sizeof *s->ms, by_size);
    size_t at = (size_t)(part * (double)s->n);
    return s->ms[at < s->n ? at : s->n - 1];
}

static void print_samples(const char *name, samples *s)
{
    (void)printf(",\"%s\":{\"n\":%zu,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f}", name, s->n,
                 quantile(s, 0.5), quantile(s, 0.99), quantile(s, 1));
}

/* A number of kB in a line of a file of /proc; 0 when it is not there. */
static size_t proc_kb(const char *path, const char *name)
{
    char line[256];
    size_t kb = 0, n = strlen(name);
    FILE *f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, name, n) == 0) {
            kb = (size_t)strtoull(line + n, NULL, 10);
        }
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    return kb;
}

static size_t server_rss(const bench *b)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)b->server);
    return 1024 * proc_kb(path, "VmRSS:");
}

/* User and system time of the server so far, in seconds. */
static double server_cpu(const bench *b)
{
    char path[64], text[1024] = "";
    unsigned long user = 0, system = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)b->server);
    FILE *f = fopen(path, "r");
    if (f == NULL || fgets(text, sizeof text, f) == NULL) {
        text[0] = '\0';
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    const char *at = strrchr(text, ')'); /* the name may hold anything */
    for (int field = 2; at != NULL && field < 14; field++) {
        at = strchr(at + 1, ' ');
    }
    if (at == NULL || sscanf(at, "%lu %lu", &user, &system) != 2) {
        return 0;
    }
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* What the kernel holds for one open, silent connection: the sizes of its objects, as it says. */
static size_t kernel_bytes(void)
{
    static const char *const OBJECTS[] = {"TCP", "sock_inode_cache", "filp", "dentry",
                                          "eventpoll_epi"};
    char line[512], name[64];
    unsigned long active, total, size, sum = 0;
    FILE *f = fopen("/proc/slabinfo", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "%63s %lu %lu %lu", name, &active, &total, &size) != 4) {
            continue;
        }
        for (size_t i = 0; i < sizeof OBJECTS / sizeof OBJECTS[0]; i++) {
            sum += strcmp(name, OBJECTS[i]) == 0 ? size : 0;
        }
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    return sum;
}

/* ---- devices ----------------------------------------------------------------------------------
 */

static void first_task(void *ctx, const shoal_db_task *t)
{
    shoal_checkin_request *q = ctx;
    memcpy(q->task_id, t->id, sizeof q->task_id);
}

/* The check-in of a device that has no update: nothing changes by it. */
static void make_request(bench *b, shoal_db *db)
{
    shoal_error err = {0};
    shoal_checkin_request q = {0};
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    must(shoal_db_tasks(db, first_task, &q, &err), "tasks", &err);
    must(shoal_checkin_request_encode(&q, &body, &err), "check-in", &err);
    int n = snprintf(b->request, sizeof b->request,
                     "POST /v1/checkin HTTP/1.1\r\nHost: x\r\nContent-Type: "
                     "application/x-protobuf\r\nContent-Length: %zu\r\n\r\n",
                     body.len);
    if (n < 0 || (size_t)n + body.len > sizeof b->request) {
        die("check-in", "it is too long");
    }
    memcpy(b->request + n, body.data, body.len);
    b->crowd.request = b->few.crowd.request = b->request;
    b->crowd.request_n = b->few.crowd.request_n = (size_t)n + body.len;
    shoal_buf_clear(&body);
}

/* This program has the CA's files, and stands in for it: a certificate, and the aggregator's record
 * of it. */
typedef struct issuer {
    shoal_key *key;
    shoal_buf bundle;
    shoal_db *db;
    int64_t now_s;
} issuer;

static void enrol(const issuer *ca, load_device *d)
{
    shoal_error err = {0};
    shoal_db_cert rec = {.not_after_s = ca->now_s + DAY_S};
    shoal_buf der = shoal_buf_init(SHOAL_LIMIT_CERT);
    uint8_t *spki = NULL;
    d->key = EVP_EC_gen("P-256");
    if (d->key == NULL || i2d_PUBKEY(d->key, &spki) != SHOAL_SPKI_BYTES) {
        die("device", "no key");
    }
    shoal_cert_template t = {.kind = SHOAL_CERT_CLIENT,
                             .spki = spki,
                             .not_before_s = ca->now_s - 60,
                             .not_after_s = rec.not_after_s};
    must(shoal_cert_issue(ca->key, ca->bundle.data, ca->bundle.len, &t, &der, &err), "device",
         &err);
    must(shoal_spki_id(spki, rec.device_id, &err), "device", &err);
    must(shoal_sha256(der.data, der.len, rec.sha256, &err), "device", &err);
    must(shoal_db_enrol(ca->db, &rec, "bench", 0, ca->now_s, &err), "device", &err);
    const uint8_t *p = der.data;
    d->cert = d2i_X509(NULL, &p, (long)der.len);
    OPENSSL_free(spki);
    shoal_buf_clear(&der);
    if (d->cert == NULL) {
        die("device", "no certificate");
    }
}

static void make_devices(bench *b)
{
    shoal_error err = {0};
    shoal_deployment d;
    char dir[SHOAL_DIR_PATH];
    issuer ca = {.bundle = shoal_buf_init(SHOAL_LIMIT_CONTROL), .now_s = (int64_t)time(NULL)};
    must(shoal_deployment_open(&d, b->opt.dir, &err), "deployment", &err);
    must(shoal_dir_path(b->opt.dir, "ca", dir, &err), "CA", &err);
    must(shoal_key_file_load(dir, "ca.key", &ca.key, &err), "CA", &err);
    must(shoal_cert_file_load(dir, "ca.crt", &ca.bundle, &err), "CA", &err);
    ca.db = d.db;
    make_request(b, d.db);
    for (size_t i = 0; i < b->crowd.n; i++) {
        enrol(&ca, &b->crowd.devices[i]);
    }
    for (size_t i = 0; i < FEW; i++) {
        enrol(&ca, &b->few.crowd.devices[i]);
    }
    shoal_key_close(ca.key);
    shoal_buf_clear(&ca.bundle);
    shoal_deployment_close(&d);
}

/* Hex of a device's id: the first half of its key's hash. */
static void id_of(const load_device *d, char out[2 * SHOAL_ID_BYTES + 1])
{
    uint8_t *spki = NULL, id[SHOAL_ID_BYTES];
    shoal_error err = {0};
    (void)i2d_PUBKEY(d->key, &spki);
    must(shoal_spki_id(spki, id, &err), "device", &err);
    OPENSSL_free(spki);
    shoal_hex_encode(id, sizeof id, out);
}

/* ---- the server -------------------------------------------------------------------------------
 */

static pid_t spawn(const bench *b, const char *const argv[])
{
    char program[1024];
    char *args[12] = {NULL}; /* execv wants them so, and changes nothing */
    for (size_t i = 0; i < 11 && argv[i] != NULL; i++) {
        memcpy(&args[i], &argv[i], sizeof args[i]);
    }
    (void)snprintf(program, sizeof program, "%s/shoal-aggregator", b->opt.bin);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        (void)dup2(null, STDIN_FILENO);
        (void)dup2(null, STDOUT_FILENO);
        (void)execv(program, args);
        _exit(127);
    }
    if (pid < 0) {
        die(program, strerror(errno));
    }
    return pid;
}

static bool ended_well(pid_t pid)
{
    int status = 0;
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void start_server(bench *b)
{
    char path[1024], text[16] = "";
    (void)snprintf(path, sizeof path, "%s/port.txt", b->opt.dir);
    (void)unlink(path);
    const char *const argv[] = {"shoal-aggregator", "run", b->opt.dir, "--port", "0",
                                "--port-file",      path,  NULL};
    b->server = spawn(b, argv);
    for (int i = 0; i < 600 && text[0] == '\0'; i++) {
        (void)usleep(50000);
        if (waitpid(b->server, NULL, WNOHANG) != 0) {
            die("shoal-aggregator run", "it ended");
        }
        FILE *f = fopen(path, "r");
        if (f != NULL && fgets(text, sizeof text, f) == NULL) {
            text[0] = '\0';
        }
        if (f != NULL) {
            (void)fclose(f);
        }
    }
    b->crowd.port = b->few.crowd.port = (uint16_t)atoi(text);
}

/* ---- what happens to devices ------------------------------------------------------------------
 */

static void try_later(bench *b, load_device *d)
{
    double ms = RETRY_MS;
    for (unsigned i = 0; i < d->tries && ms < RETRY_MAX_MS; i++) {
        ms *= 2;
    }
    d->tries++;
    d->retry_ms = load_now_ms() + ms * (0.5 + shoal_rng_double(&b->rng));
    b->retries++;
}

static void on_connected(void *ctx, load_device *d, bool ok)
{
    bench *b = ctx;
    if (!ok) {
        try_later(b, d);
        return;
    }
    d->tries = 0;
    b->ready++;
    *(d->resumed ? &b->resumed : &b->full) += 1;
    if (b->ask_at_once) {
        load_ask(d);
    }
}

static void on_replied(void *ctx, load_device *d, int status)
{
    bench *b = ctx;
    if (status == 200) {
        add_sample(&b->check_ins, load_now_ms() - d->began_ms);
        b->answered++;
    } else if (status == 429 || status == 503 || status == 0) {
        b->busy += status != 0;
        load_drop(d);
        try_later(b, d);
    } else {
        b->wrong++;
    }
}

/* Devices whose time has come try again; attempts that hang are given up. */
static void look_after(bench *b)
{
    double now = load_now_ms();
    for (size_t i = 0; i < b->crowd.n; i++) {
        load_device *d = &b->crowd.devices[i];
        bool waits = d->state != LOAD_AWAY && d->state != LOAD_IDLE;
        if (d->state == LOAD_AWAY && d->retry_ms > 0 && now >= d->retry_ms) {
            load_connect(d);
        } else if (waits && now - d->began_ms > ATTEMPT_MS) {
            load_drop(d);
            try_later(b, d);
        }
    }
}

static void reset(bench *b)
{
    b->check_ins.n = 0;
    b->ready = b->answered = b->full = b->resumed = b->retries = b->busy = b->wrong = 0;
}

static size_t count(const bench *b, load_state state)
{
    size_t n = 0;
    for (size_t i = 0; i < b->crowd.n; i++) {
        n += b->crowd.devices[i].state == state;
    }
    return n;
}

static void expect(bench *b, bool ok, const char *what)
{
    if (!ok) {
        (void)fprintf(stderr, "not as it should be: %s\n", what);
        b->bad = true;
    }
}

/* ---- phases -----------------------------------------------------------------------------------
 */

static void pause_s(bench *b, double seconds)
{
    for (double until = load_now_ms() + 1e3 * seconds; load_now_ms() < until;) {
        load_turn(&b->crowd, 20);
    }
}

/* Connects devices from..to-1, a few at a time, each asking once. */
static void gather(bench *b, size_t from, size_t to)
{
    double end = load_now_ms() + PHASE_MS, look = 0;
    reset(b);
    b->ask_at_once = true;
    size_t next = from;
    while (load_now_ms() < end) {
        size_t going = count(b, LOAD_CONNECTING) + count(b, LOAD_SHAKING);
        for (; next < to && going < AT_A_TIME; next++, going++) {
            load_connect(&b->crowd.devices[next]);
        }
        load_turn(&b->crowd, 10);
        if (load_now_ms() > look) {
            look_after(b);
            look = load_now_ms() + 100;
        }
        if (next == to && count(b, LOAD_IDLE) == to) {
            break;
        }
    }
    expect(b, count(b, LOAD_IDLE) == to && b->wrong == 0, "every device connects and is answered");
}

static void idle_phase(bench *b)
{
    size_t n = b->crowd.n;
    pause_s(b, 1);
    size_t none = server_rss(b);
    double cpu = server_cpu(b);
    gather(b, 0, n / 2);
    size_t full = b->full;
    pause_s(b, 3);
    size_t half = server_rss(b);
    gather(b, n / 2, n);
    full += b->full;
    cpu = server_cpu(b) - cpu;
    pause_s(b, 3);
    size_t all = server_rss(b);
    expect(b, full == n, "every device shows its certificate once");
    (void)printf("{\"phase\":\"idle\",\"devices\":%zu,\"rss_none\":%zu,\"rss_half\":%zu,"
                 "\"rss_all\":%zu,\"bytes_a_connection\":%.0f,\"slope_bytes\":%.0f,"
                 "\"kernel_bytes\":%zu,\"cpu_ms_a_device\":%.2f,\"retries\":%zu}\n",
                 n, none, half, all, ((double)all - (double)none) / (double)n,
                 ((double)all - (double)half) / (double)(n - n / 2), kernel_bytes(),
                 1e3 * cpu / (double)n, b->retries);
    (void)fflush(stdout);
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__) /* theirs is more than ours */
    expect(b, all < none + n * 64 * 1024, "an idle connection takes less than 64 KiB");
#endif
}

/* The next device that has nothing to do, after `at`. */
static load_device *next_idle(load_crowd *c, size_t *at)
{
    for (size_t i = 0; i < c->n; i++) {
        *at = (*at + 1) % c->n;
        if (c->devices[*at].state == LOAD_IDLE) {
            return &c->devices[*at];
        }
    }
    return NULL;
}

/* Time counts from when a check-in was due, whatever kept it. */
static size_t ask_due(load_crowd *c, double due_ms, size_t *at)
{
    load_device *d = next_idle(c, at);
    if (d == NULL) {
        return 0;
    }
    load_ask(d);
    d->began_ms = due_ms;
    return 1;
}

static void control_phase(bench *b)
{
    reset(b);
    b->ask_at_once = false;
    double start = load_now_ms(), gap = 1e3 / b->opt.rate, cpu = server_cpu(b);
    size_t asked = 0, at = 0, want = (size_t)(b->opt.rate * b->opt.seconds);
    while (asked < want || (count(b, LOAD_ASKING) > 0 && load_now_ms() < start + PHASE_MS)) {
        double due = start + gap * (double)asked;
        if (asked < want && load_now_ms() >= due) {
            asked += ask_due(&b->crowd, due, &at);
        }
        load_turn(&b->crowd, asked < want && load_now_ms() >= due + gap ? 0 : 1);
    }
    cpu = server_cpu(b) - cpu;
    expect(b, b->answered == want && b->wrong == 0 && b->busy == 0,
           "every check-in is answered with 200");
    (void)printf("{\"phase\":\"control\",\"rate\":%.0f,\"cpu_ms_a_request\":%.3f", b->opt.rate,
                 1e3 * cpu / (double)want);
    print_samples("check_in", &b->check_ins);
    (void)printf("}\n");
    (void)fflush(stdout);
}

static const char *name_of(load_resume r)
{
    return r == LOAD_BY_TICKET ? "ticket" : r == LOAD_BY_ID ? "id" : "none";
}

/* ---- the few ----------------------------------------------------------------------------------
 */

static void few_connected(void *ctx, load_device *d, bool ok)
{
    (void)d;
    ((aside *)ctx)->wrong += !ok;
}

static void few_replied(void *ctx, load_device *d, int status)
{
    aside *f = ctx;
    f->wrong += status != 200;
    add_sample(&f->check_ins, load_now_ms() - d->began_ms);
}

static void *keep_asking(void *ctx)
{
    aside *f = ctx;
    double start = load_now_ms();
    size_t at = 0;
    while (!atomic_load(&f->stop)) {
        double due = start + 1e3 / FEW_RATE * (double)f->asked;
        if (load_now_ms() >= due) {
            f->asked += ask_due(&f->crowd, due, &at);
        }
        load_turn(&f->crowd, 2);
    }
    return NULL;
}

static void few_begin(bench *b)
{
    aside *f = &b->few;
    f->check_ins.n = f->asked = f->wrong = 0;
    atomic_store(&f->stop, false);
    for (size_t i = 0; i < FEW; i++) {
        if (f->crowd.devices[i].state == LOAD_AWAY) {
            load_connect(&f->crowd.devices[i]);
        }
    }
    for (double end = load_now_ms() + 2000; load_now_ms() < end;) {
        load_turn(&f->crowd, 10);
    }
    if (pthread_create(&f->thread, NULL, keep_asking, f) != 0) {
        die("bench", "no thread");
    }
}

static void few_end(bench *b)
{
    aside *f = &b->few;
    atomic_store(&f->stop, true);
    (void)pthread_join(f->thread, NULL);
    for (double end = load_now_ms() + 5000; f->check_ins.n < f->asked && load_now_ms() < end;) {
        load_turn(&f->crowd, 10);
    }
    expect(b, f->wrong == 0 && f->check_ins.n == f->asked,
           "who is connected is served during a storm");
}

/* ---- storms -----------------------------------------------------------------------------------
 */

static void print_storm(bench *b, load_resume how, double took_s, double half_s, double cpu_s)
{
    size_t n = b->crowd.n;
    (void)printf("{\"phase\":\"storm\",\"resume\":\"%s\",\"devices\":%zu,\"seconds\":%.2f,"
                 "\"half_seconds\":%.2f,\"full\":%zu,\"resumed\":%zu,\"retries\":%zu,"
                 "\"cpu_ms_a_device\":%.2f",
                 name_of(how), n, took_s, half_s, b->full, b->resumed, b->retries,
                 1e3 * cpu_s / (double)n);
    print_samples("connected", &b->few.check_ins);
    (void)printf("}\n");
    (void)fflush(stdout);
}

/* All lose their connection at one moment and come back. */
static void storm_phase(bench *b, load_resume how)
{
    size_t n = b->crowd.n;
    few_begin(b);
    reset(b);
    b->ask_at_once = true;
    b->crowd.resume = how;
    double cpu = server_cpu(b), start = load_now_ms(), look = start, half = 0;
    for (size_t i = 0; i < n; i++) {
        load_drop(&b->crowd.devices[i]);
    }
    for (size_t i = 0; i < n; i++) {
        load_connect(&b->crowd.devices[i]);
    }
    while (b->answered < n && load_now_ms() < start + PHASE_MS) {
        load_turn(&b->crowd, 5);
        if (load_now_ms() >= look) {
            look_after(b);
            look = load_now_ms() + 100;
        }
        half = half == 0 && b->answered >= n / 2 ? load_now_ms() - start : half;
    }
    double took = load_now_ms() - start;
    cpu = server_cpu(b) - cpu;
    few_end(b);
    expect(b, b->answered == n && b->wrong == 0, "every device comes back from the storm");
    expect(b, how == LOAD_NEVER ? b->resumed == 0 : b->full == 0,
           "devices come back in the way they were told to");
    print_storm(b, how, took / 1e3, half / 1e3, cpu);
}

/* Without tickets devices have to come once for an id of their own. */
static void change_to_ids(bench *b)
{
    for (size_t i = 0; i < b->crowd.n; i++) {
        load_drop(&b->crowd.devices[i]);
        SSL_SESSION_free(b->crowd.devices[i].session);
        b->crowd.devices[i].session = NULL;
    }
    b->crowd.resume = LOAD_BY_ID;
    gather(b, 0, b->crowd.n);
}

/* Spec 3.1.1: no resumption leads around a revocation. */
static void revoked_phase(bench *b)
{
    char id[2 * SHOAL_ID_BYTES + 1];
    load_device *d = &b->crowd.devices[b->crowd.n - 1];
    id_of(d, id);
    const char *const argv[] = {"shoal-aggregator", "device", "revoke", id, "--dir",
                                b->opt.dir,         NULL};
    expect(b, ended_well(spawn(b, argv)), "the device can be revoked");
    reset(b);
    b->ask_at_once = true;
    load_drop(d);
    load_connect(d);
    double end = load_now_ms() + ATTEMPT_MS;
    while (b->wrong == 0 && b->answered == 0 && load_now_ms() < end) {
        load_turn(&b->crowd, 20);
    }
    bool refused = b->wrong == 1 && strncmp(d->reply, "HTTP/1.1 401", 12) == 0;
    expect(b, d->resumed && refused, "a revoked device resumes its session and gets 401");
    (void)printf("{\"phase\":\"revoked\",\"resumed\":%s,\"refused\":%s}\n",
                 d->resumed ? "true" : "false", refused ? "true" : "false");
}

/* ---- all of it --------------------------------------------------------------------------------
 */

static bool take_options(int argc, char **argv, options *o)
{
    *o = (options){.rate = 500, .seconds = 10};
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(name, "--quick") == 0) {
            o->quick = true;
            continue;
        }
        i++;
        if (strcmp(name, "--bin") == 0) {
            o->bin = value;
        } else if (strcmp(name, "--dir") == 0) {
            o->dir = value;
        } else if (strcmp(name, "--devices") == 0) {
            o->devices = (size_t)strtoul(value, NULL, 10);
        } else if (strcmp(name, "--rate") == 0) {
            o->rate = strtod(value, NULL);
        } else if (strcmp(name, "--seconds") == 0) {
            o->seconds = strtod(value, NULL);
        } else {
            return false;
        }
    }
    return o->bin != NULL && o->dir != NULL && o->devices >= 20 && o->devices <= 20000 &&
           o->rate >= 1 && o->rate <= 20000 && o->seconds > 0 && o->seconds <= 120;
}

static void raise_limit(size_t devices)
{
    struct rlimit lim;
    rlim_t need = (rlim_t)devices + 128;
    if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < need) {
        lim.rlim_cur = need;
        lim.rlim_max = lim.rlim_max < need ? need : lim.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &lim) != 0) {
            die("too few open files are allowed for so many devices", "raise ulimit -Hn");
        }
    }
}

int main(int argc, char **argv)
{
    static bench b;
    b.rng = shoal_rng_init(1);
    if (!take_options(argc, argv, &b.opt)) {
        die("usage", "bench_server --bin DIR --dir DEPLOYMENT --devices N [--rate R] [--seconds S] "
                     "[--quick]");
    }
    (void)signal(SIGPIPE, SIG_IGN);
    raise_limit(b.opt.devices);
    if (!load_open(&b.crowd, b.opt.devices) || !load_open(&b.few.crowd, FEW)) {
        die("bench", "out of memory");
    }
    b.few.crowd.events =
        (load_events){.ctx = &b.few, .connected = few_connected, .replied = few_replied};
    b.crowd.events = (load_events){.ctx = &b, .connected = on_connected, .replied = on_replied};
    make_devices(&b);
    start_server(&b);
    idle_phase(&b);
    control_phase(&b);
    storm_phase(&b, LOAD_BY_TICKET);
    if (!b.opt.quick) {
        storm_phase(&b, LOAD_NEVER);
    }
    change_to_ids(&b);
    storm_phase(&b, LOAD_BY_ID);
    revoked_phase(&b);
    (void)kill(b.server, SIGTERM);
    expect(&b, ended_well(b.server), "the server stops when told to");
    load_close(&b.crowd);
    load_close(&b.few.crowd);
    free(b.check_ins.ms);
    free(b.few.check_ins.ms);
    return b.bad ? 1 : 0;
}
