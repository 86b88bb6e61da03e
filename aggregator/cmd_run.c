/* cmd_run.c - shoal-aggregator run: serve until stopped. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "aggregator/audit.h"
#include "aggregator/cmd.h"
#include "aggregator/keeper.h"
#include "aggregator/service.h"
#include "kernels/base/cpu.h"
#include "kernels/base/file.h"
#include "kernels/base/log.h"
#include "kernels/base/process.h"
#include "kernels/base/term.h"

typedef struct run_options {
    cmd_common common;
    const char *host;
    const char *port_file;
    uint64_t port, threads, cpu_mask;
    bool port_given, verbose;
} run_options;

/* What is set up before anything is given up or any thread started. */
typedef struct run_setup {
    const char *dir;
    shoal_deployment d; /* stays open: its files must not come and go once rights are given up */
    shoal_file_writer port_file;
    int ca_fd;
} run_setup;

/* With ca_socket the CA is another service; otherwise it is a child, started before all else. */
static shoal_status start_ca(run_setup *u, shoal_error *err)
{
    shoal_config_file c;
    u->ca_fd = -1;
    SHOAL_TRY(shoal_config_load(&c, u->dir, err));
    return c.ca_socket[0] != '\0' ? SHOAL_OK : shoal_keeper_start(u->dir, &u->ca_fd, err);
}

/* As root: only what the owner of DIR may do. */
static shoal_status become_owner(const run_setup *u, shoal_error *err)
{
    unsigned user = 0;
    unsigned group = 0;
    SHOAL_TRY(shoal_process_owner(u->dir, &user, &group, err));
    return geteuid() == 0 ? shoal_process_become(user, group, err) : SHOAL_OK;
}

/* The CA's directory is out of reach from here on, whoever owns it. */
static shoal_status forgo_ca(const run_setup *u, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    struct stat s;
    SHOAL_TRY(shoal_dir_path(u->dir, "ca", path, err));
    if (stat(path, &s) != 0) {
        return SHOAL_OK; /* kept elsewhere, or not for our eyes */
    }
    shoal_status st = shoal_process_forgo(path, err);
    if (st == SHOAL_ERR_UNSUPPORTED) {
        shoal_term_warn("%s: the CA's key is kept from this process only by who owns %s", err->msg,
                        path);
        return SHOAL_OK;
    }
    return st;
}

/* Two on one database would each end the other's rounds as left behind. */
static shoal_status be_the_only_one(const run_setup *u, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    int fd; /* stays open: the lock goes with the process */
    SHOAL_TRY(shoal_dir_path(u->dir, "run.lock", path, err));
    shoal_status st = shoal_file_lock(path, &fd, err);
    if (st != SHOAL_ERR_AGAIN) {
        return st;
    }
    shoal_fail(err, SHOAL_ERR_AGAIN, "an aggregator is already running in %s", u->dir);
    shoal_hint(err, "stop it first; another deployment needs a directory of its own");
    return SHOAL_ERR_AGAIN;
}

/* Everything that writes into DIR itself: keys, the log, the database's own files. */
static shoal_status touch_files(run_setup *u, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    char port[16];
    int64_t now_s = (int64_t)time(NULL);
    shoal_keyring keys;
    SHOAL_TRY(shoal_deployment_open(&u->d, u->dir, err));
    shoal_status st = shoal_db_fact_get(u->d.db, "port", port, sizeof port, err);
    if (st != SHOAL_OK && st != SHOAL_ERR_NOT_FOUND) { /* the first read makes SQLite's files */
        return st;
    }
    SHOAL_TRY(shoal_deployment_ca(&u->d.config, &u->ca_fd, err));
    SHOAL_TRY(shoal_deployment_certify(u->dir, &u->d.config, u->ca_fd, now_s, &keys, err));
    shoal_keyring_close(&keys);
    SHOAL_TRY(shoal_dir_path(u->dir, "audit.log", path, err));
    return shoal_audit_append(path, now_s, "aggregator.started", NULL, err);
}

static shoal_status set_up(run_setup *u, const run_options *o, shoal_error *err)
{
    shoal_process_no_core();
    SHOAL_TRY(start_ca(u, err));
    SHOAL_TRY(become_owner(u, err));
    SHOAL_TRY(be_the_only_one(u, err));
    if (o->port_file != NULL) {
        SHOAL_TRY(shoal_file_writer_open(&u->port_file, o->port_file, 0644, err));
    }
    SHOAL_TRY(touch_files(u, err));
    return forgo_ca(u, err);
}

/* The port and a newline, complete as soon as it is there. */
static shoal_status write_port_file(run_setup *u, const run_options *o, const shoal_service *s,
                                    shoal_error *err)
{
    if (o->port_file == NULL) {
        return SHOAL_OK;
    }
    char text[32];
    int n = snprintf(text, sizeof text, "%u\n", (unsigned)shoal_service_port(s));
    SHOAL_TRY(shoal_file_writer_put(&u->port_file, text, (size_t)n, err));
    return shoal_file_writer_commit(&u->port_file, err);
}

static shoal_status serve_with(run_setup *u, const run_options *o, shoal_error *err)
{
    shoal_service *s = NULL;
    shoal_service_options opt = {.host = o->host,
                                 .port = o->port_given ? (int32_t)o->port : -1,
                                 .threads = (unsigned)o->threads,
                                 .cpu_mask = (uint32_t)o->cpu_mask,
                                 .signals = true,
                                 .ca_fd = u->ca_fd};
    u->ca_fd = -1; /* the service's */
    shoal_status st = shoal_service_open(&s, u->dir, &opt, err);
    if (st == SHOAL_OK) {
        st = write_port_file(u, o, s, err);
    }
    if (st == SHOAL_OK) {
        bool v6 = strchr(shoal_service_host(s), ':') != NULL;
        shoal_term_note("serving https://%s%s%s:%u", v6 ? "[" : "", shoal_service_host(s),
                        v6 ? "]" : "", (unsigned)shoal_service_port(s));
        shoal_service_run(s);
        shoal_term_note("stopped; everything is recorded, `shoal-aggregator run %s` goes on",
                        u->dir);
    }
    shoal_service_close(s);
    return st;
}

static int serve(const run_options *o, const char *dir)
{
    shoal_error err = {0};
    run_setup u = {.dir = dir, .ca_fd = -1, .port_file = {.fd = -1}};
    shoal_status st = set_up(&u, o, &err);
    if (st == SHOAL_OK) {
        st = serve_with(&u, o, &err);
    }
    if (u.ca_fd >= 0) {
        (void)close(u.ca_fd);
    }
    shoal_file_writer_abandon(&u.port_file);
    shoal_deployment_close(&u.d);
    return shoal_command_end(st, &err);
}

int cmd_run(int argc, char **argv)
{
    run_options o = {.cpu_mask = SHOAL_CPU_ALL};
    shoal_arguments args = {0};
    int code = 0;
    shoal_option port =
        SHOAL_COUNT("port", 'p', &o.port, "PORT",
                    "port instead of config.yaml's; 0: the system chooses", 0, 65535);
    port.given = &o.port_given;
    const shoal_option options[] = {
        SHOAL_STRING("dir", 'd', &o.common.dir, "DIR", "the directory, instead of the argument"),
        SHOAL_STRING("host", 0, &o.host, "ADDR", "address to bind instead of config.yaml's"),
        port,
        SHOAL_STRING("port-file", 0, &o.port_file, "FILE",
                     "write the port there once devices can connect"),
        SHOAL_COUNT("threads", 't', &o.threads, "N", "threads for sums and masks (default: all)", 0,
                    64),
        SHOAL_COUNT("cpu-mask", 0, &o.cpu_mask, "MASK", "force lower kernels", 0, SHOAL_CPU_ALL),
        SHOAL_FLAG("verbose", 'v', &o.verbose, "a line for every stage and refused request")};
    const shoal_usage usage = {
        "shoal-aggregator run DIR [options]",
        "Serves devices over HTTPS until SIGINT or SIGTERM. The other commands work while it "
        "runs.\n"
        "A round that is going on when it stops is recorded as abandoned and held again later.\n"
        "The certificate authority runs beside it in a process of its own, which alone reads "
        "DIR/ca.\n"
        "Started as root, each of the two becomes the user who owns its directory.",
        "shoal-aggregator run /srv/shoal", 0, 1};
    const shoal_option_group groups[] = {{"options", options, sizeof options / sizeof options[0]}};
    if (!shoal_command_begin(&usage, groups, 1, argc, argv, &args, &code)) {
        return code;
    }
    if (o.verbose) {
        shoal_log_set(SHOAL_LOG_DEBUG, NULL, NULL);
    }
    return serve(&o, args.n > 0 ? args.items[0] : cmd_dir(&o.common));
}
