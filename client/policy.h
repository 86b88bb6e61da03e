/* policy.h - what the owner of this device demands of a round, whatever a server asks.
 *
 * $SHOAL_HOME/policy, lines of "key value" (record.h); what is not there has its default. Only
 * `shoal policy`, a person with an editor, or a flag of `shoal agent` change it: nothing that comes
 * over the network does.
 *
 * Layer: client/. Threads: plain data.
 */
#ifndef SHOAL_CLIENT_POLICY_H
#define SHOAL_CLIENT_POLICY_H

#include <stdbool.h>

#include "client/budget.h"
#include "client/store.h"
#include "proto/sa_client.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The stored demands over shoal_sa_policy_default; the defaults when nothing is stored. FORMAT when
 * the file is damaged or a value is out of its range: a damaged policy is not an empty one. */
SHOAL_MUST_USE shoal_status shoal_policy_load(const shoal_store *s, shoal_sa_policy *out,
                                              shoal_error *err);

/* Stores every demand. ARG when one is out of its range. */
SHOAL_MUST_USE shoal_status shoal_policy_save(const shoal_store *s, const shoal_sa_policy *p,
                                              shoal_error *err);

/* The bounds on traffic, in the same file (none by default), and storing them. */
SHOAL_MUST_USE shoal_status shoal_policy_load_budget(const shoal_store *s, shoal_budget_limits *out,
                                                     shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_policy_save_budget(const shoal_store *s,
                                                     const shoal_budget_limits *l,
                                                     shoal_error *err);

/* Back to the defaults. */
SHOAL_MUST_USE shoal_status shoal_policy_reset(const shoal_store *s, shoal_error *err);

/* An update may hide among fewer others than by default. */
bool shoal_policy_is_weak(uint64_t cohort_min);

/* One line on stderr when it is. */
void shoal_policy_warn(uint64_t cohort_min);

#ifdef __cplusplus
}
#endif
#endif
