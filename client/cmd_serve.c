/* cmd_serve.c - shoal serve: the tuned model behind the OpenAI chat API. */
#include <stdio.h>
#include <string.h>

#include "client/command.h"
#include "client/engine.h"
#include "client/prompt_store.h"
#include "client/serve.h"
#include "client/store.h"
#include "kernels/base/term.h"

static const shoal_usage usage = {
    .synopsis = "shoal serve -m MODEL [-a ADAPTER]... [--port 8080] [options]",
    .about =
        "Answers POST /v1/chat/completions (plain and streamed), GET /v1/models and GET /health "
        "in\n"
        "the form of the OpenAI API, to programs on this machine. Model ids: \"base\", and each\n"
        "adapter by its file name; requests that name none get the first adapter. One answer is\n"
        "generated at a time; a bounded number of requests waits. Ctrl-C ends it.",
    .example =
        "  shoal serve -m smollm2-135m -a notes.gguf --port 8080\n"
        "  curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\\n"
        "    -d '{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'"};

typedef struct serve_command {
    shoal_engine_options engine;
    shoal_decoding how;
    shoal_arguments adapters;
    const char *host;
    uint64_t port, ctx, queue, cache_ram;
    shoal_prompt_options cache;
    bool context_shift, json;
} serve_command;

typedef struct serving {
    const serve_command *c;
    shoal_engine e;
    shoal_serve_model models[SHOAL_SERVE_MAX_MODELS];
    size_t n;
    shoal_prompt_store store;
} serving;

/* "dir/notes.gguf" -> "notes". */
static void adapter_id(char id[SHOAL_SERVE_NAME], const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') {
        n--;
    }
    size_t begin = n;
    while (begin > 0 && path[begin - 1] != '/') {
        begin--;
    }
    n -= begin;
    if (n > 5 && memcmp(path + begin + n - 5, ".gguf", 5) == 0) n -= 5;
    (void)snprintf(id, SHOAL_SERVE_NAME, "%.*s", (int)(n > 64 ? 64 : n), path + begin);
}

static shoal_status add_adapter(serving *s, const char *path, shoal_error *err)
{
    if (s->n == SHOAL_SERVE_MAX_MODELS) {
        return shoal_fail(err, SHOAL_ERR_ARG, "more than %d adapters", SHOAL_SERVE_MAX_MODELS - 1);
    }
    shoal_serve_model *m = &s->models[s->n];
    adapter_id(m->id, path);
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->models[i].id, m->id) == 0) {
            (void)shoal_fail(err, SHOAL_ERR_ARG, "two models would have the id \"%s\"", m->id);
            shoal_hint(err, "rename one of the files");
            return SHOAL_ERR_ARG;
        }
    }
    SHOAL_TRY(shoal_engine_load_adapter(&s->e, path, &m->adapter, err));
    s->n++;
    return SHOAL_OK;
}

static shoal_status load_models(serving *s, shoal_error *err)
{
    (void)snprintf(s->models[0].id, SHOAL_SERVE_NAME, "base");
    s->n = 1;
    for (size_t i = 0; i < s->c->adapters.n; i++) {
        SHOAL_TRY(add_adapter(s, s->c->adapters.items[i], err));
    }
    return SHOAL_OK;
}

static void on_ready(void *ctx, uint16_t port)
{
    const serving *s = ctx;
    bool v6 = strchr(s->c->host, ':') != NULL;
    shoal_term_note("serving %zu model%s at http://%s%s%s:%u/v1 (Ctrl-C ends)", s->n,
                    s->n == 1 ? "" : "s", v6 ? "[" : "", s->c->host, v6 ? "]" : "", (unsigned)port);
    if (s->c->json) {
        (void)printf("{\"port\":%u}\n", (unsigned)port);
        (void)fflush(stdout);
    }
}

static shoal_status run(const serve_command *c, shoal_error *err)
{
    serving s = {.c = c};
    bool loopback = shoal_is_loopback(c->host);
    SHOAL_TRY(shoal_decoding_check(&c->how, err));
    if (!loopback) {
        shoal_term_warn("%s is not loopback: anyone who can reach this port can use the model, "
                        "and nothing is encrypted",
                        c->host);
    }
    SHOAL_TRY(shoal_engine_open_required(&s.e, &c->engine, err));
    shoal_status st = load_models(&s, err);
    if (st == SHOAL_OK) {
        st = shoal_prompt_store_open(&s.store, &c->cache, &c->engine, (size_t)c->cache_ram, err);
    }
    if (st == SHOAL_OK) {
        const shoal_serve_options o = {.host = c->host,
                                       .port = (uint16_t)c->port,
                                       .engine = &s.e,
                                       .models = s.models,
                                       .n_models = s.n,
                                       .default_model = s.n > 1 ? 1 : 0,
                                       .decoding = c->how,
                                       .n_ctx = (size_t)c->ctx,
                                       .queue = (size_t)c->queue,
                                       .store = &s.store,
                                       .context_shift = c->context_shift,
                                       .loopback = loopback};
        st = shoal_serve(&o, on_ready, &s, err);
    }
    shoal_prompt_store_close(&s.store);
    for (size_t i = 1; i < s.n; i++) {
        shoal_adapter_close(s.models[i].adapter);
    }
    shoal_engine_close(&s.e);
    return st;
}

int shoal_cmd_serve(int argc, char **argv)
{
    shoal_error err = {0};
    serve_command c = {.how = shoal_decoding_default(),
                       .cache = shoal_prompt_options_default("on"),
                       .cache_ram = (uint64_t)64 << 20,
                       .host = "127.0.0.1",
                       .port = 8080,
                       .queue = 16};
    shoal_option common[SHOAL_ENGINE_N_OPTIONS];
    shoal_option inputs[SHOAL_ENGINE_N_INPUTS];
    shoal_option decoding[SHOAL_DECODING_N_OPTIONS];
    shoal_option cache[SHOAL_PROMPT_N_OPTIONS];
    const shoal_option options[] = {
        SHOAL_LIST("adapter", 'a', &c.adapters, "ADAPTER", "adapter to serve; may be repeated"),
        SHOAL_COUNT("port", 0, &c.port, "PORT", "port to listen on, 0: any free one (8080)", 0,
                    65535),
        SHOAL_STRING("host", 0, &c.host, "ADDRESS", "address to listen on (127.0.0.1)"),
        SHOAL_COUNT("ctx", 'c', &c.ctx, "N", "tokens of context (the model's, at most 4096)", 1,
                    1 << 20),
        shoal_engine_kv_option(&c.engine),
        shoal_engine_max_ram_option(&c.engine),
        SHOAL_COUNT("queue", 0, &c.queue, "N", "requests that may wait (16)", 1, 1024),
        SHOAL_SIZE("cache-ram", 0, &c.cache_ram, "SIZE",
                   "most of the prompt cache in memory; none with --max-ram (64M)", NULL),
        SHOAL_FLAG("context-shift", 0, &c.context_shift,
                   "drop a conversation's oldest turns when it outgrows the context"),
        SHOAL_FLAG("json", 0, &c.json, "print {\"port\"} once it listens")};
    shoal_engine_option_table(&c.engine, common);
    shoal_engine_input_table(&c.engine, inputs);
    shoal_decoding_option_table(&c.how, decoding);
    shoal_prompt_option_table(&c.cache, cache);
    const shoal_option_group groups[] = {
        {"input", inputs, 1},
        {"options", options, SHOAL_OPTION_COUNT_OF(options)},
        {"when a request leaves it open", decoding, SHOAL_DECODING_N_OPTIONS},
        {"prompt cache (on)", cache, SHOAL_PROMPT_N_OPTIONS},
        {"common", common, SHOAL_ENGINE_N_OPTIONS}};
    int code = 0;
    if (!shoal_command_begin(&usage, groups, 5, argc, argv, NULL, &code)) return code;
    return shoal_command_end(run(&c, &err), &err);
}
