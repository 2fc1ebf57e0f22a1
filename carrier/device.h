/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A channel by the driver of a virtual machine, /dev/vgpuN (<vgpu/ioctl.h>). Called by
 * guest/libvgpu. The device keeps connection and channel across restarts of the mediator; what is
 * left to do here is to open, to map, and to hear of news.
 */
#ifndef VGPU_CARRIER_DEVICE_H
#define VGPU_CARRIER_DEVICE_H

#include <stdbool.h>
#include <vgpu/ioctl.h>
#include <vgpu/pci_regs.h>

#include "carrier/local.h"
#include "carrier/mapping.h"

struct device_channel {
    int fd; /* read: completion kicks; the owner closes it after all mappings are gone */
    uint32_t channel;
    struct channel_mapping map;           /* ends with the page of transfers, if there is one */
    struct vgpu_transfer_page *transfers; /* NULL: the worker sees this very memory */
    uint32_t *doorbell;                   /* NULL: 8 bytes written to fd are the kick */
};

/* True if path is one of the driver's devices, or at least a device. */
bool device_is_path(const char *path);

/* The driver's file, without a channel. Returns it or -errno with *refusal. */
int device_open_file(const char *path, struct local_refusal *refusal);

/* Opens a channel with the sizes and the name in ask. Returns 0 or -errno with *refusal. */
int device_open(struct device_channel *ret, const char *path, const struct vgpu_msg_open *ask,
                struct local_refusal *refusal);

/* What the driver knows now of VM and channel. 0 or -errno. */
int device_state(int fd, struct vgpu_ioc_state *ret);

/* Memory for a part of the data area of a relayed channel. 0 or -ENOMEM. */
int device_populate(int fd, const struct vgpu_channel_geometry *geometry, uint64_t offset,
                    uint64_t bytes);

/*
 * The same as local_monitor(), by a file of the driver that need have no channel. A device or a
 * driver that does not know of it answers VGPU_VERSION.
 */
int device_monitor(int fd, uint32_t gpu, uint32_t first, struct vgpu_monitor *ret,
                   struct local_refusal *refusal);

/* The doorbell's mapping alone; the memory's goes with channel_mapping_release(). */
void device_release_doorbell(uint32_t *doorbell);

#endif
