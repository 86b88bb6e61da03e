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
                               .poll_ms = 2000,
                               .max_connections = 8192,
                               .max_connections_per_address = 1024,
                               .sessions_per_day = 200,
                               .upload_memory_mb = 1024};
}

shoal_ca_settings shoal_ca_settings_default(void)
{
    return (shoal_ca_settings){
        .cert_days = 7, .certs_per_device_hour = 1, .certs_per_minute = 600, .attestation = "none"};
}

/* OPTIONAL: a text that may be empty. */
typedef enum value_kind {
    VALUE_TEXT,
    VALUE_OPTIONAL,
    VALUE_U16,
    VALUE_U32,
    VALUE_HOSTS
} value_kind;

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
    {"ca_socket", VALUE_OPTIONAL, AT(ca_socket), SHOAL_CONFIG_PATH, 0, 0,
     "Unix socket of a CA that runs by itself (`shoal-aggregator ca serve`); empty: `run` starts "
     "one."},
    {"poll_ms", VALUE_U32, AT(poll_ms), 0, 100, 3600000,
     "How soon a waiting device asks again, in milliseconds."},
    {"max_connections", VALUE_U32, AT(max_connections), 0, 8, 65536,
     "Connections open at a time. The idle ones take about 4 kB each."},
    {"max_connections_per_address", VALUE_U32, AT(max_connections_per_address), 0, 0, 65536,
     "Of these, from one address (many phones share one behind a carrier's network); 0: all."},
    {"sessions_per_day", VALUE_U32, AT(sessions_per_day), 0, 0, 100000,
     "Rounds that one device may join in 24 hours, of all tasks; 0: no limit."},
    {"upload_memory_mb", VALUE_U32, AT(upload_memory_mb), 0, 16, 1048576,
     "Memory for pieces of uploads, in MB; beyond it devices are asked to come back."},
};
enum { N_KEYS = sizeof KEYS / sizeof KEYS[0] };

#define CA_AT(field) offsetof(shoal_ca_settings, field)

static const config_key CA_KEYS[] = {
    {"cert_days", VALUE_U32, CA_AT(cert_days), 0, 1, 7,
     "Life of a device certificate in days, 1 to 7."},
    {"certs_per_device_hour", VALUE_U32, CA_AT(certs_per_device_hour), 0, 1, 60,
     "Certificates for one device in an hour, renewals included."},
    {"certs_per_minute", VALUE_U32, CA_AT(certs_per_minute), 0, 1, 100000,
     "Certificates for all devices in a minute."},
    {"attestation", VALUE_TEXT, CA_AT(attestation), sizeof(((shoal_ca_settings *)0)->attestation),
     0, 0, "What a device must show of itself to join: none, software or android."},
    {"attestation_keys", VALUE_OPTIONAL, CA_AT(attestation_keys), SHOAL_LIMIT_NAME, 0, 0,
     "File beside this one: root certificates, DER, one behind the other (android), or one public\n"
     "# key, DER (software)."},
    {"attestation_revoked", VALUE_OPTIONAL, CA_AT(attestation_revoked), SHOAL_LIMIT_NAME, 0, 0,
     "File beside this one with the status list of attestation keys (JSON); empty: none."},
    {"attestation_package", VALUE_OPTIONAL, CA_AT(attestation_package), SHOAL_LIMIT_HOST, 0, 0,
     "Android: name of the app's package."},
    {"attestation_signer", VALUE_OPTIONAL, CA_AT(attestation_signer),
     sizeof(((shoal_ca_settings *)0)->attestation_signer), 0, 0,
     "Android: SHA-256 of the app's signing certificate, 64 hexadecimal digits."},
};
enum { N_CA_KEYS = sizeof CA_KEYS / sizeof CA_KEYS[0] };

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
    const config_key *keys;
    size_t n_keys;
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
                              size_t cap, bool may_be_empty)
{
    const char *s = scalar(n);
    if (s == NULL || (*s == '\0' && !may_be_empty) || strlen(s) >= cap || !plain_text(s)) {
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
                            SHOAL_LIMIT_HOST, false));
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
                              void *c)
{
    const char *key = scalar(name);
    for (size_t i = 0; key != NULL && i < r->n_keys; i++) {
        const config_key *k = &r->keys[i];
        if (strcmp(key, k->name) != 0) {
            continue;
        }
        char *field = (char *)c + k->offset;
        if (k->kind == VALUE_TEXT || k->kind == VALUE_OPTIONAL) {
            return take_text(r, value, key, field, k->cap, k->kind == VALUE_OPTIONAL);
        }
        return k->kind == VALUE_HOSTS ? take_hosts(r, value, c) : take_number(r, value, k, field);
    }
    return fail_at(r, name, key != NULL ? key : "key", "is not a setting");
}

static shoal_status take_document(const reader *r, void *c)
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

/* r: keys, path and err; parses into the struct that the keys' offsets mean. */
static shoal_status parse(reader *r, const shoal_buf *text, void *c)
{
    yaml_parser_t parser;
    yaml_document_t doc;
    const char *path = r->path;
    shoal_error *err = r->err;
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
        r->doc = &doc;
        st = take_document(r, c);
        yaml_document_delete(&doc);
    }
    yaml_parser_delete(&parser);
    return st;
}

/* Reads DIR/NAME over what `out` holds. */
static shoal_status load(const char *dir, const char *name, const config_key *keys, size_t n_keys,
                         void *out, shoal_error *err)
{
    char path[SHOAL_DIR_PATH];
    shoal_buf text = shoal_buf_init(0);
    SHOAL_TRY(shoal_dir_path(dir, name, path, err));
    shoal_status st = shoal_file_read(path, MAX_BYTES, &text, err);
    if (st == SHOAL_OK) {
        reader r = {.keys = keys, .n_keys = n_keys, .path = path, .err = err};
        st = parse(&r, &text, out);
    }
    shoal_buf_clear(&text);
    return st;
}

shoal_status shoal_config_load(shoal_config_file *out, const char *dir, shoal_error *err)
{
    *out = shoal_config_default();
    shoal_status st = load(dir, "config.yaml", KEYS, N_KEYS, out, err);
    if (st == SHOAL_ERR_NOT_FOUND) {
        shoal_hint(err,
                   "`shoal-aggregator init %s` makes one; --dir or SHOAL_AGGREGATOR_DIR says "
                   "where it is",
                   dir);
    }
    return st;
}

shoal_status shoal_ca_settings_load(shoal_ca_settings *out, const char *ca_dir, shoal_error *err)
{
    *out = shoal_ca_settings_default();
    return load(ca_dir, "ca.yaml", CA_KEYS, N_CA_KEYS, out, err);
}

/* ---- writing ----------------------------------------------------------------------------------
 */

static void write_value(const void *c, const config_key *k, shoal_buf *out)
{
    const char *field = (const char *)c + k->offset;
    const shoal_config_file *file = c; /* only the aggregator's has hosts */
    uint16_t small;
    uint32_t word;
    switch (k->kind) {
    case VALUE_TEXT:
    case VALUE_OPTIONAL: shoal_buf_putf(out, " \"%s\"\n", field); break;
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
        for (size_t i = 0; i < file->n_hosts; i++) {
            shoal_buf_putf(out, "  - \"%s\"\n", file->hosts[i]);
        }
        break;
    }
}

static shoal_status write_all(const void *c, const config_key *keys, size_t n, shoal_buf *out,
                              shoal_error *err)
{
    for (size_t i = 0; i < n; i++) {
        shoal_buf_putf(out, "\n# %s\n%s:", keys[i].about, keys[i].name);
        write_value(c, &keys[i], out);
    }
    return shoal_buf_status(out, err);
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
    SHOAL_TRY(check_text(c->ca_socket, err));
    shoal_buf_put_str(out,
                      "# Settings of this aggregator. A change takes effect at the next start.\n");
    return write_all(c, KEYS, N_KEYS, out, err);
}

shoal_status shoal_ca_settings_write(const shoal_ca_settings *c, shoal_buf *out, shoal_error *err)
{
    shoal_buf_put_str(out,
                      "# Settings of the CA. A change takes effect when it is started again.\n");
    return write_all(c, CA_KEYS, N_CA_KEYS, out, err);
}
