/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/early.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_ops.h"
#include "worker/channel.h"

struct early_wait {
    struct early_wait *next;
    const struct cuda_op_row *row;
    uint64_t taken_ns;
    uint32_t ahead; /* records of its event that are to be issued first */
    struct cuda_op_event_sync op;
};

int early_init(struct early *early)
{
    memset(early, 0, sizeof(*early));
    early->records = calloc(CUDA_MAX_EVENTS, sizeof(*early->records));
    return early->records ? 0 : -ENOMEM;
}

void early_free(struct early *early)
{
    struct early_wait *next;

    for (struct early_wait *wait = early->waits; wait; wait = next) {
        next = wait->next;
        free(wait);
    }
    free(early->records);
}

/* The event of a handle that a guest gave, which may be no handle at all. False: it is none. */
static bool index_of(uint32_t handle, uint32_t *ret_index)
{
    *ret_index = VGPU_HANDLE_INDEX(handle);
    return VGPU_HANDLE_KIND(handle) == CUDA_KIND_EVENT && *ret_index < CUDA_MAX_EVENTS;
}

/* Whether the record records an event, by the index that its handle has. */
static bool records_event(const struct taken *taken, uint32_t *ret_index)
{
    const struct cuda_op_event_record *op = (const void *)taken->bytes;

    return taken->row->code == CUDA_OP_EVENT_RECORD && index_of(op->event, ret_index);
}

/* A wait for an event may be issued before such a record: it makes and ends nothing. */
static bool may_be_overtaken(const struct taken *taken)
{
    switch (taken->row->code) {
    case CUDA_OP_LAUNCH:
    case CUDA_OP_LAUNCH_EX:
    case CUDA_OP_COPY:
    case CUDA_OP_COPY_3D:
    case CUDA_OP_FILL:
    case CUDA_OP_UPLOAD:
    case CUDA_OP_EVENT_RECORD:
    case CUDA_OP_EVENT_SYNC:
    case CUDA_OP_EVENT_QUERY:
    case CUDA_OP_STREAM_WAIT_EVENT:
    case CUDA_OP_STREAM_QUERY:
    case CUDA_OP_STREAM_SYNC:
        return true;
    default:
        return false;
    }
}

static bool keep(struct channel *channel, const struct taken *taken)
{
    struct early *early = &channel->early;
    uint32_t index;

    if (records_event(taken, &index))
        early->records[index]++;
    early->others += !may_be_overtaken(taken);
    return false;
}

bool early_take(struct channel *channel, const struct taken *taken)
{
    const struct cuda_op_event_sync *op = (const void *)taken->bytes;
    const struct taken *current = &channel->current;
    struct early *early = &channel->early;
    struct early_wait *wait;
    uint32_t index, recorded;

    if (taken->row->code != CUDA_OP_EVENT_SYNC || taken_record(taken)->size_bytes != sizeof(*op) ||
        !index_of(op->event, &index) || early->others > 0 ||
        (current->row && !may_be_overtaken(current)))
        return keep(channel, taken);
    wait = malloc(sizeof(*wait));
    if (!wait)
        return keep(channel, taken);
    *wait = (struct early_wait){.next = early->waits,
                                .row = taken->row,
                                .taken_ns = taken->taken_ns,
                                .ahead = early->records[index],
                                .op = *op};
    wait->ahead += current->row && records_event(current, &recorded) && recorded == index;
    early->waits = wait;
    return true;
}

void early_popped(struct channel *channel, const struct taken *taken)
{
    struct early *early = &channel->early;
    uint32_t index;

    if (records_event(taken, &index))
        early->records[index]--;
    early->others -= !may_be_overtaken(taken);
}

void early_issued(struct channel *channel, const struct taken *taken)
{
    uint32_t recorded, index;

    if (!channel->early.waits || !records_event(taken, &recorded))
        return;
    for (struct early_wait *wait = channel->early.waits; wait; wait = wait->next)
        if (wait->ahead > 0 && index_of(wait->op.event, &index) && index == recorded)
            wait->ahead--;
}

bool early_next(struct channel *channel, struct taken *ret_taken)
{
    struct early_wait **at = &channel->early.waits;
    struct early_wait *wait;

    while (*at && (*at)->ahead > 0)
        at = &(*at)->next;
    wait = *at;
    if (!wait)
        return false;
    *at = wait->next;
    ret_taken->row = wait->row;
    ret_taken->taken_ns = wait->taken_ns;
    ret_taken->job = 0;
    memcpy(ret_taken->bytes, &wait->op, sizeof(wait->op));
    free(wait);
    return true;
}
