/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which Xen domain is which VM, as vgpu-xenbus says (<vgpu/domain.h>): a socket for one connection
 * of one user. mediator.c makes it; vm.c goes by `domid` of a VM, which only this sets.
 *
 * Invariant: no two VMs have the same domid. A VM whose domid changes has had its channels by
 * grants told to end first.
 */
#ifndef VGPU_MEDIATOR_DOMAIN_H
#define VGPU_MEDIATOR_DOMAIN_H

#include <stdbool.h>
#include <vgpu/domain.h>

#include "common/err.h"
#include "mediator/loop.h"

struct mediator;

struct domains {
    struct mediator *mediator;
    char path[108];
    int listener, sock; /* -1: none */
    struct loop_watch listening, reading;
    bool greeted;
    uint32_t backend_domid; /* where workers are; as it was said last */
};

/* domains must be zero but for listener and sock = -1. */
int domains_init(struct domains *domains, struct mediator *mediator, struct vgpu_err *err);
void domains_release(struct domains *domains);

/* A packet of vgpu-xenbus: 0, or -EPROTO with what is wrong. */
int domain_check(const void *packet, size_t size, struct vgpu_err *err);

#endif
