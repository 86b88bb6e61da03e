/* ca_link.h - the aggregator's way to the CA: questions go out, answers come back on the loop.
 *
 * One question is on its way at a time, others wait in order. An answer that takes longer than five
 * seconds counts as none. A CA that is away makes every question AGAIN: devices come back, rounds
 * go on meanwhile.
 *
 * Layer: aggregator. Threads: the loop's.
 */
#ifndef SHOAL_AGGREGATOR_CA_LINK_H
#define SHOAL_AGGREGATOR_CA_LINK_H

#include "aggregator/signer.h"
#include "proto/net/loop.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_ca_link shoal_ca_link;

/* Called once for each question that was taken. body: the answer, valid during the call. */
typedef void shoal_ca_answer_fn(void *ctx, shoal_status st, shoal_cursor *body,
                                const shoal_error *err);

/* fd: connected socket, taken over on success. path: where to connect again when it is lost, or
 * NULL. */
SHOAL_MUST_USE shoal_status shoal_ca_link_open(shoal_ca_link **out, shoal_loop *loop, int fd,
                                               const char *path, shoal_error *err);
/* What still waits is answered with AGAIN. NULL is fine; before the loop. */
void shoal_ca_link_close(shoal_ca_link *link);

/* The request's body is head and then rest, both copied. AGAIN when it was not taken: fn is not
 * called then. */
SHOAL_MUST_USE shoal_status shoal_ca_link_ask(shoal_ca_link *link, shoal_signer_op op,
                                              const shoal_buf *head, const void *rest, size_t n,
                                              shoal_ca_answer_fn *fn, void *ctx, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
