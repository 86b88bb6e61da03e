/* cmd_demo.c - shoal demo: an aggregator and a few devices on this machine, and what it brought. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/command.h"
#include "client/demo.h"
#include "client/interrupt.h"
#include "client/json.h"
#include "kernels/base/term.h"

static const shoal_usage usage = {
    .synopsis = "shoal demo [-m MODEL] [--clients N] [--rounds N] [--fast] [options]",
    .about =
        "Starts an aggregator and several devices on loopback, each its own process with its own\n"
        "private data, and runs rounds of secure federated training on a real model. One device is "
        "killed\n"
        "in mid-round and comes back. Then it measures the result on requests of all devices that\n"
        "nobody trained on: before, each device alone with the same number of steps, federated.\n"
        "Without --data the devices are households whose assistants answer with JSON actions,\n"
        "made from --seed. --data DIR takes *.jsonl files of yours, one a device, and "
        "held-out.jsonl.",
    .example = "  shoal model fetch smollm2-135m && shoal demo\n"
               "  shoal demo --clients 5 --rounds 4 --data my-data"};

static json_t *row_json(const shoal_demo_row *r)
{
    return json_pack("{s:s, s:f, s:o}", "name", r->name, "loss", r->loss, "exact_match",
                     r->exact < 0 ? json_null() : json_real(r->exact));
}

static shoal_status print_json(const shoal_demo_result *r, shoal_error *err)
{
    json_t *alone = json_array();
    for (size_t i = 0; i < r->n_alone; i++) {
        (void)json_array_append_new(alone, row_json(&r->alone[i]));
    }
    json_t *o = json_pack(
        "{s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:s, s:s, s:s}", "before",
        row_json(&r->before), "alone", alone, "federated", row_json(&r->federated), "rounds",
        (json_int_t)r->rounds_done, "held_out_rows", (json_int_t)r->held_rows, "killed_in_round",
        (json_int_t)r->killed_round, "survivors_of_that_round", (json_int_t)r->survivors,
        "tokens_per_device", (json_int_t)r->tokens, "peak_rss_bytes", (json_int_t)r->peak_rss_bytes,
        "federated_seconds", r->federated_s, "seconds", r->seconds, "adapter", r->adapter, "model",
        r->model, "dir", r->dir);
    return shoal_json_print(stdout, o, err);
}

static void print_row(const shoal_demo_row *r, const char *suffix)
{
    char name[80];
    (void)snprintf(name, sizeof name, "%s%s", r->name, suffix);
    (void)printf("  %-28s %8.3f", name, r->loss);
    if (r->exact >= 0) (void)printf(" %9.0f %%", 100.0 * r->exact);
    (void)printf("\n");
}

static void print_table(const shoal_demo_result *r)
{
    char rss[24];
    char total[24];
    char rounds[24];
    shoal_format_bytes(r->peak_rss_bytes, rss, sizeof rss);
    shoal_format_seconds(r->seconds, total, sizeof total);
    shoal_format_seconds(r->federated_s, rounds, sizeof rounds);
    (void)printf("\nOn %zu held-out requests of all devices:\n\n  %-28s %8s%s\n", r->held_rows, "",
                 "loss", r->before.exact >= 0 ? "  exact JSON" : "");
    print_row(&r->before, "");
    for (size_t i = 0; i < r->n_alone; i++)
        print_row(&r->alone[i], ", alone");
    print_row(&r->federated, "");
    (void)printf("\n%zu rounds, about %" PRIu64 " tokens trained on by each device", r->rounds_done,
                 r->tokens);
    if (r->killed_round > 0) {
        (void)printf("; in round %zu one device was killed\nand the other %zu finished it",
                     r->killed_round, r->survivors);
    }
    (void)printf(".\nPeak memory of a training device %s; rounds %s, everything %s.\n", rss, rounds,
                 total);
    (void)printf("\nTalk to the result:\n\n  shoal chat -m %s -a %s\n", r->model, r->adapter);
}

int shoal_cmd_demo(int argc, char **argv)
{
    shoal_demo_options o = {.model = "smollm2-135m", .seed = 1, .stop = shoal_interrupted};
    uint64_t clients = 4;
    uint64_t rounds = 4;
    uint64_t steps = 12;
    const char *write_data = NULL;
    bool fast = false;
    bool json = false;
    const shoal_option table[] = {
        SHOAL_STRING("model", 'm', &o.model, "MODEL", "base model (smollm2-135m)"),
        SHOAL_COUNT("clients", 0, &clients, "N", "devices, 3 to 6 (4)", 3, SHOAL_DEMO_CLIENTS_MAX),
        SHOAL_COUNT("rounds", 0, &rounds, "N", "rounds (4)", 1, 1000),
        SHOAL_COUNT("steps", 0, &steps, "N", "local steps of a round (12)", 1, 100000),
        SHOAL_STRING("data", 0, &o.data_dir, "DIR", "your own data instead of the households'"),
        SHOAL_STRING("dir", 0, &o.dir, "DIR", "where everything goes (a fresh temporary one)"),
        SHOAL_COUNT("seed", 0, &o.seed, "S", "of the households' requests (1)", 0, 0),
        SHOAL_STRING("write-data", 0, &write_data, "DIR", "only write the households' data there"),
        SHOAL_FLAG("fast", 0, &fast, "no comparison with devices alone, loss only"),
        SHOAL_FLAG("json", 0, &json, "print the result as one object")};
    const shoal_option_group group = {"options", table, SHOAL_OPTION_COUNT_OF(table)};
    int code = 0;
    if (!shoal_command_begin(&usage, &group, 1, argc, argv, NULL, &code)) return code;
    o.clients = (size_t)clients;
    o.rounds = (size_t)rounds;
    o.steps = (size_t)steps;
    o.skip_alone = fast;
    o.skip_exact = fast;
    o.quiet = json;
    static shoal_demo_result result; /* large */
    shoal_error err = {0};
    if (write_data != NULL) {
        return shoal_command_end(shoal_demo_write_data(write_data, o.clients, o.seed, &err), &err);
    }
    shoal_interrupt_install();
    shoal_status st = shoal_demo_run(&o, &result, &err);
    if (st == SHOAL_ERR_CANCELLED) {
        shoal_fail(&err, st, "stopped; all of the demo's programs were ended");
        shoal_hint(&err, "%s", result.dir[0] != '\0' ? result.dir : "run `shoal demo` again");
    }
    if (st == SHOAL_OK && json)
        st = print_json(&result, &err);
    else if (st == SHOAL_OK)
        print_table(&result);
    return shoal_command_end(st, &err);
}
