/* service.c - opening, running and stopping an aggregator. */
#include "aggregator/service.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "aggregator/deployment.h"
#include "aggregator/open_files.h"
#include "aggregator/service_internal.h"
#include "kernels/base/cpu.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

enum {
    TICK_MS = 2000,
    GRACE_MS = 3000,
    IDLE_MS = 10 * 60 * 1000,
    RESUME_S = 6 * 3600,
    BODY_BESIDES_UPLOADS = 64 << 20
};

/* ---- cohorts ----------------------------------------------------------------------------------
 */

shoal_cohort *service_cohort_of_task(shoal_service *s, const uint8_t task_id[SHOAL_SA_TASK_BYTES])
{
    for (size_t i = 0; i < s->n_cohorts; i++) {
        if (memcmp(shoal_cohort_record(s->cohorts[i])->task_id, task_id, SHOAL_SA_TASK_BYTES) ==
            0) {
            return s->cohorts[i];
        }
    }
    return NULL;
}

shoal_cohort *service_cohort_by_session(shoal_service *s,
                                        const uint8_t session_id[SHOAL_SA_SESSION_BYTES])
{
    for (size_t i = 0; i < s->n_cohorts; i++) {
        if (memcmp(shoal_cohort_record(s->cohorts[i])->session_id, session_id,
                   SHOAL_SA_SESSION_BYTES) == 0) {
            return s->cohorts[i];
        }
    }
    return NULL;
}

static void drop_cohort(shoal_service *s, size_t i, const char *reason)
{
    shoal_cohort *c = s->cohorts[i];
    s->cohorts[i] = s->cohorts[--s->n_cohorts];
    shoal_cohort_close(c, reason);
}

shoal_status service_open_cohort(shoal_service *s, const shoal_db_task *task, shoal_cohort **out,
                                 shoal_error *err)
{
    SHOAL_TRY(shoal_cohort_open(out, &s->env, task, err));
    for (size_t i = 0; i < s->n_cohorts; i++) {
        if (memcmp(shoal_cohort_record(s->cohorts[i])->task_id, task->id, sizeof task->id) == 0) {
            drop_cohort(s, i, "another session took its place");
            break;
        }
    }
    if (s->n_cohorts == SHOAL_LIMIT_TASKS) { /* task create keeps to the limit */
        drop_cohort(s, 0, "too many tasks");
    }
    s->cohorts[s->n_cohorts++] = *out;
    return SHOAL_OK;
}

static void write_seen(shoal_service *s)
{
    shoal_error err = {0};
    if (shoal_seen_flush(s->seen, s->db, (int64_t)time(NULL), &err) != SHOAL_OK) {
        shoal_log(SHOAL_LOG_WARN, "api", "last_seen not recorded: %s", err.msg);
    }
}

/* The admin commands write into the database; here their wishes are noticed. */
static void on_tick(void *ctx)
{
    shoal_service *s = ctx;
    admission_look_for_rotation(s);
    write_seen(s);
    for (size_t i = s->n_cohorts; i > 0; i--) {
        const shoal_db_round *rec = shoal_cohort_record(s->cohorts[i - 1]);
        shoal_db_task t;
        if (rec->state == SHOAL_ROUND_OPEN &&
            shoal_db_task_by_id(s->db, rec->task_id, &t, NULL) == SHOAL_OK &&
            t.state != SHOAL_TASK_RUNNING) {
            drop_cohort(s, i - 1, "the task was stopped");
        }
    }
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static shoal_status open_files(shoal_service *s, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    int64_t now_s = (int64_t)time(NULL);
    size_t n = 0;
    SHOAL_TRY(shoal_config_load(&s->config, s->dir, err));
    SHOAL_TRY(shoal_open_files_reserve(s->config.max_connections, err));
    SHOAL_TRY(shoal_deployment_ca(&s->config, &s->ca_fd, err));
    SHOAL_TRY(shoal_deployment_certify(s->dir, &s->config, s->ca_fd, now_s, &s->keys, err));
    SHOAL_TRY(shoal_dir_path(s->dir, "blobs", s->scratch, err));
    SHOAL_TRY(shoal_dir_path(s->dir, "shoal.db", path, err));
    SHOAL_TRY(shoal_db_open(&s->db, path, false, err));
    SHOAL_TRY(shoal_db_rounds_abandon(s->db, "the aggregator was restarted in the middle", now_s,
                                      &n, err));
    if (n > 0) {
        shoal_log(SHOAL_LOG_WARN, "round", "abandoned n=%zu reason=restart", n);
    }
    return SHOAL_OK;
}

static shoal_status open_tls(shoal_service *s, shoal_error *err)
{
    shoal_buf key = shoal_buf_init(4096);
    shoal_status st = shoal_key_encode_der(s->keys.server_key, &key, err);
    if (st == SHOAL_OK) {
        shoal_tls_options opt = {.cert_der = s->keys.server.data,
                                 .cert_len = s->keys.server.len,
                                 .key_der = key.data,
                                 .key_len = key.len,
                                 .ca_der = s->keys.ca.data,
                                 .ca_len = s->keys.ca.len,
                                 .client_auth = SHOAL_TLS_CLIENT_OPTIONAL,
                                 .resume_s = RESUME_S,
                                 .resume_sessions = s->config.max_connections};
        st = shoal_tls_context_open(&s->tls, &opt, err);
    }
    shoal_buf_wipe(&key);
    return st;
}

static shoal_status open_workers(shoal_service *s, const shoal_service_options *opt,
                                 shoal_error *err)
{
    SHOAL_TRY(shoal_pool_open(&s->pool, opt->threads, err));
    SHOAL_TRY(shoal_exec_open(&s->exec, s->pool, opt->cpu_mask, false, err));
    SHOAL_TRY(shoal_loop_open(&s->loop, err));
    SHOAL_TRY(shoal_lane_open(&s->lane, s->loop, err));
    SHOAL_TRY(shoal_blob_cache_open(&s->blobs, s->loop, s->dir, err));
    SHOAL_TRY(shoal_ca_link_open(&s->ca, s->loop, s->ca_fd,
                                 s->config.ca_socket[0] != '\0' ? s->config.ca_socket : NULL, err));
    s->ca_fd = -1;
    s->seen = shoal_seen_open();
    s->quota = shoal_quota_open(s->config.sessions_per_day);
    if (s->seen == NULL || s->quota == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory");
    }
    SHOAL_TRY(shoal_timer_open(&s->tick, s->loop, on_tick, s, err));
    shoal_timer_start(s->tick, TICK_MS, TICK_MS);
    s->env = (shoal_cohort_env){.loop = s->loop,
                                .lane = s->lane,
                                .db = s->db,
                                .dir = s->dir,
                                .scratch = s->scratch,
                                .keys = &s->keys,
                                .exec = &s->exec,
                                .quota = s->quota,
                                .upload_max = (size_t)s->config.upload_memory_mb * 1000 * 1000};
    return SHOAL_OK;
}

/* `invite` runs in another process and has to know the port. */
static shoal_status announce(shoal_service *s, shoal_error *err)
{
    char text[8];
    (void)snprintf(text, sizeof text, "%u", (unsigned)shoal_service_port(s));
    return shoal_db_fact_set(s->db, "port", text, err);
}

static shoal_status open_server(shoal_service *s, const shoal_service_options *opt,
                                shoal_error *err)
{
    uint64_t seed = 0;
    shoal_http_limits lim = shoal_http_limits_default();
    lim.max_connections = s->config.max_connections;
    lim.max_connections_per_address = s->config.max_connections_per_address;
    lim.idle_timeout_ms = IDLE_MS;    /* idle ones are cheap, and make room when there is need */
    lim.write_high_water = 64 * 1024; /* what one download may take of a turn of the loop */
    lim.max_body_bytes = s->env.upload_max + BODY_BESIDES_UPLOADS;
    SHOAL_TRY(shoal_random(&seed, sizeof seed, err));
    (void)snprintf(s->host, sizeof s->host, "%s",
                   opt->host != NULL ? opt->host : s->config.listen_host);
    shoal_http_options h = {.host = s->host,
                            .port = opt->port < 0 ? s->config.listen_port : (uint16_t)opt->port,
                            .tls = s->tls,
                            .limits = &lim,
                            .seed = seed,
                            .handler = routes_handler(s)};
    SHOAL_TRY(shoal_http_server_open(&s->http, s->loop, &h, err));
    return announce(s, err);
}

static void on_signal(void *ctx)
{
    shoal_service_stop(ctx);
}

static shoal_status open_all(shoal_service *s, const shoal_service_options *opt, shoal_error *err)
{
    SHOAL_TRY(open_files(s, err));
    SHOAL_TRY(open_tls(s, err));
    SHOAL_TRY(open_workers(s, opt, err));
    SHOAL_TRY(open_server(s, opt, err));
    if (opt->signals) {
        SHOAL_TRY(shoal_loop_on_signal(s->loop, SIGINT, on_signal, s, err));
        SHOAL_TRY(shoal_loop_on_signal(s->loop, SIGTERM, on_signal, s, err));
    }
    return SHOAL_OK;
}

shoal_status shoal_service_open(shoal_service **out, const char *dir,
                                const shoal_service_options *opt, shoal_error *err)
{
    *out = NULL;
    shoal_service *s = shoal_calloc(1, sizeof *s);
    if (s == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory");
    }
    (void)snprintf(s->dir, sizeof s->dir, "%s", dir);
    s->ca_fd = opt->ca_fd;
    shoal_status st = open_all(s, opt, err);
    if (st != SHOAL_OK) {
        shoal_service_close(s);
        return st;
    }
    *out = s;
    return SHOAL_OK;
}

uint16_t shoal_service_port(const shoal_service *s)
{
    return shoal_http_server_port(s->http);
}

const char *shoal_service_host(const shoal_service *s)
{
    return s->host;
}

/* ---- running and stopping ---------------------------------------------------------------------
 */

static void on_stopped(void *ctx)
{
    shoal_loop_stop(((shoal_service *)ctx)->loop);
}

/* New requests are refused, devices that wait are told, the sessions are recorded; then the
 * connections may end. */
static void begin_stop(void *ctx)
{
    shoal_service *s = ctx;
    if (s->stopping) {
        return;
    }
    s->stopping = true;
    while (s->n_cohorts > 0) {
        drop_cohort(s, s->n_cohorts - 1, "the aggregator was stopped");
    }
    for (size_t i = shoal_seen_pending(s->seen) / SHOAL_SEEN_BATCH + 1; i > 0; i--) {
        write_seen(s);
    }
    shoal_http_server_stop(s->http, GRACE_MS, on_stopped, s);
}

void shoal_service_run(shoal_service *s)
{
    shoal_loop_run(s->loop);
}

void shoal_service_stop(shoal_service *s)
{
    (void)shoal_loop_post(s->loop, begin_stop, s);
}

void shoal_service_close(shoal_service *s)
{
    if (s == NULL) {
        return;
    }
    while (s->n_cohorts > 0) {
        drop_cohort(s, s->n_cohorts - 1, "the aggregator was stopped");
    }
    shoal_http_server_close(s->http);
    shoal_ca_link_close(s->ca);
    if (s->ca_fd >= 0) {
        (void)close(s->ca_fd);
    }
    shoal_timer_close(s->tick);
    if (s->loop != NULL) {
        shoal_loop_close(s->loop); /* waits for the lane's last jobs */
    }
    shoal_lane_close(s->lane);
    shoal_seen_close(s->seen);
    shoal_quota_close(s->quota);
    shoal_blob_cache_close(s->blobs);
    shoal_exec_close(&s->exec);
    shoal_pool_close(s->pool);
    shoal_tls_context_close(s->tls);
    shoal_db_close(s->db);
    shoal_keyring_close(&s->keys);
    shoal_free(s);
}
