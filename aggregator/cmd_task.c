/* cmd_task.c - shoal-aggregator task: list, show, stop. */
#include <stdio.h>

#include <jansson.h>

#include "aggregator/cmd.h"
#include "kernels/base/mem.h"
#include "kernels/base/term.h"
#include "lora/train/targets.h"

static json_t *task_json(const shoal_db_task *t)
{
    char id[2 * SHOAL_SA_TASK_BYTES + 1], base[65], targets[64];
    shoal_hex_encode(t->id, sizeof t->id, id);
    shoal_hex_encode(t->base_sha256, 32, base);
    shoal_targets_format(t->train.targets, targets, sizeof targets);
    json_t *j = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:s, s:s}", "task", t->name,
                          "id", id, "state", cmd_task_state(t->state), "rounds_done",
                          (json_int_t)t->rounds_done, "rounds_total", (json_int_t)t->rounds_total,
                          "sessions", (json_int_t)t->last_round, "version", (json_int_t)t->version,
                          "base", t->train.base_name, "base_sha256", base, "model", t->model_path);
    json_t *more = json_pack(
        "{s:I, s:f, s:s, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:I,"
        " s:i, s:I, s:I, s:I, s:I}",
        "rank", (json_int_t)t->train.rank, "alpha", (double)t->train.alpha, "targets", targets,
        "lr", (double)t->train.lr, "local_epochs", (json_int_t)t->train.local_epochs, "local_steps",
        (json_int_t)t->train.local_steps, "batch", (json_int_t)t->train.batch, "ctx",
        (json_int_t)t->train.ctx, "parameters", (json_int_t)t->codec.dim, "clients",
        (json_int_t)t->n_target, "min_clients", (json_int_t)t->n_min, "clip", t->codec.clip_norm,
        "ring_bits", (json_int_t)t->codec.ring_bits, "scale_log2", (int)t->codec.scale_log2,
        "rotation", (json_int_t)t->codec.rotation, "neighbours", (json_int_t)t->degree, "threshold",
        (json_int_t)t->threshold, "committee", (json_int_t)t->committee);
    (void)json_object_update(j, more);
    json_decref(more);
    return j;
}

static void print_json(json_t *j)
{
    (void)json_dumpf(j, stdout, JSON_COMPACT);
    (void)putchar('\n');
    json_decref(j);
}

static void rounds_text(const shoal_db_task *t, char out[48])
{
    if (t->rounds_total > 0) {
        (void)snprintf(out, 48, "%llu of %llu", (unsigned long long)t->rounds_done,
                       (unsigned long long)t->rounds_total);
    } else {
        (void)snprintf(out, 48, "%llu", (unsigned long long)t->rounds_done);
    }
}

/* ---- list -------------------------------------------------------------------------------------
 */

static void print_task(void *ctx, const shoal_db_task *t)
{
    const cmd_common *c = ctx;
    char rounds[48], devices[32];
    if (c->json) {
        print_json(task_json(t));
        return;
    }
    rounds_text(t, rounds);
    (void)snprintf(devices, sizeof devices, "%u..%u", t->n_min, t->n_target);
    (void)printf("%-24s  %-8s  %-12s  %7llu  %-8s  %s\n", t->name, cmd_task_state(t->state), rounds,
                 (unsigned long long)t->version, devices, t->train.base_name);
}

static int task_list(int argc, char **argv)
{
    cmd_common c = {0};
    int code = 0;
    const shoal_usage usage = {"shoal-aggregator task list [options]",
                               "The tasks, how far they are, and their newest adapter version.",
                               "shoal-aggregator task list --dir /srv/shoal", 0, 0};
    if (!cmd_begin(&usage, &c, NULL, 0, argc, argv, NULL, &code)) {
        return code;
    }
    shoal_error err = {0};
    shoal_deployment d = {0};
    shoal_status st = shoal_deployment_open(&d, cmd_dir(&c), &err);
    if (st == SHOAL_OK) {
        if (!c.json) {
            (void)printf("%-24s  %-8s  %-12s  %7s  %-8s  %s\n", "TASK", "STATE", "ROUNDS",
                         "VERSION", "DEVICES", "BASE");
        }
        st = shoal_db_tasks(d.db, print_task, &c, &err);
    }
    shoal_deployment_close(&d);
    return shoal_command_end(st, &err);
}

/* ---- show -------------------------------------------------------------------------------------
 */

static void show_task(const shoal_db_task *t)
{
    char id[2 * SHOAL_SA_TASK_BYTES + 1], base[65], targets[64], rounds[48];
    char made[CMD_TIME_TEXT];
    shoal_hex_encode(t->id, sizeof t->id, id);
    shoal_hex_encode(t->base_sha256, 32, base);
    shoal_targets_format(t->train.targets, targets, sizeof targets);
    rounds_text(t, rounds);
    cmd_time_text(t->created_s, made);
    (void)printf("task      %s (%s)\nstate     %s, made %s UTC\nrounds    %s, %llu sessions, "
                 "version %llu\n",
                 t->name, id, cmd_task_state(t->state), made, rounds,
                 (unsigned long long)t->last_round, (unsigned long long)t->version);
    (void)printf("base      %s, %s\n          sha256 %s\n", t->train.base_name, t->model_path,
                 base);
    (void)printf("adapter   rank %u, alpha %g on %s: %u parameters\n", t->train.rank,
                 (double)t->train.alpha, targets, t->codec.dim);
    (void)printf("training  lr %g, %u epochs, %u steps (0: no limit), batch %u, context %u\n",
                 (double)t->train.lr, t->train.local_epochs, t->train.local_steps, t->train.batch,
                 t->train.ctx);
    (void)printf("devices   %u a round, at least %u\n", t->n_target, t->n_min);
    if (t->degree != 0) {
        (void)printf("graph     %u neighbours each, %u open a secret, %u sign the survivors\n",
                     t->degree, t->threshold, t->committee);
    }
    (void)printf("numbers   clipped to norm %g, weight up to %u, %u-bit ring, steps of 2^%d\n",
                 t->codec.clip_norm, t->codec.weight_max, t->codec.ring_bits, -t->codec.scale_log2);
    if (t->codec.rotation != 0) {
        (void)printf("          rotated in blocks of 2^%u\n", t->codec.rotation);
    }
    (void)printf("waiting   %u s for trained devices, %u s a stage\n",
                 t->deadline_ms[SHOAL_SA_ADVERTISE] / 1000, t->deadline_ms[SHOAL_SA_SHARES] / 1000);
}

static int task_show(int argc, char **argv)
{
    cmd_common c = {0};
    shoal_arguments args = {0};
    int code = 0;
    const shoal_usage usage = {"shoal-aggregator task show [NAME] [options]",
                               "Everything about a task (the only one when no name is given).",
                               "shoal-aggregator task show home", 0, 1};
    if (!cmd_begin(&usage, &c, NULL, 0, argc, argv, &args, &code)) {
        return code;
    }
    shoal_error err = {0};
    shoal_deployment d = {0};
    shoal_db_task t;
    shoal_status st = shoal_deployment_open(&d, cmd_dir(&c), &err);
    if (st == SHOAL_OK) {
        st = cmd_find_task(&d, args.n > 0 ? args.items[0] : NULL, &t, &err);
    }
    if (st == SHOAL_OK && c.json) {
        print_json(task_json(&t));
    } else if (st == SHOAL_OK) {
        show_task(&t);
    }
    shoal_deployment_close(&d);
    return shoal_command_end(st, &err);
}

/* ---- stop -------------------------------------------------------------------------------------
 */

static shoal_status stop_task(shoal_deployment *d, const char *name, shoal_error *err)
{
    shoal_db_task t;
    SHOAL_TRY(cmd_find_task(d, name, &t, err));
    if (t.state != SHOAL_TASK_RUNNING) {
        return shoal_fail(err, SHOAL_ERR_STATE, "the task %s is %s already", t.name,
                          cmd_task_state(t.state));
    }
    SHOAL_TRY(shoal_db_task_set_state(d->db, t.id, SHOAL_TASK_STOPPED, err));
    shoal_term_note("stopped %s at version %llu; a round that is going on ends within seconds",
                    t.name, (unsigned long long)t.version);
    return SHOAL_OK;
}

static int task_stop(int argc, char **argv)
{
    cmd_common c = {0};
    shoal_arguments args = {0};
    int code = 0;
    const shoal_usage usage = {"shoal-aggregator task stop [NAME] [options]",
                               "Ends a task: no more rounds. Its adapter versions stay.",
                               "shoal-aggregator task stop home", 0, 1};
    if (!cmd_begin(&usage, &c, NULL, 0, argc, argv, &args, &code)) {
        return code;
    }
    shoal_error err = {0};
    shoal_deployment d = {0};
    shoal_status st = shoal_deployment_open(&d, cmd_dir(&c), &err);
    if (st == SHOAL_OK) {
        st = stop_task(&d, args.n > 0 ? args.items[0] : NULL, &err);
    }
    shoal_deployment_close(&d);
    return shoal_command_end(st, &err);
}

int cmd_task(int argc, char **argv)
{
    static const shoal_command TABLE[] = {
        {"create", cmd_task_create,
         "a base model, an adapter's shape, how many rounds and devices"},
        {"list", task_list, "all tasks and how far they are"},
        {"show", task_show, "everything about one task"},
        {"stop", task_stop, "no more rounds"},
    };
    return shoal_command_dispatch("shoal-aggregator task", "What is being trained.", TABLE,
                                  sizeof TABLE / sizeof TABLE[0], argc, argv);
}
