/* cmd_cache.c - shoal cache: what the prompt cache holds, and its end. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "client/command.h"
#include "client/json.h"
#include "client/prompt_store.h"
#include "kernels/base/term.h"
#include "lora/infer/cache_dir.h"

static const char about[] =
    "The prompt cache in $SHOAL_HOME/cache keeps what models have read, so that it need not be\n"
    "read again. It holds the texts of conversations, readable by you alone, and what was not\n"
    "used for a week is removed.";

typedef struct totals {
    uint64_t files, bytes, tokens;
} totals;

static bool add_file(void *ctx, const shoal_cache_file *f)
{
    totals *t = ctx;
    t->files++;
    t->bytes += f->bytes;
    t->tokens += f->ref.n;
    return true;
}

/* The directory, if it is there: looking should not make it. */
static shoal_status open_dir(shoal_cache_dir *d, bool *there, shoal_error *err)
{
    shoal_store home;
    char path[SHOAL_PATH_MAX];
    struct stat sb;
    *there = false;
    SHOAL_TRY(shoal_store_open(&home, NULL, err));
    SHOAL_TRY(shoal_prompt_store_dir(&home, path, err));
    if (stat(path, &sb) != 0) return SHOAL_OK;
    *there = true;
    return shoal_cache_dir_open(d, path, 0, err);
}

static shoal_status show(bool json, shoal_error *err)
{
    shoal_cache_dir d = {.path = ""};
    totals t = {0};
    char size[32];
    bool there = false;
    SHOAL_TRY(open_dir(&d, &there, err));
    if (there) SHOAL_TRY(shoal_cache_dir_walk(&d, add_file, &t, err));
    if (json) {
        return shoal_json_print(stdout,
                                json_pack("{s:s, s:I, s:I, s:I}", "dir", d.path, "blocks",
                                          (json_int_t)t.files, "tokens", (json_int_t)t.tokens,
                                          "bytes", (json_int_t)t.bytes),
                                err);
    }
    shoal_format_bytes(t.bytes, size, sizeof size);
    (void)printf("%" PRIu64 " tokens in %" PRIu64 " blocks, %s%s%s\n", t.tokens, t.files, size,
                 there ? ", in " : "", d.path);
    return SHOAL_OK;
}

static shoal_status clear(shoal_error *err)
{
    shoal_store home;
    size_t n = 0;
    uint64_t bytes = 0;
    char size[32];
    SHOAL_TRY(shoal_store_open(&home, NULL, err));
    SHOAL_TRY(shoal_prompt_store_clear(&home, &n, &bytes, err));
    shoal_format_bytes(bytes, size, sizeof size);
    shoal_term_note("removed %zu blocks, %s", n, size);
    return SHOAL_OK;
}

static const shoal_usage info_usage = {.synopsis = "shoal cache info [--json]",
                                       .about = "Says what the prompt cache holds.",
                                       .example = "  shoal cache info"};

static int run_info(int argc, char **argv)
{
    shoal_error err = {0};
    bool json = false;
    const shoal_option options[] = {
        SHOAL_FLAG("json", 0, &json, "one object: {\"dir\",\"blocks\",\"tokens\",\"bytes\"}")};
    const shoal_option_group groups[] = {{"options", options, SHOAL_OPTION_COUNT_OF(options)}};
    int code = 0;
    if (!shoal_command_begin(&info_usage, groups, 1, argc, argv, NULL, &code)) return code;
    return shoal_command_end(show(json, &err), &err);
}

static const shoal_usage clear_usage = {.synopsis = "shoal cache clear",
                                        .about = "Removes everything the prompt cache holds.",
                                        .example = "  shoal cache clear"};

static int run_clear(int argc, char **argv)
{
    shoal_error err = {0};
    int code = 0;
    if (!shoal_command_begin(&clear_usage, NULL, 0, argc, argv, NULL, &code)) return code;
    return shoal_command_end(clear(&err), &err);
}

static const shoal_command commands[] = {
    {"info", run_info, "what it holds"},
    {"clear", run_clear, "remove everything"},
};

int shoal_cmd_cache(int argc, char **argv)
{
    return shoal_command_dispatch("shoal cache", about, commands, 2, argc, argv);
}
