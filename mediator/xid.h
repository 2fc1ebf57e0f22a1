/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the XID errors of NVIDIA's driver say of a GPU. Which are a program's own doing and which
 * the hardware's follows NVIDIA's document "Xid Errors" (docs.nvidia.com/deploy/xid-errors, the Xid
 * catalog: causes, and what it says is to be done at once). Used by health.c.
 */
#ifndef VGPU_MEDIATOR_XID_H
#define VGPU_MEDIATOR_XID_H

#include <stdint.h>

enum xid_class {
    XID_OTHER,       /* not in the table: noted, no more */
    XID_APPLICATION, /* a program's own: says nothing against the GPU */
    XID_WARNING,     /* the hardware's, which it recovers from */
    XID_ERROR,       /* the hardware's; a reset or a look at the machine is called for */
    XID_FATAL,       /* nothing runs on the GPU until it is reset */
    XID_N_CLASSES
};

enum xid_class xid_class(uint32_t xid);
/* "double bit ECC error"; "unknown error". */
const char *xid_text(uint32_t xid);

#endif
