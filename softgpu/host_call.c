/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuLaunchHostFunc and cuStreamAddCallback: functions of the program that run in a stream's order,
 * on a thread of the library, and may not call the driver API. After a fault callbacks still run
 * and are told of it; host functions do not.
 */
#include <stdlib.h>

#include "cuda/capture.h"
#include "softgpu/context.h"
#include "softgpu/stream.h"
#include "softgpu/thread.h"

struct host_call {
    struct op op;
    CUhostFn function; /* or: */
    CUstreamCallback callback;
    CUstream stream; /* as the program named it */
    void *user_data;
};

static CUresult host_call_run(struct op *op, struct context *context, CUresult status)
{
    struct host_call *call = (struct host_call *)op;
    struct thread *thread = thread_self();

    (void)context;
    if (!thread)
        return CUDA_ERROR_OUT_OF_MEMORY;
    thread->in_host_function = true;
    if (call->callback)
        call->callback(call->stream, status, call->user_data);
    else
        call->function(call->user_data);
    thread->in_host_function = false;
    return CUDA_SUCCESS;
}

static void host_call_free(struct op *op)
{
    free(op);
}

static CUresult submit_host_call(CUstream handle, CUhostFn function, CUstreamCallback callback,
                                 void *user_data)
{
    CAPTURED(callback ? capture_refuse_stream(handle) : capture_host(function, user_data, handle));
    _scope_ struct scope scope = scope_context();
    struct host_call *call;
    struct stream *stream;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    result = stream_resolve(scope.context, handle, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    call = calloc(1, sizeof(*call));
    if (!call)
        return CUDA_ERROR_OUT_OF_MEMORY;
    call->op.run = host_call_run;
    call->op.free = host_call_free;
    call->op.always = callback != NULL;
    call->function = function;
    call->callback = callback;
    call->stream = handle;
    call->user_data = user_data;
    return stream_submit(stream, &call->op);
}

CUresult cuLaunchHostFunc(CUstream hStream, CUhostFn fn, void *userData)
{
    return fn ? submit_host_call(hStream, fn, NULL, userData) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuStreamAddCallback(CUstream hStream, CUstreamCallback callback, void *userData,
                             unsigned int flags)
{
    return callback && flags == 0 ? submit_host_call(hStream, NULL, callback, userData)
                                  : CUDA_ERROR_INVALID_VALUE;
}
