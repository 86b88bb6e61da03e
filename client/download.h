/* download.h - files of a release, part by part, going on where an earlier attempt stopped.
 *
 * What has come is kept beside the adapters, as adapters/DIR/HASH.part, until the file is whole and
 * is the one that was signed. A device that holds the version before asks for the delta first and
 * falls back to the whole file (PROTOCOL.md 3.7, 3.8).
 *
 * Layer: client/. Threads: one owner.
 */
#ifndef SHOAL_CLIENT_DOWNLOAD_H
#define SHOAL_CLIENT_DOWNLOAD_H

#include "client/api.h"
#include "client/store.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_download {
    shoal_api *api;
    const shoal_store *store;
    const char *dir;                      /* under adapters/ */
    const shoal_adapter_release *release; /* its signature was checked */
    const shoal_buf *held;                /* the file of previous_sha256; NULL: not here */
} shoal_download;

typedef enum shoal_download_way { SHOAL_DOWNLOAD_WHOLE, SHOAL_DOWNLOAD_DELTA } shoal_download_way;

/* The release's file in *out, which is initialised here; *way (may be NULL) says how it came. IO,
 * TIMEOUT, AGAIN: later, nothing is lost. TAMPERED: the server sends another file than was signed.
 */
SHOAL_MUST_USE shoal_status shoal_download_release(const shoal_download *d, shoal_buf *out,
                                                   shoal_download_way *way, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
