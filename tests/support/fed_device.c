/* fed_device.c - see fed_device.h. */
#include "tests/support/fed_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "proto/x509.h"

static void pause_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&t, NULL);
}

/* ---- HTTP -------------------------------------------------------------------------------------
 */

static size_t take(char *data, size_t size, size_t n, void *ctx)
{
    return shoal_buf_put(ctx, data, size * n) ? size * n : 0;
}

void fed_device_open(fed_device *d, const char *link)
{
    shoal_error err = {0};
    shoal_join_link l;
    *d = (fed_device){0};
    assert_int_equal(shoal_join_link_decode(link, &l, &err), SHOAL_OK);
    (void)snprintf(d->base, sizeof d->base, "https://%s:%u", l.host, (unsigned)l.port);
    assert_int_equal(shoal_key_generate(&d->key, &err), SHOAL_OK);
    d->cert_pem = shoal_buf_init(8192);
    d->ca_pem = shoal_buf_init(8192);
    d->key_pem = shoal_buf_init(8192);
    assert_int_equal(shoal_key_encode_pem(d->key, &d->key_pem, &err), SHOAL_OK);
    d->curl = curl_easy_init();
}

void fed_device_close(fed_device *d)
{
    curl_easy_cleanup(d->curl);
    shoal_key_close(d->key);
    shoal_buf_clear(&d->cert_pem);
    shoal_buf_clear(&d->ca_pem);
    shoal_buf_wipe(&d->key_pem);
}

static struct curl_blob blob(const shoal_buf *b)
{
    return (struct curl_blob){.data = b->data, .len = b->len, .flags = CURL_BLOB_COPY};
}

static void set_identity(fed_device *d)
{
    CURL *c = d->curl;
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
    if (d->cert_pem.len > 0) { /* now the server is checked as well */
        struct curl_blob cert = blob(&d->cert_pem), key = blob(&d->key_pem), ca = blob(&d->ca_pem);
        curl_easy_setopt(c, CURLOPT_SSLCERT_BLOB, &cert);
        curl_easy_setopt(c, CURLOPT_SSLKEY_BLOB, &key);
        curl_easy_setopt(c, CURLOPT_CAINFO_BLOB, &ca);
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L);
    }
}

long fed_device_call(fed_device *d, const char *method, const char *path, const void *body,
                     size_t n, shoal_buf *reply)
{
    char url[640];
    long status = 0;
    CURL *c = d->curl;
    (void)snprintf(url, sizeof url, "%s%s", d->base, path);
    curl_easy_reset(c); /* keeps the connection */
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_VERBOSE, (long)(getenv("FED_VERBOSE") != NULL));
    curl_easy_setopt(c, CURLOPT_TIMEOUT, 60L);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, reply);
    if (strcmp(method, "GET") != 0 || n > 0) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, n > 0 ? body : "");
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
    }
    set_identity(d);
    reply->len = 0;
    d->error = (shoal_error_reply){0};
    if (curl_easy_perform(c) == CURLE_OK) {
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    }
    if (status >= 400) {
        shoal_error err = {0};
        assert_int_equal(shoal_error_reply_decode(reply->data, reply->len, &d->error, &err),
                         SHOAL_OK);
    }
    return status;
}

long fed_device_chunk(fed_device *d, const char *session_hex, const uint8_t *m5, size_t total,
                      uint64_t offset, shoal_buf *reply)
{
    char path[320], hex[65];
    uint8_t hash[32] = {0};
    shoal_error err = {0};
    for (uint64_t at = 0; at <= offset; at += SHOAL_LIMIT_CHUNK) {
        assert_int_equal(
            shoal_upload_extend(hash, m5 + at, shoal_upload_chunk_bytes(total, at), &err),
            SHOAL_OK);
    }
    shoal_hex_encode(hash, sizeof hash, hex);
    (void)snprintf(path, sizeof path, "/v1/sessions/%s/input?offset=%llu&hash=%s", session_hex,
                   (unsigned long long)offset, hex);
    return fed_device_call(d, "PUT", path, m5 + offset, shoal_upload_chunk_bytes(total, offset),
                           reply);
}

long fed_device_upload(fed_device *d, const char *session_hex, const uint8_t *m5, size_t total,
                       shoal_buf *reply)
{
    long status = 200;
    for (uint64_t at = 0; at < total && status == 200; at += SHOAL_LIMIT_CHUNK) {
        status = fed_device_chunk(d, session_hex, m5, total, at, reply);
    }
    return status;
}

/* ---- joining ----------------------------------------------------------------------------------
 */

static void keep_identity(fed_device *d, const shoal_buf *reply)
{
    shoal_error err = {0};
    assert_int_equal(shoal_enrol_response_decode(reply->data, reply->len, &d->who, &err), SHOAL_OK);
    shoal_buf_clear(&d->cert_pem);
    shoal_buf_clear(&d->ca_pem);
    assert_int_equal(shoal_cert_encode_pem(d->who.cert.data, d->who.cert.n, &d->cert_pem, &err),
                     SHOAL_OK);
    assert_int_equal(shoal_cert_encode_pem(d->who.ca.data, d->who.ca.n, &d->ca_pem, &err),
                     SHOAL_OK);
    CURL *fresh = curl_easy_init(); /* a new connection, with the certificate */
    curl_easy_cleanup(d->curl);
    d->curl = fresh;
}

long fed_device_begin(fed_device *d, const uint8_t token[SHOAL_TOKEN_BYTES],
                      uint8_t nonce[SHOAL_NONCE_BYTES])
{
    shoal_error err = {0};
    uint8_t hash[32];
    shoal_enrol_begin q;
    shoal_enrol_challenge c;
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    shoal_buf reply = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    assert_int_equal(shoal_token_hash(token, hash, &err), SHOAL_OK);
    memcpy(q.token_id, hash, sizeof q.token_id);
    assert_int_equal(shoal_enrol_begin_encode(&q, &body, &err), SHOAL_OK);
    long status = fed_device_call(d, "POST", "/v1/enrol/begin", body.data, body.len, &reply);
    if (status == 200) {
        assert_int_equal(shoal_enrol_challenge_decode(reply.data, reply.len, &c, &err), SHOAL_OK);
        memcpy(nonce, c.nonce, sizeof c.nonce);
    }
    shoal_buf_clear(&body);
    shoal_buf_clear(&reply);
    return status;
}

long fed_device_join(fed_device *d, const char *link)
{
    shoal_error err = {0};
    shoal_join_link l;
    static shoal_enrol_request zero = {.version = "test"};
    shoal_enrol_request *q = shoal_calloc(1, sizeof *q);
    *q = zero;
    shoal_buf csr = shoal_buf_init(SHOAL_LIMIT_CSR);
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    shoal_buf reply = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    assert_int_equal(shoal_join_link_decode(link, &l, &err), SHOAL_OK);
    assert_int_equal(shoal_csr_create(d->key, &csr, &err), SHOAL_OK);
    memcpy(q->token, l.token, sizeof q->token);
    memcpy(q->csr.data, csr.data, csr.len);
    q->csr.n = (uint32_t)csr.len;
    long status = fed_device_begin(d, l.token, q->nonce);
    if (status == 200) {
        assert_int_equal(shoal_enrol_request_encode(q, &body, &err), SHOAL_OK);
        status = fed_device_call(d, "POST", "/v1/enrol", body.data, body.len, &reply);
    }
    shoal_free(q);
    if (status == 200) {
        keep_identity(d, &reply);
    }
    shoal_buf_clear(&csr);
    shoal_buf_clear(&body);
    shoal_buf_clear(&reply);
    return status;
}

long fed_device_checkin(fed_device *d, bool trained, shoal_checkin_response *out)
{
    shoal_error err = {0};
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    shoal_buf reply = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    shoal_task_list *tasks = shoal_calloc(1, sizeof *tasks);
    long status = fed_device_call(d, "GET", "/v1/tasks", NULL, 0, &reply);
    if (status == 200) {
        assert_int_equal(shoal_task_list_decode(reply.data, reply.len, tasks, &err), SHOAL_OK);
        assert_true(tasks->n > 0);
        shoal_checkin_request q = {.last_round = d->last_round,
                                   .adapter_version = tasks->tasks[0].release.version,
                                   .trained = trained};
        memcpy(q.task_id, tasks->tasks[0].task_id, sizeof q.task_id);
        assert_int_equal(shoal_checkin_request_encode(&q, &body, &err), SHOAL_OK);
        status = fed_device_call(d, "POST", "/v1/checkin", body.data, body.len, &reply);
    }
    if (status == 200) {
        assert_int_equal(shoal_checkin_response_decode(reply.data, reply.len, out, &err), SHOAL_OK);
    }
    shoal_free(tasks);
    shoal_buf_clear(&body);
    shoal_buf_clear(&reply);
    return status;
}

/* ---- a session --------------------------------------------------------------------------------
 */

typedef struct sitting {
    fed_part *part;
    shoal_sa_client *sa;
    char id[2 * SHOAL_SA_SESSION_BYTES + 1];
    shoal_buf in, out;
    uint32_t *words;
    shoal_exec ex;
} sitting;

static bool trouble(sitting *s, const char *where, long status, const shoal_error *err)
{
    (void)snprintf(s->part->trouble, sizeof s->part->trouble, "%.30s: HTTP %ld %.90s %.90s", where,
                   status, s->part->device->error.message, err != NULL ? err->msg : "");
    return false;
}

static bool say(sitting *s, const char *method, const char *what)
{
    char path[160];
    (void)snprintf(path, sizeof path, "/v1/sessions/%s/%s", s->id, what);
    long status = fed_device_call(s->part->device, method, path, s->out.data, s->out.len, &s->in);
    return status == 200 || trouble(s, what, status, NULL);
}

static bool upload(sitting *s)
{
    if (s->part->upload != NULL) {
        return s->part->upload(s->part, s->id, &s->out) || trouble(s, "input", 0, NULL);
    }
    long status = fed_device_upload(s->part->device, s->id, s->out.data, s->out.len, &s->in);
    return status == 200 || trouble(s, "input", status, NULL);
}

static bool hear(sitting *s, const char *what)
{
    char path[160];
    (void)snprintf(path, sizeof path, "/v1/sessions/%s/%s?wait=5000", s->id, what);
    long status = 202;
    for (int i = 0; i < 12 && status == 202; i++) {
        status = fed_device_call(s->part->device, "GET", path, NULL, 0, &s->in);
    }
    return status == 200 || trouble(s, what, status, NULL);
}

static bool encode_words(sitting *s, shoal_error *err)
{
    fed_part *p = s->part;
    shoal_codec_keys keys = {.rounding = p->seed, .rotation = p->signs};
    return shoal_codec_encode(&s->ex, &p->codec, p->update, p->weight, &keys, s->words, NULL,
                              err) == SHOAL_OK;
}

static bool go_through(sitting *s)
{
    fed_part *p = s->part;
    shoal_error err = {0};
    s->out.len = 0;
    if (shoal_sa_client_advertise(s->sa, &s->out, &err) != SHOAL_OK) {
        return trouble(s, "advertise", 0, &err);
    }
    if (!say(s, "POST", "advertise") || p->last == FED_ADVERTISES || !hear(s, "roster")) {
        return false;
    }
    s->out.len = 0;
    if (shoal_sa_client_roster(s->sa, s->in.data, s->in.len, (int64_t)time(NULL), &s->out, &err) !=
        SHOAL_OK) {
        return trouble(s, "roster", 0, &err);
    }
    if (!say(s, "POST", "shares") || p->last == FED_SHARES || !hear(s, "delivery")) {
        return false;
    }
    s->out.len = 0;
    if (shoal_sa_client_delivery(s->sa, s->in.data, s->in.len, &s->out, &err) != SHOAL_OK) {
        return trouble(s, "delivery", 0, &err);
    }
    if (!say(s, "POST", "confirm") || p->last == FED_CONFIRMS || !hear(s, "members")) {
        return false;
    }
    s->out.len = 0;
    if (shoal_sa_client_members(s->sa, s->in.data, s->in.len, &err) != SHOAL_OK ||
        !encode_words(s, &err) ||
        shoal_sa_client_input(s->sa, s->words, &s->out, &err) != SHOAL_OK) {
        return trouble(s, "members", 0, &err);
    }
    if (!upload(s) || p->last == FED_UPLOADS || !hear(s, "claim")) {
        return false;
    }
    s->out.len = 0;
    if (shoal_sa_client_claim(s->sa, s->in.data, s->in.len, &s->out, &err) != SHOAL_OK) {
        return trouble(s, "claim", 0, &err);
    }
    if (!say(s, "POST", "survivors") || p->last == FED_SIGNS || !hear(s, "request")) {
        return false;
    }
    s->out.len = 0;
    if (shoal_sa_client_request(s->sa, s->in.data, s->in.len, (int64_t)time(NULL), &s->out, &err) !=
        SHOAL_OK) {
        return trouble(s, "request", 0, &err);
    }
    return say(s, "POST", "unmask") && say(s, "POST", "unmask") /* a repeat is acknowledged */
           && hear(s, "result");
}

static bool open_client(sitting *s, const shoal_checkin_response *join, shoal_error *err)
{
    fed_part *p = s->part;
    fed_device *d = p->device;
    shoal_sa_descriptor m0;
    uint8_t ctx[32];
    if (shoal_sa_descriptor_open(join->descriptor, join->descriptor_n, d->who.task_spki, &m0, ctx,
                                 err) != SHOAL_OK ||
        shoal_sa_rotation_key(ctx, p->signs, err) != SHOAL_OK) {
        return false;
    }
    p->codec = m0.codec;
    shoal_hex_encode(m0.session_id, sizeof m0.session_id, s->id);
    shoal_sa_client_options opt = {.key = d->key,
                                   .cert = d->who.cert.data,
                                   .cert_n = d->who.cert.n,
                                   .ca = d->who.ca.data,
                                   .ca_n = d->who.ca.n,
                                   .task_spki = d->who.task_spki,
                                   .policy = shoal_sa_policy_default(),
                                   .last_round = d->last_round,
                                   .ex = &s->ex};
    opt.policy.n_min = p->n_min;
    opt.policy.dim = m0.codec.dim;
    memcpy(opt.task_id, m0.task_id, sizeof opt.task_id);
    memcpy(opt.base_model_hash, join->release.base_sha256, 32);
    memcpy(opt.adapter_hash, join->release.sha256, 32);
    d->last_round = m0.round;
    s->words = shoal_calloc(shoal_codec_words(&m0.codec), sizeof *s->words);
    return shoal_sa_client_open(&s->sa, &opt, join->descriptor, join->descriptor_n, err) ==
           SHOAL_OK;
}

static bool wait_for_join(sitting *s, shoal_checkin_response *join)
{
    for (int i = 0; i < 200; i++) {
        long status = fed_device_checkin(s->part->device, true, join);
        if (status != 200) {
            return trouble(s, "checkin", status, NULL);
        }
        if (join->kind == SHOAL_CHECKIN_JOIN) {
            return true;
        }
        pause_ms(50);
    }
    return trouble(s, "checkin: no session", 0, NULL);
}

void *fed_take_part(void *ctx)
{
    fed_part *p = ctx;
    shoal_error err = {0};
    sitting s = {.part = p, .in = shoal_buf_init(16u << 20), .out = shoal_buf_init(16u << 20)};
    shoal_checkin_response *join = shoal_calloc(1, sizeof *join);
    p->finished = false;
    p->trouble[0] = '\0';
    assert_int_equal(shoal_exec_open(&s.ex, NULL, 0x7fffffff, false, &err), SHOAL_OK);
    if (wait_for_join(&s, join) && p->last > FED_JOINS) {
        if (!open_client(&s, join, &err)) {
            (void)trouble(&s, "descriptor", 0, &err);
        } else if (go_through(&s)) {
            p->finished =
                shoal_round_result_decode(s.in.data, s.in.len, &p->result, &err) == SHOAL_OK;
        }
    }
    shoal_sa_client_close(s.sa);
    shoal_exec_close(&s.ex);
    shoal_free(s.words);
    shoal_free(join);
    shoal_buf_clear(&s.in);
    shoal_buf_clear(&s.out);
    return NULL;
}
