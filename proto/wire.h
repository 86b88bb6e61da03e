/* wire.h - control messages: plain structs <-> protobuf bytes.
 *
 * decode measures, then walks the bytes (known fields, right wire types, counts and lengths under
 * their caps, no groups), and only then lets the generated code unpack them under a memory budget.
 * Structs hold no pointers: copy and forget. Text is valid UTF-8, NUL-terminated.
 *
 * Layer: proto/. Threads: pure functions.
 */
#ifndef SHOAL_PROTO_WIRE_H
#define SHOAL_PROTO_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "proto/crypto.h"
#include "proto/enrol.h"
#include "proto/join_link.h"
#include "proto/limits.h"
#include "proto/sa.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_wire_der {
    uint32_t n;
    uint8_t data[SHOAL_LIMIT_CERT];
} shoal_wire_der;

/* POST /v1/enrol/begin: "I hold a token with this id, what do I have to show?" */
typedef struct shoal_enrol_begin {
    uint8_t token_id[SHOAL_TOKEN_BYTES]; /* shoal_token_id */
} shoal_enrol_begin;

typedef struct shoal_enrol_challenge {
    uint8_t nonce[SHOAL_NONCE_BYTES];
    shoal_attestation_kind attestation; /* what this deployment asks for */
} shoal_enrol_challenge;

/* POST /v1/enrol */
typedef struct shoal_enrol_request {
    uint8_t token[SHOAL_TOKEN_BYTES];
    uint8_t nonce[SHOAL_NONCE_BYTES];
    shoal_wire_der csr;
    uint32_t attestation_n; /* 0: none */
    uint8_t attestation[SHOAL_LIMIT_ATTESTATION];
    char version[SHOAL_LIMIT_NAME]; /* of the software, for the operator */
} shoal_enrol_request;

typedef struct shoal_enrol_response {
    shoal_wire_der cert;
    shoal_wire_der ca;                   /* one or two certificates, newest first */
    uint8_t task_spki[SHOAL_SPKI_BYTES]; /* to pin: signs descriptors and releases */
    char deployment[SHOAL_LIMIT_NAME];
    uint64_t server_time_s;
} shoal_enrol_response;

/* POST /v1/renew */
typedef struct shoal_renew_request {
    uint8_t proof[SHOAL_SIG_BYTES]; /* by the old certificate's key (shoal_renew_sign) */
    shoal_wire_der csr;
} shoal_renew_request;

typedef struct shoal_renew_response {
    shoal_wire_der cert;
    shoal_wire_der ca;
} shoal_renew_response;

/* GET /v1/ca */
typedef struct shoal_ca_bundle {
    shoal_wire_der ca;
} shoal_ca_bundle;

/* A version of an adapter, signed by the task key (shoal_release_sign / _verify). */
typedef struct shoal_adapter_release {
    uint8_t task_id[SHOAL_SA_TASK_BYTES];
    uint64_t version; /* 0 = the starting point */
    uint64_t round;   /* that made it; 0 for version 0 */
    uint8_t sha256[32];
    uint64_t size;
    uint8_t base_sha256[32];
    uint8_t previous_sha256[32]; /* zeros for version 0 */
    uint8_t signature[SHOAL_SIG_BYTES];
} shoal_adapter_release;

SHOAL_MUST_USE shoal_status shoal_release_sign(shoal_adapter_release *r, const shoal_key *task_key,
                                               shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_release_verify(const shoal_adapter_release *r,
                                                 const uint8_t task_spki[SHOAL_SPKI_BYTES],
                                                 shoal_error *err);

typedef enum shoal_task_state {
    SHOAL_TASK_RUNNING = 1,
    SHOAL_TASK_STOPPED = 2,
    SHOAL_TASK_FINISHED = 3 /* all its rounds are done */
} shoal_task_state;

typedef struct shoal_task_info {
    uint8_t task_id[SHOAL_SA_TASK_BYTES];
    char name[SHOAL_LIMIT_NAME];
    shoal_task_state state;
    char base_name[SHOAL_LIMIT_NAME]; /* e.g. "smollm2-135m" */
    uint8_t base_sha256[32];
    uint64_t rounds_done, rounds_total; /* total 0: without end */
    uint32_t cohort_min, cohort_target;
    uint32_t rank;
    float alpha;
    uint32_t targets;              /* bits, as in the adapter's spec */
    shoal_adapter_release release; /* newest */
} shoal_task_info;

/* GET /v1/tasks */
typedef struct shoal_task_list {
    uint32_t n;
    shoal_task_info tasks[SHOAL_LIMIT_TASKS];
} shoal_task_list;

/* POST /v1/checkin: "may I take part now?" */
typedef struct shoal_checkin_request {
    uint8_t task_id[SHOAL_SA_TASK_BYTES];
    uint64_t last_round;      /* persisted by the device */
    uint64_t adapter_version; /* it holds; informational */
    bool trained;             /* an update for that version is ready */
} shoal_checkin_request;

/* How a cohort trains; the codec's clip norm, weights and dimensions are in the descriptor. */
typedef struct shoal_train_spec {
    uint32_t rank;
    float alpha;
    uint32_t targets;
    float lr;
    uint32_t local_epochs; /* 0: bounded by local_steps alone */
    uint32_t local_steps;  /* 0: bounded by local_epochs alone */
    uint32_t batch;
    uint32_t ctx;
    char base_name[SHOAL_LIMIT_NAME];
} shoal_train_spec;

typedef enum shoal_checkin_kind {
    SHOAL_CHECKIN_WAIT = 1,  /* come back in retry_after_ms */
    SHOAL_CHECKIN_TRAIN = 2, /* train on `release` now, then check in again with trained = true */
    SHOAL_CHECKIN_JOIN = 3   /* a session: descriptor */
} shoal_checkin_kind;

typedef struct shoal_checkin_response {
    shoal_checkin_kind kind;
    uint32_t retry_after_ms;                    /* WAIT */
    char reason[SHOAL_LIMIT_TEXT];              /* WAIT, for a person */
    shoal_train_spec train;                     /* TRAIN, JOIN */
    shoal_adapter_release release;              /* TRAIN, JOIN: the adapter to start from */
    uint32_t descriptor_n;                      /* JOIN */
    uint8_t descriptor[SHOAL_LIMIT_DESCRIPTOR]; /* canonical bytes || signature */
} shoal_checkin_response;

/* GET /v1/sessions/{id}/result */
typedef struct shoal_round_result {
    uint8_t session_id[SHOAL_SA_SESSION_BYTES];
    uint64_t round;
    uint32_t cohort, survivors;
    uint64_t weight_sum;
    uint8_t roster_hash[32];
    shoal_adapter_release release; /* the version this round made */
} shoal_round_result;

/* Body of every answer that is not a success. */
typedef enum shoal_error_code {
    SHOAL_CODE_BAD_REQUEST = 1,  /* 400: malformed */
    SHOAL_CODE_UNAUTHORISED = 2, /* 401: no or unknown certificate, revoked device */
    SHOAL_CODE_FORBIDDEN = 3,    /* 403: token unknown, used or expired; not a member */
    SHOAL_CODE_NOT_FOUND = 4,    /* 404 */
    SHOAL_CODE_CONFLICT = 5,     /* 409: other bytes than acknowledged before */
    SHOAL_CODE_GONE = 6,         /* 410: session over; message says how it ended */
    SHOAL_CODE_TOO_LARGE = 7,    /* 413 */
    SHOAL_CODE_TOO_EARLY = 8,    /* 425: that stage is not open yet */
    SHOAL_CODE_BUSY = 9,         /* 429 or 503: retry_after_ms */
    SHOAL_CODE_INTERNAL = 10,    /* 500 */
    SHOAL_CODE_VERSION = 11,     /* 400: protocol version not spoken here */
    SHOAL_CODE_TAMPERED = 12     /* 422: a signature, tag or hash does not verify */
} shoal_error_code;

/* The HTTP status that goes with a code (BUSY: 503). */
int shoal_error_http(shoal_error_code code);

typedef struct shoal_error_reply {
    shoal_error_code code;
    char message[SHOAL_LIMIT_TEXT];
    char hint[SHOAL_LIMIT_TEXT];
    uint32_t retry_after_ms;
} shoal_error_reply;

/* X(struct, path of the name): encode appends, decode fills the whole struct. */
#define SHOAL_WIRE_MESSAGES(X) \
    X(enrol_begin)             \
    X(enrol_challenge)         \
    X(enrol_request)           \
    X(enrol_response)          \
    X(renew_request)           \
    X(renew_response)          \
    X(ca_bundle)               \
    X(task_list)               \
    X(checkin_request)         \
    X(checkin_response)        \
    X(adapter_release)         \
    X(round_result)            \
    X(error_reply)

/* shoal_NAME_encode(const shoal_NAME *m, shoal_buf *out, err): ARG when a field is out of range.
 * shoal_NAME_decode(const void *data, size_t n, shoal_NAME *out, err): FORMAT or TOO_LARGE, *out
 * then zeroed. */
#define SHOAL_WIRE_DECLARE(name)                                                             \
    SHOAL_MUST_USE shoal_status shoal_##name##_encode(const shoal_##name *m, shoal_buf *out, \
                                                      shoal_error *err);                     \
    SHOAL_MUST_USE shoal_status shoal_##name##_decode(const void *data, size_t n,            \
                                                      shoal_##name *out, shoal_error *err);
SHOAL_WIRE_MESSAGES(SHOAL_WIRE_DECLARE)
#undef SHOAL_WIRE_DECLARE

#ifdef __cplusplus
}
#endif
#endif
