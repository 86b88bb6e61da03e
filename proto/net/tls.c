/* tls.c - TLS 1.2 server sessions over mbedTLS 2.28, fed with bytes.
 *
 * Debian's 2.28.3 no longer gets upstream fixes; what is switched on here is chosen so that the
 * known weaknesses are out of reach: three AEAD suites, no tickets, no renegotiation, a fresh
 * ssl_context for every connection, single-certificate chains only.
 */
#include "proto/net/tls.h"

#include <string.h>

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_internal.h> /* for handshake->extended_ms: 2.28 has no public query */
#include <mbedtls/x509_crt.h>

#include "kernels/base/mem.h"

enum { PLAIN_CHUNK = 16384 }; /* largest TLS record */

struct shoal_tls_context {
    mbedtls_ssl_config conf;
    mbedtls_x509_crt cert;
    mbedtls_x509_crt ca;
    mbedtls_pk_context key;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context drbg;
    shoal_tls_client_auth client_auth;
};

struct shoal_tls_session {
    mbedtls_ssl_context ssl;
    const uint8_t *in; /* ciphertext of the current feed, not yet consumed */
    size_t in_left;
    shoal_buf *wire; /* where the current call wants ciphertext put */
    bool ready;
    bool failed;
};

static const int SUITES[] = {MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
                             MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                             MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, 0};

static const mbedtls_ecp_group_id CURVES[] = {MBEDTLS_ECP_DP_CURVE25519, MBEDTLS_ECP_DP_SECP256R1,
                                              MBEDTLS_ECP_DP_NONE};

static shoal_status fail_tls(shoal_error *err, shoal_status st, int rc, const char *what)
{
    char text[128];
    mbedtls_strerror(rc, text, sizeof text);
    return shoal_fail(err, st, "%s: %s", what, text);
}

static bool is_known_ca(const mbedtls_x509_crt *ca, const uint8_t *der, size_t n)
{
    for (; ca != NULL; ca = ca->next) {
        if (ca->raw.len == n && memcmp(ca->raw.p, der, n) == 0) {
            return true;
        }
    }
    return false;
}

/* What a client may send after its leaf: nothing, or our own CA (OpenSSL adds it by itself). */
static bool is_plain_rest(const mbedtls_x509_crt *rest, const mbedtls_x509_crt *ca)
{
    return rest == NULL || (rest->next == NULL && is_known_ca(ca, rest->raw.p, rest->raw.len));
}

/* Called for the client's leaf (depth 0) and our CA (depth 1). Any error other than "verify failed"
 * ends the handshake even where a certificate is optional, which is what we want of a bad one. */
static int check_client_cert(void *ctx, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
    const shoal_tls_context *c = ctx;
    bool odd = depth == 0 && (crt->ca_istrue != 0 || !is_plain_rest(crt->next, &c->ca));
    return depth > 1 || odd || *flags != 0 ? MBEDTLS_ERR_X509_FATAL_ERROR : 0;
}

static shoal_status load_keys(shoal_tls_context *c, const shoal_tls_options *opt, shoal_error *err)
{
    static const char PERSONAL[] = "shoal tls server";
    int rc = mbedtls_ctr_drbg_seed(&c->drbg, mbedtls_entropy_func, &c->entropy,
                                   (const unsigned char *)PERSONAL, sizeof PERSONAL - 1);
    if (rc != 0) {
        return fail_tls(err, SHOAL_ERR_IO, rc, "no randomness from the system");
    }
    rc = mbedtls_x509_crt_parse_der(&c->cert, opt->cert_der, opt->cert_len);
    if (rc != 0) {
        return fail_tls(err, SHOAL_ERR_FORMAT, rc, "cannot read the server certificate");
    }
    rc = mbedtls_pk_parse_key(&c->key, opt->key_der, opt->key_len, NULL, 0);
    if (rc != 0) {
        return fail_tls(err, SHOAL_ERR_FORMAT, rc, "cannot read the server key");
    }
    rc = mbedtls_pk_check_pair(&c->cert.pk, &c->key);
    if (rc != 0) {
        return fail_tls(err, SHOAL_ERR_FORMAT, rc, "server key and certificate do not match");
    }
    return opt->ca_der != NULL ? shoal_tls_context_add_ca(c, opt->ca_der, opt->ca_len, err)
                               : SHOAL_OK;
}

shoal_status shoal_tls_context_add_ca(shoal_tls_context *c, const uint8_t *der, size_t n,
                                      shoal_error *err)
{
    while (n > 0) {
        mbedtls_x509_crt one;
        mbedtls_x509_crt_init(&one);
        int rc = mbedtls_x509_crt_parse_der(&one, der, n);
        size_t size = rc == 0 ? one.raw.len : n;
        mbedtls_x509_crt_free(&one);
        if (rc == 0 && !is_known_ca(c->ca.version != 0 ? &c->ca : NULL, der, size)) {
            rc = mbedtls_x509_crt_parse_der(&c->ca, der, size);
        }
        if (rc != 0) {
            return fail_tls(err, SHOAL_ERR_FORMAT, rc, "cannot read the CA certificate");
        }
        der += size;
        n -= size;
    }
    return SHOAL_OK;
}

static shoal_status configure(shoal_tls_context *c, const shoal_tls_options *opt, shoal_error *err)
{
    mbedtls_ssl_config *conf = &c->conf;
    int rc = mbedtls_ssl_config_defaults(conf, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_STREAM,
                                         MBEDTLS_SSL_PRESET_SUITEB);
    if (rc != 0) {
        return fail_tls(err, SHOAL_ERR_NOMEM, rc, "cannot set up TLS");
    }
    mbedtls_ssl_conf_min_version(conf, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_max_version(conf, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_ciphersuites(conf, SUITES);
    mbedtls_ssl_conf_curves(conf, CURVES);
    mbedtls_ssl_conf_extended_master_secret(conf, MBEDTLS_SSL_EXTENDED_MS_ENABLED);
    mbedtls_ssl_conf_renegotiation(conf, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
    mbedtls_ssl_conf_legacy_renegotiation(conf, MBEDTLS_SSL_LEGACY_BREAK_HANDSHAKE);
    mbedtls_ssl_conf_rng(conf, mbedtls_ctr_drbg_random, &c->drbg);
    mbedtls_ssl_conf_authmode(
        conf, opt->client_auth == SHOAL_TLS_CLIENT_REQUIRED   ? MBEDTLS_SSL_VERIFY_REQUIRED
              : opt->client_auth == SHOAL_TLS_CLIENT_OPTIONAL ? MBEDTLS_SSL_VERIFY_OPTIONAL
                                                              : MBEDTLS_SSL_VERIFY_NONE);
    if (opt->client_auth != SHOAL_TLS_CLIENT_NONE) {
        mbedtls_ssl_conf_ca_chain(conf, &c->ca, NULL);
        mbedtls_ssl_conf_verify(conf, check_client_cert, c);
    }
    rc = mbedtls_ssl_conf_own_cert(conf, &c->cert, &c->key);
    return rc == 0 ? SHOAL_OK : fail_tls(err, SHOAL_ERR_NOMEM, rc, "cannot set up TLS");
}

shoal_status shoal_tls_context_open(shoal_tls_context **out, const shoal_tls_options *opt,
                                    shoal_error *err)
{
    *out = NULL;
    if (opt->client_auth != SHOAL_TLS_CLIENT_NONE && opt->ca_der == NULL) {
        return shoal_fail(err, SHOAL_ERR_ARG, "client certificates need a CA to check against");
    }
    shoal_tls_context *c = shoal_calloc(1, sizeof *c);
    if (c == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for TLS");
    }
    c->client_auth = opt->client_auth;
    mbedtls_ssl_config_init(&c->conf);
    mbedtls_x509_crt_init(&c->cert);
    mbedtls_x509_crt_init(&c->ca);
    mbedtls_pk_init(&c->key);
    mbedtls_entropy_init(&c->entropy);
    mbedtls_ctr_drbg_init(&c->drbg);
    shoal_status st = load_keys(c, opt, err);
    if (st == SHOAL_OK) {
        st = configure(c, opt, err);
    }
    if (st != SHOAL_OK) {
        shoal_tls_context_close(c);
        return st;
    }
    *out = c;
    return SHOAL_OK;
}

void shoal_tls_context_close(shoal_tls_context *c)
{
    if (c == NULL) {
        return;
    }
    mbedtls_ssl_config_free(&c->conf);
    mbedtls_x509_crt_free(&c->cert);
    mbedtls_x509_crt_free(&c->ca);
    mbedtls_pk_free(&c->key);
    mbedtls_ctr_drbg_free(&c->drbg);
    mbedtls_entropy_free(&c->entropy);
    shoal_free(c);
}

static int bio_send(void *ctx, const unsigned char *data, size_t n)
{
    shoal_tls_session *s = ctx;
    if (s->wire == NULL || !shoal_buf_put(s->wire, data, n)) {
        return MBEDTLS_ERR_SSL_INTERNAL_ERROR;
    }
    return (int)n;
}

static int bio_recv(void *ctx, unsigned char *out, size_t n)
{
    shoal_tls_session *s = ctx;
    if (s->in_left == 0) {
        return MBEDTLS_ERR_SSL_WANT_READ;
    }
    size_t k = n < s->in_left ? n : s->in_left;
    memcpy(out, s->in, k);
    s->in += k;
    s->in_left -= k;
    return (int)k;
}

shoal_status shoal_tls_session_open(shoal_tls_session **out, shoal_tls_context *c, shoal_error *err)
{
    *out = NULL;
    shoal_tls_session *s = shoal_calloc(1, sizeof *s);
    if (s == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a TLS session");
    }
    mbedtls_ssl_init(&s->ssl);
    int rc = mbedtls_ssl_setup(&s->ssl, &c->conf);
    if (rc != 0) {
        shoal_tls_session_close(s);
        return fail_tls(err, SHOAL_ERR_NOMEM, rc, "cannot open a TLS session");
    }
    mbedtls_ssl_set_bio(&s->ssl, s, bio_send, bio_recv, NULL);
    *out = s;
    return SHOAL_OK;
}

void shoal_tls_session_close(shoal_tls_session *s)
{
    if (s != NULL) {
        mbedtls_ssl_free(&s->ssl);
        shoal_free(s);
    }
}

/* One step after another, so that a client without the extended master secret (RFC 7627) can be
 * sent away as soon as its hello has been read. */
static int handshake(shoal_tls_session *s)
{
    while (s->ssl.state != MBEDTLS_SSL_HANDSHAKE_OVER) {
        int rc = mbedtls_ssl_handshake_step(&s->ssl);
        if (rc != 0) {
            return rc;
        }
        if (s->ssl.state == MBEDTLS_SSL_SERVER_CERTIFICATE &&
            s->ssl.handshake->extended_ms != MBEDTLS_SSL_EXTENDED_MS_ENABLED) {
            (void)mbedtls_ssl_send_alert_message(&s->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL,
                                                 MBEDTLS_SSL_ALERT_MSG_HANDSHAKE_FAILURE);
            return MBEDTLS_ERR_SSL_BAD_HS_CLIENT_HELLO;
        }
    }
    /* Where a certificate is optional, mbedTLS lets a wrong key usage pass with a mark. */
    if (mbedtls_ssl_get_peer_cert(&s->ssl) != NULL && mbedtls_ssl_get_verify_result(&s->ssl) != 0) {
        return MBEDTLS_ERR_X509_CERT_VERIFY_FAILED;
    }
    s->ready = true;
    return 0;
}

static int read_plain(shoal_tls_session *s, shoal_buf *plain_out)
{
    for (;;) {
        uint8_t *room = shoal_buf_reserve(plain_out, PLAIN_CHUNK);
        if (room == NULL) {
            return MBEDTLS_ERR_SSL_ALLOC_FAILED;
        }
        int rc = mbedtls_ssl_read(&s->ssl, room, PLAIN_CHUNK);
        if (rc <= 0) {
            return rc == 0 ? MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY : rc;
        }
        plain_out->len += (size_t)rc;
    }
}

shoal_status shoal_tls_feed(shoal_tls_session *s, const uint8_t *data, size_t n,
                            shoal_buf *wire_out, shoal_buf *plain_out, shoal_error *err)
{
    if (s->failed) {
        return shoal_fail(err, SHOAL_ERR_STATE, "the TLS session has ended");
    }
    s->in = data;
    s->in_left = n;
    s->wire = wire_out;
    int rc = s->ready ? 0 : handshake(s);
    if (rc == 0) {
        rc = read_plain(s, plain_out);
    }
    s->in = NULL;
    s->in_left = 0;
    s->wire = NULL;
    if (rc == MBEDTLS_ERR_SSL_WANT_READ) {
        return SHOAL_OK;
    }
    s->failed = true;
    if (rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY || rc == MBEDTLS_ERR_SSL_CONN_EOF) {
        return shoal_fail(err, SHOAL_ERR_CANCELLED, "the peer closed the session");
    }
    return fail_tls(err, s->ready ? SHOAL_ERR_TAMPERED : SHOAL_ERR_DENIED, rc,
                    s->ready ? "bad TLS record" : "TLS handshake failed");
}

bool shoal_tls_ready(const shoal_tls_session *s)
{
    return s->ready;
}

shoal_status shoal_tls_seal(shoal_tls_session *s, const uint8_t *data, size_t n,
                            shoal_buf *wire_out, shoal_error *err)
{
    if (!s->ready) {
        return shoal_fail(err, SHOAL_ERR_STATE, "the TLS handshake is not complete");
    }
    s->wire = wire_out;
    int rc = 0;
    while (n > 0 && rc >= 0) {
        rc = mbedtls_ssl_write(&s->ssl, data, n);
        if (rc > 0) {
            data += rc;
            n -= (size_t)rc;
        }
    }
    s->wire = NULL;
    return rc >= 0 ? SHOAL_OK : fail_tls(err, SHOAL_ERR_NOMEM, rc, "cannot encrypt");
}

void shoal_tls_finish(shoal_tls_session *s, shoal_buf *wire_out)
{
    if (s->ready) {
        s->wire = wire_out;
        (void)mbedtls_ssl_close_notify(&s->ssl);
        s->wire = NULL;
    }
}

const uint8_t *shoal_tls_peer_cert(const shoal_tls_session *s, size_t *n)
{
    const mbedtls_x509_crt *crt = s->ready ? mbedtls_ssl_get_peer_cert(&s->ssl) : NULL;
    *n = crt != NULL ? crt->raw.len : 0;
    return crt != NULL ? crt->raw.p : NULL;
}
