/* SPDX-License-Identifier: Apache-2.0 */
/* The driver API: device memory. */
#include "cuda/cuda_api.h"
#include "cuda/cuda_send.h"
#include "guest/libvgpu/host.h"
#include "guest/libvgpu/lookup.h"
#include "guest/libvgpu/unified.h"

/* How much of the driver's address space may be taken in the program before it counts as full. */
#define ADDRESS_TRIES 8

CUresult cuMemGetInfo_v2(size_t *free, size_t *total)
{
    struct cuda_out_memory_info out;
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!free || !total)
        return CUDA_ERROR_INVALID_VALUE;
    result = cuda_send_memory_info(guest_sender(), &out);
    if (result != CUDA_SUCCESS)
        return result;
    *free = out.free_bytes;
    *total = out.total_bytes;
    return CUDA_SUCCESS;
}

/* Notes an allocation; gives it back to the worker if that cannot be. */
static CUresult keep(const struct guest_thread *thread, uint64_t address, uint64_t bytes)
{
    bool kept;

    guest_lock();
    kept = ranges_add(&guest.device, &(struct range){.start = address,
                                                     .bytes = bytes,
                                                     .what = RANGE_MEMORY,
                                                     .context = thread_context(thread),
                                                     .id = ++guest.last_id});
    guest_unlock();
    if (kept)
        return CUDA_SUCCESS;
    cuda_send_memory_free(guest_sender(), &(struct cuda_args_memory_free){.address = address});
    return CUDA_ERROR_OUT_OF_MEMORY;
}

/* Asks the worker for device memory; *ret_bytes is what it takes. */
typedef CUresult (*ask_fn)(const void *args, uint64_t *ret_address, uint64_t *ret_bytes);

/*
 * Device memory at an address where the program has nothing. What came at another is held
 * meanwhile, or the driver would give the same again.
 */
static CUresult ask_for_free_address(ask_fn ask, const void *args, uint64_t *ret_address,
                                     uint64_t *ret_bytes)
{
    uint64_t taken[ADDRESS_TRIES];
    unsigned count = 0;
    CUresult result;

    for (;;) {
        result = ask(args, ret_address, ret_bytes);
        if (result != CUDA_SUCCESS || unified_reserve(*ret_address, *ret_bytes))
            break;
        taken[count++] = *ret_address;
        if (count == ADDRESS_TRIES) {
            result = CUDA_ERROR_OUT_OF_MEMORY;
            break;
        }
    }
    while (count > 0)
        cuda_send_memory_free(guest_sender(),
                              &(struct cuda_args_memory_free){.address = taken[--count]});
    return result;
}

static CUresult ask_linear(const void *args, uint64_t *ret_address, uint64_t *ret_bytes)
{
    const struct cuda_args_memory_alloc *alloc = args;
    struct cuda_out_memory_alloc out;
    CUresult result = cuda_send_memory_alloc(guest_sender(), alloc, &out);

    *ret_address = out.address;
    *ret_bytes = alloc->bytes;
    return result;
}

CUresult cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytesize)
{
    const struct cuda_args_memory_alloc args = {.bytes = bytesize};
    struct guest_thread *thread;
    uint64_t address = 0, bytes = 0;
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!dptr || bytesize == 0)
        return CUDA_ERROR_INVALID_VALUE;
    result = ask_for_free_address(ask_linear, &args, &address, &bytes);
    if (result == CUDA_SUCCESS)
        result = keep(thread, address, bytes);
    if (result == CUDA_SUCCESS)
        *dptr = address;
    return result;
}

static CUresult ask_pitched(const void *args, uint64_t *ret_address, uint64_t *ret_bytes)
{
    const struct cuda_args_memory_alloc_pitch *alloc = args;
    struct cuda_out_memory_alloc_pitch out;
    CUresult result = cuda_send_memory_alloc_pitch(guest_sender(), alloc, &out);

    *ret_address = out.address;
    *ret_bytes = 0;
    if (result == CUDA_SUCCESS && __builtin_mul_overflow(out.pitch_bytes, alloc->height, ret_bytes))
        result = CUDA_ERROR_UNKNOWN;
    return result;
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *dptr, size_t *pPitch, size_t WidthInBytes, size_t Height,
                            unsigned int ElementSizeBytes)
{
    const struct cuda_args_memory_alloc_pitch args = {
        .width_bytes = WidthInBytes, .height = Height, .element_bytes = ElementSizeBytes};
    struct guest_thread *thread;
    uint64_t address = 0, bytes = 0;
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!dptr || !pPitch || WidthInBytes == 0 || Height == 0 ||
        (ElementSizeBytes != 4 && ElementSizeBytes != 8 && ElementSizeBytes != 16))
        return CUDA_ERROR_INVALID_VALUE;
    result = ask_for_free_address(ask_pitched, &args, &address, &bytes);
    if (result == CUDA_SUCCESS)
        result = keep(thread, address, bytes);
    if (result != CUDA_SUCCESS)
        return result;
    *dptr = address;
    *pPitch = bytes / Height;
    return CUDA_SUCCESS;
}

CUresult cuMemFree_v2(CUdeviceptr dptr)
{
    const struct range *range;
    bool found;
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS || dptr == 0)
        return result;
    /* Dropped first: the address may be another thread's as soon as the worker has freed it. */
    guest_lock();
    range = ranges_find(&guest.device, dptr);
    found = range && range->start == dptr && range->what == RANGE_MEMORY;
    if (found)
        ranges_drop(&guest.device, dptr);
    guest_unlock();
    if (!found)
        return host_free_managed(dptr, &result) ? result : CUDA_ERROR_INVALID_VALUE;
    return cuda_send_memory_free(guest_sender(), &(struct cuda_args_memory_free){.address = dptr});
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr *pbase, size_t *psize, CUdeviceptr dptr)
{
    const struct range *range;
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    guest_lock();
    range = ranges_find(&guest.device, dptr);
    if (range && pbase)
        *pbase = range->start;
    if (range && psize)
        *psize = range->bytes;
    guest_unlock();
    return range ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
