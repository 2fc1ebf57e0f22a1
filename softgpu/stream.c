/* SPDX-License-Identifier: Apache-2.0 */
/* Streams and their order; see stream.h. The calls that programs make are in stream_calls.c. */
#include "softgpu/stream.h"

#include <stdlib.h>

#include "softgpu/context.h"
#include "softgpu/executor.h"
#include "softgpu/handle.h"
#include "softgpu/thread.h"

/* Streams whose first operation waits for another stream. */
static struct stream *blocked;

struct stream *stream_new(struct context *context, unsigned flags, int priority)
{
    struct stream *stream = calloc(1, sizeof(*stream));

    if (!stream)
        return NULL;
    stream->refs = 1;
    stream->context = context_ref(context);
    stream->flags = flags;
    stream->priority = priority;
    stream->id = gpu.next_id++;
    pthread_cond_init(&stream->moved, NULL);
    stream->next = context->streams;
    context->streams = stream;
    return stream;
}

struct stream *stream_ref(struct stream *stream)
{
    stream->refs++;
    return stream;
}

/* Inlined twice into one function, it makes gcc 12 see a use after free that cannot be. */
__attribute__((noinline)) void stream_unref(struct stream *stream)
{
    if (--stream->refs > 0)
        return;
    pthread_cond_destroy(&stream->moved);
    free(stream);
}

void stream_detach(struct stream *stream)
{
    struct context *context = stream->context;

    if (!context)
        return;
    for (struct stream **link = &context->streams; *link; link = &(*link)->next) {
        if (*link == stream) {
            *link = stream->next;
            break;
        }
    }
    stream->context = NULL;
    handle_free(stream->handle);
    stream->handle = NULL;
    stream_unref(stream);
    context_unref(context);
}

void stream_retire(struct stream *stream)
{
    handle_free(stream->handle);
    stream->handle = NULL;
    stream->retired = true;
    if (stream->state == STREAM_IDLE)
        stream_detach(stream);
}

static struct stream *thread_stream(struct context *context)
{
    struct thread *thread = thread_self();
    struct thread_stream *entry, **link;

    if (!thread)
        return NULL;
    for (link = &thread->streams; (entry = *link);) {
        if (entry->context == context->handle && entry->stream->context)
            return entry->stream;
        if (entry->stream->context) {
            link = &entry->next;
            continue;
        }
        *link = entry->next; /* its context has ended */
        stream_unref(entry->stream);
        free(entry);
    }
    entry = calloc(1, sizeof(*entry));
    if (!entry)
        return NULL;
    entry->stream = stream_new(context, CU_STREAM_DEFAULT, STREAM_LEAST_PRIORITY);
    if (!entry->stream) {
        free(entry);
        return NULL;
    }
    entry->stream->is_per_thread = true;
    stream_ref(entry->stream);
    entry->context = context->handle;
    entry->next = thread->streams;
    thread->streams = entry;
    return entry->stream;
}

CUresult stream_resolve(struct context *current, CUstream handle, struct stream **ret_stream)
{
    struct thread *thread = thread_self();
    struct stream *stream;

    if (!handle)
        handle = thread && thread->per_thread ? CU_STREAM_PER_THREAD : CU_STREAM_LEGACY;
    if (handle == CU_STREAM_LEGACY) {
        *ret_stream = current->legacy;
        return CUDA_SUCCESS;
    }
    if (handle == CU_STREAM_PER_THREAD) {
        stream = thread_stream(current);
        if (!stream)
            return CUDA_ERROR_OUT_OF_MEMORY;
        *ret_stream = stream;
        return CUDA_SUCCESS;
    }
    stream = handle_get(HANDLE_STREAM, handle);
    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    *ret_stream = stream;
    return stream->context->error;
}

CUresult op_need(struct op *op, struct stream *stream, uint64_t sequence)
{
    struct point *needs;

    if (stream->completed >= sequence)
        return CUDA_SUCCESS;
    needs = realloc(op->needs, (op->n_needs + 1) * sizeof(*needs));
    if (!needs)
        return CUDA_ERROR_OUT_OF_MEMORY;
    op->needs = needs;
    needs[op->n_needs++] = (struct point){stream_ref(stream), sequence};
    return CUDA_SUCCESS;
}

static void op_free(struct op *op)
{
    for (size_t i = 0; i < op->n_needs; i++)
        stream_unref(op->needs[i].stream);
    free(op->needs);
    op->free(op);
}

/* The legacy default stream's rule. */
static CUresult need_default_order(struct stream *stream, struct op *op)
{
    struct context *context = stream->context;
    CUresult result = CUDA_SUCCESS;

    if (stream->flags & CU_STREAM_NON_BLOCKING)
        return CUDA_SUCCESS;
    if (!stream->is_legacy)
        return op_need(op, context->legacy, context->legacy->submitted);
    for (struct stream *other = context->streams; other && result == CUDA_SUCCESS;
         other = other->next) {
        if (other != stream && !(other->flags & CU_STREAM_NON_BLOCKING))
            result = op_need(op, other, other->submitted);
    }
    return result;
}

/* Queues without waking anyone. */
static CUresult enqueue(struct stream *stream, struct op *op)
{
    CUresult result = need_default_order(stream, op);

    if (result != CUDA_SUCCESS) {
        op_free(op);
        return result;
    }
    op->next = NULL;
    op->sequence = ++stream->submitted;
    if (stream->last)
        stream->last->next = op;
    else
        stream->first = op;
    stream->last = op;
    return CUDA_SUCCESS;
}

CUresult stream_submit(struct stream *stream, struct op *op)
{
    CUresult result = enqueue(stream, op);

    if (result == CUDA_SUCCESS && stream->state == STREAM_IDLE)
        stream_settle(stream);
    return result;
}

CUresult stream_submit_wait(struct stream *stream, struct op *op)
{
    struct context *context = context_ref(stream->context);
    CUresult result = enqueue(stream, op);

    if (result == CUDA_SUCCESS) {
        uint64_t sequence = stream->submitted;

        if (stream->state == STREAM_IDLE && stream_can_run(stream)) {
            stream->state = STREAM_RUNNING;
            stream_ref(stream);
            stream_run_first(stream);
            stream_settle(stream);
            stream_unref(stream);
        } else {
            if (stream->state == STREAM_IDLE)
                stream_settle(stream);
            stream_wait(stream, sequence);
        }
        result = context->error;
    }
    context_unref(context);
    return result;
}

void stream_wait(struct stream *stream, uint64_t sequence)
{
    stream_ref(stream);
    stream->waiters++;
    while (stream->completed < sequence)
        pthread_cond_wait(&stream->moved, &gpu.lock);
    stream->waiters--;
    stream_unref(stream);
}

static bool has_work(const struct stream *stream, bool blocking_only)
{
    return stream->completed < stream->submitted &&
           !(blocking_only && (stream->flags & CU_STREAM_NON_BLOCKING));
}

bool stream_is_busy(const struct stream *stream)
{
    bool busy = has_work(stream, false);

    if (!stream->is_legacy)
        return busy;
    for (const struct stream *other = stream->context->streams; other && !busy; other = other->next)
        busy = has_work(other, true);
    return busy;
}

static CUresult wait_streams(struct context *context, bool blocking_only)
{
    struct point *points;
    size_t n = 0;

    for (struct stream *stream = context->streams; stream; stream = stream->next)
        n += has_work(stream, blocking_only);
    if (n == 0)
        return context->error;
    points = calloc(n, sizeof(*points));
    if (!points)
        return CUDA_ERROR_OUT_OF_MEMORY;
    n = 0;
    for (struct stream *stream = context->streams; stream; stream = stream->next) {
        if (has_work(stream, blocking_only))
            points[n++] = (struct point){stream_ref(stream), stream->submitted};
    }
    for (size_t i = 0; i < n; i++) {
        stream_wait(points[i].stream, points[i].sequence);
        stream_unref(points[i].stream);
    }
    free(points);
    return context->error;
}

CUresult stream_wait_all(struct context *context)
{
    return wait_streams(context, false);
}

CUresult stream_wait_blocking(struct context *context)
{
    return wait_streams(context, true);
}

bool stream_can_run(const struct stream *stream)
{
    const struct op *op = stream->first;

    if (!op)
        return false;
    for (size_t i = 0; i < op->n_needs; i++) {
        if (op->needs[i].stream->completed < op->needs[i].sequence)
            return false;
    }
    return true;
}

static void block(struct stream *stream)
{
    stream->state = STREAM_BLOCKED;
    stream->previous_queued = NULL;
    stream->next_queued = blocked;
    if (blocked)
        blocked->previous_queued = stream;
    blocked = stream;
}

static void unblock(struct stream *stream)
{
    if (stream->previous_queued)
        stream->previous_queued->next_queued = stream->next_queued;
    else
        blocked = stream->next_queued;
    if (stream->next_queued)
        stream->next_queued->previous_queued = stream->previous_queued;
}

void stream_settle(struct stream *stream)
{
    if (!stream->first) {
        stream->state = STREAM_IDLE;
        if (stream->retired)
            stream_detach(stream);
    } else if (stream_can_run(stream)) {
        stream->state = STREAM_READY;
        executor_add(stream);
    } else {
        block(stream);
    }
}

void stream_complete_first(struct stream *stream)
{
    struct op *op = stream->first;
    struct stream *next;

    stream->first = op->next;
    if (!stream->first)
        stream->last = NULL;
    stream->completed = op->sequence;
    op_free(op);
    if (stream->waiters)
        pthread_cond_broadcast(&stream->moved);
    for (struct stream *other = blocked; other; other = next) {
        next = other->next_queued;
        if (!stream_can_run(other))
            continue;
        unblock(other);
        other->state = STREAM_READY;
        executor_add(other);
    }
}

void stream_run_first(struct stream *stream)
{
    struct op *op = stream->first;
    struct context *context = stream->context;
    CUresult status = context->error;

    if (status == CUDA_SUCCESS || op->always) {
        pthread_mutex_unlock(&gpu.lock);
        status = op->run(op, context, status);
        pthread_mutex_lock(&gpu.lock);
        if (status != CUDA_SUCCESS && context->error == CUDA_SUCCESS)
            context->error = status;
    }
    stream_complete_first(stream);
}
