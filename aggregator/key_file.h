/* key_file.h - private keys and certificates as files.
 *
 * Keys are PEM with mode 0600; one that others may read is refused. Certificates are DER, 0644.
 *
 * Layer: aggregator. Threads: no shared state.
 */
#ifndef SHOAL_AGGREGATOR_KEY_FILE_H
#define SHOAL_AGGREGATOR_KEY_FILE_H

#include "kernels/base/buf.h"
#include "proto/crypto.h"

#ifdef __cplusplus
extern "C" {
#endif

SHOAL_MUST_USE shoal_status shoal_key_file_save(const char *dir, const char *name,
                                                const shoal_key *key, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_key_file_load(const char *dir, const char *name, shoal_key **out,
                                                shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_cert_file_save(const char *dir, const char *name,
                                                 const shoal_buf *der, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_cert_file_load(const char *dir, const char *name, shoal_buf *out,
                                                 shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
