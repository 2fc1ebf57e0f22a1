/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/early.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_ops.h"
#include "worker/channel.h"

#define DEFAULT_STREAM CUDA_MAX_STREAMS
#define STREAMS        (CUDA_MAX_STREAMS + 1)

struct early_call {
    struct early_call *next;
    const struct cuda_op_row *row;
    uint64_t taken_ns;
    uint32_t event; /* of a wait: its index */
    uint32_t ahead; /* of a wait: records of its event that are to be issued first */
    bool not_ready;
    _Alignas(8) uint8_t bytes[sizeof(struct cuda_op_event_sync)]; /* read as a record */
};

_Static_assert(sizeof(struct cuda_op_event_query) == sizeof(struct cuda_op_event_sync) &&
                   sizeof(struct cuda_op_stream_query) == sizeof(struct cuda_op_event_sync) &&
                   offsetof(struct cuda_op_event_query, event) ==
                       offsetof(struct cuda_op_event_sync, event) &&
                   offsetof(struct cuda_op_stream_query, stream) ==
                       offsetof(struct cuda_op_event_sync, event),
               "the three are alike: a head, and the handle that they ask about");

int early_init(struct early *early)
{
    memset(early, 0, sizeof(*early));
    early->records = calloc(CUDA_MAX_EVENTS, sizeof(*early->records));
    early->streams = calloc(STREAMS, sizeof(*early->streams));
    return early->records && early->streams ? 0 : -ENOMEM;
}

void early_free(struct early *early)
{
    struct early_call *next;

    for (struct early_call *call = early->calls; call; call = next) {
        next = call->next;
        free(call);
    }
    free(early->records);
    free(early->streams);
}

/*
 * What a record names, by its index. The record is not checked yet: its size may be wrong, and a
 * handle may be no handle at all. False: it names none.
 */
static bool event_index(uint32_t handle, uint32_t *ret_index)
{
    *ret_index = VGPU_HANDLE_INDEX(handle);
    return VGPU_HANDLE_KIND(handle) == CUDA_KIND_EVENT && *ret_index < CUDA_MAX_EVENTS;
}

/* A thread's own default stream has no index. */
static bool stream_index(uint32_t handle, uint32_t *ret_index)
{
    if (handle == VGPU_STREAM_DEFAULT || handle == VGPU_STREAM_LEGACY) {
        *ret_index = DEFAULT_STREAM;
        return true;
    }
    *ret_index = VGPU_HANDLE_INDEX(handle);
    return VGPU_HANDLE_KIND(handle) == CUDA_KIND_STREAM && *ret_index < CUDA_MAX_STREAMS;
}

static bool recorded_event(const struct taken *taken, uint32_t *ret_index)
{
    const struct cuda_op_event_record *op = (const void *)taken->bytes;

    return taken->row->code == CUDA_OP_EVENT_RECORD &&
           taken_record(taken)->size_bytes >= sizeof(*op) && event_index(op->event, ret_index);
}

struct layout {
    size_t bytes, stream; /* the least size of such a record, and where its stream is named */
};

#define LAYOUT(name)                                                                               \
    {                                                                                              \
        sizeof(struct cuda_op_##name), offsetof(struct cuda_op_##name, stream)                     \
    }

/* Of records that do work in a stream, and make and end nothing. NULL: it is none of these. */
static const struct layout *layout_of(uint16_t code)
{
    static const struct layout launch = LAYOUT(launch), launch_ex = LAYOUT(launch_ex),
                               copy = LAYOUT(copy), copy_3d = LAYOUT(copy_3d), fill = LAYOUT(fill),
                               upload = LAYOUT(upload), event_record = LAYOUT(event_record),
                               stream_wait_event = LAYOUT(stream_wait_event);

    switch (code) {
    case CUDA_OP_LAUNCH:
        return &launch;
    case CUDA_OP_LAUNCH_EX:
        return &launch_ex;
    case CUDA_OP_COPY:
        return &copy;
    case CUDA_OP_COPY_3D:
        return &copy_3d;
    case CUDA_OP_FILL:
        return &fill;
    case CUDA_OP_UPLOAD:
        return &upload;
    case CUDA_OP_EVENT_RECORD:
        return &event_record;
    case CUDA_OP_STREAM_WAIT_EVENT:
        return &stream_wait_event;
    default:
        return NULL;
    }
}

static bool stream_of(const struct taken *taken, uint32_t *ret_index)
{
    const struct layout *layout = layout_of(taken->row->code);
    uint32_t handle;

    if (!layout || taken_record(taken)->size_bytes < layout->bytes)
        return false;
    memcpy(&handle, taken->bytes + layout->stream, sizeof(handle));
    return stream_index(handle, ret_index);
}

/* What asks or waits may be issued before it. */
static bool may_be_overtaken(const struct taken *taken)
{
    switch (taken->row->code) {
    case CUDA_OP_EVENT_SYNC:
    case CUDA_OP_EVENT_QUERY:
    case CUDA_OP_STREAM_QUERY:
    case CUDA_OP_STREAM_SYNC:
        return true;
    default:
        return layout_of(taken->row->code) != NULL;
    }
}

/* Counts a record that is kept, or with -1 one that no longer is. */
static void count(struct early *early, const struct taken *taken, int change)
{
    uint32_t index;

    if (recorded_event(taken, &index))
        early->records[index] += (uint32_t)change;
    if (stream_of(taken, &index))
        early->streams[index] += (uint32_t)change;
    if (!may_be_overtaken(taken))
        early->others += (uint32_t)change;
}

/* How many that record the event are kept; the one that is to be issued next is too. */
static uint32_t kept_of_event(const struct channel *channel, uint32_t event)
{
    uint32_t index;

    return channel->early.records[event] +
           (channel->current.row && recorded_event(&channel->current, &index) && index == event);
}

static uint32_t kept_of_stream(const struct channel *channel, uint32_t stream)
{
    uint32_t index;

    return channel->early.streams[stream] +
           (channel->current.row && stream_of(&channel->current, &index) && index == stream);
}

/* False: it is none of ours, or has to stay in order. */
static bool place(const struct channel *channel, const struct taken *taken, struct early_call *call)
{
    const struct cuda_op_event_sync *op = (const void *)call->bytes;
    uint32_t index;

    switch (taken->row->code) {
    case CUDA_OP_EVENT_SYNC:
        if (!event_index(op->event, &call->event))
            return false;
        call->ahead = kept_of_event(channel, call->event);
        return true;
    case CUDA_OP_EVENT_QUERY:
        if (!event_index(op->event, &index))
            return false;
        call->not_ready = kept_of_event(channel, index) > 0;
        return true;
    case CUDA_OP_STREAM_QUERY:
        if (!stream_index(op->event, &index))
            return false;
        call->not_ready = kept_of_stream(channel, index) > 0;
        /* The default stream may also wait for what is kept of others. */
        return call->not_ready || index != DEFAULT_STREAM;
    default:
        return false;
    }
}

bool early_take(struct channel *channel, const struct taken *taken)
{
    const struct taken *current = &channel->current;
    struct early_call call = {.row = taken->row, .taken_ns = taken->taken_ns};
    struct early_call *kept = NULL;

    if (channel->early.others == 0 && (!current->row || may_be_overtaken(current)) &&
        taken_record(taken)->size_bytes == sizeof(call.bytes)) {
        memcpy(call.bytes, taken->bytes, sizeof(call.bytes));
        if (place(channel, taken, &call))
            kept = malloc(sizeof(*kept));
    }
    if (!kept) {
        count(&channel->early, taken, 1);
        return false;
    }
    *kept = call;
    kept->next = channel->early.calls;
    channel->early.calls = kept;
    return true;
}

void early_popped(struct channel *channel, const struct taken *taken)
{
    count(&channel->early, taken, -1);
}

void early_issued(struct channel *channel, const struct taken *taken)
{
    uint32_t index;

    if (!channel->early.calls || !recorded_event(taken, &index))
        return;
    for (struct early_call *call = channel->early.calls; call; call = call->next)
        if (call->ahead > 0 && call->event == index)
            call->ahead--;
}

bool early_next(struct channel *channel, struct taken *ret_taken, bool *ret_not_ready)
{
    struct early_call **at = &channel->early.calls;
    struct early_call *call;

    while (*at && (*at)->ahead > 0)
        at = &(*at)->next;
    call = *at;
    if (!call)
        return false;
    *at = call->next;
    ret_taken->row = call->row;
    ret_taken->taken_ns = call->taken_ns;
    ret_taken->job = 0;
    memcpy(ret_taken->bytes, call->bytes, sizeof(call->bytes));
    *ret_not_ready = call->not_ready;
    free(call);
    return true;
}
