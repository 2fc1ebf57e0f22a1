/* SPDX-License-Identifier: Apache-2.0 */
/* The map of allocations; see memory.h. A sorted array of pointers, searched by bisection. */
#include "softgpu/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/overflow.h"
#include "cuda/exports.h"
#include "softgpu/arena.h"
#include "softgpu/context.h"
#include "softgpu/pool.h"
#include "softgpu/virtual.h"

static pthread_rwlock_t map_lock = PTHREAD_RWLOCK_INITIALIZER;
static struct allocation **entries;
static size_t n_entries, size_entries;

/* Index of the first allocation that ends behind address. */
static size_t index_at(uint64_t address)
{
    size_t low = 0, high = n_entries;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (entries[middle]->base + entries[middle]->size_bytes <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool memory_find(uint64_t address, struct allocation *ret)
{
    bool found;
    size_t index;

    pthread_rwlock_rdlock(&map_lock);
    index = index_at(address);
    found = index < n_entries && entries[index]->base <= address;
    if (found)
        *ret = *entries[index];
    pthread_rwlock_unlock(&map_lock);
    return found;
}

/* Kernels reach their own context's memory, that of pools, what is mapped with access, and all
 * pinned host memory, as unified addressing has it. */
static bool reaches(const struct context *context, const struct allocation *allocation)
{
    if (allocation->kind == MEMORY_MAPPED)
        return allocation->flags != 0 && allocation->block->device == context->device;
    return allocation->kind > MEMORY_VARIABLE || allocation->pool || allocation->context == context;
}

static bool engine_find(void *ctx, uint64_t address, struct ptx_range *ret)
{
    struct allocation allocation;

    if (!memory_find(address, &allocation))
        return false;
    if (!reaches(ctx, &allocation))
        return false;
    *ret = (struct ptx_range){
        .base = allocation.base,
        .size_bytes = allocation.size_bytes,
        .host = allocation.host,
        .flags = allocation.read_only ? PTX_RANGE_READ_ONLY : 0,
    };
    return true;
}

struct ptx_memory memory_engine(struct context *context)
{
    return (struct ptx_memory){.ctx = context, .find = engine_find};
}

/* Enters an allocation; the map keeps its own copy. */
static CUresult insert(const struct allocation *allocation)
{
    struct allocation *entry = malloc(sizeof(*entry));
    CUresult result = CUDA_SUCCESS;
    size_t index;

    if (!entry)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *entry = *allocation;
    pthread_rwlock_wrlock(&map_lock);
    index = index_at(entry->base);
    if (index < n_entries && entries[index]->base < entry->base + entry->size_bytes) {
        result = CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    } else if (n_entries == size_entries) {
        size_t size = size_entries ? 2 * size_entries : 64;
        struct allocation **grown = realloc(entries, size * sizeof(struct allocation *));

        if (grown) {
            entries = grown;
            size_entries = size;
        } else {
            result = CUDA_ERROR_OUT_OF_MEMORY;
        }
    }
    if (result == CUDA_SUCCESS) {
        memmove(&entries[index + 1], &entries[index],
                (n_entries - index) * sizeof(struct allocation *));
        entries[index] = entry;
        n_entries++;
        entry = NULL;
    }
    pthread_rwlock_unlock(&map_lock);
    free(entry);
    return result;
}

CUresult memory_new_device(struct context *context, enum memory_kind kind, uint64_t size_bytes,
                           uint64_t align, bool read_only, struct allocation *ret)
{
    struct device *device = context->device;
    struct allocation allocation = {
        .size_bytes = size_bytes,
        .kind = kind,
        .context = context,
        .read_only = read_only,
    };
    CUresult result;

    if (size_bytes > device->memory_bytes || arena_span(size_bytes) > gpu_free_bytes(device) ||
        !arena_take(device->arena, size_bytes, align, &allocation.base, &allocation.host))
        return CUDA_ERROR_OUT_OF_MEMORY;
    allocation.id = gpu.next_id++;
    result = insert(&allocation);
    if (result != CUDA_SUCCESS) {
        arena_give(device->arena, allocation.base, size_bytes);
        return result;
    }
    gpu_charge(device, (int64_t)arena_span(size_bytes));
    *ret = allocation;
    return CUDA_SUCCESS;
}

CUresult memory_new_pooled(struct context *context, struct pool *pool, uint64_t size_bytes,
                           struct allocation *ret)
{
    struct arena *arena = context->device->arena;
    struct allocation allocation = {
        .size_bytes = size_bytes,
        .kind = MEMORY_DEVICE,
        .context = context,
        .pool = pool,
    };
    CUresult result;

    if (size_bytes > context->device->memory_bytes || pool->device != context->device)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = pool_take(pool, arena_span(size_bytes));
    if (result != CUDA_SUCCESS)
        return result;
    if (!arena_take(arena, size_bytes, 1, &allocation.base, &allocation.host)) {
        pool_give(pool, arena_span(size_bytes));
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    allocation.id = gpu.next_id++;
    result = insert(&allocation);
    if (result != CUDA_SUCCESS) {
        arena_give(arena, allocation.base, size_bytes);
        pool_give(pool, arena_span(size_bytes));
        return result;
    }
    *ret = allocation;
    return CUDA_SUCCESS;
}

void memory_doom(uint64_t base)
{
    size_t index;

    pthread_rwlock_wrlock(&map_lock);
    index = index_at(base);
    if (index < n_entries && entries[index]->base == base)
        entries[index]->doomed = true;
    pthread_rwlock_unlock(&map_lock);
}

CUresult memory_add_host(struct context *context, enum memory_kind kind, void *host,
                         uint64_t size_bytes, unsigned flags)
{
    struct allocation allocation = {
        .base = (uintptr_t)host,
        .size_bytes = size_bytes,
        .host = host,
        .kind = kind,
        .context = context,
        .flags = flags,
        .read_only = kind == MEMORY_REGISTERED && (flags & CU_MEMHOSTREGISTER_READ_ONLY),
        .id = gpu.next_id++,
    };
    return insert(&allocation);
}

static void release(const struct allocation *allocation)
{
    struct device *device = allocation->context ? allocation->context->device : NULL;

    switch (allocation->kind) {
    case MEMORY_DEVICE:
    case MEMORY_VARIABLE:
        arena_give(device->arena, allocation->base, allocation->size_bytes);
        if (allocation->pool)
            pool_give(allocation->pool, arena_span(allocation->size_bytes));
        else
            gpu_charge(device, -(int64_t)arena_span(allocation->size_bytes));
        break;
    case MEMORY_HOST:
    case MEMORY_MANAGED:
        munmap(allocation->host, allocation->size_bytes);
        break;
    case MEMORY_MAPPED:
    case MEMORY_REGISTERED:
        break;
    }
}

/* Takes entry `index` out, without freeing what it describes. */
static struct allocation *take_out(size_t index)
{
    struct allocation *entry = entries[index];

    n_entries--;
    memmove(&entries[index], &entries[index + 1],
            (n_entries - index) * sizeof(struct allocation *));
    return entry;
}

void memory_remove(uint64_t base)
{
    struct allocation *entry = NULL;
    size_t index;

    pthread_rwlock_wrlock(&map_lock);
    index = index_at(base);
    if (index < n_entries && entries[index]->base == base)
        entry = take_out(index);
    pthread_rwlock_unlock(&map_lock);
    if (entry)
        release(entry);
    free(entry);
}

void memory_end_all(struct context *context)
{
    struct allocation *entry;

    do {
        entry = NULL;
        pthread_rwlock_wrlock(&map_lock);
        for (size_t i = n_entries; i-- > 0 && !entry;) {
            if (entries[i]->context == context)
                entry = take_out(i);
        }
        pthread_rwlock_unlock(&map_lock);
        if (entry)
            release(entry);
        free(entry);
    } while (entry);
}

CUresult memory_add_mapped(struct block *block, uint64_t base, void *host, uint64_t size_bytes)
{
    const struct allocation allocation = {
        .base = base,
        .size_bytes = size_bytes,
        .host = host,
        .kind = MEMORY_MAPPED,
        .block = block,
        .id = gpu.next_id++,
    };

    return insert(&allocation);
}

bool memory_touches(uint64_t base, uint64_t size_bytes)
{
    size_t index;
    bool touches;

    pthread_rwlock_rdlock(&map_lock);
    index = index_at(base);
    touches = index < n_entries && entries[index]->base < base + size_bytes;
    pthread_rwlock_unlock(&map_lock);
    return touches;
}

/* How many mappings make up the range, from `first` on; 0: it is not made of whole ones. */
static size_t count_mapped(uint64_t base, uint64_t size_bytes, size_t first)
{
    uint64_t end = base + size_bytes;
    size_t index = first;

    while (index < n_entries && base < end && entries[index]->kind == MEMORY_MAPPED &&
           entries[index]->base == base)
        base += entries[index++]->size_bytes;
    return base == end ? index - first : 0;
}

bool memory_mapped_wholly(uint64_t base, uint64_t size_bytes)
{
    bool whole;

    pthread_rwlock_rdlock(&map_lock);
    whole = count_mapped(base, size_bytes, index_at(base)) > 0;
    pthread_rwlock_unlock(&map_lock);
    return whole;
}

bool memory_is_mapped_of(uint64_t address, const struct device *device)
{
    struct allocation found;

    return memory_find(address, &found) && found.block && found.block->device == device;
}

void memory_set_access(uint64_t base, uint64_t size_bytes, unsigned flags)
{
    size_t first;

    pthread_rwlock_wrlock(&map_lock);
    first = index_at(base);
    for (size_t i = count_mapped(base, size_bytes, first); i-- > 0;) {
        entries[first + i]->flags = flags;
        entries[first + i]->read_only = flags == CU_MEM_ACCESS_FLAGS_PROT_READ;
    }
    pthread_rwlock_unlock(&map_lock);
}

struct block *memory_remove_mapped(uint64_t base, uint64_t size_bytes)
{
    struct allocation *entry = NULL;
    struct block *block = NULL;
    size_t index;

    pthread_rwlock_wrlock(&map_lock);
    index = index_at(base);
    if (index < n_entries && entries[index]->kind == MEMORY_MAPPED &&
        entries[index]->base < base + size_bytes)
        entry = take_out(index);
    pthread_rwlock_unlock(&map_lock);
    if (entry)
        block = entry->block;
    free(entry);
    return block;
}

/* True if [base, base + bytes) is mapped with access, by one mapping or several side by side. */
static bool mapped_covers(uint64_t base, uint64_t size_bytes)
{
    size_t index;

    pthread_rwlock_rdlock(&map_lock);
    for (index = index_at(base); index < n_entries && size_bytes > 0; index++) {
        const struct allocation *entry = entries[index];
        uint64_t here = entry->base + entry->size_bytes - base;

        if (entry->kind != MEMORY_MAPPED || entry->base > base || entry->flags == 0)
            break;
        size_bytes -= here < size_bytes ? here : size_bytes;
        base += here;
    }
    pthread_rwlock_unlock(&map_lock);
    return size_bytes == 0;
}

bool cuda_managed_find(CUdeviceptr ptr, struct cuda_managed *ret)
{
    struct allocation found;

    if (!memory_find(ptr, &found) || found.kind != MEMORY_MANAGED)
        return false;
    *ret = (struct cuda_managed){
        .start = found.base, .bytes = found.size_bytes, .advice = found.advice};
    return true;
}

void cuda_managed_advise(uint64_t start, unsigned set, unsigned clear)
{
    size_t index;

    pthread_rwlock_wrlock(&map_lock);
    index = index_at(start);
    if (index < n_entries && entries[index]->base == start &&
        entries[index]->kind == MEMORY_MANAGED)
        entries[index]->advice = (entries[index]->advice & ~clear) | set;
    pthread_rwlock_unlock(&map_lock);
}

static bool is_device_address(uint64_t address)
{
    if (virtual_holds(address))
        return true;
    for (int i = 0; i < gpu.n_devices; i++) {
        if (gpu.devices[i].arena && arena_holds(gpu.devices[i].arena, address))
            return true;
    }
    return false;
}

bool memory_resolve(uint64_t address, uint64_t size_bytes, void **ret_host,
                    enum memory_place *ret_place)
{
    struct allocation found;

    if (!memory_find(address, &found)) {
        if (is_device_address(address))
            return false;
        *ret_host = (void *)(uintptr_t)address;
        *ret_place = MEMORY_AT_HOST;
        return true;
    }
    if (found.kind == MEMORY_MAPPED) {
        if (!mapped_covers(address, size_bytes))
            return false;
    } else if (found.doomed ||
               !vgpu_range_within(address - found.base, size_bytes, found.size_bytes)) {
        return false;
    }
    *ret_host = (uint8_t *)found.host + (address - found.base);
    *ret_place = found.kind <= MEMORY_VARIABLE ? MEMORY_AT_DEVICE : MEMORY_AT_PINNED;
    return true;
}
