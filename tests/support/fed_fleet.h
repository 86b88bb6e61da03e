/* fed_fleet.h - an aggregator and a few devices of the tests, with updates that are known. */
#ifndef SHOAL_TESTS_SUPPORT_FED_FLEET_H
#define SHOAL_TESTS_SUPPORT_FED_FLEET_H

#include "tests/support/fed_device.h"
#include "tests/support/fed_server.h"

enum { FED_FLEET = 4 };

typedef struct fed_fleet {
    fed_server server;
    fed_device devices[FED_FLEET];
    fed_part parts[FED_FLEET];
    float *updates[FED_FLEET];
    fed_upload_fn *upload[FED_FLEET]; /* instead of the plain upload; NULL normally */
    void *ctx;                        /* of those */
} fed_fleet;

/* Everything starts from zeros; the devices have joined. */
void fed_fleet_open(fed_fleet *f, const fed_task *t);
void fed_fleet_close(fed_fleet *f);

/* All devices at once; device i does no more than last[i]. */
void fed_fleet_round(fed_fleet *f, const fed_last last[FED_FLEET]);

/* What the database says now. */
shoal_db_task fed_fleet_task(fed_fleet *f);
shoal_db_round fed_fleet_last(fed_fleet *f);

/* Version v must be v - 1 plus the weighted mean of the devices that uploaded, bit for bit: the sum
 * of their encodings, computed here without any mask. */
void fed_fleet_check(fed_fleet *f, uint64_t v, const fed_last last[FED_FLEET]);

#endif
