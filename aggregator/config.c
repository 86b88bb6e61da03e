/* config.c - config.yaml through libyaml's document tree. */
#include "aggregator/config.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <yaml.h>

#include "kernels/base/file.h"

enum { MAX_BYTES = 65536 };

shoal_config_file shoal_config_default(void)
{
    return (shoal_config_file){.deployment = "shoal",
                               .listen_host = "127.0.0.1",
                               .listen_port = 7433,
                               .public_host = "127.0.0.1",
                               .hosts = {"127.0.0.1", "localhost"},
                               .n_hosts = 2,
                               .cert_days = 7,
                               .poll_ms = 2000,
                               .max_connections = 4096,
                               .upload_memory_mb = 1024};
}

typedef enum value_kind { VALUE_TEXT, VALUE_U16, VALUE_U32, VALUE_HOSTS } value_kind;

typedef struct config_key {
    const char *name;
    value_kind kind;
    size_t offset;
    size_t cap; /* of a text */
    uint64_t min, max;
    const char *about;
} config_key;

#define AT(field) offsetof(shoal_config_file, field)

static const config_key KEYS[] = {
    {"deployment", VALUE_TEXT, AT(deployment), SHOAL_LIMIT_NAME, 0, 0,
     "Name of this deployment, shown to people who join."},
    {"listen_host", VALUE_TEXT, AT(listen_host), SHOAL_LIMIT_HOST, 0, 0,
     "Address to listen on; 0.0.0.0 for all of IPv4."},
    {"listen_port", VALUE_U16, AT(listen_port), 0, 0, 65535,
     "Port to listen on; 0 lets the system choose one."},
    {"public_host", VALUE_TEXT, AT(public_host), SHOAL_LIMIT_HOST, 0, 0,
     "Name or address that join links point to."},
    {"public_port", VALUE_U16, AT(public_port), 0, 0, 65535,
     "Port that join links point to; 0 for the port listened on."},
    {"hosts", VALUE_HOSTS, AT(hosts), 0, 0, 0, "Names and addresses in the server certificate."},
    {"cert_days", VALUE_U32, AT(cert_days), 0, 1, 7,
     "Life of a device certificate in days, 1 to 7."},
    {"poll_ms", VALUE_U32, AT(poll_ms), 0, 100, 3600000,
     "How soon a waiting device asks again, in milliseconds."},
    {"max_connections", VALUE_U32, AT(max_connections), 0, 8, 65536, "Connections open at a time."},
    {"upload_memory_mb", VALUE_U32, AT(upload_memory_mb), 0, 16, 1048576,
     "Memory for pieces of uploads, in MB; beyond it devices are asked to come back."},
};
enum { N_KEYS = sizeof KEYS / sizeof KEYS[0] };

shoal_status shoal_dir_path(const char *dir, const char *name, char out[SHOAL_DIR_PATH],
                            shoal_error *err)
{
    int n = snprintf(out, SHOAL_DIR_PATH, "%s/%s", dir, name);
    if (n < 0 || n >= SHOAL_DIR_PATH) {
        return shoal_fail(err, SHOAL_ERR_TOO_LARGE, "the path of the directory is too long");
    }
    return SHOAL_OK;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

typedef struct reader {
    yaml_document_t *doc;
    const char *path;
    shoal_error *err;
} reader;

static shoal_status fail_at(const reader *r, const yaml_node_t *n, const char *key,
                            const char *what)
{
    return shoal_fail(r->err, SHOAL_ERR_FORMAT, "%s line %zu: %s %s", r->path,
                      n->start_mark.line + 1, key, what);
}

static const char *scalar(const yaml_node_t *n)
{
    return n != NULL && n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;
}

/* Values go into a TLS certificate, a link or a terminal: printable ASCII only. */
static bool plain_text(const char *s)
{
    for (; *s != '\0'; s++) {
        if (*s < 0x20 || *s > 0x7e) {
            return false;
        }
    }
    return true;
}

static shoal_status take_text(const reader *r, const yaml_node_t *n, const char *key, char *out,
                              size_t cap)
{
    const char *s = scalar(n);
    if (s == NULL || *s == '\0' || strlen(s) >= cap || !plain_text(s)) {
        return fail_at(r, n, key, "must be a short plain text");
    }
    memcpy(out, s, strlen(s) + 1);
    return SHOAL_OK;
}

static shoal_status take_hosts(const reader *r, const yaml_node_t *n, shoal_config_file *c)
{
    if (n->type != YAML_SEQUENCE_NODE) {
        return fail_at(r, n, "hosts", "must be a list");
    }
    c->n_hosts = 0;
    for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
        if (c->n_hosts == SHOAL_CONFIG_HOSTS) {
            return fail_at(r, n, "hosts", "has more than 8 entries");
        }
        SHOAL_TRY(take_text(r, yaml_document_get_node(r->doc, *i), "hosts", c->hosts[c->n_hosts],
                            SHOAL_LIMIT_HOST));
        c->n_hosts++;
    }
    return c->n_hosts > 0 ? SHOAL_OK : fail_at(r, n, "hosts", "is empty");
}

static shoal_status take_number(const reader *r, const yaml_node_t *n, const config_key *k,
                                char *field)
{
    uint64_t v = 0;
    const char *s = scalar(n);
    if (s == NULL || !shoal_parse_u64(s, &v) || v < k->min || v > k->max) {
        char what[96];
        (void)snprintf(what, sizeof what, "must be a number from %llu to %llu",
                       (unsigned long long)k->min, (unsigned long long)k->max);
        return fail_at(r, n, k->name, what);
    }
    if (k->kind == VALUE_U16) {
        uint16_t small = (uint16_t)v;
        memcpy(field, &small, sizeof small);
    } else {
        uint32_t word = (uint32_t)v;
        memcpy(field, &word, sizeof word);
    }
    return SHOAL_OK;
}

static shoal_status take_pair(const reader *r, const yaml_node_t *name, const yaml_node_t *value,
                              shoal_config_file *c)
{
    const char *key = scalar(name);
    for (size_t i = 0; key != NULL && i < N_KEYS; i++) {
        const config_key *k = &KEYS[i];
        if (strcmp(key, k->name) != 0) {
            continue;
        }
        char *field = (char *)c + k->offset;
        if (k->kind == VALUE_TEXT) {
            return take_text(r, value, key, field, k->cap);
        }
        return k->kind == VALUE_HOSTS ? take_hosts(r, value, c) : take_number(r, value, k, field);
    }
    return fail_at(r, name, key != NULL ? key : "key", "is not a setting");
}

static shoal_status take_document(const reader *r, shoal_config_file *c)
{
    yaml_node_t *root = yaml_document_get_root_node(r->doc);
    if (root == NULL) {
        return SHOAL_OK; /* an empty file: all defaults */
    }
    if (root->type != YAML_MAPPING_NODE) {
        return fail_at(r, root, "the file", "must consist of \"key: value\" lines");
    }
    yaml_node_pair_t *p = root->data.mapping.pairs.start;
    for (; p < root->data.mapping.pairs.top; p++) {
        SHOAL_TRY(take_pair(r, yaml_document_get_node(r->doc, p->key),
                            yaml_document_get_node(r->doc, p->value), c));
    }
    return SHOAL_OK;
}

static shoal_status parse(const char *path, const shoal_buf *text, shoal_config_file *c,
                          shoal_error *err)
{
    yaml_parser_t parser;
    yaml_document_t doc;
    if (yaml_parser_initialize(&parser) == 0) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory to read %s", path);
    }
    /* shoal_buf_str: libyaml wants a pointer even for an empty file */
    yaml_parser_set_input_string(&parser, (const unsigned char *)shoal_buf_str(text), text->len);
    shoal_status st;
    if (yaml_parser_load(&parser, &doc) == 0) {
        st =
            shoal_fail(err, SHOAL_ERR_FORMAT, "%s line %zu: %s", path, parser.problem_mark.line + 1,
                       parser.problem != NULL ? parser.problem : "not YAML");
    } else {
        reader r = {&doc, path, err};
        st = take_document(&r, c);
        yaml_document_delete(&doc);
    }
    yaml_parser_delete(&parser);
    return st;
}

shoal_status shoal_config_load(shoal_config_file *out, const char *dir, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    shoal_buf text = shoal_buf_init(0);
    *out = shoal_config_default();
    SHOAL_TRY(shoal_dir_path(dir, "config.yaml", path, err));
    shoal_status st = shoal_file_read(path, MAX_BYTES, &text, err);
    if (st == SHOAL_ERR_NOT_FOUND) {
        shoal_hint(err,
                   "`shoal-aggregator init %s` makes one; --dir or SHOAL_AGGREGATOR_DIR says "
                   "where it is",
                   dir);
        return st;
    }
    if (st == SHOAL_OK) {
        st = parse(path, &text, out, err);
    }
    shoal_buf_clear(&text);
    return st;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

static void write_value(const shoal_config_file *c, const config_key *k, shoal_buf *out)
{
    const char *field = (const char *)c + k->offset;
    uint16_t small;
    uint32_t word;
    switch (k->kind) {
    case VALUE_TEXT: shoal_buf_putf(out, " \"%s\"\n", field); break;
    case VALUE_U16:
        memcpy(&small, field, sizeof small);
        shoal_buf_putf(out, " %u\n", (unsigned)small);
        break;
    case VALUE_U32:
        memcpy(&word, field, sizeof word);
        shoal_buf_putf(out, " %u\n", (unsigned)word);
        break;
    case VALUE_HOSTS:
        shoal_buf_put_str(out, "\n");
        for (size_t i = 0; i < c->n_hosts; i++) {
            shoal_buf_putf(out, "  - \"%s\"\n", c->hosts[i]);
        }
        break;
    }
}

static shoal_status check_text(const char *s, shoal_error *err)
{
    if (!plain_text(s) || strpbrk(s, "\"\\") != NULL) {
        return shoal_fail(err, SHOAL_ERR_ARG, "\"%.60s\" is not a plain name or address", s);
    }
    return SHOAL_OK;
}

shoal_status shoal_config_write(const shoal_config_file *c, shoal_buf *out, shoal_error *err)
{
    SHOAL_TRY(check_text(c->deployment, err));
    SHOAL_TRY(check_text(c->listen_host, err));
    SHOAL_TRY(check_text(c->public_host, err));
    for (size_t i = 0; i < c->n_hosts; i++) {
        SHOAL_TRY(check_text(c->hosts[i], err));
    }
    shoal_buf_put_str(out,
                      "# Settings of this aggregator. A change takes effect at the next start.\n");
    for (size_t i = 0; i < N_KEYS; i++) {
        shoal_buf_putf(out, "\n# %s\n%s:", KEYS[i].about, KEYS[i].name);
        write_value(c, &KEYS[i], out);
    }
    return shoal_buf_status(out, err);
}
