/* release.c - from a signed release to an adapter on disk and in memory. */
#include "client/release.h"

#include <inttypes.h>
#include <string.h>

#include "client/download.h"
#include "kernels/base/file.h"
#include "proto/crypto.h"

shoal_status shoal_release_check(const shoal_release_source *src, const shoal_task_record *record,
                                 const shoal_adapter_release *release, shoal_error *err)
{
    SHOAL_TRY(shoal_release_verify(release, src->task_spki, err));
    if (!shoal_equal(release->task_id, record->task_id, sizeof record->task_id) ||
        !shoal_equal(release->base_sha256, src->base_hash, 32)) {
        return shoal_fail(err, SHOAL_ERR_TAMPERED,
                          "the adapter is for another task or another base model");
    }
    static const uint8_t none[32];
    bool held = !shoal_equal(record->adapter_sha256, none, sizeof none);
    bool older = release->version < record->version;
    bool other = release->version == record->version &&
                 !shoal_equal(release->sha256, record->adapter_sha256, 32);
    if (held && (older || other)) {
        return shoal_fail(err, SHOAL_ERR_TAMPERED,
                          "the server offers version %" PRIu64 " of the adapter, which is %s "
                          "version %" PRIu64 " on this device",
                          release->version, older ? "older than" : "not the same as",
                          record->version);
    }
    return SHOAL_OK;
}

/* The stored file of a version, if it is there and right; false otherwise. */
static bool read_stored(const shoal_release_source *src, const shoal_task_record *record,
                        uint64_t version, const uint8_t sha256[32], shoal_buf *out)
{
    char path[SHOAL_PATH_MAX];
    uint8_t hash[32];
    if (shoal_store_path(src->store, path, NULL, "adapters/%s/v%" PRIu64 ".gguf", record->dir,
                         version) != SHOAL_OK ||
        shoal_file_read(path, SHOAL_LIMIT_BLOB, out, NULL) != SHOAL_OK) {
        return false;
    }
    bool same = shoal_sha256(out->data, out->len, hash, NULL) == SHOAL_OK &&
                shoal_equal(hash, sha256, sizeof hash);
    if (!same) shoal_buf_clear(out);
    return same;
}

/* From the server; as what changed, when the version held is the one it was made from. */
static shoal_status download(const shoal_release_source *src, const shoal_task_record *record,
                             const shoal_adapter_release *release, shoal_buf *out, shoal_error *err)
{
    shoal_buf held = shoal_buf_init(0);
    bool before = shoal_equal(record->adapter_sha256, release->previous_sha256, 32) &&
                  read_stored(src, record, record->version, release->previous_sha256, &held);
    shoal_download d = {.api = src->api,
                        .store = src->store,
                        .dir = record->dir,
                        .release = release,
                        .held = before ? &held : NULL};
    shoal_status st = shoal_download_release(&d, out, NULL, err);
    shoal_buf_clear(&held);
    return st;
}

shoal_status shoal_release_adopt(const shoal_release_source *src, shoal_task_record *record,
                                 const shoal_adapter_release *release, shoal_adapter **out,
                                 shoal_error *err)
{
    shoal_buf bytes = shoal_buf_init(0);
    *out = NULL;
    SHOAL_TRY(shoal_release_check(src, record, release, err));
    bool stored = read_stored(src, record, release->version, release->sha256, &bytes);
    shoal_status st = stored ? SHOAL_OK : download(src, record, release, &bytes, err);
    if (st == SHOAL_OK) {
        st = shoal_adapter_decode(out, src->model, bytes.data, bytes.len, err);
    }
    if (st == SHOAL_OK && !stored) {
        st = shoal_store_put_adapter(src->store, record->dir, release->version, bytes.data,
                                     bytes.len, err);
    }
    if (st == SHOAL_OK) {
        record->version = release->version;
        memcpy(record->adapter_sha256, release->sha256, 32);
        st = shoal_task_record_save(record, src->store, err);
    }
    shoal_buf_clear(&bytes);
    if (st != SHOAL_OK) {
        shoal_adapter_close(*out);
        *out = NULL;
    }
    return st;
}
