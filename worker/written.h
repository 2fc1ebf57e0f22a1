/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What copies wrote to the data area of a mirrored channel, and when the guest's side is told.
 *
 * Behind each such copy goes an event of its own. Before anything is told that could reveal that a
 * copy is done, those whose event is done are told (VGPU_COMPLETION_WRITTEN), in the order of
 * their issue. At most WORKER_MAX_WRITTEN are not yet told or not yet in the ring; while there are
 * so many, no further such copy is issued. In other channels there is nothing here.
 */
#ifndef VGPU_WORKER_WRITTEN_H
#define VGPU_WORKER_WRITTEN_H

#include <stdbool.h>
#include <stdint.h>
#include <vgpu/ring.h>

#include "cuda/cuda_abi.h"

struct channel;
struct context;
struct item;
struct written_entry;

struct written {
    bool mirrored; /* read once, at the start */
    struct written_entry *first, **end;
    uint32_t count;
};

void written_init(struct written *written, bool mirrored);

/* True if a copy into the data area has to wait until earlier ones were told. */
bool written_full(const struct channel *channel);

/* The item's copy is in its stream, whole, and wrote this. Before its stream is covered. */
CUresult written_follow(struct channel *channel, const struct item *item,
                        const struct vgpu_written *what);

/* Tells those that are done; true if any was. */
bool written_tell(struct channel *channel);

/* The context goes: what was not told of it never will be, and its events go with it. */
void written_forget(struct channel *channel, struct context *context);

#endif
