/* TLS sessions against mbedTLS as the client, both in this process and without sockets: what is
 * accepted, and above all what is not. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/ssl.h>

#include "kernels/base/mem.h"
#include "proto/net/tls.h"
#include "proto/limits.h"
#include "proto/x509.h"
#include "tests/support/mbedtls_both.h"

/* The clocks of this program, mbedTLS's included, can be set forward: 2.28 asks time(), 3.6
 * clock_gettime() as well. */
static time_t g_ahead_s;

int clock_gettime(clockid_t clock, struct timespec *out)
{
    (void)clock;
    (void)timespec_get(out, TIME_UTC);
    out->tv_sec += g_ahead_s;
    return 0;
}

time_t time(time_t *out)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}

/* A deployment's certificates. */
typedef struct pki {
    shoal_key *ca_key, *server_key, *client_key, *other_key;
    shoal_buf ca, server, server_key_der;
    int64_t now_s;
} pki;

static pki P;

static void ok(shoal_status st)
{
    assert_int_equal(st, SHOAL_OK);
}

static shoal_buf leaf(const shoal_key *ca_key, const shoal_buf *ca, const shoal_key *key,
                      shoal_cert_kind kind, int64_t from_s, int64_t to_s)
{
    static const char *const HOSTS[] = {"localhost"};
    uint8_t spki[SHOAL_SPKI_BYTES];
    shoal_buf out = shoal_buf_init(SHOAL_LIMIT_CERT);
    shoal_key_spki(key, spki);
    shoal_cert_template t = {.kind = kind,
                             .spki = spki,
                             .hosts = HOSTS,
                             .n_hosts = kind == SHOAL_CERT_SERVER,
                             .not_before_s = from_s,
                             .not_after_s = to_s};
    ok(shoal_cert_issue(ca_key, ca->data, ca->len, &t, &out, NULL));
    return out;
}

static int make_pki(void **state)
{
    (void)state;
    P.now_s = (int64_t)time(NULL);
    P.ca = shoal_buf_init(SHOAL_LIMIT_CERT);
    P.server_key_der = shoal_buf_init(4096);
    ok(shoal_key_generate(&P.ca_key, NULL));
    ok(shoal_key_generate(&P.server_key, NULL));
    ok(shoal_key_generate(&P.client_key, NULL));
    ok(shoal_key_generate(&P.other_key, NULL));
    ok(shoal_ca_create(P.ca_key, "Test CA", P.now_s - 99, P.now_s + 99999, NULL, &P.ca, NULL));
    P.server = leaf(P.ca_key, &P.ca, P.server_key, SHOAL_CERT_SERVER, P.now_s - 9, P.now_s + 99999);
    ok(shoal_key_encode_der(P.server_key, &P.server_key_der, NULL));
    return 0;
}

static int clear_pki(void **state)
{
    (void)state;
    shoal_key_close(P.ca_key);
    shoal_key_close(P.server_key);
    shoal_key_close(P.client_key);
    shoal_key_close(P.other_key);
    shoal_buf_clear(&P.ca);
    shoal_buf_clear(&P.server);
    shoal_buf_wipe(&P.server_key_der);
    return 0;
}

/* ---- the pair ---------------------------------------------------------------------------------
 */

typedef struct pair {
    shoal_tls_context *ctx;
    shoal_tls_session *server;
    mbedtls_ssl_context ssl;
    mbedtls_ssl_config conf;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context drbg;
    mbedtls_x509_crt ca, own;
    mbedtls_pk_context key;
    shoal_buf to_server, to_client, plain;
    shoal_status last; /* of the last feed */
    shoal_tls_effort effort;
    bool borrowed; /* ctx is another pair's */
} pair;

static int client_send(void *ctx, const unsigned char *data, size_t n)
{
    return shoal_buf_put(&((pair *)ctx)->to_server, data, n) ? (int)n : -1;
}

static int client_recv(void *ctx, unsigned char *out, size_t n)
{
    shoal_buf *b = &((pair *)ctx)->to_client;
    if (b->len == 0) {
        return MBEDTLS_ERR_SSL_WANT_READ;
    }
    size_t k = n < b->len ? n : b->len;
    memcpy(out, b->data, k);
    memmove(b->data, b->data + k, b->len - k);
    b->len -= k;
    return (int)k;
}

static void open_context(pair *p, shoal_tls_client_auth auth, uint32_t resume_s)
{
    shoal_tls_options opt = {.resume_sessions = 64,
                             .resume_s = resume_s,
                             .cert_der = P.server.data,
                             .cert_len = P.server.len,
                             .key_der = P.server_key_der.data,
                             .key_len = P.server_key_der.len,
                             .ca_der = P.ca.data,
                             .ca_len = P.ca.len,
                             .client_auth = auth};
    ok(shoal_tls_context_open(&p->ctx, &opt, NULL));
}

/* A server session of p->ctx, and a client that trusts it. */
static void open_both(pair *p)
{
    p->effort = SHOAL_TLS_ANY;
    ok(shoal_tls_session_open(&p->server, p->ctx, NULL));
    p->to_server = shoal_buf_init(1 << 20);
    p->to_client = shoal_buf_init(1 << 20);
    p->plain = shoal_buf_init(1 << 20);
    mbedtls_ssl_init(&p->ssl);
    mbedtls_ssl_config_init(&p->conf);
    mbedtls_entropy_init(&p->entropy);
    mbedtls_ctr_drbg_init(&p->drbg);
    mbedtls_x509_crt_init(&p->ca);
    mbedtls_x509_crt_init(&p->own);
    mbedtls_pk_init(&p->key);
    assert_int_equal(mbedtls_ctr_drbg_seed(&p->drbg, mbedtls_entropy_func, &p->entropy, NULL, 0),
                     0);
    assert_int_equal(mbedtls_x509_crt_parse_der(&p->ca, P.ca.data, P.ca.len), 0);
    assert_int_equal(mbedtls_ssl_config_defaults(&p->conf, MBEDTLS_SSL_IS_CLIENT,
                                                 MBEDTLS_SSL_TRANSPORT_STREAM,
                                                 MBEDTLS_SSL_PRESET_DEFAULT),
                     0);
    mbedtls_ssl_conf_rng(&p->conf, mbedtls_ctr_drbg_random, &p->drbg);
    mbedtls_ssl_conf_ca_chain(&p->conf, &p->ca, NULL);
    only_tls12(&p->conf);
}

static void pair_open(pair *p, shoal_tls_client_auth auth)
{
    memset(p, 0, sizeof *p);
    open_context(p, auth, 3600);
    open_both(p);
}

/* Another connection to the server of `first`. */
static void pair_again(pair *p, const pair *first)
{
    memset(p, 0, sizeof *p);
    p->ctx = first->ctx;
    p->borrowed = true;
    open_both(p);
}

static void pair_identity(pair *p, const shoal_key *key, const shoal_buf *cert)
{
    shoal_buf der = shoal_buf_init(4096);
    ok(shoal_key_encode_der(key, &der, NULL));
    assert_int_equal(mbedtls_x509_crt_parse_der(&p->own, cert->data, cert->len), 0);
    assert_int_equal(parse_key(&p->key, der.data, der.len, &p->drbg), 0);
    assert_int_equal(mbedtls_ssl_conf_own_cert(&p->conf, &p->own, &p->key), 0);
    shoal_buf_wipe(&der);
}

static void pair_close(pair *p)
{
    mbedtls_ssl_free(&p->ssl);
    mbedtls_ssl_config_free(&p->conf);
    mbedtls_ctr_drbg_free(&p->drbg);
    mbedtls_entropy_free(&p->entropy);
    mbedtls_x509_crt_free(&p->ca);
    mbedtls_x509_crt_free(&p->own);
    mbedtls_pk_free(&p->key);
    shoal_tls_session_close(p->server);
    if (!p->borrowed) {
        shoal_tls_context_close(p->ctx);
    }
    shoal_buf_clear(&p->to_server);
    shoal_buf_clear(&p->to_client);
    shoal_buf_clear(&p->plain);
}

/* Everything the client has said goes to the server, `piece` bytes at a time. */
static void deliver(pair *p, size_t piece)
{
    shoal_buf all = p->to_server;
    p->to_server = shoal_buf_init(1 << 20);
    p->last = SHOAL_OK;
    for (size_t at = 0; at < all.len && p->last == SHOAL_OK; at += piece) {
        size_t n = all.len - at < piece ? all.len - at : piece;
        p->last =
            shoal_tls_feed(p->server, p->effort, all.data + at, n, &p->to_client, &p->plain, NULL);
    }
    shoal_buf_clear(&all);
}

/* True when both sides are done with the handshake. */
static bool shake_on(pair *p, size_t piece)
{
    assert_int_equal(mbedtls_ssl_set_hostname(&p->ssl, "localhost"), 0);
    mbedtls_ssl_set_bio(&p->ssl, p, client_send, client_recv, NULL);
    int rc = MBEDTLS_ERR_SSL_WANT_READ;
    for (int i = 0; i < 20 && rc == MBEDTLS_ERR_SSL_WANT_READ; i++) {
        rc = mbedtls_ssl_handshake(&p->ssl);
        deliver(p, piece);
        if (p->last != SHOAL_OK) {
            return false;
        }
    }
    return rc == 0 && shoal_tls_ready(p->server);
}

static bool shake(pair *p, size_t piece)
{
    assert_int_equal(mbedtls_ssl_setup(&p->ssl, &p->conf), 0);
    return shake_on(p, piece);
}

/* ---- tests ------------------------------------------------------------------------------------
 */

static void echo(pair *p)
{
    static uint8_t big[100000], back[100000];
    for (size_t i = 0; i < sizeof big; i++) {
        big[i] = (uint8_t)(i * 7);
    }
    for (size_t at = 0; at < sizeof big;) {
        int n = mbedtls_ssl_write(&p->ssl, big + at, sizeof big - at);
        assert_true(n > 0);
        at += (size_t)n;
    }
    deliver(p, 1000);
    assert_int_equal(p->last, SHOAL_OK);
    assert_int_equal(p->plain.len, sizeof big);
    assert_memory_equal(p->plain.data, big, sizeof big);
    ok(shoal_tls_seal(p->server, p->plain.data, p->plain.len, &p->to_client, NULL));
    for (size_t at = 0; at < sizeof back;) {
        int n = mbedtls_ssl_read(&p->ssl, back + at, sizeof back - at);
        assert_true(n > 0);
        at += (size_t)n;
    }
    assert_memory_equal(back, big, sizeof big);
}

static void test_plain_session(void **state)
{
    (void)state;
    static pair p;
    pair_open(&p, SHOAL_TLS_CLIENT_OPTIONAL);
    assert_true(shake(&p, 1)); /* byte by byte */
    assert_string_equal(mbedtls_ssl_get_version(&p.ssl), "TLSv1.2");
    assert_null(shoal_tls_peer_cert_hash(p.server));
    assert_false(shoal_tls_resumed(p.server));
    echo(&p);
    assert_int_equal(mbedtls_ssl_close_notify(&p.ssl), 0);
    deliver(&p, 100);
    assert_int_equal(p.last, SHOAL_ERR_CANCELLED);
    pair_close(&p);
}

static void expect_peer(const pair *p, const shoal_buf *cert)
{
    uint8_t hash[32];
    const uint8_t *seen = shoal_tls_peer_cert_hash(p->server);
    ok(shoal_sha256(cert->data, cert->len, hash, NULL));
    assert_non_null(seen);
    assert_memory_equal(seen, hash, sizeof hash);
    size_t n;
    const uint8_t *der = shoal_tls_peer_cert(p->server, &n);
    assert_int_equal(n, cert->len);
    assert_memory_equal(der, cert->data, n);
}

static void test_client_certificate(void **state)
{
    (void)state;
    static pair p;
    shoal_buf own =
        leaf(P.ca_key, &P.ca, P.client_key, SHOAL_CERT_CLIENT, P.now_s - 9, P.now_s + 99);
    pair_open(&p, SHOAL_TLS_CLIENT_REQUIRED);
    pair_identity(&p, P.client_key, &own);
    assert_true(shake(&p, 4096));
    expect_peer(&p, &own);
    echo(&p);
    pair_close(&p);
    shoal_buf_clear(&own);
}

static void refuse_identity(const shoal_buf *cert, const shoal_key *key, const shoal_buf *extra)
{
    static pair p;
    pair_open(&p, SHOAL_TLS_CLIENT_OPTIONAL); /* optional, but a bad one is worse than none */
    pair_identity(&p, key, cert);
    if (extra != NULL) {
        assert_int_equal(mbedtls_x509_crt_parse_der(&p.own, extra->data, extra->len), 0);
    }
    assert_false(shake(&p, 4096));
    assert_int_equal(p.last, SHOAL_ERR_DENIED);
    pair_close(&p);
}

static void test_bad_identities(void **state)
{
    (void)state;
    int64_t t = P.now_s;
    shoal_buf other_ca = shoal_buf_init(SHOAL_LIMIT_CERT);
    ok(shoal_ca_create(P.other_key, "Other CA", t - 99, t + 999, NULL, &other_ca, NULL));
    shoal_buf expired = leaf(P.ca_key, &P.ca, P.client_key, SHOAL_CERT_CLIENT, t - 99, t - 9);
    shoal_buf early = leaf(P.ca_key, &P.ca, P.client_key, SHOAL_CERT_CLIENT, t + 50, t + 99);
    shoal_buf foreign =
        leaf(P.other_key, &other_ca, P.client_key, SHOAL_CERT_CLIENT, t - 9, t + 99);
    shoal_buf server = leaf(P.ca_key, &P.ca, P.client_key, SHOAL_CERT_SERVER, t - 9, t + 99);
    shoal_buf good = leaf(P.ca_key, &P.ca, P.client_key, SHOAL_CERT_CLIENT, t - 9, t + 99);
    refuse_identity(&expired, P.client_key, NULL);
    refuse_identity(&early, P.client_key, NULL);
    refuse_identity(&foreign, P.client_key, NULL);
    refuse_identity(&server, P.client_key, NULL);    /* key usage: not for clients */
    refuse_identity(&other_ca, P.other_key, NULL);   /* a CA is no device */
    refuse_identity(&good, P.client_key, &other_ca); /* a chain of two */
    refuse_identity(&good, P.other_key, NULL);       /* not the owner of the key */
    shoal_buf_clear(&other_ca);
    shoal_buf_clear(&expired);
    shoal_buf_clear(&early);
    shoal_buf_clear(&foreign);
    shoal_buf_clear(&server);
    shoal_buf_clear(&good);
}

static void test_required_and_missing(void **state)
{
    (void)state;
    static pair p;
    pair_open(&p, SHOAL_TLS_CLIENT_REQUIRED);
    assert_false(shake(&p, 4096));
    assert_int_equal(p.last, SHOAL_ERR_DENIED);
    pair_close(&p);
}

static void test_old_versions_and_suites(void **state)
{
    (void)state;
    static const int CBC[] = {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, 0};
    static const int STATIC_RSA[] = {MBEDTLS_TLS_RSA_WITH_AES_128_GCM_SHA256, 0};
    static const int GOOD[] = {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, 0};
    static pair p;
    pair_open(&p, SHOAL_TLS_CLIENT_OPTIONAL);
    only_other_version(&p.conf);
    assert_false(shake(&p, 4096));
    pair_close(&p);
    pair_open(&p, SHOAL_TLS_CLIENT_OPTIONAL);
    mbedtls_ssl_conf_ciphersuites(&p.conf, CBC);
    assert_false(shake(&p, 4096));
    pair_close(&p);
    pair_open(&p, SHOAL_TLS_CLIENT_OPTIONAL);
    mbedtls_ssl_conf_ciphersuites(&p.conf, STATIC_RSA);
    assert_false(shake(&p, 4096));
    pair_close(&p);
    pair_open(&p, SHOAL_TLS_CLIENT_OPTIONAL);
    mbedtls_ssl_conf_ciphersuites(&p.conf, GOOD);
    assert_true(shake(&p, 4096));
    pair_close(&p);
}

static void test_extended_master_secret_required(void **state)
{
    (void)state;
    static pair p;
    pair_open(&p, SHOAL_TLS_CLIENT_OPTIONAL);
    mbedtls_ssl_conf_extended_master_secret(&p.conf, MBEDTLS_SSL_EXTENDED_MS_DISABLED);
    assert_false(shake(&p, 4096));
    assert_int_equal(p.last, SHOAL_ERR_DENIED);
    assert_true(p.to_client.len > 0); /* the alert */
    pair_close(&p);
}

static void test_renegotiation_refused(void **state)
{
    (void)state;
    static pair p;
    pair_open(&p, SHOAL_TLS_CLIENT_OPTIONAL);
    mbedtls_ssl_conf_renegotiation(&p.conf, MBEDTLS_SSL_RENEGOTIATION_ENABLED);
    assert_true(shake(&p, 4096));
    int rc = mbedtls_ssl_renegotiate(&p.ssl);
    for (int i = 0; i < 5 && rc == MBEDTLS_ERR_SSL_WANT_READ; i++) {
        deliver(&p, 4096);
        rc = mbedtls_ssl_renegotiate(&p.ssl);
    }
    assert_int_not_equal(rc, 0);
    pair_close(&p);
}

static void test_rubbish(void **state)
{
    (void)state;
    static pair p;
    static const char HTTP[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    pair_open(&p, SHOAL_TLS_CLIENT_OPTIONAL);
    assert_int_equal(shoal_tls_feed(p.server, SHOAL_TLS_ANY, (const uint8_t *)HTTP, sizeof HTTP - 1,
                                    &p.to_client, &p.plain, NULL),
                     SHOAL_ERR_DENIED);
    assert_int_equal(shoal_tls_feed(p.server, SHOAL_TLS_ANY, (const uint8_t *)HTTP, 1, &p.to_client,
                                    &p.plain, NULL),
                     SHOAL_ERR_STATE);
    assert_int_equal(shoal_tls_seal(p.server, (const uint8_t *)HTTP, 1, &p.to_client, NULL),
                     SHOAL_ERR_STATE);
    pair_close(&p);
    pair_open(&p, SHOAL_TLS_CLIENT_OPTIONAL); /* a bit of an application record is changed */
    assert_true(shake(&p, 4096));
    assert_int_equal(mbedtls_ssl_write(&p.ssl, (const unsigned char *)"hello", 5), 5);
    p.to_server.data[p.to_server.len - 1] ^= 1;
    deliver(&p, 4096);
    assert_int_equal(p.last, SHOAL_ERR_TAMPERED);
    assert_int_equal(p.plain.len, 0);
    pair_close(&p);
}

static void test_wrong_key(void **state)
{
    (void)state;
    shoal_tls_context *c;
    shoal_error err = {0};
    shoal_buf der = shoal_buf_init(4096);
    ok(shoal_key_encode_der(P.other_key, &der, NULL));
    shoal_tls_options opt = {.cert_der = P.server.data,
                             .cert_len = P.server.len,
                             .key_der = der.data,
                             .key_len = der.len};
    assert_int_equal(shoal_tls_context_open(&c, &opt, &err), SHOAL_ERR_FORMAT);
    assert_null(c);
    opt.client_auth = SHOAL_TLS_CLIENT_REQUIRED;
    assert_int_equal(shoal_tls_context_open(&c, &opt, &err), SHOAL_ERR_ARG);
    shoal_buf_wipe(&der);
}

/* ---- tickets ----------------------------------------------------------------------------------
 */

/* A first connection with this certificate (NULL: none), and what its client may resume. */
static void first_visit(pair *p, const shoal_buf *cert, uint32_t life_s,
                        mbedtls_ssl_session *session)
{
    memset(p, 0, sizeof *p);
    open_context(p, SHOAL_TLS_CLIENT_OPTIONAL, life_s);
    open_both(p);
    if (cert != NULL) {
        pair_identity(p, P.client_key, cert);
    }
    assert_true(shake(p, 4096));
    mbedtls_ssl_session_init(session);
    assert_int_equal(mbedtls_ssl_get_session(&p->ssl, session), 0);
}

/* A second one that shows the ticket. */
static bool visit_again(pair *p, const pair *first, const shoal_buf *cert,
                        const mbedtls_ssl_session *session)
{
    pair_again(p, first);
    if (cert != NULL) {
        pair_identity(p, P.client_key, cert);
    }
    assert_int_equal(mbedtls_ssl_setup(&p->ssl, &p->conf), 0);
    assert_int_equal(mbedtls_ssl_set_session(&p->ssl, session), 0);
    return shake_on(p, 4096);
}

/* Spec 3.1.1: a resumed session is the same device's, and costs no public-key work. */
static void test_resumption(void **state)
{
    (void)state;
    static pair p, q;
    mbedtls_ssl_session session;
    shoal_buf own =
        leaf(P.ca_key, &P.ca, P.client_key, SHOAL_CERT_CLIENT, P.now_s - 9, P.now_s + 99);
    first_visit(&p, &own, 3600, &session);
    for (int i = 0; i < 3; i++) {
        pair_again(&q, &p);
        q.effort = SHOAL_TLS_CHEAP;
        assert_int_equal(mbedtls_ssl_setup(&q.ssl, &q.conf), 0);
        assert_int_equal(mbedtls_ssl_set_session(&q.ssl, &session), 0);
        assert_true(shake_on(&q, 100));
        assert_true(shoal_tls_resumed(q.server));
        expect_peer(&q, &own); /* which the client did not even have any more */
        echo(&q);
        pair_close(&q);
    }
    mbedtls_ssl_session_free(&session);
    pair_close(&p);
    shoal_buf_clear(&own);
}

static void test_resumption_without_certificate(void **state)
{
    (void)state;
    static pair p, q;
    mbedtls_ssl_session session;
    first_visit(&p, NULL, 3600, &session);
    assert_true(visit_again(&q, &p, NULL, &session));
    assert_true(shoal_tls_resumed(q.server));
    assert_null(shoal_tls_peer_cert_hash(q.server)); /* no ticket makes a device of it */
    echo(&q);
    pair_close(&q);
    mbedtls_ssl_session_free(&session);
    pair_close(&p);
}

/* What is not a good ticket leads to a whole handshake, never to a refusal. */
static void expect_full(const pair *first, const shoal_buf *cert,
                        const mbedtls_ssl_session *session)
{
    static pair q;
    assert_true(visit_again(&q, first, cert, session));
    assert_false(shoal_tls_resumed(q.server));
    expect_peer(&q, cert);
    echo(&q);
    pair_close(&q);
}

static void test_bad_tickets(void **state)
{
    (void)state;
    static pair p, other;
    mbedtls_ssl_session session, foreign;
    shoal_buf own =
        leaf(P.ca_key, &P.ca, P.client_key, SHOAL_CERT_CLIENT, P.now_s - 9, P.now_s + 99);
    first_visit(&p, &own, 3600, &session);
    first_visit(&other, &own, 3600, &foreign); /* the server before its restart */
    expect_full(&p, &own, &foreign);
    unsigned char *ticket = session.MBEDTLS_PRIVATE(ticket);
    size_t n = session.MBEDTLS_PRIVATE(ticket_len);
    for (size_t at = 0; at < n; at += at < 40 || at + 20 > n ? 7 : 61) {
        ticket[at] ^= 1;
        expect_full(&p, &own, &session);
        ticket[at] ^= 1;
    }
    session.MBEDTLS_PRIVATE(ticket_len) = n - 1;
    expect_full(&p, &own, &session);
    session.MBEDTLS_PRIVATE(ticket_len) = n;
    mbedtls_ssl_session_free(&session);
    mbedtls_ssl_session_free(&foreign);
    pair_close(&other);
    pair_close(&p);
    shoal_buf_clear(&own);
}

/* Keys are replaced after a ticket's life; the one before still opens what is not too old. */
static void test_tickets_expire(void **state)
{
    (void)state;
    static pair p, q;
    mbedtls_ssl_session session, newer;
    shoal_buf own =
        leaf(P.ca_key, &P.ca, P.client_key, SHOAL_CERT_CLIENT, P.now_s - 9, P.now_s + 99999);
    first_visit(&p, &own, 1000, &session);
    g_ahead_s = 900;
    assert_true(visit_again(&q, &p, &own, &session));
    assert_true(shoal_tls_resumed(q.server));
    pair_close(&q);
    pair_again(&q, &p);
    pair_identity(&q, P.client_key, &own);
    assert_true(shake(&q, 4096));
    mbedtls_ssl_session_init(&newer);
    assert_int_equal(mbedtls_ssl_get_session(&q.ssl, &newer), 0);
    pair_close(&q);
    g_ahead_s = 1100; /* the key is replaced; its last tickets hold */
    expect_full(&p, &own, &session);
    assert_true(visit_again(&q, &p, &own, &newer));
    assert_true(shoal_tls_resumed(q.server));
    pair_close(&q);
    g_ahead_s = 3200;
    expect_full(&p, &own, &newer);
    g_ahead_s = 0;
    mbedtls_ssl_session_free(&session);
    mbedtls_ssl_session_free(&newer);
    pair_close(&p);
    shoal_buf_clear(&own);
}

static void without_tickets(mbedtls_ssl_config *conf)
{
    mbedtls_ssl_conf_session_tickets(conf, MBEDTLS_SSL_SESSION_TICKETS_DISABLED);
}

/* A first visit of a client that wants no tickets. */
static void first_visit_by_id(pair *p, const shoal_buf *cert, mbedtls_ssl_session *session)
{
    memset(p, 0, sizeof *p);
    open_context(p, SHOAL_TLS_CLIENT_OPTIONAL, 1000);
    open_both(p);
    without_tickets(&p->conf);
    if (cert != NULL) {
        pair_identity(p, P.client_key, cert);
    }
    assert_true(shake(p, 4096));
    mbedtls_ssl_session_init(session);
    assert_int_equal(mbedtls_ssl_get_session(&p->ssl, session), 0);
    assert_int_equal(session->MBEDTLS_PRIVATE(ticket_len), 0);
    assert_int_equal(session->MBEDTLS_PRIVATE(id_len), 32);
}

static bool visit_again_by_id(pair *p, const pair *first, shoal_tls_effort effort,
                              const mbedtls_ssl_session *session)
{
    pair_again(p, first);
    p->effort = effort;
    without_tickets(&p->conf);
    assert_int_equal(mbedtls_ssl_setup(&p->ssl, &p->conf), 0);
    assert_int_equal(mbedtls_ssl_set_session(&p->ssl, session), 0);
    return shake_on(p, 100);
}

static void test_resumption_by_id(void **state)
{
    (void)state;
    static pair p, q;
    mbedtls_ssl_session session;
    shoal_buf own =
        leaf(P.ca_key, &P.ca, P.client_key, SHOAL_CERT_CLIENT, P.now_s - 9, P.now_s + 99999);
    first_visit_by_id(&p, &own, &session);
    for (int i = 0; i < 3; i++) {
        assert_true(visit_again_by_id(&q, &p, SHOAL_TLS_CHEAP, &session));
        assert_true(shoal_tls_resumed(q.server));
        expect_peer(&q, &own);
        echo(&q);
        pair_close(&q);
    }
    g_ahead_s = 1001;
    assert_true(visit_again_by_id(&q, &p, SHOAL_TLS_ANY, &session));
    assert_false(shoal_tls_resumed(q.server));
    assert_null(shoal_tls_peer_cert_hash(q.server));
    pair_close(&q);
    g_ahead_s = 0;
    mbedtls_ssl_session_free(&session);
    pair_close(&p);
    shoal_buf_clear(&own);
}

/* Who names a device's session without being able to resume it is not that device. */
static void test_stolen_id(void **state)
{
    (void)state;
    static const int OTHER[] = {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, 0};
    static pair p, q;
    mbedtls_ssl_session session;
    shoal_buf own =
        leaf(P.ca_key, &P.ca, P.client_key, SHOAL_CERT_CLIENT, P.now_s - 9, P.now_s + 99999);
    first_visit_by_id(&p, &own, &session);
    memset(session.MBEDTLS_PRIVATE(master), 1, 48); /* knows the id alone */
    assert_false(visit_again_by_id(&q, &p, SHOAL_TLS_ANY, &session));
    assert_null(shoal_tls_peer_cert_hash(q.server));
    pair_close(&q);
    pair_again(&q, &p); /* asks for another suite, so that nothing is resumed, and has none */
    without_tickets(&q.conf);
    mbedtls_ssl_conf_ciphersuites(&q.conf, OTHER);
    assert_int_equal(mbedtls_ssl_setup(&q.ssl, &q.conf), 0);
    assert_int_equal(mbedtls_ssl_set_session(&q.ssl, &session), 0);
    assert_true(shake_on(&q, 100));
    assert_false(shoal_tls_resumed(q.server));
    assert_null(shoal_tls_peer_cert_hash(q.server));
    pair_close(&q);
    pair_again(&q, &p); /* the same, told to do only what is cheap: not at the loop's cost */
    q.effort = SHOAL_TLS_CHEAP;
    without_tickets(&q.conf);
    mbedtls_ssl_conf_ciphersuites(&q.conf, OTHER);
    assert_int_equal(mbedtls_ssl_setup(&q.ssl, &q.conf), 0);
    assert_int_equal(mbedtls_ssl_set_session(&q.ssl, &session), 0);
    assert_false(shake_on(&q, 70000));
    assert_int_equal(q.last, SHOAL_ERR_AGAIN);
    assert_int_equal(q.to_client.len, 0);
    pair_close(&q);
    mbedtls_ssl_session_free(&session);
    pair_close(&p);
    shoal_buf_clear(&own);
}

/* Only devices' sessions are kept: strangers cannot push them out. */
static void test_strangers_are_not_kept(void **state)
{
    (void)state;
    static pair p, q;
    mbedtls_ssl_session session;
    first_visit_by_id(&p, NULL, &session);
    assert_true(visit_again_by_id(&q, &p, SHOAL_TLS_ANY, &session));
    assert_false(shoal_tls_resumed(q.server));
    pair_close(&q);
    mbedtls_ssl_session_free(&session);
    pair_close(&p);
}

static void test_tickets_off(void **state)
{
    (void)state;
    static pair p;
    mbedtls_ssl_session session;
    shoal_error err = {0};
    first_visit(&p, NULL, 0, &session);
    assert_int_equal(session.MBEDTLS_PRIVATE(ticket_len), 0);
    mbedtls_ssl_session_free(&session);
    pair_close(&p);
    shoal_tls_context *c;
    shoal_tls_options opt = {.resume_s = SHOAL_TLS_RESUME_MAX_S + 1};
    assert_int_equal(shoal_tls_context_open(&c, &opt, &err), SHOAL_ERR_ARG);
}

/* RFC 7627 5.3: a resumed session needs the extended master secret as well. */
static void test_resumption_needs_master_secret(void **state)
{
    (void)state;
    static pair p, q;
    mbedtls_ssl_session session;
    first_visit(&p, NULL, 3600, &session);
    pair_again(&q, &p);
    mbedtls_ssl_conf_extended_master_secret(&q.conf, MBEDTLS_SSL_EXTENDED_MS_DISABLED);
    assert_int_equal(mbedtls_ssl_setup(&q.ssl, &q.conf), 0);
    assert_int_equal(mbedtls_ssl_set_session(&q.ssl, &session), 0);
    assert_false(shake_on(&q, 4096));
    assert_int_equal(q.last, SHOAL_ERR_DENIED);
    pair_close(&q);
    mbedtls_ssl_session_free(&session);
    pair_close(&p);
}

/* ---- cost -------------------------------------------------------------------------------------
 */

/* Told to do what is cheap, a session stops before every step with public keys, having said
 * nothing that the worker would have to take back. */
static void test_cheap_effort(void **state)
{
    (void)state;
    static pair p;
    shoal_buf own =
        leaf(P.ca_key, &P.ca, P.client_key, SHOAL_CERT_CLIENT, P.now_s - 9, P.now_s + 99);
    pair_open(&p, SHOAL_TLS_CLIENT_OPTIONAL);
    pair_identity(&p, P.client_key, &own);
    assert_int_equal(mbedtls_ssl_setup(&p.ssl, &p.conf), 0);
    assert_int_equal(mbedtls_ssl_set_hostname(&p.ssl, "localhost"), 0);
    mbedtls_ssl_set_bio(&p.ssl, &p, client_send, client_recv, NULL);
    int stops = 0;
    int rc = MBEDTLS_ERR_SSL_WANT_READ;
    for (int i = 0; i < 10 && rc == MBEDTLS_ERR_SSL_WANT_READ; i++) {
        rc = mbedtls_ssl_handshake(&p.ssl);
        size_t before = p.to_client.len;
        p.effort = SHOAL_TLS_CHEAP;
        deliver(&p, 70000);
        if (p.last == SHOAL_ERR_AGAIN) {
            stops++;
            assert_int_equal(p.to_client.len, before);
            p.last = shoal_tls_feed(p.server, SHOAL_TLS_ANY, NULL, 0, &p.to_client, &p.plain, NULL);
        }
        assert_int_equal(p.last, SHOAL_OK);
    }
    assert_int_equal(rc, 0);
    assert_true(shoal_tls_ready(p.server));
    assert_int_equal(stops, 2); /* the server's key exchange; the client's certificate */
    expect_peer(&p, &own);
    echo(&p);
    pair_close(&p);
    shoal_buf_clear(&own);
}

enum { N_IDLE = 40 };

/* Sessions between records share record buffers: each counts some kilobytes. They take turns
 * without getting into each other's way, in every suite. */
static void test_idle_sessions_are_small(void **state)
{
    (void)state;
    static const int SUITES[3][2] = {{MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, 0},
                                     {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, 0},
                                     {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, 0}};
    static pair p[N_IDLE], waiting;
    static shoal_tls_session *silent[N_IDLE];
    shoal_buf own =
        leaf(P.ca_key, &P.ca, P.client_key, SHOAL_CERT_CLIENT, P.now_s - 9, P.now_s + 99);
    for (size_t i = 0; i < N_IDLE; i++) {
        if (i == 0) {
            pair_open(&p[i], SHOAL_TLS_CLIENT_OPTIONAL);
        } else {
            pair_again(&p[i], &p[0]);
        }
        pair_identity(&p[i], P.client_key, &own);
        mbedtls_ssl_conf_ciphersuites(&p[i].conf, SUITES[i % 3]);
        assert_true(shake(&p[i], 4096));
    }
    for (size_t turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < N_IDLE; i++) {
            p[i].plain.len = 0;
            echo(&p[i]);
        }
    }
    pair_again(&waiting, &p[0]); /* half a record keeps its buffers to itself */
    assert_true(shake(&waiting, 4096));
    assert_int_equal(mbedtls_ssl_write(&waiting.ssl, (const unsigned char *)"hello", 5), 5);
    shoal_buf rest = waiting.to_server;
    waiting.to_server = shoal_buf_init(1 << 20);
    assert_true(shoal_buf_put(&waiting.to_server, rest.data, 9));
    deliver(&waiting, 9);
    p[1].plain.len = 0;
    echo(&p[1]);
    assert_true(shoal_buf_put(&waiting.to_server, rest.data + 9, rest.len - 9));
    deliver(&waiting, 4096);
    assert_int_equal(waiting.plain.len, 5);
    assert_memory_equal(waiting.plain.data, "hello", 5);
    shoal_buf_clear(&rest);
    pair_close(&waiting);
    size_t with = mallinfo2().uordblks;
    for (size_t i = 0; i < N_IDLE; i++) { /* what is freed with a session is what it held */
        shoal_tls_session_close(p[i].server);
        p[i].server = NULL;
    }
    size_t without = mallinfo2().uordblks;
    if (with > 0) { /* sanitizers have an allocator that does not say */
        print_message("an idle session holds %zu bytes\n", (with - without) / N_IDLE);
        assert_true((with - without) / N_IDLE < 6000);
    }
    with = mallinfo2().uordblks;
    for (size_t i = 0; i < N_IDLE; i++) { /* nor does one cost much that has only said a little */
        ok(shoal_tls_session_open(&silent[i], p[0].ctx, NULL));
        ok(shoal_tls_feed(silent[i], SHOAL_TLS_CHEAP, (const uint8_t *)"\x16\x03\x01\x02", 4,
                          &p[0].to_client, &p[0].plain, NULL));
    }
    assert_true((mallinfo2().uordblks - with) / N_IDLE < 2000);
    for (size_t i = 0; i < N_IDLE; i++) {
        shoal_tls_session_close(silent[i]);
    }
    for (size_t i = N_IDLE; i > 0; i--) {
        pair_close(&p[i - 1]);
    }
    shoal_buf_clear(&own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plain_session),
                                       cmocka_unit_test(test_client_certificate),
                                       cmocka_unit_test(test_bad_identities),
                                       cmocka_unit_test(test_required_and_missing),
                                       cmocka_unit_test(test_old_versions_and_suites),
                                       cmocka_unit_test(test_extended_master_secret_required),
                                       cmocka_unit_test(test_renegotiation_refused),
                                       cmocka_unit_test(test_resumption),
                                       cmocka_unit_test(test_resumption_without_certificate),
                                       cmocka_unit_test(test_bad_tickets),
                                       cmocka_unit_test(test_tickets_expire),
                                       cmocka_unit_test(test_resumption_by_id),
                                       cmocka_unit_test(test_stolen_id),
                                       cmocka_unit_test(test_strangers_are_not_kept),
                                       cmocka_unit_test(test_tickets_off),
                                       cmocka_unit_test(test_resumption_needs_master_secret),
                                       cmocka_unit_test(test_cheap_effort),
                                       cmocka_unit_test(test_idle_sessions_are_small),
                                       cmocka_unit_test(test_rubbish),
                                       cmocka_unit_test(test_wrong_key)};
    return cmocka_run_group_tests(tests, make_pki, clear_pki);
}
