/* engine.h - opens what nearly every command needs: threads, kernels, a model and its adapter.
 *
 * Layer: client. Threads: an engine has one user at a time.
 */
#ifndef SHOAL_CLIENT_ENGINE_H
#define SHOAL_CLIENT_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/options.h"
#include "kernels/kernels.h"
#include "lora/infer/kv.h"
#include "lora/model/model.h"
#include "lora/train/adapter.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_engine_options {
    uint64_t threads; /* 0: one per processor */
    const char *cpu_mask;
    const char *kv; /* kind of KV cache: f16 (NULL), q8, f32 */
    bool exact;
    bool verbose;
    const char *model;   /* a path, or a name under $SHOAL_HOME/models */
    const char *adapter; /* GGUF file or PEFT directory; NULL for none */
    uint64_t max_ram;    /* bytes; 0: no bound (memory_cap.h) */
} shoal_engine_options;

/* The common flags --threads, --cpu-mask, --exact, -v as a table over `o`; and -m, -a. */
enum { SHOAL_ENGINE_N_OPTIONS = 4, SHOAL_ENGINE_N_INPUTS = 2 };
void shoal_engine_option_table(shoal_engine_options *o, shoal_option table[SHOAL_ENGINE_N_OPTIONS]);
void shoal_engine_input_table(shoal_engine_options *o, shoal_option table[SHOAL_ENGINE_N_INPUTS]);
/* --max-ram, for commands that open their session by memory_cap.h. */
shoal_option shoal_engine_max_ram_option(shoal_engine_options *o);

/* --kv, for commands that open sessions (with shoal_engine.kv). */
shoal_option shoal_engine_kv_option(shoal_engine_options *o);

typedef struct shoal_engine {
    shoal_pool *pool;
    shoal_exec exec;
    shoal_model *model;
    shoal_adapter *adapter; /* NULL when none was asked for */
    shoal_kv_kind kv;
    uint64_t max_ram; /* of the whole process; 0: no bound */
} shoal_engine;

/* Opens the pool and kernels, the model when o->model is set and the adapter when o->adapter is.
 * On failure everything is closed again. */
SHOAL_MUST_USE shoal_status shoal_engine_open(shoal_engine *e, const shoal_engine_options *o,
                                              shoal_error *err);
/* The same for a command that cannot do without a model: SHOAL_ERR_ARG with a hint when none was
 * named. */
SHOAL_MUST_USE shoal_status shoal_engine_open_required(shoal_engine *e,
                                                       const shoal_engine_options *o,
                                                       shoal_error *err);
void shoal_engine_close(shoal_engine *e);

/* Loads an adapter for e->model from a GGUF file, or from a directory in PEFT's form. */
SHOAL_MUST_USE shoal_status shoal_engine_load_adapter(const shoal_engine *e, const char *path,
                                                      shoal_adapter **out, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
