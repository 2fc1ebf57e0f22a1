/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver API: virtual memory management. Reservations and mappings are in tables of their own,
 * and what is mapped with access is in the table of device addresses too. The worker keeps the same
 * and has the last word; what is checked here is what can be told without asking.
 */
#include <string.h>

#include "cuda/cuda_api.h"
#include "cuda/cuda_send.h"
#include "guest/libvgpu/lookup.h"
#include "guest/libvgpu/unified.h"
#include "guest/libvgpu/virtual.h"

static bool is_mapped(const struct range *range, uint32_t key)
{
    (void)key;
    return range->what == RANGE_MAPPED;
}

void virtual_forget(void)
{
    guest_lock();
    objects_suspend_all(CUDA_KIND_MEMORY);
    ranges_release(&guest.reserved);
    ranges_release(&guest.mapped);
    ranges_drop_if(&guest.device, is_mapped, 0, NULL);
    guest_unlock();
}

/* Memory that the program holds; with the guest's lock. */
static struct memory_object *held_memory(CUmemGenericAllocationHandle handle)
{
    struct memory_object *memory = object_find(CUDA_KIND_MEMORY, (const void *)(uintptr_t)handle);

    return memory && memory->refs > 0 ? memory : NULL;
}

/* Gives memory up that is neither held nor mapped any more. */
static void give_up_unused(uint32_t handle)
{
    struct memory_object *memory;
    bool unused = false;

    guest_lock();
    memory = object_at(CUDA_KIND_MEMORY, handle);
    if (memory && memory->refs == 0 && memory->maps == 0 && !memory->given_up)
        unused = memory->given_up = true;
    guest_unlock();
    if (!unused)
        return;
    /* Sent first: the next memory may take the index over at once. */
    cuda_send_memory_release(guest_sender(), &(struct cuda_args_memory_release){.memory = handle});
    guest_lock();
    object_drop(CUDA_KIND_MEMORY, handle);
    guest_unlock();
}

/* One mapping of it less. */
static void drop_map(uint32_t handle)
{
    struct memory_object *memory;

    guest_lock();
    memory = object_at(CUDA_KIND_MEMORY, handle);
    if (memory)
        memory->maps--;
    guest_unlock();
    give_up_unused(handle);
}

static CUresult check_properties(const CUmemAllocationProp *prop)
{
    if (!prop || prop->type != CU_MEM_ALLOCATION_TYPE_PINNED)
        return CUDA_ERROR_INVALID_VALUE;
    if (prop->location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
        prop->requestedHandleTypes != CU_MEM_HANDLE_TYPE_NONE)
        return CUDA_ERROR_NOT_SUPPORTED;
    return lookup_device(prop->location.id);
}

CUresult cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *prop,
                                       CUmemAllocationGranularity_flags option)
{
    struct cuda_out_memory_granularity out;
    CUresult result = guest_enter(NULL);

    if (result == CUDA_SUCCESS)
        result = check_properties(prop);
    if (result == CUDA_SUCCESS &&
        (!granularity || (unsigned)option > CU_MEM_ALLOC_GRANULARITY_RECOMMENDED))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        result = cuda_send_memory_granularity(guest_sender(), &out);
    if (result == CUDA_SUCCESS)
        *granularity =
            option == CU_MEM_ALLOC_GRANULARITY_MINIMUM ? out.minimum_bytes : out.recommended_bytes;
    return result;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size,
                     const CUmemAllocationProp *prop, unsigned long long flags)
{
    struct cuda_args_memory_create args = {.bytes = size};
    struct memory_object *memory;
    CUresult result = guest_enter(NULL);

    if (result == CUDA_SUCCESS)
        result = check_properties(prop);
    if (result == CUDA_SUCCESS && (!handle || size == 0 || flags != 0))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS)
        return result;
    guest_lock();
    memory = object_new(CUDA_KIND_MEMORY, 0);
    if (memory) {
        memory->bytes = size;
        memory->refs = 1;
        args.memory = memory->head.handle;
    }
    guest_unlock();
    if (!memory)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = cuda_send_memory_create(guest_sender(), &args);
    if (result == CUDA_SUCCESS) {
        *handle = args.memory;
        return CUDA_SUCCESS;
    }
    guest_lock();
    object_drop(CUDA_KIND_MEMORY, args.memory);
    guest_unlock();
    return result;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
    struct memory_object *memory;
    CUresult result = guest_enter(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    guest_lock();
    memory = held_memory(handle);
    if (memory)
        memory->refs--;
    guest_unlock();
    if (!memory)
        return CUDA_ERROR_INVALID_VALUE;
    give_up_unused((uint32_t)handle);
    return CUDA_SUCCESS;
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *addr)
{
    const struct range *range;
    struct memory_object *memory = NULL;
    CUresult result = guest_enter(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!handle)
        return CUDA_ERROR_INVALID_VALUE;
    guest_lock();
    range = ranges_find(&guest.mapped, (uintptr_t)addr);
    if (range)
        memory = object_at(CUDA_KIND_MEMORY, range->memory);
    if (memory) {
        memory->refs++;
        *handle = memory->head.handle;
    }
    guest_unlock();
    return memory ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *prop,
                                                CUmemGenericAllocationHandle handle)
{
    bool held;
    CUresult result = guest_enter(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    guest_lock();
    held = held_memory(handle) != NULL;
    guest_unlock();
    if (!prop || !held)
        return CUDA_ERROR_INVALID_VALUE;
    *prop = (CUmemAllocationProp){.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                  .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    return CUDA_SUCCESS;
}

CUresult cuMemAddressReserve(CUdeviceptr *ptr, size_t size, size_t alignment, CUdeviceptr addr,
                             unsigned long long flags)
{
    struct cuda_args_address_reserve args = {.bytes = size, .align = alignment, .hint = addr};
    struct cuda_out_address_reserve out;
    bool kept;
    CUresult result = guest_enter(NULL);

    if (result == CUDA_SUCCESS &&
        (!ptr || size == 0 || flags != 0 || (alignment & (alignment - 1))))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        result = cuda_send_address_reserve(guest_sender(), &args, &out);
    if (result != CUDA_SUCCESS)
        return result;
    kept = unified_reserve(out.address, size);
    guest_lock();
    if (kept)
        kept = ranges_add(&guest.reserved, &(struct range){.start = out.address, .bytes = size});
    guest_unlock();
    if (kept) {
        *ptr = out.address;
        return CUDA_SUCCESS;
    }
    cuda_send_address_free(guest_sender(),
                           &(struct cuda_args_address_free){.address = out.address, .bytes = size});
    return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemAddressFree(CUdeviceptr ptr, size_t size)
{
    const struct range *range;
    bool found;
    CUresult result = guest_enter(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    /* Dropped first: the addresses may be another thread's as soon as the worker has freed them. */
    guest_lock();
    range = ranges_find(&guest.reserved, ptr);
    found = range && range->start == ptr && range->bytes == size &&
            !ranges_touch(&guest.mapped, ptr, size);
    if (found)
        ranges_drop(&guest.reserved, ptr);
    guest_unlock();
    if (!found)
        return CUDA_ERROR_INVALID_VALUE;
    return cuda_send_address_free(guest_sender(),
                                  &(struct cuda_args_address_free){.address = ptr, .bytes = size});
}

/* Whether all of a handle's memory may be mapped there; with the guest's lock. */
static CUresult check_map(CUdeviceptr ptr, size_t size, size_t offset,
                          const struct memory_object *memory, unsigned long long flags)
{
    if (!memory || size == 0 || flags != 0 || !ranges_find(&guest.reserved, ptr))
        return CUDA_ERROR_INVALID_VALUE;
    /* NVIDIA's driver maps no parts either. */
    if (offset != 0 || size != memory->bytes)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!ranges_cover(&guest.reserved, ptr, size) || ranges_touch(&guest.mapped, ptr, size))
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

CUresult cuMemMap(CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
                  unsigned long long flags)
{
    struct cuda_args_memory_map args = {
        .address = ptr, .bytes = size, .offset = offset, .memory = (uint32_t)handle};
    struct memory_object *memory;
    bool good;
    CUresult result = guest_enter(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    guest_lock();
    memory = held_memory(handle);
    result = check_map(ptr, size, offset, memory, flags);
    if (result == CUDA_SUCCESS)
        memory->maps++;
    guest_unlock();
    if (result != CUDA_SUCCESS)
        return result;
    result = cuda_send_memory_map(guest_sender(), &args);
    if (result != CUDA_SUCCESS) {
        drop_map(args.memory);
        return result;
    }
    guest_lock();
    good = ranges_add(&guest.mapped, &(struct range){.start = ptr,
                                                     .bytes = size,
                                                     .what = RANGE_MAPPED,
                                                     .memory = args.memory,
                                                     .id = ++guest.last_id});
    guest_unlock();
    return good ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

/* True if the range is made of whole mappings; with the guest's lock. */
static bool mapped_wholly(uint64_t address, uint64_t bytes)
{
    while (bytes > 0) {
        const struct range *range = ranges_find(&guest.mapped, address);

        if (!range || range->start != address || range->bytes > bytes)
            return false;
        address += range->bytes;
        bytes -= range->bytes;
    }
    return true;
}

CUresult cuMemUnmap(CUdeviceptr ptr, size_t size)
{
    struct cuda_args_memory_unmap args = {.address = ptr, .bytes = size};
    uint64_t end = ptr + size;
    bool good;
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    guest_lock();
    good = size > 0 && mapped_wholly(ptr, size);
    for (uint64_t at = ptr; good && at < end; at += ranges_find(&guest.mapped, at)->bytes)
        ranges_drop(&guest.device, at);
    guest_unlock();
    if (!good)
        return CUDA_ERROR_INVALID_VALUE;
    result = cuda_send_memory_unmap(guest_sender(), &args);
    while (result == CUDA_SUCCESS && ptr < end) {
        const struct range *range;
        struct range found;

        guest_lock();
        range = ranges_find(&guest.mapped, ptr);
        found = range ? *range : (struct range){.bytes = end - ptr};
        ranges_drop(&guest.mapped, ptr);
        guest_unlock();
        ptr += found.bytes;
        drop_map(found.memory);
    }
    return result;
}

static CUresult check_access(const CUmemAccessDesc *desc, size_t count)
{
    if (!desc || count == 0)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; i++) {
        if (desc[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
            lookup_device(desc[i].location.id) != CUDA_SUCCESS)
            return CUDA_ERROR_INVALID_DEVICE;
        if (desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE &&
            desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READ &&
            desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
            return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

/* Enters the access of whole mappings into both tables. False: memory is out. */
static bool note_access(uint64_t address, uint64_t bytes, unsigned flags)
{
    uint64_t end = address + bytes;
    bool noted = true;

    guest_lock();
    while (address < end && noted) {
        const struct range *range = ranges_find(&guest.mapped, address);
        struct range changed;

        if (!range)
            break;
        changed = *range;
        changed.flags = flags;
        ranges_add(&guest.mapped, &changed); /* replaces: needs no memory */
        if (flags == CU_MEM_ACCESS_FLAGS_PROT_NONE)
            ranges_drop(&guest.device, changed.start);
        else
            noted = ranges_add(&guest.device, &changed);
        address = changed.start + changed.bytes;
    }
    guest_unlock();
    return noted;
}

CUresult cuMemSetAccess(CUdeviceptr ptr, size_t size, const CUmemAccessDesc *desc, size_t count)
{
    struct cuda_args_memory_set_access args = {.address = ptr, .bytes = size};
    bool good;
    CUresult result = guest_enter_context(NULL);

    if (result == CUDA_SUCCESS)
        result = check_access(desc, count);
    if (result != CUDA_SUCCESS)
        return result;
    guest_lock();
    good = size > 0 && mapped_wholly(ptr, size);
    guest_unlock();
    if (!good)
        return CUDA_ERROR_INVALID_VALUE;
    /* One device: the last word counts. */
    args.flags = desc[count - 1].flags;
    result = cuda_send_memory_set_access(guest_sender(), &args);
    if (result == CUDA_SUCCESS && !note_access(ptr, size, args.flags))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    return result;
}

CUresult cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location, CUdeviceptr ptr)
{
    const struct range *range;
    CUresult result = guest_enter(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!flags || !location)
        return CUDA_ERROR_INVALID_VALUE;
    if (location->type != CU_MEM_LOCATION_TYPE_DEVICE ||
        lookup_device(location->id) != CUDA_SUCCESS)
        return CUDA_ERROR_INVALID_DEVICE;
    guest_lock();
    range = ranges_find(&guest.mapped, ptr);
    if (range)
        *flags = range->flags;
    guest_unlock();
    return range ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
