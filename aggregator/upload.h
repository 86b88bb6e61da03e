/* upload.h - the masked inputs of a session on their way in.
 *
 * Chunks of an unfinished M5 wait in a file without a name (one a session, in the deployment's
 * directory, gone with the process); only when one is whole is it read back, checked and added to
 * the sum, in one piece. So memory does not grow with the number of devices, and a device that
 * vanishes in the middle leaves nothing behind. Of an M5 that was added its running hashes are
 * kept, 32 bytes a chunk, to know repeats (PROTOCOL.md 3.6). DECISIONS.md, "Inputs wait on disk".
 *
 * Layer: aggregator. Threads: one owner.
 */
#ifndef SHOAL_AGGREGATOR_UPLOAD_H
#define SHOAL_AGGREGATOR_UPLOAD_H

#include <stdbool.h>

#include "proto/crypto.h"
#include "proto/upload.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_uploads shoal_uploads;

/* For inputs of `total` bytes each; the file is made in `dir` (borrowed) with the first chunk. */
SHOAL_MUST_USE shoal_status shoal_uploads_open(shoal_uploads **out, const char *dir, uint64_t total,
                                               shoal_error *err);
void shoal_uploads_close(shoal_uploads *u); /* NULL is fine */

typedef struct shoal_upload_chunk {
    uint64_t offset;
    const uint8_t *hash; /* [32] running hash behind the chunk, as the device says */
    const void *data;
    size_t n;
} shoal_upload_chunk;

/* Was this very chunk acknowledged before? OK: yes. DENIED: other bytes were. NOT_FOUND: no chunk
 * at this place was. */
SHOAL_MUST_USE shoal_status shoal_uploads_repeat(const shoal_uploads *u,
                                                 const uint8_t id[SHOAL_ID_BYTES],
                                                 const shoal_upload_chunk *c, shoal_error *err);

/* Appends the next chunk of a device. FORMAT: not a chunk of such an M5. AGAIN: an earlier one is
 * missing. TAMPERED: not the bytes of its hash. IO, FULL, NOMEM. Nothing changed then. */
SHOAL_MUST_USE shoal_status shoal_uploads_append(shoal_uploads *u, const uint8_t id[SHOAL_ID_BYTES],
                                                 const shoal_upload_chunk *c, shoal_error *err);

shoal_upload_state shoal_uploads_state(const shoal_uploads *u, const uint8_t id[SHOAL_ID_BYTES]);
/* Every byte is there and waits in the file. */
bool shoal_uploads_whole(const shoal_uploads *u, const uint8_t id[SHOAL_ID_BYTES]);

/* Appends a whole M5 to *out. */
SHOAL_MUST_USE shoal_status shoal_uploads_read(const shoal_uploads *u,
                                               const uint8_t id[SHOAL_ID_BYTES], shoal_buf *out,
                                               shoal_error *err);
/* It was added to the sum: its bytes go, its hashes stay. */
void shoal_uploads_keep_hashes(shoal_uploads *u, const uint8_t id[SHOAL_ID_BYTES]);
/* It was refused: the device may begin again. */
void shoal_uploads_forget(shoal_uploads *u, const uint8_t id[SHOAL_ID_BYTES]);
/* The stage is closed: everything unfinished goes, and the file with it. */
void shoal_uploads_forget_unfinished(shoal_uploads *u);

/* Bytes of the file's places, in use or to be used again; for tests. */
uint64_t shoal_uploads_disk_bytes(const shoal_uploads *u);

#ifdef __cplusplus
}
#endif
#endif
