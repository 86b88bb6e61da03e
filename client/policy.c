/* policy.c - the owner's demands on disk. */
#include "client/policy.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/record.h"
#include "kernels/base/options.h"
#include "kernels/base/term.h"

enum { BITS_MIN = 20, BITS_MAX = 100 };

static shoal_status path_of(const shoal_store *s, char out[SHOAL_PATH_MAX], shoal_error *err)
{
    return shoal_store_path(s, out, err, "policy");
}

static shoal_status check(const shoal_sa_policy *p, shoal_error *err)
{
    if (p->n_min < SHOAL_LIMIT_COHORT_MIN || p->n_min > SHOAL_LIMIT_COHORT_MAX) {
        return shoal_fail(err, SHOAL_ERR_ARG, "min_cohort must be %d..%d", SHOAL_LIMIT_COHORT_MIN,
                          SHOAL_LIMIT_COHORT_MAX);
    }
    if (p->ring_bits_min < SHOAL_LIMIT_RING_MIN || p->ring_bits_min > SHOAL_LIMIT_RING_MAX) {
        return shoal_fail(err, SHOAL_ERR_ARG, "min_ring_bits must be %d..%d", SHOAL_LIMIT_RING_MIN,
                          SHOAL_LIMIT_RING_MAX);
    }
    if (!isfinite(p->clip_norm_max) || !(p->clip_norm_max > 0)) {
        return shoal_fail(err, SHOAL_ERR_ARG, "max_clip must be a number above 0");
    }
    if (p->weight_max == 0) {
        return shoal_fail(err, SHOAL_ERR_ARG, "max_weight must be above 0");
    }
    if (p->committee_min < 1 || p->committee_min > SHOAL_LIMIT_COMMITTEE) {
        return shoal_fail(err, SHOAL_ERR_ARG, "min_committee must be 1..%d", SHOAL_LIMIT_COMMITTEE);
    }
    if (p->security_bits < BITS_MIN || p->security_bits > BITS_MAX) {
        return shoal_fail(err, SHOAL_ERR_ARG, "security_bits must be %d..%d", BITS_MIN, BITS_MAX);
    }
    if (p->new_percent_max > 100) {
        return shoal_fail(err, SHOAL_ERR_ARG, "max_new_percent must be 0..100");
    }
    return SHOAL_OK;
}

/* *out stays as it is when the file has no such line. */
static shoal_status take_u32(const shoal_record *r, const char *key, uint32_t *out,
                             shoal_error *err)
{
    uint64_t v;
    if (shoal_record_get(r, key) == NULL) return SHOAL_OK;
    SHOAL_TRY(shoal_record_get_u64(r, key, &v, err));
    if (v > UINT32_MAX) return shoal_fail(err, SHOAL_ERR_FORMAT, "%s is too large", key);
    *out = (uint32_t)v;
    return SHOAL_OK;
}

static shoal_status take_number(const shoal_record *r, const char *key, double *out,
                                shoal_error *err)
{
    const char *text = shoal_record_get(r, key);
    if (text == NULL || shoal_parse_number(text, out)) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_FORMAT, "%s is not a number", key);
}

static shoal_status read_all(const shoal_record *r, shoal_sa_policy *p, shoal_error *err)
{
    SHOAL_TRY(take_u32(r, "min_cohort", &p->n_min, err));
    SHOAL_TRY(take_u32(r, "min_ring_bits", &p->ring_bits_min, err));
    SHOAL_TRY(take_number(r, "max_clip", &p->clip_norm_max, err));
    SHOAL_TRY(take_u32(r, "max_weight", &p->weight_max, err));
    SHOAL_TRY(take_u32(r, "min_committee", &p->committee_min, err));
    SHOAL_TRY(take_u32(r, "security_bits", &p->security_bits, err));
    SHOAL_TRY(take_u32(r, "max_new_percent", &p->new_percent_max, err));
    SHOAL_TRY(take_u32(r, "new_seconds", &p->new_s, err));
    return check(p, err);
}

/* The stored lines; none when there is no file. */
static shoal_status load_lines(const shoal_store *s, shoal_record *r, shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    SHOAL_TRY(path_of(s, path, err));
    shoal_status st = shoal_record_load(r, path, err);
    return st == SHOAL_ERR_NOT_FOUND ? SHOAL_OK : st;
}

static shoal_status fail_damaged(const shoal_store *s, const shoal_error *why, shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    SHOAL_TRY(path_of(s, path, err));
    (void)shoal_fail(err, SHOAL_ERR_FORMAT, "this device's policy cannot be read: %s", why->msg);
    shoal_hint(err, "mend %s, or `shoal policy --reset`", path);
    return SHOAL_ERR_FORMAT;
}

shoal_status shoal_policy_load(const shoal_store *s, shoal_sa_policy *out, shoal_error *err)
{
    shoal_record r;
    shoal_error why = {0};
    *out = shoal_sa_policy_default();
    shoal_status st = load_lines(s, &r, &why);
    if (st == SHOAL_OK) st = read_all(&r, out, &why);
    if (st == SHOAL_OK) return st;
    *out = shoal_sa_policy_default();
    return fail_damaged(s, &why, err);
}

static shoal_status take_u64(const shoal_record *r, const char *key, uint64_t *out,
                             shoal_error *err)
{
    return shoal_record_get(r, key) == NULL ? SHOAL_OK : shoal_record_get_u64(r, key, out, err);
}

shoal_status shoal_policy_load_budget(const shoal_store *s, shoal_budget_limits *out,
                                      shoal_error *err)
{
    shoal_record r;
    shoal_error why = {0};
    *out = (shoal_budget_limits){0};
    shoal_status st = load_lines(s, &r, &why);
    if (st == SHOAL_OK) st = take_u64(&r, "budget_round", &out->round, &why);
    if (st == SHOAL_OK) st = take_u64(&r, "budget_month", &out->month, &why);
    return st == SHOAL_OK ? st : fail_damaged(s, &why, err);
}

shoal_status shoal_policy_save_budget(const shoal_store *s, const shoal_budget_limits *l,
                                      shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    shoal_record r;
    SHOAL_TRY(path_of(s, path, err));
    SHOAL_TRY(load_lines(s, &r, err));
    SHOAL_TRY(shoal_record_put_u64(&r, "budget_round", l->round, err));
    SHOAL_TRY(shoal_record_put_u64(&r, "budget_month", l->month, err));
    return shoal_record_save(&r, path, err);
}

shoal_status shoal_policy_save(const shoal_store *s, const shoal_sa_policy *p, shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    char clip[40];
    shoal_record r;
    SHOAL_TRY(check(p, err));
    SHOAL_TRY(path_of(s, path, err));
    SHOAL_TRY(load_lines(s, &r, err));
    (void)snprintf(clip, sizeof clip, "%.17g", p->clip_norm_max);
    SHOAL_TRY(shoal_record_put_u64(&r, "min_cohort", p->n_min, err));
    SHOAL_TRY(shoal_record_put_u64(&r, "min_ring_bits", p->ring_bits_min, err));
    SHOAL_TRY(shoal_record_put(&r, "max_clip", clip, err));
    SHOAL_TRY(shoal_record_put_u64(&r, "max_weight", p->weight_max, err));
    SHOAL_TRY(shoal_record_put_u64(&r, "min_committee", p->committee_min, err));
    SHOAL_TRY(shoal_record_put_u64(&r, "security_bits", p->security_bits, err));
    SHOAL_TRY(shoal_record_put_u64(&r, "max_new_percent", p->new_percent_max, err));
    SHOAL_TRY(shoal_record_put_u64(&r, "new_seconds", p->new_s, err));
    return shoal_record_save(&r, path, err);
}

shoal_status shoal_policy_reset(const shoal_store *s, shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    SHOAL_TRY(path_of(s, path, err));
    if (unlink(path) == 0 || errno == ENOENT) return SHOAL_OK;
    return shoal_fail_errno(err, errno, "cannot remove %s", path);
}

bool shoal_policy_is_weak(uint64_t cohort_min)
{
    return cohort_min < shoal_sa_policy_default().n_min;
}

void shoal_policy_warn(uint64_t cohort_min)
{
    if (!shoal_policy_is_weak(cohort_min)) return;
    shoal_term_warn("an update of this device may hide among as few as %" PRIu64
                    " in all (%u by default): whoever knows the others' knows it",
                    cohort_min, (unsigned)shoal_sa_policy_default().n_min);
}
