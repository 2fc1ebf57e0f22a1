/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A channel's memory on the host and its two eventfds. Called by slots.c and job.c when a
 * channel is open, used by relay_core.c and job_ring.c. Without QEMU, so that our own
 * tests build it.
 *
 * The content is the worker's to change at any time.
 */
#ifndef HW_MISC_VGPU_CHANNEL_H
#define HW_MISC_VGPU_CHANNEL_H

#include <stdbool.h>
#include <vgpu/ring.h>

typedef struct VGPUChannel {
    uint8_t *base;
    struct vgpu_channel_geometry geometry; /* private copy, checked */
    struct vgpu_channel_page *page;
    uint8_t *submission;
    uint8_t *completion;
    uint8_t *data;
    bool placed;         /* `base` is a part of what the caller has reserved */
    int submit_kick;     /* eventfd: wakes the worker */
    int completion_kick; /* eventfd: the worker wakes us */
} VGPUChannel;

/*
 * Maps what the mediator opened (memory, submit kick, completion kick), after checking
 * geometry and seals. Takes all three fds, on failure too. NULL with *ret_why (a static
 * text).
 */
VGPUChannel *vgpu_channel_new(const struct vgpu_channel_geometry *geometry,
                              const int fds[3], const char **ret_why);
/* The same, mapped over what is at `at`, total_bytes long; it stays mapped afterwards. */
VGPUChannel *vgpu_channel_new_at(const struct vgpu_channel_geometry *geometry,
                                 const int fds[3], void *at, const char **ret_why);
/* NULL is fine. */
void vgpu_channel_free(VGPUChannel *channel);
/* Wakes the worker. Never blocks. */
void vgpu_channel_kick(VGPUChannel *channel);
/* Takes the worker's kicks back; false if there were none. Never blocks. */
bool vgpu_channel_take_kick(VGPUChannel *channel);

#endif
