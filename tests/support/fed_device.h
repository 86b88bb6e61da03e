/* fed_device.h - a device of the tests: joins an aggregator over HTTPS and goes through a session
 * with vectors of its own, by libcurl and proto/sa_client. It can vanish at any stage. Failures of
 * things that must work fail the running test.
 */
#ifndef SHOAL_TESTS_SUPPORT_FED_DEVICE_H
#define SHOAL_TESTS_SUPPORT_FED_DEVICE_H

#include <curl/curl.h>

#include "kernels/kernels.h"
#include "proto/sa_client.h"
#include "proto/upload.h"
#include "proto/wire.h"

typedef struct fed_device {
    char base[320]; /* "https://HOST:PORT" */
    CURL *curl;
    shoal_key *key;
    shoal_enrol_response who; /* certificate, CA, task key */
    shoal_buf cert_pem, key_pem, ca_pem;
    uint64_t last_round;
    shoal_error_reply error; /* of the last answer that was none */
} fed_device;

/* A key, no certificate yet; talks to the server of the link and trusts it whatever it shows (that
 * pinning works is tested elsewhere). */
void fed_device_open(fed_device *d, const char *link);
void fed_device_close(fed_device *d);

/* One request; the HTTP status, 0 when the connection failed. reply is emptied first. */
long fed_device_call(fed_device *d, const char *method, const char *path, const void *body,
                     size_t n, shoal_buf *reply);

/* PUT of the chunk of an M5 that begins at `offset`, or of all its chunks in order. */
long fed_device_chunk(fed_device *d, const char *session_hex, const uint8_t *m5, size_t total,
                      uint64_t offset, shoal_buf *reply);
long fed_device_upload(fed_device *d, const char *session_hex, const uint8_t *m5, size_t total,
                       shoal_buf *reply);
/* POST /v1/enrol/begin; the nonce on 200. */
long fed_device_begin(fed_device *d, const uint8_t token[SHOAL_TOKEN_BYTES],
                      uint8_t nonce[SHOAL_NONCE_BYTES]);

/* POST /v1/enrol with the link's token; on 200 the certificate is used from then on. */
long fed_device_join(fed_device *d, const char *link);

/* Check-in for the first task; the answer decoded. */
long fed_device_checkin(fed_device *d, bool trained, shoal_checkin_response *out);

/* The last thing a device does before it vanishes. */
typedef enum fed_last {
    FED_JOINS, /* gets a descriptor, advertises nothing */
    FED_ADVERTISES,
    FED_SHARES,
    FED_CONFIRMS,
    FED_UPLOADS,
    FED_SIGNS,
    FED_FINISHES
} fed_last;

typedef struct fed_part fed_part;

/* Uploads the M5 of a session in a way of its own; false: the device vanishes here. */
typedef bool fed_upload_fn(fed_part *p, const char *session_hex, const shoal_buf *m5);

struct fed_part {
    fed_device *device;
    const float *update; /* [dim] */
    uint32_t weight;
    uint8_t seed[32]; /* of the rounding */
    fed_last last;
    uint32_t n_min;        /* device policy */
    fed_upload_fn *upload; /* NULL: chunk after chunk */
    void *ctx;
    /* results */
    shoal_codec codec;
    uint8_t signs[32]; /* key of the session's rotation */
    bool finished;     /* got the result */
    shoal_round_result result;
    char trouble[256]; /* why it stopped earlier than asked to */
};

/* Checks in (as trained) until there is a session, and takes part. Blocking; for a thread of its
 * own: `ctx` is a fed_part. */
void *fed_take_part(void *ctx);

#endif
