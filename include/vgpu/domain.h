/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * The protocol by which the mediator learns which Xen domain is which VM: vgpu-xenbus tells it,
 * over `xenbus.sock` (SOCK_SEQPACKET, one message a packet, one connection at a time, the user at
 * the other end is checked). No guest and no QEMU has a way to it. docs/spec/wire.md has the text.
 */
#ifndef VGPU_DOMAIN_H
#define VGPU_DOMAIN_H

#include "status.h"
#include "types.h"
#include "version.h"

#define VGPU_DOMAIN_FIRST_RESERVED 0x7ff0u /* no domain has this number, or a higher one */
#define VGPU_DOMAIN_VM_BYTES       72u

enum vgpu_domain_type {
    VGPU_DOMAIN_HELLO = 1,   /* vgpu-xenbus: struct vgpu_domain_hello */
    VGPU_DOMAIN_WELCOME = 2, /* mediator: struct vgpu_domain_hello */
    VGPU_DOMAIN_SET = 3,     /* vgpu-xenbus: struct vgpu_domain_set */
    VGPU_DOMAIN_IS = 4,      /* mediator, to SET: struct vgpu_domain_is */
    VGPU_DOMAIN_LISTED = 5   /* vgpu-xenbus, after HELLO and what there is: struct vgpu_domain */
};

struct vgpu_domain {
    uint32_t size_bytes;
    uint32_t type;
};
VGPU_ASSERT_SIZE(struct vgpu_domain, 8);

struct vgpu_domain_hello {
    struct vgpu_domain head;
    uint32_t magic;
    uint16_t version_major;
    uint16_t version_minor;
    uint32_t backend_domid; /* where the workers are; in WELCOME as it was said */
    uint32_t reserved;
};
VGPU_ASSERT_SIZE(struct vgpu_domain_hello, 24);

struct vgpu_domain_set {
    struct vgpu_domain head;
    uint32_t domid;                /* 1 to VGPU_DOMAIN_FIRST_RESERVED - 1 */
    uint32_t gone;                 /* 1: it is nobody any more; 0: it is `vm` */
    char vm[VGPU_DOMAIN_VM_BYTES]; /* number, name or UUID in our store; empty with gone */
};
VGPU_ASSERT_SIZE(struct vgpu_domain_set, 88);

struct vgpu_domain_is {
    struct vgpu_domain head;
    uint32_t domid;
    uint32_t status; /* enum vgpu_status */
    uint32_t vm_id;  /* with VGPU_OK and not gone */
    uint32_t reserved;
    char text[VGPU_STATUS_TEXT_BYTES];
};
VGPU_ASSERT_SIZE(struct vgpu_domain_is, 216);

#endif
