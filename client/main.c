/* main.c - the `shoal` program: one table of commands.
 *
 * To add a command: write cmd_NAME.c with `int shoal_cmd_NAME(int argc, char **argv)`, declare it
 * in command.h (or its area's header) and add a line here.
 */
#include <stdio.h>
#include <string.h>

#include "client/command.h"

static const char about[] =
    "Shoal tunes a language model on the devices that use it: each trains a small adapter on its "
    "own\n"
    "text, shares only an update that makes sense once it is summed with others', and serves the\n"
    "result.";

static int print_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    (void)printf("shoal %s\n", SHOAL_VERSION);
    return SHOAL_EXIT_DONE;
}

static const shoal_command commands[] = {
    {"version", print_version, "print the version"},
};

int main(int argc, char **argv)
{
    if (argc == 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
        return print_version(argc, argv);
    }
    return shoal_command_dispatch("shoal", about, commands, sizeof commands / sizeof commands[0],
                                  argc, argv);
}
