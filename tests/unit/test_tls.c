/* TLS sessions against mbedTLS as the client, both in this process and without sockets: what is
 * accepted, and above all what is not. */
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
    ok(shoal_ca_create(P.ca_key, "Test CA", P.now_s - 99, P.now_s + 999, NULL, &P.ca, NULL));
    P.server = leaf(P.ca_key, &P.ca, P.server_key, SHOAL_CERT_SERVER, P.now_s - 9, P.now_s + 99);
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

static void pair_open(pair *p, shoal_tls_client_auth auth)
{
    memset(p, 0, sizeof *p);
    shoal_tls_options opt = {.cert_der = P.server.data,
                             .cert_len = P.server.len,
                             .key_der = P.server_key_der.data,
                             .key_len = P.server_key_der.len,
                             .ca_der = P.ca.data,
                             .ca_len = P.ca.len,
                             .client_auth = auth};
    ok(shoal_tls_context_open(&p->ctx, &opt, NULL));
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
}

static void pair_identity(pair *p, const shoal_key *key, const shoal_buf *cert)
{
    shoal_buf der = shoal_buf_init(4096);
    ok(shoal_key_encode_der(key, &der, NULL));
    assert_int_equal(mbedtls_x509_crt_parse_der(&p->own, cert->data, cert->len), 0);
    assert_int_equal(mbedtls_pk_parse_key(&p->key, der.data, der.len, NULL, 0), 0);
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
    shoal_tls_context_close(p->ctx);
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
        p->last = shoal_tls_feed(p->server, all.data + at, n, &p->to_client, &p->plain, NULL);
    }
    shoal_buf_clear(&all);
}

/* True when both sides are done with the handshake. */
static bool shake(pair *p, size_t piece)
{
    assert_int_equal(mbedtls_ssl_setup(&p->ssl, &p->conf), 0);
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
    size_t n;
    pair_open(&p, SHOAL_TLS_CLIENT_OPTIONAL);
    assert_true(shake(&p, 1)); /* byte by byte */
    assert_string_equal(mbedtls_ssl_get_version(&p.ssl), "TLSv1.2");
    assert_null(shoal_tls_peer_cert(p.server, &n));
    echo(&p);
    assert_int_equal(mbedtls_ssl_close_notify(&p.ssl), 0);
    deliver(&p, 100);
    assert_int_equal(p.last, SHOAL_ERR_CANCELLED);
    pair_close(&p);
}

static void test_client_certificate(void **state)
{
    (void)state;
    static pair p;
    size_t n;
    shoal_buf own =
        leaf(P.ca_key, &P.ca, P.client_key, SHOAL_CERT_CLIENT, P.now_s - 9, P.now_s + 99);
    pair_open(&p, SHOAL_TLS_CLIENT_REQUIRED);
    pair_identity(&p, P.client_key, &own);
    assert_true(shake(&p, 4096));
    const uint8_t *der = shoal_tls_peer_cert(p.server, &n);
    assert_int_equal(n, own.len);
    assert_memory_equal(der, own.data, n);
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
    mbedtls_ssl_conf_max_version(&p.conf, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_2);
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
    assert_int_equal(shoal_tls_feed(p.server, (const uint8_t *)HTTP, sizeof HTTP - 1, &p.to_client,
                                    &p.plain, NULL),
                     SHOAL_ERR_DENIED);
    assert_int_equal(
        shoal_tls_feed(p.server, (const uint8_t *)HTTP, 1, &p.to_client, &p.plain, NULL),
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plain_session),
                                       cmocka_unit_test(test_client_certificate),
                                       cmocka_unit_test(test_bad_identities),
                                       cmocka_unit_test(test_required_and_missing),
                                       cmocka_unit_test(test_old_versions_and_suites),
                                       cmocka_unit_test(test_extended_master_secret_required),
                                       cmocka_unit_test(test_renegotiation_refused),
                                       cmocka_unit_test(test_rubbish),
                                       cmocka_unit_test(test_wrong_key)};
    return cmocka_run_group_tests(tests, make_pki, clear_pki);
}
