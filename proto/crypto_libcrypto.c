/* crypto_libcrypto.c - the only file that names OpenSSL. Built without its headers it only says no.
 *
 * Loaded by dlopen, like libcurl (which loads the same library): programs that never need it do not
 * pay for it, and a machine without it lacks nothing. The functions are those that 1.1.1 and 3.x
 * share; the deprecated ones are so only in favour of slower ways to the same code. */
#define OPENSSL_API_COMPAT 0x10101000L
#include "proto/crypto_libcrypto.h"

#include "kernels/base/mem.h"

#ifndef SHOAL_HAVE_LIBCRYPTO

bool shoal_libcrypto_ready(void)
{
    return false;
}

void shoal_libcrypto_allow(bool allow)
{
    (void)allow;
}

bool shoal_libcrypto_x25519(uint8_t out[32], const uint8_t secret[32], const uint8_t *peer)
{
    (void)secret;
    (void)peer;
    shoal_wipe(out, 32);
    return false;
}

bool shoal_libcrypto_x25519_many(uint8_t (*out)[32], const uint8_t secret[32],
                                 const uint8_t *const *peers, size_t n)
{
    (void)secret;
    (void)peers;
    if (n > 0) shoal_wipe(out, n * 32);
    return false;
}

bool shoal_libcrypto_verify(const uint8_t point[65], const uint8_t digest[32],
                            const uint8_t sig[64])
{
    (void)point;
    (void)digest;
    (void)sig;
    return false;
}

bool shoal_libcrypto_sha256_init(void *state)
{
    (void)state;
    return false;
}

bool shoal_libcrypto_sha256_update(void *state, const void *data, size_t n)
{
    (void)state;
    (void)data;
    (void)n;
    return false;
}

bool shoal_libcrypto_sha256_final(void *state, uint8_t out[32])
{
    (void)state;
    (void)out;
    return false;
}

#else

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/sha.h>

_Static_assert(sizeof(SHA256_CTX) <= SHOAL_LIBCRYPTO_SHA256_BYTES, "room for a SHA-256");

/* What is used of it; the types are those of its headers. */
static struct {
    EVP_PKEY *(*new_private)(int, ENGINE *, const unsigned char *, size_t);
    EVP_PKEY *(*new_public)(int, ENGINE *, const unsigned char *, size_t);
    int (*get_public)(const EVP_PKEY *, unsigned char *, size_t *);
    void (*pkey_free)(EVP_PKEY *);
    EVP_PKEY_CTX *(*ctx_new)(EVP_PKEY *, ENGINE *);
    int (*derive_init)(EVP_PKEY_CTX *);
    int (*set_peer)(EVP_PKEY_CTX *, EVP_PKEY *);
    int (*derive)(EVP_PKEY_CTX *, unsigned char *, size_t *);
    void (*ctx_free)(EVP_PKEY_CTX *);
    EC_GROUP *(*group_by_name)(int);
    EC_KEY *(*key_new)(void);
    int (*key_set_group)(EC_KEY *, const EC_GROUP *);
    int (*key_set_point)(EC_KEY *, const unsigned char *, size_t, BN_CTX *);
    void (*key_free)(EC_KEY *);
    ECDSA_SIG *(*sig_new)(void);
    int (*sig_set)(ECDSA_SIG *, BIGNUM *, BIGNUM *);
    void (*sig_free)(ECDSA_SIG *);
    BIGNUM *(*bn_read)(const unsigned char *, int, BIGNUM *);
    void (*bn_free)(BIGNUM *);
    int (*verify)(const unsigned char *, int, const ECDSA_SIG *, EC_KEY *);
    int (*sha256_init)(SHA256_CTX *);
    int (*sha256_update)(SHA256_CTX *, const void *, size_t);
    int (*sha256_final)(unsigned char *, SHA256_CTX *);
} lib;

static EC_GROUP *g_p256; /* read only once made */
static bool g_usable;
static bool g_allowed = true;
static pthread_once_t g_once = PTHREAD_ONCE_INIT;

/* ---- the primitives ---- */

static bool derive(EVP_PKEY *own, EVP_PKEY *other, uint8_t out[32])
{
    size_t n = 32;
    EVP_PKEY_CTX *ctx = lib.ctx_new(own, NULL);
    bool ok = ctx != NULL && lib.derive_init(ctx) == 1 && lib.set_peer(ctx, other) == 1 &&
              lib.derive(ctx, out, &n) == 1 && n == 32;
    lib.ctx_free(ctx);
    return ok;
}

bool shoal_libcrypto_x25519_many(uint8_t (*out)[32], const uint8_t secret[32],
                                 const uint8_t *const *peers, size_t n)
{
    EVP_PKEY *own = lib.new_private(EVP_PKEY_X25519, NULL, secret, 32);
    bool ok = own != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        EVP_PKEY *other = lib.new_public(EVP_PKEY_X25519, NULL, peers[i], 32);
        ok = other != NULL && derive(own, other, out[i]);
        lib.pkey_free(other);
    }
    lib.pkey_free(own); /* which wipes it */
    return ok;
}

bool shoal_libcrypto_x25519(uint8_t out[32], const uint8_t secret[32], const uint8_t *peer)
{
    if (peer != NULL) return shoal_libcrypto_x25519_many((uint8_t(*)[32])out, secret, &peer, 1);
    size_t n = 32;
    EVP_PKEY *own = lib.new_private(EVP_PKEY_X25519, NULL, secret, 32);
    bool ok = own != NULL && lib.get_public(own, out, &n) == 1 && n == 32;
    lib.pkey_free(own);
    return ok;
}

static ECDSA_SIG *read_signature(const uint8_t sig[64])
{
    ECDSA_SIG *out = lib.sig_new();
    BIGNUM *r = lib.bn_read(sig, 32, NULL);
    BIGNUM *s = lib.bn_read(sig + 32, 32, NULL);
    if (out != NULL && r != NULL && s != NULL && lib.sig_set(out, r, s) == 1) return out;
    lib.bn_free(r);
    lib.bn_free(s);
    lib.sig_free(out);
    return NULL;
}

bool shoal_libcrypto_verify(const uint8_t point[65], const uint8_t digest[32],
                            const uint8_t sig[64])
{
    if (point[0] != 0x04) return false; /* it would also read the compressed and hybrid forms */
    EC_KEY *key = lib.key_new();
    ECDSA_SIG *parsed = read_signature(sig);
    bool ok = key != NULL && parsed != NULL && lib.key_set_group(key, g_p256) == 1 &&
              lib.key_set_point(key, point, 65, NULL) == 1 &&
              lib.verify(digest, 32, parsed, key) == 1;
    lib.sig_free(parsed);
    lib.key_free(key);
    return ok;
}

bool shoal_libcrypto_sha256_init(void *state)
{
    return lib.sha256_init(state) == 1;
}

bool shoal_libcrypto_sha256_update(void *state, const void *data, size_t n)
{
    return lib.sha256_update(state, data, n) == 1;
}

bool shoal_libcrypto_sha256_final(void *state, uint8_t out[32])
{
    bool ok = lib.sha256_final(out, state) == 1;
    shoal_wipe(state, SHOAL_LIBCRYPTO_SHA256_BYTES);
    return ok;
}

/* ---- loading ---- */

/* POSIX makes void * and function pointers convertible; C11 has no way to say it but this. */
static bool find(void *library, const char *name, void *slot)
{
    void *symbol = dlsym(library, name);
    memcpy(slot, &symbol, sizeof symbol);
    return symbol != NULL;
}

static bool find_all(void *library)
{
    return find(library, "EVP_PKEY_new_raw_private_key", &lib.new_private) &&
           find(library, "EVP_PKEY_new_raw_public_key", &lib.new_public) &&
           find(library, "EVP_PKEY_get_raw_public_key", &lib.get_public) &&
           find(library, "EVP_PKEY_free", &lib.pkey_free) &&
           find(library, "EVP_PKEY_CTX_new", &lib.ctx_new) &&
           find(library, "EVP_PKEY_derive_init", &lib.derive_init) &&
           find(library, "EVP_PKEY_derive_set_peer", &lib.set_peer) &&
           find(library, "EVP_PKEY_derive", &lib.derive) &&
           find(library, "EVP_PKEY_CTX_free", &lib.ctx_free) &&
           find(library, "EC_GROUP_new_by_curve_name", &lib.group_by_name) &&
           find(library, "EC_KEY_new", &lib.key_new) &&
           find(library, "EC_KEY_set_group", &lib.key_set_group) &&
           find(library, "EC_KEY_oct2key", &lib.key_set_point) &&
           find(library, "EC_KEY_free", &lib.key_free) &&
           find(library, "ECDSA_SIG_new", &lib.sig_new) &&
           find(library, "ECDSA_SIG_set0", &lib.sig_set) &&
           find(library, "ECDSA_SIG_free", &lib.sig_free) &&
           find(library, "BN_bin2bn", &lib.bn_read) && find(library, "BN_free", &lib.bn_free) &&
           find(library, "ECDSA_do_verify", &lib.verify) &&
           find(library, "SHA256_Init", &lib.sha256_init) &&
           find(library, "SHA256_Update", &lib.sha256_update) &&
           find(library, "SHA256_Final", &lib.sha256_final);
}

/* FIPS 180-4, "abc". */
static const uint8_t abc_hash[32] = {
    0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
    0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};

static bool hashes_right(void)
{
    uint64_t state[SHOAL_LIBCRYPTO_SHA256_BYTES / 8];
    uint8_t out[32];
    return shoal_libcrypto_sha256_init(state) && shoal_libcrypto_sha256_update(state, "abc", 3) &&
           shoal_libcrypto_sha256_final(state, out) && memcmp(out, abc_hash, 32) == 0;
}

/* RFC 7748, 6.1: Alice's public key and the shared secret. */
static bool exchanges_right(void)
{
    static const uint8_t secret[32] = {0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d,
                                       0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2, 0x66, 0x45,
                                       0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a,
                                       0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a};
    static const uint8_t public[32] = {0x85, 0x20, 0xf0, 0x09, 0x89, 0x30, 0xa7, 0x54,
                                       0x74, 0x8b, 0x7d, 0xdc, 0xb4, 0x3e, 0xf7, 0x5a,
                                       0x0d, 0xbf, 0x3a, 0x0d, 0x26, 0x38, 0x1a, 0xf4,
                                       0xeb, 0xa4, 0xa9, 0x8e, 0xaa, 0x9b, 0x4e, 0x6a};
    static const uint8_t peer[32] = {0xde, 0x9e, 0xdb, 0x7d, 0x7b, 0x7d, 0xc1, 0xb4,
                                     0xd3, 0x5b, 0x61, 0xc2, 0xec, 0xe4, 0x35, 0x37,
                                     0x3f, 0x83, 0x43, 0xc8, 0x5b, 0x78, 0x67, 0x4d,
                                     0xad, 0xfc, 0x7e, 0x14, 0x6f, 0x88, 0x2b, 0x4f};
    static const uint8_t shared[32] = {0x4a, 0x5d, 0x9d, 0x5b, 0xa4, 0xce, 0x2d, 0xe1,
                                       0x72, 0x8e, 0x3b, 0xf4, 0x80, 0x35, 0x0f, 0x25,
                                       0xe0, 0x7e, 0x21, 0xc9, 0x47, 0xd1, 0x9e, 0x33,
                                       0x76, 0xf0, 0x9b, 0x3c, 0x1e, 0x16, 0x17, 0x42};
    uint8_t out[32];
    return shoal_libcrypto_x25519(out, secret, NULL) && memcmp(out, public, 32) == 0 &&
           shoal_libcrypto_x25519(out, secret, peer) && memcmp(out, shared, 32) == 0;
}

/* RFC 6979, A.2.5, message "sample"; and not under another digest. */
static bool verifies_right(void)
{
    static const uint8_t point[65] = {
        0x04, 0x60, 0xfe, 0xd4, 0xba, 0x25, 0x5a, 0x9d, 0x31, 0xc9, 0x61, 0xeb, 0x74,
        0xc6, 0x35, 0x6d, 0x68, 0xc0, 0x49, 0xb8, 0x92, 0x3b, 0x61, 0xfa, 0x6c, 0xe6,
        0x69, 0x62, 0x2e, 0x60, 0xf2, 0x9f, 0xb6, 0x79, 0x03, 0xfe, 0x10, 0x08, 0xb8,
        0xbc, 0x99, 0xa4, 0x1a, 0xe9, 0xe9, 0x56, 0x28, 0xbc, 0x64, 0xf2, 0xf1, 0xb2,
        0x0c, 0x2d, 0x7e, 0x9f, 0x51, 0x77, 0xa3, 0xc2, 0x94, 0xd4, 0x46, 0x22, 0x99};
    static const uint8_t digest[32] = {0xaf, 0x2b, 0xdb, 0xe1, 0xaa, 0x9b, 0x6e, 0xc1,
                                       0xe2, 0xad, 0xe1, 0xd6, 0x94, 0xf4, 0x1f, 0xc7,
                                       0x1a, 0x83, 0x1d, 0x02, 0x68, 0xe9, 0x89, 0x15,
                                       0x62, 0x11, 0x3d, 0x8a, 0x62, 0xad, 0xd1, 0xbf};
    static const uint8_t sig[64] = {
        0xef, 0xd4, 0x8b, 0x2a, 0xac, 0xb6, 0xa8, 0xfd, 0x11, 0x40, 0xdd, 0x9c, 0xd4,
        0x5e, 0x81, 0xd6, 0x9d, 0x2c, 0x87, 0x7b, 0x56, 0xaa, 0xf9, 0x91, 0xc3, 0x4d,
        0x0e, 0xa8, 0x4e, 0xaf, 0x37, 0x16, 0xf7, 0xcb, 0x1c, 0x94, 0x2d, 0x65, 0x7c,
        0x41, 0xd4, 0x36, 0xc7, 0xa1, 0xb6, 0xe2, 0x9f, 0x65, 0xf3, 0xe9, 0x00, 0xdb,
        0xb9, 0xaf, 0xf4, 0x06, 0x4d, 0xc4, 0xab, 0x2f, 0x84, 0x3a, 0xcd, 0xa8};
    return shoal_libcrypto_verify(point, digest, sig) &&
           !shoal_libcrypto_verify(point, abc_hash, sig);
}

static void load(void)
{
    void *library = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) library = dlopen("libcrypto.so.1.1", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL || !find_all(library)) return;
    g_p256 = lib.group_by_name(NID_X9_62_prime256v1);
    g_usable = g_p256 != NULL && hashes_right() && exchanges_right() && verifies_right();
}

bool shoal_libcrypto_ready(void)
{
    return g_allowed && pthread_once(&g_once, load) == 0 && g_usable;
}

void shoal_libcrypto_allow(bool allow)
{
    g_allowed = allow;
}

#endif
