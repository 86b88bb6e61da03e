/* kernels.h - arithmetic on arrays: what model code calls. See kernels/README.md.
 *
 * Letters, used everywhere: T rows (tokens) of a batch, D model width, H query heads, K key/value
 * heads, E head width, F mlp width, V vocabulary, R adapter rank, M rows of a weight (outputs),
 * N columns of a weight (inputs), S keys in a cache. Arrays are row-major f32 unless said.
 *
 * Each function here runs over the pool of its shoal_exec in ranges that do not depend on the
 * number of threads, and accumulates in an order that depends neither on threads nor on T: row t of
 * a result has the same bits whether it was computed alone or in a batch. (That makes speculative
 * and batched decoding identical to plain decoding.) None of them allocates.
 *
 * The arithmetic itself comes from a table of function pointers (kernels/table.h), filled from
 * portable C and replaced per processor; --cpu-mask forces lower levels.
 *
 * Layer: kernels/. Threads: a shoal_exec has one user at a time.
 */
#ifndef SHOAL_KERNELS_KERNELS_H
#define SHOAL_KERNELS_KERNELS_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "kernels/base/threads.h"
#include "kernels/noise.h"
#include "kernels/quant.h"

#ifdef __cplusplus
extern "C" {
#endif

struct shoal_table; /* kernels/table.h */

/* A weight matrix W [M, N]: a borrowed, read-only view of (usually mapped) bytes. */
typedef struct shoal_mat {
    const void *data;
    shoal_type type;
    size_t rows; /* M */
    size_t cols; /* N, a multiple of the type's block */
    size_t row_bytes;
} shoal_mat;

/* Rows [first, first + n) of w, as a view. first and n are multiples of 8 for packed types. */
shoal_mat shoal_mat_rows(const shoal_mat *w, size_t first, size_t n);

/* Byte i of w as it would lie in the plain form of its type, rows in order: packing changes neither
 * (for fingerprints). i < rows * row_bytes. */
uint8_t shoal_mat_plain_byte(const shoal_mat *w, size_t i);

/* Everything a computation needs besides its arrays. */
typedef struct shoal_exec {
    const struct shoal_table *table;
    shoal_pool *pool; /* may be NULL: serial */
    bool exact;       /* activations stay f32 (for parity work) */
    void *scratch;    /* owned by the exec; per-worker panels */
    size_t scratch_bytes;
} shoal_exec;

/* Chooses the kernels for this machine under `cpu_mask` (SHOAL_CPU_ALL normally) and allocates
 * scratch for the pool's workers. The pool is borrowed. */
SHOAL_MUST_USE shoal_status shoal_exec_open(shoal_exec *ex, shoal_pool *pool, uint32_t cpu_mask,
                                            bool exact, shoal_error *err);
void shoal_exec_close(shoal_exec *ex);

/* "c", "avx2", ...: what --json prints as "kernels". */
const char *shoal_exec_name(const shoal_exec *ex);

/* Tells apart what may differ in the last bits: which functions compute, at which distances from
 * each other. Equal in every run of a program that chooses alike; other builds are other numbers.
 */
uint64_t shoal_exec_fingerprint(const shoal_exec *ex);

/* ---- matrix products with frozen, quantised weights ------------------------------------------ */

/* How rows of activations are read. Exact contexts read f32 whatever was asked for, and so do
 * processors that gain nothing from 16 bit. */
typedef enum shoal_act_kind {
    SHOAL_ACT_F32 = 0,
    SHOAL_ACT_8BIT = 1, /* blocks of 32 with a scale: inference, where bytes of W are what costs */
    SHOAL_ACT_16BIT = 2 /* training: as fast with many rows, and near enough for gradients */
} shoal_act_kind;

/* Rows of activations prepared once and shared by all matrices that read them (q, k, v; gate, up).
 * Layout of `packed` private. */
typedef struct shoal_act {
    const float *x; /* [T, N], borrowed */
    size_t T, N;
    shoal_act_kind kind;
    void *packed; /* shoal_act_bytes(kind, T, N) bytes, 64-byte aligned, caller-owned */
} shoal_act;

size_t shoal_act_bytes(shoal_act_kind kind, size_t T, size_t N);

/* `packed` is not touched for SHOAL_ACT_F32 (NULL will do) and in exact contexts. */
void shoal_act_prepare(const shoal_exec *ex, shoal_act *a, shoal_act_kind kind, const float *x,
                       size_t T, size_t N, void *packed);

/* y_i [T, M_i] = x W_i^T for n matrices with the same N, in one parallel section.
 * n <= SHOAL_GROUP_MAX. */
enum { SHOAL_GROUP_MAX = 4 };
void shoal_matmul(const shoal_exec *ex, const shoal_act *a, const shoal_mat *const *w,
                  float *const *y, size_t n);

/* An adapter's part of a product, added to each strip of outputs while it is in cache:
 *   forward  y += scale * h B^T: left = h [T, R], right = B [M, R]
 *   dx       dx += scale * dh A: left = dh [T, R], right = A [R, N]
 * left NULL: none. */
typedef struct shoal_lowrank_term {
    const float *left, *right;
    size_t rank;
    float scale;
} shoal_lowrank_term;

/* shoal_matmul with a term for each matrix. */
void shoal_matmul_lowrank(const shoal_exec *ex, const shoal_act *a, const shoal_mat *const *w,
                          const shoal_lowrank_term *terms, float *const *y, size_t n);

/* The backward of the above for one matrix: dx [T, N] (+)= dy W, rows dy [T, M] of kind F32 or
 * 16BIT. Each panel of W is expanded once and used for all T rows. `accumulate` adds to dx instead
 * of overwriting it. */
void shoal_matmul_dx(const shoal_exec *ex, const shoal_mat *w, const shoal_act *dy, float *dx,
                     bool accumulate);

/* The same with a term. */
void shoal_matmul_dx_lowrank(const shoal_exec *ex, const shoal_mat *w, const shoal_act *dy,
                             const shoal_lowrank_term *term, float *dx, bool accumulate);

/* out [N] = row `index` of w, expanded (embedding lookup). */
void shoal_mat_row(const shoal_mat *w, size_t index, float *out);

/* ---- low-rank pair (LoRA) -------------------------------------------------------------------- */

/* h [T, R] = x [T, N] A^T, A [R, N];  y [T, M] += scale * h B^T, B [M, R]. (Hu et al. 2021, 4.1) */
void shoal_lowrank_fwd(const shoal_exec *ex, const float *A, const float *B, size_t R, size_t N,
                       size_t M, float scale, const float *x, size_t T, float *h, float *y);

/* Given dy [T, M], x and h (recomputed or kept):
 *   dB [M, R] += scale * dy^T h;  dh = scale * dy B;  dA [R, N] += dh^T x;  dx [T, N] += dh A.
 * dh [T, R] is scratch from the caller; dx may be NULL (lowest adapted layer), dA too
 * (A frozen). */
void shoal_lowrank_bwd(const shoal_exec *ex, const float *A, const float *B, size_t R, size_t N,
                       size_t M, float scale, const float *x, const float *h, const float *dy,
                       size_t T, float *dh, float *dA, float *dB, float *dx);

/* Both with dropout of the pair's input, as PEFT's lora_dropout: x is thinned before A reads it,
 * here and in dA, and dx gets what came through. The masks are drawn again each time. drop may be
 * NULL, which is the above; else N <= SHOAL_DROPOUT_MAX_COLS. */
void shoal_lowrank_fwd_dropout(const shoal_exec *ex, const shoal_dropout *drop, const float *A,
                               const float *B, size_t R, size_t N, size_t M, float scale,
                               const float *x, size_t T, float *h, float *y);
void shoal_lowrank_bwd_dropout(const shoal_exec *ex, const shoal_dropout *drop, const float *A,
                               const float *B, size_t R, size_t N, size_t M, float scale,
                               const float *x, const float *h, const float *dy, size_t T, float *dh,
                               float *dA, float *dB, float *dx);

/* ---- attention --------------------------------------------------------------------------------
 */

enum {
    SHOAL_ATTN_MAX_E = 256, /* widest head: tiles of keys live in a worker's scratch */
    SHOAL_ATTN_TILE = 64    /* keys scored at a time, from multiples of it */
};

typedef struct shoal_attn {
    size_t T, H, K, E;        /* H a multiple of K: query head h reads key head h / (H / K) */
    float scale;              /* usually 1 / sqrt(E) */
    const float *q;           /* [T, H, E] */
    const void *k, *v;        /* [S, K, E] of kv_type, S = n_past + T at least; or as strides say */
    shoal_type kv_type;       /* F32, F16 or Q8_0 (E a multiple of 32) */
    size_t kv_row;            /* bytes from a key to the next ... */
    size_t kv_head;           /* ... and from a head to the next; both 0: [S, K, E] without gaps */
    size_t kv_slots;          /* a ring: key s lies in slot s % kv_slots, a multiple of
                                 SHOAL_ATTN_TILE; 0: in slot s */
    size_t n_past;            /* keys before row 0: row t sees keys [first(t), n_past + t] */
    const uint32_t *first;    /* [T] or NULL for all 0: packed conversations, sliding windows */
    const uint32_t *hole;     /* [T] or NULL: within its range row t does not see the keys ... */
    const uint32_t *hole_end; /* ... [hole[t], hole_end[t]): texts that share their beginning lie
                                 between it and the row */
    float softcap;            /* scaled scores become softcap * tanh(score / softcap); 0: none */
} shoal_attn;

/* o [T, H, E]; lse [T, H] = log-sum-exp of the scaled scores, or NULL. Tiles of keys with running
 * max and sum (Dao et al. 2022, alg. 1; Milakov and Gimelshein 2018); no T x T array at any T.
 * Tile borders are at absolute key positions, so a row's bits do not depend on T or n_past split.*/
void shoal_attn_fwd(const shoal_exec *ex, const shoal_attn *a, float *o, float *lse);

/* Needs F32 k, v without strides and n_past = 0. dq [T, H, E], dk, dv [T, K, E] are overwritten.
 * Scores are recomputed per tile from lse (Dao et al. 2022, alg. 4). delta [T, H] is scratch. */
void shoal_attn_bwd(const shoal_exec *ex, const shoal_attn *a, const float *o, const float *lse,
                    const float *d_o, float *delta, float *dq, float *dk, float *dv);

/* ---- pointwise and row-wise pairs -------------------------------------------------------------
 */

/* y = x * rstd * w, rstd = 1 / sqrt(mean(x^2) + eps); rstd [T] may be NULL, y may alias x. (Zhang,
 * Sennrich 2019) */
void shoal_rmsnorm_fwd(const shoal_exec *ex, const float *x, const float *w, float eps, size_t T,
                       size_t D, float *y, float *rstd);
/* dx (+)= backward of the above (w frozen); dx may alias dy. */
void shoal_rmsnorm_bwd(const shoal_exec *ex, const float *x, const float *w, const float *rstd,
                       const float *dy, size_t T, size_t D, float *dx, bool accumulate);

typedef enum shoal_rope_style {
    SHOAL_ROPE_PAIRS = 0, /* rotates (2j, 2j+1): GGUF files of arch llama */
    SHOAL_ROPE_HALVES = 1 /* rotates (j, j + E/2): "neox" */
} shoal_rope_style;

/* cs [T, E/2, 2] = cos, sin of pos[t] * inv_freq[j]. (Su et al. 2021) */
void shoal_rope_table(const uint32_t *pos, const float *inv_freq, size_t T, size_t E, float *cs);
/* Rotates x [T, heads, E] in place by cs, or back by it (the backward) when `inverse`. */
void shoal_rope(const shoal_exec *ex, shoal_rope_style style, float *x, const float *cs, size_t T,
                size_t heads, size_t E, bool inverse);

/* y = silu(g) * u over n values; y may alias g. Backward writes dg, du (may alias g, u). */
void shoal_swiglu_fwd(const shoal_exec *ex, const float *g, const float *u, size_t n, float *y);
void shoal_swiglu_bwd(const shoal_exec *ex, const float *g, const float *u, const float *dy,
                      size_t n, float *dg, float *du);

/* y = gelu(g) * u, gelu in its tanh form: g sigmoid(2 sqrt(2 / pi) (g + 0.044715 g^3)). Aliases as
 * above. (Hendrycks and Gimpel 2016; Shazeer 2020) */
void shoal_geglu_fwd(const shoal_exec *ex, const float *g, const float *u, size_t n, float *y);
void shoal_geglu_bwd(const shoal_exec *ex, const float *g, const float *u, const float *dy,
                     size_t n, float *dg, float *du);

/* y = cap tanh(x / cap) over n values; y may alias x. Backward, from the forward's y:
 * dy *= 1 - (y / cap)^2. cap > 0. */
void shoal_softcap_fwd(const shoal_exec *ex, const float *x, size_t n, float cap, float *y);
void shoal_softcap_bwd(const shoal_exec *ex, const float *y, size_t n, float cap, float *dy);

/* y += x over n values. */
void shoal_add(const shoal_exec *ex, const float *x, size_t n, float *y);
/* Every row of y [T, M] += b [M]. */
void shoal_add_bias(const shoal_exec *ex, const float *b, size_t T, size_t M, float *y);

/* Per row t of logits [T, V]: nll[t] = logsumexp - logits[target]; when `scale` is not 0 the logits
 * are overwritten by scale * (softmax - onehot). A target outside [0, V) marks a row that is not
 * supervised: nll 0, gradient 0. argmax [T] (lowest index of the maximum) may be NULL. */
void shoal_cross_entropy(const shoal_exec *ex, float *logits, const int32_t *targets, size_t T,
                         size_t V, float scale, double *nll, int32_t *argmax);

/* The same with the vocabulary in slices, when a gradient with respect to the head's input is
 * wanted and [T, V] is too large to hold: sums run along with the greatest logit so far, as
 * attention's do (Milakov and Gimelshein 2018). A row begins as SHOAL_SOFTMAX_ROW_INIT; its target
 * is in [0, V). */
typedef struct shoal_softmax_row {
    float max;    /* greatest logit so far */
    float target; /* logit of the target */
    double sum;   /* of exp(logit - max) over all but the target */
} shoal_softmax_row;
#define SHOAL_SOFTMAX_ROW_INIT ((shoal_softmax_row){-INFINITY, -INFINITY, 0.0})

/* Folds in logits [T, n] of the slice [first, first + n). Unless acc is NULL they become
 * exp(logit - max), 0 for the target's, and acc [T, D], where the caller sums what these weigh, is
 * made to count from the new max (zeroed in the first slice). */
void shoal_softmax_fold(const shoal_exec *ex, float *logits, size_t T, size_t first, size_t n,
                        const int32_t *targets, shoal_softmax_row *rows, float *acc, size_t D);

/* After the last slice: -log of the target's probability; and the probability of all others, which
 * is minus the gradient at the target's logit. *total = the sum that acc is to be divided by. */
double shoal_softmax_nll(const shoal_softmax_row *row);
double shoal_softmax_others(const shoal_softmax_row *row, double *total);

/* ---- rows put away in half the bytes ----------------------------------------------------------
 */

/* x [T, N] as binary16, each row under a power of two of its own, so that neither its range nor its
 * size matters: an error of 2^-11 of the value, or of 2^-39 of the row's largest where that is
 * more. And back; and what putting away and taking out leaves of x, in place (N <=
 * SHOAL_HALVES_MAX). Rounding what was rounded changes nothing. out [T, N], scale [T]. */
enum { SHOAL_HALVES_MAX = 128 * 1024 };
void shoal_halves_put(const shoal_exec *ex, const float *x, size_t T, size_t N, uint16_t *out,
                      float *scale);
void shoal_halves_take(const shoal_exec *ex, const uint16_t *in, const float *scale, size_t T,
                       size_t N, float *x);
void shoal_halves_round(const shoal_exec *ex, float *x, size_t T, size_t N);

/* ---- optimiser --------------------------------------------------------------------------------
 */

typedef struct shoal_adamw {
    float lr, beta1, beta2, eps, weight_decay;
    uint64_t step;    /* 1 for the first call */
    float grad_scale; /* clipping factor applied to g */
} shoal_adamw;

/* p, m, v updated in place, g read, n values. (Loshchilov and Hutter 2019, alg. 2) */
void shoal_adamw_step(const shoal_exec *ex, const shoal_adamw *o, float *p, const float *g,
                      float *m, float *v, size_t n);

/* Moments in 8 bits, a scale for each block of SHOAL_MOMENT_BLOCK: 2.1 bytes a parameter instead of
 * 8. A code is a small float relative to the block's largest magnitude: sign, 4 bits of exponent, 3
 * of mantissa for m, 4 and 4 for v. Zeroed arrays are zero moments. (Block-wise as Dettmers et al.
 * 2021, sections 2.1 and 2.2.) */
enum { SHOAL_MOMENT_BLOCK = 64 };
typedef struct shoal_moments8 {
    uint8_t *m, *v;         /* [n] codes */
    float *m_peak, *v_peak; /* [n / SHOAL_MOMENT_BLOCK, rounded up] largest magnitudes */
} shoal_moments8;

/* AdamW with such moments. They are rounded up or down at random, so that decay by a thousandth is
 * not lost to rounding; the random bits follow from o->step and the position alone. */
void shoal_adamw8_step(const shoal_exec *ex, const shoal_adamw *o, float *p, const float *g,
                       const shoal_moments8 *q, size_t n);

/* Momentum with decoupled decay: m = beta1 m + g; p = p (1 - lr weight_decay) - lr m. beta2, eps
 * and step are not used. (Loshchilov and Hutter 2019, alg. 1) */
void shoal_sgd_step(const shoal_exec *ex, const shoal_adamw *o, float *p, const float *g, float *m,
                    size_t n);

/* Sum of squares in double, in a fixed order. */
double shoal_sum_squares(const shoal_exec *ex, const float *x, size_t n);

/* ---- mask stream ------------------------------------------------------------------------------
 */

/* acc[i] += (or -=) word i of the ChaCha20 key stream (RFC 8439 2.3; zero nonce, block counter from
 * first_word / 16, little-endian words) for n words, modulo 2^32. first_word must be a multiple of
 * 16 and first_word + n <= 2^36: false otherwise, nothing done. key [8] little-endian words. */
bool shoal_chacha_add(const shoal_exec *ex, const uint32_t key[8], uint64_t first_word,
                      uint32_t *acc, size_t n, bool subtract);

/* A key stream to add to an array, or to take off it. */
typedef struct shoal_key_stream {
    uint32_t key[8];
    bool subtract;
} shoal_key_stream;

/* acc [n] += (or -=) each stream from its first word on, modulo 2^32: the masks of a whole session
 * in one pass, a piece of acc staying in cache until all streams have been added to it. Same words
 * as one stream after the other. False (and nothing done) when n is beyond 2^36. */
bool shoal_chacha_add_all(const shoal_exec *ex, const shoal_key_stream *streams, size_t n_streams,
                          uint32_t *acc, size_t n);

/* acc [n] += n words of `bits` bits each (1..32), least significant bit first, one behind the other
 * in ceil(n bits / 8) bytes; modulo 2^32. On the caller alone: memory sets the speed. */
void shoal_ring_add(const shoal_exec *ex, const uint8_t *packed, uint32_t bits, uint32_t *acc,
                    size_t n);

#ifdef __cplusplus
}
#endif
#endif
