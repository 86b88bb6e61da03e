/* cmd_policy.c - shoal policy: what this device demands of a round. */
#include <inttypes.h>
#include <stdio.h>

#include "client/command.h"
#include "client/json.h"
#include "client/policy.h"
#include "client/store.h"
#include "kernels/base/term.h"

static const shoal_usage usage = {
    .synopsis = "shoal policy [--min-cohort N] [options] [--json]",
    .about = "Shows what this device demands of a round whatever a server asks, and changes what "
             "is given.\nA session that asks for less is refused before anything is sent. Kept in "
             "$SHOAL_HOME/policy;\n`shoal agent --min-cohort N` is for one run.",
    .example = "  shoal policy\n  shoal policy --min-cohort 50 --max-weight 1000"};

typedef struct options {
    bool json, reset;
    uint64_t cohort, ring, weight, percent, hours, committee, bits; /* 0: not given */
    double clip;                                                    /* 0: not given */
    uint64_t round, month;                                          /* bytes */
    bool round_given, month_given;
} options;

static void change(const options *o, shoal_sa_policy *p)
{
    if (o->cohort != 0) p->n_min = (uint32_t)o->cohort;
    if (o->ring != 0) p->ring_bits_min = (uint32_t)o->ring;
    if (o->weight != 0) p->weight_max = (uint32_t)o->weight;
    if (o->clip > 0) p->clip_norm_max = o->clip;
    if (o->percent != 0) p->new_percent_max = (uint32_t)o->percent;
    if (o->committee != 0) p->committee_min = (uint32_t)o->committee;
    if (o->bits != 0) p->security_bits = (uint32_t)o->bits;
    if (o->hours != 0) p->new_s = (uint32_t)o->hours * 3600;
}

static void print_bound(const char *what, uint64_t bytes)
{
    char text[32];
    if (bytes == 0) {
        (void)printf("%s any\n", what);
    } else {
        shoal_format_bytes(bytes, text, sizeof text);
        (void)printf("%s %s\n", what, text);
    }
}

static shoal_status print(const options *o, const shoal_sa_policy *p, const shoal_budget_limits *l,
                          shoal_error *err)
{
    if (o->json) {
        return shoal_json_print(
            stdout,
            json_pack("{s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I}", "min_cohort",
                      (json_int_t)p->n_min, "min_ring_bits", (json_int_t)p->ring_bits_min,
                      "max_clip", p->clip_norm_max, "max_weight", (json_int_t)p->weight_max,
                      "min_committee", (json_int_t)p->committee_min, "security_bits",
                      (json_int_t)p->security_bits, "max_new_percent",
                      (json_int_t)p->new_percent_max, "new_seconds", (json_int_t)p->new_s, "weak",
                      (int)shoal_policy_is_weak(p->n_min), "budget_round", (json_int_t)l->round,
                      "budget_month", (json_int_t)l->month),
            err);
    }
    (void)printf("smallest sum    %" PRIu32 " devices\nnarrowest ring  %" PRIu32
                 " bits\nlargest clip    %g\nlargest weight  %" PRIu32 "\n",
                 p->n_min, p->ring_bits_min, p->clip_norm_max, p->weight_max);
    print_bound("traffic a round ", l->round);
    print_bound("traffic a month ", l->month);
    (void)printf("signers         %" PRIu32 " or all\ngraph           %" PRIu32 " bits\n",
                 p->committee_min, p->security_bits);
    if (p->new_percent_max < 100) {
        (void)printf("newcomers       at most %" PRIu32
                     " %% with certificates younger than %" PRIu32 " h\n",
                     p->new_percent_max, p->new_s / 3600);
    }
    return SHOAL_OK;
}

static shoal_status run(const options *o, shoal_error *err)
{
    shoal_store store;
    shoal_sa_policy p;
    shoal_budget_limits l;
    SHOAL_TRY(shoal_store_open(&store, NULL, err));
    if (o->reset) SHOAL_TRY(shoal_policy_reset(&store, err));
    SHOAL_TRY(shoal_policy_load(&store, &p, err));
    SHOAL_TRY(shoal_policy_load_budget(&store, &l, err));
    if (o->cohort + o->ring + o->weight + o->percent + o->hours + o->committee + o->bits != 0 ||
        o->clip > 0) {
        change(o, &p);
        SHOAL_TRY(shoal_policy_save(&store, &p, err));
    }
    if (o->round_given || o->month_given) {
        if (o->round_given) l.round = o->round;
        if (o->month_given) l.month = o->month;
        SHOAL_TRY(shoal_policy_save_budget(&store, &l, err));
    }
    shoal_policy_warn(p.n_min);
    return print(o, &p, &l, err);
}

int shoal_cmd_policy(int argc, char **argv)
{
    options o = {0};
    const shoal_option table[] = {
        SHOAL_COUNT("min-cohort", 0, &o.cohort, "N", "smallest sum to hide in (default 32)",
                    SHOAL_LIMIT_COHORT_MIN, SHOAL_LIMIT_COHORT_MAX),
        SHOAL_COUNT("min-ring-bits", 0, &o.ring, "BITS", "narrowest ring (default 16)",
                    SHOAL_LIMIT_RING_MIN, SHOAL_LIMIT_RING_MAX),
        SHOAL_NUMBER("max-clip", 0, &o.clip, "C", "largest L2 norm of an update (default 1e9)",
                     1e-9, 1e9),
        SHOAL_COUNT("max-weight", 0, &o.weight, "W",
                    "largest weight, in samples, a session may ask for (default: any)", 1,
                    UINT32_MAX),
        SHOAL_SIZE("budget-round", 0, &o.round, "SIZE",
                   "most traffic of a round, both ways; 0: any (default)", &o.round_given),
        SHOAL_SIZE("budget-month", 0, &o.month, "SIZE",
                   "most traffic of all rounds in a month (UTC); 0: any (default)", &o.month_given),
        SHOAL_COUNT("min-committee", 0, &o.committee, "M",
                    "fewest that sign who is in a sum (default 128, or all)", 1,
                    SHOAL_LIMIT_COMMITTEE),
        SHOAL_COUNT("security-bits", 0, &o.bits, "B",
                    "of the graph of a large cohort (default 40; PROTOCOL.md 7.3)", 20, 100),
        SHOAL_COUNT("max-new-percent", 0, &o.percent, "P",
                    "most of the others whose certificates may be new (default 100: any)", 1, 100),
        SHOAL_COUNT("new-hours", 0, &o.hours, "H", "how young a certificate is new (default 0)", 1,
                    7 * 24),
        SHOAL_FLAG("reset", 0, &o.reset, "back to the defaults first"),
        SHOAL_FLAG("json", 0, &o.json, "print one object")};
    const shoal_option_group group = {"options", table, SHOAL_OPTION_COUNT_OF(table)};
    int code = 0;
    if (!shoal_command_begin(&usage, &group, 1, argc, argv, NULL, &code)) return code;
    shoal_error err = {0};
    shoal_status st = run(&o, &err);
    return shoal_command_end(st, &err);
}
