/* upload.c - the arithmetic of chunks. */
#include "proto/upload.h"

#include <string.h>

#include "proto/crypto.h"

size_t shoal_upload_chunk_bytes(uint64_t total, uint64_t offset)
{
    if (offset >= total || offset % SHOAL_LIMIT_CHUNK != 0) return 0;
    uint64_t left = total - offset;
    return left < SHOAL_LIMIT_CHUNK ? (size_t)left : SHOAL_LIMIT_CHUNK;
}

size_t shoal_upload_chunks(uint64_t total)
{
    return (size_t)(total / SHOAL_LIMIT_CHUNK) + (total % SHOAL_LIMIT_CHUNK != 0 ? 1 : 0);
}

/* Spec 3.6 */
shoal_status shoal_upload_extend(uint8_t hash[32], const void *chunk, size_t n, shoal_error *err)
{
    shoal_sha256_ctx c;
    shoal_sha256_init(&c);
    shoal_sha256_update(&c, hash, 32);
    shoal_sha256_update(&c, chunk, n);
    return shoal_sha256_final(&c, hash, err);
}

bool shoal_upload_state_encode(const shoal_upload_state *s, shoal_buf *out)
{
    return shoal_buf_put_u64(out, s->have) && shoal_buf_put(out, s->hash, sizeof s->hash);
}

shoal_status shoal_upload_state_decode(const void *data, size_t n, uint64_t total,
                                       shoal_upload_state *out, shoal_error *err)
{
    static const uint8_t zeros[32];
    shoal_cursor c = shoal_cursor_init(data, n);
    out->have = shoal_cursor_u64(&c);
    (void)shoal_cursor_copy(&c, out->hash, sizeof out->hash);
    bool place = out->have == total || shoal_upload_chunk_bytes(total, out->have) > 0;
    bool start = out->have > 0 || memcmp(out->hash, zeros, sizeof zeros) == 0;
    if (shoal_cursor_done(&c) && place && start) return SHOAL_OK;
    memset(out, 0, sizeof *out);
    return shoal_fail(err, SHOAL_ERR_FORMAT, "not the state of an upload");
}
