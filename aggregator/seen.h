/* seen.h - which devices were there lately, on its way into the database.
 *
 * "Last seen" is for people. Written with every check-in, it would cost a sync of the disk each, on
 * the thread that serves everybody. So it is gathered here, once a minute and device, and written
 * in batches. A table of fixed size: of two devices that share a place one may be written a minute
 * late. What is not written when the process dies is lost.
 *
 * Layer: aggregator. Time is an argument. Threads: one owner.
 */
#ifndef SHOAL_AGGREGATOR_SEEN_H
#define SHOAL_AGGREGATOR_SEEN_H

#include <stddef.h>
#include <stdint.h>

#include "aggregator/db.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_SEEN_BATCH = 512 };

typedef struct shoal_seen shoal_seen;

shoal_seen *shoal_seen_open(void); /* NULL when memory is out */
void shoal_seen_close(shoal_seen *s);

void shoal_seen_add(shoal_seen *s, const uint8_t id[SHOAL_ID_BYTES], int64_t now_s);
size_t shoal_seen_pending(const shoal_seen *s);

/* Writes up to SHOAL_SEEN_BATCH of them. What cannot be written now is tried again. */
SHOAL_MUST_USE shoal_status shoal_seen_flush(shoal_seen *s, shoal_db *db, int64_t now_s,
                                             shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
