/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connects to devices that listen: a QEMU in a chroot and without a network namespace of its host
 * cannot come back to the mediator's sockets after a restart of the mediator, so there QEMU listens
 * (chardev `server=on`) and the mediator comes to it. Used by mediator.c, once it is in charge.
 *
 * The sockets are ID.sock in --device-dir, made by QEMU before it confines itself. The directory is
 * opened once; of what is in it only a socket that the name itself stands for is spoken to, never
 * what a symbolic link leads to. Its peer's user is checked as that of whoever connects. One
 * connection a VM; a VM without one is tried again DIAL_NS later.
 */
#ifndef VGPU_MEDIATOR_DIAL_H
#define VGPU_MEDIATOR_DIAL_H

#include "common/clock.h"
#include "common/err.h"
#include "mediator/loop.h"

#define DIAL_NS (500 * VGPU_NS_PER_MS)

struct mediator;

struct dial {
    struct mediator *mediator;
    int directory; /* -1: none */
    struct loop_timer timer;
};

/* path: NULL where no device listens. Nothing is connected before dial_start(). */
int dial_init(struct dial *dial, struct mediator *mediator, const char *path, struct vgpu_err *err);
void dial_start(struct dial *dial);
void dial_release(struct dial *dial);

#endif
