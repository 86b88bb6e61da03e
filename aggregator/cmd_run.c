/* cmd_run.c - shoal-aggregator run: serve until stopped. */
#include <stdio.h>
#include <string.h>

#include "aggregator/cmd.h"
#include "aggregator/service.h"
#include "kernels/base/cpu.h"
#include "kernels/base/file.h"
#include "kernels/base/log.h"
#include "kernels/base/term.h"

typedef struct run_options {
    cmd_common common;
    const char *host;
    const char *port_file;
    uint64_t port, threads, cpu_mask;
    bool port_given, verbose;
} run_options;

/* "HOST PORT\n", complete as soon as it is there. */
static shoal_status write_port_file(const run_options *o, const shoal_service *s, shoal_error *err)
{
    if (o->port_file == NULL) {
        return SHOAL_OK;
    }
    char text[32];
    int n = snprintf(text, sizeof text, "%u\n", (unsigned)shoal_service_port(s));
    return shoal_file_write_atomic(o->port_file, text, (size_t)n, 0644, err);
}

static int serve(const run_options *o, const char *dir)
{
    shoal_error err = {0};
    shoal_service *s = NULL;
    shoal_service_options opt = {.host = o->host,
                                 .port = o->port_given ? (int32_t)o->port : -1,
                                 .threads = (unsigned)o->threads,
                                 .cpu_mask = (uint32_t)o->cpu_mask,
                                 .signals = true};
    shoal_status st = shoal_service_open(&s, dir, &opt, &err);
    if (st == SHOAL_OK) {
        st = write_port_file(o, s, &err);
    }
    if (st == SHOAL_OK) {
        bool v6 = strchr(shoal_service_host(s), ':') != NULL;
        shoal_term_note("serving https://%s%s%s:%u", v6 ? "[" : "", shoal_service_host(s),
                        v6 ? "]" : "", (unsigned)shoal_service_port(s));
        shoal_service_run(s);
        shoal_term_note("stopped; everything is recorded, `shoal-aggregator run %s` goes on", dir);
    }
    shoal_service_close(s);
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
        "A round that is going on when it stops is recorded as abandoned and held again later.",
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
