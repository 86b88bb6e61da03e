/* qr.h - a text as a QR code for a terminal.
 *
 * Layer: aggregator; qr.c is the only user of libqrencode. Threads: pure function.
 */
#ifndef SHOAL_AGGREGATOR_QR_H
#define SHOAL_AGGREGATOR_QR_H

#include "kernels/base/buf.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Appends lines of UTF-8 half blocks, two modules high each, with the quiet zone a reader needs.
 * Dark modules are spaces: right for light text on a dark terminal. */
SHOAL_MUST_USE shoal_status shoal_qr_draw(const char *text, shoal_buf *out, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
