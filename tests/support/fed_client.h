/* fed_client.h - the device's own network code (client/net) with the identity of a test device, and
 * a relay between it and the aggregator that can break.
 */
#ifndef SHOAL_TESTS_SUPPORT_FED_CLIENT_H
#define SHOAL_TESTS_SUPPORT_FED_CLIENT_H

#include "client/net.h"
#include "client/store.h"
#include "tests/support/fed_device.h"
#include "tests/support/fed_server.h"
#include "tests/support/wire_proxy.h"

typedef struct fed_client {
    wire_proxy proxy;
    shoal_store store; /* an empty $SHOAL_HOME in a temporary directory */
    char dir[TEMP_DIR_MAX];
    char cert[TEMP_DIR_MAX + 16], key[TEMP_DIR_MAX + 16], base[64];
    uint8_t pin[32];
} fed_client;

/* Starts from zeros; `d` has joined. */
void fed_client_open(fed_client *c, fed_server *s, const fed_device *d);
void fed_client_close(fed_client *c);

/* A connection through the relay; the caller closes it. */
shoal_net *fed_client_net(const fed_client *c);

#endif
