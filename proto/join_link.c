/* join_link.c - shoal://HOST:PORT/join#TOKEN.PIN */
#include "proto/join_link.h"

#include <string.h>

#include "kernels/base/mem.h"

static const char scheme[] = "shoal://";
static const char path[] = "/join#";

enum { TOKEN_HEX = 2 * SHOAL_TOKEN_BYTES, PIN_HEX = 64 };

static bool host_is_right(const char *host)
{
    static const char dns[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.";
    static const char ip6[] = "0123456789abcdefABCDEF:.";
    size_t n = strlen(host);
    if (n == 0 || n >= SHOAL_LIMIT_HOST) return false;
    return strspn(host, strchr(host, ':') != NULL ? ip6 : dns) == n;
}

shoal_status shoal_join_link_encode(const shoal_join_link *l, shoal_buf *out, shoal_error *err)
{
    char token[TOKEN_HEX + 1];
    char pin[PIN_HEX + 1];
    if (memchr(l->host, 0, sizeof l->host) == NULL || !host_is_right(l->host) || l->port == 0) {
        return shoal_fail(err, SHOAL_ERR_ARG,
                          "a join link needs a host name or address and a port");
    }
    bool ip6 = strchr(l->host, ':') != NULL;
    shoal_hex_encode(l->token, sizeof l->token, token);
    shoal_hex_encode(l->pin, sizeof l->pin, pin);
    (void)shoal_buf_putf(out, "%s%s%s%s:%u%s", scheme, ip6 ? "[" : "", l->host, ip6 ? "]" : "",
                         (unsigned)l->port, path);
    (void)shoal_buf_put(out, token, TOKEN_HEX); /* no text function looks at the token */
    (void)shoal_buf_putf(out, ".%s", pin);
    shoal_wipe(token, sizeof token);
    return shoal_buf_status(out, err);
}

static shoal_status wrong(shoal_error *err, const char *what)
{
    (void)shoal_fail(err, SHOAL_ERR_FORMAT, "not a join link: %s", what);
    shoal_hint(err, "a link looks like shoal://HOST:PORT/join#TOKEN.PIN; copy it whole");
    return SHOAL_ERR_FORMAT;
}

/* Copies [from, to) as a string; false when it does not fit. */
static bool copy_part(const char *from, const char *to, char *out, size_t cap)
{
    size_t n = (size_t)(to - from);
    if (n >= cap) return false;
    memcpy(out, from, n);
    out[n] = '\0';
    return true;
}

/* HOST:PORT or [V6]:PORT, the whole of `at`. */
static shoal_status read_authority(const char *at, shoal_join_link *out, shoal_error *err)
{
    const char *colon = strrchr(at, ':');
    uint64_t port = 0;
    if (colon == NULL || !shoal_parse_u64(colon + 1, &port) || port < 1 || port > UINT16_MAX) {
        return wrong(err, "the port is missing or wrong");
    }
    bool ip6 = at[0] == '[';
    if (ip6 && (colon == at || colon[-1] != ']')) return wrong(err, "the host is wrong");
    if (!copy_part(at + (ip6 ? 1 : 0), colon - (ip6 ? 1 : 0), out->host, sizeof out->host) ||
        !host_is_right(out->host) || ip6 != (strchr(out->host, ':') != NULL)) {
        return wrong(err, "the host is wrong");
    }
    out->port = (uint16_t)port;
    return SHOAL_OK;
}

static shoal_status read_secret(const char *at, shoal_join_link *out, shoal_error *err)
{
    char token[TOKEN_HEX + 1];
    const char *dot = strchr(at, '.');
    if (dot == NULL || !copy_part(at, dot, token, sizeof token) ||
        !shoal_hex_decode(token, out->token, sizeof out->token)) {
        shoal_wipe(token, sizeof token);
        return wrong(err, "the token is not 32 hexadecimal digits");
    }
    shoal_wipe(token, sizeof token);
    if (!shoal_hex_decode(dot + 1, out->pin, sizeof out->pin)) {
        return wrong(err, "the server's fingerprint is not 64 hexadecimal digits");
    }
    return SHOAL_OK;
}

shoal_status shoal_join_link_decode(const char *text, shoal_join_link *out, shoal_error *err)
{
    static const char space[] = " \t\r\n";
    char link[SHOAL_LIMIT_LINK];
    memset(out, 0, sizeof *out);
    text += strspn(text, space);
    size_t n = strlen(text);
    while (n > 0 && strchr(space, text[n - 1]) != NULL) {
        n--;
    }
    if (!copy_part(text, text + n, link, sizeof link)) return wrong(err, "it is too long");
    if (strncmp(link, scheme, sizeof scheme - 1) != 0) return wrong(err, "it starts differently");
    char *at = link + sizeof scheme - 1;
    char *tail = strstr(at, path);
    if (tail == NULL) return wrong(err, "the part after the port is missing");
    *tail = '\0';
    shoal_status st = read_authority(at, out, err);
    if (st == SHOAL_OK) st = read_secret(tail + sizeof path - 1, out, err);
    shoal_wipe(link, sizeof link);
    if (st != SHOAL_OK) memset(out, 0, sizeof *out);
    return st;
}
