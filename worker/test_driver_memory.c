/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of the driver double: allocations, pools, virtual memory, memory of the host. It is the
 * test process's own.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "worker/test_gpu.h"

#define PITCH 512

static CUresult memory_info(size_t *free_bytes, size_t *total)
{
    *free_bytes = *total = 1u << 30;
    return CUDA_SUCCESS;
}

static CUresult memory_alloc(CUdeviceptr *address, size_t bytes)
{
    struct allocation *allocation;
    uint8_t *base;

    if (bytes > 1u << 30)
        return CUDA_ERROR_OUT_OF_MEMORY;
    base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    allocation = calloc(1, sizeof(*allocation));
    allocation->base = base;
    allocation->bytes = bytes;
    allocation->owner = test_gpu_current;
    LOCKED(allocation->next = test_gpu.allocations; test_gpu.allocations = allocation;
           test_gpu.allocation_count++;);
    *address = (CUdeviceptr)(uintptr_t)base;
    return CUDA_SUCCESS;
}

static CUresult memory_alloc_pitch(CUdeviceptr *address, size_t *pitch, size_t width, size_t height,
                                   unsigned int element_bytes)
{
    *pitch = (width + PITCH - 1) / PITCH * PITCH;
    return memory_alloc(address, *pitch * height);
}

static CUresult memory_free(CUdeviceptr address)
{
    CUresult result;

    pthread_mutex_lock(&test_gpu.lock);
    while (test_gpu.free_blocked)
        pthread_cond_wait(&test_gpu.free_allowed, &test_gpu.lock);
    test_gpu_note("free");
    result = test_gpu_drop((uintptr_t)address) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_unlock(&test_gpu.lock);
    return result;
}

static CUresult pool_default(CUmemoryPool *pool, CUdevice device)
{
    *pool = &test_gpu.default_pool;
    return CUDA_SUCCESS;
}

/* They stay until the test is over: allocations may still be in them. */
static CUresult pool_create(CUmemoryPool *pool, const CUmemPoolProps *props)
{
    CUcontext context = test_gpu_current;

    test_gpu_current = NULL;
    *pool = test_gpu_make(sizeof(**pool));
    test_gpu_current = context;
    LOCKED((*pool)->next = test_gpu.pools; test_gpu.pools = *pool;);
    return CUDA_SUCCESS;
}

static CUresult pool_destroy(CUmemoryPool pool)
{
    LOCKED(pool->destroyed = true;);
    return CUDA_SUCCESS;
}

static CUresult pool_alloc(CUdeviceptr *address, size_t bytes, CUmemoryPool pool, CUstream stream)
{
    CUresult result = pool->destroyed ? CUDA_ERROR_INVALID_VALUE : memory_alloc(address, bytes);
    uint64_t grains;

    if (result != CUDA_SUCCESS)
        return result;
    LOCKED(grains = test_gpu_grains(bytes); test_gpu.allocations->pool = pool; pool->used += grains;
           test_gpu_see_frees(pool); pool->unused -= grains < pool->unused ? grains : pool->unused;
           pool->blocks++;);
    return CUDA_SUCCESS;
}

static CUresult pool_free(CUdeviceptr address, CUstream stream)
{
    LOCKED(test_gpu_note("free-async");
           test_gpu_push(stream, WORK_FREE)->target = (void *)(uintptr_t)address;
           test_gpu_settle(););
    return CUDA_SUCCESS;
}

static CUresult pool_set_attribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value)
{
    if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
        memcpy(&pool->threshold, value, sizeof(pool->threshold));
    return CUDA_SUCCESS;
}

static CUresult pool_get_attribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value)
{
    uint64_t bytes = attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD ? pool->threshold : pool->used;

    if (attribute <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES) {
        *(int *)value = 1;
        return CUDA_SUCCESS;
    }
    LOCKED(if (attribute == CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT) bytes =
               pool->used + pool->unused + pool->unseen;);
    memcpy(value, &bytes, sizeof(bytes));
    return CUDA_SUCCESS;
}

static CUresult pool_trim(CUmemoryPool pool, size_t keep)
{
    uint64_t over;

    LOCKED(over = pool->used + pool->unused > keep ? pool->used + pool->unused - keep : 0;
           pool->unused -= over < pool->unused ? over : pool->unused; test_gpu_note("trim"););
    return CUDA_SUCCESS;
}

static CUresult granularity(size_t *bytes, const CUmemAllocationProp *prop,
                            CUmemAllocationGranularity_flags option)
{
    *bytes = TEST_DRIVER_GRANULARITY;
    return CUDA_SUCCESS;
}

/* Handles are numbers: what is mapped has bytes of its own here. */
static CUresult memory_create(CUmemGenericAllocationHandle *handle, size_t bytes,
                              const CUmemAllocationProp *prop, unsigned long long flags)
{
    LOCKED(*handle = ++test_gpu.memories; test_gpu.memories_live++;);
    return bytes % TEST_DRIVER_GRANULARITY ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

static CUresult memory_release(CUmemGenericAllocationHandle handle)
{
    LOCKED(test_gpu.memories_live--;);
    return CUDA_SUCCESS;
}

static CUresult address_reserve(CUdeviceptr *address, size_t bytes, size_t align, CUdeviceptr hint,
                                unsigned long long flags)
{
    void *base = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    *address = (CUdeviceptr)(uintptr_t)base;
    return base == MAP_FAILED ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

static CUresult address_free(CUdeviceptr address, size_t bytes)
{
    munmap((void *)(uintptr_t)address, bytes);
    LOCKED(test_gpu_note("address-free"););
    return CUDA_SUCCESS;
}

static CUresult memory_map(CUdeviceptr address, size_t bytes, size_t offset,
                           CUmemGenericAllocationHandle handle, unsigned long long flags)
{
    LOCKED(test_gpu_note("map"););
    return test_gpu_refusal();
}

static CUresult memory_unmap(CUdeviceptr address, size_t bytes)
{
    mmap((void *)(uintptr_t)address, bytes, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    LOCKED(test_gpu_note("unmap"););
    return CUDA_SUCCESS;
}

static CUresult memory_set_access(CUdeviceptr address, size_t bytes, const CUmemAccessDesc *desc,
                                  size_t count)
{
    LOCKED(test_gpu_note("access"););
    mprotect((void *)(uintptr_t)address, bytes, desc->flags ? PROT_READ | PROT_WRITE : PROT_NONE);
    return CUDA_SUCCESS;
}

static CUresult host_alloc(void **host, size_t bytes, unsigned int flags)
{
    CUdeviceptr address;
    CUresult result = memory_alloc(&address, bytes);

    *host = (void *)(uintptr_t)address;
    return result;
}

static CUresult host_register(void *host, size_t bytes, unsigned int flags)
{
    pthread_mutex_lock(&test_gpu.lock);
    test_gpu.locked[test_gpu.locked_count % LOCKED_MAX].start = (uintptr_t)host;
    test_gpu.locked[test_gpu.locked_count++ % LOCKED_MAX].bytes = bytes;
    pthread_mutex_unlock(&test_gpu.lock);
    return CUDA_SUCCESS;
}

static CUresult host_address(CUdeviceptr *address, void *host, unsigned int flags)
{
    *address = (CUdeviceptr)(uintptr_t)host;
    return CUDA_SUCCESS;
}

void test_driver_memory(struct cuda_driver *driver)
{
    driver->cuMemGetInfo = memory_info;
    driver->cuMemAlloc = memory_alloc;
    driver->cuMemAllocPitch = memory_alloc_pitch;
    driver->cuMemFree = memory_free;
    driver->cuDeviceGetDefaultMemPool = pool_default;
    driver->cuMemPoolCreate = pool_create;
    driver->cuMemPoolDestroy = pool_destroy;
    driver->cuMemPoolSetAttribute = pool_set_attribute;
    driver->cuMemPoolGetAttribute = pool_get_attribute;
    driver->cuMemPoolTrimTo = pool_trim;
    driver->cuMemAllocFromPoolAsync = pool_alloc;
    driver->cuMemFreeAsync = pool_free;
    driver->cuMemGetAllocationGranularity = granularity;
    driver->cuMemCreate = memory_create;
    driver->cuMemRelease = memory_release;
    driver->cuMemAddressReserve = address_reserve;
    driver->cuMemAddressFree = address_free;
    driver->cuMemMap = memory_map;
    driver->cuMemUnmap = memory_unmap;
    driver->cuMemSetAccess = memory_set_access;
    driver->cuMemHostAlloc = host_alloc;
    driver->cuMemHostRegister = host_register;
    driver->cuMemHostGetDevicePointer = host_address;
}
