/* reply.h - answers of the device interface: protobuf, bytes, errors. PROTOCOL.md 3.4.
 *
 * Layer: aggregator. Threads: the loop's.
 */
#ifndef SHOAL_AGGREGATOR_REPLY_H
#define SHOAL_AGGREGATOR_REPLY_H

#include "proto/net/http_server.h"
#include "proto/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SHOAL_TYPE_PROTOBUF "application/x-protobuf"
#define SHOAL_TYPE_BYTES "application/octet-stream"

/* 200 with the buffer's bytes (which it frees), or without a body for NULL. */
void shoal_reply_bytes(shoal_http_request *r, const char *media_type, shoal_buf *body);
void shoal_reply_empty(shoal_http_request *r, int status);

/* An ErrorReply; retry_after_ms 0 for none. err may be NULL. */
void shoal_reply_error(shoal_http_request *r, shoal_error_code code, const shoal_error *err,
                       const char *message, uint32_t retry_after_ms);

/* The error that belongs to a failed call. What concerns only the operator is logged, and the
 * device is told no more than "internal error". */
void shoal_reply_status(shoal_http_request *r, shoal_status st, const shoal_error *err);

/* Encodes any ErrorReply (also for errors the HTTP server answers itself). */
void shoal_reply_encode(shoal_error_code code, const char *message, const char *hint,
                        uint32_t retry_after_ms, shoal_buf *out);

#ifdef __cplusplus
}
#endif
#endif
