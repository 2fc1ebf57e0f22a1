/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/stream.h"

#include <stdlib.h>
#include <string.h>

#include "worker/channel.h"

/*
 * A batch is closed when it has so many units, more if they are short, or is so long: alone, and
 * while others wait for the GPU.
 */
#define BATCH_UNITS           32u
#define BATCH_UNITS_SHORT     128u
#define BATCH_SHORT_NS        (500 * VGPU_NS_PER_US)
#define BATCH_NS              (2 * VGPU_NS_PER_MS)
#define BATCH_UNITS_CONTENDED 8u
#define BATCH_CONTENDED_NS    (100 * VGPU_NS_PER_US)

struct stream *stream_new(struct context *context, enum stream_kind kind, CUstream cu,
                          bool blocking)
{
    struct stream *stream = calloc(1, sizeof(*stream));

    if (!stream)
        return NULL;
    stream->cu = cu;
    stream->kind = kind;
    stream->blocking = blocking;
    stream->context = context;
    stream->marks_end = &stream->marks;
    stream->next = context->streams;
    context->streams = stream;
    return stream;
}

static void unlink_stream(struct stream *stream)
{
    struct stream **at = &stream->context->streams;

    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
}

static bool batch_is_empty(const struct batch *batch)
{
    return batch->units == 0 && batch->jobs == 0 && batch->ops == 0;
}

bool stream_busy(const struct stream *stream)
{
    return stream->marks || !batch_is_empty(&stream->open);
}

static void free_if_over(struct channel *channel, struct stream *stream)
{
    if (!stream->dead || stream->listed)
        return;
    hold_forget_stream(channel, stream);
    channel->thread_streams -= stream->kind == STREAM_THREAD;
    unlink_stream(stream);
    free(stream);
}

CUresult stream_destroy(struct channel *channel, struct stream *stream)
{
    CUresult result = CUDA_SUCCESS;

    if (stream->dead)
        return CUDA_ERROR_INVALID_HANDLE;
    stream_cover(channel, stream);
    result = channel->cu->cuStreamDestroy(stream->cu);
    stream->dead = true;
    hold_lose(channel, stream, CUDA_ERROR_INVALID_HANDLE);
    quota_lose(channel, stream);
    free_if_over(channel, stream);
    return result;
}

static struct stream *find_thread_stream(struct context *context, uint32_t thread)
{
    for (struct stream **at = &context->streams; *at; at = &(*at)->next) {
        struct stream *stream = *at;

        if (stream->kind == STREAM_THREAD && stream->thread == thread && !stream->dead) {
            /* To the front: the next call is likely the same thread's. */
            *at = stream->next;
            stream->next = context->streams;
            context->streams = stream;
            return stream;
        }
    }
    return NULL;
}

CUresult stream_of_thread(struct channel *channel, struct context *context, uint32_t thread,
                          struct stream **ret_stream)
{
    struct stream *stream = find_thread_stream(context, thread);
    CUstream cu;
    CUresult result;

    if (!stream) {
        if (channel->thread_streams >= WORKER_MAX_THREAD_STREAMS)
            return CUDA_ERROR_OUT_OF_MEMORY;
        result = context_enter(channel, context);
        if (result == CUDA_SUCCESS)
            result = channel->cu->cuStreamCreate(&cu, CU_STREAM_DEFAULT);
        if (result != CUDA_SUCCESS)
            return result;
        stream = stream_new(context, STREAM_THREAD, cu, true);
        if (!stream) {
            channel->cu->cuStreamDestroy(cu);
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        stream->thread = thread;
        channel->thread_streams++;
    }
    *ret_stream = stream;
    return CUDA_SUCCESS;
}

static void list_stream(struct channel *channel, struct stream *stream)
{
    if (stream->listed)
        return;
    stream->listed = true;
    stream->context->busy_streams++;
    stream->next_active = channel->active;
    channel->active = stream;
}

static bool batch_is_full(const struct channel *channel, const struct batch *batch)
{
    uint32_t most = turn_most_units(channel) / 4;

    if (!channel->turn.contended)
        return batch->units >=
                   (batch->estimate_ns < BATCH_SHORT_NS ? BATCH_UNITS_SHORT : BATCH_UNITS) ||
               batch->units > most || batch->estimate_ns >= BATCH_NS;
    return batch->units >= BATCH_UNITS_CONTENDED || batch->units > most ||
           batch->estimate_ns >= BATCH_CONTENDED_NS;
}

void stream_add_unit(struct channel *channel, struct stream *stream, struct function *function,
                     uint64_t copy_bytes, uint64_t estimate_ns, const struct item *ends)
{
    struct batch *batch = &stream->open;

    list_stream(channel, stream);
    stream->last_event = 0;
    if (batch->units == 0) {
        batch->first_ns = channel->now_ns;
        batch->function = function;
    }
    batch->mixed |= batch->function != function;
    batch->units++;
    if (ends) {
        batch->jobs++;
        times_add(channel, batch, ends);
    }
    batch->copy_bytes += copy_bytes;
    batch->estimate_ns += estimate_ns;
    turn_issued(channel, estimate_ns, copy_bytes);
    /* One that was never measured may be long: its time is not to be taken for its followers'. */
    if ((function && function->estimate_ns == 0) || batch_is_full(channel, batch))
        stream_cover(channel, stream);
}

void stream_add_op(struct channel *channel, struct stream *stream)
{
    list_stream(channel, stream);
    stream->last_event = 0;
    stream->open.ops++;
}

static void learn(struct channel *channel, const struct batch *batch, uint64_t run_ns)
{
    uint64_t *known = NULL;
    uint64_t sample = 0;

    if (batch->units == 0 || batch->mixed)
        return;
    if (batch->function) {
        known = &batch->function->estimate_ns;
        sample = run_ns / batch->units;
    } else if (batch->copy_bytes >= 1u << 20) {
        known = &channel->turn.copy_ns_per_mib;
        sample = turn_copy_sample(batch, run_ns);
    }
    if (known)
        *known = *known ? (*known * 7 + sample) / 8 : sample + 1;
}

static void unlearn(struct batch *batch, const struct function *function)
{
    if (!batch->function || (function && batch->function != function))
        return;
    batch->function = NULL;
    batch->mixed = true;
}

void stream_unlearn(struct stream *stream, const struct function *function)
{
    unlearn(&stream->open, function);
    for (struct mark *mark = stream->marks; mark; mark = mark->next)
        unlearn(&mark->batch, function);
}

static void close_batch(struct channel *channel, struct stream *stream, const struct batch *batch,
                        CUresult result)
{
    uint64_t began = batch->first_ns > stream->done_ns ? batch->first_ns : stream->done_ns;
    uint64_t run_ns = channel->now_ns > began ? channel->now_ns - began : 0;
    bool failed = result != CUDA_SUCCESS && !stream->context->failure_counted;

    stream->done_ns = channel->now_ns;
    if (failed && batch->jobs > 0)
        stream->context->failure_counted = context_error_is_sticky(result);
    if (result == CUDA_SUCCESS)
        learn(channel, batch, run_ns);
    else
        context_note_failed(channel, stream->context, result);
    times_done(channel, batch);
    turn_finished(channel, batch, run_ns, failed);
}

static CUresult take_mark(struct channel *channel, struct context *context, struct mark **ret_mark)
{
    struct mark *mark = context->spare_marks;
    CUresult result;

    if (mark) {
        context->spare_marks = mark->next;
    } else {
        mark = calloc(1, sizeof(*mark));
        if (!mark)
            return CUDA_ERROR_OUT_OF_MEMORY;
        result = channel->cu->cuEventCreate(&mark->event, CU_EVENT_DISABLE_TIMING);
        if (result != CUDA_SUCCESS) {
            free(mark);
            return result;
        }
    }
    mark->next = NULL;
    mark->links = NULL;
    *ret_mark = mark;
    return CUDA_SUCCESS;
}

static void give_mark(struct context *context, struct mark *mark)
{
    mark->next = context->spare_marks;
    context->spare_marks = mark;
}

CUresult stream_cover(struct channel *channel, struct stream *stream)
{
    struct mark *mark = NULL;
    uint64_t began_ns;
    CUresult result;

    if (batch_is_empty(&stream->open))
        return CUDA_SUCCESS;
    began_ns = stages_mark_begin(&channel->stages);
    result = context_enter(channel, stream->context);
    if (result == CUDA_SUCCESS)
        result = take_mark(channel, stream->context, &mark);
    if (result == CUDA_SUCCESS) {
        result = channel->cu->cuEventRecord(mark->event, stream->cu);
        if (result != CUDA_SUCCESS)
            give_mark(stream->context, mark);
    }
    if (result != CUDA_SUCCESS) {
        /* Nothing can be learnt of this work any more; a context that refuses a mark is broken. */
        struct batch batch = stream->open;

        memset(&stream->open, 0, sizeof(stream->open));
        close_batch(channel, stream, &batch, result);
        return result;
    }
    mark->batch = stream->open;
    memset(&stream->open, 0, sizeof(stream->open));
    *stream->marks_end = mark;
    stream->marks_end = &mark->next;
    stages_mark_end(&channel->stages, began_ns);
    return CUDA_SUCCESS;
}

CUresult stream_attach(struct channel *channel, struct stream *stream, struct wait *wait)
{
    CUresult result = stream_cover(channel, stream);
    struct wait_link *link;
    struct mark *last = stream->marks;

    if (result != CUDA_SUCCESS || !last)
        return result != CUDA_SUCCESS ? result : stream->context->sticky;
    while (last->next)
        last = last->next;
    link = channel->spare_links;
    if (link)
        channel->spare_links = link->next;
    else
        link = malloc(sizeof(*link));
    if (!link)
        return CUDA_ERROR_OUT_OF_MEMORY;
    link->wait = wait;
    link->next = last->links;
    last->links = link;
    wait->remaining++;
    return CUDA_SUCCESS;
}

void streams_cover(struct channel *channel)
{
    for (struct stream *stream = channel->active; stream; stream = stream->next_active)
        if (stream->open.units > 0)
            stream_cover(channel, stream);
}

/* Frees the mark's links; waits that are over go to *fired. */
static void fire_links(struct channel *channel, struct mark *mark, CUresult result,
                       struct item **fired)
{
    while (mark->links) {
        struct wait_link *link = mark->links;
        struct wait *wait = link->wait;

        mark->links = link->next;
        link->next = channel->spare_links;
        channel->spare_links = link;
        if (wait->result == CUDA_SUCCESS)
            wait->result = result;
        if (--wait->remaining == 0) {
            wait->item->next = *fired;
            *fired = wait->item;
        }
    }
}

static bool poll_stream(struct channel *channel, struct stream *stream, struct item **fired)
{
    bool any = false;

    while (stream->marks) {
        struct mark *mark = stream->marks;
        CUresult result;

        context_enter(channel, stream->context);
        result = channel->cu->cuEventQuery(mark->event);
        if (result == CUDA_ERROR_NOT_READY)
            break;
        stream->marks = mark->next;
        if (!stream->marks)
            stream->marks_end = &stream->marks;
        close_batch(channel, stream, &mark->batch, result);
        fire_links(channel, mark, result, fired);
        give_mark(stream->context, mark);
        any = true;
    }
    return any;
}

static void fire_items(struct channel *channel, struct item *fired)
{
    while (fired) {
        struct item *item = fired;

        fired = item->next;
        item->wait.then(channel, item, item->wait.result);
    }
}

bool streams_poll(struct channel *channel)
{
    struct stream **at = &channel->active;
    struct item *fired = NULL;
    bool any = false;

    while (*at) {
        struct stream *stream = *at;

        any |= poll_stream(channel, stream, &fired);
        if (stream_busy(stream)) {
            at = &stream->next_active;
            continue;
        }
        snapshot_stream_done(channel, stream);
        *at = stream->next_active;
        stream->listed = false;
        stream->context->busy_streams--;
        free_if_over(channel, stream);
    }
    any |= snapshot_tell_events(channel);
    fire_items(channel, fired);
    return any;
}

/* What is behind other work of its stream has not begun before that was done. */
static uint64_t oldest_of(const struct stream *stream)
{
    const struct batch *oldest = &stream->open;

    for (const struct mark *mark = stream->marks; mark; mark = mark->next)
        if (mark->batch.units > 0) {
            oldest = &mark->batch;
            break;
        }
    if (oldest->units == 0)
        return 0;
    return oldest->first_ns > stream->done_ns ? oldest->first_ns : stream->done_ns;
}

static uint64_t due_of(const struct channel *channel, const struct stream *stream)
{
    uint64_t at = stream->done_ns;

    for (const struct mark *mark = stream->marks; mark; mark = mark->next) {
        at = (mark->batch.first_ns > at ? mark->batch.first_ns : at) + mark->batch.estimate_ns;
        if (mark->links || channel->turn.wants)
            return at;
    }
    return UINT64_MAX;
}

uint64_t streams_due_ns(const struct channel *channel)
{
    uint64_t first = UINT64_MAX;

    for (const struct stream *stream = channel->active; stream; stream = stream->next_active) {
        uint64_t due = due_of(channel, stream);

        first = due < first ? due : first;
    }
    return first;
}

static uint64_t end_of(const struct stream *stream)
{
    uint64_t at = stream->done_ns;

    if (stream->open.units > 0)
        return UINT64_MAX;
    for (const struct mark *mark = stream->marks; mark; mark = mark->next) {
        if (mark->batch.units > 0 && mark->batch.estimate_ns == 0)
            return UINT64_MAX;
        at = (mark->batch.first_ns > at ? mark->batch.first_ns : at) + mark->batch.estimate_ns;
    }
    return at;
}

uint64_t streams_end_ns(const struct channel *channel)
{
    uint64_t last = 0;

    for (const struct stream *stream = channel->active; stream; stream = stream->next_active) {
        uint64_t end = end_of(stream);

        last = end > last ? end : last;
    }
    return last ? last : UINT64_MAX;
}

uint64_t streams_oldest_ns(const struct channel *channel)
{
    uint64_t oldest = 0;

    for (const struct stream *stream = channel->active; stream; stream = stream->next_active) {
        uint64_t ns = oldest_of(stream);

        if (ns && (!oldest || ns < oldest))
            oldest = ns;
    }
    return oldest;
}
