/* SPDX-License-Identifier: Apache-2.0 */
/* Events and the calls on them; see event.h. */
#include "cuda/capture.h"
#include "softgpu/event.h"

#include <stdlib.h>

#include "common/clock.h"
#include "softgpu/context.h"
#include "softgpu/handle.h"

#define NS_PER_MS 1e6

struct record {
    struct op op;
    struct event *event;   /* a reference */
    struct stream *stream; /* it is queued there */
    uint64_t time_ns;
};

static void event_unref(struct event *event)
{
    if (--event->refs == 0) {
        if (event->recorded.stream)
            stream_unref(event->recorded.stream);
        free(event);
    }
}

static void event_end(struct event *event)
{
    for (struct event **link = &event->context->events; *link; link = &(*link)->next) {
        if (*link == event) {
            *link = event->next;
            break;
        }
    }
    handle_free(event->handle);
    event->handle = NULL;
    event->context = NULL;
    event_unref(event);
}

void event_end_all(struct context *context)
{
    while (context->events)
        event_end(context->events);
}

CUresult event_get(CUevent handle, struct event **ret_event)
{
    struct event *event = handle_get(HANDLE_EVENT, handle);

    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    *ret_event = event;
    return event->context->error;
}

CUresult cuEventCreate(CUevent *phEvent, unsigned int flags)
{
    const unsigned known = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;
    _scope_ struct scope scope = scope_context();
    struct event *event;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!phEvent || (flags & ~known) ||
        ((flags & CU_EVENT_INTERPROCESS) && !(flags & CU_EVENT_DISABLE_TIMING)))
        return CUDA_ERROR_INVALID_VALUE;
    if (flags & CU_EVENT_INTERPROCESS)
        return CUDA_ERROR_NOT_SUPPORTED;
    event = calloc(1, sizeof(*event));
    if (!event)
        return CUDA_ERROR_OUT_OF_MEMORY;
    event->handle = handle_new(HANDLE_EVENT, event);
    if (!event->handle) {
        free(event);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    event->refs = 1;
    event->flags = flags;
    event->context = scope.context;
    event->next = scope.context->events;
    scope.context->events = event;
    *phEvent = event->handle;
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent hEvent)
{
    _scope_ struct scope scope = scope_context_any();
    struct event *event;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    event = handle_get(HANDLE_EVENT, hEvent);
    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    event_end(event);
    return scope.context->error;
}

static CUresult record_run(struct op *op, struct context *context, CUresult status)
{
    struct record *record = (struct record *)op;

    (void)context;
    (void)status;
    record->time_ns = vgpu_clock_ns();
    return CUDA_SUCCESS;
}

/* The event may have been recorded anew in the meantime: then this time is of no interest. */
static void record_free(struct op *op)
{
    struct record *record = (struct record *)op;
    struct event *event = record->event;

    if (event->recorded.stream == record->stream && event->recorded.sequence == op->sequence)
        event->time_ns = record->time_ns;
    event_unref(event);
    free(record);
}

static CUresult record(struct stream *stream, struct event *event)
{
    struct record *record = calloc(1, sizeof(*record));
    struct stream *before = event->recorded.stream;
    CUresult result;

    if (!record)
        return CUDA_ERROR_OUT_OF_MEMORY;
    record->op.run = record_run;
    record->op.free = record_free;
    record->event = event;
    record->stream = stream;
    event->refs++;
    result = stream_submit(stream, &record->op);
    if (result != CUDA_SUCCESS)
        return result;
    event->recorded = (struct point){stream_ref(stream), stream->submitted};
    event->time_ns = 0;
    if (before)
        stream_unref(before);
    return CUDA_SUCCESS;
}

CUresult cuEventRecordWithFlags(CUevent hEvent, CUstream hStream, unsigned int flags)
{
    CAPTURED(capture_record(hEvent, hStream, flags));
    _scope_ struct scope scope = scope_context();
    struct stream *stream;
    struct event *event;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (flags & ~(unsigned)CU_EVENT_RECORD_EXTERNAL)
        return CUDA_ERROR_INVALID_VALUE;
    if (flags & CU_EVENT_RECORD_EXTERNAL)
        return CUDA_ERROR_ILLEGAL_STATE; /* only while capturing */
    result = event_get(hEvent, &event);
    if (result == CUDA_SUCCESS)
        result = stream_resolve(scope.context, hStream, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    return event->context == stream->context ? record(stream, event) : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuEventRecord(CUevent hEvent, CUstream hStream)
{
    return cuEventRecordWithFlags(hEvent, hStream, CU_EVENT_RECORD_DEFAULT);
}

static bool reached(const struct event *event)
{
    const struct point *point = &event->recorded;

    return !point->stream || point->stream->completed >= point->sequence;
}

CUresult cuEventQuery(CUevent hEvent)
{
    CAPTURED(capture_refuse_query_event(hEvent));
    _scope_ struct scope scope = scope_context();
    struct event *event;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    result = event_get(hEvent, &event);
    if (result != CUDA_SUCCESS)
        return result;
    return reached(event) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult cuEventSynchronize(CUevent hEvent)
{
    CAPTURED(capture_refuse_event(hEvent));
    _scope_ struct scope scope = scope_context();
    struct context *context;
    struct event *event;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    result = event_get(hEvent, &event);
    if (result != CUDA_SUCCESS || !event->recorded.stream)
        return result;
    context = context_ref(event->context);
    stream_wait(event->recorded.stream, event->recorded.sequence);
    context_flush(context);
    result = context->error;
    context_unref(context);
    return result;
}

CUresult cuEventElapsedTime_v2(float *pMilliseconds, CUevent hStart, CUevent hEnd)
{
    _scope_ struct scope scope = scope_context();
    struct event *start, *end;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!pMilliseconds)
        return CUDA_ERROR_INVALID_VALUE;
    result = event_get(hStart, &start);
    if (result == CUDA_SUCCESS)
        result = event_get(hEnd, &end);
    if (result != CUDA_SUCCESS)
        return result;
    if (start->context != end->context || ((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING) ||
        !start->recorded.stream || !end->recorded.stream)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!reached(start) || !reached(end))
        return CUDA_ERROR_NOT_READY;
    *pMilliseconds = (float)((double)(int64_t)(end->time_ns - start->time_ns) / NS_PER_MS);
    return CUDA_SUCCESS;
}
