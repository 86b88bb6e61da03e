/* mbedtls_both.h - what mbedTLS 2.28 and 3.6 name differently, for tests that are TLS clients. */
#ifndef SHOAL_TESTS_SUPPORT_MBEDTLS_BOTH_H
#define SHOAL_TESTS_SUPPORT_MBEDTLS_BOTH_H

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>

#ifndef MBEDTLS_PRIVATE
#define MBEDTLS_PRIVATE(member) member
#endif

static inline void only_tls12(mbedtls_ssl_config *conf)
{
#if MBEDTLS_VERSION_MAJOR < 3
    mbedtls_ssl_conf_min_version(conf, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_max_version(conf, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
#else
    mbedtls_ssl_conf_min_tls_version(conf, MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_max_tls_version(conf, MBEDTLS_SSL_VERSION_TLS1_2);
#endif
}

/* A version that the server must not speak: 1.1, or 1.3 where 1.1 is no longer there. */
static inline void only_other_version(mbedtls_ssl_config *conf)
{
#if MBEDTLS_VERSION_MAJOR < 3
    mbedtls_ssl_conf_min_version(conf, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_1);
    mbedtls_ssl_conf_max_version(conf, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_2);
#else
    mbedtls_ssl_conf_min_tls_version(conf, MBEDTLS_SSL_VERSION_TLS1_3);
    mbedtls_ssl_conf_max_tls_version(conf, MBEDTLS_SSL_VERSION_TLS1_3);
#endif
}

static inline int parse_key(mbedtls_pk_context *key, const unsigned char *der, size_t n,
                            mbedtls_ctr_drbg_context *drbg)
{
#if MBEDTLS_VERSION_MAJOR < 3
    (void)drbg;
    return mbedtls_pk_parse_key(key, der, n, NULL, 0);
#else
    return mbedtls_pk_parse_key(key, der, n, NULL, 0, mbedtls_ctr_drbg_random, drbg);
#endif
}

#endif
