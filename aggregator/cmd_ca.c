/* cmd_ca.c - shoal-aggregator ca: the certificate authority as a service of its own. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "aggregator/cmd.h"
#include "aggregator/signer.h"
#include "kernels/base/process.h"
#include "kernels/base/term.h"
#include "proto/x509.h"

/* ---- serve ------------------------------------------------------------------------------------
 */

static volatile sig_atomic_t g_stop;

static void on_signal(int signo)
{
    (void)signo;
    g_stop = 1;
}

static bool stopped(void)
{
    return g_stop != 0;
}

static void catch_signals(void)
{
    struct sigaction a = {.sa_handler = on_signal};
    (void)sigaction(SIGINT, &a, NULL);
    (void)sigaction(SIGTERM, &a, NULL);
}

/* As root it becomes the owner of DIR/ca, once the socket is where only root may put it. */
static shoal_status become_owner(const char *dir, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    unsigned user = 0;
    unsigned group = 0;
    SHOAL_TRY(shoal_dir_path(dir, "ca", path, err));
    SHOAL_TRY(shoal_process_owner(path, &user, &group, err));
    return geteuid() == 0 ? shoal_process_become(user, group, err) : SHOAL_OK;
}

static shoal_status serve(const char *dir, const char *socket_path, shoal_error *err)
{
    shoal_ca *ca = NULL;
    unsigned group = 0;
    shoal_signer_serve_options o = {.peer = -1, .listener = -1, .stop = stopped};
    SHOAL_TRY(shoal_process_owner(dir, &o.owner, &group, err));
    SHOAL_TRY(shoal_signer_listen(socket_path, &o.listener, err));
    catch_signals();
    shoal_status st = become_owner(dir, err);
    shoal_process_hide();
    if (st == SHOAL_OK) {
        st = shoal_ca_open(&ca, dir, err);
    }
    if (st == SHOAL_OK) {
        shoal_term_note("the CA of %s serves at %s", dir, socket_path);
        st = shoal_signer_serve(ca, &o, err);
    }
    shoal_ca_close(ca);
    (void)close(o.listener);
    (void)unlink(socket_path); /* if this user may */
    return st;
}

static int ca_serve(int argc, char **argv)
{
    cmd_common c = {0};
    const char *socket_path = NULL;
    shoal_arguments args = {0};
    int code = 0;
    const shoal_option own[] = {
        SHOAL_STRING("socket", 's', &socket_path, "PATH", "Unix socket to listen at (required)")};
    const shoal_usage usage = {
        "shoal-aggregator ca serve DIR --socket PATH",
        "Runs the certificate authority by itself, for a machine where it has a user of its own.\n"
        "Name the same PATH as ca_socket in DIR/config.yaml; `run` then starts none. Only the "
        "user\n"
        "who owns DIR, root and the CA's own user may connect.",
        "shoal-aggregator ca serve /srv/shoal --socket /run/shoal/ca.sock", 0, 1};
    if (!cmd_begin(&usage, &c, own, 1, argc, argv, &args, &code)) {
        return code;
    }
    shoal_error err = {0};
    const char *dir = args.n > 0 ? args.items[0] : cmd_dir(&c);
    shoal_status st = socket_path != NULL
                          ? serve(dir, socket_path, &err)
                          : shoal_fail(&err, SHOAL_ERR_ARG, "--socket PATH is missing");
    return shoal_command_end(st, &err);
}

/* ---- show -------------------------------------------------------------------------------------
 */

static shoal_status show_one(const cmd_common *c, const shoal_ca_info *i, bool signs,
                             shoal_error *err)
{
    char key[2 * SHOAL_ID_BYTES + 1];
    char next[2 * SHOAL_ID_BYTES + 1];
    char until[CMD_TIME_TEXT];
    shoal_hex_encode(i->id, SHOAL_ID_BYTES, key);
    shoal_hex_encode(i->next_id, SHOAL_ID_BYTES, next);
    cmd_time_text(i->not_after_s, until);
    if (!c->json) {
        (void)printf("%10" PRIu32 "  %s  %s  %-19s  %s\n", i->generation, key, next, until,
                     signs ? "signs" : "accepted");
        return SHOAL_OK;
    }
    json_t *j =
        json_pack("{s:I, s:s, s:s, s:I, s:b}", "generation", (json_int_t)i->generation, "key", key,
                  "next_key", next, "until_s", (json_int_t)i->not_after_s, "signs", (int)signs);
    bool ok = j != NULL && json_dumpf(j, stdout, JSON_COMPACT) == 0;
    (void)putchar('\n');
    json_decref(j);
    return ok ? SHOAL_OK : shoal_fail(err, SHOAL_ERR_NOMEM, "cannot write the result");
}

static shoal_status show(const cmd_common *c, const char *dir, shoal_error *err)
{
    shoal_ca *ca = NULL;
    shoal_ca_info info;
    SHOAL_TRY(shoal_ca_open(&ca, dir, err));
    const shoal_buf *b = shoal_ca_bundle_of(ca);
    shoal_status st = SHOAL_OK;
    if (!c->json) {
        (void)printf("%10s  %-32s  %-32s  %-19s\n", "GENERATION", "KEY", "NEXT KEY", "UNTIL");
    }
    for (size_t i = 0; st == SHOAL_OK && shoal_ca_read(b->data, b->len, i, &info, NULL) == SHOAL_OK;
         i++) {
        st = show_one(c, &info, i == 0, err);
    }
    shoal_ca_close(ca);
    return st;
}

static int ca_show(int argc, char **argv)
{
    cmd_common c = {0};
    shoal_arguments args = {0};
    int code = 0;
    const shoal_usage usage = {"shoal-aggregator ca show DIR",
                               "The CA's certificates, newest first: the one that signs, and the "
                               "one before it, whose\ndevices are still accepted.",
                               "shoal-aggregator ca show /srv/shoal", 0, 1};
    if (!cmd_begin(&usage, &c, NULL, 0, argc, argv, &args, &code)) {
        return code;
    }
    shoal_error err = {0};
    shoal_status st = show(&c, args.n > 0 ? args.items[0] : cmd_dir(&c), &err);
    return shoal_command_end(st, &err);
}

/* ---- rotate -----------------------------------------------------------------------------------
 */

static int ca_rotate(int argc, char **argv)
{
    cmd_common c = {0};
    bool force = false;
    shoal_arguments args = {0};
    int code = 0;
    const shoal_option own[] = {
        SHOAL_FLAG("force", 0, &force, "also within seven days of the last rotation")};
    const shoal_usage usage = {
        "shoal-aggregator ca rotate DIR",
        "The next key takes over, a key after it is made, and the old key is destroyed. Devices\n"
        "follow by themselves: the certificate they pinned names the next key. Certificates that\n"
        "the old key signed stay good until they run out. `run` and the CA need no restart.",
        "shoal-aggregator ca rotate /srv/shoal", 0, 1};
    if (!cmd_begin(&usage, &c, own, 1, argc, argv, &args, &code)) {
        return code;
    }
    shoal_error err = {0};
    const char *dir = args.n > 0 ? args.items[0] : cmd_dir(&c);
    shoal_status st = shoal_ca_rotate(dir, (int64_t)time(NULL), force, &err);
    if (st == SHOAL_OK) {
        shoal_term_note("rotated; `shoal-aggregator ca show %s`", dir);
    }
    return shoal_command_end(st, &err);
}

int cmd_ca(int argc, char **argv)
{
    static const shoal_command TABLE[] = {
        {"serve", ca_serve, "run the CA by itself, at a Unix socket"},
        {"show", ca_show, "its certificates"},
        {"rotate", ca_rotate, "let the next key take over"},
    };
    return shoal_command_dispatch("shoal-aggregator ca", "The certificate authority.", TABLE,
                                  sizeof TABLE / sizeof TABLE[0], argc, argv);
}
