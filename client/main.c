/* main.c - the `shoal` program: one table of commands.
 *
 * To add a command: write cmd_NAME.c with `int shoal_cmd_NAME(int argc, char **argv)`, declare it
 * in command.h (or its area's header) and add a line here.
 */
#include <stdio.h>
#include <string.h>

#include "client/command.h"
#include "client/json.h"

static const char about[] =
    "Shoal tunes a language model on the devices that use it: each trains a small adapter on\n"
    "its own text, shares only an update that makes sense once it is summed with others', and\n"
    "serves the result.";

static int print_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    (void)printf("shoal %s\n", SHOAL_VERSION);
    return SHOAL_EXIT_DONE;
}

static const shoal_command commands[] = {
    {"chat", shoal_cmd_chat, "talk to the model"},
    {"generate", shoal_cmd_generate, "continue a raw prompt"},
    {"serve", shoal_cmd_serve, "answer programs through the OpenAI chat API"},
    {"train", shoal_cmd_train, "train an adapter on your own text"},
    {"eval", shoal_cmd_eval, "measure loss and answers on a data set"},
    {"adapter", shoal_cmd_adapter, "look at adapters; convert from and to PEFT"},
    {"cache", shoal_cmd_cache, "look at, or clear, the prompt cache"},
    {"model", shoal_cmd_model, "fetch and look at base models"},
    {"quantize", shoal_cmd_quantize, "write a model with other, or packed, weights"},
    {"join", shoal_cmd_join, "become a member of a deployment"},
    {"agent", shoal_cmd_agent, "take part in federated rounds with your own text"},
    {"policy", shoal_cmd_policy, "what this device demands of a round"},
    {"status", shoal_cmd_status, "what this device is a member of and has done"},
    {"demo", shoal_cmd_demo, "the whole loop on this machine: aggregator, devices, rounds"},
    {"leave", shoal_cmd_leave, "end the membership"},
    {"doctor", shoal_cmd_doctor, "check what this machine needs"},
    {"score", shoal_cmd_score, "cost and best token at every position of given text"},
    {"perplexity", shoal_cmd_perplexity, "how well the model predicts a text"},
    {"grad", shoal_cmd_grad, "loss and LoRA gradients of one batch"},
    {"bench", shoal_cmd_bench, "speed of this machine: read, write, train"},
    {"tokenize", shoal_cmd_tokenize, "text to token ids"},
    {"version", print_version, "print the version"},
};

int main(int argc, char **argv)
{
    shoal_json_init();
    if (argc == 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
        return print_version(argc, argv);
    }
    return shoal_command_dispatch("shoal", about, commands, sizeof commands / sizeof commands[0],
                                  argc, argv);
}
