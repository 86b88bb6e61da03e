/* limits.h - every cap and timeout of the protocol, in one list.
 *
 * A message is measured against its cap before a byte of it is parsed. PROTOCOL.md, section 9.
 *
 * Layer: proto/. Threads: constants only.
 */
#ifndef SHOAL_PROTO_LIMITS_H
#define SHOAL_PROTO_LIMITS_H

#ifdef __cplusplus
extern "C" {
#endif

enum shoal_limits {
    /* cohorts */
    SHOAL_LIMIT_COHORT_MIN = 3, /* nobody hides among fewer; policies usually ask for more */
    SHOAL_LIMIT_COHORT_MAX = 4096,
    SHOAL_LIMIT_COMPLETE = 64,   /* largest cohort in which everyone is next to everyone */
    SHOAL_LIMIT_DEGREE = 254,    /* neighbours of a client: places of shares over GF(2^8) */
    SHOAL_LIMIT_COMMITTEE = 256, /* signers of a survivor set */
    SHOAL_LIMIT_DIM = 1 << 26,   /* model coordinates of a session (256 MiB of words) */
    SHOAL_LIMIT_RING_MIN = 16,
    SHOAL_LIMIT_RING_MAX = 32,

    /* sizes in bytes */
    SHOAL_LIMIT_CERT = 1024,          /* one certificate, DER */
    SHOAL_LIMIT_CSR = 1024,           /* one certificate request, DER */
    SHOAL_LIMIT_ATTESTATION = 16384,  /* evidence of a device's attestation */
    SHOAL_LIMIT_DESCRIPTOR = 1024,    /* signed session descriptor */
    SHOAL_LIMIT_CONTROL = 64 * 1024,  /* one control message (protobuf) */
    SHOAL_LIMIT_SA_MESSAGE = 1 << 20, /* one SA-1 message other than M5 */
    SHOAL_LIMIT_SA_DEVICE = 1 << 16,  /* one of those that devices send */
    SHOAL_LIMIT_CHUNK = 1 << 18,      /* a piece of M5 or of a file: no body in a device's exchange
                                         with a server is larger */
    SHOAL_LIMIT_BLOB = 1 << 29,       /* one downloaded adapter */
    SHOAL_LIMIT_LINK = 512,           /* a join link */

    /* text, terminator included */
    SHOAL_LIMIT_NAME = 64,
    SHOAL_LIMIT_HOST = 254,
    SHOAL_LIMIT_TEXT = 256,

    /* counts */
    SHOAL_LIMIT_TASKS = 32,
    SHOAL_LIMIT_CA_GENERATIONS = 2, /* CA certificates valid at a time */

    /* times */
    SHOAL_LIMIT_WAIT_MS = 25 * 1000,         /* longest long poll */
    SHOAL_LIMIT_STAGE_MS = 10 * 60 * 1000,   /* longest stage of a session */
    SHOAL_LIMIT_RETRY_MS = 24 * 3600 * 1000, /* longest "come back later" */
    SHOAL_LIMIT_TOKEN_S = 600,               /* life of a join link */
    SHOAL_LIMIT_NONCE_S = 300,               /* from the challenge to the request that answers it */
    SHOAL_LIMIT_CERT_S = 7 * 24 * 3600       /* longest life of a client certificate */
};

#ifdef __cplusplus
}
#endif
#endif
