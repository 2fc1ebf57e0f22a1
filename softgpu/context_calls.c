/* SPDX-License-Identifier: Apache-2.0 */
/* cuCtx*: making contexts, each thread's stack of them, and their settings. */
#include "cuda/capture.h"
#include "softgpu/context.h"
#include "softgpu/handle.h"
#include "softgpu/capability.h"
#include "softgpu/stream.h"
#include "softgpu/thread.h"

static CUresult create(CUcontext *pctx, unsigned flags, CUdevice dev)
{
    _scope_ struct scope scope = scope_gpu();
    struct thread *thread = thread_self();
    struct context *context;
    struct device *device;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!pctx || !context_flags_valid(flags))
        return CUDA_ERROR_INVALID_VALUE;
    device = gpu_device(dev);
    if (!device)
        return CUDA_ERROR_INVALID_DEVICE;
    if (!thread || thread->n_contexts == THREAD_MAX_CONTEXTS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    context = context_new(device);
    if (!context)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = context_start(context, flags);
    if (result != CUDA_SUCCESS) {
        context_unref(context);
        return result;
    }
    thread->contexts[thread->n_contexts++] = context->handle;
    *pctx = context->handle;
    return CUDA_SUCCESS;
}

CUresult cuCtxCreate_v2(CUcontext *pctx, unsigned int flags, CUdevice dev)
{
    return create(pctx, flags, dev);
}

CUresult cuCtxCreate_v3(CUcontext *pctx, CUexecAffinityParam *paramsArray, int numParams,
                        unsigned int flags, CUdevice dev)
{
    if (numParams < 0 || (numParams > 0 && !paramsArray))
        return CUDA_ERROR_INVALID_VALUE;
    return numParams > 0 ? CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY : create(pctx, flags, dev);
}

CUresult cuCtxCreate_v4(CUcontext *pctx, CUctxCreateParams *ctxCreateParams, unsigned int flags,
                        CUdevice dev)
{
    if (ctxCreateParams && ctxCreateParams->cigParams)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (ctxCreateParams)
        return cuCtxCreate_v3(pctx, ctxCreateParams->execAffinityParams,
                              ctxCreateParams->numExecAffinityParams, flags, dev);
    return create(pctx, flags, dev);
}

static bool is_primary(const struct context *context)
{
    return context->device->primary == context;
}

CUresult cuCtxDestroy_v2(CUcontext ctx)
{
    if (capture_any())
        capture_context_gone(ctx);
    _scope_ struct scope scope = scope_gpu();
    struct thread *thread = thread_self();
    struct context *context;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    context = context_get(ctx);
    if (!context || is_primary(context))
        return CUDA_ERROR_INVALID_CONTEXT;
    if (thread && thread_current() == ctx)
        thread->n_contexts--;
    context_end(context);
    context_unref(context);
    return CUDA_SUCCESS;
}

/* A primary context at rest may be made current: it may live again. */
static CUresult check(CUcontext ctx)
{
    const struct context *context = handle_get(HANDLE_CONTEXT, ctx);

    return context && (context->alive || is_primary(context)) ? CUDA_SUCCESS
                                                              : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cuCtxPushCurrent_v2(CUcontext ctx)
{
    _scope_ struct scope scope = scope_gpu();
    struct thread *thread = thread_self();
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!ctx)
        return CUDA_ERROR_INVALID_VALUE;
    result = check(ctx);
    if (result != CUDA_SUCCESS)
        return result;
    if (!thread || thread->n_contexts == THREAD_MAX_CONTEXTS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    thread->contexts[thread->n_contexts++] = ctx;
    return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent_v2(CUcontext *pctx)
{
    _scope_ struct scope scope = scope_gpu();
    struct thread *thread = thread_self();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!thread || thread->n_contexts == 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    thread->n_contexts--;
    if (pctx)
        *pctx = thread->contexts[thread->n_contexts];
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext ctx)
{
    _scope_ struct scope scope = scope_gpu();
    struct thread *thread = thread_self();
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!thread)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (!ctx) {
        if (thread->n_contexts > 0)
            thread->n_contexts--;
        return CUDA_SUCCESS;
    }
    result = check(ctx);
    if (result != CUDA_SUCCESS)
        return result;
    if (thread->n_contexts == 0)
        thread->n_contexts = 1;
    thread->contexts[thread->n_contexts - 1] = ctx;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *pctx)
{
    _scope_ struct scope scope = scope_gpu();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!pctx)
        return CUDA_ERROR_INVALID_VALUE;
    *pctx = thread_current();
    return CUDA_SUCCESS;
}

/* A scope for calls that name a context, NULL being the current one. */
static struct scope scope_named(CUcontext ctx)
{
    struct scope scope;

    if (!ctx)
        return scope_context_any();
    scope = scope_gpu();
    if (scope.result != CUDA_SUCCESS)
        return scope;
    scope.context = context_get(ctx);
    if (scope.context) {
        context_ref(scope.context);
    } else {
        scope_leave(&scope);
        scope.result = CUDA_ERROR_INVALID_CONTEXT;
    }
    return scope;
}

CUresult cuCtxGetDevice_v2(CUdevice *device, CUcontext ctx)
{
    _scope_ struct scope scope = scope_named(ctx);

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!device)
        return CUDA_ERROR_INVALID_VALUE;
    *device = scope.context->device->ordinal;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device)
{
    _scope_ struct scope scope = scope_gpu();
    const struct context *context;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!device)
        return CUDA_ERROR_INVALID_VALUE;
    if (!thread_current())
        return CUDA_ERROR_INVALID_CONTEXT;
    context = handle_get(HANDLE_CONTEXT, thread_current()); /* a primary one may be at rest */
    if (!context)
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    *device = context->device->ordinal;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetFlags(unsigned int *flags)
{
    _scope_ struct scope scope = scope_context_any();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!flags)
        return CUDA_ERROR_INVALID_VALUE;
    *flags = scope.context->flags | (is_primary(scope.context) ? CU_CTX_MAP_HOST : 0u);
    return CUDA_SUCCESS;
}

CUresult cuCtxSetFlags(unsigned int flags)
{
    _scope_ struct scope scope = scope_context();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!context_flags_valid(flags))
        return CUDA_ERROR_INVALID_VALUE;
    scope.context->flags = flags;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetId(CUcontext ctx, unsigned long long *ctxId)
{
    _scope_ struct scope scope = scope_named(ctx);

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!ctxId)
        return CUDA_ERROR_INVALID_VALUE;
    *ctxId = scope.context->id;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetApiVersion(CUcontext ctx, unsigned int *version)
{
    _scope_ struct scope scope = scope_named(ctx);

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!version)
        return CUDA_ERROR_INVALID_VALUE;
    *version = scope.context->api_version;
    return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize_v2(CUcontext ctx)
{
    CAPTURED(capture_refuse());
    _scope_ struct scope scope = scope_named(ctx);

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (scope.context->error == CUDA_SUCCESS) {
        CUresult result = stream_wait_all(scope.context);

        if (result == CUDA_ERROR_OUT_OF_MEMORY)
            return result;
    }
    context_flush(scope.context);
    return scope.context->error;
}

CUresult cuCtxSynchronize(void)
{
    return cuCtxSynchronize_v2(NULL);
}

static size_t clamp(size_t value, size_t low, size_t high)
{
    if (value < low)
        return low;
    return value < high ? value : high;
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value)
{
    _scope_ struct scope scope = scope_context();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    switch (limit) {
    case CU_LIMIT_STACK_SIZE:
        if (value >= LIMIT_STACK_BYTES)
            return CUDA_ERROR_INVALID_VALUE;
        scope.context->stack_bytes = (value + 15) & ~(size_t)15;
        return CUDA_SUCCESS;
    case CU_LIMIT_PRINTF_FIFO_SIZE:
        context_set_printf(scope.context, clamp(value, LIMIT_PRINTF_MIN, LIMIT_PRINTF_MAX));
        return CUDA_SUCCESS;
    case CU_LIMIT_MALLOC_HEAP_SIZE:
        scope.context->heap_bytes =
            clamp(value, LIMIT_HEAP_MIN, scope.context->device->memory_bytes);
        return CUDA_SUCCESS;
    case CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT:
        scope.context->pending_launches = value;
        return CUDA_SUCCESS;
    case CU_LIMIT_MAX_L2_FETCH_GRANULARITY:
        if (value > LIMIT_L2_FETCH_BYTES)
            return CUDA_ERROR_INVALID_VALUE;
        scope.context->l2_fetch_bytes = value;
        return CUDA_SUCCESS;
    case CU_LIMIT_SHMEM_SIZE:
    case CU_LIMIT_CIG_ENABLED:
        return CUDA_ERROR_NOT_PERMITTED;
    case CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH:
    case CU_LIMIT_PERSISTING_L2_CACHE_SIZE:
    case CU_LIMIT_CIG_SHMEM_FALLBACK_ENABLED:
        return CUDA_ERROR_UNSUPPORTED_LIMIT;
    }
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuCtxGetLimit(size_t *pvalue, CUlimit limit)
{
    _scope_ struct scope scope = scope_context();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!pvalue)
        return CUDA_ERROR_INVALID_VALUE;
    switch (limit) {
    case CU_LIMIT_STACK_SIZE:
        *pvalue = scope.context->stack_bytes;
        return CUDA_SUCCESS;
    case CU_LIMIT_PRINTF_FIFO_SIZE:
        *pvalue = scope.context->printf_bytes;
        return CUDA_SUCCESS;
    case CU_LIMIT_MALLOC_HEAP_SIZE:
        *pvalue = scope.context->heap_bytes;
        return CUDA_SUCCESS;
    case CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT:
        *pvalue = scope.context->pending_launches;
        return CUDA_SUCCESS;
    case CU_LIMIT_MAX_L2_FETCH_GRANULARITY:
        *pvalue = scope.context->l2_fetch_bytes;
        return CUDA_SUCCESS;
    case CU_LIMIT_SHMEM_SIZE:
        *pvalue = LIMIT_BLOCK_SHARED_OPTIN;
        return CUDA_SUCCESS;
    case CU_LIMIT_PERSISTING_L2_CACHE_SIZE:
    case CU_LIMIT_CIG_ENABLED:
        *pvalue = 0;
        return CUDA_SUCCESS;
    case CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH:
    case CU_LIMIT_CIG_SHMEM_FALLBACK_ENABLED:
        return CUDA_ERROR_UNSUPPORTED_LIMIT;
    }
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuCtxGetCacheConfig(CUfunc_cache *pconfig)
{
    _scope_ struct scope scope = scope_context();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!pconfig)
        return CUDA_ERROR_INVALID_VALUE;
    *pconfig = scope.context->cache_config;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCacheConfig(CUfunc_cache config)
{
    _scope_ struct scope scope = scope_context();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if ((unsigned)config > CU_FUNC_CACHE_PREFER_EQUAL)
        return CUDA_ERROR_INVALID_VALUE;
    scope.context->cache_config = config;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetSharedMemConfig(CUsharedconfig *pConfig)
{
    _scope_ struct scope scope = scope_context();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!pConfig)
        return CUDA_ERROR_INVALID_VALUE;
    *pConfig = scope.context->shared_config;
    return CUDA_SUCCESS;
}

/* The banks are four bytes wide whatever is asked for, as on all GPUs of today. */
CUresult cuCtxSetSharedMemConfig(CUsharedconfig config)
{
    _scope_ struct scope scope = scope_context();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    return (unsigned)config <= CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE ? CUDA_SUCCESS
                                                                         : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuCtxGetStreamPriorityRange(int *leastPriority, int *greatestPriority)
{
    _scope_ struct scope scope = scope_context();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (leastPriority)
        *leastPriority = STREAM_LEAST_PRIORITY;
    if (greatestPriority)
        *greatestPriority = STREAM_GREATEST_PRIORITY;
    return CUDA_SUCCESS;
}
