/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/lookup.h"

#include <string.h>

#include "common/flag.h"
#include "cuda/library.h"
#include "ring/pages.h"

/* Copies a live object out, so that the caller need not hold the lock. */
static bool find(enum cuda_kind kind, const void *value, void *copy, size_t bytes)
{
    const void *object;

    guest_lock();
    object = object_find(kind, value);
    if (object)
        memcpy(copy, object, bytes);
    guest_unlock();
    return object != NULL;
}

/* False: it is none of the default streams. */
static bool is_default(const struct guest_thread *thread, CUstream stream, uint32_t *ret_handle)
{
    if (!stream)
        *ret_handle = thread->per_thread ? VGPU_STREAM_PER_THREAD : VGPU_STREAM_DEFAULT;
    else if (stream == CU_STREAM_LEGACY)
        *ret_handle = VGPU_STREAM_LEGACY;
    else if (stream == CU_STREAM_PER_THREAD)
        *ret_handle = VGPU_STREAM_PER_THREAD;
    else
        return false;
    return true;
}

CUresult lookup_stream(const struct guest_thread *thread, CUstream stream, uint32_t *ret_handle)
{
    const struct stream_object *found;

    if (is_default(thread, stream, ret_handle))
        return CUDA_SUCCESS;
    found = object_find(CUDA_KIND_STREAM, stream);
    if (!found)
        return CUDA_ERROR_INVALID_HANDLE;
    *ret_handle = found->head.handle;
    return CUDA_SUCCESS;
}

CUresult lookup_event(CUevent event, struct event_object *ret)
{
    const struct event_object *found = object_find(CUDA_KIND_EVENT, event);

    if (!found)
        return CUDA_ERROR_INVALID_HANDLE;
    ret->head = found->head;
    ret->flags = found->flags;
    /* In this order: a record raises them in the other one. */
    ret->seq = page_load_u64(&found->seq);
    ret->recorded = vgpu_flag_get(&found->recorded);
    return CUDA_SUCCESS;
}

CUresult lookup_event_on(const struct guest_thread *thread, CUevent event, CUstream stream,
                         uint32_t *ret_event, uint32_t *ret_stream)
{
    bool plain = is_default(thread, stream, ret_stream), good;
    uint32_t context = thread_context(thread);
    const struct stream_object *found;
    const struct event_object *object = object_find(CUDA_KIND_EVENT, event);

    found = plain ? NULL : object_find(CUDA_KIND_STREAM, stream);
    if (found) {
        *ret_stream = found->head.handle;
        context = found->head.context;
    }
    good = object && (plain || found) && object->head.context == context;
    if (good)
        *ret_event = object->head.handle;
    return good ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult lookup_function(CUfunction function, struct function_object *ret)
{
    return find(CUDA_KIND_FUNCTION, function, ret, sizeof(*ret)) ? CUDA_SUCCESS
                                                                 : CUDA_ERROR_INVALID_HANDLE;
}

CUresult lookup_launched(CUfunction function, struct function_object *ret)
{
    CUresult result = lookup_function(function, ret);

    if (result == CUDA_SUCCESS)
        return result;
    result = library_function(function, &function);
    return result == CUDA_SUCCESS ? lookup_function(function, ret) : result;
}

CUresult lookup_module(CUmodule module, uint32_t *ret_handle)
{
    struct module_object found;

    if (!find(CUDA_KIND_MODULE, module, &found, sizeof(found)))
        return CUDA_ERROR_INVALID_HANDLE;
    *ret_handle = found.head.handle;
    return CUDA_SUCCESS;
}

CUresult lookup_device_range(CUdeviceptr address, uint64_t bytes, enum range_what *ret_what)
{
    const struct range *range;

    guest_lock();
    range = ranges_cover(&guest.device, address, bytes);
    if (range && ret_what)
        *ret_what = range->what;
    guest_unlock();
    return range ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult lookup_context(CUcontext context, struct context_object *ret)
{
    return find(CUDA_KIND_CONTEXT, context, ret, sizeof(*ret)) ? CUDA_SUCCESS
                                                               : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult lookup_device(CUdevice device)
{
    return device == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}
