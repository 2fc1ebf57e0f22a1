/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks the host what a VM may know of its GPUs (<vgpu/monitor.h>), by whichever way the VM has: its
 * socket, or the driver's file. No channel is opened and no worker started. Called by
 * guest/libnvml, one thread at a time.
 *
 * The way is kept between questions and made again when it has ended, or when this process is a
 * child of the one that made it.
 */
#ifndef VGPU_CARRIER_MONITOR_H
#define VGPU_CARRIER_MONITOR_H

#include <sys/types.h>

#include "carrier/local.h"

struct monitor {
    char path[108];
    pid_t owner;
    struct local_link link; /* by a socket */
    int device;             /* by the driver's file; -1: none is open */
};

/* Makes nothing yet. path is copied: -ENAMETOOLONG. */
int monitor_init(struct monitor *monitor, const char *path);
void monitor_release(struct monitor *monitor);

/*
 * One GPU, and up to VGPU_MONITOR_PROCESSES processes from `first` on. Returns 0 or -errno with
 * *refusal, whose status may be retryable.
 */
int monitor_ask(struct monitor *monitor, uint32_t gpu, uint32_t first, struct vgpu_monitor *ret,
                struct local_refusal *refusal);

#endif
