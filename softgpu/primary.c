/* SPDX-License-Identifier: Apache-2.0 */
/* cuDevicePrimaryCtx*: the context that a device shares out, alive while someone retains it. */
#include "softgpu/context.h"

/* Signalled when a primary context's end is over. */
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;

/* The primary context, alive or not, once no other thread is ending it; NULL without memory. */
static struct context *settled(struct device *device)
{
    if (!device->primary)
        device->primary = context_new(device);
    while (device->primary && device->primary->ending)
        pthread_cond_wait(&ended, &gpu.lock);
    return device->primary;
}

static void end(struct context *context)
{
    context_end(context);
    pthread_cond_broadcast(&ended);
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *pctx, CUdevice dev)
{
    _scope_ struct scope scope = scope_gpu();
    struct context *context;
    struct device *device;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    device = gpu_device(dev);
    if (!pctx)
        return CUDA_ERROR_INVALID_VALUE;
    if (!device)
        return CUDA_ERROR_INVALID_DEVICE;
    context = settled(device);
    if (!context)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (!context->alive) {
        CUresult result = context_start(context, context->flags);

        if (result != CUDA_SUCCESS)
            return result;
    }
    context->retained++;
    *pctx = context->handle;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev)
{
    _scope_ struct scope scope = scope_gpu();
    struct context *context;
    struct device *device;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    device = gpu_device(dev);
    if (!device)
        return CUDA_ERROR_INVALID_DEVICE;
    context = settled(device);
    if (!context || context->retained == 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (--context->retained == 0 && context->alive)
        end(context);
    return CUDA_SUCCESS;
}

/* What was retained stays so: it is to be released after a reset as well. */
CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev)
{
    _scope_ struct scope scope = scope_gpu();
    struct context *context;
    struct device *device;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    device = gpu_device(dev);
    if (!device)
        return CUDA_ERROR_INVALID_DEVICE;
    context = settled(device);
    if (context && context->alive)
        end(context);
    if (context)
        context->flags = 0;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags)
{
    _scope_ struct scope scope = scope_gpu();
    struct context *context;
    struct device *device;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    device = gpu_device(dev);
    if (!device)
        return CUDA_ERROR_INVALID_DEVICE;
    if (!context_flags_valid(flags))
        return CUDA_ERROR_INVALID_VALUE;
    context = settled(device);
    if (!context)
        return CUDA_ERROR_OUT_OF_MEMORY;
    context->flags = flags;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active)
{
    _scope_ struct scope scope = scope_gpu();
    struct device *device;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    device = gpu_device(dev);
    if (!device)
        return CUDA_ERROR_INVALID_DEVICE;
    if (flags)
        *flags = device->primary ? device->primary->flags : 0;
    if (active)
        *active = device->primary && device->primary->alive;
    return CUDA_SUCCESS;
}
