/* command.c - how a subcommand begins, ends and is found. */
#include "kernels/base/command.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/term.h"

enum { TABLE_MAX = 64 };

int shoal_exit_code(shoal_status st)
{
    switch (st) {
    case SHOAL_OK: return SHOAL_EXIT_DONE;
    case SHOAL_ERR_ARG: return SHOAL_EXIT_USAGE;
    case SHOAL_ERR_AGAIN:
    case SHOAL_ERR_DENIED: return SHOAL_EXIT_NOT_NOW;
    case SHOAL_ERR_TAMPERED: return SHOAL_EXIT_VERIFY;
    default: return SHOAL_EXIT_FAILED;
    }
}

int shoal_command_end(shoal_status st, const shoal_error *err)
{
    if (st != SHOAL_OK) {
        shoal_error plain = *err;
        plain.code = st;
        shoal_term_error(&plain);
    }
    /* Data that did not reach stdout (a full disk, a closed pipe) is not done. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        if (st == SHOAL_OK) shoal_term_warn("not all output could be written");
        return st == SHOAL_OK ? SHOAL_EXIT_FAILED : shoal_exit_code(st);
    }
    return shoal_exit_code(st);
}

static shoal_status check_arguments(const shoal_usage *usage, const shoal_arguments *args,
                                    shoal_error *err)
{
    size_t n = args == NULL ? 0 : args->n;
    if (n < usage->min_args) return shoal_fail(err, SHOAL_ERR_ARG, "an argument is missing");
    if (n > usage->max_args) {
        return shoal_fail(err, SHOAL_ERR_ARG, "unexpected argument \"%.100s\"",
                          args->items[usage->max_args]);
    }
    return SHOAL_OK;
}

bool shoal_command_begin(const shoal_usage *usage, const shoal_option_group *groups,
                         size_t n_groups, int argc, char **argv, shoal_arguments *args,
                         int *exit_code)
{
    shoal_error err = {0};
    bool help = false;
    shoal_status st = shoal_options_parse(groups, n_groups, argc, argv, args, &help, &err);
    if (help) {
        shoal_options_help(stdout, usage, groups, n_groups);
        *exit_code = shoal_command_end(SHOAL_OK, &err);
        return false;
    }
    if (st == SHOAL_OK) st = check_arguments(usage, args, &err);
    if (st == SHOAL_OK) return true;
    if (err.hint[0] == '\0') shoal_hint(&err, "usage: %s", usage->synopsis);
    shoal_term_error(&err);
    *exit_code = SHOAL_EXIT_USAGE;
    return false;
}

static void list_commands(FILE *out, const char *program, const char *about,
                          const shoal_command *table, size_t n)
{
    (void)fprintf(out, "usage: %s COMMAND [options]\n\n%s\n\ncommands:\n", program, about);
    for (size_t i = 0; i < n; i++) {
        (void)fprintf(out, "  %-12s%s\n", table[i].name, table[i].summary);
    }
    (void)fprintf(out, "\n`%s COMMAND --help` explains a command with an example.\n", program);
}

static int fail_unknown(const char *program, const shoal_command *table, size_t n, const char *name)
{
    const char *names[TABLE_MAX];
    size_t n_names = 0;
    for (size_t i = 0; i < n && i < TABLE_MAX; i++) {
        names[n_names++] = table[i].name;
    }
    shoal_error err = {0};
    (void)shoal_fail(&err, SHOAL_ERR_ARG, "unknown command \"%.60s\"", name);
    const char *near = shoal_nearest_word(name, names, n_names);
    if (near != NULL) {
        shoal_hint(&err, "did you mean `%s %s`?", program, near);
    } else {
        shoal_hint(&err, "`%s --help` lists the commands", program);
    }
    shoal_term_error(&err);
    return SHOAL_EXIT_USAGE;
}

int shoal_command_dispatch(const char *program, const char *about, const shoal_command *table,
                           size_t n, int argc, char **argv)
{
    const char *name = argc < 2 ? NULL : argv[1];
    if (name == NULL) {
        list_commands(stderr, program, about, table, n);
        return SHOAL_EXIT_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        list_commands(stdout, program, about, table, n);
        return SHOAL_EXIT_DONE;
    }
    for (size_t i = 0; i < n; i++) {
        if (strcmp(table[i].name, name) == 0) return table[i].run(argc - 1, argv + 1);
    }
    return fail_unknown(program, table, n, name);
}
