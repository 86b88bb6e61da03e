/* cmd_audit.c - shoal-aggregator audit verify: were the logs of what happened changed? */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "aggregator/audit.h"
#include "aggregator/cmd.h"
#include "kernels/base/term.h"

typedef struct verify_options {
    cmd_common common;
    const char *head;
} verify_options;

static shoal_status say(const cmd_common *c, const char *name, const shoal_audit_summary *s,
                        shoal_error *err)
{
    char hex[65];
    shoal_hex_encode(s->head, 32, hex);
    if (!c->json) {
        (void)printf("%-13s  %" PRIu64 " entries, whole; head %s\n", name, s->entries, hex);
        if (s->torn > 0) {
            shoal_term_warn("%s ends in %zu bytes of an entry that was never finished", name,
                            s->torn);
        }
        return SHOAL_OK;
    }
    json_t *j = json_pack("{s:s, s:I, s:s, s:I}", "log", name, "entries", (json_int_t)s->entries,
                          "head", hex, "unfinished_bytes", (json_int_t)s->torn);
    bool ok = j != NULL && json_dumpf(j, stdout, JSON_COMPACT) == 0;
    (void)putchar('\n');
    json_decref(j);
    return ok ? SHOAL_OK : shoal_fail(err, SHOAL_ERR_NOMEM, "cannot write the result");
}

static shoal_status verify_one(const verify_options *o, const char *dir, const char *name,
                               const uint8_t *head, bool *seen, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    shoal_audit_summary s;
    SHOAL_TRY(shoal_dir_path(dir, name, path, err));
    shoal_status st = shoal_audit_verify(path, head, &s, err);
    if (st == SHOAL_ERR_TAMPERED) {
        shoal_hint(err, "what stands before that line is as it was written");
    }
    SHOAL_TRY(st);
    *seen = *seen || s.seen;
    return say(&o->common, name, &s, err);
}

static shoal_status verify(const verify_options *o, const char *dir, shoal_error *err)
{
    static const char *const LOGS[] = {"audit.log", "ca/audit.log"};
    uint8_t head[32];
    bool seen = false;
    shoal_config_file c;
    SHOAL_TRY(shoal_config_load(&c, dir, err)); /* is it a deployment at all? */
    if (o->head != NULL && !shoal_hex_decode(o->head, head, sizeof head)) {
        return shoal_fail(err, SHOAL_ERR_ARG, "--head takes the 64 digits that verify printed");
    }
    for (size_t i = 0; i < sizeof LOGS / sizeof LOGS[0]; i++) {
        SHOAL_TRY(verify_one(o, dir, LOGS[i], o->head != NULL ? head : NULL, &seen, err));
    }
    if (o->head != NULL && !seen) {
        shoal_status st =
            shoal_fail(err, SHOAL_ERR_TAMPERED, "no entry has the hash that was noted");
        shoal_hint(err, "the logs were written anew, or cut before that entry");
        return st;
    }
    return SHOAL_OK;
}

static int audit_verify(int argc, char **argv)
{
    verify_options o = {.head = NULL};
    shoal_arguments args = {0};
    int code = 0;
    const shoal_option own[] = {SHOAL_STRING("head", 0, &o.head, "HASH",
                                             "a head noted earlier: it must still be an entry")};
    const shoal_usage usage = {
        "shoal-aggregator audit verify DIR [--head HASH]",
        "Follows the chains of hashes through DIR/audit.log (rounds) and DIR/ca/audit.log "
        "(devices,\n"
        "certificates, rotations). Ends with 4 when a line was changed, left out or put in. Note "
        "the\n"
        "heads elsewhere: with --head, lines cut off the end are noticed too.",
        "shoal-aggregator audit verify /srv/shoal", 0, 1};
    if (!cmd_begin(&usage, &o.common, own, 1, argc, argv, &args, &code)) {
        return code;
    }
    shoal_error err = {0};
    shoal_status st = verify(&o, args.n > 0 ? args.items[0] : cmd_dir(&o.common), &err);
    return shoal_command_end(st, &err);
}

int cmd_audit(int argc, char **argv)
{
    static const shoal_command TABLE[] = {
        {"verify", audit_verify, "was the record changed?"},
    };
    return shoal_command_dispatch("shoal-aggregator audit", "The record of what happened.", TABLE,
                                  sizeof TABLE / sizeof TABLE[0], argc, argv);
}
