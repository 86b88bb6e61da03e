/* workspace.h - every array a training step touches, and the one walk that lays them out.
 *
 * The same walk sums the sizes for the plan and carves the arena for the trainer, so the two cannot
 * disagree.
 *
 * Layer: lora/train, private. Threads: as the trainer's.
 */
#ifndef SHOAL_LORA_TRAIN_WORKSPACE_H
#define SHOAL_LORA_TRAIN_WORKSPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/mem.h"
#include "kernels/kernels.h"
#include "lora/model/model.h"
#include "lora/train/adapter.h"
#include "lora/train/plan.h"

/* What the forward of one block leaves for its backward. In exact mode every kept tape has arrays
 * of its own. Otherwise the large ones (shoal_tape_arrays) of all tapes are the same memory, where
 * a block's forward and backward work; what lies there is put away between the two (keep.h).
 * Outputs of the norms before projections and of the gated unit are not kept: they are a pointwise
 * pass to recompute. h = x A^T is kept: R floats a token against N. */
typedef struct shoal_tape {
    /* Large. */
    float *q;     /* [T, H*E] after rotation */
    float *k, *v; /* [T, K*E]; k after rotation */
    float *o;     /* [T, H*E] attention output */
    float *mid;   /* [T, D] residual stream between attention and mlp */
    float *g, *u; /* [T, F] before the activation */

    /* Small. */
    float *lse;             /* [T, H] */
    float *rstd_attn;       /* [T] */
    float *rstd_ffn;        /* [T] */
    float *h[SHOAL_N_PROJ]; /* [T, R]; NULL when not adapted */

    /* NULL unless the family has norms of queries and keys or norms after attention and mlp: inputs
     * of these norms, large, and their statistics. */
    float *q_raw, *k_raw;                  /* [T, H*E], [T, K*E] */
    float *attn_out, *ffn_out;             /* [T, D] */
    float *rstd_q, *rstd_k;                /* [T, H], [T, K] */
    float *rstd_post_attn, *rstd_post_ffn; /* [T] */
} shoal_tape;

/* The large arrays of a tape, as a list: where a tape points to one, [T, width]. */
typedef struct shoal_tape_array {
    float **at;
    size_t width;
} shoal_tape_array;

enum { SHOAL_TAPE_ARRAYS = 11 };
size_t shoal_tape_arrays(const shoal_config *c, shoal_tape *tp,
                         shoal_tape_array out[SHOAL_TAPE_ARRAYS]);

/* [T, width] put away: shoal_halves_put. */
typedef struct shoal_halves {
    uint16_t *codes; /* [T, width] */
    float *scale;    /* [T] */
} shoal_halves;

/* The large arrays of a tape, put away. */
typedef struct shoal_kept {
    shoal_halves part[SHOAL_TAPE_ARRAYS];
} shoal_kept;

/* One micro-batch: samples laid end to end, or branching off a common beginning (pack.h). */
typedef struct shoal_pack {
    int32_t *ids;          /* [T] */
    uint32_t *pos;         /* [T] position within the own sample */
    uint32_t *first;       /* [T] row where the own sample starts, or its shared beginning */
    uint32_t *first_local; /* [T] or where the window of local layers does, if later; NULL: none */
    uint32_t *hole;        /* [T] where the shared beginning ends ... */
    uint32_t *hole_end;    /* [T] ... and the own rows go on; the rows between are of others */
    bool has_holes;        /* any not empty */
    size_t n_rows;         /* used rows, <= T */
    size_t n_tokens;       /* rows its samples would use alone */
    uint32_t *sup_row;     /* [T] rows with a target, ascending */
    int32_t *sup_target;   /* [T] what each of them should predict */
    uint32_t *sup_sample;  /* [T] index of its sample in the caller's array */
    size_t n_sup;
    uint64_t start_key; /* of all texts in this step ... */
    uint64_t *key;      /* [T] ... what a row's dropout and noise follow from; NULL: neither */
    uint32_t *length;   /* [T] tokens of the own sample; NULL: no noise on embeddings */
} shoal_pack;

typedef struct shoal_workspace {
    shoal_arena arena;
    shoal_pack pack;

    /* What is kept of the micro-batch's rows: shoal_workspace_set_rows. n = n_layer - first_layer.
     */
    size_t rows;
    size_t n_tapes;    /* kept, plan.tapes at least */
    shoal_tape *tapes; /* [n], the first n_tapes placed */
    float *inputs;     /* exact: [n + 1, rows, D], inputs of the adapted blocks, and the output of
                          the last; else [T, D], the one that is computed with */
    shoal_halves *inputs_kept; /* [n], NULL in exact mode like the next */
    shoal_kept *kept;          /* [n], tapes put away: all but the last */
    void *keep;                /* where all this lies, but for the first tape */
    size_t keep_bytes;

    float *norm;     /* [T, D] normalised input of a group of projections */
    float *dnorm;    /* [T, D] its gradient; in forward the projection added to the stream */
    float *dx;       /* [T, D] gradient of the residual stream */
    float *cs;       /* [T, E/2, 2] rotation table */
    float *cs_local; /* of local layers; cs itself when they do not differ */
    float *dpost;    /* [T, D] gradient before a norm after attention or mlp; NULL: no such norms */
    float *delta;    /* [T, H] */
    float *dh;       /* [T, R] */
    void *packed;    /* activations prepared for matmul */
    float *s, *ds;   /* [T, F] mlp, never alive together with the next line or the head's */
    float *d_o, *dq, *dk, *dv; /* [T, H*E] twice, [T, K*E] twice */

    /* The head's own. The first three lie in the mlp's and attention's scratch; head_norm is norm,
     * the gradient of it dnorm. */
    float *head_x; /* [T, D] supervised rows, together */
    float *logits; /* [T, shoal_head_slice()], turned in place into the weights of their gradient */
    float *capped; /* the same shape: a copy of soft-capped logits; NULL: no cap */
    shoal_softmax_row *head_softmax; /* [T] */
    float *head_rstd;                /* [T] */
    void *head_packed;               /* behind the head's input in packed */

    float *grad;       /* [plan.n_trained], see trained.h */
    shoal_optim optim; /* over the same */
} shoal_workspace;

/* Tokens of the vocabulary whose logits exist at once: what fits the scratch of a block, if that is
 * worth a parallel section. */
size_t shoal_head_slice(const shoal_config *c);

/* Fills the byte counts of *plan, whose max_tokens, first_layer and tapes are set. False on
 * overflow. */
bool shoal_workspace_size(shoal_plan *plan, const shoal_model *m, const shoal_adapter *a);

/* Allocates plan->arena_bytes and lays everything out; optimiser state is zeroed. */
SHOAL_MUST_USE shoal_status shoal_workspace_open(shoal_workspace *ws, const shoal_plan *plan,
                                                 const shoal_model *m, const shoal_adapter *a,
                                                 shoal_error *err);

/* Cuts what is kept to a micro-batch of `rows` rows, <= plan->max_tokens: the fewer they are, the
 * more tapes find room. */
void shoal_workspace_set_rows(shoal_workspace *ws, const shoal_plan *plan, const shoal_config *c,
                              const shoal_lora_spec *spec, size_t rows);
void shoal_workspace_close(shoal_workspace *ws);

#endif
