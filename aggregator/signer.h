/* signer.h - the conversation between the aggregator and the CA, which are two processes.
 *
 * A Unix socket of type SOCK_SEQPACKET, so that a message is whole or not there and a CA that is
 * started again finds no half of one. One request, one answer, in order:
 *
 *   request   u8 op, u32 number, body        answer   u8 0, u32 number, body
 *                                            or       u8 status, u32 number, message 00 hint 00
 *   INFO    ()                                 CA bundle
 *   BEGIN   EnrolBegin                         EnrolChallenge
 *   ENROL   EnrolRequest                       u8 level, certificate
 *   RENEW   u16 length, certificate, RenewRequest    u8 level, certificate
 *   SERVER  n times u8 length, host            certificate
 *
 * The bodies with names are the device's own bytes (shoal.proto): the CA reads them itself and
 * believes the aggregator nothing. No message is longer than SHOAL_SIGNER_FRAME.
 *
 * Layer: aggregator. Threads: one owner.
 */
#ifndef SHOAL_AGGREGATOR_SIGNER_H
#define SHOAL_AGGREGATOR_SIGNER_H

#include "aggregator/ca.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SHOAL_SIGNER_FRAME = 20 * 1024,
    SHOAL_SIGNER_HEAD = 5,
    SHOAL_SIGNER_PEERS = 8 /* connections to a CA that listens */
};

typedef enum shoal_signer_op {
    SHOAL_SIGNER_INFO = 1,
    SHOAL_SIGNER_BEGIN = 2,
    SHOAL_SIGNER_ENROL = 3,
    SHOAL_SIGNER_RENEW = 4,
    SHOAL_SIGNER_SERVER = 5
} shoal_signer_op;

/* ---- the CA's end ---- */

/* Answers one request; `out` is emptied first. Whatever is in `in`, there is an answer. */
void shoal_signer_answer(shoal_ca *ca, const uint8_t *in, size_t n, int64_t now_s, shoal_buf *out);

/* A pair of connected sockets, for a CA that is started by the aggregator. */
SHOAL_MUST_USE shoal_status shoal_signer_pair(int fd[2], shoal_error *err);
/* Listens at a path, which must not be in use; who may stay is decided when he connects. */
SHOAL_MUST_USE shoal_status shoal_signer_listen(const char *path, int *fd, shoal_error *err);

typedef struct shoal_signer_serve_options {
    int peer;           /* connected socket, or -1 */
    int listener;       /* listening socket, or -1 */
    unsigned owner;     /* user id that may connect, besides root and our own */
    bool (*stop)(void); /* asked a few times a second; NULL: never */
} shoal_signer_serve_options;

/* Serves until the one peer is gone (without a listener) or `stop`. */
SHOAL_MUST_USE shoal_status shoal_signer_serve(shoal_ca *ca, const shoal_signer_serve_options *o,
                                               shoal_error *err);

/* ---- the aggregator's end ---- */

/* SHOAL_OK and a cursor over the body, or the CA's refusal. FORMAT when it is no answer. */
SHOAL_MUST_USE shoal_status shoal_signer_read_answer(const uint8_t *data, size_t n,
                                                     uint32_t *number, shoal_cursor *body,
                                                     shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_signer_connect(const char *path, int *fd, shoal_error *err);

/* One exchange that waits, for a program that is only starting. `out` gets the body. */
SHOAL_MUST_USE shoal_status shoal_signer_ask_now(int fd, shoal_signer_op op, const void *body,
                                                 size_t n, shoal_buf *out, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
