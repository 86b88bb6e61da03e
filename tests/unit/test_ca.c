/* Joining an aggregator over HTTPS: tokens, certificates, renewal, revocation, refusals. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "aggregator/key_file.h"
#include "proto/x509.h"
#include "tests/support/fed_device.h"
#include "tests/support/fed_server.h"

static fed_server server;

static int open_server(void **state)
{
    (void)state;
    const fed_task t = {.n_min = 3, .n_target = 4, .gather_ms = 5000, .stage_ms = 1000};
    fed_server_open(&server, &t);
    return 0;
}

static int close_server(void **state)
{
    (void)state;
    fed_server_close(&server);
    return 0;
}

static void joined(fed_device *d)
{
    char link[SHOAL_LIMIT_LINK];
    fed_server_invite(&server, link);
    fed_device_open(d, link);
    assert_int_equal(fed_device_join(d, link), 200);
}

static long tasks(fed_device *d)
{
    shoal_buf reply = shoal_buf_init(1u << 20);
    long status = fed_device_call(d, "GET", "/v1/tasks", NULL, 0, &reply);
    shoal_buf_clear(&reply);
    return status;
}

static void test_join(void **state)
{
    (void)state;
    fed_device d;
    shoal_cert_info info;
    shoal_error err = {0};
    uint8_t spki[SHOAL_SPKI_BYTES], id[SHOAL_ID_BYTES];
    joined(&d);
    assert_int_equal(shoal_cert_check(d.who.ca.data, d.who.ca.n, d.who.cert.data, d.who.cert.n,
                                      SHOAL_CERT_CLIENT, (int64_t)time(NULL), &info, &err),
                     SHOAL_OK);
    shoal_key_spki(d.key, spki);
    assert_int_equal(shoal_spki_id(spki, id, &err), SHOAL_OK);
    assert_memory_equal(info.id, id, sizeof id);
    assert_true(info.not_after_s - (int64_t)time(NULL) <= SHOAL_LIMIT_CERT_S);
    assert_memory_equal(d.who.task_spki, server.keys.task_spki, SHOAL_SPKI_BYTES);
    assert_int_equal(tasks(&d), 200);
    fed_device_close(&d);
}

static void test_token_once(void **state)
{
    (void)state;
    fed_device a, b;
    char link[SHOAL_LIMIT_LINK];
    fed_server_invite(&server, link);
    fed_device_open(&a, link);
    fed_device_open(&b, link);
    assert_int_equal(fed_device_join(&a, link), 200);
    assert_int_equal(fed_device_join(&b, link), 403);
    assert_int_equal(b.error.code, SHOAL_CODE_FORBIDDEN);
    assert_non_null(strstr(b.error.message, "used before"));
    assert_non_null(strstr(b.error.hint, "invite"));
    fed_device_close(&a);
    fed_device_close(&b);
}

typedef struct race {
    fed_device d;
    const char *link;
    long status;
} race;

static void *join_once(void *ctx)
{
    race *r = ctx;
    r->status = fed_device_join(&r->d, r->link);
    return NULL;
}

/* Six devices with one link at the same moment: exactly one gets in. */
static void test_token_race(void **state)
{
    (void)state;
    fed_server_restart(&server); /* it has forgotten who guessed wrong */
    enum { N = 6 };
    static race r[N];
    pthread_t t[N];
    char link[SHOAL_LIMIT_LINK];
    int in = 0;
    fed_server_invite(&server, link);
    for (int i = 0; i < N; i++) {
        r[i].link = link;
        fed_device_open(&r[i].d, link);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(pthread_create(&t[i], NULL, join_once, &r[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(pthread_join(t[i], NULL), 0);
        in += r[i].status == 200;
        assert_true(r[i].status == 200 || r[i].status == 403);
        fed_device_close(&r[i].d);
    }
    assert_int_equal(in, 1);
}

static void test_token_expired(void **state)
{
    (void)state;
    fed_device d;
    char link[SHOAL_LIMIT_LINK];
    shoal_error err = {0};
    shoal_join_link l;
    int64_t now_s = (int64_t)time(NULL);
    fed_server_invite(&server, link); /* its token is replaced by one that has run out */
    assert_int_equal(shoal_join_link_decode(link, &l, &err), SHOAL_OK);
    assert_int_equal(shoal_ca_invite(server.deployment_dir, now_s - 700, 600, l.token, &err),
                     SHOAL_OK);
    shoal_buf text = shoal_buf_init(SHOAL_LIMIT_LINK);
    assert_int_equal(shoal_join_link_encode(&l, &text, &err), SHOAL_OK);
    fed_device_open(&d, shoal_buf_str(&text));
    assert_int_equal(fed_device_join(&d, shoal_buf_str(&text)), 403);
    assert_non_null(strstr(d.error.message, "expired"));
    fed_device_close(&d);
    shoal_buf_clear(&text);
}

/* One enrolment by hand, so that parts of it can be wrong. */
typedef struct attempt {
    fed_device d;
    shoal_join_link link;
    shoal_enrol_request q;
} attempt;

static void prepare(attempt *a)
{
    shoal_error err = {0};
    char link[SHOAL_LIMIT_LINK];
    shoal_buf csr = shoal_buf_init(SHOAL_LIMIT_CSR);
    memset(a, 0, sizeof *a);
    fed_server_invite(&server, link);
    fed_device_open(&a->d, link);
    assert_int_equal(shoal_join_link_decode(link, &a->link, &err), SHOAL_OK);
    assert_int_equal(shoal_csr_create(a->d.key, &csr, &err), SHOAL_OK);
    memcpy(a->q.token, a->link.token, sizeof a->q.token);
    memcpy(a->q.csr.data, csr.data, csr.len);
    a->q.csr.n = (uint32_t)csr.len;
    strcpy(a->q.version, "test");
    assert_int_equal(fed_device_begin(&a->d, a->link.token, a->q.nonce), 200);
    shoal_buf_clear(&csr);
}

/* *cert (may be NULL): the certificate on 200. */
static long send_attempt(attempt *a, shoal_wire_der *cert)
{
    shoal_error err = {0};
    static shoal_enrol_response r;
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    shoal_buf reply = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    assert_int_equal(shoal_enrol_request_encode(&a->q, &body, &err), SHOAL_OK);
    long status = fed_device_call(&a->d, "POST", "/v1/enrol", body.data, body.len, &reply);
    if (status == 200 && cert != NULL) {
        assert_int_equal(shoal_enrol_response_decode(reply.data, reply.len, &r, &err), SHOAL_OK);
        *cert = r.cert;
    }
    shoal_buf_clear(&body);
    shoal_buf_clear(&reply);
    return status;
}

/* Spec 2.4. A request that does not prove its key is refused, and the token is still good. */
static void test_bad_request(void **state)
{
    (void)state;
    static attempt a;
    shoal_buf reply = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    prepare(&a);
    a.q.csr.data[a.q.csr.n - 1] ^= 1; /* the signature */
    long status = send_attempt(&a, NULL);
    assert_true(status == 422 || status == 400);
    assert_int_equal(fed_device_call(&a.d, "POST", "/v1/enrol", "rubbish", 7, &reply), 400);
    assert_int_equal(fed_device_call(&a.d, "POST", "/v1/enrol/begin", "rubbish", 7, &reply), 400);
    a.q.csr.data[a.q.csr.n - 1] ^= 1;
    assert_int_equal(send_attempt(&a, NULL), 200);
    shoal_buf_clear(&reply);
    fed_device_close(&a.d);
}

/* Spec 2.9. The nonce must be the CA's own, for this token. */
static void test_nonces(void **state)
{
    (void)state;
    fed_server_restart(&server); /* it has forgotten who guessed wrong */
    static attempt a;
    static attempt b;
    prepare(&a);
    prepare(&b);
    uint8_t right[SHOAL_NONCE_BYTES];
    memcpy(right, a.q.nonce, sizeof right);
    memcpy(a.q.nonce, b.q.nonce, sizeof right); /* another token's */
    assert_int_equal(send_attempt(&a, NULL), 403);
    memcpy(a.q.nonce, right, sizeof right);
    a.q.nonce[0] ^= 1; /* a time it was not made at */
    assert_int_equal(send_attempt(&a, NULL), 403);
    memcpy(a.q.nonce, right, sizeof right);
    assert_int_equal(send_attempt(&a, NULL), 200);
    fed_device_close(&a.d);
    fed_device_close(&b.d);
}

/* Spec 2.2. A device whose answer was lost asks again and gets the same certificate; another key
 * gets nothing. */
static void test_lost_answer(void **state)
{
    (void)state;
    static attempt a;
    static shoal_wire_der first;
    static shoal_wire_der second;
    shoal_error err = {0};
    prepare(&a);
    assert_int_equal(send_attempt(&a, &first), 200);
    assert_int_equal(send_attempt(&a, &second), 200);
    assert_int_equal(first.n, second.n);
    assert_memory_equal(first.data, second.data, first.n);
    shoal_key *other;
    shoal_buf csr = shoal_buf_init(SHOAL_LIMIT_CSR);
    assert_int_equal(shoal_key_generate(&other, &err), SHOAL_OK);
    assert_int_equal(shoal_csr_create(other, &csr, &err), SHOAL_OK);
    memcpy(a.q.csr.data, csr.data, csr.len);
    a.q.csr.n = (uint32_t)csr.len;
    assert_int_equal(send_attempt(&a, NULL), 403);
    assert_non_null(strstr(a.d.error.message, "used before"));
    shoal_key_close(other);
    shoal_buf_clear(&csr);
    fed_device_close(&a.d);
}

static void test_paths_need_certificate(void **state)
{
    (void)state;
    fed_device d;
    char link[SHOAL_LIMIT_LINK];
    shoal_buf reply = shoal_buf_init(1u << 20);
    fed_server_invite(&server, link);
    fed_device_open(&d, link);
    assert_int_equal(tasks(&d), 401);
    assert_int_equal(d.error.code, SHOAL_CODE_UNAUTHORISED);
    assert_int_equal(fed_device_call(&d, "POST", "/v1/checkin", "x", 1, &reply), 401);
    assert_int_equal(fed_device_call(&d, "POST", "/v1/renew", "x", 1, &reply), 401);
    assert_int_equal(fed_device_call(&d, "GET", "/nowhere", NULL, 0, &reply), 404);
    assert_int_equal(fed_device_call(&d, "GET", "/v1/enrol", NULL, 0, &reply), 405);
    assert_int_equal(fed_device_call(&d, "GET", "/v1/sessions/00/roster", NULL, 0, &reply), 404);
    shoal_buf_clear(&reply);
    fed_device_close(&d);
}

/* Spec 2.7: a request for `key`, with the word of `signer` for it. */
static long renew_by(fed_device *d, const shoal_key *signer, const shoal_key *key,
                     shoal_renew_response *out)
{
    shoal_error err = {0};
    shoal_renew_request q = {0};
    shoal_buf csr = shoal_buf_init(SHOAL_LIMIT_CSR);
    shoal_buf body = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    shoal_buf reply = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    assert_int_equal(shoal_csr_create(key, &csr, &err), SHOAL_OK);
    memcpy(q.csr.data, csr.data, csr.len);
    q.csr.n = (uint32_t)csr.len;
    assert_int_equal(
        shoal_renew_sign(signer, d->who.cert.data, d->who.cert.n, csr.data, csr.len, q.proof, &err),
        SHOAL_OK);
    assert_int_equal(shoal_renew_request_encode(&q, &body, &err), SHOAL_OK);
    long status = fed_device_call(d, "POST", "/v1/renew", body.data, body.len, &reply);
    if (status == 200) {
        assert_int_equal(shoal_renew_response_decode(reply.data, reply.len, out, &err), SHOAL_OK);
    }
    shoal_buf_clear(&csr);
    shoal_buf_clear(&body);
    shoal_buf_clear(&reply);
    return status;
}

static long renew(fed_device *d, const shoal_key *key, shoal_renew_response *out)
{
    return renew_by(d, d->key, key, out);
}

/* Spec 2.7. Without the old key's signature nobody gets a device's next certificate, not even who
 * holds the connection, as a taken-over aggregator does. */
static void test_renewal_needs_the_old_key(void **state)
{
    (void)state;
    fed_device d;
    shoal_renew_response p;
    shoal_error err = {0};
    shoal_key *thief;
    joined(&d);
    assert_int_equal(shoal_key_generate(&thief, &err), SHOAL_OK);
    assert_int_equal(renew_by(&d, thief, thief, &p), 422);
    assert_int_equal(renew_by(&d, thief, d.key, &p), 422);
    assert_int_equal(renew_by(&d, d.key, d.key, &p), 200);
    shoal_key_close(thief);
    fed_device_close(&d);
}

/* Two certificates an hour here, the first of which enrolling took. */
static void test_rate_of_a_device(void **state)
{
    (void)state;
    fed_device d;
    shoal_renew_response first;
    shoal_renew_response second;
    shoal_error err = {0};
    shoal_key *key;
    joined(&d);
    assert_int_equal(renew(&d, d.key, &first), 200);
    assert_int_equal(renew(&d, d.key, &second), 200); /* its answer was lost: the same again */
    assert_memory_equal(first.cert.data, second.cert.data, first.cert.n);
    assert_int_equal(shoal_key_generate(&key, &err), SHOAL_OK);
    assert_int_equal(renew(&d, key, &second), 503); /* a new key does not make a new device */
    assert_non_null(strstr(d.error.message, "this hour"));
    shoal_key_close(key);
    fed_device_close(&d);
}

static void test_renew(void **state)
{
    (void)state;
    fed_device d;
    shoal_error err = {0};
    shoal_renew_response p;
    shoal_cert_info info;
    uint8_t old_id[SHOAL_ID_BYTES], hash[32], id[SHOAL_ID_BYTES];
    joined(&d);
    assert_int_equal(shoal_cert_read(d.who.cert.data, d.who.cert.n, &info, &err), SHOAL_OK);
    memcpy(old_id, info.id, sizeof old_id);
    shoal_key *key;
    assert_int_equal(shoal_key_generate(&key, &err), SHOAL_OK);
    assert_int_equal(renew(&d, key, &p), 200);
    assert_int_equal(shoal_sha256(p.cert.data, p.cert.n, hash, &err), SHOAL_OK);
    assert_int_equal(shoal_db_authorise(server.d.db, hash, (int64_t)time(NULL), id, &err),
                     SHOAL_OK);
    assert_int_equal(tasks(&d), 401); /* a new key takes the place of the old one */
    assert_int_equal(renew(&d, key, &p), 401);
    shoal_key_close(key);
    fed_device_close(&d);
    joined(&d);
    assert_int_equal(shoal_cert_read(d.who.cert.data, d.who.cert.n, &info, &err), SHOAL_OK);
    memcpy(old_id, info.id, sizeof old_id);
    assert_int_equal(renew(&d, d.key, &p), 200);
    assert_int_equal(shoal_cert_read(p.cert.data, p.cert.n, &info, &err), SHOAL_OK);
    assert_memory_equal(info.id, old_id, sizeof old_id);
    assert_int_equal(tasks(&d), 200); /* the old certificate of the same key stays good */
    fed_device_close(&d);
}

static void test_revoke(void **state)
{
    (void)state;
    fed_device d;
    shoal_error err = {0};
    shoal_cert_info info;
    joined(&d);
    assert_int_equal(tasks(&d), 200);
    assert_int_equal(shoal_cert_read(d.who.cert.data, d.who.cert.n, &info, &err), SHOAL_OK);
    assert_int_equal(shoal_db_device_revoke(server.d.db, info.id, (int64_t)time(NULL), &err),
                     SHOAL_OK);
    assert_int_equal(tasks(&d), 401);
    assert_non_null(strstr(d.error.message, "revoked"));
    assert_int_equal(shoal_db_device_revoke(server.d.db, info.id, (int64_t)time(NULL), &err),
                     SHOAL_ERR_NOT_FOUND);
    fed_device_close(&d);
}

/* Who is revoked after it advertised is not in the roster, and its next message is refused; the
 * others go on without it. */
static void test_revoked_in_a_session(void **state)
{
    (void)state;
    enum { N = 4, VICTIM = 3 };
    static fed_device d[N];
    static fed_part part[N];
    pthread_t t[N];
    shoal_error err = {0};
    shoal_cert_info info;
    float *update = shoal_calloc(1u << 20, sizeof *update);
    for (int i = 0; i < N; i++) {
        joined(&d[i]);
        part[i] = (fed_part){.device = &d[i],
                             .update = update,
                             .weight = 1,
                             .last = i == VICTIM ? FED_ADVERTISES : FED_FINISHES,
                             .n_min = 3};
    }
    (void)fed_take_part(&part[VICTIM]);
    assert_string_equal(part[VICTIM].trouble, "");
    assert_int_equal(shoal_cert_read(d[VICTIM].who.cert.data, d[VICTIM].who.cert.n, &info, &err),
                     SHOAL_OK);
    assert_int_equal(shoal_db_device_revoke(server.d.db, info.id, (int64_t)time(NULL), &err),
                     SHOAL_OK);
    for (int i = 0; i < VICTIM; i++) {
        assert_int_equal(pthread_create(&t[i], NULL, fed_take_part, &part[i]), 0);
    }
    for (int i = 0; i < VICTIM; i++) {
        assert_int_equal(pthread_join(t[i], NULL), 0);
        assert_string_equal(part[i].trouble, "");
        assert_true(part[i].finished);
        assert_int_equal(part[i].result.cohort, 3);
        fed_device_close(&d[i]);
    }
    assert_int_equal(tasks(&d[VICTIM]), 401);
    fed_device_close(&d[VICTIM]);
    shoal_free(update);
}

/* A leaf that our CA signed but that is not in the database opens nothing, and a leaf of another CA
 * does not even get through the handshake. */
static void test_foreign_certificates(void **state)
{
    (void)state;
    fed_device d;
    shoal_error err = {0};
    uint8_t spki[SHOAL_SPKI_BYTES];
    int64_t now_s = (int64_t)time(NULL);
    joined(&d);
    shoal_key_spki(d.key, spki);
    shoal_buf leaf = shoal_buf_init(SHOAL_LIMIT_CERT);
    shoal_key *stolen;
    char ca_dir[TEMP_DIR_MAX + 16];
    (void)snprintf(ca_dir, sizeof ca_dir, "%s/ca", server.deployment_dir);
    assert_int_equal(shoal_key_file_load(ca_dir, "ca.key", &stolen, &err), SHOAL_OK);
    shoal_cert_template mine = {.kind = SHOAL_CERT_CLIENT,
                                .spki = spki,
                                .not_before_s = now_s - 9,
                                .not_after_s = now_s + 60};
    assert_int_equal(shoal_cert_issue(stolen, d.who.ca.data, d.who.ca.n, &mine, &leaf, &err),
                     SHOAL_OK);
    shoal_key_close(stolen);
    shoal_buf_clear(&d.cert_pem);
    assert_int_equal(shoal_cert_encode_pem(leaf.data, leaf.len, &d.cert_pem, &err), SHOAL_OK);
    curl_easy_cleanup(d.curl);
    d.curl = curl_easy_init();
    assert_int_equal(tasks(&d), 401);
    shoal_key *ca_key;
    shoal_buf ca = shoal_buf_init(SHOAL_LIMIT_CERT);
    assert_int_equal(shoal_key_generate(&ca_key, &err), SHOAL_OK);
    assert_int_equal(shoal_ca_create(ca_key, "Other CA", now_s - 9, now_s + 99, NULL, &ca, &err),
                     SHOAL_OK);
    shoal_cert_template t = {.kind = SHOAL_CERT_CLIENT,
                             .spki = spki,
                             .not_before_s = now_s - 9,
                             .not_after_s = now_s + 99};
    shoal_buf_clear(&leaf);
    assert_int_equal(shoal_cert_issue(ca_key, ca.data, ca.len, &t, &leaf, &err), SHOAL_OK);
    shoal_buf_clear(&d.cert_pem);
    assert_int_equal(shoal_cert_encode_pem(leaf.data, leaf.len, &d.cert_pem, &err), SHOAL_OK);
    curl_easy_cleanup(d.curl);
    d.curl = curl_easy_init();
    assert_int_equal(tasks(&d), 0);
    shoal_key_close(ca_key);
    shoal_buf_clear(&leaf);
    shoal_buf_clear(&ca);
    fed_device_close(&d);
}

/* Last: it makes this address unwelcome for a minute. */
static void test_guessing_is_slow(void **state)
{
    (void)state;
    fed_server_restart(&server); /* it has forgotten who guessed wrong */
    fed_device d;
    shoal_error err = {0};
    char link[SHOAL_LIMIT_LINK];
    shoal_join_link l;
    fed_server_invite(&server, link);
    fed_device_open(&d, link);
    assert_int_equal(shoal_join_link_decode(link, &l, &err), SHOAL_OK);
    long status = 403;
    int tries = 0;
    for (; tries < 20 && status == 403; tries++) {
        shoal_buf text = shoal_buf_init(SHOAL_LIMIT_LINK);
        memset(l.token, tries + 1, sizeof l.token);
        assert_int_equal(shoal_join_link_encode(&l, &text, &err), SHOAL_OK);
        status = fed_device_join(&d, shoal_buf_str(&text));
        shoal_buf_clear(&text);
    }
    assert_int_equal(status, 503);
    assert_int_equal(tries, 6); /* five wrong ones a minute */
    assert_true(d.error.retry_after_ms > 1000);
    fed_device_close(&d);
}

/* A form that cannot be read is a wrong guess. */
static void test_malformed_guesses(void **state)
{
    (void)state;
    fed_server_restart(&server);
    fed_device d;
    char link[SHOAL_LIMIT_LINK];
    shoal_buf reply = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    fed_server_invite(&server, link);
    fed_device_open(&d, link);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(fed_device_call(&d, "POST", "/v1/enrol", "x", 1, &reply), 400);
    }
    assert_int_equal(fed_device_call(&d, "POST", "/v1/enrol", "x", 1, &reply), 503);
    assert_non_null(strstr(d.error.message, "from this address"));
    shoal_buf_clear(&reply);
    fed_device_close(&d);
}

int main(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    shoal_log_set(SHOAL_LOG_ERROR, NULL, NULL);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_join),
                                       cmocka_unit_test(test_paths_need_certificate),
                                       cmocka_unit_test(test_bad_request),
                                       cmocka_unit_test(test_lost_answer),
                                       cmocka_unit_test(test_renew),
                                       cmocka_unit_test(test_renewal_needs_the_old_key),
                                       cmocka_unit_test(test_rate_of_a_device),
                                       cmocka_unit_test(test_nonces),
                                       cmocka_unit_test(test_revoked_in_a_session),
                                       cmocka_unit_test(test_revoke),
                                       cmocka_unit_test(test_foreign_certificates),
                                       cmocka_unit_test(test_token_once),
                                       cmocka_unit_test(test_token_expired),
                                       cmocka_unit_test(test_token_race),
                                       cmocka_unit_test(test_guessing_is_slow),
                                       cmocka_unit_test(test_malformed_guesses)};
    return cmocka_run_group_tests(tests, open_server, close_server);
}
