/* mask.c - keys by HKDF, streams by the ChaCha20 kernel. */
#include "proto/mask.h"

#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "proto/crypto.h"
#include "proto/sa_label.h"

shoal_status shoal_mask_pair_key(const shoal_mask_scope *scope, const uint8_t shared[32],
                                 uint16_t i, uint16_t j, uint8_t key[32], shoal_error *err)
{
    uint16_t places[2] = {i < j ? i : j, i < j ? j : i};
    return shoal_sa_derive("shoal/sa1/pair", scope, shared, places, 2, key, err);
}

shoal_status shoal_mask_self_key(const shoal_mask_scope *scope, const uint8_t b[32], uint16_t i,
                                 uint8_t key[32], shoal_error *err)
{
    return shoal_sa_derive("shoal/sa1/self", scope, b, &i, 1, key, err);
}

shoal_key_stream shoal_mask_stream(const uint8_t key[32], bool subtract)
{
    shoal_key_stream s = {.subtract = subtract};
    shoal_cursor c = shoal_cursor_init(key, 32);
    for (size_t i = 0; i < 8; i++) {
        s.key[i] = shoal_cursor_u32(&c);
    }
    return s;
}

shoal_status shoal_mask_apply_all(const shoal_exec *ex, const shoal_key_stream *streams,
                                  size_t n_streams, uint32_t *acc, size_t n, shoal_error *err)
{
    if (shoal_chacha_add_all(ex, streams, n_streams, acc, n)) return SHOAL_OK;
    return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "a mask of %zu words", n);
}
