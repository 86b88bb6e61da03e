/* bench_secagg.c - one session of SA-1, its real state machines and real cryptography, in one
 * process. Started by secagg.py; by hand: build/tests/bench_secagg --clients 64 --dim 100000
 *
 * Prints one JSON object of processor seconds: the server's by stage, one client's (the median of
 * all) by stage and, of it, signing and checking signatures and certificates; and what single ones
 * cost here. No network and no disk: the transport's own checks are in neither side's figures.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "proto/crypto_libcrypto.h"
#include "proto/sa_client.h"
#include "proto/sa_graph.h"
#include "proto/sa_params.h"
#include "proto/sa_server.h"
#include "proto/x509.h"

enum { NOW = 1790000000, STAGES = SHOAL_SA_STAGES };

typedef struct options {
    size_t clients, drop; /* drop: gone before the masked upload */
    uint32_t dim, degree, threshold, ring;
    unsigned threads;
    bool mbedtls; /* all by mbedTLS, as where there is no libcrypto */
} options;

typedef struct device {
    shoal_key *key;
    shoal_buf cert, sent;
    uint8_t id[SHOAL_ID_BYTES];
    shoal_sa_client *client;
    bool gone;
    double stage_s[STAGES];
    double signatures_s;
} device;

typedef struct bench {
    options o;
    shoal_pool *pool;
    shoal_exec ex;
    shoal_key *ca_key, *task_key;
    uint8_t task_spki[SHOAL_SPKI_BYTES];
    shoal_buf ca, descriptor;
    shoal_sa_descriptor d;
    shoal_sa_server *server;
    device *dev;
    uint32_t *words, *plain_sum; /* [dim + 1] */
    double server_s[STAGES];     /* receiving, answering and closing each stage */
    double after_upload_s;       /* from the last M5 to the sum */
    double unmask_wall_s;
    size_t server_bytes, server_peak; /* what the server's calls hold, now and at most */
    size_t upload_bytes;
    shoal_error err;
} bench;

/* ---- small things ---- */

static void must(shoal_status st, const shoal_error *err, const char *what)
{
    if (st == SHOAL_OK) return;
    fprintf(stderr, "error: %s: %s\n", what, err != NULL ? err->msg : shoal_status_text(st));
    exit(1);
}

static void *must_have(void *p)
{
    if (p == NULL) must(SHOAL_ERR_NOMEM, NULL, "no memory");
    return p;
}

static double clock_s(clockid_t id)
{
    struct timespec t;
    (void)clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double cpu_s(void)
{
    return clock_s(CLOCK_PROCESS_CPUTIME_ID);
}

/* Bytes that malloc has given out. */
static size_t heap_bytes(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;
    return (*x > *y) - (*x < *y);
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return n > 0 ? v[n / 2] : 0.0;
}

/* ---- what is spent on signatures ---- */

/* The linker sends these three here (--wrap); a certificate's signature counts once. */
shoal_status __real_shoal_sign(const shoal_key *, const uint8_t *, uint8_t *, shoal_error *);
shoal_status __wrap_shoal_sign(const shoal_key *, const uint8_t *, uint8_t *, shoal_error *);
shoal_status __real_shoal_verify(const uint8_t *, const uint8_t *, const uint8_t *, shoal_error *);
shoal_status __wrap_shoal_verify(const uint8_t *, const uint8_t *, const uint8_t *, shoal_error *);
shoal_status __real_shoal_cert_check(const void *, size_t, const void *, size_t, shoal_cert_kind,
                                     int64_t, shoal_cert_info *, shoal_error *);
shoal_status __wrap_shoal_cert_check(const void *, size_t, const void *, size_t, shoal_cert_kind,
                                     int64_t, shoal_cert_info *, shoal_error *);

static double g_signatures_s;
static bool g_in_certificate;

shoal_status __wrap_shoal_sign(const shoal_key *key, const uint8_t *digest, uint8_t *sig,
                               shoal_error *err)
{
    double t0 = cpu_s();
    shoal_status st = __real_shoal_sign(key, digest, sig, err);
    g_signatures_s += cpu_s() - t0;
    return st;
}

shoal_status __wrap_shoal_verify(const uint8_t *spki, const uint8_t *digest, const uint8_t *sig,
                                 shoal_error *err)
{
    double t0 = cpu_s();
    shoal_status st = __real_shoal_verify(spki, digest, sig, err);
    if (!g_in_certificate) g_signatures_s += cpu_s() - t0;
    return st;
}

shoal_status __wrap_shoal_cert_check(const void *ca, size_t ca_n, const void *leaf, size_t leaf_n,
                                     shoal_cert_kind kind, int64_t now_s, shoal_cert_info *out,
                                     shoal_error *err)
{
    double t0 = cpu_s();
    g_in_certificate = true;
    shoal_status st = __real_shoal_cert_check(ca, ca_n, leaf, leaf_n, kind, now_s, out, err);
    g_in_certificate = false;
    g_signatures_s += cpu_s() - t0;
    return st;
}

/* ---- a deployment ---- */

static shoal_key *new_key(bench *b)
{
    shoal_key *key = NULL;
    must(shoal_key_generate(&key, &b->err), &b->err, "a key");
    return key;
}

static void enrol(bench *b, device *dev)
{
    uint8_t spki[SHOAL_SPKI_BYTES];
    dev->key = new_key(b);
    shoal_key_spki(dev->key, spki);
    must(shoal_spki_id(spki, dev->id, &b->err), &b->err, "an identity");
    dev->cert = shoal_buf_init(SHOAL_LIMIT_CERT);
    dev->sent = shoal_buf_init(SIZE_MAX / 2);
    shoal_cert_template t = {.kind = SHOAL_CERT_CLIENT,
                             .spki = spki,
                             .not_before_s = NOW - 60,
                             .not_after_s = NOW + 86400};
    must(shoal_cert_issue(b->ca_key, b->ca.data, b->ca.len, &t, &dev->cert, &b->err), &b->err,
         "a certificate");
}

/* Neighbours and threshold for the cohort's size, as `task create` chooses them; or as asked for.
 */
static void choose_graph(bench *b, shoal_sa_descriptor *d)
{
    shoal_sa_rules rules = shoal_sa_rules_default();
    size_t k = b->o.degree, t = b->o.threshold;
    d->committee = 128;
    if (b->o.degree == 0 && b->o.clients <= SHOAL_LIMIT_COMPLETE) return;
    if (b->o.degree == 0 && !shoal_sa_params_find(&rules, b->o.clients, &k, &t)) {
        must(SHOAL_ERR_ARG, NULL, "neighbours for so many clients");
    }
    d->degree = (uint32_t)k;
    d->threshold = (uint32_t)t;
}

static void describe(bench *b)
{
    shoal_sa_descriptor *d = &b->d;
    memset(d->task_id, 1, sizeof d->task_id);
    d->round = 1;
    memset(d->session_id, 2, sizeof d->session_id);
    memset(d->base_model_hash, 3, 32);
    memset(d->adapter_hash, 4, 32);
    d->codec = (shoal_codec){.dim = b->o.dim,
                             .ring_bits = b->o.ring,
                             .clip_norm = 1.0,
                             .weight_max = b->o.ring >= 24 ? 8 : 1,
                             .n_max = (uint32_t)b->o.clients};
    must(shoal_codec_fit_scale(&d->codec, &b->err), &b->err, "the number coding");
    d->noise_den = 1;
    d->n_min = (uint32_t)(b->o.clients - b->o.drop) / 2;
    d->n_target = (uint32_t)b->o.clients;
    choose_graph(b, d);
    for (size_t i = 0; i < STAGES; i++) {
        d->deadline_ms[i] = 1000;
    }
    b->descriptor = shoal_buf_init(SHOAL_LIMIT_DESCRIPTOR);
    must(shoal_sa_descriptor_sign(d, b->task_key, &b->descriptor, &b->err), &b->err,
         "the descriptor");
}

static void open_deployment(bench *b)
{
    size_t words = (size_t)b->o.dim + 1;
    must(shoal_pool_open(&b->pool, b->o.threads, &b->err), &b->err, "threads");
    must(shoal_exec_open(&b->ex, b->pool, SHOAL_CPU_ALL, false, &b->err), &b->err, "kernels");
    b->ca_key = new_key(b);
    b->task_key = new_key(b);
    shoal_key_spki(b->task_key, b->task_spki);
    b->ca = shoal_buf_init(SHOAL_LIMIT_CERT);
    must(shoal_ca_create(b->ca_key, "bench CA", NOW - 60, NOW + 1000000, NULL, &b->ca, &b->err),
         &b->err, "a CA");
    b->dev = must_have(shoal_calloc(b->o.clients, sizeof *b->dev));
    for (size_t i = 0; i < b->o.clients; i++) {
        enrol(b, &b->dev[i]);
        b->dev[i].gone = i < b->o.drop;
    }
    b->words = must_have(shoal_calloc(words, sizeof *b->words));
    b->plain_sum = must_have(shoal_calloc(words, sizeof *b->plain_sum));
    describe(b);
}

/* Around calls that leave something in the server's memory. */
static void server_begins(bench *b)
{
    b->server_bytes -= heap_bytes();
}

static void server_ends(bench *b)
{
    b->server_bytes += heap_bytes();
    if (b->server_bytes > b->server_peak) b->server_peak = b->server_bytes;
}

static void open_session(bench *b)
{
    shoal_sa_server_options so = {
        .ca = b->ca.data, .ca_n = b->ca.len, .task_spki = b->task_spki, .ex = &b->ex};
    server_begins(b);
    must(shoal_sa_server_open(&b->server, &so, b->descriptor.data, b->descriptor.len, &b->err),
         &b->err, "the server");
    server_ends(b);
    for (size_t i = 0; i < b->o.clients; i++) {
        device *dev = &b->dev[i];
        shoal_sa_client_options opt = {.key = dev->key,
                                       .cert = dev->cert.data,
                                       .cert_n = dev->cert.len,
                                       .ca = b->ca.data,
                                       .ca_n = b->ca.len,
                                       .task_spki = b->task_spki,
                                       .policy = shoal_sa_policy_default(),
                                       .ex = &b->ex};
        opt.policy.n_min = b->d.n_min;
        if (b->o.degree != 0) opt.policy.security_bits = 0; /* an owner would not take any K */
        opt.policy.dim = b->d.codec.dim;
        memcpy(opt.task_id, b->d.task_id, sizeof opt.task_id);
        memcpy(opt.base_model_hash, b->d.base_model_hash, 32);
        memcpy(opt.adapter_hash, b->d.adapter_hash, 32);
        double began = cpu_s();
        must(shoal_sa_client_open(&dev->client, &opt, b->descriptor.data, b->descriptor.len,
                                  &b->err),
             &b->err, "a client");
        dev->stage_s[0] += cpu_s() - began;
    }
}

static void close_all(bench *b)
{
    shoal_sa_server_close(b->server);
    for (size_t i = 0; i < b->o.clients; i++) {
        shoal_sa_client_close(b->dev[i].client);
        shoal_key_close(b->dev[i].key);
        shoal_buf_clear(&b->dev[i].cert);
        shoal_buf_clear(&b->dev[i].sent);
    }
    shoal_free(b->dev);
    shoal_free(b->words);
    shoal_free(b->plain_sum);
    shoal_buf_clear(&b->ca);
    shoal_buf_clear(&b->descriptor);
    shoal_key_close(b->ca_key);
    shoal_key_close(b->task_key);
    shoal_exec_close(&b->ex);
    shoal_pool_close(b->pool);
}

/* ---- the session ---- */

/* Any ring elements do as an update here: what they mean is the codec's business. */
static void make_update(bench *b, size_t i)
{
    size_t n = (size_t)b->o.dim + 1;
    uint64_t x = 0x9e3779b97f4a7c15u * (i + 1);
    for (size_t w = 0; w < n; w++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        b->words[w] = (uint32_t)x & 0xffu;
        b->plain_sum[w] += b->words[w];
    }
}

static shoal_status act(bench *b, device *dev, shoal_sa_stage stage, const shoal_buf *in)
{
    shoal_buf *out = &dev->sent;
    switch (stage) {
    case SHOAL_SA_ADVERTISE: return shoal_sa_client_advertise(dev->client, out, &b->err);
    case SHOAL_SA_SHARES:
        return shoal_sa_client_roster(dev->client, in->data, in->len, NOW, out, &b->err);
    case SHOAL_SA_CONFIRM:
        return shoal_sa_client_delivery(dev->client, in->data, in->len, out, &b->err);
    case SHOAL_SA_INPUT:
        SHOAL_TRY(shoal_sa_client_members(dev->client, in->data, in->len, &b->err));
        return shoal_sa_client_input(dev->client, b->words, out, &b->err);
    case SHOAL_SA_SURVIVORS:
        return shoal_sa_client_claim(dev->client, in->data, in->len, out, &b->err);
    case SHOAL_SA_UNMASK:
        return shoal_sa_client_request(dev->client, in->data, in->len, NOW, out, &b->err);
    case SHOAL_SA_DONE:
    case SHOAL_SA_FAILED: break;
    }
    return SHOAL_ERR_ARG;
}

/* One device's part of a stage, from the server's answer to the stage before. */
static void take_turn(bench *b, size_t i, shoal_sa_stage stage)
{
    device *dev = &b->dev[i];
    shoal_buf in = shoal_buf_init(SHOAL_LIMIT_SA_MESSAGE);
    double t0 = cpu_s();
    if (stage != SHOAL_SA_ADVERTISE) {
        must(shoal_sa_server_message(b->server, stage - 1, dev->id, &in, &b->err), &b->err,
             "an answer");
        b->server_s[stage] += cpu_s() - t0;
    }
    shoal_buf_clear(&dev->sent);
    if (stage == SHOAL_SA_INPUT) make_update(b, i);
    g_signatures_s = 0;
    t0 = cpu_s();
    must(act(b, dev, stage, &in), &b->err, "a client's part");
    dev->stage_s[stage] += cpu_s() - t0;
    dev->signatures_s += g_signatures_s;
    if (stage == SHOAL_SA_INPUT) b->upload_bytes = dev->sent.len;
    server_begins(b);
    t0 = cpu_s();
    must(shoal_sa_server_receive(b->server, stage, dev->id, dev->sent.data, dev->sent.len, NOW,
                                 &b->err),
         &b->err, "receiving");
    b->server_s[stage] += cpu_s() - t0;
    server_ends(b);
    shoal_buf_clear(&dev->sent);
    shoal_buf_clear(&in);
}

static void run_stage(bench *b, shoal_sa_stage stage)
{
    for (size_t i = 0; i < b->o.clients; i++) {
        if (stage >= SHOAL_SA_INPUT && b->dev[i].gone) continue;
        if (stage == SHOAL_SA_SURVIVORS && !shoal_sa_client_signs(b->dev[i].client)) continue;
        take_turn(b, i, stage);
    }
    server_begins(b);
    double t0 = cpu_s();
    double wall = clock_s(CLOCK_MONOTONIC);
    must(shoal_sa_server_advance(b->server, true, &b->err), &b->err, "closing a stage");
    b->server_s[stage] += cpu_s() - t0;
    server_ends(b);
    if (stage == SHOAL_SA_UNMASK) b->unmask_wall_s = clock_s(CLOCK_MONOTONIC) - wall;
    if (stage > SHOAL_SA_INPUT) b->after_upload_s += b->server_s[stage];
}

static void check_sum(const bench *b)
{
    const uint32_t *sum = shoal_sa_server_sum(b->server);
    uint32_t mask = b->o.ring >= 32 ? UINT32_MAX : (1u << b->o.ring) - 1u;
    for (size_t w = 0; w <= b->o.dim; w++) {
        if (sum != NULL && sum[w] == (b->plain_sum[w] & mask)) continue;
        fprintf(stderr, "error: the sum is wrong at %zu\n", w);
        exit(1);
    }
}

/* ---- what single operations cost ---- */

typedef struct unit_costs {
    double sign_s, verify_s, exchange_s;
} unit_costs;

static unit_costs measure_units(bench *b)
{
    enum { TIMES = 100 };
    uint8_t digest[32] = {1}, sig[SHOAL_SIG_BYTES], out[32];
    unit_costs u;
    double t0 = cpu_s();
    for (int i = 0; i < TIMES; i++) {
        must(shoal_sign(b->task_key, digest, sig, &b->err), &b->err, "signing");
    }
    double t1 = cpu_s();
    for (int i = 0; i < TIMES; i++) {
        must(shoal_verify(b->task_spki, digest, sig, &b->err), &b->err, "verifying");
    }
    double t2 = cpu_s();
    must(shoal_x25519_public(out, digest, &b->err), &b->err, "a key");
    for (int i = 0; i < TIMES; i++) {
        must(shoal_x25519(out, digest, out, &b->err), &b->err, "agreeing on a key");
    }
    u.sign_s = (t1 - t0) / TIMES;
    u.verify_s = (t2 - t1) / TIMES;
    u.exchange_s = (cpu_s() - t2) / TIMES;
    return u;
}

/* ---- the limit: key streams added to memory that stays in cache ---- */

enum { LIMIT_WORDS = 8192, LIMIT_ROUNDS = 2048 };

typedef struct limit_job {
    uint32_t *acc;  /* [threads][LIMIT_WORDS] */
    shoal_exec one; /* the same kernels without the pool */
} limit_job;

static void expand_range(void *ctx, size_t begin, size_t end, unsigned worker)
{
    limit_job *j = ctx;
    uint32_t key[8] = {1, 2, 3};
    for (size_t i = begin; i < end; i++) {
        key[7] = (uint32_t)i;
        (void)shoal_chacha_add(&j->one, key, 0, j->acc + (size_t)worker * LIMIT_WORDS, LIMIT_WORDS,
                               false);
    }
}

/* Bytes of key stream a second, all threads at once. */
static double measure_limit(bench *b)
{
    limit_job j = {.one = b->ex};
    j.one.pool = NULL;
    j.acc = must_have(shoal_calloc((size_t)shoal_pool_size(b->pool) * LIMIT_WORDS, sizeof *j.acc));
    size_t rounds = (size_t)LIMIT_ROUNDS * shoal_pool_size(b->pool);
    double best = 0;
    for (int i = 0; i < 5; i++) {
        double t0 = clock_s(CLOCK_MONOTONIC);
        shoal_parallel_for(b->pool, rounds, 64, expand_range, &j);
        double rate = (double)rounds * LIMIT_WORDS * 4 / (clock_s(CLOCK_MONOTONIC) - t0);
        best = rate > best ? rate : best;
    }
    shoal_free(j.acc);
    return best;
}

/* ---- output ---- */

/* Of those who stayed; stage STAGES: signatures in all of them. */
static double client_median(const bench *b, size_t stage)
{
    double *v = must_have(shoal_calloc(b->o.clients, sizeof *v));
    size_t n = 0;
    for (size_t i = 0; i < b->o.clients; i++) {
        const device *dev = &b->dev[i];
        if (!dev->gone) v[n++] = stage < STAGES ? dev->stage_s[stage] : dev->signatures_s;
    }
    double m = median(v, n);
    shoal_free(v);
    return m;
}

static void print_stages(const char *name, const double s[STAGES])
{
    double total = 0;
    printf(",\"%s_stage_s\":{", name);
    for (size_t i = 0; i < STAGES; i++) {
        printf("%s\"%s\":%.6f", i > 0 ? "," : "", shoal_sa_stage_name((shoal_sa_stage)i), s[i]);
        total += s[i];
    }
    printf("},\"%s_s\":%.6f", name, total);
}

/* Bytes of key stream that unmasking makes: a survivor's self mask, and for each who left after the
 * shares the masks its surviving neighbours had with it. */
static double unmask_stream_bytes(bench *b)
{
    uint8_t hash[32];
    shoal_sa_graph g;
    shoal_sa_member i, j;
    double streams = 0;
    size_t n = b->o.clients;
    shoal_sa_server_roster_hash(b->server, hash);
    must(shoal_sa_graph_open(&g, &b->d, n, hash, &b->err), &b->err, "the graph");
    for (size_t a = 0; a < n && shoal_sa_server_member(b->server, a, &i); a++) {
        if (!i.uploaded) continue;
        streams += 1;
        for (size_t c = 0; c < n && shoal_sa_server_member(b->server, c, &j); c++) {
            streams += !j.uploaded && shoal_sa_graph_adjacent(&g, a + 1, c + 1) ? 1 : 0;
        }
    }
    shoal_sa_graph_close(&g);
    return streams * 4.0 * (double)(b->o.dim + 1);
}

static void report(bench *b)
{
    struct rusage use;
    double client[STAGES];
    size_t bytes = b->upload_bytes;
    unit_costs u = measure_units(b);
    (void)getrusage(RUSAGE_SELF, &use);
    for (size_t i = 0; i < STAGES; i++) {
        client[i] = client_median(b, i);
    }
    printf("{\"clients\":%zu,\"dropped\":%zu,\"dim\":%u,\"degree\":%u,\"threshold\":%u,\"ring\":%u,"
           "\"threads\":%u",
           b->o.clients, b->o.drop, b->o.dim, b->d.degree, b->d.threshold, b->o.ring, b->o.threads);
    print_stages("server", b->server_s);
    print_stages("client", client);
    printf(",\"client_signatures_s\":%.6f", client_median(b, STAGES));
    printf(",\"after_upload_s\":%.6f,\"unmask_wall_s\":%.6f", b->after_upload_s, b->unmask_wall_s);
    printf(",\"sign_s\":%.7f,\"verify_s\":%.7f,\"exchange_s\":%.7f", u.sign_s, u.verify_s,
           u.exchange_s);
    printf(",\"unmask_stream_bytes\":%.0f,\"stream_limit_bytes_per_s\":%.4g",
           unmask_stream_bytes(b), measure_limit(b));
    printf(",\"bytes_per_parameter\":%.4f,\"peak_rss_bytes\":%ld,\"server_bytes\":%zu}\n",
           (double)bytes / (double)b->o.dim, use.ru_maxrss * 1024L, b->server_peak);
}

static bool read_option(options *o, const char *name, const char *value)
{
    unsigned long v = strtoul(value, NULL, 10);
    if (strcmp(name, "--clients") == 0)
        o->clients = v;
    else if (strcmp(name, "--dim") == 0)
        o->dim = (uint32_t)v;
    else if (strcmp(name, "--degree") == 0)
        o->degree = (uint32_t)v;
    else if (strcmp(name, "--threshold") == 0)
        o->threshold = (uint32_t)v;
    else if (strcmp(name, "--ring") == 0)
        o->ring = (uint32_t)v;
    else if (strcmp(name, "--drop") == 0)
        o->drop = v;
    else if (strcmp(name, "--mbedtls") == 0)
        o->mbedtls = v != 0;
    else if (strcmp(name, "--threads") == 0)
        o->threads = (unsigned)v;
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    static bench b;
    b.o = (options){.clients = 64, .dim = 100000, .ring = 32, .threads = 1};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!read_option(&b.o, argv[i], argv[i + 1])) argc = 0;
    }
    if (argc % 2 == 0 || b.o.clients < 3 || b.o.drop >= b.o.clients) {
        fprintf(stderr, "usage: bench_secagg [--clients N] [--dim N] [--degree K --threshold T] "
                        "[--ring BITS] [--drop CLIENTS] [--threads N] [--mbedtls 1]\n");
        return 2;
    }
    shoal_libcrypto_allow(!b.o.mbedtls);
    open_deployment(&b);
    open_session(&b);
    for (shoal_sa_stage stage = SHOAL_SA_ADVERTISE; stage <= SHOAL_SA_UNMASK; stage++) {
        run_stage(&b, stage);
    }
    check_sum(&b);
    report(&b);
    close_all(&b);
    return 0;
}
