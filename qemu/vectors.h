/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From the kicks of workers to MSI-X vectors: by KVM's irqfds where it can be, so that
 * QEMU need not wake up. vgpu_stub.c owns it and tells it of changes, window_channel.c
 * has an entry for each channel.
 */
#ifndef HW_MISC_VGPU_VECTORS_H
#define HW_MISC_VGPU_VECTORS_H

#include "compat.h"
#include "vgpu.h"

/* A kick that interrupts by a vector. */
typedef struct VGPUKick {
    QLIST_ENTRY(VGPUKick) next;
    EventNotifier event;
    uint32_t vector;
    bool direct; /* KVM takes it */
    /* It is, or is no longer, QEMU's to watch. */
    void (*watch)(void *opaque, bool watch);
    void *opaque;
} VGPUKick;

/* `irqfd`: whether it may use them. After msix_init, before the guest runs. */
VGPUVectors *vgpu_vectors_new(PCIDevice *pci, bool irqfd);
/* Without kicks. NULL is fine. */
void vgpu_vectors_free(VGPUVectors *vectors);
/* MSI-X may have been turned on or off. */
void vgpu_vectors_update(VGPUVectors *vectors);

/* Calls watch(), now and at each change. kick->event, vector, watch and opaque are set.
 */
void vgpu_vectors_add(VGPUVectors *vectors, VGPUKick *kick);
/* Neither watched nor taken by KVM from here on. */
void vgpu_vectors_remove(VGPUVectors *vectors, VGPUKick *kick);

#endif
