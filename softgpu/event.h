/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event: the point in a stream at which it was last recorded, and the time when that was
 * reached. Functions need gpu.lock.
 */
#ifndef SOFTGPU_EVENT_H
#define SOFTGPU_EVENT_H

#include "softgpu/stream.h"

struct event {
    CUevent handle; /* NULL once destroyed */
    unsigned refs;
    struct context *context; /* not a reference: the event ends with it */
    struct event *next;      /* in the context's list */
    unsigned flags;
    struct point recorded; /* stream NULL: never */
    uint64_t time_ns;      /* when `recorded` was reached; 0: not yet */
};

/* The event of a handle; INVALID_HANDLE, or its context's sticky error. */
CUresult event_get(CUevent handle, struct event **ret_event);

/* Ends all events of a context. */
void event_end_all(struct context *context);

#endif
