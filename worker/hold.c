/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/hold.h"

#include "cuda/cuda_ops.h"
#include "worker/channel.h"
#include "worker/consumer.h"

/* How a call orders with what is held. */
enum order {
    ORDER_FREE,        /* with nothing */
    ORDER_STREAM,      /* takes its place in its stream */
    ORDER_STREAM_WAIT, /* waits for its stream, but nothing waits for it */
    ORDER_RECORD,      /* in its stream, and the event is behind it */
    ORDER_AWAIT,       /* in its stream, behind the event */
    ORDER_EVENT,       /* behind the event only */
    ORDER_GRAPH,       /* behind the launches of the graph */
    ORDER_THREAD,      /* behind all streams of the thread */
    ORDER_CONTEXT,     /* behind everything in the context */
    ORDER_ALL          /* behind every call that is held */
};

static enum order order_of(const struct item *item)
{
    switch (item->call.row->code) {
    case CUDA_OP_LAUNCH:
    case CUDA_OP_LAUNCH_EX:
    case CUDA_OP_STREAM_SET_ATTRIBUTE:
    case CUDA_OP_STREAM_WRITE_VALUE:
    case CUDA_OP_COPY:
    case CUDA_OP_COPY_3D:
    case CUDA_OP_FILL:
    case CUDA_OP_UPLOAD:
    case CUDA_OP_GRAPH_LAUNCH:
    case CUDA_OP_HOST_FUNCTION:
        return ORDER_STREAM;
    case CUDA_OP_STREAM_SYNC:
    case CUDA_OP_STREAM_QUERY:
    case CUDA_OP_STREAM_DESTROY:
        return ORDER_STREAM_WAIT;
    case CUDA_OP_EVENT_RECORD:
        return ORDER_RECORD;
    case CUDA_OP_STREAM_WAIT_EVENT:
        return ORDER_AWAIT;
    case CUDA_OP_EVENT_SYNC:
    case CUDA_OP_EVENT_QUERY:
    case CUDA_OP_EVENT_DESTROY:
    case CUDA_OP_EVENT_ELAPSED:
        return ORDER_EVENT;
    case CUDA_OP_GRAPH_SET_NODE:
    case CUDA_OP_GRAPH_DESTROY:
        return ORDER_GRAPH;
    case CUDA_OP_MEMORY_UNMAP:
        return ORDER_ALL;
    case CUDA_OP_THREAD_EXIT:
        return ORDER_THREAD;
    case CUDA_OP_CONTEXT_SYNC:
    case CUDA_OP_CONTEXT_RELEASE:
    case CUDA_OP_CONTEXT_DESTROY:
    case CUDA_OP_CONTEXT_RESET:
    case CUDA_OP_MODULE_UNLOAD:
    case CUDA_OP_MEMORY_FREE:
    case CUDA_OP_POOL_FREE:
    case CUDA_OP_HOST_UNREGISTER:
        return ORDER_CONTEXT;
    default:
        return ORDER_FREE;
    }
}

void hold_init(struct hold *hold)
{
    hold->items_end = &hold->items;
    hold->epoch = 1;
}

bool hold_active(const struct hold *hold)
{
    return hold->items || hold->gates;
}

bool hold_full(const struct hold *hold)
{
    return hold->count >= WORKER_MAX_HELD;
}

static bool stream_held(const struct hold *hold, const struct stream *stream)
{
    const struct context *context = stream->context;

    if (stream->held_epoch == hold->epoch)
        return true;
    if (stream->kind == STREAM_NULL)
        return context->blocking_held_epoch == hold->epoch;
    return stream->blocking && context->null_held_epoch == hold->epoch;
}

static void mark_stream(const struct hold *hold, struct stream *stream)
{
    struct context *context = stream->context;

    stream->held_epoch = hold->epoch;
    context->any_held_epoch = hold->epoch;
    if (stream->kind == STREAM_NULL)
        context->null_held_epoch = hold->epoch;
    else if (stream->blocking)
        context->blocking_held_epoch = hold->epoch;
}

static void mark_event(const struct hold *hold, struct event *event)
{
    event->held_epoch = hold->epoch;
    event->context->any_held_epoch = hold->epoch;
}

static bool event_held(const struct hold *hold, const struct event *event)
{
    return event && event->held_epoch == hold->epoch;
}

static bool thread_held(const struct channel *channel, uint32_t thread)
{
    const struct context *context = &channel->primary;

    for (const struct context *next = channel->contexts; context;
         context = next, next = next ? next->next : NULL)
        for (const struct stream *stream = context->streams; stream; stream = stream->next)
            if (stream->kind == STREAM_THREAD && stream->thread == thread &&
                stream_held(&channel->hold, stream))
                return true;
    return false;
}

bool hold_blocks(const struct channel *channel, const struct item *item)
{
    const struct hold *hold = &channel->hold;

    switch (order_of(item)) {
    case ORDER_STREAM:
    case ORDER_STREAM_WAIT:
        return item->stream && stream_held(hold, item->stream);
    case ORDER_RECORD:
    case ORDER_AWAIT:
        return (item->stream && stream_held(hold, item->stream)) || event_held(hold, item->event);
    case ORDER_EVENT:
        return event_held(hold, item->event) || event_held(hold, item->second_event);
    case ORDER_GRAPH:
        return item->graph && item->graph->held_epoch == hold->epoch;
    case ORDER_THREAD:
        return thread_held(channel, item->call.thread);
    case ORDER_CONTEXT:
        return item->context && item->context->any_held_epoch == hold->epoch;
    case ORDER_ALL:
        return hold->items && hold->items != item;
    case ORDER_FREE:
        break;
    }
    return false;
}

/* The item stays: what comes later orders behind it. */
static void mark_behind(struct hold *hold, struct item *item)
{
    enum order order = order_of(item);

    if (item->stream && (order == ORDER_STREAM || order == ORDER_RECORD || order == ORDER_AWAIT))
        mark_stream(hold, item->stream);
    if (item->event && (order == ORDER_RECORD || order == ORDER_AWAIT))
        mark_event(hold, item->event);
    if (item->graph)
        item->graph->held_epoch = hold->epoch;
    /* What waits refers to these objects: nothing may destroy them meanwhile. */
    if (order != ORDER_CONTEXT && order != ORDER_ALL && item->context)
        item->context->any_held_epoch = hold->epoch;
}

void hold_push(struct channel *channel, struct item *item)
{
    struct hold *hold = &channel->hold;

    /* A late free harms nobody, so nothing is behind it, and its stream may go meanwhile. */
    if (item->call.row->code == CUDA_OP_POOL_FREE)
        item->stream = NULL;
    if (item->call.row->code == CUDA_OP_MEMORY_UNMAP)
        virtual_hide(channel, item);
    item->next = NULL;
    *hold->items_end = item;
    hold->items_end = &item->next;
    hold->count++;
    mark_behind(hold, item);
}

static void next_epoch(struct hold *hold)
{
    hold->epoch++;
    for (struct stream *stream = hold->gates; stream; stream = stream->next_gate)
        mark_stream(hold, stream);
}

static bool event_of(const struct event *event, const void *object)
{
    return event && event->context == object;
}

static bool names(const struct item *item, const void *object)
{
    return item->context == object || item->stream == object || item->function == object ||
           (item->stream && item->stream->context == object) || event_of(item->event, object) ||
           event_of(item->second_event, object) || (item->graph && item->graph->context == object);
}

void hold_lose(struct channel *channel, const void *object, CUresult result)
{
    for (struct item *item = channel->hold.items; item; item = item->next) {
        if (!names(item, object))
            continue;
        item->lost = result;
        if (item->context == object)
            item->context = NULL;
        item->stream = NULL;
        item->event = item->second_event = NULL;
        item->function = NULL;
        item->module = NULL;
        item->graph = NULL;
        channel->hold.dirty = true;
    }
}

static void unlink_item(struct hold *hold, struct item **at)
{
    *at = (*at)->next;
    if (!*at)
        hold->items_end = at;
    hold->count--;
}

bool hold_pump(struct channel *channel)
{
    struct hold *hold = &channel->hold;
    struct item **at = &hold->items;
    bool any = false;

    hold->dirty = false;
    hold->wants_turn = false;
    next_epoch(hold);
    while (*at) {
        struct item *item = *at;
        bool blocked;

        if (item->lost != CUDA_SUCCESS) {
            unlink_item(hold, at);
            item_finish(channel, item, item->lost);
            any = true;
            continue;
        }
        blocked = hold_blocks(channel, item);
        if (!blocked && !consumer_may_issue(channel, item)) {
            hold->wants_turn = true;
            blocked = true;
        }
        if (blocked) {
            mark_behind(hold, item);
            at = &item->next;
            continue;
        }
        unlink_item(hold, at);
        consumer_issue(channel, item);
        any = true;
    }
    return any;
}

void hold_close_gate(struct channel *channel, struct stream *stream, uint64_t token)
{
    struct hold *hold = &channel->hold;

    stream->gate = GATE_REACHING;
    stream->token = token;
    stream->next_gate = hold->gates;
    hold->gates = stream;
    mark_stream(hold, stream);
}

bool hold_open_gate(struct channel *channel, uint64_t token)
{
    for (struct stream *stream = channel->hold.gates; stream; stream = stream->next_gate) {
        if (stream->gate == GATE_WAITING && stream->token == token) {
            hold_forget_stream(channel, stream);
            return true;
        }
    }
    return false;
}

void hold_forget_stream(struct channel *channel, struct stream *stream)
{
    if (stream->gate == GATE_OPEN)
        return;
    for (struct stream **at = &channel->hold.gates; *at; at = &(*at)->next_gate) {
        if (*at == stream) {
            *at = stream->next_gate;
            break;
        }
    }
    stream->gate = GATE_OPEN;
    channel->hold.dirty = true;
}
