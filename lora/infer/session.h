/* session.h - a model reading one sequence: KV cache, evaluation, logits.
 *
 * A session holds the tokens it has read and their keys and values. Everything it needs is one
 * block of memory planned with checked arithmetic and allocated at open; evaluation allocates
 * nothing. Tokens may be given in any split: the result has the same bits (kernels.h), which is
 * what makes speculation exact.
 *
 * Layer: lora/infer. Threads: one user at a time; the model may be shared.
 */
#ifndef SHOAL_LORA_INFER_SESSION_H
#define SHOAL_LORA_INFER_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "kernels/kernels.h"
#include "lora/infer/kv.h"
#include "lora/model/model.h"
#include "lora/train/adapter.h"

typedef struct shoal_session shoal_session;

/* Zero fields mean the default in brackets. */
typedef struct shoal_session_opts {
    size_t n_ctx;                 /* tokens it can hold [the model's, at most 4096] */
    size_t chunk;                 /* tokens computed at once, which bounds the memory [256] */
    size_t logit_rows;            /* rows of logits one evaluation can give [8] */
    shoal_kv_kind kv;             /* how keys and values are kept [f16]; always f32 in exact mode */
    const shoal_adapter *adapter; /* applied unmerged; borrowed, must outlive the session */
} shoal_session_opts;

/* Which rows of an evaluation get logits. */
typedef enum shoal_logits { SHOAL_LOGITS_NONE, SHOAL_LOGITS_LAST, SHOAL_LOGITS_ALL } shoal_logits;

/* Bytes a session of these options would allocate. OVERFLOW when they do not fit size_t. */
SHOAL_MUST_USE shoal_status shoal_session_plan(const shoal_model *m, const shoal_exec *ex,
                                               const shoal_session_opts *opts, size_t *bytes,
                                               shoal_error *err);

/* Opens an empty session. The model and the exec are borrowed; opts may be NULL. An adapter of
 * another model is refused (ARG). */
SHOAL_MUST_USE shoal_status shoal_session_open(shoal_session **out, const shoal_model *m,
                                               const shoal_exec *ex, const shoal_session_opts *opts,
                                               shoal_error *err);
void shoal_session_close(shoal_session *s);

/* Reads n tokens after those already there. Ids must be of the vocabulary (ARG). TOO_LARGE with a
 * hint, nothing read, when they do not fit the context, or when ALL asks for more rows than
 * logit_rows. */
SHOAL_MUST_USE shoal_status shoal_session_eval(shoal_session *s, const int32_t *ids, size_t n,
                                               shoal_logits which, shoal_error *err);

/* Row of logits [V] of the last evaluation: ALL gives rows 0..n-1, LAST row 0. Valid until the next
 * one; the caller may overwrite them. */
float *shoal_session_logits(shoal_session *s, size_t row);

/* A flag that ends evaluations between chunks with CANCELLED: tokens of finished chunks are kept.
 * NULL: none. Any thread may set the flag. */
void shoal_session_set_cancel(shoal_session *s, const atomic_bool *cancel);

/* Called between the chunks of an evaluation of more than one, with the tokens of it that have been
 * read: for a progress bar, and to keep state before local layers forget it. NULL: none. It may use
 * the session's queries and export, nothing else. */
typedef void shoal_on_chunk(void *ctx, size_t done, size_t total);
void shoal_session_set_on_chunk(shoal_session *s, shoal_on_chunk *fn, void *ctx);

/* Forgets tokens from n_past on; returns how many are held then. That is n_past, or 0 when the
 * model has local layers and they have forgotten what a row at n_past sees (kv.h); never so when
 * the last chunk + 1 tokens are taken back. n_past beyond the end changes nothing. */
size_t shoal_session_truncate(shoal_session *s, size_t n_past);

/* Makes the session hold exactly ids [n >= 1], keeping what it already has of them, with logits of
 * the last row. Only what differs is computed. */
SHOAL_MUST_USE shoal_status shoal_session_sync(shoal_session *s, const int32_t *ids, size_t n,
                                               shoal_error *err);

/* The state of tokens [from, from + n) as flat bytes (kv.h says in which form, and that ranges can
 * be chained). STATE when the session does not hold them any more. */
size_t shoal_session_state_bytes(const shoal_session *s, size_t from, size_t n);
SHOAL_MUST_USE shoal_status shoal_session_export(const shoal_session *s, size_t from, size_t n,
                                                 unsigned char *out, shoal_error *err);

/* Appends tokens ids [n] whose state was exported by a session of the same model, adapter, kind and
 * exec after the same tokens: as if they had been read, to the bit, but without logits. `bytes`
 * must be state_bytes(past, n). ARG, TOO_LARGE as for eval, FORMAT for another size; nothing
 * changed then. */
SHOAL_MUST_USE shoal_status shoal_session_import(shoal_session *s, const int32_t *ids, size_t n,
                                                 const unsigned char *in, size_t bytes,
                                                 shoal_error *err);

/* NLL of ids[i + 1] given ids[..i] into nll [n - 1], and the best next token of every position into
 * argmax [n]; either may be NULL. Starts from an empty session and leaves the tokens in it, with
 * the logits of the last row as row 0. */
SHOAL_MUST_USE shoal_status shoal_session_score(shoal_session *s, const int32_t *ids, size_t n,
                                                double *nll, int32_t *argmax, shoal_error *err);

const shoal_model *shoal_session_model(const shoal_session *s);
const shoal_exec *shoal_session_exec(const shoal_session *s);
shoal_kv_kind shoal_session_kv_kind(const shoal_session *s); /* what it really keeps */
size_t shoal_session_past(const shoal_session *s);           /* tokens held */
size_t shoal_session_capacity(const shoal_session *s);       /* tokens it can hold */
size_t shoal_session_logit_rows(const shoal_session *s);
const int32_t *shoal_session_tokens(const shoal_session *s); /* [past] */

/* The tokens held and, after them, `next`, which is about to be read: [past + 1]. Only while the
 * session is not full. Valid until the next evaluation. */
const int32_t *shoal_session_history(shoal_session *s, int32_t next);

#endif
