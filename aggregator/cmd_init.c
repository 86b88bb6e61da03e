/* cmd_init.c - shoal-aggregator init: make a deployment. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "aggregator/cmd.h"
#include "kernels/base/term.h"

typedef struct init_options {
    cmd_common common;
    shoal_arguments hosts;
    const char *name;
    const char *listen;
    uint64_t port, cert_days;
} init_options;

static shoal_status copy_text(char *out, size_t cap, const char *text, const char *what,
                              shoal_error *err)
{
    if (*text == '\0' || strlen(text) >= cap) {
        return shoal_fail(err, SHOAL_ERR_ARG, "%s must have 1 to %zu characters", what, cap - 1);
    }
    memcpy(out, text, strlen(text) + 1);
    return SHOAL_OK;
}

/* The first --host is where links point to; the loopback names stay in the certificate, so that the
 * machine itself can always connect. */
static shoal_status apply_hosts(shoal_config_file *c, const shoal_arguments *hosts,
                                shoal_error *err)
{
    if (hosts->n == 0) {
        return SHOAL_OK;
    }
    if (hosts->n + 2 > SHOAL_CONFIG_HOSTS) {
        return shoal_fail(err, SHOAL_ERR_ARG, "at most %d --host", SHOAL_CONFIG_HOSTS - 2);
    }
    SHOAL_TRY(copy_text(c->public_host, sizeof c->public_host, hosts->items[0], "--host", err));
    SHOAL_TRY(copy_text(c->listen_host, sizeof c->listen_host, "0.0.0.0", "--listen", err));
    for (size_t i = 0; i < hosts->n; i++) {
        bool known = false;
        for (size_t j = 0; j < c->n_hosts; j++) {
            known = known || strcmp(c->hosts[j], hosts->items[i]) == 0;
        }
        if (!known) {
            SHOAL_TRY(copy_text(c->hosts[c->n_hosts++], SHOAL_LIMIT_HOST, hosts->items[i], "--host",
                                err));
        }
    }
    return SHOAL_OK;
}

static shoal_status make_config(const init_options *o, shoal_config_file *c, shoal_error *err)
{
    *c = shoal_config_default();
    c->listen_port = (uint16_t)o->port;
    SHOAL_TRY(apply_hosts(c, &o->hosts, err));
    if (o->listen != NULL) {
        SHOAL_TRY(copy_text(c->listen_host, sizeof c->listen_host, o->listen, "--listen", err));
    }
    return o->name == NULL ? SHOAL_OK
                           : copy_text(c->deployment, sizeof c->deployment, o->name, "--name", err);
}

int cmd_init(int argc, char **argv)
{
    init_options o = {.port = shoal_config_default().listen_port,
                      .cert_days = shoal_ca_settings_default().cert_days};
    shoal_arguments args = {0};
    int code = 0;
    const shoal_option options[] = {
        SHOAL_STRING("dir", 'd', &o.common.dir, "DIR", "the directory, instead of the argument"),
        SHOAL_LIST("host", 0, &o.hosts, "NAME",
                   "a name or address devices reach it by; may be repeated (default 127.0.0.1)"),
        SHOAL_STRING("listen", 0, &o.listen, "ADDR",
                     "address to bind (default 127.0.0.1; with --host 0.0.0.0)"),
        SHOAL_COUNT("port", 'p', &o.port, "PORT", "port (default 7433; 0: chosen at each start)", 0,
                    65535),
        SHOAL_COUNT("cert-days", 0, &o.cert_days, "N",
                    "life of a device certificate in days (default 7)", 1, 7),
        SHOAL_STRING("name", 0, &o.name, "TEXT", "name of the deployment (default shoal)")};
    const shoal_usage usage = {
        "shoal-aggregator init DIR [options]",
        "Makes DIR with a TLS key, a task signing key (mode 0600), an SQLite database, a "
        "commented\n"
        "config.yaml, and DIR/ca, the certificate authority, which only its own process reads.",
        "shoal-aggregator init /srv/shoal --host shoal.example.org", 0, 1};
    const shoal_option_group groups[] = {{"options", options, sizeof options / sizeof options[0]}};
    if (!shoal_command_begin(&usage, groups, 1, argc, argv, &args, &code)) {
        return code;
    }
    shoal_error err = {0};
    shoal_config_file c;
    const char *dir = args.n > 0 ? args.items[0] : cmd_dir(&o.common);
    shoal_status st = make_config(&o, &c, &err);
    if (st == SHOAL_OK) {
        shoal_ca_settings ca = shoal_ca_settings_default();
        ca.cert_days = (uint32_t)o.cert_days;
        st = shoal_deployment_create(dir, &c, &ca, (int64_t)time(NULL), &err);
    }
    if (st == SHOAL_OK) {
        shoal_term_note("made the deployment %s", dir);
        shoal_term_note("next: shoal-aggregator run %s", dir);
    }
    return shoal_command_end(st, &err);
}
