/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What vgpu-xenbus tells the mediator of domains (<vgpu/domain.h>). server.c uses it; never blocks.
 */
#ifndef VGPU_XENBUS_TELL_H
#define VGPU_XENBUS_TELL_H

#include <stdbool.h>
#include <vgpu/domain.h>

struct tell {
    int sock; /* -1: not connected */
    bool welcomed;
};

/* All: 0 or -errno, at which the connection is of no use any more. */
int tell_connect(struct tell *tell, const char *path, uint32_t backend_domid);
void tell_close(struct tell *tell);
/* vm NULL: the domain is gone. */
int tell_set(struct tell *tell, uint32_t domid, const char *vm);
int tell_listed(struct tell *tell);
/* 1: *ret is an answer; 2: WELCOME came; 0: nothing now. */
int tell_receive(struct tell *tell, struct vgpu_domain_is *ret);

#endif
