/* main.c - the `shoal-aggregator` program: one table of commands.
 *
 * To add a command: write cmd_NAME.c, declare it in cmd.h, add a line here.
 */
#include <stdio.h>
#include <string.h>

#include "aggregator/cmd.h"

static const char ABOUT[] =
    "The server side of Shoal: it invites devices, runs rounds in which it learns only the sum of\n"
    "their updates, and gives back signed adapter versions. One directory holds a deployment.\n"
    "\n"
    "  shoal-aggregator init DIR            keys, database, config.yaml\n"
    "  shoal-aggregator run DIR             serve (leave it running)\n"
    "  shoal-aggregator task create ...     what to train, with whom, for how many rounds\n"
    "  shoal-aggregator invite              a link for one device: shoal join LINK";

static int print_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    (void)printf("shoal-aggregator %s\n", SHOAL_VERSION);
    return SHOAL_EXIT_DONE;
}

static const shoal_command COMMANDS[] = {
    {"init", cmd_init, "make a deployment: directory, keys, database"},
    {"run", cmd_run, "serve devices until stopped"},
    {"invite", cmd_invite, "print a one-time join link, and its QR code"},
    {"task", cmd_task, "create, list, show, stop: what is being trained"},
    {"round", cmd_round, "list, explain: what happened and why"},
    {"device", cmd_device, "list, revoke: who takes part"},
    {"adapter", cmd_adapter, "list: the versions that were made"},
    {"ca", cmd_ca, "serve, show, rotate: the certificate authority"},
    {"audit", cmd_audit, "verify: was the record of what happened changed?"},
    {"version", print_version, "print the version"},
};

int main(int argc, char **argv)
{
    if (argc == 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
        return print_version(argc, argv);
    }
    return shoal_command_dispatch("shoal-aggregator", ABOUT, COMMANDS,
                                  sizeof COMMANDS / sizeof COMMANDS[0], argc, argv);
}
