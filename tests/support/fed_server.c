/* fed_server.c - see fed_server.h. */
#include "tests/support/fed_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "aggregator/publish.h"
#include "aggregator/signer.h"
#include "lora/train/adapter.h"
#include "tests/support/tiny_model.h"

static void ok(shoal_status st, const shoal_error *err)
{
    if (st != SHOAL_OK) {
        fail_msg("%s: %s", shoal_status_text(st), err->msg);
    }
}

static void make_task(fed_server *s, const fed_task *t)
{
    shoal_error err = {0};
    shoal_adapter_release first;
    shoal_db_task *k = &s->task;
    *k = (shoal_db_task){
        .name = "test",
        .state = SHOAL_TASK_RUNNING,
        .train = {.rank = t->rank > 0 ? t->rank : 2,
                  .alpha = 4,
                  .targets = t->targets > 0 ? t->targets : 1u << SHOAL_PROJ_Q | 1u << SHOAL_PROJ_V,
                  .lr = 1e-3F,
                  .local_epochs = 1,
                  .batch = 1,
                  .ctx = 32,
                  .base_name = "tiny"},
        .codec = {.ring_bits = 32, .clip_norm = 4, .weight_max = 100, .n_max = t->n_target},
        .n_min = t->n_min,
        .n_target = t->n_target,
        .committee = 128,
        .deadline_ms = {t->gather_ms, t->stage_ms, t->stage_ms, t->stage_ms, t->stage_ms,
                        t->stage_ms},
        .rounds_total = t->rounds,
        .created_s = (int64_t)time(NULL)};
    (void)snprintf(k->model_path, sizeof k->model_path, "%s", s->model);
    ok(shoal_random(k->id, sizeof k->id, &err), &err);
    ok(shoal_model_file_sha256(s->model, k->base_sha256, &err), &err);
    ok(shoal_publish_first(s->deployment_dir, s->keys.task_key, k, 7, &first, &err), &err);
    ok(shoal_codec_fit_scale(&k->codec, &err), &err);
    ok(shoal_db_task_add(s->d.db, k, &first, &err), &err);
}

static void *serve(void *ctx)
{
    shoal_service_run(ctx);
    return NULL;
}

static void *sign(void *ctx)
{
    fed_server *s = ctx;
    shoal_error err = {0};
    shoal_signer_serve_options o = {.peer = s->ca_fd, .listener = -1};
    ok(shoal_signer_serve(s->ca, &o, &err), &err);
    return NULL;
}

/* The CA is a thread here; as a process it is tested by e2e/enrol.sh. */
static int start_ca(fed_server *s)
{
    shoal_error err = {0};
    int ends[2];
    ok(shoal_ca_open(&s->ca, s->deployment_dir, &err), &err);
    ok(shoal_signer_pair(ends, &err), &err);
    s->ca_fd = ends[1];
    assert_int_equal(pthread_create(&s->ca_thread, NULL, sign, s), 0);
    return ends[0];
}

static void stop_ca(fed_server *s)
{
    assert_int_equal(pthread_join(s->ca_thread, NULL), 0); /* its peer is closed */
    (void)close(s->ca_fd);
    shoal_ca_close(s->ca);
}

static void start(fed_server *s)
{
    shoal_error err = {0};
    shoal_service_options opt = {
        .port = 0, .threads = 2, .cpu_mask = 0x7fffffff, .ca_fd = start_ca(s)};
    ok(shoal_service_open(&s->service, s->deployment_dir, &opt, &err), &err);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s->service), 0);
}

static void stop(fed_server *s)
{
    shoal_service_stop(s->service);
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    shoal_service_close(s->service);
    stop_ca(s);
}

void fed_server_open(fed_server *s, const fed_task *t)
{
    shoal_error err = {0};
    shoal_config_file c = shoal_config_default();
    int64_t now_s = (int64_t)time(NULL);
    memset(s, 0, sizeof *s);
    temp_dir_make(s->dir);
    (void)snprintf(s->deployment_dir, sizeof s->deployment_dir, "%s/agg", s->dir);
    (void)snprintf(s->model, sizeof s->model, "%s/tiny.gguf", s->dir);
    c.listen_port = 0;
    c.poll_ms = 100;
    c.sessions_per_day = t->sessions_per_day;
    ok(shoal_tiny_model_write(s->model, 1, NULL, &err), &err);
    shoal_ca_settings ca = shoal_ca_settings_default();
    ca.certs_per_device_hour = 2;
    ok(shoal_deployment_create(s->deployment_dir, &c, &ca, now_s, &err), &err);
    ok(shoal_deployment_open(&s->d, s->deployment_dir, &err), &err);
    ok(shoal_keyring_open(&s->keys, s->deployment_dir, &err), &err);
    make_task(s, t);
    start(s);
}

void fed_server_close(fed_server *s)
{
    stop(s);
    shoal_keyring_close(&s->keys);
    shoal_deployment_close(&s->d);
    temp_dir_remove(s->dir);
}

void fed_server_restart(fed_server *s)
{
    stop(s);
    start(s);
}

void fed_server_invite(fed_server *s, char out[SHOAL_LIMIT_LINK])
{
    shoal_error err = {0};
    shoal_join_link l;
    shoal_buf text = shoal_buf_init(SHOAL_LIMIT_LINK);
    ok(shoal_deployment_invite(&s->d, &s->keys, (int64_t)time(NULL), 60, &l, &err), &err);
    ok(shoal_join_link_encode(&l, &text, &err), &err);
    (void)snprintf(out, SHOAL_LIMIT_LINK, "%s", shoal_buf_str(&text));
    shoal_buf_clear(&text);
}
