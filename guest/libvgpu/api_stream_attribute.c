/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver API: attributes of streams. They are kept here and told from here; what changes how
 * the device works goes to the worker as well. Access policy windows would take cache from other
 * VMs, and how a guest waits is the library's own business: those two stay here.
 */
#include <string.h>

#include "cuda/cuda_api.h"
#include "cuda/cuda_send.h"
#include "guest/libvgpu/lookup.h"

/* Of one stream: where its attributes lie. With the lock. */
static struct stream_attributes *find(struct guest_thread *thread, uint32_t handle, int **priority)
{
    struct stream_object *stream = object_at(CUDA_KIND_STREAM, handle);
    struct context_object *context;

    if (stream) {
        *priority = &stream->priority;
        return &stream->attributes;
    }
    if (handle == VGPU_STREAM_PER_THREAD) {
        if (thread->attributes_context != thread_context(thread)) {
            memset(&thread->attributes, 0, sizeof(thread->attributes));
            thread->priority = 0;
            thread->attributes_context = thread_context(thread);
        }
        *priority = &thread->priority;
        return &thread->attributes;
    }
    context = object_at(CUDA_KIND_CONTEXT, thread_context(thread));
    *priority = context ? &context->null_priority : NULL;
    return context ? &context->null_attributes : NULL;
}

static CUresult enter_stream(CUstream stream, struct guest_thread **ret_thread,
                             uint32_t *ret_handle)
{
    CUresult result = guest_enter_context(ret_thread);

    return result == CUDA_SUCCESS ? lookup_stream(*ret_thread, stream, ret_handle) : result;
}

static int clamp_priority(int priority)
{
    const struct cuda_device_info *device = guest_device();

    if (priority < device->greatest_priority)
        return device->greatest_priority;
    return priority > device->least_priority ? device->least_priority : priority;
}

/* The value as a record carries it. */
static uint64_t wire_value(CUstreamAttrID attr, const CUstreamAttrValue *value)
{
    switch (attr) {
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
        return (uint32_t)value->priority;
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
        return value->memSyncDomainMap.default_ | (uint64_t)value->memSyncDomainMap.remote << 8;
    default:
        return (uint32_t)value->memSyncDomain;
    }
}

static CUresult set(struct guest_thread *thread, uint32_t handle, CUstreamAttrID attr,
                    CUstreamAttrValue value)
{
    struct stream_attributes *attributes;
    CUresult result = CUDA_ERROR_INVALID_HANDLE;
    int *priority;

    if (attr == CU_LAUNCH_ATTRIBUTE_PRIORITY)
        value.priority = clamp_priority(value.priority);
    guest_lock();
    attributes = find(thread, handle, &priority);
    if (attributes)
        result = stream_attribute_set(attributes, attr, &value);
    if (result == CUDA_SUCCESS && attr == CU_LAUNCH_ATTRIBUTE_PRIORITY)
        *priority = value.priority;
    guest_unlock();
    if (result != CUDA_SUCCESS || attr == CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW ||
        attr == CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY)
        return result;
    return cuda_send_stream_set_attribute(
        guest_sender(),
        &(struct cuda_args_stream_set_attribute){
            .stream = handle, .attribute = attr, .value = wire_value(attr, &value)});
}

static CUresult get(struct guest_thread *thread, uint32_t handle, CUstreamAttrID attr,
                    CUstreamAttrValue *ret)
{
    const struct stream_attributes *attributes;
    CUresult result = CUDA_ERROR_INVALID_HANDLE;
    int *priority;

    guest_lock();
    attributes = find(thread, handle, &priority);
    if (attributes)
        result = stream_attribute_get(attributes, *priority, attr, ret);
    guest_unlock();
    return result;
}

CUresult cuStreamSetAttribute(CUstream hStream, CUstreamAttrID attr, const CUstreamAttrValue *value)
{
    struct guest_thread *thread;
    uint32_t handle;
    CUresult result = enter_stream(hStream, &thread, &handle);

    if (result != CUDA_SUCCESS)
        return result;
    return value ? set(thread, handle, attr, *value) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuStreamGetAttribute(CUstream hStream, CUstreamAttrID attr, CUstreamAttrValue *value_out)
{
    struct guest_thread *thread;
    uint32_t handle;
    CUresult result = enter_stream(hStream, &thread, &handle);

    if (result != CUDA_SUCCESS)
        return result;
    return value_out ? get(thread, handle, attr, value_out) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuStreamCopyAttributes(CUstream dst, CUstream src)
{
    static const CUstreamAttrID all[] = {
        CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY,
        CU_LAUNCH_ATTRIBUTE_PRIORITY, CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP,
        CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN};
    struct guest_thread *thread;
    uint32_t from, to;
    CUresult result = enter_stream(src, &thread, &from);

    if (result == CUDA_SUCCESS)
        result = lookup_stream(thread, dst, &to);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && result == CUDA_SUCCESS; i++) {
        CUstreamAttrValue value;

        result = get(thread, from, all[i], &value);
        if (result == CUDA_SUCCESS)
            result = set(thread, to, all[i], value);
    }
    return result;
}
