/* cmd_quantize.c - shoal quantize: a model file with its matrices in another type. */
#include <stdio.h>

#include "client/command.h"
#include "client/json.h"
#include "kernels/base/term.h"
#include "lora/compress/quantize.h"

static const shoal_usage usage = {
    .synopsis = "shoal quantize IN OUT TYPE [--head TYPE] [--json]",
    .about = "Writes the GGUF model IN to OUT with its matrices as TYPE:\n"
             "  packed           the types IN has, laid out for this program's kernels; no loss\n"
             "  Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4_K Q5_K Q6_K F16 BF16 F32\n"
             "  Q4_A Q6_A        4 and 6 bits, scales in half the room of Q4_1\n"
             "  P4_0 P4_1 P8_0 P4_A P6_A   packed forms; P4_A is the fastest of 4 bits\n"
             "Only Shoal reads packed files. Norms and other vectors stay as they are. The "
             "embedding and\n"
             "output matrices take 8 bits (TYPE itself when it is F16, BF16 or F32; with packed, "
             "the type\n"
             "they have), or what --head says.",
    .example = "  shoal quantize smollm2-135m.gguf small.gguf Q4_0 --head Q4_0\n"
               "  shoal quantize smollm2-135m.gguf fast.gguf packed",
    .min_args = 3,
    .max_args = 3};

typedef struct quantize_options {
    const char *head;
    bool json;
} quantize_options;

static void show_progress(void *ctx, uint64_t done, uint64_t total)
{
    shoal_progress *bar = ctx;
    bar->total = total;
    shoal_progress_update(bar, done, "");
}

static shoal_status print_report(const shoal_rewrite_report *r, const char *out, bool json,
                                 shoal_error *err)
{
    char before[32], after[32];
    shoal_format_bytes(r->bytes_in, before, sizeof before);
    shoal_format_bytes(r->bytes_out, after, sizeof after);
    shoal_term_note("%s: %zu matrices changed, %zu tensors copied, %s -> %s", out, r->changed,
                    r->copied, before, after);
    if (r->fallbacks > 0) {
        shoal_term_note("%zu matrices have a shape that does not fit the type and took another",
                        r->fallbacks);
    }
    if (!json) return SHOAL_OK;
    return shoal_json_print(stdout,
                            json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "path", out, "bytes_in",
                                      (json_int_t)r->bytes_in, "bytes_out",
                                      (json_int_t)r->bytes_out, "changed", (json_int_t)r->changed,
                                      "copied", (json_int_t)r->copied, "fallbacks",
                                      (json_int_t)r->fallbacks),
                            err);
}

static shoal_status quantize(const char *const *args, const quantize_options *o, uint64_t threads,
                             shoal_error *err)
{
    shoal_quantize_target target;
    shoal_rewrite_report report;
    shoal_progress bar = {0};
    shoal_pool *pool = NULL;
    SHOAL_TRY(shoal_quantize_target_parse(&target, args[2], o->head, err));
    SHOAL_TRY(shoal_pool_open(&pool, (unsigned)threads, err));
    shoal_progress_begin(&bar, "quantising", 0, 0, o->json);
    shoal_status st =
        shoal_quantize_file(args[0], args[1], &target, pool, show_progress, &bar, &report, err);
    shoal_progress_end(&bar, "");
    shoal_pool_close(pool);
    return st == SHOAL_OK ? print_report(&report, args[1], o->json, err) : st;
}

int shoal_cmd_quantize(int argc, char **argv)
{
    shoal_error err = {0};
    quantize_options o = {0};
    uint64_t threads = 0;
    shoal_arguments args = {0};
    const shoal_option options[] = {
        SHOAL_STRING("head", 0, &o.head, "TYPE", "type of the embedding and output matrices"),
        SHOAL_COUNT("threads", 't', &threads, "N", "threads (one per processor)", 0,
                    SHOAL_MAX_THREADS),
        SHOAL_FLAG("json", 0, &o.json, "print one JSON object")};
    const shoal_option_group groups[] = {{"options", options, SHOAL_OPTION_COUNT_OF(options)}};
    int code = 0;
    if (!shoal_command_begin(&usage, groups, 1, argc, argv, &args, &code)) return code;
    return shoal_command_end(quantize(args.items, &o, threads, &err), &err);
}
