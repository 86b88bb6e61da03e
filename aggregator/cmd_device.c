/* cmd_device.c - shoal-aggregator device: who may take part. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "aggregator/cmd.h"
#include "kernels/base/term.h"

enum { ID_TEXT = 2 * SHOAL_ID_BYTES + 1, PREFIX_MIN = 6 };

/* ---- list -------------------------------------------------------------------------------------
 */

static void print_device(void *ctx, const shoal_db_device *d)
{
    const cmd_common *c = ctx;
    char id[ID_TEXT], joined[CMD_TIME_TEXT], seen[CMD_TIME_TEXT];
    shoal_hex_encode(d->id, SHOAL_ID_BYTES, id);
    if (c->json) {
        json_t *j = json_pack(
            "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:b}", "id", id, "software", d->software,
            "attestation", shoal_attestation_level_name((shoal_attestation_level)d->attestation),
            "enrolled_s", (json_int_t)d->enrolled_s, "last_seen_s", (json_int_t)d->last_seen_s,
            "cert_until_s", (json_int_t)d->cert_until_s, "rounds", (json_int_t)d->rounds, "revoked",
            d->revoked_s != 0);
        (void)json_dumpf(j, stdout, JSON_COMPACT);
        (void)putchar('\n');
        json_decref(j);
        return;
    }
    cmd_time_text(d->enrolled_s, joined);
    cmd_time_text(d->last_seen_s, seen);
    (void)printf("%-32s  %-19s  %-19s  %6llu  %-14s  %s\n", id, joined, seen,
                 (unsigned long long)d->rounds,
                 d->attestation == SHOAL_LEVEL_NONE
                     ? "no attestation"
                     : shoal_attestation_level_name((shoal_attestation_level)d->attestation),
                 d->revoked_s != 0 ? "revoked" : d->software);
}

static int device_list(int argc, char **argv)
{
    cmd_common c = {0};
    int code = 0;
    const shoal_usage usage = {
        "shoal-aggregator device list [options]",
        "The devices that joined, when they were last seen, in how many sums "
        "they were,\nand what they showed of themselves. Times are UTC.",
        "shoal-aggregator device list --dir /srv/shoal", 0, 0};
    if (!cmd_begin(&usage, &c, NULL, 0, argc, argv, NULL, &code)) {
        return code;
    }
    shoal_error err = {0};
    shoal_deployment d = {0};
    shoal_status st = shoal_deployment_open(&d, cmd_dir(&c), &err);
    if (st == SHOAL_OK) {
        if (!c.json) {
            (void)printf("%-32s  %-19s  %-19s  %6s  %-14s  %s\n", "ID", "JOINED", "LAST SEEN",
                         "ROUNDS", "ATTESTATION", "SOFTWARE");
        }
        st = shoal_db_devices(d.db, print_device, &c, &err);
    }
    shoal_deployment_close(&d);
    return shoal_command_end(st, &err);
}

/* ---- revoke -----------------------------------------------------------------------------------
 */

typedef struct prefix_search {
    const char *prefix;
    uint8_t id[SHOAL_ID_BYTES];
    size_t n;
} prefix_search;

static void match_prefix(void *ctx, const shoal_db_device *d)
{
    prefix_search *q = ctx;
    char id[ID_TEXT];
    shoal_hex_encode(d->id, SHOAL_ID_BYTES, id);
    if (strncmp(id, q->prefix, strlen(q->prefix)) == 0) {
        memcpy(q->id, d->id, SHOAL_ID_BYTES);
        q->n++;
    }
}

static shoal_status revoke(shoal_deployment *d, const char *prefix, shoal_error *err)
{
    prefix_search q = {.prefix = prefix};
    if (strlen(prefix) < PREFIX_MIN) {
        return shoal_fail(err, SHOAL_ERR_ARG, "give at least the first %d digits of the id",
                          PREFIX_MIN);
    }
    SHOAL_TRY(shoal_db_devices(d->db, match_prefix, &q, err));
    if (q.n != 1) {
        shoal_status st =
            q.n == 0
                ? shoal_fail(err, SHOAL_ERR_NOT_FOUND, "no device's id begins with %.40s", prefix)
                : shoal_fail(err, SHOAL_ERR_ARG, "%zu devices' ids begin with %.40s", q.n, prefix);
        shoal_hint(err, "`shoal-aggregator device list` shows all ids");
        return st;
    }
    int64_t now_s = (int64_t)time(NULL);
    SHOAL_TRY(shoal_ca_revoke(d->dir, q.id, now_s, err)); /* no renewal any more; then no request */
    SHOAL_TRY(shoal_db_device_revoke(d->db, q.id, now_s, err));
    char id[ID_TEXT];
    shoal_hex_encode(q.id, SHOAL_ID_BYTES, id);
    shoal_term_note("revoked %s: its certificates are refused from now on", id);
    return SHOAL_OK;
}

static int device_revoke(int argc, char **argv)
{
    cmd_common c = {0};
    shoal_arguments args = {0};
    int code = 0;
    const shoal_usage usage = {
        "shoal-aggregator device revoke ID [options]",
        "Refuses a device from now on, at its next request. A few first digits of the id are "
        "enough.",
        "shoal-aggregator device revoke 3f9a01", 1, 1};
    if (!cmd_begin(&usage, &c, NULL, 0, argc, argv, &args, &code)) {
        return code;
    }
    shoal_error err = {0};
    shoal_deployment d = {0};
    shoal_status st = shoal_deployment_open(&d, cmd_dir(&c), &err);
    if (st == SHOAL_OK) {
        st = revoke(&d, args.items[0], &err);
    }
    shoal_deployment_close(&d);
    return shoal_command_end(st, &err);
}

int cmd_device(int argc, char **argv)
{
    static const shoal_command TABLE[] = {
        {"list", device_list, "all devices"},
        {"revoke", device_revoke, "refuse a device from now on"},
    };
    return shoal_command_dispatch("shoal-aggregator device", "Who may take part.", TABLE,
                                  sizeof TABLE / sizeof TABLE[0], argc, argv);
}
