/* prompt_store.c - the prompt cache of the programs. */
#include "client/prompt_store.h"

#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "client/filehash.h"
#include "kernels/base/log.h"
#include "lora/infer/cache_dir.h"
#include "proto/crypto.h"

enum { MANIFEST_MAX = 4096, WEEK_S = 7 * 24 * 3600 };
#define DEFAULT_BYTES ((uint64_t)256 << 20)
#define HASH_UNASKED_MAX ((int64_t)1 << 30) /* bytes of a model */

/* ---- options ----------------------------------------------------------------------------------
 */

shoal_prompt_options shoal_prompt_options_default(const char *how)
{
    return (shoal_prompt_options){.how = how, .bytes = DEFAULT_BYTES};
}

void shoal_prompt_option_table(shoal_prompt_options *o, shoal_option table[SHOAL_PROMPT_N_OPTIONS])
{
    table[0] = (shoal_option)SHOAL_STRING("prompt-cache", 0, &o->how, "HOW",
                                          "keep what was read, to read it only once: off, on "
                                          "($SHOAL_HOME/cache), memory, or a DIRECTORY/");
    table[0].given = &o->given;
    table[1] = (shoal_option)SHOAL_SIZE("cache-size", 0, &o->bytes, "SIZE",
                                        "most of it on disk (256M)", NULL);
}

shoal_status shoal_prompt_store_dir(const shoal_store *home, char out[SHOAL_PATH_MAX],
                                    shoal_error *err)
{
    return shoal_store_path(home, out, err, "cache");
}

/* What `how` says: *dir is "" when nothing goes to disk. */
static shoal_status choose_place(const shoal_prompt_store *p, const char *how,
                                 char dir[SHOAL_PATH_MAX], shoal_error *err)
{
    dir[0] = '\0';
    if (strcmp(how, "memory") == 0) return SHOAL_OK;
    if (strcmp(how, "on") == 0) return shoal_prompt_store_dir(&p->home, dir, err);
    if (strchr(how, '/') == NULL) {
        (void)shoal_fail(err, SHOAL_ERR_ARG, "--prompt-cache does not know \"%.40s\"", how);
        shoal_hint(err, "use off, on, memory, or a directory with a slash, e.g. ./%.40s", how);
        return SHOAL_ERR_ARG;
    }
    size_t n = strlen(how);
    if (n >= SHOAL_PATH_MAX) return shoal_fail(err, SHOAL_ERR_ARG, "the path is too long");
    memcpy(dir, how, n + 1);
    return SHOAL_OK;
}

static void forget_old(const char *dir)
{
    shoal_cache_dir d;
    if (shoal_cache_dir_open(&d, dir, 0, NULL) == SHOAL_OK) {
        (void)shoal_cache_dir_clear(&d, (int64_t)time(NULL) - WEEK_S, NULL);
    }
}

static shoal_status open_cache(shoal_prompt_store *p, const shoal_prompt_options *o,
                               const char *model, size_t memory_bytes, shoal_error *err)
{
    char dir[SHOAL_PATH_MAX];
    SHOAL_TRY(shoal_store_open(&p->home, NULL, err));
    SHOAL_TRY(shoal_store_model_path(model, p->model_path, err));
    SHOAL_TRY(choose_place(p, o->how, dir, err));
    const shoal_prompt_cache_opts co = {
        .dir = dir[0] != '\0' ? dir : NULL, .dir_bytes = o->bytes, .memory_bytes = memory_bytes};
    SHOAL_TRY(shoal_prompt_cache_open(&p->cache, &co, err));
    if (co.dir != NULL) forget_old(co.dir);
    p->model_known = shoal_store_model_hash_recall(&p->home, p->model_path, p->model);
    return SHOAL_OK;
}

shoal_status shoal_prompt_store_open(shoal_prompt_store *p, const shoal_prompt_options *o,
                                     const shoal_engine_options *e, size_t memory_bytes,
                                     shoal_error *err)
{
    *p = (shoal_prompt_store){.cache = NULL};
    bool bounded = e->max_ram > 0;
    if (strcmp(o->how, "off") == 0 || (bounded && !o->given)) return SHOAL_OK;
    shoal_error why = {0};
    shoal_status st = open_cache(p, o, e->model, bounded ? 0 : memory_bytes, &why);
    if (st == SHOAL_OK) return SHOAL_OK;
    if (o->given) {
        if (err != NULL) *err = why;
        return st;
    }
    shoal_log(SHOAL_LOG_DEBUG, "prompt_cache", "off reason=\"%s\"", why.msg);
    return SHOAL_OK;
}

void shoal_prompt_store_close(shoal_prompt_store *p)
{
    shoal_prompt_cache_close(p->cache);
    p->cache = NULL;
}

/* ---- keys -------------------------------------------------------------------------------------
 */

shoal_status shoal_adapter_sha256(const shoal_adapter *a, uint8_t out[32], shoal_error *err)
{
    shoal_sha256_ctx ctx;
    shoal_buf manifest = shoal_buf_init(MANIFEST_MAX);
    shoal_status st = shoal_adapter_manifest(a, &manifest, err);
    if (st == SHOAL_OK) {
        shoal_sha256_init(&ctx);
        shoal_sha256_update(&ctx, manifest.data, manifest.len);
        shoal_sha256_update(&ctx, a->params, a->n_params * sizeof *a->params);
        st = shoal_sha256_final(&ctx, out, err);
    }
    shoal_buf_clear(&manifest);
    return st;
}

static bool adapter_hash(shoal_prompt_store *p, const shoal_adapter *a, uint8_t out[32])
{
    memset(out, 0, 32);
    if (a == NULL) return true;
    for (size_t i = 0; i < p->n_adapters; i++) {
        if (p->adapters[i].adapter == a) {
            memcpy(out, p->adapters[i].hash, 32);
            return true;
        }
    }
    if (shoal_adapter_sha256(a, out, NULL) != SHOAL_OK) return false;
    if (p->n_adapters < SHOAL_PROMPT_ADAPTERS) {
        struct shoal_known_adapter *known = &p->adapters[p->n_adapters++];
        known->adapter = a;
        memcpy(known->hash, out, 32);
    }
    return true;
}

/* Hashes a model the memory does not know, unless that would take long. */
static void learn_model(shoal_prompt_store *p)
{
    struct stat sb;
    if (p->model_known || p->given_up) return;
    bool small = stat(p->model_path, &sb) == 0 && (int64_t)sb.st_size <= HASH_UNASKED_MAX;
    p->model_known =
        small && shoal_store_model_hash(&p->home, p->model_path, p->model, NULL) == SHOAL_OK;
    p->given_up = !p->model_known;
    if (small || !p->given_up) return;
    shoal_log(SHOAL_LOG_INFO, "prompt_cache",
              "off reason=\"large model\" hint=\"shoal model info FILE makes its hash known\"");
}

static bool key_of(shoal_prompt_store *p, const shoal_adapter *a, shoal_prompt_key *key)
{
    if (!p->model_known) return false;
    memcpy(key->model, p->model, sizeof key->model);
    return adapter_hash(p, a, key->adapter);
}

/* ---- use --------------------------------------------------------------------------------------
 */

static size_t common_prefix(const shoal_session *s, const int32_t *ids, size_t n)
{
    size_t past = shoal_session_past(s);
    size_t most = past < n ? past : n;
    size_t i = 0;
    while (i < most && shoal_session_tokens(s)[i] == ids[i]) {
        i++;
    }
    return i;
}

size_t shoal_prompt_store_restore(shoal_prompt_store *p, const shoal_adapter *adapter,
                                  shoal_session *s, const int32_t *ids, size_t n)
{
    shoal_prompt_key key;
    size_t held = common_prefix(s, ids, n);
    if (p == NULL || p->cache == NULL || n < SHOAL_PROMPT_BLOCK || held == n) return held;
    if (!key_of(p, adapter, &key)) return held;
    return shoal_prompt_cache_restore(p->cache, &key, s, ids, n);
}

void shoal_prompt_store_keep(shoal_prompt_store *p, const shoal_adapter *adapter,
                             const shoal_session *s, bool tail)
{
    shoal_prompt_key key;
    shoal_error err = {0};
    if (p == NULL || p->cache == NULL || shoal_session_past(s) < SHOAL_PROMPT_BLOCK) return;
    if (tail) learn_model(p);
    if (!key_of(p, adapter, &key)) return;
    shoal_status st = shoal_prompt_cache_keep(p->cache, &key, s, tail, &err);
    if (st == SHOAL_OK || p->warned) return;
    p->warned = true;
    shoal_log(SHOAL_LOG_WARN, "prompt_cache", "not kept: %s", err.msg);
}

shoal_status shoal_prompt_store_clear(const shoal_store *home, size_t *n, uint64_t *bytes,
                                      shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    struct stat sb;
    shoal_cache_dir d;
    *n = 0;
    *bytes = 0;
    SHOAL_TRY(shoal_prompt_store_dir(home, path, err));
    if (stat(path, &sb) != 0) return SHOAL_OK; /* clearing should not make it */
    SHOAL_TRY(shoal_cache_dir_open(&d, path, 0, err));
    *n = shoal_cache_dir_clear(&d, INT64_MAX, bytes);
    return SHOAL_OK;
}
