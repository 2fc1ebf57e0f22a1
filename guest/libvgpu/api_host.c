/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver API: page-locked host memory. What is allocated here lies in the channel's data area,
 * where the worker has it registered with the driver. Memory that the program had before is moved
 * there under its address if it is whole pages of private memory; if not, it is only noted: its
 * copies are staged, and the device cannot see it.
 */
#include <string.h>
#include <sys/mman.h>

#include "cuda/capture.h"
#include "cuda/cuda_api.h"
#include "cuda/cuda_send.h"
#include "cuda/exports.h"
#include "guest/libvgpu/data.h"
#include "guest/libvgpu/host.h"
#include "guest/libvgpu/lookup.h"
#include "guest/libvgpu/mirror.h"
#include "guest/libvgpu/move.h"

#define ALLOC_FLAGS                                                                                \
    (CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED)
#define REGISTER_FLAGS                                                                             \
    (CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_IOMEMORY |    \
     CU_MEMHOSTREGISTER_READ_ONLY)

/* Puts page-locked memory, and its view from the device if there is one, into the tables. */
static bool keep(const struct range *pinned)
{
    struct range range = *pinned;
    struct range view = range;
    bool kept;

    guest_lock();
    range.id = view.id = ++guest.last_id;
    view.what = RANGE_HOST_VIEW;
    view.start = range.other;
    view.other = range.start;
    kept = ranges_add(&guest.host, &range);
    if (kept && range.other && !ranges_add(&guest.device, &view)) {
        ranges_drop(&guest.host, range.start);
        kept = false;
    }
    guest_unlock();
    return kept;
}

/* Takes a part of the data area for bytes and has the worker page-lock it. */
static CUresult lock_area(uint64_t bytes, struct vgpu_slice *ret_area, uint64_t *ret_address)
{
    struct sender *sender = guest_sender();
    struct cuda_args_host_register args = {.flags = CU_MEMHOSTREGISTER_PORTABLE |
                                                    CU_MEMHOSTREGISTER_DEVICEMAP};
    struct cuda_out_host_register out;
    CUresult result = data_take_host(sender, bytes, &args.area.offset);

    if (result != CUDA_SUCCESS)
        return result;
    args.area.bytes = data_host_bytes(bytes);
    *ret_area = args.area;
    *ret_address = 0;
    /* A mirror's memory is not the device's: copies go there, kernels do not. */
    if (sender->mirror)
        return CUDA_SUCCESS;
    result = cuda_send_host_register(sender, &args, &out);
    if (result != CUDA_SUCCESS) {
        data_give_host(sender, args.area.offset, bytes);
        return result;
    }
    *ret_address = out.address;
    return CUDA_SUCCESS;
}

/* bytes: as given to lock_area. */
static CUresult unlock_area(uint64_t offset, uint64_t bytes)
{
    struct sender *sender = guest_sender();
    struct cuda_args_host_unregister args = {
        .area = {.offset = offset, .bytes = data_host_bytes(bytes)}};
    CUresult result = CUDA_SUCCESS;

    if (sender->mirror)
        result = cuda_send_context_sync(sender);
    else
        result = cuda_send_host_unregister(sender, &args);
    data_give_host(sender, offset, bytes);
    return result;
}

/* A part of the data area for a range whose size, flags and context are set. */
static CUresult alloc_range(struct range *range)
{
    struct vgpu_slice area;
    CUresult result = lock_area(range->bytes, &area, &range->other);

    if (result != CUDA_SUCCESS)
        return result;
    range->what = RANGE_HOST;
    range->area = area.offset;
    range->start = (uint64_t)(uintptr_t)guest_sender()->map.data + area.offset;
    if (range->other)
        range->flags |= CU_MEMHOSTALLOC_DEVICEMAP;
    if (keep(range))
        return CUDA_SUCCESS;
    unlock_area(area.offset, range->bytes);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult alloc(void **pp, size_t bytes, unsigned flags)
{
    struct range range = {.bytes = bytes, .flags = flags};
    struct guest_thread *thread;
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!pp || bytes == 0 || (flags & ~(unsigned)ALLOC_FLAGS))
        return CUDA_ERROR_INVALID_VALUE;
    range.context = thread_context(thread);
    result = alloc_range(&range);
    if (result == CUDA_SUCCESS)
        *pp = (void *)(uintptr_t)range.start;
    return result;
}

/* The device reads and writes it where the program does; the caller's thread is in a context. */
CUresult host_alloc_managed(uint32_t context, uint64_t bytes, CUdeviceptr *ret)
{
    struct range range = {.bytes = bytes, .context = context, .managed = true};
    CUresult result = alloc_range(&range);

    if (result == CUDA_SUCCESS)
        *ret = range.start;
    return result;
}

CUresult cuMemAllocHost_v2(void **pp, size_t bytesize)
{
    return alloc(pp, bytesize, 0);
}

CUresult cuMemHostAlloc(void **pp, size_t bytesize, unsigned int Flags)
{
    CAPTURED(capture_refuse());
    return alloc(pp, bytesize, Flags);
}

/* Takes the range that starts at p out of the tables. */
static bool take_range(const void *p, enum range_what what, bool managed, struct range *ret)
{
    const struct range *range;
    bool found;

    guest_lock();
    range = ranges_find(&guest.host, (uint64_t)(uintptr_t)p);
    found = range && range->start == (uint64_t)(uintptr_t)p && range->what == what &&
            range->managed == managed;
    if (found) {
        *ret = *range;
        ranges_drop(&guest.host, ret->start);
        if (range_is_pinned(ret) && ret->other)
            ranges_drop(&guest.device, ret->other);
    }
    guest_unlock();
    return found;
}

CUresult cuMemFreeHost(void *p)
{
    CAPTURED(capture_refuse());
    struct range range;
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!p || !take_range(p, RANGE_HOST, false, &range))
        return CUDA_ERROR_INVALID_VALUE;
    return unlock_area(range.area, range.bytes);
}

bool host_free_managed(CUdeviceptr address, CUresult *ret_result)
{
    struct range range;

    if (!take_range((const void *)(uintptr_t)address, RANGE_HOST, true, &range))
        return false;
    *ret_result = unlock_area(range.area, range.bytes);
    return true;
}

/* Page-locked memory; managed memory is none to the program. */
static bool find_range(const void *p, struct range *ret)
{
    const struct range *range;

    guest_lock();
    range = ranges_find(&guest.host, (uint64_t)(uintptr_t)p);
    if (range && range->managed)
        range = NULL;
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
    if (!range_is_pinned(&range))
        return cuda_unsupported("cuMemHostGetDevicePointer of registered memory");
    if (!range.other)
        return cuda_unsupported("cuMemHostGetDevicePointer on a channel that is relayed");
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
    *pFlags = range.flags;
    return CUDA_SUCCESS;
}

/* Every page is there: msync says so without touching any. */
static bool is_mapped(uint64_t start, uint64_t bytes)
{
    uint64_t first = start & ~UINT64_C(4095);

    return msync((void *)(uintptr_t)first, start + bytes - first, MS_ASYNC) == 0;
}

/* The range is whole pages of private memory: it goes onto the data area under its address. */
static CUresult register_moved(struct range *range)
{
    uint8_t *data = guest_sender()->map.data;
    struct vgpu_slice area;
    struct move_file file;
    CUresult result = lock_area(range->bytes, &area, &range->other);

    if (result != CUDA_SUCCESS)
        return result;
    file = data_file(guest_sender(), area.offset);
    range->what = RANGE_MOVED;
    range->area = area.offset;
    if (range->other)
        range->flags |= CU_MEMHOSTREGISTER_DEVICEMAP;
    if (move_in(range->start, range->bytes, data + area.offset, &file) < 0) {
        unlock_area(area.offset, range->bytes);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (keep(range))
        return CUDA_SUCCESS;
    if (move_out(range->start, range->bytes) == 0)
        unlock_area(area.offset, range->bytes);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult register_noted(const struct range *range)
{
    struct range noted = *range;
    bool added;

    noted.what = RANGE_REGISTERED;
    guest_lock();
    noted.id = ++guest.last_id;
    added = ranges_add(&guest.host, &noted);
    guest_unlock();
    return added ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

/* Registering is rare and waits for the worker: one at a time, so that check and entry are one. */
static pthread_mutex_t register_lock = PTHREAD_MUTEX_INITIALIZER;

static CUresult register_range(struct range *range)
{
    const unsigned asked = range->flags;
    CUresult result;
    bool taken;

    guest_lock();
    taken = ranges_touch(&guest.host, range->start, range->bytes);
    guest_unlock();
    if (taken)
        return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    if (move_allowed(range->start, range->bytes)) {
        result = register_moved(range);
        if (result != CUDA_ERROR_OUT_OF_MEMORY)
            return result;
        range->flags = asked;
    }
    if (range->flags & (unsigned)CU_MEMHOSTREGISTER_DEVICEMAP)
        return cuda_unsupported("cuMemHostRegister with device mapping of such memory");
    return register_noted(range);
}

CUresult cuMemHostRegister_v2(void *p, size_t bytesize, unsigned int Flags)
{
    struct range range = {.start = (uint64_t)(uintptr_t)p, .bytes = bytesize, .flags = Flags};
    struct guest_thread *thread;
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!p || bytesize == 0 || bytesize > UINT64_MAX - range.start ||
        (Flags & ~(unsigned)REGISTER_FLAGS))
        return CUDA_ERROR_INVALID_VALUE;
    if (!is_mapped(range.start, bytesize))
        return CUDA_ERROR_INVALID_VALUE;
    if (Flags & ~(unsigned)(CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP))
        return cuda_unsupported("cuMemHostRegister of device or read-only memory");
    range.context = thread_context(thread);
    pthread_mutex_lock(&register_lock);
    result = register_range(&range);
    pthread_mutex_unlock(&register_lock);
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
    if (take_range(p, RANGE_REGISTERED, false, &range))
        return CUDA_SUCCESS;
    if (!take_range(p, RANGE_MOVED, false, &range))
        return find_range(p, &range) ? CUDA_ERROR_INVALID_VALUE
                                     : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
    if (move_out(range.start, range.bytes) < 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    return unlock_area(range.area, range.bytes);
}
