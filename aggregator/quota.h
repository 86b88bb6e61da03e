/* quota.h - how many sessions a device may join in a day.
 *
 * A device that joins and leaves costs the others their round, and one that joins every round of
 * many tasks tells more about its owner than it should. The day of a device begins with its first
 * session and has 24 hours. Counts are in memory: a restart forgets them. The table grows with the
 * devices of a day, all of which hold a certificate.
 *
 * Layer: aggregator. Time is an argument. Threads: one owner.
 */
#ifndef SHOAL_AGGREGATOR_QUOTA_H
#define SHOAL_AGGREGATOR_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/limits.h"
#include "proto/sa.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_quota shoal_quota;

/* max 0: no limit. NULL when memory is out. */
shoal_quota *shoal_quota_open(uint32_t max);
void shoal_quota_close(shoal_quota *q);

/* Counts a session for a device; counting the one it counted last is free. False, and nothing is
 * counted, when the device has had its sessions, or memory is out. */
bool shoal_quota_take(shoal_quota *q, const uint8_t id[SHOAL_ID_BYTES],
                      const uint8_t session_id[SHOAL_SA_SESSION_BYTES], int64_t now_s);

/* Seconds until the device may join another session; 0: now. */
int64_t shoal_quota_wait_s(const shoal_quota *q, const uint8_t id[SHOAL_ID_BYTES], int64_t now_s);

#ifdef __cplusplus
}
#endif
#endif
