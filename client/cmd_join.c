/* cmd_join.c - shoal join LINK|- and shoal leave. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/command.h"
#include "client/enrol.h"
#include "client/interrupt.h"
#include "client/json.h"
#include "client/prompt_store.h"
#include "client/store.h"
#include "kernels/base/mem.h"
#include "kernels/base/term.h"

static const shoal_usage join_usage = {
    .synopsis = "shoal join LINK|- [--json]",
    .about = "Makes this device a member of a deployment: a key is made here and stays here, the\n"
             "link's server certifies it. `-` reads the link from standard input. A link works "
             "once.",
    .example = "  shoal join 'shoal://aggregator.example.org:7443/join#1f0c...'\n"
               "  shoal-aggregator invite DIR | shoal join -",
    .min_args = 1,
    .max_args = 1};

/* The first line of standard input. */
static shoal_status read_link(char *out, size_t n, shoal_error *err)
{
    if (fgets(out, (int)n, stdin) == NULL) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "there is no link on standard input");
    }
    if (strchr(out, '\n') == NULL && !feof(stdin)) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "the link on standard input is too long");
    }
    return SHOAL_OK;
}

static shoal_status parse_link(const char *arg, shoal_join_link *link, shoal_error *err)
{
    char line[SHOAL_LIMIT_LINK + 2];
    shoal_status st = SHOAL_OK;
    if (strcmp(arg, "-") == 0) {
        st = read_link(line, sizeof line, err);
        arg = line;
    }
    if (st == SHOAL_OK) st = shoal_join_link_decode(arg, link, err);
    if (st == SHOAL_ERR_FORMAT && err->hint[0] == '\0') {
        shoal_hint(err, "a link looks like shoal://HOST:PORT/join#TOKEN.PIN; put it in quotes");
    }
    shoal_wipe(line, sizeof line);
    return st;
}

static shoal_status report_joined(const shoal_enrolment *e, bool json, shoal_error *err)
{
    char id[2 * SHOAL_ID_BYTES + 1];
    shoal_hex_encode(e->id, sizeof e->id, id);
    shoal_term_note("joined %s at %s as device %s", e->deployment, e->server_url, id);
    shoal_term_note("take part: shoal agent -d DATA.jsonl");
    if (!json) return SHOAL_OK;
    return shoal_json_print(stdout,
                            json_pack("{s:s, s:s, s:s}", "deployment", e->deployment, "server",
                                      e->server_url, "device", id),
                            err);
}

static shoal_status join(const char *arg, bool json, shoal_error *err)
{
    shoal_store store;
    shoal_store_lock lock;
    shoal_join_link link;
    shoal_enrolment e;
    SHOAL_TRY(parse_link(arg, &link, err));
    SHOAL_TRY(shoal_store_open(&store, NULL, err));
    SHOAL_TRY(shoal_store_lock_take(&store, &lock, err));
    shoal_status st =
        shoal_enrol(&store, &link, NULL, (int64_t)time(NULL), shoal_interrupted, &e, err);
    shoal_store_lock_release(&lock);
    shoal_wipe(&link, sizeof link);
    if (st == SHOAL_ERR_DENIED && err->hint[0] == '\0') {
        shoal_hint(err, "links work once and for a short time: ask for a fresh one");
    }
    if (st != SHOAL_OK) return st;
    st = report_joined(&e, json, err);
    shoal_enrolment_clear(&e);
    return st;
}

int shoal_cmd_join(int argc, char **argv)
{
    bool json = false;
    const shoal_option table[] = {
        SHOAL_FLAG("json", 0, &json, "print {\"deployment\",\"server\",\"device\"}")};
    const shoal_option_group group = {"options", table, SHOAL_OPTION_COUNT_OF(table)};
    shoal_arguments args = {0};
    int code = 0;
    if (!shoal_command_begin(&join_usage, &group, 1, argc, argv, &args, &code)) return code;
    shoal_error err = {0};
    shoal_interrupt_install();
    shoal_status st = join(args.items[0], json, &err);
    return shoal_command_end(st, &err);
}

static const shoal_usage leave_usage = {
    .synopsis = "shoal leave",
    .about =
        "Ends this device's membership: key and certificates are removed, and what the prompt\n"
        "cache keeps of conversations. Models, adapters and data stay.",
    .example = "  shoal leave"};

static shoal_status leave(shoal_error *err)
{
    shoal_store store;
    shoal_store_lock lock;
    shoal_enrolment e;
    size_t n = 0;
    uint64_t bytes = 0;
    SHOAL_TRY(shoal_store_open(&store, NULL, err));
    SHOAL_TRY(shoal_store_lock_take(&store, &lock, err));
    shoal_status st = shoal_enrolment_load(&store, &e, err);
    bool member = st != SHOAL_ERR_NOT_FOUND; /* a damaged membership can be left as well */
    if (member) {
        st = shoal_enrolment_forget(&store, err);
        if (st == SHOAL_OK) st = shoal_prompt_store_clear(&store, &n, &bytes, err);
        if (st == SHOAL_OK) {
            shoal_term_note("left%s%s; adapters stay in %s/adapters",
                            e.deployment[0] != '\0' ? " " : "", e.deployment, store.root);
        }
        shoal_enrolment_clear(&e);
    }
    shoal_store_lock_release(&lock);
    return st;
}

int shoal_cmd_leave(int argc, char **argv)
{
    int code = 0;
    if (!shoal_command_begin(&leave_usage, NULL, 0, argc, argv, NULL, &code)) return code;
    shoal_error err = {0};
    shoal_status st = leave(&err);
    return shoal_command_end(st, &err);
}
