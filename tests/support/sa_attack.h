/* sa_attack.h - what attackers on either side need: a victim (device 0 of a cohort) that is fed
 * what a server could send, and honest messages to bend, signed anew where their author is corrupt.
 */
#ifndef SHOAL_TESTS_SUPPORT_SA_ATTACK_H
#define SHOAL_TESTS_SUPPORT_SA_ATTACK_H

#include "proto/sa_session.h"
#include "tests/support/sa_cohort.h"

/* Index (from 1) of a device in the server's roster. */
size_t attack_index(const cohort *c, size_t device_index);
/* Device at an index of the roster. */
size_t attack_device(const cohort *c, size_t index);
/* Some index that is not the victim's. */
size_t attack_other(const cohort *c);

shoal_buf attack_message(void);

/* The victim reads what the server says after a stage; what it answers is appended to out. */
shoal_status attack_feed(cohort *c, shoal_sa_stage stage, const shoal_buf *m, shoal_buf *out);

/* The victim refuses the message, says nothing, and is out of the session for good: whatever comes
 * afterwards, nothing is answered. Clears m. */
void attack_refused(cohort *c, shoal_sa_stage stage, shoal_buf *m);

/* A device's message to the server, as it stands. */
shoal_status attack_receive(cohort *c, size_t device_index, shoal_sa_stage stage,
                            const shoal_buf *m);

/* Cuts the old signature off and signs again, as the owner of the key can. */
void attack_resign(cohort *c, size_t device_index, const char *label, shoal_buf *m);

/* All of the roster; all but one index. */
shoal_sa_set attack_everyone(const cohort *c);
shoal_sa_set attack_without(const cohort *c, size_t index);

/* Signatures over a set by the devices of a mask (bit i = device i) on the committee, in order of
 * their indices. */
void attack_sign(cohort *c, const shoal_sa_set *u3, unsigned devices, shoal_sa_quorum *q);

#endif
