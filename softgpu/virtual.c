/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual memory management, with its calls; see virtual.h. */
#include "softgpu/virtual.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "common/overflow.h"
#include "softgpu/context.h"
#include "softgpu/handle.h"
#include "softgpu/memory.h"

struct reservation {
    struct reservation *next;
    uint64_t base, size_bytes;
    uint8_t *shadow;
};

static struct reservation *reservations;

static struct reservation *reservation_at(uint64_t address)
{
    struct reservation *reservation = reservations;

    while (reservation && address - reservation->base >= reservation->size_bytes)
        reservation = reservation->next;
    return reservation;
}

bool virtual_holds(uint64_t address)
{
    return reservation_at(address) != NULL;
}

static bool is_granular(uint64_t bytes)
{
    return bytes % VIRTUAL_GRANULARITY == 0;
}

static void *map_nothing(void *hint, uint64_t size_bytes)
{
    void *p = mmap(hint, size_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

/* Addresses without access at a multiple of align; what is mapped around them goes again. */
static uint64_t reserve_aligned(uint64_t hint, uint64_t size_bytes, uint64_t align)
{
    uint64_t whole, base, end;
    void *p;

    if (!vgpu_add_u64(size_bytes, align, &whole))
        return 0;
    if (hint % align == 0 && hint != 0) {
        p = map_nothing((void *)(uintptr_t)hint, size_bytes);
        if ((uintptr_t)p == hint)
            return hint;
        if (p)
            munmap(p, size_bytes);
    }
    p = map_nothing(NULL, whole);
    if (!p)
        return 0;
    base = ((uintptr_t)p + align - 1) & ~(align - 1);
    end = (uintptr_t)p + whole;
    if (base > (uintptr_t)p)
        munmap(p, base - (uintptr_t)p);
    if (end > base + size_bytes)
        munmap((void *)(uintptr_t)(base + size_bytes), end - (base + size_bytes));
    return base;
}

CUresult cuMemAddressReserve(CUdeviceptr *ptr, size_t size, size_t alignment, CUdeviceptr addr,
                             unsigned long long flags)
{
    _scope_ struct scope scope = scope_gpu();
    struct reservation *reservation;
    uint64_t align = alignment > VIRTUAL_GRANULARITY ? alignment : VIRTUAL_GRANULARITY;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!ptr || size == 0 || flags != 0 || !is_granular(size) || (alignment & (alignment - 1)))
        return CUDA_ERROR_INVALID_VALUE;
    reservation = calloc(1, sizeof(*reservation));
    if (!reservation)
        return CUDA_ERROR_OUT_OF_MEMORY;
    reservation->size_bytes = size;
    reservation->base = reserve_aligned(addr, size, align);
    reservation->shadow = reservation->base ? map_nothing(NULL, size) : NULL;
    if (!reservation->shadow) {
        if (reservation->base)
            munmap((void *)(uintptr_t)reservation->base, size);
        free(reservation);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    reservation->next = reservations;
    reservations = reservation;
    *ptr = reservation->base;
    return CUDA_SUCCESS;
}

CUresult cuMemAddressFree(CUdeviceptr ptr, size_t size)
{
    _scope_ struct scope scope = scope_gpu();
    struct reservation **at = &reservations, *found;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    while (*at && (*at)->base != ptr)
        at = &(*at)->next;
    found = *at;
    if (!found || found->size_bytes != size || memory_touches(ptr, size))
        return CUDA_ERROR_INVALID_VALUE;
    *at = found->next;
    munmap((void *)(uintptr_t)found->base, size);
    munmap(found->shadow, size);
    free(found);
    return CUDA_SUCCESS;
}

static void end_block(struct block *block)
{
    if (block->refs > 0 || block->maps > 0)
        return;
    handle_free((void *)(uintptr_t)block->handle);
    munmap(block->host, block->size_bytes);
    gpu_charge(block->device, -(int64_t)block->size_bytes);
    free(block);
}

static CUresult check_properties(const CUmemAllocationProp *prop)
{
    if (!prop || prop->type != CU_MEM_ALLOCATION_TYPE_PINNED)
        return CUDA_ERROR_INVALID_VALUE;
    if (prop->location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
        prop->requestedHandleTypes != CU_MEM_HANDLE_TYPE_NONE)
        return CUDA_ERROR_NOT_SUPPORTED;
    return gpu_device(prop->location.id) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size,
                     const CUmemAllocationProp *prop, unsigned long long flags)
{
    _scope_ struct scope scope = scope_gpu();
    struct block *block;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    result = check_properties(prop);
    if (result != CUDA_SUCCESS)
        return result;
    if (!handle || size == 0 || flags != 0 || !is_granular(size))
        return CUDA_ERROR_INVALID_VALUE;
    if (size > gpu_free_bytes(gpu_device(prop->location.id)))
        return CUDA_ERROR_OUT_OF_MEMORY;
    block = calloc(1, sizeof(*block));
    if (!block)
        return CUDA_ERROR_OUT_OF_MEMORY;
    block->device = gpu_device(prop->location.id);
    block->size_bytes = size;
    block->refs = 1;
    block->host =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    block->handle = block->host == MAP_FAILED
                        ? 0
                        : (CUmemGenericAllocationHandle)(uintptr_t)handle_new(HANDLE_MEMORY, block);
    if (!block->handle) {
        if (block->host != MAP_FAILED)
            munmap(block->host, size);
        free(block);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    gpu_charge(block->device, (int64_t)size);
    *handle = block->handle;
    return CUDA_SUCCESS;
}

/* Enters; the memory of a handle that the program holds, or the scope has failed. */
static struct scope scope_block(CUmemGenericAllocationHandle handle, struct block **ret_block)
{
    struct scope scope = scope_gpu();

    if (scope.result != CUDA_SUCCESS)
        return scope;
    *ret_block = handle_get(HANDLE_MEMORY, (const void *)(uintptr_t)handle);
    if (*ret_block && (*ret_block)->refs > 0)
        return scope;
    scope_leave(&scope);
    scope.result = CUDA_ERROR_INVALID_VALUE;
    return scope;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
    struct block *block;
    _scope_ struct scope scope = scope_block(handle, &block);

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    block->refs--;
    end_block(block);
    return CUDA_SUCCESS;
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *addr)
{
    _scope_ struct scope scope = scope_gpu();
    struct allocation found;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!handle || !memory_find((uintptr_t)addr, &found) || !found.block)
        return CUDA_ERROR_INVALID_VALUE;
    found.block->refs++;
    *handle = found.block->handle;
    return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *prop,
                                                CUmemGenericAllocationHandle handle)
{
    struct block *block;
    _scope_ struct scope scope = scope_block(handle, &block);

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!prop)
        return CUDA_ERROR_INVALID_VALUE;
    *prop = (CUmemAllocationProp){
        .type = CU_MEM_ALLOCATION_TYPE_PINNED,
        .location = {CU_MEM_LOCATION_TYPE_DEVICE, block->device->ordinal},
    };
    return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *prop,
                                       CUmemAllocationGranularity_flags option)
{
    _scope_ struct scope scope = scope_gpu();
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    result = check_properties(prop);
    if (result == CUDA_SUCCESS && (!granularity || (unsigned)option > 1))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        *granularity = VIRTUAL_GRANULARITY;
    return result;
}

CUresult cuMemMap(CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
                  unsigned long long flags)
{
    struct block *block;
    _scope_ struct scope scope = scope_block(handle, &block);
    struct reservation *reservation;
    CUresult result;
    uint8_t *host;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    reservation = reservation_at(ptr);
    if (!reservation || flags != 0 || size == 0 || !is_granular(ptr))
        return CUDA_ERROR_INVALID_VALUE;
    /* NVIDIA's driver maps no parts either. */
    if (offset != 0 || size != block->size_bytes)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!vgpu_range_within(ptr - reservation->base, size, reservation->size_bytes) ||
        memory_touches(ptr, size))
        return CUDA_ERROR_INVALID_VALUE;
    host = reservation->shadow + (ptr - reservation->base);
    /* Of a shared mapping, a move of no bytes makes a second one. */
    if (mremap(block->host, 0, size, MREMAP_MAYMOVE | MREMAP_FIXED, host) != host)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = memory_add_mapped(block, ptr, host, size);
    if (result == CUDA_SUCCESS)
        block->maps++;
    return result;
}

CUresult cuMemUnmap(CUdeviceptr ptr, size_t size)
{
    _scope_ struct scope scope = scope_gpu();
    struct reservation *reservation;
    struct block *block;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    result = memory_mapped_wholly(ptr, size) ? context_wait_everything() : CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS)
        return result;
    reservation = reservation_at(ptr);
    /* Another thread may have unmapped it meanwhile. */
    if (!reservation || !memory_mapped_wholly(ptr, size))
        return CUDA_ERROR_INVALID_VALUE;
    while ((block = memory_remove_mapped(ptr, size))) {
        block->maps--;
        end_block(block);
    }
    mmap(reservation->shadow + (ptr - reservation->base), size, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    return CUDA_SUCCESS;
}

CUresult cuMemSetAccess(CUdeviceptr ptr, size_t size, const CUmemAccessDesc *desc, size_t count)
{
    _scope_ struct scope scope = scope_gpu();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!desc || count == 0 || !memory_mapped_wholly(ptr, size))
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; i++) {
        if (desc[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
            !memory_is_mapped_of(ptr, gpu_device(desc[i].location.id)))
            return CUDA_ERROR_INVALID_DEVICE;
        if (desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE &&
            desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READ &&
            desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
            return CUDA_ERROR_INVALID_VALUE;
    }
    for (size_t i = 0; i < count; i++)
        memory_set_access(ptr, size, desc[i].flags);
    return CUDA_SUCCESS;
}

CUresult cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location, CUdeviceptr ptr)
{
    _scope_ struct scope scope = scope_gpu();
    struct allocation found;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!flags || !location || !memory_find(ptr, &found) || !found.block)
        return CUDA_ERROR_INVALID_VALUE;
    if (location->type != CU_MEM_LOCATION_TYPE_DEVICE || !gpu_device(location->id))
        return CUDA_ERROR_INVALID_DEVICE;
    *flags = gpu_device(location->id) == found.block->device ? found.flags : 0;
    return CUDA_SUCCESS;
}
