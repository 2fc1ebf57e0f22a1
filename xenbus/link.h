/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection of one VM to the mediator (docs/spec/wire.md), over the grant carrier. Never
 * blocks; device.c uses it and hears from it. A mediator that does not read, or speaks nonsense,
 * loses the connection.
 */
#ifndef VGPU_XENBUS_LINK_H
#define VGPU_XENBUS_LINK_H

#include <stdbool.h>

#include "carrier/message.h"

struct link {
    int sock; /* -1: not connected */
    bool welcomed;
    uint32_t used;
    union message input;
};

/* Connects and says HELLO. 0 or -errno. */
int link_connect(struct link *link, const char *path);
void link_close(struct link *link);

/* Sends a message. -errno: the connection is of no use any more. */
int link_send(struct link *link, const void *message);
/* 1: *ret is a message that passed the check; 0: none now; -errno as above. */
int link_receive(struct link *link, union message *ret);

#endif
