/* SPDX-License-Identifier: Apache-2.0 */
/* cuStream*, but for callbacks, which are with the host functions. */
#include <stdlib.h>

#include "cuda/capture.h"
#include "softgpu/context.h"
#include "softgpu/event.h"
#include "softgpu/handle.h"
#include "softgpu/stream.h"

static int clamp_priority(int priority)
{
    if (priority > STREAM_LEAST_PRIORITY)
        return STREAM_LEAST_PRIORITY;
    return priority < STREAM_GREATEST_PRIORITY ? STREAM_GREATEST_PRIORITY : priority;
}

CUresult cuStreamCreateWithPriority(CUstream *phStream, unsigned int flags, int priority)
{
    _scope_ struct scope scope = scope_context();
    struct stream *stream;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!phStream || (flags & ~(unsigned)CU_STREAM_NON_BLOCKING))
        return CUDA_ERROR_INVALID_VALUE;
    stream = stream_new(scope.context, flags, clamp_priority(priority));
    if (!stream)
        return CUDA_ERROR_OUT_OF_MEMORY;
    stream->handle = handle_new(HANDLE_STREAM, stream);
    if (!stream->handle) {
        stream_retire(stream);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *phStream = stream->handle;
    return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *phStream, unsigned int flags)
{
    return cuStreamCreateWithPriority(phStream, flags, STREAM_LEAST_PRIORITY);
}

CUresult cuStreamDestroy_v2(CUstream hStream)
{
    if (capture_any())
        capture_stream_gone(hStream);
    _scope_ struct scope scope = scope_context_any();
    struct stream *stream;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    stream = handle_get(HANDLE_STREAM, hStream);
    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    stream_retire(stream);
    return scope.context->error;
}

/* Enters and resolves a stream; *ret_stream is valid while the scope lasts. */
static CUresult stream_of(const struct scope *scope, CUstream handle, struct stream **ret_stream)
{
    if (scope->result != CUDA_SUCCESS)
        return scope->result;
    return stream_resolve(scope->context, handle, ret_stream);
}

CUresult cuStreamGetPriority(CUstream hStream, int *priority)
{
    _scope_ struct scope scope = scope_context();
    struct stream *stream;
    CUresult result = stream_of(&scope, hStream, &stream);

    if (result != CUDA_SUCCESS)
        return result;
    if (!priority)
        return CUDA_ERROR_INVALID_VALUE;
    *priority = stream->priority;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetFlags(CUstream hStream, unsigned int *flags)
{
    _scope_ struct scope scope = scope_context();
    struct stream *stream;
    CUresult result = stream_of(&scope, hStream, &stream);

    if (result != CUDA_SUCCESS)
        return result;
    if (!flags)
        return CUDA_ERROR_INVALID_VALUE;
    *flags = stream->flags;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx(CUstream hStream, CUcontext *pctx)
{
    _scope_ struct scope scope = scope_context();
    struct stream *stream;
    CUresult result = stream_of(&scope, hStream, &stream);

    if (result != CUDA_SUCCESS)
        return result;
    if (!pctx)
        return CUDA_ERROR_INVALID_VALUE;
    *pctx = stream->context->handle;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetId(CUstream hStream, unsigned long long *streamId)
{
    _scope_ struct scope scope = scope_context();
    struct stream *stream;
    CUresult result = stream_of(&scope, hStream, &stream);

    if (result != CUDA_SUCCESS)
        return result;
    if (!streamId)
        return CUDA_ERROR_INVALID_VALUE;
    *streamId = stream->id;
    return CUDA_SUCCESS;
}

CUresult cuStreamSetAttribute(CUstream hStream, CUstreamAttrID attr, const CUstreamAttrValue *value)
{
    _scope_ struct scope scope = scope_context();
    struct stream *stream;
    CUresult result = stream_of(&scope, hStream, &stream);

    if (result == CUDA_SUCCESS)
        result = value ? stream_attribute_set(&stream->attributes, attr, value)
                       : CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS && attr == CU_LAUNCH_ATTRIBUTE_PRIORITY)
        stream->priority = clamp_priority(value->priority);
    return result;
}

CUresult cuStreamGetAttribute(CUstream hStream, CUstreamAttrID attr, CUstreamAttrValue *value_out)
{
    _scope_ struct scope scope = scope_context();
    struct stream *stream;
    CUresult result = stream_of(&scope, hStream, &stream);

    if (result != CUDA_SUCCESS)
        return result;
    return value_out ? stream_attribute_get(&stream->attributes, stream->priority, attr, value_out)
                     : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuStreamCopyAttributes(CUstream dst, CUstream src)
{
    _scope_ struct scope scope = scope_context();
    struct stream *from, *to;
    CUresult result = stream_of(&scope, src, &from);

    if (result == CUDA_SUCCESS)
        result = stream_of(&scope, dst, &to);
    if (result != CUDA_SUCCESS)
        return result;
    to->attributes = from->attributes;
    to->priority = from->priority;
    return CUDA_SUCCESS;
}

CUresult cuStreamQuery(CUstream hStream)
{
    CAPTURED(capture_refuse_query_stream(hStream));
    _scope_ struct scope scope = scope_context();
    struct stream *stream;
    CUresult result = stream_of(&scope, hStream, &stream);

    if (result != CUDA_SUCCESS)
        return result;
    return stream_is_busy(stream) ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream hStream)
{
    CAPTURED(capture_refuse_stream(hStream));
    _scope_ struct scope scope = scope_context();
    struct stream *stream;
    struct context *context;
    CUresult result = stream_of(&scope, hStream, &stream);

    if (result != CUDA_SUCCESS)
        return result;
    context = context_ref(stream->context);
    /* The legacy default stream stands for all blocking streams of the context. */
    if (stream->is_legacy)
        result = stream_wait_blocking(context);
    else
        stream_wait(stream, stream->submitted);
    context_flush(context);
    if (result == CUDA_SUCCESS)
        result = context->error;
    context_unref(context);
    return result;
}

/* Stands in a queue only for what it depends on. */
static CUresult pass(struct op *op, struct context *context, CUresult status)
{
    (void)op;
    (void)context;
    (void)status;
    return CUDA_SUCCESS;
}

static void pass_free(struct op *op)
{
    free(op);
}

CUresult cuStreamWaitEvent(CUstream hStream, CUevent hEvent, unsigned int flags)
{
    CAPTURED(capture_wait(hEvent, hStream, flags));
    _scope_ struct scope scope = scope_context();
    struct event *event;
    struct stream *stream;
    struct op *op;
    CUresult result = stream_of(&scope, hStream, &stream);

    if (result != CUDA_SUCCESS)
        return result;
    if (flags != CU_EVENT_WAIT_DEFAULT)
        return flags == CU_EVENT_WAIT_EXTERNAL ? CUDA_ERROR_ILLEGAL_STATE
                                               : CUDA_ERROR_INVALID_VALUE;
    result = event_get(hEvent, &event);
    if (result != CUDA_SUCCESS || !event->recorded.stream)
        return result; /* never recorded: nothing to wait for */
    op = calloc(1, sizeof(*op));
    if (!op)
        return CUDA_ERROR_OUT_OF_MEMORY;
    op->run = pass;
    op->free = pass_free;
    result = op_need(op, event->recorded.stream, event->recorded.sequence);
    if (result != CUDA_SUCCESS) {
        free(op);
        return result;
    }
    return stream_submit(stream, op);
}
