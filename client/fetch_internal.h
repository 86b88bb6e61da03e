/* fetch_internal.h - what fetch.c and fetch_known.c share.
 *
 * Layer: client/. Threads: as fetch.h.
 */
#ifndef SHOAL_CLIENT_FETCH_INTERNAL_H
#define SHOAL_CLIENT_FETCH_INTERNAL_H

#include "client/fetch.h"

/* True, with f->already set, when f->path holds a file of this hash. */
bool shoal_fetch_have(shoal_fetch *f, const uint8_t sha256[32]);

/* Checks the file `got` (on f->path's file system) and moves it to f->path; removes it when it is
 * not what it should be (TAMPERED). */
SHOAL_MUST_USE shoal_status shoal_fetch_verify(const shoal_fetch *f, const char *got,
                                               const uint8_t sha256[32], shoal_error *err);

#endif
