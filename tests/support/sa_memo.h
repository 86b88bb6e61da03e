/* sa_memo.h - verifications remembered: the members of a cohort all check the same signatures and
 * certificates, and a test that plays all of them need not compute each a hundred times.
 *
 * Linked with -Wl,--wrap=shoal_verify,--wrap=shoal_cert_check. The first check of any input is the
 * real one, whatever its outcome; only the same bytes again are answered from memory.
 */
#ifndef SHOAL_TESTS_SUPPORT_SA_MEMO_H
#define SHOAL_TESTS_SUPPORT_SA_MEMO_H

#include <stddef.h>

size_t sa_memo_checked(void);    /* computed */
size_t sa_memo_remembered(void); /* answered from memory */

#endif
