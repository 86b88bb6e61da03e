/* test_prompt_cache.c - restored states have the bits of read ones; prefixes are found to the
 * token; damage, other identities, eviction, other processes and full disks are misses and nothing
 * worse. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/base/cpu.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "lora/infer/cache_dir.h"
#include "lora/infer/prompt_cache.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_session.h"

enum { N = 300, B = SHOAL_PROMPT_BLOCK };
#define ROOM ((uint64_t)64 << 20)

static char dir[TEMP_DIR_MAX];
static const shoal_prompt_key KEY = {.model = {1, 2, 3}};

static int make_dir(void **state)
{
    (void)state;
    temp_dir_make(dir);
    return 0;
}

static int drop_dir(void **state)
{
    (void)state;
    temp_dir_remove(dir);
    return 0;
}

/* ---- helpers ----------------------------------------------------------------------------------
 */

static shoal_session *open_session(const tiny_engine *e, const shoal_session_opts *opts)
{
    shoal_session *s = NULL;
    shoal_error err = {0};
    if (shoal_session_open(&s, e->m, &e->ex, opts, &err) != SHOAL_OK) fail_msg("%s", err.msg);
    return s;
}

static shoal_prompt_cache *open_cache(const char *where, uint64_t dir_bytes, size_t memory_bytes)
{
    shoal_prompt_cache *c = NULL;
    shoal_error err = {0};
    const shoal_prompt_cache_opts o = {where, dir_bytes, memory_bytes};
    if (shoal_prompt_cache_open(&c, &o, &err) != SHOAL_OK) fail_msg("%s", err.msg);
    return c;
}

static shoal_prompt_cache *on_disk(void)
{
    return open_cache(dir, ROOM, 0);
}

static void sync_to(shoal_session *s, const int32_t *ids, size_t n)
{
    shoal_error err = {0};
    if (shoal_session_sync(s, ids, n, &err) != SHOAL_OK) fail_msg("%s", err.msg);
}

static void keep(shoal_prompt_cache *c, const shoal_prompt_key *key, const shoal_session *s)
{
    shoal_error err = {0};
    if (shoal_prompt_cache_keep(c, key, s, true, &err) != SHOAL_OK) fail_msg("%s", err.msg);
}

/* Reads ids in a fresh session and keeps that. */
static void read_and_keep(const tiny_engine *e, shoal_prompt_cache *c, const int32_t *ids, size_t n)
{
    shoal_session *s = open_session(e, NULL);
    sync_to(s, ids, n);
    keep(c, &KEY, s);
    shoal_session_close(s);
}

/* What a fresh session finds of ids. */
static size_t found(const tiny_engine *e, shoal_prompt_cache *c, const shoal_prompt_key *key,
                    const int32_t *ids, size_t n)
{
    shoal_session *s = open_session(e, NULL);
    size_t held = shoal_prompt_cache_restore(c, key, s, ids, n);
    assert_int_equal(held, shoal_session_past(s));
    shoal_session_close(s);
    return held;
}

/* Logits after ids, then after three more tokens: equal to the bit in both sessions. */
static void assert_same_future(const tiny_engine *e, shoal_session *a, shoal_session *b,
                               const int32_t *ids, size_t n)
{
    size_t V = e->m->cfg.n_vocab;
    shoal_error err = {0};
    sync_to(a, ids, n);
    sync_to(b, ids, n);
    for (size_t i = 0; i < 3; i++) {
        assert_memory_equal(shoal_session_logits(a, 0), shoal_session_logits(b, 0),
                            V * sizeof(float));
        int32_t next = (int32_t)(7 * i + 1);
        assert_int_equal(shoal_session_eval(a, &next, 1, SHOAL_LOGITS_LAST, &err), SHOAL_OK);
        assert_int_equal(shoal_session_eval(b, &next, 1, SHOAL_LOGITS_LAST, &err), SHOAL_OK);
    }
}

typedef struct listing {
    size_t n;
    uint64_t bytes;
    shoal_prompt_ref refs[64];
} listing;

static bool add_to_listing(void *ctx, const shoal_cache_file *f)
{
    listing *l = ctx;
    assert_true(l->n < 64);
    l->refs[l->n++] = f->ref;
    l->bytes += f->bytes;
    return true;
}

static listing list_dir(void)
{
    listing l = {.n = 0};
    shoal_cache_dir d;
    assert_int_equal(shoal_cache_dir_open(&d, dir, ROOM, NULL), SHOAL_OK);
    assert_int_equal(shoal_cache_dir_walk(&d, add_to_listing, &l, NULL), SHOAL_OK);
    return l;
}

/* Files of any name. */
static size_t count_files(void)
{
    size_t n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        n += e->d_name[0] != '.';
    }
    assert_int_equal(closedir(d), 0);
    return n;
}

/* ---- bits -------------------------------------------------------------------------------------
 */

/* Every length around block borders, on disk and in memory, for several families and kinds. */
static void check_same_bits(const shoal_tiny_opts *model, shoal_session_opts so, bool exact,
                            const char *where)
{
    tiny_engine e;
    int32_t ids[N];
    /* other weights for another window, as files with other hashes would have */
    tiny_engine_open(&e, 4 + (model == NULL ? 0 : model->window), model, 2, exact);
    tiny_random_ids(&e, 5, ids, N);
    const size_t lengths[] = {B, B + 1, 2 * B - 1, 2 * B, 2 * B + 1, N - 5};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        shoal_prompt_cache *c = open_cache(where, ROOM, where == NULL ? ROOM : 0);
        shoal_session *plain = open_session(&e, &so);
        shoal_session *cached = open_session(&e, &so);
        sync_to(plain, ids, lengths[i]);
        keep(c, &KEY, plain);
        size_t held = shoal_prompt_cache_restore(c, &KEY, cached, ids, lengths[i]);
        if (model == NULL) assert_int_equal(held, lengths[i]);
        assert_true(held >= lengths[i] / B * B); /* a short window may cost the part */
        assert_same_future(&e, plain, cached, ids, lengths[i]);
        shoal_session_close(plain);
        shoal_session_close(cached);
        shoal_prompt_cache_close(c);
    }
    tiny_engine_close(&e);
}

static const shoal_tiny_opts WINDOWED = {
    .arch = "gemma3", .window = 80, .period = 3, .n_layer = 4, .head_dim = 32};
static const shoal_tiny_opts NARROW = {
    .arch = "gemma3", .window = 8, .period = 3, .n_layer = 4, .head_dim = 32};

static void restored_states_have_the_same_bits(void **state)
{
    (void)state;
    const char *const places[] = {dir, NULL};
    for (size_t i = 0; i < 2; i++) {
        check_same_bits(NULL, (shoal_session_opts){0}, false, places[i]);
        check_same_bits(NULL, (shoal_session_opts){.chunk = 7}, true, places[i]);
        check_same_bits(NULL, (shoal_session_opts){.kv = SHOAL_KV_F32}, false, places[i]);
        check_same_bits(&WINDOWED, (shoal_session_opts){0}, false, places[i]);
        check_same_bits(&WINDOWED, (shoal_session_opts){.kv = SHOAL_KV_Q8}, false, places[i]);
        check_same_bits(&NARROW, (shoal_session_opts){0}, false, places[i]);
    }
}

/* A prompt that leaves the kept one at any token gets everything before that token. */
static void any_common_beginning_is_found(void **state)
{
    (void)state;
    tiny_engine e;
    int32_t ids[N];
    int32_t other[N];
    tiny_engine_open(&e, 4, NULL, 2, false);
    tiny_random_ids(&e, 5, ids, N);
    shoal_prompt_cache *c = on_disk();
    read_and_keep(&e, c, ids, 200);
    for (size_t at = 1; at < 220; at += 9) {
        memcpy(other, ids, sizeof ids);
        other[at] ^= 1;
        size_t want = at < 200 ? at : 200;
        assert_int_equal(found(&e, c, &KEY, other, N), want);
        shoal_session *plain = open_session(&e, NULL);
        shoal_session *cached = open_session(&e, NULL);
        (void)shoal_prompt_cache_restore(c, &KEY, cached, other, 230);
        assert_same_future(&e, plain, cached, other, 230);
        shoal_session_close(plain);
        shoal_session_close(cached);
    }
    shoal_prompt_cache_close(c);
    tiny_engine_close(&e);
}

/* Two conversations with one system prompt alternate in one session without reading again. */
static void conversations_alternate(void **state)
{
    (void)state;
    enum { SYSTEM = 100, GROW = 30 };
    tiny_engine e;
    int32_t talk[2][N];
    tiny_engine_open(&e, 4, NULL, 2, false);
    tiny_random_ids(&e, 5, talk[0], N);
    tiny_random_ids(&e, 6, talk[1], N);
    memcpy(talk[1], talk[0], SYSTEM * sizeof talk[0][0]);
    talk[1][SYSTEM] = talk[0][SYSTEM] ^ 1;
    for (int i = 0; i < 2; i++) {
        shoal_prompt_cache *c = i == 0 ? open_cache(NULL, 0, ROOM) : on_disk();
        shoal_session *s = open_session(&e, NULL);
        size_t held[2] = {0, SYSTEM}; /* the second shares its beginning with the first */
        for (size_t n = SYSTEM + GROW; n <= N; n += GROW) {
            for (size_t k = 0; k < 2; k++) {
                assert_int_equal(shoal_prompt_cache_restore(c, &KEY, s, talk[k], n), held[k]);
                sync_to(s, talk[k], n);
                keep(c, &KEY, s);
                held[k] = n;
            }
        }
        shoal_session_close(s);
        shoal_prompt_cache_close(c);
    }
    tiny_engine_close(&e);
}

/* A growing conversation leaves one chain: shorter tails go, the common part is there once. */
static void a_growing_conversation_is_one_chain(void **state)
{
    (void)state;
    tiny_engine e;
    int32_t ids[N];
    tiny_engine_open(&e, 4, NULL, 1, false);
    tiny_random_ids(&e, 5, ids, N);
    shoal_prompt_cache *c = on_disk();
    for (size_t n = 70; n <= N; n += 10) {
        read_and_keep(&e, c, ids, n);
        assert_int_equal(list_dir().n, (n + B - 1) / B);
    }
    read_and_keep(&e, c, ids, 100); /* known: nothing new */
    assert_int_equal(list_dir().n, (N + B - 1) / B);
    shoal_prompt_cache_close(c);
    tiny_engine_close(&e);
}

static void short_sequences_are_not_kept(void **state)
{
    (void)state;
    tiny_engine e;
    int32_t ids[N];
    tiny_engine_open(&e, 4, NULL, 1, false);
    tiny_random_ids(&e, 5, ids, N);
    shoal_prompt_cache *c = on_disk();
    read_and_keep(&e, c, ids, B - 1);
    assert_int_equal(count_files(), 0);
    shoal_prompt_cache_close(c);
    tiny_engine_close(&e);
}

/* ---- identity ---------------------------------------------------------------------------------
 */

static void other_identities_find_nothing(void **state)
{
    (void)state;
    tiny_engine e;
    tiny_engine other;
    int32_t ids[N];
    tiny_engine_open(&e, 4, NULL, 1, false);
    tiny_engine_open(&other, 40, NULL, 1, false); /* same shapes, other weights */
    tiny_random_ids(&e, 5, ids, N);
    shoal_prompt_cache *c = on_disk();
    read_and_keep(&e, c, ids, 200);
    const shoal_prompt_key model = {.model = {1, 2, 4}};
    const shoal_prompt_key adapter = {.model = {1, 2, 3}, .adapter = {1}};
    assert_int_equal(found(&e, c, &KEY, ids, 200), 200);
    assert_int_equal(found(&e, c, &model, ids, 200), 0);
    assert_int_equal(found(&e, c, &adapter, ids, 200), 0);
    assert_int_equal(found(&other, c, &KEY, ids, 200), 0);
    shoal_session *f32 = open_session(&e, &(shoal_session_opts){.kv = SHOAL_KV_F32});
    assert_int_equal(shoal_prompt_cache_restore(c, &KEY, f32, ids, 200), 0);
    shoal_session_close(f32);
    shoal_exec_close(&e.ex); /* portable C, then exact: other bits, so another identity */
    assert_int_equal(shoal_exec_open(&e.ex, e.pool, 0, false, NULL), SHOAL_OK);
    if ((shoal_cpu_flags() & SHOAL_CPU_AVX2) != 0) {
        assert_int_equal(found(&e, c, &KEY, ids, 200), 0);
    }
    shoal_exec_close(&e.ex);
    assert_int_equal(shoal_exec_open(&e.ex, e.pool, SHOAL_CPU_ALL, true, NULL), SHOAL_OK);
    assert_int_equal(found(&e, c, &KEY, ids, 200), 0);
    shoal_prompt_cache_close(c);
    tiny_engine_close(&e);
    tiny_engine_close(&other);
}

/* A block under the name of another: keys only find, what is inside decides. */
static void a_block_under_a_false_name_is_thrown_away(void **state)
{
    (void)state;
    tiny_engine e;
    int32_t ids[N];
    int32_t other[N];
    char cmd[4 * TEMP_DIR_MAX];
    tiny_engine_open(&e, 4, NULL, 1, false);
    tiny_random_ids(&e, 5, ids, N);
    tiny_random_ids(&e, 6, other, N);
    shoal_prompt_cache *c = on_disk();
    read_and_keep(&e, c, ids, B);
    shoal_prompt_ref a = list_dir().refs[0];
    shoal_prompt_ref b = shoal_prompt_ref_of(a.parent, 0, other, B);
    (void)snprintf(cmd, sizeof cmd, "mv %s/*.kv %s/%016llx-%016llx-000000-40.kv", dir, dir,
                   (unsigned long long)b.parent, (unsigned long long)b.own);
    assert_int_equal(system(cmd), 0);
    assert_int_equal(found(&e, c, &KEY, other, B), 0);
    assert_int_equal(count_files(), 0);
    shoal_prompt_cache_close(c);
    tiny_engine_close(&e);
}

/* ---- damage -----------------------------------------------------------------------------------
 */

static void only_file(char path[2 * TEMP_DIR_MAX])
{
    path[0] = '\0';
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (e->d_name[0] == '.') continue;
        (void)snprintf(path, 2 * TEMP_DIR_MAX, "%s/%.100s", dir, e->d_name);
    }
    (void)closedir(d);
}

static const shoal_tiny_opts SMALL = {
    .n_layer = 1, .n_embd = 32, .n_head = 1, .n_head_kv = 1, .n_ff = 32};

/* One changed byte anywhere, or any length cut off, is noticed; the file goes. */
static void damage_at_every_byte_is_noticed(void **state)
{
    (void)state;
    tiny_engine e;
    int32_t ids[N];
    char path[2 * TEMP_DIR_MAX];
    shoal_buf good;
    shoal_prompt_block b;
    tiny_engine_open(&e, 4, &SMALL, 1, false);
    tiny_random_ids(&e, 5, ids, N);
    shoal_prompt_cache *c = on_disk();
    read_and_keep(&e, c, ids, B);
    only_file(path);
    assert_int_equal(shoal_file_read(path, 1 << 20, &good, NULL), SHOAL_OK);
    assert_int_equal(shoal_prompt_block_decode(&b, good.data, good.len, NULL), SHOAL_OK);
    for (size_t i = 0; i < good.len; i++) {
        good.data[i] ^= (uint8_t)(1u << (i % 8));
        assert_int_equal(shoal_prompt_block_decode(&b, good.data, good.len, NULL),
                         SHOAL_ERR_FORMAT);
        good.data[i] ^= (uint8_t)(1u << (i % 8));
        assert_int_equal(shoal_prompt_block_decode(&b, good.data, i, NULL), SHOAL_ERR_FORMAT);
    }
    for (size_t i = 0; i < good.len; i += good.len / 20 + 1) { /* and through the cache */
        good.data[i] ^= 0x80;
        assert_int_equal(shoal_file_write_atomic(path, good.data, good.len, 0600, NULL), SHOAL_OK);
        good.data[i] ^= 0x80;
        assert_int_equal(found(&e, c, &KEY, ids, B), 0);
        assert_int_equal(count_files(), 0);
        assert_int_equal(shoal_file_write_atomic(path, good.data, i, 0600, NULL), SHOAL_OK);
        assert_int_equal(found(&e, c, &KEY, ids, B), 0);
        assert_int_equal(count_files(), 0);
    }
    assert_int_equal(shoal_file_write_atomic(path, good.data, good.len, 0600, NULL), SHOAL_OK);
    assert_int_equal(found(&e, c, &KEY, ids, B), B);
    shoal_buf_clear(&good);
    shoal_prompt_cache_close(c);
    tiny_engine_close(&e);
}

/* A head that lies about its sizes, with a sum that is right. */
static void lying_sizes_are_refused(void **state)
{
    (void)state;
    tiny_engine e;
    int32_t ids[N];
    char path[2 * TEMP_DIR_MAX];
    shoal_buf good;
    tiny_engine_open(&e, 4, &SMALL, 1, false);
    tiny_random_ids(&e, 5, ids, N);
    shoal_prompt_cache *c = on_disk();
    read_and_keep(&e, c, ids, B);
    only_file(path);
    assert_int_equal(shoal_file_read(path, 1 << 20, &good, NULL), SHOAL_OK);
    const size_t fields[] = {8, 112, 116, 120 + 4 * B, 124 + 4 * B};
    const uint32_t lies[] = {0, 1, B - 1, B + 1, 0x7fffffff, 0x80000000, 0xffffffff};
    for (size_t i = 0; i < 5; i++) {
        for (size_t k = 0; k < 7; k++) {
            shoal_buf bad = shoal_buf_init(1 << 20);
            shoal_prompt_block b;
            shoal_buf_put(&bad, good.data, good.len - 8);
            uint32_t old = 0;
            memcpy(&old, bad.data + fields[i], 4);
            for (size_t j = 0; j < 4; j++) {
                bad.data[fields[i] + j] = (uint8_t)(lies[k] >> (8 * j));
            }
            if (memcmp(bad.data + fields[i], good.data + fields[i], 4) != 0) {
                uint64_t sum = 0xcbf29ce484222325u;
                for (size_t j = 0; j < bad.len; j++) {
                    sum = (sum ^ bad.data[j]) * 0x100000001b3u;
                }
                shoal_buf_put_u64(&bad, sum);
                assert_int_equal(shoal_prompt_block_decode(&b, bad.data, bad.len, NULL),
                                 SHOAL_ERR_FORMAT);
            }
            shoal_buf_clear(&bad);
        }
    }
    shoal_buf_clear(&good);
    shoal_prompt_cache_close(c);
    tiny_engine_close(&e);
}

/* ---- room -------------------------------------------------------------------------------------
 */

static void set_age(const shoal_prompt_ref *r, time_t seconds)
{
    char path[2 * TEMP_DIR_MAX];
    const struct timespec at[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
    (void)snprintf(path, sizeof path, "%s/%016llx-%016llx-%06x-%02x.kv", dir,
                   (unsigned long long)r->parent, (unsigned long long)r->own, (unsigned)r->from,
                   (unsigned)r->n);
    assert_int_equal(utimensat(AT_FDCWD, path, at, 0), 0);
}

/* Conversations used longest ago go first, whole ones before parts, and the size holds. */
static void the_oldest_make_room(void **state)
{
    (void)state;
    tiny_engine e;
    int32_t talk[3][N];
    tiny_engine_open(&e, 4, NULL, 1, false);
    shoal_prompt_cache *c = on_disk();
    for (uint64_t i = 0; i < 3; i++) {
        tiny_random_ids(&e, 10 + i, talk[i], N);
    }
    read_and_keep(&e, c, talk[0], 2 * B);
    listing first = list_dir();
    uint64_t two_blocks = first.bytes;
    for (size_t i = 0; i < first.n; i++) {
        set_age(&first.refs[i], 1000);
    }
    shoal_prompt_cache_close(c);
    c = open_cache(dir, 2 * two_blocks + two_blocks / 2, 0); /* room for five blocks */
    read_and_keep(&e, c, talk[1], 2 * B);
    read_and_keep(&e, c, talk[2], 2 * B);
    assert_true(list_dir().bytes <= 2 * two_blocks + two_blocks / 2);
    assert_int_equal(found(&e, c, &KEY, talk[0], 2 * B),
                     B); /* its end went, its beginning stayed */
    assert_int_equal(found(&e, c, &KEY, talk[1], 2 * B), 2 * B);
    assert_int_equal(found(&e, c, &KEY, talk[2], 2 * B), 2 * B);
    shoal_prompt_cache_close(c);
    c = open_cache(dir, two_blocks + two_blocks / 4, 0); /* smaller: it shrinks when written to */
    tiny_random_ids(&e, 20, talk[0], N);
    read_and_keep(&e, c, talk[0], 4 * B); /* four blocks into room for two: two are kept */
    assert_true(list_dir().bytes <= two_blocks + two_blocks / 4);
    assert_int_equal(found(&e, c, &KEY, talk[0], 4 * B), 2 * B);
    shoal_prompt_cache_close(c);
    tiny_engine_close(&e);
}

static void memory_keeps_to_its_size(void **state)
{
    (void)state;
    tiny_engine e;
    int32_t ids[N];
    tiny_engine_open(&e, 4, NULL, 1, false);
    shoal_prompt_cache *c = open_cache(NULL, 0, ROOM);
    tiny_random_ids(&e, 5, ids, N);
    read_and_keep(&e, c, ids, B);
    size_t block = shoal_prompt_cache_stats_of(c).memory_bytes;
    shoal_prompt_cache_close(c);
    c = open_cache(NULL, 0, 3 * block + block / 2);
    for (uint64_t i = 0; i < 6; i++) {
        tiny_random_ids(&e, 10 + i, ids, N);
        read_and_keep(&e, c, ids, B);
        assert_true(shoal_prompt_cache_stats_of(c).memory_bytes <= 3 * block + block / 2);
        assert_int_equal(found(&e, c, &KEY, ids, B), B);
    }
    assert_int_equal(shoal_prompt_cache_stats_of(c).memory_blocks, 3);
    tiny_random_ids(&e, 10, ids, N);
    assert_int_equal(found(&e, c, &KEY, ids, B), 0);
    shoal_prompt_cache_close(c);
    tiny_engine_close(&e);
}

static void clearing_spares_what_is_young(void **state)
{
    (void)state;
    tiny_engine e;
    int32_t ids[N];
    char path[2 * TEMP_DIR_MAX];
    uint64_t bytes = 0;
    shoal_cache_dir d;
    tiny_engine_open(&e, 4, NULL, 1, false);
    tiny_random_ids(&e, 5, ids, N);
    shoal_prompt_cache *c = on_disk();
    read_and_keep(&e, c, ids, 2 * B);
    set_age(&list_dir().refs[0], 1000);
    (void)snprintf(path, sizeof path, "%s/notes.txt", dir); /* not ours: stays */
    assert_int_equal(shoal_file_write_atomic(path, "x", 1, 0600, NULL), SHOAL_OK);
    assert_int_equal(shoal_cache_dir_open(&d, dir, ROOM, NULL), SHOAL_OK);
    assert_int_equal(shoal_cache_dir_clear(&d, 2000, &bytes), 1);
    assert_true(bytes > 0);
    assert_int_equal(list_dir().n, 1);
    assert_int_equal(shoal_cache_dir_clear(&d, INT64_MAX, NULL), 1);
    assert_int_equal(count_files(), 1);
    shoal_prompt_cache_close(c);
    tiny_engine_close(&e);
}

/* ---- the world --------------------------------------------------------------------------------
 */

static void files_are_private(void **state)
{
    (void)state;
    tiny_engine e;
    int32_t ids[N];
    char path[2 * TEMP_DIR_MAX];
    struct stat sb;
    shoal_error err = {0};
    shoal_prompt_cache *c = NULL;
    tiny_engine_open(&e, 4, NULL, 1, false);
    tiny_random_ids(&e, 5, ids, N);
    (void)snprintf(path, sizeof path, "%s/new", dir);
    c = open_cache(path, ROOM, 0);
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0700);
    shoal_prompt_cache_close(c);
    assert_int_equal(rmdir(path), 0);
    c = on_disk();
    read_and_keep(&e, c, ids, B);
    only_file(path);
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0600);
    shoal_prompt_cache_close(c);
    assert_int_equal(chmod(dir, 0777), 0);
    const shoal_prompt_cache_opts o = {dir, ROOM, 0};
    assert_int_equal(shoal_prompt_cache_open(&c, &o, &err), SHOAL_ERR_DENIED);
    assert_non_null(strstr(err.hint, "700"));
    tiny_engine_close(&e);
}

/* Reads, keeps and restores its own and shared conversations; the exit code tells. */
static int live_beside_another(const tiny_engine *e, uint64_t seed, uint64_t room)
{
    int32_t ids[N];
    size_t V = e->m->cfg.n_vocab;
    for (uint64_t i = 0; i < 25; i++) {
        shoal_prompt_cache *c = open_cache(dir, room, 0);
        tiny_random_ids(e, i % 3 == 0 ? 100 : seed + i % 4, ids, N); /* some are shared */
        shoal_session *s = open_session(e, NULL);
        shoal_session *plain = open_session(e, NULL);
        size_t n = 100 + 10 * (i % 10);
        (void)shoal_prompt_cache_restore(c, &KEY, s, ids, n);
        sync_to(s, ids, n);
        sync_to(plain, ids, n);
        if (memcmp(shoal_session_logits(s, 0), shoal_session_logits(plain, 0), V * 4) != 0)
            return 1;
        keep(c, &KEY, s);
        if (shoal_prompt_cache_stats_of(c).damaged > 0) return 2;
        shoal_session_close(s);
        shoal_session_close(plain);
        shoal_prompt_cache_close(c);
    }
    return 0;
}

static void two_processes_share_a_directory(void **state)
{
    (void)state;
    tiny_engine e;
    tiny_engine_open(&e, 4, NULL, 1, false);
    uint64_t room = 400000; /* small: each evicts what the other may want */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(live_beside_another(&e, 1, room));
    assert_int_equal(live_beside_another(&e, 2, room), 0);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    tiny_engine_close(&e);
}

/* Every write, and every allocation, fails once: what was kept before stays, nothing half is left,
 * and answers are right. */
static void failures_leave_nothing_half(void **state)
{
    (void)state;
    tiny_engine e;
    int32_t ids[N];
    shoal_error err = {0};
    tiny_engine_open(&e, 4, NULL, 1, false);
    tiny_random_ids(&e, 5, ids, N);
    shoal_session *s = open_session(&e, NULL);
    sync_to(s, ids, 150);
    bool done = false;
    for (uint64_t k = 1; !done; k++) {
        shoal_prompt_cache *c = on_disk();
        shoal_file_fail_at(k, ENOSPC);
        shoal_status st = shoal_prompt_cache_keep(c, &KEY, s, true, &err);
        shoal_file_fail_at(0, 0);
        done = st == SHOAL_OK;
        if (!done) assert_int_equal(st, SHOAL_ERR_FULL);
        assert_int_equal(count_files(), list_dir().n); /* no temporary files */
        assert_int_equal(found(&e, c, &KEY, ids, 150), done ? 150 : (k - 1) / 2 * B);
        shoal_prompt_cache_close(c);
        temp_dir_remove(dir);
        temp_dir_make(dir);
    }
    shoal_prompt_cache *full = on_disk();
    keep(full, &KEY, s);
    for (uint64_t k = 1; k < 40; k++) {
        shoal_session *t = open_session(&e, NULL);
        shoal_prompt_cache *c = open_cache(dir, ROOM, ROOM);
        shoal_mem_fail_at(k, false);
        size_t held = shoal_prompt_cache_restore(c, &KEY, t, ids, 150);
        shoal_status st = shoal_prompt_cache_keep(c, &KEY, t, true, &err);
        shoal_mem_fail_at(0, false);
        assert_true(st == SHOAL_OK || st == SHOAL_ERR_NOMEM);
        assert_true(held <= 150);
        shoal_session *plain = open_session(&e, NULL);
        assert_same_future(&e, plain, t, ids, 150);
        shoal_session_close(plain);
        shoal_session_close(t);
        shoal_prompt_cache_close(c);
        keep(full, &KEY, s); /* what was taken for damaged comes back */
    }
    shoal_prompt_cache_close(full);
    shoal_session_close(s);
    tiny_engine_close(&e);
}

typedef struct keeper {
    shoal_prompt_cache *c;
    shoal_session *s;
    size_t calls, last;
} keeper;

static void keep_on_chunk(void *ctx, size_t at, size_t total)
{
    keeper *k = ctx;
    assert_true(at > k->last && at < total);
    k->calls++;
    k->last = at;
    assert_int_equal(shoal_prompt_cache_keep(k->c, &KEY, k->s, false, NULL), SHOAL_OK);
}

/* Local layers forget, so blocks are kept while the prompt is read; then all of it can be had. */
static void blocks_kept_between_chunks_outlive_a_window(void **state)
{
    (void)state;
    tiny_engine e;
    int32_t ids[N];
    tiny_engine_open(&e, 4, &WINDOWED, 1, false);
    tiny_random_ids(&e, 5, ids, N);
    shoal_prompt_cache *c = open_cache(NULL, 0, ROOM);
    const shoal_session_opts so = {.chunk = B};
    shoal_session *s = open_session(&e, &so);
    keeper k = {.c = c, .s = s};
    shoal_session_set_on_chunk(s, keep_on_chunk, &k);
    sync_to(s, ids, N);
    assert_int_equal(k.calls, (N - 1) / B);
    keep(c, &KEY, s);
    shoal_session *fresh = open_session(&e, &so);
    assert_int_equal(shoal_prompt_cache_restore(c, &KEY, fresh, ids, N), N);
    shoal_session_close(fresh);
    fresh = open_session(&e, &so); /* back far beyond the window */
    assert_int_equal(shoal_prompt_cache_restore(c, &KEY, fresh, ids, 90), 90);
    shoal_session_set_on_chunk(s, NULL, NULL);
    assert_same_future(&e, s, fresh, ids, 90);
    shoal_session_close(fresh);
    shoal_session_close(s);
    shoal_prompt_cache_close(c);
    tiny_engine_close(&e);
}

int main(void)
{
#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, drop_dir)
    const struct CMUnitTest tests[] = {
        IN_DIR(restored_states_have_the_same_bits),
        IN_DIR(any_common_beginning_is_found),
        IN_DIR(conversations_alternate),
        IN_DIR(a_growing_conversation_is_one_chain),
        IN_DIR(short_sequences_are_not_kept),
        IN_DIR(other_identities_find_nothing),
        IN_DIR(a_block_under_a_false_name_is_thrown_away),
        IN_DIR(damage_at_every_byte_is_noticed),
        IN_DIR(lying_sizes_are_refused),
        IN_DIR(the_oldest_make_room),
        IN_DIR(memory_keeps_to_its_size),
        IN_DIR(clearing_spares_what_is_young),
        IN_DIR(files_are_private),
        IN_DIR(two_processes_share_a_directory),
        IN_DIR(failures_leave_nothing_half),
        IN_DIR(blocks_kept_between_chunks_outlive_a_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
