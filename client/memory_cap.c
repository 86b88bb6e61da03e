/* memory_cap.c - shares --max-ram out between the program, a session and the weights. */
#include "client/memory_cap.h"

#include <stdint.h>

#include "kernels/base/log.h"
#include "kernels/base/term.h"
#include "lora/model/residency.h"

/* For what grows while a program works: stacks, output, library code not yet used. */
#define MARGIN ((size_t)3 << 20)
/* Where the system does not tell what is resident. */
#define PROGRAM_USUAL ((size_t)32 << 20)

static size_t resident_bytes(void)
{
    uint64_t n = shoal_resident_bytes();
    return n != 0 ? (size_t)n : PROGRAM_USUAL;
}

/* What a session may shrink to, best first; 0: as without a bound. */
typedef struct size_choice {
    size_t n_ctx, chunk, logit_rows;
} size_choice;

static const size_choice CHOICES[] = {{0, 0, 0},     {2048, 256, 8}, {1024, 256, 8}, {1024, 128, 8},
                                      {512, 128, 4}, {512, 64, 4},   {256, 64, 4},   {256, 32, 4}};
enum { N_CHOICES = sizeof CHOICES / sizeof CHOICES[0] };

static size_t open_or(size_t asked, size_t choice, size_t most)
{
    if (asked != 0) return asked;
    return choice > most ? most : choice;
}

/* What the caller asked for stays; the rest as choice i. */
static shoal_session_opts choose(const shoal_session_opts *asked, size_t i, const shoal_model *m)
{
    shoal_session_opts o = *asked;
    o.n_ctx = open_or(o.n_ctx, CHOICES[i].n_ctx, m->cfg.n_ctx);
    o.chunk = open_or(o.chunk, CHOICES[i].chunk, SIZE_MAX);
    o.logit_rows = open_or(o.logit_rows, CHOICES[i].logit_rows, SIZE_MAX);
    return o;
}

/* The largest session that takes at most half of `room`, so that weights can stay in memory too; or
 * the smallest there is. */
static shoal_status fit_session(const shoal_engine *e, const shoal_session_opts *asked, size_t room,
                                shoal_session_opts *out, size_t *bytes, shoal_error *err)
{
    for (size_t i = 0; i < N_CHOICES; i++) {
        *out = choose(asked, i, e->model);
        SHOAL_TRY(shoal_session_plan(e->model, &e->exec, out, bytes, err));
        if (*bytes <= room / 2) break;
    }
    return SHOAL_OK;
}

static shoal_status refuse(const shoal_engine *e, size_t least, shoal_error *err)
{
    const size_t unit = (size_t)1 << 20;
    (void)shoal_fail(err, SHOAL_ERR_TOO_LARGE, "%zu MiB of memory are too little for this model",
                     (size_t)(e->max_ram / unit));
    shoal_hint(err, "the smallest that works here is --max-ram %zuM", (least + unit - 1) / unit);
    return SHOAL_ERR_TOO_LARGE;
}

static void say(const shoal_session_opts *asked, const shoal_session_opts *o, const shoal_model *m)
{
    shoal_residency_stats s = shoal_residency_get_stats(m);
    if (asked->n_ctx == 0 && o->n_ctx != 0) {
        shoal_term_note("the context is %zu tokens to keep --max-ram (-c chooses)", o->n_ctx);
    }
    shoal_log(SHOAL_LOG_DEBUG, "memory",
              "weights: %zu of %zu parts stay in memory, %zu KiB and %zu KiB to read through",
              s.n_kept, s.n_parts, s.kept_bytes >> 10, s.window >> 10);
}

static shoal_status open_capped(const shoal_engine *e, const shoal_session_opts *asked,
                                shoal_session **out, shoal_error *err)
{
    shoal_session_opts o;
    size_t session = 0;
    shoal_residency_close(e->model); /* of an earlier session: its weights do not count any more */
    size_t taken = resident_bytes() + e->exec.scratch_bytes + MARGIN;
    size_t least = shoal_residency_least(e->model);
    size_t cap = e->max_ram < SIZE_MAX ? (size_t)e->max_ram : SIZE_MAX;
    size_t room = cap > taken + least ? cap - taken - least : 0;
    SHOAL_TRY(fit_session(e, asked, room, &o, &session, err));
    if (session > room) return refuse(e, taken + least + session, err);
    SHOAL_TRY(shoal_residency_open(e->model, cap - taken - session, err));
    SHOAL_TRY(shoal_session_open(out, e->model, &e->exec, &o, err));
    say(asked, &o, e->model);
    return SHOAL_OK;
}

shoal_status shoal_engine_open_session(const shoal_engine *e, const shoal_session_opts *opts,
                                       shoal_session **out, shoal_error *err)
{
    *out = NULL;
    return e->max_ram == 0 ? shoal_session_open(out, e->model, &e->exec, opts, err)
                           : open_capped(e, opts, out, err);
}
