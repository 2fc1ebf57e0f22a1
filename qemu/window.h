/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The window: a BAR of which channels' memory is a part. window.c has the BAR and its
 * places; window_channel.c has a channel in it, as slots.c uses it.
 */
#ifndef HW_MISC_VGPU_WINDOW_H
#define HW_MISC_VGPU_WINDOW_H

#include "compat.h"
#include "vgpu.h"

/* A part of the window that is a channel's. */
typedef struct VGPUPlace VGPUPlace;

/*
 * Reserves address space for `bytes` (a power of two, in bounds) and registers the BAR.
 * The regions are the device's and end with it.
 */
VGPUWindow *vgpu_window_new(PCIDevice *pci, uint64_t bytes, Error **errp);
/* When the device is finalized, and nothing of QEMU knows the regions any more. NULL is
 * fine. */
void vgpu_window_free(VGPUWindow *window);
/* NULL: 0. */
uint64_t vgpu_window_bytes(const VGPUWindow *window);

/*
 * Takes [offset, offset + bytes) if that is within the window and nobody's. NULL
 * otherwise, with *ret_taken: it is somebody's.
 */
VGPUPlace *vgpu_place_new(VGPUWindow *window, uint64_t offset, uint64_t bytes,
                          bool *ret_taken);
/* Where its bytes are in QEMU. The guest sees them while it is shown. */
void *vgpu_place_address(const VGPUPlace *place);
void vgpu_place_show(VGPUPlace *place);
void vgpu_place_hide(VGPUPlace *place);
/* Hides it. The memory at its address stays mapped, whatever it is. NULL is fine. */
void vgpu_place_free(VGPUPlace *place);

#endif
