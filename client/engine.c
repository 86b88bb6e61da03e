/* engine.c - threads, kernels, model and adapter in one call. */
#include "client/engine.h"

#include <sys/stat.h>

#include "client/peft.h"
#include "client/store.h"
#include "kernels/base/cpu.h"
#include "kernels/base/log.h"

void shoal_engine_option_table(shoal_engine_options *o, shoal_option table[SHOAL_ENGINE_N_OPTIONS])
{
    table[0] = (shoal_option){.name = "threads",
                              .letter = 't',
                              .kind = SHOAL_OPTION_COUNT,
                              .value = &o->threads,
                              .metavar = "N",
                              .help = "threads to compute with (default: one per processor)",
                              .min = 1,
                              .max = SHOAL_MAX_THREADS};
    table[1] = (shoal_option){
        .name = "cpu-mask",
        .kind = SHOAL_OPTION_STRING,
        .value = &o->cpu_mask,
        .metavar = "LEVEL",
        .help = "kernels up to: c, avx2, avxvnni, avx512, neon, dotprod, i8mm, all or a mask"};
    table[2] = (shoal_option){
        .name = "exact",
        .kind = SHOAL_OPTION_FLAG,
        .value = &o->exact,
        .help = "keep activations in f32 throughout (slower; for comparing numbers)"};
    table[3] = (shoal_option){.name = "verbose",
                              .letter = 'v',
                              .kind = SHOAL_OPTION_FLAG,
                              .value = &o->verbose,
                              .help = "say more about what is being done"};
}

void shoal_engine_input_table(shoal_engine_options *o, shoal_option table[SHOAL_ENGINE_N_INPUTS])
{
    table[0] =
        (shoal_option){.name = "model",
                       .letter = 'm',
                       .kind = SHOAL_OPTION_STRING,
                       .value = &o->model,
                       .metavar = "MODEL",
                       .help = "model: a GGUF file, or a name that `shoal model fetch` knows"};
    table[1] = (shoal_option){.name = "adapter",
                              .letter = 'a',
                              .kind = SHOAL_OPTION_STRING,
                              .value = &o->adapter,
                              .metavar = "ADAPTER",
                              .help = "adapter on top: a GGUF file or a PEFT directory"};
}

shoal_option shoal_engine_max_ram_option(shoal_engine_options *o)
{
    return (shoal_option)SHOAL_SIZE(
        "max-ram", 0, &o->max_ram, "SIZE",
        "most memory of the program, e.g. 64M; weights beyond it are read as they are needed",
        NULL);
}

shoal_option shoal_engine_kv_option(shoal_engine_options *o)
{
    return (shoal_option)SHOAL_STRING("kv", 0, &o->kv, "KIND",
                                      "keys and values in f16, q8 (half of it) or f32 (f16; "
                                      "f32 with --exact)");
}

static shoal_status choose_kv(shoal_engine *e, const shoal_engine_options *o, shoal_error *err)
{
    if (o->kv == NULL || shoal_kv_kind_parse(o->kv, &e->kv)) return SHOAL_OK;
    (void)shoal_fail(err, SHOAL_ERR_ARG, "--kv does not know \"%.40s\"", o->kv);
    shoal_hint(err, "use f16, q8 or f32");
    return SHOAL_ERR_ARG;
}

static shoal_status open_exec(shoal_engine *e, const shoal_engine_options *o, shoal_error *err)
{
    uint32_t mask = SHOAL_CPU_ALL;
    if (o->cpu_mask != NULL && !shoal_cpu_mask_parse(o->cpu_mask, &mask)) {
        (void)shoal_fail(err, SHOAL_ERR_ARG, "--cpu-mask does not know \"%.40s\"", o->cpu_mask);
        shoal_hint(err,
                   "use c, avx2, avxvnni, avx512, neon, dotprod, i8mm, all or a hexadecimal mask");
        return SHOAL_ERR_ARG;
    }
    SHOAL_TRY(shoal_pool_open(&e->pool, (unsigned)o->threads, err));
    return shoal_exec_open(&e->exec, e->pool, mask, o->exact, err);
}

static shoal_status open_model(shoal_engine *e, const char *name, shoal_error *err)
{
    char path[SHOAL_PATH_MAX];
    SHOAL_TRY(shoal_store_model_path(name, path, err));
    return shoal_model_open_pages(&e->model, path,
                                  e->max_ram != 0 ? SHOAL_PAGES_SMALL : SHOAL_PAGES_HUGE, err);
}

shoal_status shoal_engine_load_adapter(const shoal_engine *e, const char *path, shoal_adapter **out,
                                       shoal_error *err)
{
    char found[SHOAL_PATH_MAX];
    struct stat sb;
    SHOAL_TRY(shoal_store_adapter_path(path, found, err));
    shoal_status st = stat(found, &sb) == 0 && S_ISDIR(sb.st_mode)
                          ? shoal_peft_load(out, e->model, found, err)
                          : shoal_adapter_load(out, e->model, found, err);
    /* An adapter of another model is bad input here, not a wrong command line. */
    return st == SHOAL_ERR_ARG ? SHOAL_ERR_FORMAT : st;
}

shoal_status shoal_engine_open(shoal_engine *e, const shoal_engine_options *o, shoal_error *err)
{
    *e = (shoal_engine){0};
    e->max_ram = o->max_ram;
    if (o->verbose) shoal_log_set(SHOAL_LOG_DEBUG, NULL, NULL);
    shoal_status st = choose_kv(e, o, err);
    if (st == SHOAL_OK) st = open_exec(e, o, err);
    if (st == SHOAL_OK && o->model != NULL) st = open_model(e, o->model, err);
    if (st == SHOAL_OK && o->adapter != NULL) {
        st = shoal_engine_load_adapter(e, o->adapter, &e->adapter, err);
    }
    if (st != SHOAL_OK) shoal_engine_close(e);
    return st;
}

shoal_status shoal_engine_open_required(shoal_engine *e, const shoal_engine_options *o,
                                        shoal_error *err)
{
    *e = (shoal_engine){0};
    if (o->model != NULL) return shoal_engine_open(e, o, err);
    (void)shoal_fail(err, SHOAL_ERR_ARG, "no model given");
    shoal_hint(err, "name one with -m, e.g. -m smollm2-135m (`shoal model fetch smollm2-135m` "
                    "brings it)");
    return SHOAL_ERR_ARG;
}

void shoal_engine_close(shoal_engine *e)
{
    shoal_adapter_close(e->adapter);
    shoal_model_close(e->model);
    shoal_exec_close(&e->exec);
    shoal_pool_close(e->pool);
    *e = (shoal_engine){0};
}
