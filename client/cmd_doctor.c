/* cmd_doctor.c - shoal doctor: is everything there that taking part needs? */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "client/api.h"
#include "client/child.h"
#include "client/command.h"
#include "client/enrol.h"
#include "client/fetch.h"
#include "client/filehash.h"
#include "client/json.h"
#include "client/policy.h"
#include "client/store.h"
#include "client/taskstate.h"
#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "kernels/base/term.h"
#include "kernels/kernels.h"

static const shoal_usage usage = {
    .synopsis = "shoal doctor [--json]",
    .about = "Checks what fetching models and taking part need: disk, python3 and pip, models "
             "against\ntheir hashes, kernels, clock, certificate, and whether the server answers.",
    .example = "  shoal doctor"};

enum { PIP_TIMEOUT_S = 20 };
static const double DISK_WANTED_BYTES = 1e9; /* a model twice while it is fetched, and adapters */
static const int64_t YEAR_2024_S = 1704067200;

typedef enum verdict { GOOD, WARN, BAD } verdict;

typedef struct doctor {
    bool json;
    bool bad;
    shoal_store store;
    shoal_error *err;
    shoal_status st;
} doctor;

static void report(doctor *d, verdict v, const char *what, const char *fmt, ...) SHOAL_PRINTF(4, 5);

static void report(doctor *d, verdict v, const char *what, const char *fmt, ...)
{
    static const char *const words[] = {"ok", "warn", "bad"};
    static const shoal_colour colours[] = {SHOAL_COLOUR_GREEN, SHOAL_COLOUR_YELLOW,
                                           SHOAL_COLOUR_RED};
    char text[400];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    d->bad = d->bad || v == BAD;
    if (d->json) {
        shoal_status st = shoal_json_print(
            stdout,
            json_pack("{s:s, s:s, s:s}", "check", what, "verdict", words[v], "detail", text),
            d->err);
        if (d->st == SHOAL_OK) d->st = st;
        return;
    }
    bool colour = isatty(STDOUT_FILENO) != 0 && shoal_term_has_colour();
    (void)printf("%s%-5s%s %-12s %s\n", colour ? shoal_term_colour(colours[v]) : "", words[v],
                 colour ? shoal_term_colour(SHOAL_COLOUR_NONE) : "", what, text);
}

static void check_disk(doctor *d)
{
    struct statvfs fs;
    char free_text[24];
    if (statvfs(d->store.root, &fs) != 0) {
        report(d, BAD, "disk", "%s cannot be examined", d->store.root);
        return;
    }
    double bytes = (double)fs.f_bavail * (double)fs.f_frsize;
    shoal_format_bytes((uint64_t)bytes, free_text, sizeof free_text);
    verdict v = access(d->store.root, W_OK) != 0 ? BAD : bytes < DISK_WANTED_BYTES ? WARN : GOOD;
    report(d, v, "disk", "%s free in %s%s", free_text, d->store.root,
           v == BAD ? ", which cannot be written" : "");
}

static void check_pip(doctor *d)
{
    const char *argv[] = {"python3", "-m", "pip", "--version", NULL};
    shoal_child child;
    shoal_child_spec spec = {.argv = argv};
    if (shoal_child_start(&child, &spec, NULL) != SHOAL_OK) {
        report(d, WARN, "pip", "python3 is not installed; `shoal model fetch NAME` needs it");
        return;
    }
    if (shoal_child_wait(&child, PIP_TIMEOUT_S, NULL, NULL, NULL, NULL) != SHOAL_OK) {
        shoal_child_end(&child, 1.0);
        report(d, WARN, "pip", "pip does not answer");
        return;
    }
    if (child.exit_code == 0)
        report(d, GOOD, "pip", "python3 -m pip works");
    else
        report(d, WARN, "pip", "python3 has no pip; `shoal model fetch NAME` needs it");
}

/* Reads known models again, whatever was remembered of them. */
static void check_models(doctor *d)
{
    size_t here = 0;
    for (size_t i = 0; shoal_known_model_at(i) != NULL; i++) {
        const shoal_known_model *m = shoal_known_model_at(i);
        char path[SHOAL_PATH_MAX];
        uint8_t have[32];
        char hex[65];
        if (shoal_store_path(&d->store, path, NULL, "models/%s.gguf", m->name) != SHOAL_OK ||
            access(path, R_OK) != 0) {
            continue;
        }
        here++;
        if (shoal_file_sha256(path, NULL, have, NULL) != SHOAL_OK) {
            report(d, BAD, "model", "%s cannot be read", path);
            continue;
        }
        shoal_hex_encode(have, sizeof have, hex);
        bool right = strcmp(hex, m->sha256) == 0;
        report(d, right ? GOOD : BAD, "model",
               right ? "%s is whole" : "%s is damaged: remove it and fetch it again", m->name);
    }
    if (here == 0) report(d, WARN, "model", "none here; `shoal model fetch smollm2-135m`");
}

static void check_kernels(doctor *d)
{
    shoal_exec ex;
    shoal_error why = {0};
    if (shoal_exec_open(&ex, NULL, SHOAL_CPU_ALL, false, &why) != SHOAL_OK) {
        report(d, BAD, "kernels", "%s", why.msg);
        return;
    }
    bool plain = strcmp(shoal_exec_name(&ex), "c") == 0;
    report(d, plain ? WARN : GOOD, "kernels", "%s%s", shoal_exec_name(&ex),
           plain ? ": right but slow on this processor" : "");
    shoal_exec_close(&ex);
}

static void check_server(doctor *d, const shoal_enrolment *e)
{
    static shoal_task_list list; /* large; one command, one thread */
    shoal_net *net = NULL;
    shoal_error why = {0};
    shoal_status st = shoal_enrolment_connect(e, NULL, &net, &why);
    shoal_api api = {.net = net};
    if (st == SHOAL_OK) st = shoal_api_tasks(&api, &list, &why);
    shoal_net_close(net);
    if (st == SHOAL_OK) {
        report(d, GOOD, "server", "%s answers; tasks: %u", e->server_url, (unsigned)list.n);
    } else {
        report(d, BAD, "server", "%s", why.msg);
    }
}

static void check_membership(doctor *d)
{
    shoal_enrolment e;
    shoal_error why = {0};
    int64_t now = (int64_t)time(NULL);
    shoal_status st = shoal_enrolment_load(&d->store, &e, &why);
    report(d, now > YEAR_2024_S ? GOOD : BAD, "clock", "%s",
           now > YEAR_2024_S ? "plausible" : "years behind; certificates cannot be judged");
    if (st == SHOAL_ERR_NOT_FOUND) {
        report(d, WARN, "membership", "this device has not joined a deployment");
        return;
    }
    if (st != SHOAL_OK) {
        report(d, BAD, "membership", "%s", why.msg);
        return;
    }
    bool valid = now >= e.not_before_s && now < e.not_after_s;
    report(d, valid ? GOOD : BAD, "certificate",
           valid ? "good for %.1f more days" : "over: `shoal leave`, then join again (%.1f days)",
           (double)(e.not_after_s - now) / 86400);
    check_server(d, &e);
    shoal_enrolment_clear(&e);
}

static void find_weakest(void *ctx, const shoal_task_record *r)
{
    uint64_t *weakest = ctx;
    if (r->cohort_min != 0 && r->cohort_min < *weakest) *weakest = r->cohort_min;
}

/* The stored demands, and what runs were started with. */
static void check_policy(doctor *d)
{
    shoal_sa_policy p;
    shoal_error why = {0};
    if (shoal_policy_load(&d->store, &p, &why) != SHOAL_OK) {
        report(d, BAD, "policy", "%s; %s", why.msg, why.hint);
        return;
    }
    uint64_t weakest = p.n_min;
    if (shoal_task_record_each(&d->store, find_weakest, &weakest, &why) != SHOAL_OK) {
        report(d, BAD, "policy", "%s", why.msg);
        return;
    }
    bool weak = shoal_policy_is_weak(weakest);
    report(d, weak ? WARN : GOOD, "policy", "updates hide in sums of at least %" PRIu64 "%s",
           weakest,
           weak ? ", fewer than the default; `shoal policy --reset`, and no --min-cohort" : "");
}

int shoal_cmd_doctor(int argc, char **argv)
{
    shoal_error err = {0};
    doctor d = {.err = &err};
    const shoal_option table[] = {
        SHOAL_FLAG("json", 0, &d.json, "print {\"check\",\"verdict\",\"detail\"} a line")};
    const shoal_option_group group = {"options", table, SHOAL_OPTION_COUNT_OF(table)};
    int code = 0;
    if (!shoal_command_begin(&usage, &group, 1, argc, argv, NULL, &code)) return code;
    shoal_status st = shoal_store_open(&d.store, NULL, &err);
    if (st != SHOAL_OK) return shoal_command_end(st, &err);
    check_disk(&d);
    check_pip(&d);
    check_models(&d);
    check_kernels(&d);
    check_policy(&d);
    check_membership(&d);
    code = shoal_command_end(d.st, &err);
    return code == SHOAL_EXIT_DONE && d.bad ? SHOAL_EXIT_FAILED : code;
}
