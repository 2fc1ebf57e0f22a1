/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver API: managed memory. It is there where host and device pointers are the same; what can
 * be done with it afterwards is in cuda/managed.c.
 */
#include "cuda/capture.h"
#include "cuda/cuda_api.h"
#include "cuda/exports.h"
#include "guest/libvgpu/host.h"
#include "guest/libvgpu/unified.h"

CUresult cuMemAllocManaged(CUdeviceptr *dptr, size_t bytesize, unsigned int flags)
{
    CAPTURED(capture_refuse());
    struct guest_thread *thread;
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!dptr || bytesize == 0 || (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST))
        return CUDA_ERROR_INVALID_VALUE;
    if (!unified_holds())
        return cuda_unsupported("cuMemAllocManaged without unified addressing");
    return host_alloc_managed(thread_context(thread), bytesize, dptr);
}

bool cuda_managed_find(CUdeviceptr ptr, struct cuda_managed *ret)
{
    const struct range *range;

    guest_lock();
    range = ranges_find(&guest.host, ptr);
    if (range && !range->managed)
        range = NULL;
    if (range)
        *ret = (struct cuda_managed){
            .start = range->start, .bytes = range->bytes, .advice = range->advice};
    guest_unlock();
    return range != NULL;
}

void cuda_managed_advise(uint64_t start, unsigned set, unsigned clear)
{
    const struct range *range;
    struct range changed;

    guest_lock();
    range = ranges_find(&guest.host, start);
    if (range && range->managed && range->start == start) {
        changed = *range;
        changed.advice = (changed.advice & ~clear) | set;
        ranges_add(&guest.host, &changed);
    }
    guest_unlock();
}
