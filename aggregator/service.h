/* service.h - a running aggregator: the HTTPS server and everything behind it, on one loop.
 *
 * Layer: aggregator. Threads: open, run and close on one thread; stop from anywhere.
 */
#ifndef SHOAL_AGGREGATOR_SERVICE_H
#define SHOAL_AGGREGATOR_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_service shoal_service;

typedef struct shoal_service_options {
    const char *host;  /* NULL: config.yaml's */
    int32_t port;      /* -1: config.yaml's; 0: the system chooses */
    unsigned threads;  /* for masks and sums; 0: one per processor */
    uint32_t cpu_mask; /* SHOAL_CPU_ALL normally */
    bool signals;      /* stop on SIGINT and SIGTERM */
    int ca_fd;         /* socket to the CA (signer.h), taken over; -1: config.yaml's ca_socket */
} shoal_service_options;

/* Reads DIR, closes what an earlier process left open, binds. */
SHOAL_MUST_USE shoal_status shoal_service_open(shoal_service **out, const char *dir,
                                               const shoal_service_options *opt, shoal_error *err);
uint16_t shoal_service_port(const shoal_service *s);
const char *shoal_service_host(const shoal_service *s);

/* Serves until stopped: then no new requests, sessions are recorded as abandoned, what computes is
 * waited for. */
void shoal_service_run(shoal_service *s);
void shoal_service_stop(shoal_service *s);
void shoal_service_close(shoal_service *s); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
