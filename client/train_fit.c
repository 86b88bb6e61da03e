/* train_fit.c - see train_fit.h. */
#include "client/train_fit.h"

#include "kernels/base/term.h"

enum {
    LEAST_LAYERS = 2,
    LEAST_CTX = 64,
    MOST = 1 << 20, /* of any of the numbers */
    ENCODED = 3 * 8
};

static uint64_t half_of(uint64_t n, uint64_t least)
{
    return n / 2 > least ? n / 2 : least;
}

bool shoal_train_fit_less(shoal_train_fit *fit, const shoal_train_size *now)
{
    if (now->rows > now->longest) {
        fit->rows = half_of(now->rows, now->longest);
        return true;
    }
    if (!now->layers_fixed && now->layers > LEAST_LAYERS) {
        fit->layers = half_of(now->layers, LEAST_LAYERS);
        return true;
    }
    if (!now->ctx_fixed && now->ctx > LEAST_CTX) {
        /* Below the longest at once: what is above it changes nothing. */
        uint64_t from = now->longest < now->ctx ? now->longest : now->ctx;
        fit->ctx = half_of(from, LEAST_CTX);
        fit->rows = 0;
        return fit->ctx < now->ctx;
    }
    return false;
}

void shoal_train_fit_tell(const shoal_train_fit *fit)
{
    if (fit->rows != 0) {
        shoal_term_note("to stay within the memory: micro-batches of at most %llu tokens",
                        (unsigned long long)fit->rows);
    }
    if (fit->layers != 0) {
        shoal_term_note("to stay within the memory: only the top %llu layers are adapted",
                        (unsigned long long)fit->layers);
    }
    if (fit->ctx != 0) {
        shoal_term_note("to stay within the memory: conversations of at most %llu tokens",
                        (unsigned long long)fit->ctx);
    }
}

void shoal_train_fit_encode(const shoal_train_fit *fit, shoal_buf *out)
{
    (void)(shoal_buf_put_u64(out, fit->rows) && shoal_buf_put_u64(out, fit->layers) &&
           shoal_buf_put_u64(out, fit->ctx)); /* the buffer remembers a failure */
}

shoal_status shoal_train_fit_decode(shoal_train_fit *fit, const void *data, size_t n, size_t *used,
                                    shoal_error *err)
{
    shoal_cursor c = shoal_cursor_init(data, n);
    shoal_train_fit got = {0};
    got.rows = shoal_cursor_u64(&c);
    got.layers = shoal_cursor_u64(&c);
    got.ctx = shoal_cursor_u64(&c);
    if (n < ENCODED || got.rows > MOST || got.layers > MOST || got.ctx > MOST || got.ctx == 1) {
        return shoal_fail(err, SHOAL_ERR_FORMAT, "the checkpoint's notes are damaged");
    }
    *fit = got;
    *used = ENCODED;
    return SHOAL_OK;
}
