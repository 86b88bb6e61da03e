/* tls_buffers.c - see tls_buffers.h. */
#include "proto/net/tls_buffers.h"

#include <string.h>

#define FIELD(ssl, name) ((ssl)->MBEDTLS_PRIVATE(name))

bool tls_pool_init(tls_pool *p)
{
    p->n = 0;
    return pthread_mutex_init(&p->lock, NULL) == 0;
}

/* Where the pointers of a session into its two buffers live. */
static void pointers(mbedtls_ssl_context *ssl, unsigned char **in[TLS_POINTERS],
                     unsigned char **out[TLS_POINTERS])
{
    in[0] = &FIELD(ssl, in_ctr);
    in[1] = &FIELD(ssl, in_hdr);
    in[2] = &FIELD(ssl, in_len);
    in[3] = &FIELD(ssl, in_iv);
    in[4] = &FIELD(ssl, in_msg);
    out[0] = &FIELD(ssl, out_ctr);
    out[1] = &FIELD(ssl, out_hdr);
    out[2] = &FIELD(ssl, out_len);
    out[3] = &FIELD(ssl, out_iv);
    out[4] = &FIELD(ssl, out_msg);
#if defined(MBEDTLS_SSL_DTLS_CONNECTION_ID)
    in[5] = &FIELD(ssl, in_cid);
    out[5] = &FIELD(ssl, out_cid);
#else
    in[5] = &FIELD(ssl, in_len); /* once more: harmless */
    out[5] = &FIELD(ssl, out_len);
#endif
}

static tls_pair take_pair(mbedtls_ssl_context *ssl)
{
    tls_pair pair = {.in = FIELD(ssl, in_buf), .out = FIELD(ssl, out_buf)};
    FIELD(ssl, in_buf) = NULL;
    FIELD(ssl, out_buf) = NULL;
#if defined(MBEDTLS_SSL_VARIABLE_BUFFER_LENGTH)
    pair.in_n = FIELD(ssl, in_buf_len);
    pair.out_n = FIELD(ssl, out_buf_len);
#endif
    return pair;
}

static void give_pair(mbedtls_ssl_context *ssl, const tls_pair *pair)
{
    FIELD(ssl, in_buf) = pair->in;
    FIELD(ssl, out_buf) = pair->out;
#if defined(MBEDTLS_SSL_VARIABLE_BUFFER_LENGTH)
    FIELD(ssl, in_buf_len) = pair->in_n;
    FIELD(ssl, out_buf_len) = pair->out_n;
#endif
}

/* A session that never shakes hands knows best how large the buffers have to be. */
static bool make_pair(const mbedtls_ssl_config *conf, tls_pair *out)
{
    mbedtls_ssl_context donor;
    mbedtls_ssl_init(&donor);
    bool ok = mbedtls_ssl_setup(&donor, conf) == 0;
    if (ok) {
        *out = take_pair(&donor);
    }
    mbedtls_ssl_free(&donor);
    return ok;
}

static void end_pair(const tls_pair *pair)
{
    mbedtls_ssl_context heir;
    mbedtls_ssl_init(&heir);
    give_pair(&heir, pair);
    mbedtls_ssl_free(&heir); /* wipes them */
}

void tls_pool_clear(tls_pool *p)
{
    while (p->n > 0) {
        end_pair(&p->spare[--p->n]);
    }
    (void)pthread_mutex_destroy(&p->lock);
}

static bool is_between_records(const mbedtls_ssl_context *ssl)
{
    return FIELD(ssl, in_buf) != NULL && FIELD(ssl, in_left) == 0 && FIELD(ssl, in_hslen) == 0 &&
           FIELD(ssl, in_offt) == NULL && FIELD(ssl, out_left) == 0 &&
           FIELD(ssl, keep_current_message) == 0 && FIELD(ssl, handshake) == NULL;
}

void tls_park(tls_pool *p, mbedtls_ssl_context *ssl, tls_parked *parked)
{
    unsigned char **in[TLS_POINTERS], **out[TLS_POINTERS];
    if (parked->yes || !is_between_records(ssl)) {
        return;
    }
    pointers(ssl, in, out);
    for (size_t i = 0; i < TLS_POINTERS; i++) {
        parked->in_at[i] = (uint16_t)(*in[i] - FIELD(ssl, in_buf));
        parked->out_at[i] = (uint16_t)(*out[i] - FIELD(ssl, out_buf));
    }
    memcpy(parked->in_counter, FIELD(ssl, in_ctr), sizeof parked->in_counter);
    parked->yes = true;
    tls_pair pair = take_pair(ssl);
    (void)pthread_mutex_lock(&p->lock);
    bool kept = p->n < TLS_POOL_MAX;
    if (kept) {
        p->spare[p->n++] = pair;
    }
    (void)pthread_mutex_unlock(&p->lock);
    if (!kept) {
        end_pair(&pair);
    }
}

bool tls_unpark(tls_pool *p, mbedtls_ssl_context *ssl, tls_parked *parked)
{
    unsigned char **in[TLS_POINTERS], **out[TLS_POINTERS];
    tls_pair pair;
    if (!parked->yes) {
        return true;
    }
    (void)pthread_mutex_lock(&p->lock);
    bool have = p->n > 0;
    if (have) {
        pair = p->spare[--p->n];
    }
    (void)pthread_mutex_unlock(&p->lock);
    if (!have && !make_pair(FIELD(ssl, conf), &pair)) {
        return false;
    }
    give_pair(ssl, &pair);
    pointers(ssl, in, out);
    for (size_t i = 0; i < TLS_POINTERS; i++) {
        *in[i] = pair.in + parked->in_at[i];
        *out[i] = pair.out + parked->out_at[i];
    }
    memcpy(FIELD(ssl, in_ctr), parked->in_counter, sizeof parked->in_counter);
    parked->yes = false;
    return true;
}
