/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * What a program in a virtual machine says to the driver by /dev/vgpuN. man/vgpu.4 is the full
 * text. An open file is one channel at most, from VGPU_IOC_OPEN to the last close of file and
 * mappings.
 *
 *   mmap at VGPU_MMAP_CHANNEL + x    channel memory from x on, as the geometry says, and behind it,
 *                                    if it is relayed, the page of transfers; shared, read and
 *                                    write
 *   mmap at VGPU_MMAP_DOORBELL       one page; a 32-bit write to its start is the submission kick
 *   write 8 bytes                    the submission kick with VGPU_OPENED_GRANT, where there is no
 *                                    doorbell to map
 *   read 8 bytes                     completion kicks since the last read; blocks until there is
 *                                    one, or EAGAIN with O_NONBLOCK
 *   poll                             POLLIN: read has something. POLLPRI: VGPU_IOC_STATE has news.
 *                                    POLLHUP: the channel is gone
 */
#ifndef VGPU_IOCTL_H
#define VGPU_IOCTL_H

#ifdef __KERNEL__
#include <linux/ioctl.h>
#else
#include <sys/ioctl.h>
#endif

#include "monitor.h"
#include "ring.h"
#include "status.h"
#include "types.h"

#define VGPU_MMAP_CHANNEL  0ull
#define VGPU_MMAP_DOORBELL (1ull << 40)

/* The device and this file's channel, now. Also takes the news that POLLPRI told of. */
struct vgpu_ioc_state {
    uint32_t device_state; /* enum vgpu_device_state */
    uint32_t device_error; /* enum vgpu_status */
    uint32_t vm_id;
    uint32_t priority;
    uint32_t weight_hundredths;
    uint32_t quarantined;
    uint32_t max_channels;
    uint32_t channel; /* the mediator's number; 0: none is open */
    uint64_t max_data_bytes;
    uint32_t gone; /* 1: the channel has ended */
    uint32_t gone_status;
    char pool[72];
    char name[72];
    char error_text[VGPU_STATUS_TEXT_BYTES];
    char gone_text[VGPU_STATUS_TEXT_BYTES];
};
VGPU_ASSERT_SIZE(struct vgpu_ioc_state, 576);

/* vgpu_ioc_open.flags: guest and worker share the memory. With neither, the device copies. */
#define VGPU_OPENED_WINDOW (1u << 0) /* it is the worker's own */
#define VGPU_OPENED_GRANT  (1u << 1) /* it is the guest's; kicks by write, there is no doorbell */

/* Opens this file's channel. Sizes of 0: defaults. */
struct vgpu_ioc_open {
    /* in */
    uint32_t sub_granules;
    uint32_t comp_granules;
    uint64_t data_bytes;
    char process[40];
    /* out, with ioctl's 0 */
    uint32_t status; /* enum vgpu_status; VGPU_OK: the channel is there */
    uint32_t channel;
    uint64_t retry_ns;
    uint32_t flags; /* VGPU_OPENED_* */
    uint32_t reserved;
    struct vgpu_channel_geometry geometry;
    char text[VGPU_STATUS_TEXT_BYTES];
};
VGPU_ASSERT_SIZE(struct vgpu_ioc_open, 320);

/* Makes memory for this part of the data area, so that the device finds it: ENOMEM if it cannot. */
struct vgpu_ioc_populate {
    uint64_t offset; /* in the channel's memory; multiples of 4096 */
    uint64_t bytes;
};
VGPU_ASSERT_SIZE(struct vgpu_ioc_populate, 16);

/*
 * What this VM may know of its GPU number `gpu`, with its processes from `first` on; see monitor.h.
 * Needs no channel. EOPNOTSUPP: the device cannot be asked.
 */
struct vgpu_ioc_monitor {
    /* in */
    uint32_t gpu;
    uint32_t first;
    /* out, with ioctl's 0 */
    uint32_t status; /* enum vgpu_status; VGPU_OK: `monitor` is filled */
    uint32_t reserved;
    uint64_t retry_ns;
    struct vgpu_monitor monitor;
    char text[VGPU_STATUS_TEXT_BYTES];
};
VGPU_ASSERT_SIZE(struct vgpu_ioc_monitor, 960);

#define VGPU_IOC_STATE    _IOR('v', 0x80, struct vgpu_ioc_state)
#define VGPU_IOC_OPEN     _IOWR('v', 0x81, struct vgpu_ioc_open)
#define VGPU_IOC_POPULATE _IOW('v', 0x82, struct vgpu_ioc_populate)
/* An eventfd that gets each completion kick too; -1: none. */
#define VGPU_IOC_EVENTFD _IOW('v', 0x83, int32_t)
#define VGPU_IOC_MONITOR _IOWR('v', 0x84, struct vgpu_ioc_monitor)

#endif
