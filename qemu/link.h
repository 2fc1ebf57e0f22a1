/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The link to the mediator, as vgpu_stub.c sets it up and shows it to the guest. What the
 * owners of channels need of it is in vgpu.h.
 */
#ifndef HW_MISC_VGPU_LINK_H
#define HW_MISC_VGPU_LINK_H

#include "compat.h"
#include "vgpu.h"

/* What QEMU's command line says of the VM; the mediator logs it when it differs. */
typedef struct VGPUClaims {
    uint32_t vm_id; /* 0: none */
    uint32_t priority;
    const char *pool;      /* NULL: none */
    uint64_t window_bytes; /* no claim: 0, or the size of the device's window */
    bool grants; /* no claim: the guest can grant pages, as it is one of Xen's */
} VGPUClaims;

/* How the connection stands, and what the mediator has said of this VM. */
typedef struct VGPULinkState {
    enum vgpu_device_state state;
    uint32_t error; /* enum vgpu_status; OK when ready */
    char error_text[VGPU_STATUS_TEXT_BYTES];
    uint32_t generation;
    uint32_t vm_id;
    uint32_t priority;
    uint32_t weight_hundredths;
    uint32_t max_channels;
    uint64_t max_data_bytes;
    bool quarantined;
    bool grants; /* the mediator takes channels by grants */
    char pool[72];
    char name[72];
} VGPULinkState;

/*
 * Takes the connection up. Where there is a mediator, waits for its answer for at most 5
 * s; fails with its reason when it refuses this VM. Without one the link comes up later.
 */
VGPULink *vgpu_link_new(VGPUStub *s, VGPUCharFrontend *chr, const VGPUClaims *claims,
                        Error **errp);
const VGPULinkState *vgpu_link_state(const VGPULink *link);
/* Channels that are left end without a callback. NULL is fine. */
void vgpu_link_free(VGPULink *link);

/* peer.c */

/* The chardev listens: the mediator is the one to connect. */
bool vgpu_peer_is_client(Chardev *chr);
/* The chardev connects, is not connected, and there is somebody to connect to. */
bool vgpu_peer_listens(Chardev *chr);

#endif
