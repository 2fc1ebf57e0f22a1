/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver API: stream-ordered allocation and its pools. An allocation waits for its address and
 * a free for nothing. Which pool is current is known here only: each allocation names its pool, and
 * 0 is the default one.
 */
#include <string.h>

#include "cuda/capture.h"
#include "cuda/cuda_api.h"
#include "cuda/cuda_send.h"
#include "guest/libvgpu/lookup.h"
#include "guest/libvgpu/unified.h"

/* Handles, or 0; with the guest's lock. Dead ones of an earlier session are as good as 0. */
static uint32_t default_handle, current_handle;

static struct pool_object *default_pool(void)
{
    struct pool_object *pool = object_at(CUDA_KIND_POOL, default_handle);

    if (pool)
        return pool;
    pool = object_new(CUDA_KIND_POOL, 0);
    if (!pool)
        return NULL;
    pool->is_default = true;
    default_handle = pool->head.handle;
    return pool;
}

static struct pool_object *current_pool(void)
{
    struct pool_object *pool = object_at(CUDA_KIND_POOL, current_handle);

    return pool ? pool : default_pool();
}

/* The worker's name of a pool; NULL: the current one. */
static CUresult lookup_pool(CUmemoryPool value, struct pool_object *ret, uint32_t *ret_wire)
{
    const struct pool_object *pool;

    guest_lock();
    pool = value ? object_find(CUDA_KIND_POOL, value) : current_pool();
    if (pool)
        *ret = *pool;
    guest_unlock();
    if (!pool)
        return value ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_OUT_OF_MEMORY;
    *ret_wire = ret->is_default ? 0 : ret->head.handle;
    return CUDA_SUCCESS;
}

/* What was allocated in a stream is its context's. */
static uint32_t context_of(const struct guest_thread *thread, uint32_t stream)
{
    const struct stream_object *object;
    uint32_t context = thread_context(thread);

    guest_lock();
    object = object_at(CUDA_KIND_STREAM, stream);
    if (object)
        context = object->head.context;
    guest_unlock();
    return context;
}

static bool keep(uint64_t address, uint64_t bytes, uint32_t context, uint32_t pool)
{
    bool kept;

    if (!unified_reserve(address, bytes))
        return false;
    guest_lock();
    kept = ranges_add(&guest.device, &(struct range){.start = address,
                                                     .bytes = bytes,
                                                     .what = RANGE_MEMORY,
                                                     .context = context,
                                                     .pool = pool,
                                                     .id = ++guest.last_id});
    guest_unlock();
    return kept;
}

static CUresult alloc_from(CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool, CUstream stream)
{
    CAPTURED(capture_refuse_stream(stream));
    struct guest_thread *thread;
    struct pool_object found;
    struct cuda_args_pool_alloc args = {.bytes = bytesize};
    struct cuda_out_pool_alloc out;
    CUresult result = guest_enter_context(&thread);

    if (result == CUDA_SUCCESS)
        result = lookup_stream(thread, stream, &args.stream);
    if (result == CUDA_SUCCESS && (!dptr || bytesize == 0))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        result = lookup_pool(pool, &found, &args.pool);
    if (result == CUDA_SUCCESS)
        result = cuda_send_pool_alloc(guest_sender(), &args, &out);
    if (result != CUDA_SUCCESS)
        return result;
    if (!keep(out.address, bytesize, context_of(thread, args.stream), found.head.handle)) {
        cuda_send_pool_free(guest_sender(), &(struct cuda_args_pool_free){.address = out.address,
                                                                          .stream = args.stream});
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *dptr = out.address;
    return CUDA_SUCCESS;
}

CUresult cuMemAllocAsync(CUdeviceptr *dptr, size_t bytesize, CUstream hStream)
{
    return alloc_from(dptr, bytesize, NULL, hStream);
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool,
                                 CUstream hStream)
{
    CUresult result = guest_enter_context(NULL);

    if (result == CUDA_SUCCESS && !pool)
        result = CUDA_ERROR_INVALID_VALUE;
    return result == CUDA_SUCCESS ? alloc_from(dptr, bytesize, pool, hStream) : result;
}

CUresult cuMemFreeAsync(CUdeviceptr dptr, CUstream hStream)
{
    CAPTURED(capture_refuse_stream(hStream));
    struct guest_thread *thread;
    struct cuda_args_pool_free args = {.address = dptr};
    const struct range *range;
    bool found;
    CUresult result = guest_enter_context(&thread);

    if (result == CUDA_SUCCESS)
        result = lookup_stream(thread, hStream, &args.stream);
    if (result != CUDA_SUCCESS || dptr == 0)
        return result;
    guest_lock();
    range = ranges_find(&guest.device, dptr);
    found = range && range->start == dptr && range->pool != 0;
    if (found)
        ranges_drop(&guest.device, dptr);
    guest_unlock();
    return found ? cuda_send_pool_free(guest_sender(), &args) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *poolProps)
{
    struct cuda_args_pool_create args;
    struct pool_object *made;
    CUresult result = guest_enter(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!pool || !poolProps || poolProps->allocType != CU_MEM_ALLOCATION_TYPE_PINNED ||
        poolProps->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
        return CUDA_ERROR_INVALID_VALUE;
    result = lookup_device(poolProps->location.id);
    if (result == CUDA_SUCCESS && poolProps->handleTypes != CU_MEM_HANDLE_TYPE_NONE)
        result = CUDA_ERROR_NOT_SUPPORTED;
    if (result != CUDA_SUCCESS)
        return result;
    guest_lock();
    made = object_new(CUDA_KIND_POOL, 0);
    if (made)
        args = (struct cuda_args_pool_create){.pool = made->head.handle,
                                              .max_bytes = poolProps->maxSize};
    guest_unlock();
    if (!made)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = cuda_send_pool_create(guest_sender(), &args);
    if (result == CUDA_SUCCESS) {
        *pool = object_handle(made);
        return CUDA_SUCCESS;
    }
    guest_lock();
    object_drop(CUDA_KIND_POOL, args.pool);
    guest_unlock();
    return result;
}

/* Enters, and finds the pool that the program names. */
static CUresult enter_pool(CUmemoryPool value, struct pool_object *ret, uint32_t *ret_wire)
{
    CUresult result = guest_enter(NULL);

    if (result == CUDA_SUCCESS && !value)
        result = CUDA_ERROR_INVALID_VALUE;
    return result == CUDA_SUCCESS ? lookup_pool(value, ret, ret_wire) : result;
}

CUresult cuMemPoolDestroy(CUmemoryPool pool)
{
    struct cuda_args_pool_destroy args;
    struct pool_object found;
    CUresult result = enter_pool(pool, &found, &args.pool);

    if (result != CUDA_SUCCESS)
        return result;
    if (found.is_default)
        return CUDA_ERROR_INVALID_VALUE;
    /* Sent first: the next pool may take the index over at once. */
    result = cuda_send_pool_destroy(guest_sender(), &args);
    guest_lock();
    object_drop(CUDA_KIND_POOL, args.pool);
    guest_unlock();
    return result;
}

/* The attributes up to 3 are int, the others 64 bits wide. */
static size_t attribute_bytes(CUmemPool_attribute attr)
{
    if ((int)attr < 1 || attr > CU_MEMPOOL_ATTR_USED_MEM_HIGH)
        return 0;
    return attr <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES ? sizeof(int)
                                                                     : sizeof(uint64_t);
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void *value)
{
    struct cuda_args_pool_get_attribute args = {.attribute = attr};
    struct cuda_out_pool_get_attribute out;
    struct pool_object found;
    CUresult result = enter_pool(pool, &found, &args.pool);

    if (result == CUDA_SUCCESS && (!value || attribute_bytes(attr) == 0))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        result = cuda_send_pool_get_attribute(guest_sender(), &args, &out);
    if (result == CUDA_SUCCESS)
        memcpy(value, &out.value, attribute_bytes(attr));
    return result;
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void *value)
{
    struct cuda_args_pool_set_attribute args = {.attribute = attr};
    struct pool_object found;
    CUresult result = enter_pool(pool, &found, &args.pool);

    if (result == CUDA_SUCCESS && (!value || attribute_bytes(attr) == 0))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS)
        return result;
    memcpy(&args.value, value, attribute_bytes(attr));
    return cuda_send_pool_set_attribute(guest_sender(), &args);
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t minBytesToKeep)
{
    struct cuda_args_pool_trim args = {.keep_bytes = minBytesToKeep};
    struct pool_object found;
    CUresult result = enter_pool(pool, &found, &args.pool);

    return result == CUDA_SUCCESS ? cuda_send_pool_trim(guest_sender(), &args) : result;
}

CUresult cuMemPoolGetAccess(CUmemAccess_flags *flags, CUmemoryPool memPool, CUmemLocation *location)
{
    struct pool_object found;
    uint32_t wire;
    CUresult result = enter_pool(memPool, &found, &wire);

    if (result != CUDA_SUCCESS)
        return result;
    if (!flags || !location || location->type != CU_MEM_LOCATION_TYPE_DEVICE ||
        lookup_device(location->id) != CUDA_SUCCESS)
        return CUDA_ERROR_INVALID_VALUE;
    *flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    return CUDA_SUCCESS;
}

/* The one device that there is owns the pool, and cannot lose access. */
CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *map, size_t count)
{
    struct pool_object found;
    uint32_t wire;
    CUresult result = enter_pool(pool, &found, &wire);

    if (result != CUDA_SUCCESS)
        return result;
    if (!map && count > 0)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; i++) {
        if (map[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
            lookup_device(map[i].location.id) != CUDA_SUCCESS)
            return CUDA_ERROR_INVALID_DEVICE;
        if (map[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
            return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

static CUresult answer_pool(CUmemoryPool *ret, CUdevice device, struct pool_object *(*get)(void))
{
    const struct pool_object *pool;
    CUresult result = guest_enter(NULL);

    if (result == CUDA_SUCCESS && !ret)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        result = lookup_device(device);
    if (result != CUDA_SUCCESS)
        return result;
    guest_lock();
    pool = get();
    if (pool)
        *ret = object_handle(pool);
    guest_unlock();
    return pool ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool_out, CUdevice dev)
{
    return answer_pool(pool_out, dev, default_pool);
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice dev)
{
    return answer_pool(pool, dev, current_pool);
}

CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool)
{
    struct pool_object found;
    uint32_t wire;
    CUresult result = enter_pool(pool, &found, &wire);

    if (result == CUDA_SUCCESS)
        result = lookup_device(dev);
    if (result != CUDA_SUCCESS)
        return result;
    guest_lock();
    current_handle = found.head.handle;
    guest_unlock();
    return CUDA_SUCCESS;
}
