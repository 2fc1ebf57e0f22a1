/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * What a VM may know of a GPU of its pool without a channel: what the GPU is, and the VM's own use
 * of it. It is the same on a VM's socket, in a device's command and in the guest driver's ioctl.
 * docs/spec/wire.md is the full text.
 *
 * Nothing here tells of other VMs: no temperature, clock, power or free memory of the GPU, which
 * follow what others do.
 */
#ifndef VGPU_MONITOR_H
#define VGPU_MONITOR_H

#include "types.h"
#include "version.h"

#define VGPU_MONITOR_PROCESSES 16u /* in one answer */
#define VGPU_MONITOR_GPUS      64u

/* Bits of `known`: the fields that the host could find out. */
#define VGPU_MONITOR_DRIVER  0x1u  /* driver */
#define VGPU_MONITOR_CUDA    0x2u  /* cuda_version */
#define VGPU_MONITOR_COMPUTE 0x4u  /* compute_major, compute_minor */
#define VGPU_MONITOR_PCI     0x8u  /* pci, pci_device_id, pci_subsystem_id */
#define VGPU_MONITOR_CLOCKS  0x10u /* max_sm_mhz, max_memory_mhz */
#define VGPU_MONITOR_ECC     0x20u /* ecc_mode */
#define VGPU_MONITOR_KNOWN   0x3fu

/* A process of this VM that uses the GPU, as it says of itself. */
struct vgpu_monitor_process {
    uint32_t pid;
    uint32_t reserved;
    uint64_t pid_namespace; /* inode of the namespace in which `pid` is its number */
    uint64_t memory_bytes;
};
VGPU_ASSERT_SIZE(struct vgpu_monitor_process, 24);

struct vgpu_monitor {
    uint32_t gpus; /* in the VM's pool, and there; at most VGPU_MONITOR_GPUS */
    uint32_t gpu;  /* which one this is, from 0; not below `gpus`: all that follows is 0 */
    uint32_t known;
    uint32_t cuda_version; /* 1000 * major + 10 * minor, of the host's driver */
    uint32_t compute_major;
    uint32_t compute_minor;
    uint32_t pci_device_id; /* device << 16 | vendor, as NVML has it */
    uint32_t pci_subsystem_id;
    uint32_t max_sm_mhz;
    uint32_t max_memory_mhz;
    uint32_t ecc_mode;  /* 1: on */
    uint32_t processes; /* of this VM on this GPU that said who they are */
    uint32_t first;     /* of them, that process[0] is */
    uint32_t reserved;
    uint64_t memory_total_bytes; /* of the GPU; 0: not known */
    uint64_t memory_quota_bytes; /* of this VM; 0: none */
    uint64_t memory_used_bytes;  /* by this VM */
    uint64_t busy_ns;            /* GPU time of this VM, ever */
    uint64_t busy_window_ns;     /* in the last window_ns */
    uint64_t window_ns;
    char uuid[72];
    char name[72];
    char driver[80];
    char pci[32];
    struct vgpu_monitor_process process[VGPU_MONITOR_PROCESSES]; /* zeros behind the last */
};
VGPU_ASSERT_SIZE(struct vgpu_monitor, 744);

#endif
