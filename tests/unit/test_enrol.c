/* test_enrol.c - joining, renewing and leaving against a small server that enrols. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client/api.h"
#include "client/enrol.h"
#include "proto/attest.h"
#include "proto/wire.h"
#include "proto/x509.h"
#include "tests/support/temp_dir.h"
#include "tests/support/web_fixture.h"

typedef struct site {
    web_fixture web;
    char dir[TEMP_DIR_MAX];
    shoal_store store;
    uint8_t token[SHOAL_TOKEN_BYTES];
    bool used;
    int64_t clock_s; /* added to the server's time */
    bool wrong_key;  /* certifies another key than the one asked for */
    shoal_attestation_kind asks;
    const shoal_attester *attester;
    shoal_enrol_request last;
    unsigned lost;            /* answers that do not arrive */
    const shoal_buf *next_ca; /* what it says its CA is; NULL: what it is */
    shoal_key *task_key;
    uint8_t peer_cert[32]; /* hash of the last request's */
} site;

static void refuse(shoal_http_request *r, shoal_error_code code, const char *message)
{
    shoal_error_reply e = {.code = code};
    shoal_buf b = shoal_buf_init(4096);
    (void)snprintf(e.message, sizeof e.message, "%s", message);
    assert_int_equal(shoal_error_reply_encode(&e, &b, NULL), SHOAL_OK);
    shoal_http_respond(r, shoal_error_http(code), "application/x-protobuf", b.data, b.len);
    shoal_buf_clear(&b);
}

static void issue(site *s, const shoal_wire_der *csr, shoal_wire_der *out)
{
    uint8_t spki[SHOAL_SPKI_BYTES];
    int64_t now = (int64_t)time(NULL);
    shoal_buf b = shoal_buf_init(SHOAL_LIMIT_CERT);
    assert_int_equal(shoal_csr_check(csr->data, csr->n, spki, NULL), SHOAL_OK);
    if (s->wrong_key) shoal_key_spki(s->task_key, spki);
    shoal_cert_template t = {.kind = SHOAL_CERT_CLIENT,
                             .spki = spki,
                             .not_before_s = now - 60,
                             .not_after_s = now + 3600};
    assert_int_equal(
        shoal_cert_issue(s->web.ca_key, s->web.ca_der.data, s->web.ca_der.len, &t, &b, NULL),
        SHOAL_OK);
    memcpy(out->data, b.data, b.len);
    out->n = (uint32_t)b.len;
    shoal_buf_clear(&b);
}

static void copy_ca(const site *s, shoal_wire_der *out)
{
    const shoal_buf *b = s->next_ca != NULL ? s->next_ca : &s->web.ca_der;
    memcpy(out->data, b->data, b->len);
    out->n = (uint32_t)b->len;
}

static bool is_token_id(const site *s, const uint8_t *id)
{
    uint8_t hash[32];
    assert_int_equal(shoal_token_hash(s->token, hash, NULL), SHOAL_OK);
    return memcmp(hash, id, SHOAL_TOKEN_BYTES) == 0;
}

static void begin(site *s, shoal_http_request *r)
{
    shoal_enrol_begin rq;
    shoal_enrol_challenge rs = {.nonce = {7, 8, 9}, .attestation = s->asks};
    size_t n = 0;
    const uint8_t *body = shoal_http_body(r, &n);
    assert_int_equal(shoal_enrol_begin_decode(body, n, &rq, NULL), SHOAL_OK);
    if (s->used || !is_token_id(s, rq.token_id)) {
        refuse(r, SHOAL_CODE_FORBIDDEN, "this link is unknown, used or expired");
        return;
    }
    shoal_buf b = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    assert_int_equal(shoal_enrol_challenge_encode(&rs, &b, NULL), SHOAL_OK);
    shoal_http_respond(r, 200, "application/x-protobuf", b.data, b.len);
    shoal_buf_clear(&b);
}

static void enrol(site *s, shoal_http_request *r)
{
    static shoal_enrol_request rq;
    static shoal_enrol_response rs;
    size_t n = 0;
    const uint8_t *body = shoal_http_body(r, &n);
    assert_int_equal(shoal_enrol_request_decode(body, n, &rq, NULL), SHOAL_OK);
    bool again = s->used && memcmp(&rq, &s->last, sizeof rq) == 0;
    if ((s->used && !again) || memcmp(rq.token, s->token, sizeof s->token) != 0) {
        refuse(r, SHOAL_CODE_FORBIDDEN, "this link is unknown, used or expired");
        return;
    }
    s->used = true;
    s->last = rq;
    if (s->lost > 0) {
        s->lost--;
        refuse(r, SHOAL_CODE_BUSY, "the certificate authority is away");
        return;
    }
    memset(&rs, 0, sizeof rs);
    issue(s, &rq.csr, &rs.cert);
    copy_ca(s, &rs.ca);
    shoal_key_spki(s->task_key, rs.task_spki);
    (void)snprintf(rs.deployment, sizeof rs.deployment, "test");
    rs.server_time_s = (uint64_t)((int64_t)time(NULL) + s->clock_s);
    shoal_buf b = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    assert_int_equal(shoal_enrol_response_encode(&rs, &b, NULL), SHOAL_OK);
    shoal_http_respond(r, 200, "application/x-protobuf", b.data, b.len);
    shoal_buf_clear(&b);
}

static void renew(site *s, shoal_http_request *r)
{
    shoal_renew_request rq;
    shoal_renew_response rs = {0};
    size_t n = 0;
    const uint8_t *body = shoal_http_body(r, &n);
    const uint8_t *hash = shoal_http_peer_cert_hash(r);
    memset(s->peer_cert, 0, sizeof s->peer_cert);
    if (hash != NULL) memcpy(s->peer_cert, hash, sizeof s->peer_cert);
    assert_int_equal(shoal_renew_request_decode(body, n, &rq, NULL), SHOAL_OK);
    size_t cert_n = 0;
    const uint8_t *cert = shoal_http_peer_cert(r, &cert_n);
    shoal_cert_info info;
    assert_int_equal(shoal_cert_read(cert, cert_n, &info, NULL), SHOAL_OK);
    assert_int_equal(
        shoal_renew_verify(info.spki, cert, cert_n, rq.csr.data, rq.csr.n, rq.proof, NULL),
        SHOAL_OK); /* Spec 2.7 */
    issue(s, &rq.csr, &rs.cert);
    copy_ca(s, &rs.ca);
    shoal_buf b = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    assert_int_equal(shoal_renew_response_encode(&rs, &b, NULL), SHOAL_OK);
    shoal_http_respond(r, 200, "application/x-protobuf", b.data, b.len);
    shoal_buf_clear(&b);
}

static void say_ca(const site *s, shoal_http_request *r)
{
    shoal_ca_bundle m = {0};
    shoal_buf b = shoal_buf_init(SHOAL_LIMIT_CONTROL);
    copy_ca(s, &m.ca);
    assert_int_equal(shoal_ca_bundle_encode(&m, &b, NULL), SHOAL_OK);
    shoal_http_respond(r, 200, "application/x-protobuf", b.data, b.len);
    shoal_buf_clear(&b);
}

static void handle(void *ctx, shoal_http_request *r)
{
    site *s = ctx;
    if (strcmp(shoal_http_path(r), "/v1/enrol") == 0)
        enrol(s, r);
    else if (strcmp(shoal_http_path(r), "/v1/enrol/begin") == 0)
        begin(s, r);
    else if (strcmp(shoal_http_path(r), "/v1/renew") == 0)
        renew(s, r);
    else if (strcmp(shoal_http_path(r), "/v1/ca") == 0)
        say_ca(s, r);
    else
        refuse(r, SHOAL_CODE_NOT_FOUND, "no such path");
}

static int set_up(void **state)
{
    site *s = test_calloc(1, sizeof *s);
    s->web.handle = handle;
    s->web.ctx = s;
    memset(s->token, 0xab, sizeof s->token);
    temp_dir_make(s->dir);
    assert_int_equal(shoal_key_generate(&s->task_key, NULL), SHOAL_OK);
    assert_int_equal(shoal_store_open(&s->store, s->dir, NULL), SHOAL_OK);
    web_fixture_open(&s->web);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    site *s = *state;
    web_fixture_close(&s->web);
    shoal_key_close(s->task_key);
    temp_dir_remove(s->dir);
    test_free(s);
    return 0;
}

static shoal_join_link link_of(const site *s)
{
    shoal_join_link l = {.host = "127.0.0.1", .port = s->web.port};
    memcpy(l.token, s->token, sizeof l.token);
    memcpy(l.pin, s->web.pin, sizeof l.pin);
    return l;
}

static shoal_status join(const site *s, const shoal_join_link *l, shoal_enrolment *e,
                         shoal_error *err)
{
    return shoal_enrol(&s->store, l, s->attester, (int64_t)time(NULL), NULL, e, err);
}

static bool exists(const site *s, const char *name, mode_t *mode)
{
    char path[SHOAL_PATH_MAX];
    struct stat sb;
    assert_int_equal(shoal_store_path(&s->store, path, NULL, "%s", name), SHOAL_OK);
    if (stat(path, &sb) != 0) return false;
    if (mode != NULL) *mode = sb.st_mode & 0777;
    return true;
}

static void assert_nothing_left(const site *s)
{
    shoal_enrolment e;
    shoal_error err = {0};
    assert_false(exists(s, "enrolment", NULL));
    assert_false(exists(s, "identity/key.der", NULL));
    assert_false(exists(s, "identity/cert.der", NULL));
    assert_int_equal(shoal_enrolment_load(&s->store, &e, &err), SHOAL_ERR_NOT_FOUND);
    assert_non_null(strstr(err.hint, "shoal join"));
}

static void a_device_joins_and_is_known_afterwards(void **state)
{
    site *s = *state;
    shoal_enrolment e;
    shoal_enrolment again;
    shoal_join_link l = link_of(s);
    mode_t mode = 0;
    assert_int_equal(join(s, &l, &e, NULL), SHOAL_OK);
    assert_true(exists(s, "identity/key.der", &mode));
    assert_int_equal(mode, 0600);
    assert_int_equal(shoal_enrolment_load(&s->store, &again, NULL), SHOAL_OK);
    assert_string_equal(again.server_url, s->web.base);
    assert_string_equal(again.deployment, "test");
    assert_memory_equal(again.id, e.id, sizeof e.id);
    assert_memory_equal(again.pin, s->web.pin, 32);
    assert_memory_equal(again.task_spki, e.task_spki, sizeof e.task_spki);
    shoal_enrolment_clear(&e);
    shoal_enrolment_clear(&again);
}

static void a_member_cannot_join_twice_but_can_leave(void **state)
{
    site *s = *state;
    shoal_enrolment e;
    shoal_error err = {0};
    shoal_join_link l = link_of(s);
    assert_int_equal(join(s, &l, &e, NULL), SHOAL_OK);
    shoal_enrolment_clear(&e);
    assert_int_equal(join(s, &l, &e, &err), SHOAL_ERR_STATE);
    assert_non_null(strstr(err.hint, "shoal leave"));
    assert_int_equal(shoal_enrolment_forget(&s->store, NULL), SHOAL_OK);
    assert_nothing_left(s);
    s->used = false;
    assert_int_equal(join(s, &l, &e, NULL), SHOAL_OK);
    shoal_enrolment_clear(&e);
}

static void a_used_link_is_refused_in_the_servers_words(void **state)
{
    site *s = *state;
    shoal_enrolment e;
    shoal_error err = {0};
    shoal_join_link l = link_of(s);
    s->used = true;
    assert_int_equal(join(s, &l, &e, &err), SHOAL_ERR_DENIED);
    assert_non_null(strstr(err.msg, "unknown, used or expired"));
    assert_nothing_left(s);
}

static void another_server_never_sees_the_token(void **state)
{
    site *s = *state;
    shoal_enrolment e;
    shoal_join_link l = link_of(s);
    l.pin[0] ^= 1;
    assert_int_equal(join(s, &l, &e, NULL), SHOAL_ERR_TAMPERED);
    assert_int_equal(atomic_load(&s->web.requests), 0);
    assert_nothing_left(s);
}

static void a_server_that_is_away_leaves_nothing(void **state)
{
    site *s = *state;
    shoal_enrolment e;
    shoal_join_link l = link_of(s);
    l.port = 1;
    assert_int_equal(join(s, &l, &e, NULL), SHOAL_ERR_IO);
    assert_nothing_left(s);
}

/* Spec 2.5 */
static void a_certificate_for_another_key_is_refused(void **state)
{
    site *s = *state;
    shoal_enrolment e;
    shoal_join_link l = link_of(s);
    s->wrong_key = true;
    assert_int_equal(join(s, &l, &e, NULL), SHOAL_ERR_TAMPERED);
    assert_nothing_left(s);
}

static void clocks_far_apart_are_named(void **state)
{
    site *s = *state;
    shoal_enrolment e;
    shoal_error err = {0};
    shoal_join_link l = link_of(s);
    s->clock_s = 86400;
    assert_int_equal(join(s, &l, &e, &err), SHOAL_ERR_DENIED);
    assert_non_null(strstr(err.msg, "clock"));
    assert_nothing_left(s);
}

static void a_certificate_is_renewed_over_mutual_tls(void **state)
{
    site *s = *state;
    shoal_enrolment e;
    shoal_enrolment again;
    shoal_net *net = NULL;
    shoal_join_link l = link_of(s);
    int64_t now = (int64_t)time(NULL);
    assert_int_equal(join(s, &l, &e, NULL), SHOAL_OK);
    assert_false(shoal_enrolment_due(&e, now));
    assert_true(shoal_enrolment_due(&e, now + 2500));
    assert_int_equal(shoal_enrolment_connect(&e, NULL, &net, NULL), SHOAL_OK);
    shoal_wire_der old = e.cert;
    assert_int_equal(shoal_enrolment_renew(&s->store, &e, net, now, NULL), SHOAL_OK);
    uint8_t old_hash[32]; /* the server saw our certificate */
    assert_int_equal(shoal_sha256(old.data, old.n, old_hash, NULL), SHOAL_OK);
    assert_memory_equal(s->peer_cert, old_hash, sizeof old_hash);
    assert_memory_not_equal(old.data, e.cert.data, old.n);
    assert_int_equal(shoal_enrolment_load(&s->store, &again, NULL), SHOAL_OK);
    assert_memory_equal(again.cert.data, e.cert.data, e.cert.n);
    shoal_net_close(net);
    shoal_enrolment_clear(&e);
    shoal_enrolment_clear(&again);
}

/* Spec 2.2: the CA was away when the first answers were due. */
static void a_lost_answer_is_asked_for_again(void **state)
{
    site *s = *state;
    shoal_enrolment e;
    shoal_join_link l = link_of(s);
    s->lost = 1;
    assert_int_equal(join(s, &l, &e, NULL), SHOAL_OK);
    assert_int_equal(s->lost, 0);
    shoal_enrolment_clear(&e);
}

static shoal_status show_key(void *ctx, const uint8_t challenge[SHOAL_CHALLENGE_BYTES],
                             shoal_buf *out, shoal_error *err)
{
    return shoal_attest_software(ctx, challenge, out, err);
}

/* Spec 2.9 */
static void what_the_deployment_asks_for_is_shown(void **state)
{
    site *s = *state;
    shoal_enrolment e;
    shoal_error err = {0};
    shoal_join_link l = link_of(s);
    shoal_attester a = {SHOAL_ATTESTATION_SOFTWARE, show_key, s->task_key};
    uint8_t spki[SHOAL_SPKI_BYTES];
    uint8_t hash[32];
    uint8_t challenge[SHOAL_CHALLENGE_BYTES];
    shoal_attestation_level level;
    s->asks = SHOAL_ATTESTATION_SOFTWARE;
    assert_int_equal(join(s, &l, &e, &err), SHOAL_ERR_DENIED);
    assert_non_null(strstr(err.msg, "attestation"));
    s->asks = SHOAL_ATTESTATION_ANDROID; /* not what this attester does */
    s->attester = &a;
    assert_int_equal(join(s, &l, &e, &err), SHOAL_ERR_DENIED);
    assert_nothing_left(s);
    s->asks = SHOAL_ATTESTATION_SOFTWARE;
    assert_int_equal(join(s, &l, &e, NULL), SHOAL_OK);
    assert_int_equal(shoal_csr_check(s->last.csr.data, s->last.csr.n, spki, NULL), SHOAL_OK);
    assert_int_equal(shoal_token_hash(s->token, hash, NULL), SHOAL_OK);
    assert_int_equal(shoal_enrol_digest(hash, s->last.nonce, spki, challenge, NULL), SHOAL_OK);
    shoal_key_spki(s->task_key, spki);
    shoal_attest_policy p = {.kind = SHOAL_ATTESTATION_SOFTWARE, .spki = spki};
    assert_int_equal(shoal_attest_verify(&p, challenge, s->last.attestation, s->last.attestation_n,
                                         0, &level, NULL),
                     SHOAL_OK);
    assert_int_equal(level, SHOAL_LEVEL_SOFTWARE);
    shoal_enrolment_clear(&e);
}

/* Spec 2.8: a CA that nothing pinned names is not taken, and the pin stays. */
static void a_strange_ca_is_refused(void **state)
{
    site *s = *state;
    shoal_enrolment e;
    shoal_enrolment again;
    shoal_net *net = NULL;
    shoal_join_link l = link_of(s);
    int64_t now = (int64_t)time(NULL);
    shoal_buf other = shoal_buf_init(SHOAL_LIMIT_CERT);
    assert_int_equal(join(s, &l, &e, NULL), SHOAL_OK);
    assert_int_equal(
        shoal_ca_create(s->task_key, "test CA", now - 60, now + 86400, NULL, &other, NULL),
        SHOAL_OK);
    assert_int_equal(shoal_enrolment_connect(&e, NULL, &net, NULL), SHOAL_OK);
    assert_int_equal(shoal_enrolment_refresh_ca(&s->store, &e, net, now, NULL), SHOAL_OK);
    s->next_ca = &other;
    assert_int_equal(shoal_enrolment_refresh_ca(&s->store, &e, net, now, NULL), SHOAL_ERR_TAMPERED);
    assert_int_equal(shoal_enrolment_renew(&s->store, &e, net, now, NULL), SHOAL_ERR_TAMPERED);
    assert_int_equal(shoal_enrolment_load(&s->store, &again, NULL), SHOAL_OK);
    assert_memory_equal(again.ca.data, s->web.ca_der.data, s->web.ca_der.len);
    assert_memory_equal(again.cert.data, e.cert.data, e.cert.n);
    shoal_net_close(net);
    shoal_enrolment_clear(&e);
    shoal_enrolment_clear(&again);
    shoal_buf_clear(&other);
}

static void waits_grow_and_differ(void **state)
{
    (void)state;
    uint64_t most = 0;
    bool differ = false;
    uint64_t first = shoal_backoff_ms(3, 60000);
    for (int i = 0; i < 50; i++) {
        uint64_t ms = shoal_backoff_ms(3, 60000);
        assert_in_range(ms, 2000, 6000);
        differ = differ || ms != first;
        ms = shoal_backoff_ms(40, 60000);
        if (ms > most) most = ms;
    }
    assert_true(differ);
    assert_in_range(most, 30000, 90000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_device_joins_and_is_known_afterwards, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_member_cannot_join_twice_but_can_leave, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_used_link_is_refused_in_the_servers_words, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(another_server_never_sees_the_token, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_server_that_is_away_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_certificate_for_another_key_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(clocks_far_apart_are_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_certificate_is_renewed_over_mutual_tls, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_lost_answer_is_asked_for_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_the_deployment_asks_for_is_shown, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_strange_ca_is_refused, set_up, tear_down),
        cmocka_unit_test(waits_grow_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
