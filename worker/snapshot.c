/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/snapshot.h"

#include "ring/pages.h"
#include "worker/channel.h"

static void unlist(struct event *event)
{
    struct event_list *list = event->list;

    if (event->prev)
        event->prev->next = event->next;
    else
        list->first = event->next;
    if (event->next)
        event->next->prev = event->prev;
    else
        list->last = event->prev;
    event->list = NULL;
}

/* Behind those of earlier records; most often that is the end. */
static void enlist(struct event_list *list, struct event *event)
{
    struct event *before = list->last;

    while (before && before->seq > event->seq)
        before = before->prev;
    event->list = list;
    event->prev = before;
    event->next = before ? before->next : list->first;
    if (event->next)
        event->next->prev = event;
    else
        list->last = event;
    if (before)
        before->next = event;
    else
        list->first = event;
}

void snapshot_forget(struct channel *channel, struct event *event)
{
    struct snapshot *snapshot = &channel->snapshot;

    if (!event->list)
        return;
    snapshot->recorded -= event->list != &snapshot->done;
    unlist(event);
}

void snapshot_recorded(struct channel *channel, struct event *event, struct stream *stream,
                       uint64_t seq)
{
    snapshot_forget(channel, event);
    event->seq = seq;
    enlist(&stream->events, event);
    stream->last_event = seq;
    channel->snapshot.recorded++;
}

void snapshot_refused(struct channel *channel, struct event *event, uint64_t seq)
{
    struct event_list *list = event->list;

    /* Its place in a stream's list stays: it says when what it stands for is done. */
    if (!list || list == &channel->snapshot.done) {
        snapshot_forget(channel, event);
        event->seq = seq;
        enlist(&channel->snapshot.done, event);
    }
    event->seq = seq;
}

static void take_first(struct channel *channel, struct stream *stream)
{
    struct event *event = stream->events.first;

    stream->done_event = event->seq;
    /* Nothing is behind it that a mark would have to be waited for. */
    if (event->seq == stream->last_event && !stream->marks && stream->open.units == 0)
        stream->open.ops = 0;
    snapshot_forget(channel, event);
    enlist(&channel->snapshot.done, event);
}

void snapshot_stream_done(struct channel *channel, struct stream *stream)
{
    while (stream->events.first)
        take_first(channel, stream);
}

/* An error is noted before the event is told: who reads that it is done sees the error as well. */
static bool first_is_done(struct channel *channel, struct stream *stream)
{
    struct event *event = stream->events.first;
    CUresult result;

    if (!event)
        return false;
    result = context_enter(channel, event->context);
    if (result == CUDA_SUCCESS)
        result = channel->cu->cuEventQuery(event->body->cu);
    if (result == CUDA_ERROR_NOT_READY)
        return false;
    if (result != CUDA_SUCCESS)
        context_note_failed(channel, event->context, result);
    return true;
}

/* Until a look at all of them finds nothing more: what is told together was done together. */
static void look(struct channel *channel)
{
    bool any = true;

    while (any && channel->snapshot.recorded > 0) {
        any = false;
        for (struct stream *stream = channel->active; stream; stream = stream->next_active) {
            while (first_is_done(channel, stream)) {
                take_first(channel, stream);
                any = true;
            }
        }
    }
}

static void tell_event(struct channel *channel, const struct event *event)
{
    struct snapshot *snapshot = &channel->snapshot;
    uint32_t index = VGPU_HANDLE_INDEX(event->handle);

    /* What was held may come behind a newer event that has its index. */
    if (snapshot->off || index >= VGPU_EVENT_WORDS || snapshot->events[index] >= event->seq)
        return;
    snapshot->events[index] = event->seq;
    page_store_u64(&channel->map.page->events[index], event->seq);
}

/* Before the words: who has seen one of them sees that something was told. */
static void begin_to_tell(struct channel *channel)
{
    if (!channel->snapshot.off)
        page_store_u64(&channel->map.page->notice.told, ++channel->snapshot.told);
}

bool snapshot_tell_events(struct channel *channel)
{
    struct event_list *done = &channel->snapshot.done;

    look(channel);
    if (!done->first)
        return false;
    begin_to_tell(channel);
    while (done->first) {
        struct event *event = done->first;

        unlist(event);
        tell_event(channel, event);
    }
    return true;
}

static bool all_is_done(struct channel *channel)
{
    if (channel->current.row || channel->backlog.count > 0 || channel->partial || channel->active ||
        hold_active(&channel->hold) || channel->replies.queue)
        return false;
    /* What a synchronisation gives back to the device. */
    pools_settle(channel);
    return !channel->pools_freed;
}

void snapshot_tell_settled(struct channel *channel)
{
    struct snapshot *snapshot = &channel->snapshot;
    uint64_t seq = channel->next_seq - 1;

    if (snapshot->off || seq == snapshot->settled || !all_is_done(channel))
        return;
    snapshot->settled = seq;
    snapshot_tell_events(channel);
    begin_to_tell(channel);
    page_store_u64(&channel->map.page->notice.settled, seq);
}

void snapshot_tell_unheard(struct channel *channel)
{
    bool print = channel->primary.may_print;
    bool error = channel->posted_error || channel->primary.posted_error;

    for (const struct context *context = channel->contexts; context; context = context->next) {
        print |= context->may_print;
        error |= context->posted_error != CUDA_SUCCESS;
    }
    page_store_u32(&channel->map.page->notice.unheard,
                   (error ? VGPU_UNHEARD_ERROR : 0) | (print ? VGPU_UNHEARD_PRINT : 0));
}
