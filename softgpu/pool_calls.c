/* SPDX-License-Identifier: Apache-2.0 */
/* Stream-ordered allocation, and the pools that it takes from. */
#include <stdlib.h>
#include <string.h>

#include "cuda/capture.h"
#include "softgpu/context.h"
#include "softgpu/handle.h"
#include "softgpu/memory.h"
#include "softgpu/pool.h"
#include "softgpu/stream.h"

struct free_op {
    struct op op;
    uint64_t base;
};

static CUresult free_run(struct op *op, struct context *context, CUresult status)
{
    (void)op;
    (void)context;
    return status;
}

/* The stream has got there, or the operation could not be queued: then it is freed early. */
static void free_free(struct op *op)
{
    struct free_op *free_op = (struct free_op *)op;

    memory_remove(free_op->base);
    free(op);
}

static CUresult alloc_from(struct scope *scope, struct pool *pool, size_t bytesize, CUstream handle,
                           CUdeviceptr *dptr)
{
    struct allocation allocation;
    struct stream *stream;
    CUresult result = stream_resolve(scope->context, handle, &stream);

    if (result == CUDA_SUCCESS && (!dptr || bytesize == 0))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS)
        return result;
    /* Valid at once: a program that keeps the stream's order cannot see the difference. */
    result = memory_new_pooled(stream->context, pool, bytesize, &allocation);
    if (result == CUDA_SUCCESS)
        *dptr = allocation.base;
    return result;
}

CUresult cuMemAllocAsync(CUdeviceptr *dptr, size_t bytesize, CUstream hStream)
{
    CAPTURED(capture_refuse_stream(hStream));
    _scope_ struct scope scope = scope_context();
    struct pool *pool;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    pool = pool_current(scope.context->device);
    if (!pool)
        return CUDA_ERROR_OUT_OF_MEMORY;
    return alloc_from(&scope, pool, bytesize, hStream, dptr);
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool,
                                 CUstream hStream)
{
    CAPTURED(capture_refuse_stream(hStream));
    _scope_ struct scope scope = scope_context();
    struct pool *found;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    found = handle_get(HANDLE_POOL, pool);
    if (!found)
        return CUDA_ERROR_INVALID_VALUE;
    return alloc_from(&scope, found, bytesize, hStream, dptr);
}

CUresult cuMemFreeAsync(CUdeviceptr dptr, CUstream hStream)
{
    CAPTURED(capture_refuse_stream(hStream));
    _scope_ struct scope scope = scope_context();
    struct allocation found;
    struct stream *stream;
    struct free_op *op;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    result = stream_resolve(scope.context, hStream, &stream);
    if (result != CUDA_SUCCESS || !dptr)
        return result;
    if (!memory_find(dptr, &found) || found.base != dptr || !found.pool || found.doomed)
        return CUDA_ERROR_INVALID_VALUE;
    op = calloc(1, sizeof(*op));
    if (!op)
        return CUDA_ERROR_OUT_OF_MEMORY;
    op->op.run = free_run;
    op->op.free = free_free;
    op->op.always = true;
    op->base = dptr;
    memory_doom(dptr);
    return stream_submit(stream, &op->op);
}

/* Enters; the pool of a handle, or the scope has failed. */
static struct scope scope_pool(CUmemoryPool handle, struct pool **ret_pool)
{
    struct scope scope = scope_gpu();

    if (scope.result != CUDA_SUCCESS)
        return scope;
    *ret_pool = handle_get(HANDLE_POOL, handle);
    if (*ret_pool)
        return scope;
    scope_leave(&scope);
    scope.result = CUDA_ERROR_INVALID_VALUE;
    return scope;
}

/* The device of a location, if that is one; NULL otherwise. */
static struct device *device_at(const CUmemLocation *location)
{
    return location->type == CU_MEM_LOCATION_TYPE_DEVICE ? gpu_device(location->id) : NULL;
}

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *poolProps)
{
    _scope_ struct scope scope = scope_gpu();
    struct device *device;
    struct pool *made;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!pool || !poolProps)
        return CUDA_ERROR_INVALID_VALUE;
    device = device_at(&poolProps->location);
    if (poolProps->allocType != CU_MEM_ALLOCATION_TYPE_PINNED ||
        poolProps->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
        return CUDA_ERROR_INVALID_VALUE;
    if (!device)
        return CUDA_ERROR_INVALID_DEVICE;
    if (poolProps->handleTypes != CU_MEM_HANDLE_TYPE_NONE)
        return CUDA_ERROR_NOT_SUPPORTED;
    made = pool_new(device);
    if (!made)
        return CUDA_ERROR_OUT_OF_MEMORY;
    made->max_bytes = poolProps->maxSize;
    *pool = made->handle;
    return CUDA_SUCCESS;
}

CUresult cuMemPoolDestroy(CUmemoryPool pool)
{
    struct pool *found;
    _scope_ struct scope scope = scope_pool(pool, &found);

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (found->is_default)
        return CUDA_ERROR_INVALID_VALUE;
    pool_destroy(found);
    return CUDA_SUCCESS;
}

/* The attributes 1 to 3 are int, the others 64 bits wide. */
static bool is_reuse(CUmemPool_attribute attr)
{
    return attr >= CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES &&
           attr <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES;
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void *value)
{
    struct pool *found;
    _scope_ struct scope scope = scope_pool(pool, &found);
    uint64_t bytes;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!value)
        return CUDA_ERROR_INVALID_VALUE;
    if (is_reuse(attr)) {
        memcpy(value, &found->reuse[attr - 1], sizeof(int));
        return CUDA_SUCCESS;
    }
    switch (attr) {
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
        bytes = found->threshold_bytes;
        break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
        bytes = found->used_bytes + found->unused_bytes;
        break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
        bytes = found->reserved_high_bytes;
        break;
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
        bytes = found->used_bytes;
        break;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
        bytes = found->used_high_bytes;
        break;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
    memcpy(value, &bytes, sizeof(bytes));
    return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void *value)
{
    struct pool *found;
    _scope_ struct scope scope = scope_pool(pool, &found);
    uint64_t bytes = 0;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!value)
        return CUDA_ERROR_INVALID_VALUE;
    if (is_reuse(attr)) {
        memcpy(&found->reuse[attr - 1], value, sizeof(int));
        return CUDA_SUCCESS;
    }
    memcpy(&bytes, value, sizeof(bytes));
    if (attr == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) {
        found->threshold_bytes = bytes;
        return CUDA_SUCCESS;
    }
    /* The marks can be set back, and no more. */
    if (bytes != 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (attr == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH)
        found->reserved_high_bytes = found->used_bytes + found->unused_bytes;
    else if (attr == CU_MEMPOOL_ATTR_USED_MEM_HIGH)
        found->used_high_bytes = found->used_bytes;
    else
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t minBytesToKeep)
{
    struct pool *found;
    _scope_ struct scope scope = scope_pool(pool, &found);

    if (scope.result == CUDA_SUCCESS)
        pool_trim(found, minBytesToKeep);
    return scope.result;
}

CUresult cuMemPoolGetAccess(CUmemAccess_flags *flags, CUmemoryPool memPool, CUmemLocation *location)
{
    struct pool *found;
    _scope_ struct scope scope = scope_pool(memPool, &found);

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!flags || !location || !device_at(location))
        return CUDA_ERROR_INVALID_VALUE;
    *flags = device_at(location) == found->device ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE
                                                  : CU_MEM_ACCESS_FLAGS_PROT_NONE;
    return CUDA_SUCCESS;
}

/* The owner cannot lose access, and there are no peers. */
CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *map, size_t count)
{
    struct pool *found;
    _scope_ struct scope scope = scope_pool(pool, &found);

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!map && count > 0)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; i++) {
        if (device_at(&map[i].location) != found->device)
            return CUDA_ERROR_INVALID_DEVICE;
        if (map[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
            return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

static CUresult answer_pool(CUmemoryPool *ret, const struct pool *pool)
{
    if (!pool)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *ret = pool->handle;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool_out, CUdevice dev)
{
    _scope_ struct scope scope = scope_gpu();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!pool_out)
        return CUDA_ERROR_INVALID_VALUE;
    if (!gpu_device(dev))
        return CUDA_ERROR_INVALID_DEVICE;
    return answer_pool(pool_out, pool_default(gpu_device(dev)));
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice dev)
{
    _scope_ struct scope scope = scope_gpu();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!pool)
        return CUDA_ERROR_INVALID_VALUE;
    if (!gpu_device(dev))
        return CUDA_ERROR_INVALID_DEVICE;
    return answer_pool(pool, pool_current(gpu_device(dev)));
}

CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool)
{
    struct pool *found;
    _scope_ struct scope scope = scope_pool(pool, &found);
    struct device *device = gpu_device(dev);

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!device)
        return CUDA_ERROR_INVALID_DEVICE;
    if (found->device != device)
        return CUDA_ERROR_INVALID_VALUE;
    device->pool = found;
    return CUDA_SUCCESS;
}
