/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Xen's devices, for workers of channels by grants. server.c opens them for one worker at a time,
 * and keeps neither: mediator and launcher have no use for them.
 */
#ifndef VGPU_LAUNCHER_DEVICES_H
#define VGPU_LAUNCHER_DEVICES_H

#include <vgpu/launch.h>

#include "carrier/grant_ops.h"
#include "common/err.h"

struct devices {
    const struct grant_ops *ops;
    const char *memory_path, *events_path;
};

/*
 * Puts the device of grants at fds[VGPU_FD_MEMORY], and the one of events, restricted to domid, at
 * both kicks. -errno with the cause; then there is nothing to close.
 */
int devices_open(const struct devices *devices, uint32_t domid, int *fds, struct vgpu_err *err);
void devices_close(int *fds);

#endif
