/* SPDX-License-Identifier: Apache-2.0 */
/* Executions: events. */
#include <stdlib.h>

#include "worker/channel.h"

CUresult exec_event_create(struct channel *channel, const struct cuda_call *call,
                           const struct cuda_in_event_create *in)
{
    struct context *context = item_of(call)->context;
    struct event *event = calloc(1, sizeof(*event));
    CUresult result = CUDA_ERROR_OUT_OF_MEMORY;

    if (event)
        event->body = event_body_new(channel, context, in->flags, &result);
    if (!event || !event->body) {
        free(event);
        return result;
    }
    event->context = context;
    event->handle = in->event_handle;
    event->flags = in->flags;
    if (handle_put(channel->handles, in->event_handle, event) == 0)
        return CUDA_SUCCESS;
    event_body_unref(channel, event->body);
    free(event);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult exec_event_destroy(struct channel *channel, const struct cuda_call *call,
                            const struct cuda_in_event_destroy *in)
{
    struct item *item = item_of(call);

    snapshot_forget(channel, item->event);
    event_body_unref(channel, item->event->body);
    free(item->event);
    item->event = NULL;
    return CUDA_SUCCESS;
}

/* Whoever waits for the earlier record keeps its body. */
static CUresult renew_body(struct channel *channel, struct event *event)
{
    struct event_body *body;
    CUresult result;

    if (event->body->refs == 1)
        return CUDA_SUCCESS;
    body = event_body_new(channel, event->context, event->flags, &result);
    if (!body)
        return result;
    event_body_unref(channel, event->body);
    event->body = body;
    return CUDA_SUCCESS;
}

CUresult exec_event_record(struct channel *channel, const struct cuda_call *call,
                           const struct cuda_in_event_record *in)
{
    struct item *item = item_of(call);
    CUresult result = CUDA_ERROR_INVALID_HANDLE;

    if (item->event->context == item->stream->context)
        result = renew_body(channel, item->event);
    if (result == CUDA_SUCCESS)
        result = channel->cu->cuEventRecord(item->event->body->cu, item->stream->cu);
    if (result != CUDA_SUCCESS) {
        snapshot_refused(channel, item->event, call->seq);
        return result;
    }
    stream_add_op(channel, item->stream);
    snapshot_recorded(channel, item->event, item->stream, call->seq);
    return CUDA_SUCCESS;
}

CUresult exec_event_query(struct channel *channel, const struct cuda_call *call,
                          const struct cuda_in_event_query *in)
{
    return channel->cu->cuEventQuery(item_of(call)->event->body->cu);
}

CUresult exec_event_sync(struct channel *channel, const struct cuda_call *call,
                         const struct cuda_in_event_sync *in)
{
    struct item *item = item_of(call);
    CUresult result = channel->cu->cuEventQuery(item->event->body->cu);

    if (result != CUDA_ERROR_NOT_READY) {
        print_flush(channel, item->context, NULL);
        return result;
    }
    /* The event may be destroyed before it is over: only the body is kept. */
    item->body = item->event->body;
    item->body->refs++;
    item->context = item->body->context;
    item->event = NULL;
    item->next = channel->event_waits;
    channel->event_waits = item;
    return CUDA_CALL_LATER;
}

CUresult exec_event_elapsed(struct channel *channel, const struct cuda_call *call,
                            const struct cuda_in_event_elapsed *in,
                            struct cuda_out_event_elapsed *out)
{
    const struct item *item = item_of(call);

    return channel->cu->cuEventElapsedTime(&out->milliseconds, item->event->body->cu,
                                           item->second_event->body->cu);
}
