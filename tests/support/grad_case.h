/* grad_case.h - the small models whose gradients are compared with PyTorch's: every family, every
 * type of weights. The test and the program that feeds tests/kat/gen/grad_parity.py build the same
 * model, adapter and samples here.
 *
 * Failures are cmocka assertions.
 */
#ifndef SHOAL_TESTS_SUPPORT_GRAD_CASE_H
#define SHOAL_TESTS_SUPPORT_GRAD_CASE_H

#include "tests/support/train_fixture.h"

enum {
    GRAD_CASE_SEED = 101, /* of the models */
    GRAD_CASE_SHARED = 5  /* tokens that all samples but the shortest begin with */
};

typedef struct grad_family {
    const char *name;
    shoal_tiny_opts opts;
} grad_family;

/* NULL after the last. */
const grad_family *grad_family_at(size_t i);

/* All types, those with a packed form in both forms; NULL after the last. */
const shoal_type *grad_type_at(size_t i);

/* A model of the family with all matrices of the type, borrowed. Narrow for types with blocks of up
 * to 32; four times as wide for K types, which need 256 columns. */
shoal_tiny_opts grad_case_opts(const grad_family *f, const shoal_type *type);

/* All projections adapted, every parameter drawn from integers; rank 2, or 1 for the wide models.
 */
shoal_adapter *grad_case_adapter(const shoal_model *m);

void grad_case_samples(const shoal_model *m, fixture_samples *s);

#endif
