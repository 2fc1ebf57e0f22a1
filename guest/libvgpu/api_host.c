/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver API: page-locked host memory. What is allocated here lies in the channel's data area,
 * where the worker has it registered with the driver. Memory that the program had before is only
 * noted: its copies are staged, and the device cannot see it.
 */
#include <string.h>
#include <sys/mman.h>

#include "cuda/cuda_api.h"
#include "cuda/cuda_send.h"
#include "cuda/exports.h"
#include "guest/libvgpu/data.h"
#include "guest/libvgpu/lookup.h"

#define ALLOC_FLAGS                                                                                \
    (CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED)
#define REGISTER_FLAGS                                                                             \
    (CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_IOMEMORY |    \
     CU_MEMHOSTREGISTER_READ_ONLY)

static bool keep(const struct guest_thread *thread, void *host, uint64_t bytes, uint64_t address,
                 unsigned flags)
{
    struct range range = {
        .start = (uint64_t)(uintptr_t)host,
        .bytes = bytes,
        .what = RANGE_HOST,
        .context = thread_context(thread),
        .flags = flags,
        .other = address,
    };
    struct range view = range;
    bool kept;

    guest_lock();
    range.id = view.id = ++guest.last_id;
    view.what = RANGE_HOST_VIEW;
    view.start = address;
    view.other = range.start;
    kept = ranges_add(&guest.host, &range);
    if (kept && !ranges_add(&guest.device, &view)) {
        ranges_drop(&guest.host, range.start);
        kept = false;
    }
    guest_unlock();
    return kept;
}

static CUresult alloc(void **pp, size_t bytes, unsigned flags)
{
    struct guest_thread *thread;
    struct sender *sender = guest_sender();
    struct cuda_args_host_register args = {.flags = CU_MEMHOSTREGISTER_PORTABLE |
                                                    CU_MEMHOSTREGISTER_DEVICEMAP};
    struct cuda_out_host_register out;
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!pp || bytes == 0 || (flags & ~(unsigned)ALLOC_FLAGS))
        return CUDA_ERROR_INVALID_VALUE;
    result = data_take_host(sender, bytes, &args.area.offset);
    if (result != CUDA_SUCCESS)
        return result;
    args.area.bytes = data_host_bytes(bytes);
    result = cuda_send_host_register(sender, &args, &out);
    if (result == CUDA_SUCCESS &&
        !keep(thread, sender->map.data + args.area.offset, bytes, out.address, flags)) {
        cuda_send_host_unregister(sender, &(struct cuda_args_host_unregister){.area = args.area});
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (result == CUDA_SUCCESS)
        *pp = sender->map.data + args.area.offset;
    else
        data_give_host(sender, args.area.offset, bytes);
    return result;
}

CUresult cuMemAllocHost_v2(void **pp, size_t bytesize)
{
    return alloc(pp, bytesize, 0);
}

CUresult cuMemHostAlloc(void **pp, size_t bytesize, unsigned int Flags)
{
    return alloc(pp, bytesize, Flags);
}

/* Takes the range that starts at p out of the tables. */
static bool take_range(const void *p, enum range_what what, struct range *ret)
{
    const struct range *range;
    bool found;

    guest_lock();
    range = ranges_find(&guest.host, (uint64_t)(uintptr_t)p);
    found = range && range->start == (uint64_t)(uintptr_t)p && range->what == what;
    if (found) {
        *ret = *range;
        ranges_drop(&guest.host, ret->start);
        if (what == RANGE_HOST)
            ranges_drop(&guest.device, ret->other);
    }
    guest_unlock();
    return found;
}

CUresult cuMemFreeHost(void *p)
{
    struct sender *sender = guest_sender();
    struct range range;
    struct vgpu_slice area;
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!p || !take_range(p, RANGE_HOST, &range))
        return CUDA_ERROR_INVALID_VALUE;
    area.offset = (uint64_t)((uint8_t *)p - sender->map.data);
    area.bytes = data_host_bytes(range.bytes);
    result = cuda_send_host_unregister(sender, &(struct cuda_args_host_unregister){.area = area});
    data_give_host(sender, area.offset, range.bytes);
    return result;
}

static bool find_range(const void *p, struct range *ret)
{
    const struct range *range;

    guest_lock();
    range = ranges_find(&guest.host, (uint64_t)(uintptr_t)p);
    if (range)
        *ret = *range;
    guest_unlock();
    return range != NULL;
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *pdptr, void *p, unsigned int Flags)
{
    struct range range;
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!pdptr || Flags != 0 || !find_range(p, &range))
        return CUDA_ERROR_INVALID_VALUE;
    if (range.what != RANGE_HOST)
        return cuda_unsupported("cuMemHostGetDevicePointer of registered memory");
    *pdptr = range.other + ((uint64_t)(uintptr_t)p - range.start);
    return CUDA_SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned int *pFlags, void *p)
{
    struct range range;
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!pFlags || !find_range(p, &range))
        return CUDA_ERROR_INVALID_VALUE;
    /* All page-locked memory of ours is mapped, asked for or not. */
    *pFlags = range.what == RANGE_HOST ? range.flags | CU_MEMHOSTALLOC_DEVICEMAP : range.flags;
    return CUDA_SUCCESS;
}

/* Every page is there: msync says so without touching any. */
static bool is_mapped(uint64_t start, uint64_t bytes)
{
    uint64_t first = start & ~UINT64_C(4095);

    return msync((void *)(uintptr_t)first, start + bytes - first, MS_ASYNC) == 0;
}

CUresult cuMemHostRegister_v2(void *p, size_t bytesize, unsigned int Flags)
{
    const uint64_t start = (uint64_t)(uintptr_t)p;
    struct guest_thread *thread;
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!p || bytesize == 0 || bytesize > UINT64_MAX - start || (Flags & ~(unsigned)REGISTER_FLAGS))
        return CUDA_ERROR_INVALID_VALUE;
    if (!is_mapped(start, bytesize))
        return CUDA_ERROR_INVALID_VALUE;
    if (Flags & ~(unsigned)CU_MEMHOSTREGISTER_PORTABLE)
        return cuda_unsupported("cuMemHostRegister with device mapping");
    guest_lock();
    if (ranges_touch(&guest.host, start, bytesize))
        result = CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    else if (!ranges_add(&guest.host, &(struct range){.start = start,
                                                      .bytes = bytesize,
                                                      .what = RANGE_REGISTERED,
                                                      .context = thread_context(thread),
                                                      .flags = Flags,
                                                      .id = ++guest.last_id}))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    guest_unlock();
    return result;
}

CUresult cuMemHostUnregister(void *p)
{
    struct range range;
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!p)
        return CUDA_ERROR_INVALID_VALUE;
    if (take_range(p, RANGE_REGISTERED, &range))
        return CUDA_SUCCESS;
    return find_range(p, &range) ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}
