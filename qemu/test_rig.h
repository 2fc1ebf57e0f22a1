/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the relay's tests and its fuzzer share: a guest's memory whose pages lie
 * scattered, a channel's sealed memory as the mediator makes it, and the relay between
 * the two.
 */
#ifndef HW_MISC_VGPU_TEST_RIG_H
#define HW_MISC_VGPU_TEST_RIG_H

#include "relay_core.h"
#include "ring/ring.h"

#define RIG_BASE 0x140000000ull /* guest address of its first page */

typedef struct RigOptions {
    uint32_t sub_granules, comp_granules; /* 0: 64 */
    uint64_t data_bytes;                  /* 0: 64 KiB */
    uint32_t start;                       /* index of both rings */
    bool sparse;                          /* the guest has no page of its data area yet */
    bool unmirrored; /* the host does not set VGPU_CHANNEL_MIRRORED */
} RigOptions;

typedef struct Rig {
    struct vgpu_channel_geometry geometry;

    /* The guest: pages in its own order here, at scattered addresses for the device. */
    uint8_t *memory;
    uint32_t pages;   /* a power of two */
    uint32_t *number; /* of the page at each address */
    uint32_t first;   /* of the channel's pages */
    struct vgpu_channel_page *page;
    uint8_t *data;
    struct vgpu_transfer_page *transfers;
    struct ring_producer submit;
    struct ring_consumer complete;
    uint64_t forbidden; /* a page without DMA, or 0 */

    /* The worker: a mapping of its own. */
    uint8_t *host;
    struct vgpu_channel_page *host_page;
    uint8_t *host_data;
    struct ring_consumer take;
    struct ring_producer answer;
    int submit_kick, completion_kick;

    VGPUChannel *channel;
    VGPURelayCore *core;
    uint64_t counters[VGPU_DEVICE_COUNTERS];
    unsigned interrupts, kicks;
    int interrupt_fd; /* written by an interrupt if not -1 */

    /* Called behind each store of a 32-bit word to the guest. */
    void (*stored)(struct Rig *rig, uint64_t addr, uint32_t value);
    void *context;
} Rig;

/* Memory and relay, not attached. Ends the program if the machine does not give memory.
 */
Rig *rig_new(const RigOptions *options);
void rig_free(Rig *rig);
uint64_t rig_directory(const Rig *rig);

/* The device's address of a page of the channel, and its entry in the guest's tables. */
uint64_t rig_page_address(const Rig *rig, uint64_t page);
uint64_t *rig_entry(const Rig *rig, uint64_t page);
void rig_populate(const Rig *rig, uint64_t offset, uint64_t bytes); /* of the data area */

/* An address of the device within the guest's page of the channel. */
#define RIG_ADDRESS(rig, field)                                                          \
    (rig_page_address(rig, 0) + offsetof(struct vgpu_channel_page, field))

/* A sealed memory object as the mediator makes it; and a geometry for it. */
int rig_memory(const struct vgpu_channel_geometry *geometry, uint32_t flags, bool sealed);
void rig_geometry(struct vgpu_channel_geometry *ret, uint32_t sub_granules,
                  uint32_t comp_granules, uint64_t data_bytes);

#endif
