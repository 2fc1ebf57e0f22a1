/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A channel whose memory its guest has granted (docs/spec/grant.md): mapped as a whole before the
 * first record is read, kicked by an event channel. channel.c and mapping.c use it.
 *
 * The device of grants is closed when granted_map() returns: what it could map besides is out of
 * reach before anything that the guest wrote is looked at, but its directory.
 */
#ifndef VGPU_WORKER_GRANTED_H
#define VGPU_WORKER_GRANTED_H

#include <stdbool.h>
#include <vgpu/launch.h>

#include "carrier/grant.h"

struct granted {
    const struct grant_ops *ops; /* NULL: the channel is not by grants */
    struct vgpu_launch_grant from;
    int events;
    uint32_t port; /* of ours */
};

/*
 * Maps pages of 4096 bytes for total_bytes, at `at` where that is not NULL: whole pages that are
 * reserved. Closes memory in each case.
 */
int granted_map(const struct granted *granted, int memory, uint64_t total_bytes, void *at,
                void **ret_base, struct vgpu_err *err);

/* Binds the guest's port; events stays the caller's. */
int granted_bind(struct granted *granted, int events, struct vgpu_err *err);

/* Wakes the guest. One that has closed its port is not told. */
void granted_kick(const struct granted *granted);

/* The events that came are taken, so that further ones wake again. */
void granted_take(const struct granted *granted);

#endif
