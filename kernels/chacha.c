/* chacha.c - ChaCha20 key stream added to an array: the expansion of secure-aggregation masks.
 *
 * RFC 8439, section 2.3. State words 0..3 are constants, 4..11 the key, 12 the block
 * counter, 13..15 the nonce, here zero. The portable version works on WIDE blocks at once, word by
 * word, which compilers turn into vectors. Key-stream words left on the stack are wiped: who reads
 * them removes a mask.
 */
#include "kernels/kernels.h"

#include "kernels/base/mem.h"
#include "kernels/rowops.h"
#include "kernels/table.h"

enum {
    BLOCK_WORDS = 16,
    WIDE = 8,            /* blocks at once */
    RANGE_WORDS = 16384, /* of a parallel range: a multiple of 16, about 50 us */
    CACHED_WORDS = 8192, /* of a range that many streams are added to: 32 KB */
    DOUBLE_ROUNDS = 10
};

#define STREAM_WORDS ((uint64_t)1 << 36) /* of one key: 2^32 blocks */

typedef struct wide_state {
    uint32_t w[BLOCK_WORDS][WIDE]; /* word w of the i-th block */
} wide_state;

typedef struct chacha_job {
    const shoal_table *k;
    const uint32_t *key;
    uint32_t first_block;
    uint32_t *acc;
    bool subtract;
} chacha_job;

static uint32_t rotate(uint32_t v, unsigned left)
{
    return v << left | v >> (32 - left);
}

static void quarter_round(uint32_t *restrict a, uint32_t *restrict b, uint32_t *restrict c,
                          uint32_t *restrict d)
{
    for (size_t i = 0; i < WIDE; i++) {
        uint32_t a0 = a[i] + b[i];
        uint32_t d0 = rotate(d[i] ^ a0, 16);
        uint32_t c0 = c[i] + d0;
        uint32_t b0 = rotate(b[i] ^ c0, 12);
        a[i] = a0 + b0;
        d[i] = rotate(d0 ^ a[i], 8);
        c[i] = c0 + d[i];
        b[i] = rotate(b0 ^ c[i], 7);
    }
}

/* Word 12 of the states counts blocks: counter, counter + 1, ... */
static void start_state(const uint32_t key[8], uint32_t counter, wide_state *start)
{
    static const uint32_t constants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    for (uint32_t i = 0; i < WIDE; i++) {
        for (size_t w = 0; w < BLOCK_WORDS; w++) {
            start->w[w][i] = w < 4 ? constants[w] : w < 12 ? key[w - 4] : w == 12 ? counter + i : 0;
        }
    }
}

/* The key-stream blocks of `start`. */
static void wide_blocks(const wide_state *start, wide_state *out)
{
    uint32_t(*x)[WIDE] = out->w;
    *out = *start;
    for (int round = 0; round < DOUBLE_ROUNDS; round++) {
        for (size_t q = 0; q < 4; q++) {
            quarter_round(x[q], x[4 + q], x[8 + q], x[12 + q]);
        }
        for (size_t q = 0; q < 4; q++) {
            quarter_round(x[q], x[4 + (q + 1) % 4], x[8 + (q + 2) % 4], x[12 + (q + 3) % 4]);
        }
    }
    for (size_t w = 0; w < BLOCK_WORDS; w++) {
        for (size_t i = 0; i < WIDE; i++) {
            x[w][i] += start->w[w][i];
        }
    }
}

void shoal_chacha_c(const uint32_t key[8], uint32_t counter, uint32_t *acc, size_t n, bool subtract)
{
    wide_state start, x;
    uint32_t flip = subtract ? UINT32_MAX : 0; /* (w ^ flip) - flip is w or -w */
    start_state(key, counter, &start);
    for (size_t base = 0; base < n; base += (size_t)BLOCK_WORDS * WIDE) {
        wide_blocks(&start, &x);
        size_t left = n - base;
        size_t words = left < (size_t)BLOCK_WORDS * WIDE ? left : (size_t)BLOCK_WORDS * WIDE;
        for (size_t i = 0; i < words; i++) {
            acc[base + i] += (x.w[i % BLOCK_WORDS][i / BLOCK_WORDS] ^ flip) - flip;
        }
        for (size_t i = 0; i < WIDE; i++) {
            start.w[12][i] += WIDE;
        }
    }
    shoal_wipe(&start, sizeof start);
    shoal_wipe(&x, sizeof x);
}

static void chacha_range(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const chacha_job *j = ctx;
    j->k->chacha(j->key, j->first_block + (uint32_t)(begin / BLOCK_WORDS), j->acc + begin,
                 end - begin, j->subtract);
}

bool shoal_chacha_add(const shoal_exec *ex, const uint32_t key[8], uint64_t first_word,
                      uint32_t *acc, size_t n, bool subtract)
{
    if (first_word % BLOCK_WORDS != 0 || first_word > STREAM_WORDS ||
        n > STREAM_WORDS - first_word) {
        return false;
    }
    chacha_job j = {ex->table, key, (uint32_t)(first_word / BLOCK_WORDS), acc, subtract};
    shoal_parallel_for(ex->pool, n, RANGE_WORDS, chacha_range, &j);
    return true;
}

typedef struct streams_job {
    const shoal_table *k;
    const shoal_key_stream *streams;
    size_t n_streams;
    uint32_t *acc;
} streams_job;

static void streams_range(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const streams_job *j = ctx;
    for (size_t i = 0; i < j->n_streams; i++) {
        const shoal_key_stream *s = &j->streams[i];
        j->k->chacha(s->key, (uint32_t)(begin / BLOCK_WORDS), j->acc + begin, end - begin,
                     s->subtract);
    }
}

bool shoal_chacha_add_all(const shoal_exec *ex, const shoal_key_stream *streams, size_t n_streams,
                          uint32_t *acc, size_t n)
{
    if ((uint64_t)n > STREAM_WORDS) return false;
    streams_job j = {ex->table, streams, n_streams, acc};
    shoal_parallel_for(ex->pool, n, CACHED_WORDS, streams_range, &j);
    return true;
}
