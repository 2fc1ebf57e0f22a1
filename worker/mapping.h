/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's view of a channel's shared memory: checked geometry, seals, and the three maps. */
#ifndef VGPU_WORKER_MAPPING_H
#define VGPU_WORKER_MAPPING_H

#include <stdbool.h>
#include <vgpu/launch.h>
#include <vgpu/lease.h>
#include <vgpu/ring.h>
#include <vgpu/times.h>

#include "common/err.h"
#include "worker/granted.h"

struct mapping {
    struct vgpu_channel_geometry geometry;
    uint8_t *base; /* total_bytes; the guest writes here at any time */
    struct vgpu_channel_page *page;
    uint8_t *data; /* in the band of addresses if that could be had, else within base */
    bool placed;   /* it could */
    const struct vgpu_lease_page *lease;
    struct vgpu_report_page *report;
    struct vgpu_times_page *times; /* behind it */
};

/* -EINVAL with the field's name if sizes or offsets break the rules of <vgpu/ring.h>. */
int mapping_check_geometry(const struct vgpu_channel_geometry *geometry, struct vgpu_err *err);

/*
 * Maps the descriptors (enum vgpu_channel_fd). Unsealed or smaller memory is refused. Memory by
 * grants (granted->ops is not NULL) is mapped as such, and fds[VGPU_FD_MEMORY] is closed.
 */
int mapping_open(struct mapping *mapping, const struct vgpu_channel_geometry *geometry,
                 const int *fds, const struct granted *granted, struct vgpu_err *err);

/*
 * Takes the upper end of the address space, without access: what a driver maps from now on, its
 * device addresses above all, lies below what guests' programs use for themselves. Called once,
 * before the driver is loaded. Without it guests ask for device memory more often than once.
 */
void mapping_leave_top(void);

/* True if the data area lies where a guest can have it too. */
bool mapping_is_placed(const struct mapping *mapping);

void mapping_close(struct mapping *mapping);

#endif
