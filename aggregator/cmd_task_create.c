/* cmd_task_create.c - shoal-aggregator task create: everything a task is, checked before it exists.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "aggregator/cmd.h"
#include "aggregator/publish.h"
#include "kernels/base/mem.h"
#include "kernels/base/term.h"
#include "lora/train/targets.h"
#include "proto/rotate.h"
#include "proto/sa_params.h"

typedef struct create_options {
    cmd_common common;
    const char *name, *model, *model_name, *targets;
    uint64_t rank, rounds, clients, min_clients, epochs, steps, batch, ctx, weight_max, ring_bits;
    uint64_t train_timeout_s, stage_timeout_s, seed, rotation, security_bits;
    double alpha, lr, clip, corrupt, dropout; /* the last two in percent */
} create_options;

/* ---- the model --------------------------------------------------------------------------------
 */

static shoal_status absolute(const char *path, char out[SHOAL_DB_PATH], shoal_error *err)
{
    char cwd[SHOAL_DB_PATH] = "";
    if (path[0] != '/' && getcwd(cwd, sizeof cwd) == NULL) {
        return shoal_fail_errno(err, errno, "cannot tell the current directory");
    }
    int n = snprintf(out, SHOAL_DB_PATH, "%s%s%s", cwd, cwd[0] != '\0' ? "/" : "", path);
    return n > 0 && n < SHOAL_DB_PATH
               ? SHOAL_OK
               : shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the model's path is too long");
}

/* Where `shoal model fetch NAME` puts a model. */
static shoal_status fetched_path(const char *name, char out[SHOAL_DB_PATH], shoal_error *err)
{
    const char *home = getenv("SHOAL_HOME");
    const char *data = getenv("XDG_DATA_HOME");
    const char *user = getenv("HOME");
    int n = 0;
    if (home != NULL && *home != '\0') {
        n = snprintf(out, SHOAL_DB_PATH, "%s/models/%s.gguf", home, name);
    } else if (data != NULL && *data != '\0') {
        n = snprintf(out, SHOAL_DB_PATH, "%s/shoal/models/%s.gguf", data, name);
    } else if (user != NULL) {
        n = snprintf(out, SHOAL_DB_PATH, "%s/.local/share/shoal/models/%s.gguf", user, name);
    }
    return n > 0 && n < SHOAL_DB_PATH
               ? SHOAL_OK
               : shoal_fail(err, SHOAL_ERR_NOT_FOUND, "cannot tell where models are kept");
}

/* "DIR/NAME.gguf" -> "NAME". */
static void stem(const char *path, char *out, size_t cap)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash != NULL ? slash + 1 : path;
    size_t n = strlen(base);
    n -= n > 5 && strcmp(base + n - 5, ".gguf") == 0 ? 5 : 0;
    (void)snprintf(out, cap, "%.*s", (int)(n < cap ? n : cap - 1), base);
}

static shoal_status find_model(const create_options *o, shoal_db_task *t, shoal_error *err)
{
    char path[SHOAL_DB_PATH];
    if (o->model == NULL && o->model_name == NULL) {
        shoal_status st = shoal_fail(err, SHOAL_ERR_ARG, "a base model is needed");
        shoal_hint(err, "--model FILE.gguf, or --model-name NAME after `shoal model fetch NAME`");
        return st;
    }
    if (o->model != NULL) {
        SHOAL_TRY(absolute(o->model, path, err));
    } else {
        SHOAL_TRY(fetched_path(o->model_name, path, err));
    }
    if (access(path, R_OK) != 0) {
        shoal_status st = shoal_fail_errno(err, errno, "cannot read the model %s", path);
        if (o->model == NULL) {
            shoal_hint(err, "`shoal model fetch %s` brings it", o->model_name);
        }
        return st;
    }
    (void)snprintf(t->model_path, sizeof t->model_path, "%s", path);
    stem(o->model_name != NULL ? o->model_name : path, t->train.base_name,
         sizeof t->train.base_name);
    return shoal_model_file_sha256(path, t->base_sha256, err);
}

/* ---- the task ---------------------------------------------------------------------------------
 */

static shoal_status check_name(const char *name, shoal_error *err)
{
    static const char OK[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    if (name == NULL || *name == '\0' || strlen(name) >= SHOAL_LIMIT_NAME ||
        strspn(name, OK) != strlen(name)) {
        shoal_status st = shoal_fail(err, SHOAL_ERR_ARG, "a task needs a name");
        shoal_hint(err, "--name with 1 to 63 letters, digits, '-', '_' or '.'");
        return st;
    }
    return SHOAL_OK;
}

static shoal_status fill_train(const create_options *o, shoal_db_task *t, shoal_error *err)
{
    t->train.rank = (uint32_t)o->rank;
    t->train.alpha = o->alpha > 0 ? (float)o->alpha : 2.0F * (float)o->rank;
    t->train.lr = (float)o->lr;
    t->train.local_epochs = (uint32_t)o->epochs;
    t->train.local_steps = (uint32_t)o->steps;
    t->train.batch = (uint32_t)o->batch;
    t->train.ctx = (uint32_t)o->ctx;
    if (o->epochs == 0 && o->steps == 0) {
        return shoal_fail(err, SHOAL_ERR_ARG, "--local-epochs or --local-steps must be above 0");
    }
    if (!shoal_targets_parse(o->targets, &t->train.targets)) {
        shoal_status st = shoal_fail(err, SHOAL_ERR_ARG,
                                     "--targets \"%.60s\" is not a list of "
                                     "projections",
                                     o->targets);
        shoal_hint(err, "all, attn, mlp, or some of q,k,v,o,gate,up,down");
        return st;
    }
    return SHOAL_OK;
}

static shoal_status fill_cohort(const create_options *o, shoal_db_task *t, shoal_error *err)
{
    t->n_target = (uint32_t)o->clients;
    t->n_min =
        (uint32_t)(o->min_clients > 0 ? o->min_clients : shoal_sa_threshold((size_t)o->clients));
    if (t->n_min < SHOAL_LIMIT_COHORT_MIN) {
        t->n_min = SHOAL_LIMIT_COHORT_MIN;
    }
    if (t->n_min > t->n_target) {
        shoal_status st = shoal_fail(err, SHOAL_ERR_ARG, "--min-clients %u is above --clients %u",
                                     t->n_min, t->n_target);
        shoal_hint(err, "with fewer than %d devices nobody hides among the others",
                   SHOAL_LIMIT_COHORT_MIN);
        return st;
    }
    t->deadline_ms[SHOAL_SA_ADVERTISE] = (uint32_t)o->train_timeout_s * 1000;
    for (int i = SHOAL_SA_SHARES; i <= SHOAL_SA_UNMASK; i++) {
        t->deadline_ms[i] = (uint32_t)o->stage_timeout_s * 1000;
    }
    return SHOAL_OK;
}

static shoal_status no_graph(shoal_error *err, const char *what)
{
    (void)shoal_fail(err, SHOAL_ERR_ARG, "%s for so many devices under these assumptions", what);
    shoal_hint(err, "fewer --clients, or less of --corrupt, --dropout or --security-bits");
    return SHOAL_ERR_ARG;
}

/* Everyone next to everyone while that is cheap; then as few neighbours as keep PROTOCOL.md 7.3
 * whatever the roster's size, and a committee that does the same for 7.5. */
static shoal_status fill_graph(const create_options *o, shoal_db_task *t, shoal_error *err)
{
    shoal_sa_rules rules = shoal_sa_rules_default();
    size_t degree = 0, threshold = 0;
    rules.corrupt = o->corrupt / 100;
    rules.dropout = o->dropout / 100;
    rules.security_bits = (uint32_t)o->security_bits;
    t->committee = (uint32_t)shoal_sa_params_committee(&rules, t->n_target, SHOAL_LIMIT_COMMITTEE);
    if (t->n_target <= SHOAL_LIMIT_COMPLETE) {
        t->committee = 128; /* all of them */
        return SHOAL_OK;
    }
    if (t->committee == 0) return no_graph(err, "no committee is large enough");
    if (!shoal_sa_params_find_range(&rules, t->n_min, t->n_target, SHOAL_LIMIT_DEGREE, &degree,
                                    &threshold)) {
        return no_graph(err, "no graph has few enough neighbours");
    }
    t->degree = (uint32_t)degree;
    t->threshold = (uint32_t)threshold;
    return SHOAL_OK;
}

enum { NARROW_RING = 24 };

static const uint64_t ROTATION_AUTO = UINT64_MAX;

/* Updates are rotated where that buys something: in a narrow ring. */
static shoal_status fill_rotation(const create_options *o, shoal_codec *c, shoal_error *err)
{
    c->rotation = (uint32_t)o->rotation;
    if (o->rotation == ROTATION_AUTO) {
        c->rotation = c->ring_bits <= NARROW_RING ? shoal_rotation_fit(c->dim) : 0;
    }
    if (shoal_rotation_valid(c->rotation, c->dim)) return SHOAL_OK;
    (void)shoal_fail(err, SHOAL_ERR_ARG, "--rotation %u does not fit %u parameters", c->rotation,
                     c->dim);
    shoal_hint(err, "0, or an even number in %d..%d with 2^N at most the number of parameters",
               SHOAL_ROTATION_MIN, SHOAL_ROTATION_MAX);
    return SHOAL_ERR_ARG;
}

/* The finest scale under which no sum can wrap; the same check devices make. */
static shoal_status fill_codec(const create_options *o, shoal_db_task *t, shoal_error *err)
{
    t->codec.ring_bits = (uint32_t)o->ring_bits;
    t->codec.clip_norm = o->clip;
    t->codec.weight_max = (uint32_t)o->weight_max;
    t->codec.n_max = t->n_target;
    SHOAL_TRY(fill_rotation(o, &t->codec, err));
    SHOAL_TRY(shoal_codec_fit_scale(&t->codec, err));
    shoal_sa_descriptor d = {.round = 1,
                             .codec = t->codec,
                             .noise_den = 1,
                             .n_min = t->n_min,
                             .n_target = t->n_target,
                             .degree = t->degree,
                             .threshold = t->threshold,
                             .committee = t->committee};
    memcpy(d.deadline_ms, t->deadline_ms, sizeof d.deadline_ms);
    return shoal_sa_descriptor_check(&d, err);
}

static void count_task(void *ctx, const shoal_db_task *t)
{
    (void)t;
    ++*(size_t *)ctx;
}

static shoal_status check_room(shoal_deployment *d, shoal_error *err)
{
    size_t n = 0;
    SHOAL_TRY(shoal_db_tasks(d->db, count_task, &n, err));
    return n < SHOAL_LIMIT_TASKS
               ? SHOAL_OK
               : shoal_fail(err, SHOAL_ERR_TOO_LARGE, "a deployment holds at most %d tasks",
                            SHOAL_LIMIT_TASKS);
}

static shoal_status create(const create_options *o, shoal_deployment *d, const shoal_keyring *keys,
                           shoal_db_task *t, shoal_error *err)
{
    shoal_adapter_release first;
    SHOAL_TRY(check_room(d, err));
    SHOAL_TRY(check_name(o->name, err));
    (void)snprintf(t->name, sizeof t->name, "%s", o->name);
    t->state = SHOAL_TASK_RUNNING;
    t->rounds_total = o->rounds;
    t->created_s = (int64_t)time(NULL);
    SHOAL_TRY(shoal_random(t->id, sizeof t->id, err));
    SHOAL_TRY(fill_train(o, t, err));
    SHOAL_TRY(fill_cohort(o, t, err));
    SHOAL_TRY(fill_graph(o, t, err));
    SHOAL_TRY(find_model(o, t, err));
    SHOAL_TRY(shoal_publish_first(d->dir, keys->task_key, t, o->seed, &first, err));
    SHOAL_TRY(fill_codec(o, t, err));
    return shoal_db_task_add(d->db, t, &first, err);
}

static void tell(const create_options *o, const shoal_db_task *t)
{
    char id[2 * SHOAL_SA_TASK_BYTES + 1], base[65];
    shoal_hex_encode(t->id, sizeof t->id, id);
    shoal_hex_encode(t->base_sha256, 32, base);
    if (o->common.json) {
        json_t *j = json_pack(
            "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:i, s:I, s:I, s:I}", "task", t->name, "id", id,
            "base", t->train.base_name, "base_sha256", base, "parameters", (json_int_t)t->codec.dim,
            "clients", (json_int_t)t->n_target, "min_clients", (json_int_t)t->n_min, "scale_log2",
            (int)t->codec.scale_log2, "rotation", (json_int_t)t->codec.rotation, "neighbours",
            (json_int_t)t->degree, "threshold", (json_int_t)t->threshold);
        (void)json_dumpf(j, stdout, JSON_COMPACT);
        (void)putchar('\n');
        json_decref(j);
        return;
    }
    shoal_term_note("created the task %s: %s, %u parameters, %u devices a round (at least %u)",
                    t->name, t->train.base_name, t->codec.dim, t->n_target, t->n_min);
    if (t->degree != 0) {
        shoal_term_note("each shares its masks with %u others, %u of which open a secret",
                        t->degree, t->threshold);
    }
    shoal_term_note("an update is clipped to norm %g and rounded to steps of 2^%d",
                    t->codec.clip_norm, -t->codec.scale_log2);
}

static int run_create(const create_options *o)
{
    shoal_error err = {0};
    shoal_deployment d = {0};
    shoal_keyring keys = {0};
    shoal_db_task t = {0};
    shoal_status st = shoal_deployment_open(&d, cmd_dir(&o->common), &err);
    if (st == SHOAL_OK) {
        st = shoal_keyring_open(&keys, d.dir, &err);
    }
    if (st == SHOAL_OK) {
        st = create(o, &d, &keys, &t, &err);
    }
    if (st == SHOAL_OK) {
        tell(o, &t);
    }
    shoal_keyring_close(&keys);
    shoal_deployment_close(&d);
    return shoal_command_end(st, &err);
}

/* The option tables; their values point into the options. */
typedef struct create_tables {
    shoal_option common[CMD_COMMON_N];
    shoal_option what[4];
    shoal_option adapter[4];
    shoal_option train[5];
    shoal_option rounds[8];
    shoal_option trust[3];
} create_tables;

#define ROW(macro, ...) (shoal_option) macro(__VA_ARGS__)

static void fill_what(create_options *o, create_tables *t)
{
    cmd_common_table(&o->common, t->common);
    t->what[0] = ROW(SHOAL_STRING, "name", 'n', &o->name, "NAME", "name of the task (needed)");
    t->what[1] = ROW(SHOAL_STRING, "model", 'm', &o->model, "FILE", "base model, GGUF");
    t->what[2] = ROW(SHOAL_STRING, "model-name", 0, &o->model_name, "NAME",
                     "a fetched model; with --model: the name devices know it by");
    t->what[3] = ROW(SHOAL_COUNT, "rounds", 0, &o->rounds, "K",
                     "rounds; 0: without end (default 10)", 0, 1e9);
    t->adapter[0] = ROW(SHOAL_COUNT, "rank", 'r', &o->rank, "R", "rank (default 8)", 1, 256);
    t->adapter[1] =
        ROW(SHOAL_NUMBER, "alpha", 0, &o->alpha, "A", "alpha (default twice the rank)", 0, 1e6);
    t->adapter[2] = ROW(SHOAL_STRING, "targets", 0, &o->targets, "LIST",
                        "projections: all, attn, mlp, or q,k,v,o,gate,up,down (default q,v)");
    t->adapter[3] = ROW(SHOAL_COUNT, "seed", 0, &o->seed, "S",
                        "of the adapter's first version (default 1)", 0, 1e15);
}

static void fill_how(create_options *o, create_tables *t)
{
    t->train[0] = ROW(SHOAL_NUMBER, "lr", 0, &o->lr, "LR",
                      "learning rate on the device (default 0.001)", 1e-9, 1);
    t->train[1] = ROW(SHOAL_COUNT, "local-epochs", 0, &o->epochs, "N",
                      "passes over its data (default 1)", 0, 1000);
    t->train[2] = ROW(SHOAL_COUNT, "local-steps", 0, &o->steps, "N",
                      "at most so many steps (default 0: no limit)", 0, 1e6);
    t->train[3] =
        ROW(SHOAL_COUNT, "batch", 0, &o->batch, "N", "sequences a step (default 4)", 1, 4096);
    t->train[4] =
        ROW(SHOAL_COUNT, "ctx", 0, &o->ctx, "N", "tokens a sequence (default 256)", 8, 1e6);
    t->rounds[0] =
        ROW(SHOAL_COUNT, "clients", 'c', &o->clients, "N", "devices a round (default 10)",
            SHOAL_LIMIT_COHORT_MIN, SHOAL_LIMIT_COHORT_MAX);
    t->rounds[1] = ROW(SHOAL_COUNT, "min-clients", 0, &o->min_clients, "M",
                       "fewest devices that may be summed (default two thirds and one)",
                       SHOAL_LIMIT_COHORT_MIN, SHOAL_LIMIT_COHORT_MAX);
    t->rounds[2] = ROW(SHOAL_NUMBER, "clip", 0, &o->clip, "C",
                       "L2 norm an update is clipped to (default 10)", 1e-6, 1e6);
    t->rounds[3] = ROW(SHOAL_COUNT, "weight-max", 0, &o->weight_max, "W",
                       "largest weight (examples) of a device (default 1024)", 1, 1 << 20);
    t->rounds[4] =
        ROW(SHOAL_COUNT, "ring-bits", 0, &o->ring_bits, "BITS",
            "bits a number on the wire (default 32)", SHOAL_LIMIT_RING_MIN, SHOAL_LIMIT_RING_MAX);
    t->rounds[5] = ROW(SHOAL_COUNT, "rotation", 0, &o->rotation, "N",
                       "rotate updates in blocks of 2^N, 0: not (default: for rings up to 24 bits)",
                       0, SHOAL_ROTATION_MAX);
    t->rounds[6] = ROW(SHOAL_COUNT, "train-timeout", 0, &o->train_timeout_s, "S",
                       "seconds a round waits for trained devices (default 600)", 1,
                       SHOAL_LIMIT_STAGE_MS / 1000);
    t->rounds[7] =
        ROW(SHOAL_COUNT, "stage-timeout", 0, &o->stage_timeout_s, "S",
            "seconds for each stage of the summing (default 60)", 1, SHOAL_LIMIT_STAGE_MS / 1000);
}

static void fill_trust(create_options *o, create_tables *t)
{
    t->trust[0] =
        ROW(SHOAL_NUMBER, "corrupt", 0, &o->corrupt, "PERCENT",
            "devices on the server's side, at most (default 5, which devices demand)", 0, 45);
    t->trust[1] = ROW(SHOAL_NUMBER, "dropout", 0, &o->dropout, "PERCENT",
                      "devices that leave during the summing, at most (default 10)", 0, 45);
    t->trust[2] =
        ROW(SHOAL_COUNT, "security-bits", 0, &o->security_bits, "BITS",
            "a graph fails with 2^-BITS (default 40; 80 if the server may try rosters)", 20, 120);
}

int cmd_task_create(int argc, char **argv)
{
    create_options o = {.targets = "q,v",
                        .rank = 8,
                        .rounds = 10,
                        .clients = 10,
                        .epochs = 1,
                        .batch = 4,
                        .ctx = 256,
                        .weight_max = 1024,
                        .ring_bits = 32,
                        .rotation = UINT64_MAX, /* ROTATION_AUTO */
                        .train_timeout_s = 600,
                        .stage_timeout_s = 60,
                        .seed = 1,
                        .lr = 1e-3,
                        .clip = 10,
                        .corrupt = 5,
                        .dropout = 10,
                        .security_bits = 40};
    int code = 0;
    create_tables t;
    fill_what(&o, &t);
    fill_how(&o, &t);
    fill_trust(&o, &t);
    const shoal_usage usage = {
        "shoal-aggregator task create --name NAME --model FILE [options]",
        "Makes a task and version 0 of its adapter. Devices that joined find it by themselves;\n"
        "each round trains on them, sums their clipped updates without seeing any of them, and\n"
        "gives a new signed version.",
        "shoal-aggregator task create --name home --model-name smollm2-135m --rounds 5 --clients 8",
        0, 0};
    const shoal_option_group groups[] = {
        {"common", t.common, SHOAL_OPTION_COUNT_OF(t.common)},
        {"task", t.what, SHOAL_OPTION_COUNT_OF(t.what)},
        {"adapter", t.adapter, SHOAL_OPTION_COUNT_OF(t.adapter)},
        {"training", t.train, SHOAL_OPTION_COUNT_OF(t.train)},
        {"rounds", t.rounds, SHOAL_OPTION_COUNT_OF(t.rounds)},
        {"over 64 devices a round", t.trust, SHOAL_OPTION_COUNT_OF(t.trust)}};
    if (!shoal_command_begin(&usage, groups, 6, argc, argv, NULL, &code)) {
        return code;
    }
    return run_create(&o);
}
