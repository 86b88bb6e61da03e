/* optim.h - the optimisers a trainer can step with, and the state each keeps.
 *
 * State is at most one array of floats and one of bytes, so that memory plans and checkpoints treat
 * all kinds alike. The arrays belong to the trainer's arena.
 *
 * Layer: lora/train. Threads: one owner; steps on the pool of its exec.
 */
#ifndef SHOAL_LORA_TRAIN_OPTIM_H
#define SHOAL_LORA_TRAIN_OPTIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum shoal_optimizer {
    SHOAL_OPTIMIZER_ADAMW = 0,  /* two f32 moments: 8 bytes a parameter */
    SHOAL_OPTIMIZER_ADAMW8 = 1, /* the same in 8 bits: 2.1 bytes */
    SHOAL_OPTIMIZER_SGD = 2     /* momentum beta1: 4 bytes */
} shoal_optimizer;
enum { SHOAL_OPTIMIZER_KINDS = 3 };

/* "adamw", "adamw8", "sgd"; false on anything else. */
bool shoal_optimizer_parse(const char *text, shoal_optimizer *kind);
const char *shoal_optimizer_name(shoal_optimizer kind);

typedef struct shoal_optim {
    shoal_optimizer kind;
    size_t n;       /* parameters */
    uint64_t step;  /* steps taken */
    float *floats;  /* [n_floats] adamw: m, then v; sgd: m; adamw8: peaks of m's blocks, then v's */
    uint8_t *codes; /* [n_codes] adamw8: m, then v */
    size_t n_floats, n_codes;
} shoal_optim;

/* Sets kind, n and the lengths of both arrays; the arrays are the caller's to place. False when
 * they would overflow. */
bool shoal_optim_size(shoal_optim *o, shoal_optimizer kind, size_t n);

/* As before the first step. */
void shoal_optim_reset(shoal_optim *o);

/* Step number o->step on p [n] by g [n], whose state is [at, at + n) of o's; h's own number is not
 * read. at is a multiple of SHOAL_MOMENT_BLOCK. */
void shoal_optim_update(const shoal_optim *o, const shoal_exec *ex, const shoal_adamw *h, size_t at,
                        size_t n, float *p, const float *g);

#ifdef __cplusplus
}
#endif
#endif
