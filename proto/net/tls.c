/* tls.c - TLS 1.2 server sessions over mbedTLS 2.28 or 3.6, fed with bytes.
 *
 * Debian's 2.28.3 no longer gets upstream fixes; what is switched on here is chosen so that the
 * known weaknesses are out of reach: three AEAD suites, no renegotiation, a fresh ssl_context for
 * every connection, single-certificate chains only, tickets through callbacks that leave nothing
 * uninitialised.
 */
#include "proto/net/tls.h"

#include <string.h>
#include <time.h>

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/md.h>
#include <mbedtls/pk.h>
#include <mbedtls/platform.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>

#include "kernels/base/mem.h"
#include "proto/net/tls_buffers.h"
#include "proto/net/tls_cache.h"
#include "proto/net/tls_hello.h"

#if MBEDTLS_VERSION_MAJOR >= 3
#include <psa/crypto.h>
#endif
#if !defined(MBEDTLS_SSL_KEEP_PEER_CERTIFICATE) || !defined(MBEDTLS_SSL_TICKET_C)
#error "mbedTLS must be built with MBEDTLS_SSL_KEEP_PEER_CERTIFICATE and MBEDTLS_SSL_TICKET_C"
#endif

enum {
    PLAIN_CHUNK = 16384,         /* largest TLS record */
    HANDSHAKE_INPUT_MAX = 65536, /* of a client's bytes kept until a worker has the time */
    ALERT_HANDSHAKE_FAILURE = 40,
    ALERT_DECODE_ERROR = 50
};

struct shoal_tls_context {
    mbedtls_ssl_config conf;
    mbedtls_x509_crt cert;
    mbedtls_x509_crt ca;
    mbedtls_pk_context key;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context drbg;
    mbedtls_ssl_ticket_context tickets;
    tls_cache cache;
    pthread_mutex_t lock;     /* for drbg, tickets and cache; mbedTLS may be built without locks */
    pthread_rwlock_t ca_lock; /* CAs may be added while handshakes go on */
    tls_pool pool;
};

struct shoal_tls_session {
    shoal_tls_context *ctx;
    mbedtls_ssl_context ssl; /* set up while `open` */
    tls_parked parked;
    shoal_buf held;    /* input of the handshake that has not been worked on */
    const uint8_t *in; /* ciphertext of the current feed, not yet consumed */
    size_t in_left;
    shoal_buf *wire; /* where the current call wants ciphertext put */
    shoal_buf peer;  /* DER of the client's certificate */
    uint8_t peer_hash[32];
    bool greeted; /* the hello was looked at */
    bool hopeful; /* it may resume a session; not decided yet */
    bool open;
    bool resumed; /* decided by mbedTLS: its ServerHello was followed by no certificate */
    bool ready;
    bool failed;
};

/* The session whose handshake this thread advances: mbedTLS does not tell the ticket callbacks. */
static _Thread_local shoal_tls_session *g_shaking;

static const int SUITES[] = {MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
                             MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                             MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, 0};

#if MBEDTLS_VERSION_MAJOR < 3
static const mbedtls_ecp_group_id CURVES[] = {MBEDTLS_ECP_DP_CURVE25519, MBEDTLS_ECP_DP_SECP256R1,
                                              MBEDTLS_ECP_DP_NONE};
#else
static const uint16_t CURVES[] = {MBEDTLS_SSL_IANA_TLS_GROUP_X25519,
                                  MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
                                  MBEDTLS_SSL_IANA_TLS_GROUP_NONE};
#endif

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
    bool odd =
        depth == 0 && (crt->MBEDTLS_PRIVATE(ca_istrue) != 0 || !is_plain_rest(crt->next, &c->ca));
    return depth > 1 || odd || *flags != 0 ? MBEDTLS_ERR_X509_FATAL_ERROR : 0;
}

static int draw(void *ctx, unsigned char *out, size_t n)
{
    shoal_tls_context *c = ctx;
    (void)pthread_mutex_lock(&c->lock);
    int rc = mbedtls_ctr_drbg_random(&c->drbg, out, n);
    (void)pthread_mutex_unlock(&c->lock);
    return rc;
}

/* What a client is known by. */
static int hash_cert(const uint8_t *der, size_t n, uint8_t hash[32])
{
    return mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), der, n, hash);
}

/* ---- tickets ----------------------------------------------------------------------------------
 */

/* mbedTLS 2.28 puts length and lifetime on the wire even when this fails. */
static int write_ticket(void *ctx, const mbedtls_ssl_session *session, unsigned char *start,
                        const unsigned char *end, size_t *n, uint32_t *life_s)
{
    shoal_tls_context *c = ctx;
    *n = 0;
    *life_s = 0;
    (void)pthread_mutex_lock(&c->lock);
    int rc = mbedtls_ssl_ticket_write(&c->tickets, session, start, end, n, life_s);
    (void)pthread_mutex_unlock(&c->lock);
    if (rc != 0) {
        *n = 0;
        *life_s = 0;
    }
    return rc;
}

static int parse_ticket(void *ctx, mbedtls_ssl_session *session, unsigned char *data, size_t n)
{
    shoal_tls_context *c = ctx;
    (void)pthread_mutex_lock(&c->lock);
    int rc = mbedtls_ssl_ticket_parse(&c->tickets, session, data, n);
    (void)pthread_mutex_unlock(&c->lock);
    if (g_shaking != NULL) {
        g_shaking->hopeful = rc == 0;
    }
    return rc;
}

static shoal_status set_up_tickets(shoal_tls_context *c, uint32_t life_s, shoal_error *err)
{
    /* drawn from directly: every later draw is made inside the two callbacks, under the lock */
    int rc = mbedtls_ssl_ticket_setup(&c->tickets, mbedtls_ctr_drbg_random, &c->drbg,
                                      MBEDTLS_CIPHER_AES_256_GCM, life_s);
    if (rc != 0) {
        return fail_tls(err, SHOAL_ERR_NOMEM, rc, "cannot set up session tickets");
    }
    mbedtls_ssl_conf_session_tickets_cb(&c->conf, write_ticket, parse_ticket, c);
    return SHOAL_OK;
}

/* ---- sessions by id ---------------------------------------------------------------------------
 */

/* Only sessions of devices are kept, and of each a few: nobody can push out those of others. */
static int cache_set(void *ctx, const mbedtls_ssl_session *session)
{
    shoal_tls_context *c = ctx;
    const mbedtls_x509_crt *cert = session->MBEDTLS_PRIVATE(peer_cert);
    uint8_t data[TLS_CACHE_BYTES], owner[TLS_CACHE_OWNER];
    size_t n = 0;
    if (cert == NULL || session->MBEDTLS_PRIVATE(id_len) != TLS_CACHE_ID) {
        return 0;
    }
    int rc = mbedtls_ssl_session_save(session, data, sizeof data, &n);
    if (rc == 0) {
        rc = hash_cert(cert->raw.p, cert->raw.len, owner);
    }
    if (rc == 0) {
        (void)pthread_mutex_lock(&c->lock);
        tls_cache_put(&c->cache, session->MBEDTLS_PRIVATE(id), owner, data, n, (int64_t)time(NULL));
        (void)pthread_mutex_unlock(&c->lock);
    }
    shoal_wipe(data, sizeof data);
    return rc;
}

/* Finds a session and reads it into `out`, an empty one. */
static int cache_load(shoal_tls_context *c, const uint8_t *id, size_t id_n,
                      mbedtls_ssl_session *out)
{
    uint8_t data[TLS_CACHE_BYTES];
    size_t n = 0;
    (void)pthread_mutex_lock(&c->lock);
    const tls_cached *found = tls_cache_get(&c->cache, id, id_n, (int64_t)time(NULL));
    if (found != NULL) {
        n = found->n;
        memcpy(data, found->data, n);
    }
    (void)pthread_mutex_unlock(&c->lock);
    int rc = n > 0 ? mbedtls_ssl_session_load(out, data, n) : -1;
    shoal_wipe(data, n);
    return rc;
}

#if MBEDTLS_VERSION_MAJOR < 3
/* `session` is empty but for its id. mbedTLS compares the suites afterwards. */
static int get_session(void *ctx, mbedtls_ssl_session *session)
{
    uint8_t id[TLS_CACHE_ID];
    size_t id_n = session->id_len;
    if (id_n != sizeof id) {
        return -1;
    }
    memcpy(id, session->id, sizeof id);
    return cache_load(ctx, id, id_n, session);
}

static int set_session(void *ctx, const mbedtls_ssl_session *session)
{
    return cache_set(ctx, session);
}
#else
static int get_session(void *ctx, const unsigned char *id, size_t id_n,
                       mbedtls_ssl_session *session)
{
    return cache_load(ctx, id, id_n, session);
}

static int set_session(void *ctx, const unsigned char *id, size_t id_n,
                       const mbedtls_ssl_session *session)
{
    (void)id;
    (void)id_n;
    return cache_set(ctx, session);
}
#endif

static bool is_cached(shoal_tls_context *c, const tls_hello *hello)
{
    (void)pthread_mutex_lock(&c->lock);
    bool yes = tls_cache_get(&c->cache, hello->session_id, hello->session_id_n,
                             (int64_t)time(NULL)) != NULL;
    (void)pthread_mutex_unlock(&c->lock);
    return yes;
}

static shoal_status set_up_resumption(shoal_tls_context *c, const shoal_tls_options *opt,
                                      shoal_error *err)
{
    if (opt->resume_s == 0) {
        mbedtls_ssl_conf_session_tickets(&c->conf, MBEDTLS_SSL_SESSION_TICKETS_DISABLED);
        return SHOAL_OK;
    }
    if (opt->resume_sessions > 0) {
        if (!tls_cache_init(&c->cache, opt->resume_sessions, opt->resume_s)) {
            return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for resumable sessions");
        }
        mbedtls_ssl_conf_session_cache(&c->conf, c, get_session, set_session);
    }
    return set_up_tickets(c, opt->resume_s, err);
}

/* ---- the context ------------------------------------------------------------------------------
 */

static int parse_key(mbedtls_pk_context *key, const uint8_t *der, size_t n, shoal_tls_context *c)
{
#if MBEDTLS_VERSION_MAJOR < 3
    (void)c;
    return mbedtls_pk_parse_key(key, der, n, NULL, 0);
#else
    return mbedtls_pk_parse_key(key, der, n, NULL, 0, draw, c);
#endif
}

static int check_pair(shoal_tls_context *c)
{
#if MBEDTLS_VERSION_MAJOR < 3
    return mbedtls_pk_check_pair(&c->cert.pk, &c->key);
#else
    return mbedtls_pk_check_pair(&c->cert.pk, &c->key, draw, c);
#endif
}

/* mbedTLS 2.28 makes a table for a key's curve at its first use and keeps it with the key, without
 * a lock. Signing here, and looking at the signature with the CAs' keys (whose it is not, as a
 * rule), leaves nothing for two threads to make at once. */
static shoal_status warm_up(shoal_tls_context *c, shoal_error *err)
{
    unsigned char digest[32] = {1}, sig[MBEDTLS_ECDSA_MAX_LEN];
    size_t n = 0;
#if MBEDTLS_VERSION_MAJOR < 3
    int rc = mbedtls_pk_sign(&c->key, MBEDTLS_MD_SHA256, digest, sizeof digest, sig, &n, draw, c);
#else
    int rc = mbedtls_pk_sign(&c->key, MBEDTLS_MD_SHA256, digest, sizeof digest, sig, sizeof sig, &n,
                             draw, c);
#endif
    if (rc != 0) {
        return fail_tls(err, SHOAL_ERR_FORMAT, rc, "cannot sign with the server key");
    }
    for (mbedtls_x509_crt *ca = &c->ca; ca != NULL && ca->raw.len > 0; ca = ca->next) {
        (void)mbedtls_pk_verify(&ca->pk, MBEDTLS_MD_SHA256, digest, sizeof digest, sig, n);
    }
    return SHOAL_OK;
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
    rc = parse_key(&c->key, opt->key_der, opt->key_len, c);
    if (rc != 0) {
        return fail_tls(err, SHOAL_ERR_FORMAT, rc, "cannot read the server key");
    }
    rc = check_pair(c);
    if (rc != 0) {
        return fail_tls(err, SHOAL_ERR_FORMAT, rc, "server key and certificate do not match");
    }
    return opt->ca_der != NULL ? shoal_tls_context_add_ca(c, opt->ca_der, opt->ca_len, err)
                               : warm_up(c, err);
}

static shoal_status add_cas(shoal_tls_context *c, const uint8_t *der, size_t n, shoal_error *err)
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
    return warm_up(c, err);
}

shoal_status shoal_tls_context_add_ca(shoal_tls_context *c, const uint8_t *der, size_t n,
                                      shoal_error *err)
{
    (void)pthread_rwlock_wrlock(&c->ca_lock); /* until no worker is in a handshake */
    shoal_status st = add_cas(c, der, n, err);
    (void)pthread_rwlock_unlock(&c->ca_lock);
    return st;
}

/* 1.2 and nothing else: what is true of tickets, buffers and hellos here is true of that. */
static void choose_version(mbedtls_ssl_config *conf)
{
#if MBEDTLS_VERSION_MAJOR < 3
    mbedtls_ssl_conf_min_version(conf, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_max_version(conf, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_curves(conf, CURVES);
#else
    mbedtls_ssl_conf_min_tls_version(conf, MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_max_tls_version(conf, MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_groups(conf, CURVES);
#endif
}

static int auth_mode(shoal_tls_client_auth auth)
{
    switch (auth) {
    case SHOAL_TLS_CLIENT_REQUIRED: return MBEDTLS_SSL_VERIFY_REQUIRED;
    case SHOAL_TLS_CLIENT_OPTIONAL: return MBEDTLS_SSL_VERIFY_OPTIONAL;
    case SHOAL_TLS_CLIENT_NONE: break;
    }
    return MBEDTLS_SSL_VERIFY_NONE;
}

static shoal_status configure(shoal_tls_context *c, const shoal_tls_options *opt, shoal_error *err)
{
    mbedtls_ssl_config *conf = &c->conf;
    int rc = mbedtls_ssl_config_defaults(conf, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_STREAM,
                                         MBEDTLS_SSL_PRESET_SUITEB);
    if (rc != 0) {
        return fail_tls(err, SHOAL_ERR_NOMEM, rc, "cannot set up TLS");
    }
    choose_version(conf);
    mbedtls_ssl_conf_ciphersuites(conf, SUITES);
    mbedtls_ssl_conf_extended_master_secret(conf, MBEDTLS_SSL_EXTENDED_MS_ENABLED);
#if defined(MBEDTLS_SSL_RENEGOTIATION)
    mbedtls_ssl_conf_renegotiation(conf, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
#endif
    mbedtls_ssl_conf_legacy_renegotiation(conf, MBEDTLS_SSL_LEGACY_BREAK_HANDSHAKE);
    mbedtls_ssl_conf_rng(conf, draw, c);
    mbedtls_ssl_conf_authmode(conf, auth_mode(opt->client_auth));
    if (opt->client_auth != SHOAL_TLS_CLIENT_NONE) {
        mbedtls_ssl_conf_ca_chain(conf, &c->ca, NULL);
        mbedtls_ssl_conf_verify(conf, check_client_cert, c);
    }
    SHOAL_TRY(set_up_resumption(c, opt, err));
    rc = mbedtls_ssl_conf_own_cert(conf, &c->cert, &c->key);
    return rc == 0 ? SHOAL_OK : fail_tls(err, SHOAL_ERR_NOMEM, rc, "cannot set up TLS");
}

static shoal_status check_options(const shoal_tls_options *opt, shoal_error *err)
{
    if (opt->client_auth != SHOAL_TLS_CLIENT_NONE && opt->ca_der == NULL) {
        return shoal_fail(err, SHOAL_ERR_ARG, "client certificates need a CA to check against");
    }
    if (opt->resume_s > SHOAL_TLS_RESUME_MAX_S) {
        return shoal_fail(err, SHOAL_ERR_ARG, "a session can be resumed for a week at most");
    }
#if MBEDTLS_VERSION_MAJOR >= 3
    if (psa_crypto_init() != PSA_SUCCESS) { /* 3.x may compute through it */
        return shoal_fail(err, SHOAL_ERR_INTERNAL, "mbedTLS cannot start");
    }
#endif
    return SHOAL_OK;
}

static bool make_locks(shoal_tls_context *c)
{
    if (pthread_mutex_init(&c->lock, NULL) != 0) {
        return false;
    }
    if (pthread_rwlock_init(&c->ca_lock, NULL) != 0) {
        (void)pthread_mutex_destroy(&c->lock);
        return false;
    }
    if (!tls_pool_init(&c->pool)) {
        (void)pthread_rwlock_destroy(&c->ca_lock);
        (void)pthread_mutex_destroy(&c->lock);
        return false;
    }
    return true;
}

/* NULL when memory is out. From here on shoal_tls_context_close may be called. */
static shoal_tls_context *make_context(void)
{
    shoal_tls_context *c = shoal_calloc(1, sizeof *c);
    if (c == NULL || !make_locks(c)) {
        shoal_free(c);
        return NULL;
    }
    mbedtls_ssl_config_init(&c->conf);
    mbedtls_x509_crt_init(&c->cert);
    mbedtls_x509_crt_init(&c->ca);
    mbedtls_pk_init(&c->key);
    mbedtls_entropy_init(&c->entropy);
    mbedtls_ctr_drbg_init(&c->drbg);
    mbedtls_ssl_ticket_init(&c->tickets);
    return c;
}

shoal_status shoal_tls_context_open(shoal_tls_context **out, const shoal_tls_options *opt,
                                    shoal_error *err)
{
    *out = NULL;
    SHOAL_TRY(check_options(opt, err));
    shoal_tls_context *c = make_context();
    if (c == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for TLS");
    }
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
    tls_pool_clear(&c->pool);
    mbedtls_ssl_config_free(&c->conf);
    mbedtls_x509_crt_free(&c->cert);
    mbedtls_x509_crt_free(&c->ca);
    mbedtls_pk_free(&c->key);
    mbedtls_ssl_ticket_free(&c->tickets);
    tls_cache_clear(&c->cache);
    mbedtls_ctr_drbg_free(&c->drbg);
    mbedtls_entropy_free(&c->entropy);
    (void)pthread_rwlock_destroy(&c->ca_lock);
    (void)pthread_mutex_destroy(&c->lock);
    shoal_free(c);
}

/* ---- a session --------------------------------------------------------------------------------
 */

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
    s->ctx = c;
    s->held = shoal_buf_init(HANDSHAKE_INPUT_MAX);
    *out = s;
    return SHOAL_OK;
}

static void close_ssl(shoal_tls_session *s)
{
    if (s->open) {
        mbedtls_ssl_free(&s->ssl);
        s->open = false;
    }
}

void shoal_tls_session_close(shoal_tls_session *s)
{
    if (s != NULL) {
        close_ssl(s);
        shoal_buf_clear(&s->held);
        shoal_buf_clear(&s->peer);
        shoal_free(s);
    }
}

/* ---- the handshake ----------------------------------------------------------------------------
 */

/* Before mbedTLS has been given the session there is nobody else to send an alert. */
static int send_away(shoal_tls_session *s, uint8_t alert)
{
    const uint8_t record[] = {21, 3, 3, 0, 2, 2, alert};
    (void)shoal_buf_put(s->wire, record, sizeof record);
    return MBEDTLS_ERR_SSL_UNEXPECTED_MESSAGE;
}

/* mbedTLS negotiates the extended master secret (RFC 7627) whenever the client offers it, and
 * leaves it out otherwise: a client that does not offer it is sent away here (Spec 3.1.1). That
 * holds for resumed sessions too, which so always come from sessions that had it (RFC 7627 5.3). */
static int greet(shoal_tls_session *s)
{
    tls_hello hello;
    switch (tls_hello_scan(s->in, s->in_left, &hello)) {
    case TLS_HELLO_MORE: return MBEDTLS_ERR_SSL_WANT_READ;
    case TLS_HELLO_BAD: return send_away(s, ALERT_DECODE_ERROR);
    case TLS_HELLO_READY: break;
    }
    if (!hello.master_secret) {
        return send_away(s, ALERT_HANDSHAKE_FAILURE);
    }
    s->greeted = true;
    s->hopeful = hello.ticket || is_cached(s->ctx, &hello);
    return 0;
}

static int open_ssl(shoal_tls_session *s)
{
    mbedtls_ssl_init(&s->ssl);
    s->open = true;
    int rc = mbedtls_ssl_setup(&s->ssl, &s->ctx->conf);
    if (rc == 0) {
        mbedtls_ssl_set_bio(&s->ssl, s, bio_send, bio_recv, NULL);
    }
    return rc;
}

static int state_of(const shoal_tls_session *s)
{
    return s->ssl.MBEDTLS_PRIVATE(state);
}

/* Do public keys come next? Only in full handshakes, and only once the client has said something.
 */
static bool is_costly(const shoal_tls_session *s)
{
    int state = state_of(s);
    return !s->resumed && state >= MBEDTLS_SSL_SERVER_HELLO + s->hopeful &&
           state <= MBEDTLS_SSL_CERTIFICATE_VERIFY &&
           (state < MBEDTLS_SSL_CLIENT_CERTIFICATE || s->in_left > 0);
}

static int step(shoal_tls_session *s)
{
    int before = state_of(s);
    g_shaking = s;
    int rc = mbedtls_ssl_handshake_step(&s->ssl);
    g_shaking = NULL;
    if (rc == 0 && before == MBEDTLS_SSL_SERVER_HELLO) {
        s->resumed = state_of(s) != MBEDTLS_SSL_SERVER_CERTIFICATE;
    }
    return rc;
}

/* Back to when only the hello had come, and nothing was said: for a session that was hoped to be
 * resumed and could not be. It begins again when a worker has the time. */
static void forget(shoal_tls_session *s, const uint8_t *in, size_t n, size_t wire_len)
{
    close_ssl(s);
    s->hopeful = false;
    s->in = in;
    s->in_left = n;
    s->wire->len = wire_len;
}

/* One step after another. */
static int shake(shoal_tls_session *s, shoal_tls_effort effort, bool *costly)
{
    const uint8_t *begin = s->in;
    size_t all = s->in_left;
    size_t said = s->wire->len;
    bool fresh = !s->open;
    int rc = fresh ? open_ssl(s) : 0;
    while (rc == 0 && state_of(s) != MBEDTLS_SSL_HANDSHAKE_OVER) {
        if (effort == SHOAL_TLS_CHEAP && is_costly(s)) {
            *costly = true;
            if (fresh) {
                forget(s, begin, all, said);
            }
            return 0;
        }
        rc = step(s);
    }
    return rc;
}

/* The handler wants to know whose certificate it was; what mbedTLS made of it is no longer needed,
 * and would be half of what a waiting session holds. */
static int keep_peer(shoal_tls_session *s)
{
    const mbedtls_x509_crt *crt = mbedtls_ssl_get_peer_cert(&s->ssl);
    if (crt == NULL) {
        return 0;
    }
    /* Where a certificate is optional, mbedTLS lets a wrong key usage pass with a mark. */
    if (mbedtls_ssl_get_verify_result(&s->ssl) != 0) {
        return MBEDTLS_ERR_X509_CERT_VERIFY_FAILED;
    }
    s->peer = shoal_buf_init(crt->raw.len);
    if (!shoal_buf_put(&s->peer, crt->raw.p, crt->raw.len)) {
        return MBEDTLS_ERR_SSL_ALLOC_FAILED;
    }
    int rc = hash_cert(s->peer.data, s->peer.len, s->peer_hash);
    mbedtls_ssl_session *session = s->ssl.MBEDTLS_PRIVATE(session);
    mbedtls_x509_crt_free(session->MBEDTLS_PRIVATE(peer_cert));
    mbedtls_free(session->MBEDTLS_PRIVATE(peer_cert));
    session->MBEDTLS_PRIVATE(peer_cert) = NULL;
    return rc;
}

static int handshake(shoal_tls_session *s, shoal_tls_effort effort, bool *costly)
{
    int rc = s->greeted ? 0 : greet(s);
    if (rc != 0) {
        return rc;
    }
    if (!s->open && !s->hopeful && effort == SHOAL_TLS_CHEAP) {
        *costly = true;
        return 0;
    }
    rc = shake(s, effort, costly);
    if (rc == 0 && !*costly) {
        rc = keep_peer(s);
        s->ready = rc == 0;
    }
    return rc;
}

/* ---- records ----------------------------------------------------------------------------------
 */

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

/* During the handshake, what has come is kept until it can be worked on. */
static int feed_handshake(shoal_tls_session *s, shoal_tls_effort effort, const uint8_t *data,
                          size_t n, shoal_buf *plain_out, bool *costly)
{
    if (n > 0 && !shoal_buf_put(&s->held, data, n)) {
        return MBEDTLS_ERR_SSL_ALLOC_FAILED;
    }
    s->in = s->held.data;
    s->in_left = s->held.len;
    bool reads_cas = effort == SHOAL_TLS_ANY; /* what is cheap looks at no certificate */
    if (reads_cas) {
        (void)pthread_rwlock_rdlock(&s->ctx->ca_lock);
    }
    int rc = handshake(s, effort, costly);
    if (reads_cas) {
        (void)pthread_rwlock_unlock(&s->ctx->ca_lock);
    }
    if (rc == 0 && s->ready) {
        rc = read_plain(s, plain_out);
    }
    if (s->in_left == 0) {
        shoal_buf_clear(&s->held);
    } else if (s->in_left < s->held.len) {
        memmove(s->held.data, s->in, s->in_left);
        s->held.len = s->in_left;
    }
    return rc;
}

static int feed_records(shoal_tls_session *s, const uint8_t *data, size_t n, shoal_buf *plain_out)
{
    if (n == 0) {
        return MBEDTLS_ERR_SSL_WANT_READ;
    }
    if (!tls_unpark(&s->ctx->pool, &s->ssl, &s->parked)) {
        return MBEDTLS_ERR_SSL_ALLOC_FAILED;
    }
    s->in = data;
    s->in_left = n;
    return read_plain(s, plain_out);
}

shoal_status shoal_tls_feed(shoal_tls_session *s, shoal_tls_effort effort, const uint8_t *data,
                            size_t n, shoal_buf *wire_out, shoal_buf *plain_out, shoal_error *err)
{
    if (s->failed) {
        return shoal_fail(err, SHOAL_ERR_STATE, "the TLS session has ended");
    }
    bool costly = false;
    s->wire = wire_out;
    int rc = s->ready ? feed_records(s, data, n, plain_out)
                      : feed_handshake(s, effort, data, n, plain_out, &costly);
    s->in = NULL;
    s->in_left = 0;
    s->wire = NULL;
    if (costly && rc == 0) {
        return SHOAL_ERR_AGAIN;
    }
    if (s->ready && s->open) {
        tls_park(&s->ctx->pool, &s->ssl, &s->parked);
    }
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

bool shoal_tls_resumed(const shoal_tls_session *s)
{
    return s->ready && s->resumed;
}

shoal_status shoal_tls_seal(shoal_tls_session *s, const uint8_t *data, size_t n,
                            shoal_buf *wire_out, shoal_error *err)
{
    if (!s->ready) {
        return shoal_fail(err, SHOAL_ERR_STATE, "the TLS handshake is not complete");
    }
    if (!tls_unpark(&s->ctx->pool, &s->ssl, &s->parked)) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory to encrypt");
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
    tls_park(&s->ctx->pool, &s->ssl, &s->parked);
    return rc >= 0 ? SHOAL_OK : fail_tls(err, SHOAL_ERR_NOMEM, rc, "cannot encrypt");
}

void shoal_tls_finish(shoal_tls_session *s, shoal_buf *wire_out)
{
    if (s->ready && tls_unpark(&s->ctx->pool, &s->ssl, &s->parked)) {
        s->wire = wire_out;
        (void)mbedtls_ssl_close_notify(&s->ssl);
        s->wire = NULL;
        tls_park(&s->ctx->pool, &s->ssl, &s->parked);
    }
}

const uint8_t *shoal_tls_peer_cert_hash(const shoal_tls_session *s)
{
    return s->ready && s->peer.len > 0 ? s->peer_hash : NULL;
}

const uint8_t *shoal_tls_peer_cert(const shoal_tls_session *s, size_t *n)
{
    *n = s->ready ? s->peer.len : 0;
    return s->ready ? s->peer.data : NULL;
}
