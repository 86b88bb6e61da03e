/* cmd_adapters.c - shoal-aggregator adapter: the versions that were made. */
#include <stdio.h>

#include <jansson.h>

#include "aggregator/cmd.h"

typedef struct listing {
    const cmd_common *common;
    const char *dir;
    const char *task;
} listing;

static void print_release(void *ctx, const shoal_db_release *r)
{
    const listing *l = ctx;
    char sha[65], made[CMD_TIME_TEXT];
    shoal_hex_encode(r->r.sha256, 32, sha);
    if (l->common->json) {
        json_t *j =
            json_pack("{s:s, s:I, s:I, s:s, s:I, s:I, s:o}", "task", l->task, "version",
                      (json_int_t)r->r.version, "round", (json_int_t)r->r.round, "sha256", sha,
                      "size", (json_int_t)r->r.size, "created_s", (json_int_t)r->created_s, "file",
                      json_sprintf("%s/blobs/%s", l->dir, sha));
        (void)json_dumpf(j, stdout, JSON_COMPACT);
        (void)putchar('\n');
        json_decref(j);
        return;
    }
    cmd_time_text(r->created_s, made);
    (void)printf("%7llu  %5llu  %-19s  %10llu  %s/blobs/%s\n", (unsigned long long)r->r.version,
                 (unsigned long long)r->r.round, made, (unsigned long long)r->r.size, l->dir, sha);
}

static int adapter_list(int argc, char **argv)
{
    cmd_common c = {0};
    shoal_arguments args = {0};
    int code = 0;
    const shoal_usage usage = {
        "shoal-aggregator adapter list [TASK] [options]",
        "The versions of a task's adapter: when and by which round they were made, and the file\n"
        "(GGUF, as `shoal chat -a FILE` and other llama.cpp programs read it).",
        "shoal-aggregator adapter list --dir /srv/shoal", 0, 1};
    if (!cmd_begin(&usage, &c, NULL, 0, argc, argv, &args, &code)) {
        return code;
    }
    shoal_error err = {0};
    shoal_deployment d = {0};
    shoal_db_task t;
    shoal_status st = shoal_deployment_open(&d, cmd_dir(&c), &err);
    if (st == SHOAL_OK) {
        st = cmd_find_task(&d, args.n > 0 ? args.items[0] : NULL, &t, &err);
    }
    if (st == SHOAL_OK) {
        listing l = {&c, d.dir, t.name};
        if (!c.json) {
            (void)printf("%7s  %5s  %-19s  %10s  %s\n", "VERSION", "ROUND", "MADE (UTC)", "BYTES",
                         "FILE");
        }
        st = shoal_db_releases(d.db, t.id, print_release, &l, &err);
    }
    shoal_deployment_close(&d);
    return shoal_command_end(st, &err);
}

int cmd_adapter(int argc, char **argv)
{
    static const shoal_command TABLE[] = {{"list", adapter_list, "the versions of a task"}};
    return shoal_command_dispatch("shoal-aggregator adapter", "The versions that were made.", TABLE,
                                  sizeof TABLE / sizeof TABLE[0], argc, argv);
}
