/* SPDX-License-Identifier: Apache-2.0 */
/* The sockets that the agent listens on, and the names that requests to them may come under. */
#ifndef VGPU_AGENT_LISTENER_H
#define VGPU_AGENT_LISTENER_H

#include <stdbool.h>

#include "agent/host.h"
#include "common/err.h"

struct listener {
    int fd;
    bool local; /* a Unix socket */
    bool tls, loopback;
    char name[HOST_NAME_BYTES]; /* for the log: the path, or ADDRESS:PORT */
    struct host_names names;
};

/* ADDRESS:PORT or [ADDRESS]:PORT, numeric; *ret_loopback: nobody outside this host reaches it. */
int listener_parse(const char *text, bool *ret_loopback, struct vgpu_err *err);
int listener_open_inet(struct listener *listener, const char *text, struct vgpu_err *err);
int listener_open_unix(struct listener *listener, const char *path, struct vgpu_err *err);

/* Who is at the other end, for limits: an address (of IPv6 its first 64 bits), or a user. */
void listener_peer(const struct listener *listener, int fd, char *peer, unsigned size);

#endif
