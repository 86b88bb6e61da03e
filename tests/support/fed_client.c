/* fed_client.c - see fed_client.h. */
#include "tests/support/fed_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/file.h"

static void put(const char *path, const void *data, size_t n)
{
    assert_int_equal(shoal_file_write_atomic(path, data, n, 0600, NULL), SHOAL_OK);
}

void fed_client_open(fed_client *c, fed_server *s, const fed_device *d)
{
    char link[SHOAL_LIMIT_LINK];
    shoal_join_link l;
    shoal_buf key = shoal_buf_init(4096);
    fed_server_invite(s, link);
    assert_int_equal(shoal_join_link_decode(link, &l, NULL), SHOAL_OK);
    memcpy(c->pin, l.pin, sizeof c->pin);
    wire_proxy_open(&c->proxy, l.port);
    temp_dir_make(c->dir);
    assert_int_equal(shoal_store_open(&c->store, c->dir, NULL), SHOAL_OK);
    (void)snprintf(c->cert, sizeof c->cert, "%s/cert.der", c->dir);
    (void)snprintf(c->key, sizeof c->key, "%s/key.der", c->dir);
    (void)snprintf(c->base, sizeof c->base, "https://127.0.0.1:%u", (unsigned)c->proxy.port);
    assert_int_equal(shoal_key_encode_der(d->key, &key, NULL), SHOAL_OK);
    put(c->key, key.data, key.len);
    put(c->cert, d->who.cert.data, d->who.cert.n);
    shoal_buf_wipe(&key);
}

void fed_client_close(fed_client *c)
{
    wire_proxy_close(&c->proxy);
    temp_dir_remove(c->dir);
}

shoal_net *fed_client_net(const fed_client *c)
{
    shoal_net *net = NULL;
    shoal_net_config cfg = {
        .base_url = c->base, .pin = c->pin, .cert_path = c->cert, .key_path = c->key};
    assert_int_equal(shoal_net_open(&net, &cfg, NULL), SHOAL_OK);
    return net;
}
