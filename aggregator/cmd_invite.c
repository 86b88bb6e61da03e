/* cmd_invite.c - shoal-aggregator invite: links for new devices. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "aggregator/cmd.h"
#include "aggregator/qr.h"
#include "kernels/base/mem.h"

enum { COUNT_MAX = 1000, QR_MAX = 65536 };

typedef struct invite_options {
    cmd_common common;
    uint64_t count;
    const char *ttl;
    bool qr;
} invite_options;

static shoal_status show_qr(const char *link, shoal_error *err)
{
    shoal_buf text = shoal_buf_init(QR_MAX);
    shoal_status st = shoal_qr_draw(link, &text, err);
    if (st == SHOAL_OK) {
        (void)fputs(shoal_buf_str(&text), stderr);
    }
    shoal_buf_wipe(&text);
    return st;
}

static shoal_status show_link(const invite_options *o, const shoal_join_link *link,
                              int64_t expires_s, shoal_error *err)
{
    shoal_buf text = shoal_buf_init(SHOAL_LIMIT_LINK);
    shoal_status st = shoal_join_link_encode(link, &text, err);
    if (st == SHOAL_OK && (o->qr || (isatty(STDERR_FILENO) && isatty(STDOUT_FILENO)))) {
        st = show_qr(shoal_buf_str(&text), err);
    }
    if (st == SHOAL_OK && o->common.json) {
        json_t *j = json_pack("{s:s, s:I}", "link", shoal_buf_str(&text), "expires_s",
                              (json_int_t)expires_s);
        st = j != NULL && json_dumpf(j, stdout, JSON_COMPACT) == 0
                 ? SHOAL_OK
                 : shoal_fail(err, SHOAL_ERR_NOMEM, "cannot write the link");
        (void)putchar('\n');
        json_decref(j);
    } else if (st == SHOAL_OK) {
        (void)puts(shoal_buf_str(&text));
    }
    shoal_buf_wipe(&text);
    return st;
}

static shoal_status invite(const invite_options *o, shoal_error *err)
{
    int64_t ttl_s = 0;
    shoal_deployment d = {0};
    shoal_keyring keys = {0};
    int64_t now_s = (int64_t)time(NULL);
    SHOAL_TRY(cmd_parse_duration(o->ttl, SHOAL_LIMIT_TOKEN_S, &ttl_s, err));
    shoal_status st = shoal_deployment_open(&d, cmd_dir(&o->common), err);
    if (st == SHOAL_OK) {
        st = shoal_keyring_open(&keys, d.dir, err);
    }
    for (uint64_t i = 0; i < o->count && st == SHOAL_OK; i++) {
        shoal_join_link link;
        st = shoal_deployment_invite(&d, &keys, now_s, ttl_s, &link, err);
        if (st == SHOAL_OK) {
            st = show_link(o, &link, now_s + ttl_s, err);
        }
        shoal_wipe(&link, sizeof link);
    }
    shoal_keyring_close(&keys);
    shoal_deployment_close(&d);
    return st;
}

int cmd_invite(int argc, char **argv)
{
    invite_options o = {.count = 1, .ttl = "10m"};
    int code = 0;
    const shoal_option own[] = {
        SHOAL_COUNT("count", 'n', &o.count, "N", "how many links (default 1)", 1, COUNT_MAX),
        SHOAL_STRING("ttl", 0, &o.ttl, "TIME",
                     "how long a link is good for (default and most 10m)"),
        SHOAL_FLAG("qr", 0, &o.qr, "draw QR codes on stderr even when it is not a terminal")};
    const shoal_usage usage = {
        "shoal-aggregator invite [--count N] [--ttl 10m] [options]",
        "Prints a link that lets one device join, once: `shoal join LINK` on the device. The link\n"
        "carries the server's key, so the first connection is already authenticated. Whoever has\n"
        "the link can use it: send it over a channel you trust.",
        "shoal-aggregator invite --dir /srv/shoal", 0, 0};
    if (!cmd_begin(&usage, &o.common, own, sizeof own / sizeof own[0], argc, argv, NULL, &code)) {
        return code;
    }
    shoal_error err = {0};
    shoal_status st = invite(&o, &err);
    return shoal_command_end(st, &err);
}
