/* fed_server.h - an aggregator of the tests: a deployment in a temporary directory with a tiny
 * model and one task, its service on a thread of its own.
 */
#ifndef SHOAL_TESTS_SUPPORT_FED_SERVER_H
#define SHOAL_TESTS_SUPPORT_FED_SERVER_H

#include <pthread.h>

#include "aggregator/deployment.h"
#include "aggregator/service.h"
#include "tests/support/temp_dir.h"

typedef struct fed_server {
    char dir[TEMP_DIR_MAX];
    char deployment_dir[TEMP_DIR_MAX + 8];
    char model[TEMP_DIR_MAX + 16];
    shoal_deployment d; /* the admin's view */
    shoal_keyring keys;
    shoal_db_task task;
    shoal_service *service;
    pthread_t thread;
    shoal_ca *ca; /* its thread's */
    pthread_t ca_thread;
    int ca_fd;
} fed_server;

typedef struct fed_task {
    uint32_t n_min, n_target;
    uint64_t rounds;
    uint32_t gather_ms, stage_ms;
    uint32_t rank;             /* 0: 2 */
    uint32_t targets;          /* 0: q,v */
    uint32_t sessions_per_day; /* 0: no limit */
} fed_task;

/* Deployment, task "test" (rank 2 on q,v of a tiny model), service running. */
void fed_server_open(fed_server *s, const fed_task *t);
void fed_server_close(fed_server *s); /* stops it and removes everything */

/* Ends the service as SIGTERM does, and starts another on the same directory. */
void fed_server_restart(fed_server *s);

/* A fresh link. */
void fed_server_invite(fed_server *s, char out[SHOAL_LIMIT_LINK]);

#endif
