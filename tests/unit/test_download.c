/* test_download.c - adapters from the real service: in parts over a line that breaks, as deltas,
 * and what a device does with parts and deltas that are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "aggregator/blob.h"
#include "client/download.h"
#include "kernels/base/file.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "proto/delta.h"
#include "tests/support/fed_client.h"
#include "tests/support/fed_fleet.h"

enum { N = FED_FLEET, CHUNK = SHOAL_LIMIT_CHUNK };

static const fed_last ALL[N] = {FED_FINISHES, FED_FINISHES, FED_FINISHES, FED_FINISHES};

/* A service with versions 0 and 1 of half a megabyte, and a device that wants them. */
typedef struct fixture {
    fed_fleet fleet;
    fed_client client;
    shoal_api api;
    shoal_db_release v[2];
    shoal_buf file[2];
} fixture;

static int set_up(void **state)
{
    fixture *f = test_calloc(1, sizeof *f);
    const fed_task t = {.n_min = 3,
                        .n_target = N,
                        .gather_ms = 10000,
                        .stage_ms = 8000,
                        .rank = 64,
                        .targets = 0x7f};
    fed_fleet_open(&f->fleet, &t);
    fed_fleet_round(&f->fleet, ALL);
    for (uint64_t v = 0; v < 2; v++) {
        assert_int_equal(
            shoal_db_release_get(f->fleet.server.d.db, f->fleet.server.task.id, v, &f->v[v], NULL),
            SHOAL_OK);
        assert_int_equal(
            shoal_blob_get(f->fleet.server.deployment_dir, f->v[v].r.sha256, &f->file[v], NULL),
            SHOAL_OK);
    }
    fed_client_open(&f->client, &f->fleet.server, &f->fleet.devices[0]);
    f->api = (shoal_api){.net = fed_client_net(&f->client)};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    shoal_net_close(f->api.net);
    fed_client_close(&f->client);
    shoal_buf_clear(&f->file[0]);
    shoal_buf_clear(&f->file[1]);
    fed_fleet_close(&f->fleet);
    test_free(f);
    return 0;
}

static shoal_status fetch(fixture *f, int v, bool held, shoal_download_way *way)
{
    shoal_buf out;
    shoal_download d = {.api = &f->api,
                        .store = &f->client.store,
                        .dir = "test",
                        .release = &f->v[v].r,
                        .held = held ? &f->file[v - 1] : NULL};
    shoal_status st = shoal_download_release(&d, &out, way, NULL);
    if (st == SHOAL_OK) {
        assert_int_equal(out.len, f->file[v].len);
        assert_memory_equal(out.data, f->file[v].data, out.len);
    } else {
        assert_int_equal(out.len, 0);
    }
    shoal_buf_clear(&out);
    return st;
}

static void part_path(const fixture *f, int v, const char *suffix, char out[SHOAL_PATH_MAX])
{
    char hex[65];
    shoal_hex_encode(f->v[v].r.sha256, 32, hex);
    assert_int_equal(
        shoal_store_path(&f->client.store, out, NULL, "adapters/test/%.16s%s.part", hex, suffix),
        SHOAL_OK);
}

/* Spec 3.7: behind a break, and behind a restart of the device, only what is missing is fetched. */
static void a_download_goes_on_where_it_stopped(void **state)
{
    fixture *f = *state;
    char part[SHOAL_PATH_MAX];
    shoal_download_way way;
    size_t n = f->file[0].len;
    part_path(f, 0, "", part);
    assert_true(n > 2 * CHUNK);
    atomic_store(&f->client.proxy.cut_at_down, CHUNK + CHUNK / 2);
    shoal_net_close(f->api.net);
    f->api.net = fed_client_net(&f->client);
    assert_int_equal(fetch(f, 0, false, &way), SHOAL_ERR_IO);
    assert_int_equal(access(part, F_OK), 0);
    assert_int_equal(fetch(f, 0, false, &way), SHOAL_OK);
    unsigned long long once = atomic_load(&f->client.proxy.down);
    print_message("%llu bytes down for a file of %zu\n", once, n);
    assert_true(once >= n && once <= n + CHUNK + 16000);
    assert_int_not_equal(access(part, F_OK), 0);
    /* A restarted device finds a part of any length. */
    static const size_t cuts[] = {1, CHUNK, CHUNK + 12345, 2 * CHUNK};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        assert_int_equal(shoal_file_write_atomic(part, f->file[0].data, cuts[i], 0600, NULL),
                         SHOAL_OK);
        unsigned long long before = atomic_load(&f->client.proxy.down);
        assert_int_equal(fetch(f, 0, false, &way), SHOAL_OK);
        assert_int_equal(way, SHOAL_DOWNLOAD_WHOLE);
        assert_true(atomic_load(&f->client.proxy.down) - before <= n - cuts[i] + 16000);
        assert_int_not_equal(access(part, F_OK), 0);
    }
}

/* Spec 4.4: a part that is not of the signed file costs a second start, never a wrong file. */
static void a_spoilt_part_is_thrown_away(void **state)
{
    fixture *f = *state;
    char part[SHOAL_PATH_MAX], stale[SHOAL_PATH_MAX];
    shoal_download_way way;
    part_path(f, 0, "", part);
    assert_int_equal(shoal_store_path(&f->client.store, stale, NULL, "adapters/test"), SHOAL_OK);
    assert_int_equal(shoal_store_mkdir(stale, NULL), SHOAL_OK);
    assert_int_equal(shoal_file_write_atomic(part, f->file[1].data, CHUNK + 1000, 0600, NULL),
                     SHOAL_OK);
    part_path(f, 1, "", stale); /* of a version nobody waits for */
    assert_int_equal(shoal_file_write_atomic(stale, "x", 1, 0600, NULL), SHOAL_OK);
    assert_int_equal(fetch(f, 0, false, &way), SHOAL_OK);
    assert_int_not_equal(access(part, F_OK), 0);
    assert_int_not_equal(access(stale, F_OK), 0);
}

/* Spec 3.8 */
static void the_next_version_comes_as_a_delta(void **state)
{
    fixture *f = *state;
    shoal_download_way way;
    if (!shoal_delta_available()) skip();
    unsigned long long before = atomic_load(&f->client.proxy.down);
    assert_int_equal(fetch(f, 1, true, &way), SHOAL_OK);
    assert_int_equal(way, SHOAL_DOWNLOAD_DELTA);
    unsigned long long down = atomic_load(&f->client.proxy.down) - before;
    print_message("delta: %llu bytes down for a file of %zu\n", down, f->file[1].len);
    assert_true(down < f->file[1].len * 8 / 10);
    assert_int_equal(fetch(f, 1, false, &way), SHOAL_OK);
    assert_int_equal(way, SHOAL_DOWNLOAD_WHOLE);
}

static void delta_path(const fixture *f, char out[SHOAL_PATH_MAX])
{
    char from[65], to[65];
    shoal_hex_encode(f->v[0].r.sha256, 32, from);
    shoal_hex_encode(f->v[1].r.sha256, 32, to);
    (void)snprintf(out, SHOAL_PATH_MAX, "%s/blobs/%s.%s", f->fleet.server.deployment_dir, to, from);
}

/* Spec 3.8.3: whatever is wrong with a delta, the whole file is fetched, and checked. */
static void a_bad_delta_means_the_whole_file(void **state)
{
    fixture *f = *state;
    char path[SHOAL_PATH_MAX], part[SHOAL_PATH_MAX];
    shoal_buf good, bad = shoal_buf_init(1 << 20);
    shoal_download_way way;
    if (!shoal_delta_available()) skip();
    delta_path(f, path);
    part_path(f, 1, ".delta", part);
    assert_int_equal(shoal_file_read(path, 1 << 20, &good, NULL), SHOAL_OK);
    static const size_t places[] = {0, 5, 8, 12, 44, 83, 88, 20000, CHUNK + 7};
    for (size_t i = 0; i <= sizeof places / sizeof places[0]; i++) {
        shoal_buf_clear(&bad);
        assert_true(shoal_buf_put(&bad, good.data, good.len));
        if (i == sizeof places / sizeof places[0])
            bad.len = 60; /* cut short */
        else
            bad.data[places[i]] ^= 0x81;
        assert_int_equal(shoal_file_write_atomic(path, bad.data, bad.len, 0644, NULL), SHOAL_OK);
        fed_server_restart(&f->fleet.server); /* it keeps files in memory */
        shoal_net_close(f->api.net);
        fed_client_close(&f->client);
        memset(&f->client, 0, sizeof f->client);
        fed_client_open(&f->client, &f->fleet.server, &f->fleet.devices[0]);
        f->api.net = fed_client_net(&f->client);
        assert_int_equal(fetch(f, 1, true, &way), SHOAL_OK);
        if (way != SHOAL_DOWNLOAD_WHOLE) fail_msg("the delta spoilt at place %zu was used", i);
        assert_int_not_equal(access(part, F_OK), 0);
    }
    shoal_buf_clear(&good);
    shoal_buf_clear(&bad);
}

/* Spec 3.7: the server's side of a range. */
static void ranges_of_the_server(void **state)
{
    fixture *f = *state;
    char hex[65], path[160];
    shoal_error err = {0};
    shoal_buf out = shoal_buf_init(1 << 20);
    size_t n = f->file[0].len;
    shoal_hex_encode(f->v[0].r.sha256, 32, hex);
    (void)snprintf(path, sizeof path, "/v1/blobs/%s", hex);
    assert_int_equal(shoal_api_range(&f->api, path, 100, 50, &out, &err), SHOAL_OK);
    assert_int_equal(out.len, 50);
    assert_memory_equal(out.data, f->file[0].data + 100, 50);
    out.len = 0;
    assert_int_equal(shoal_api_range(&f->api, path, n - 10, 50, &out, &err), SHOAL_OK);
    assert_int_equal(out.len, 10);
    out.len = 0;
    assert_int_equal(shoal_api_range(&f->api, path, n, 50, &out, &err), SHOAL_OK);
    assert_int_equal(shoal_api_range(&f->api, path, UINT64_MAX - 99, 50, &out, &err), SHOAL_OK);
    assert_int_equal(out.len, 0);
    (void)snprintf(path, sizeof path, "/v1/deltas/%s/%s", hex, hex);
    assert_int_equal(shoal_api_range(&f->api, path, 0, 50, &out, &err), SHOAL_ERR_NOT_FOUND);
    shoal_buf_clear(&out);
}

int main(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    shoal_log_set(SHOAL_LOG_ERROR, NULL, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_download_goes_on_where_it_stopped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_spoilt_part_is_thrown_away, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_next_version_comes_as_a_delta, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bad_delta_means_the_whole_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ranges_of_the_server, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
