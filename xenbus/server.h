/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-xenbus proper: all devices of the backend domain, what xenstore, Xen's events and the
 * mediator say, one turn after the other. main.c makes one and runs it; tests turn it by hand.
 *
 * A turn is bounded: so many changes of xenstore, events and answers; a guest that floods makes its
 * own device be looked at once a turn.
 */
#ifndef VGPU_XENBUS_SERVER_H
#define VGPU_XENBUS_SERVER_H

#include "common/err.h"
#include "xenbus/device.h"
#include "xenbus/tell.h"

#define SERVER_DEVICES_MAX 512u /* more are left in state 1 */

struct server {
    struct backend backend;
    char tell_path[128];
    struct device *devices;
    unsigned n_devices;
    struct tell tell;
    bool scan;    /* the backend's tree is to be listed */
    bool scanned; /* it was, at least once */
    bool untold;  /* who lives, as in a driver domain: the tree is listed every few seconds */
    uint64_t retry_ns, repeat_ns;
};

/* Watches the backend's tree. backend: stays as it is while the server lives. */
int server_init(struct server *server, const struct backend *backend, struct vgpu_err *err);
void server_release(struct server *server);

/* Waits for something, at most timeout_ms, and deals with it. -errno: it cannot go on. */
int server_turn(struct server *server, int timeout_ms);

#endif
