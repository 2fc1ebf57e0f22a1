/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the worker tells without being asked (docs/spec/ring.md): answers to queries and waits that
 * need no record. An answer from here is one that the worker could have given since the call began;
 * where it would bring an error or a kernel's output along, it has to be asked. So it has in
 * mirrored channels.
 *
 * A stream has no word of its own. While nothing was told and nothing answered, and for a small
 * part of the time for which a thread has been asking, it is taken to be as busy as it was.
 */
#ifndef VGPU_LIBVGPU_SNAPSHOT_H
#define VGPU_LIBVGPU_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "cuda/cuda_abi.h"

struct sender;
struct guest_thread;
struct event_object;

enum snapshot_use { SNAPSHOT_QUERY, SNAPSHOT_WAIT };

/* True: all that was submitted is done, and *ret_result is the answer. */
bool snapshot_all_done(struct sender *sender, enum snapshot_use use, CUresult *ret_result);

/* The same for an event's last record; a query may also find that it is not done. */
bool snapshot_event(struct sender *sender, const struct event_object *event, enum snapshot_use use,
                    CUresult *ret_result);

/* What a thread heard of a stream or event. Found again by both numbers. */
struct snapshot_asked {
    uint32_t handle;
    uint64_t other;
    uint64_t since_ns; /* it has been asking; 0: it has not */
    uint64_t at_ns;
    uint64_t told, answers; /* before it asked */
};

#define SNAPSHOT_ASKED 8

/*
 * Before asking: true if the answer would be CUDA_ERROR_NOT_READY as far as anybody can know.
 * Otherwise what is needed to note the answer afterwards.
 */
bool snapshot_still_busy(struct sender *sender, struct guest_thread *thread, uint32_t handle,
                         uint64_t other);
void snapshot_note(struct guest_thread *thread, uint32_t handle, CUresult result);

#endif
