/* SPDX-License-Identifier: Apache-2.0 */
/* cuMem*: device memory and host memory that devices may use. Copies and memset are elsewhere. */
#include <sys/mman.h>
#include <unistd.h>

#include "common/overflow.h"
#include "cuda/capture.h"
#include "softgpu/context.h"
#include "softgpu/memory.h"
#include "softgpu/stream.h"

#define PITCH_ALIGN_BYTES 512

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
    _scope_ struct scope scope = scope_context();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (free_bytes)
        *free_bytes = gpu_free_bytes(scope.context->device);
    if (total)
        *total = scope.context->device->memory_bytes;
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytesize)
{
    CAPTURED(capture_refuse());
    _scope_ struct scope scope = scope_context();
    struct allocation allocation;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!dptr || bytesize == 0)
        return CUDA_ERROR_INVALID_VALUE;
    result = memory_new_device(scope.context, MEMORY_DEVICE, bytesize, 1, false, &allocation);
    if (result == CUDA_SUCCESS)
        *dptr = allocation.base;
    return result;
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *dptr, size_t *pPitch, size_t WidthInBytes, size_t Height,
                            unsigned int ElementSizeBytes)
{
    CAPTURED(capture_refuse());
    _scope_ struct scope scope = scope_context();
    struct allocation allocation;
    uint64_t pitch, size;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!dptr || !pPitch || WidthInBytes == 0 || Height == 0 ||
        (ElementSizeBytes != 4 && ElementSizeBytes != 8 && ElementSizeBytes != 16))
        return CUDA_ERROR_INVALID_VALUE;
    if (!vgpu_align_u64(WidthInBytes, PITCH_ALIGN_BYTES, &pitch) ||
        !vgpu_mul_u64(pitch, Height, &size))
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = memory_new_device(scope.context, MEMORY_DEVICE, size, 1, false, &allocation);
    if (result == CUDA_SUCCESS) {
        *dptr = allocation.base;
        *pPitch = pitch;
    }
    return result;
}

/* Removes what starts at base after all work has ended, as CUDA does. */
static CUresult remove_idle(struct context *context, uint64_t base, enum memory_kind kind,
                            CUresult otherwise)
{
    struct allocation found;
    CUresult result;

    if (!memory_find(base, &found) || found.base != base || found.kind != kind || found.doomed)
        return otherwise;
    result = context_wait_everything();
    if (result != CUDA_SUCCESS)
        return result;
    if (context->error != CUDA_SUCCESS)
        return context->error;
    /* Another thread may have freed it meanwhile. */
    if (!memory_find(base, &found) || found.base != base || found.kind != kind || found.doomed)
        return otherwise;
    memory_remove(base);
    return CUDA_SUCCESS;
}

CUresult cuMemFree_v2(CUdeviceptr dptr)
{
    CAPTURED(capture_refuse());
    _scope_ struct scope scope = scope_context();
    enum memory_kind kind = MEMORY_DEVICE;
    struct allocation found;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!dptr)
        return CUDA_SUCCESS;
    if (memory_find(dptr, &found) && found.kind == MEMORY_MANAGED)
        kind = MEMORY_MANAGED;
    return remove_idle(scope.context, dptr, kind, CUDA_ERROR_INVALID_VALUE);
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr *pbase, size_t *psize, CUdeviceptr dptr)
{
    _scope_ struct scope scope = scope_context();
    struct allocation found;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!memory_find(dptr, &found))
        return CUDA_ERROR_NOT_FOUND;
    if (pbase)
        *pbase = found.base;
    if (psize)
        *psize = found.size_bytes;
    return CUDA_SUCCESS;
}

/* Pages of the host that the device may use. */
static CUresult new_host(struct context *context, enum memory_kind kind, size_t bytesize,
                         unsigned flags, void **ret)
{
    void *p = mmap(NULL, bytesize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CUresult result;

    if (p == MAP_FAILED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = memory_add_host(context, kind, p, bytesize, flags);
    if (result == CUDA_SUCCESS)
        *ret = p;
    else
        munmap(p, bytesize);
    return result;
}

CUresult cuMemAllocManaged(CUdeviceptr *dptr, size_t bytesize, unsigned int flags)
{
    CAPTURED(capture_refuse());
    _scope_ struct scope scope = scope_context();
    CUresult result;
    void *p = NULL;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!dptr || bytesize == 0 || (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST))
        return CUDA_ERROR_INVALID_VALUE;
    result = new_host(scope.context, MEMORY_MANAGED, bytesize, flags, &p);
    if (result == CUDA_SUCCESS)
        *dptr = (uintptr_t)p;
    return result;
}

CUresult cuMemHostAlloc(void **pp, size_t bytesize, unsigned int flags)
{
    CAPTURED(capture_refuse());
    const unsigned known =
        CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
    _scope_ struct scope scope = scope_context();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!pp || (flags & ~known))
        return CUDA_ERROR_INVALID_VALUE;
    if (bytesize == 0) {
        *pp = NULL;
        return CUDA_SUCCESS;
    }
    return new_host(scope.context, MEMORY_HOST, bytesize, flags, pp);
}

CUresult cuMemAllocHost_v2(void **pp, size_t bytesize)
{
    return cuMemHostAlloc(pp, bytesize, 0);
}

CUresult cuMemFreeHost(void *p)
{
    CAPTURED(capture_refuse());
    _scope_ struct scope scope = scope_context();

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!p)
        return CUDA_SUCCESS;
    return remove_idle(scope.context, (uintptr_t)p, MEMORY_HOST, CUDA_ERROR_INVALID_VALUE);
}

/* Fetches the pages, and so proves that they are there and may be used. */
static bool populate(void *p, size_t bytesize, bool read_only)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)p & ~(page - 1);
    size_t size = ((uintptr_t)p + bytesize + page - 1 - first) & ~(page - 1);
    int advice = read_only ? MADV_POPULATE_READ : MADV_POPULATE_WRITE;

    if (madvise((void *)first, size, advice) == 0)
        return true;
    /* Before Linux 5.14: at least, something must be mapped. */
    return errno == EINVAL && madvise((void *)first, size, MADV_NORMAL) == 0;
}

CUresult cuMemHostRegister_v2(void *p, size_t bytesize, unsigned int flags)
{
    const unsigned known = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP |
                           CU_MEMHOSTREGISTER_IOMEMORY | CU_MEMHOSTREGISTER_READ_ONLY;
    _scope_ struct scope scope = scope_context();
    struct allocation found;
    enum memory_place place;
    void *host;
    uint64_t end;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!p || bytesize == 0 || (flags & ~known) || !vgpu_add_u64((uintptr_t)p, bytesize, &end))
        return CUDA_ERROR_INVALID_VALUE;
    if (flags & CU_MEMHOSTREGISTER_IOMEMORY)
        return CUDA_ERROR_INVALID_VALUE;
    if (!memory_resolve((uintptr_t)p, 1, &host, &place) || place == MEMORY_AT_DEVICE ||
        (memory_find((uintptr_t)p, &found) && found.kind != MEMORY_REGISTERED))
        return CUDA_ERROR_INVALID_VALUE;
    if (!populate(p, bytesize, flags & CU_MEMHOSTREGISTER_READ_ONLY))
        return CUDA_ERROR_INVALID_VALUE;
    return memory_add_host(scope.context, MEMORY_REGISTERED, p, bytesize, flags);
}

CUresult cuMemHostUnregister(void *p)
{
    _scope_ struct scope scope = scope_context();
    struct allocation found;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!p)
        return CUDA_ERROR_INVALID_VALUE;
    if (!memory_find((uintptr_t)p, &found))
        return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
    return remove_idle(scope.context, (uintptr_t)p, MEMORY_REGISTERED, CUDA_ERROR_INVALID_VALUE);
}

static bool is_page_locked(const struct allocation *allocation)
{
    return allocation->kind == MEMORY_HOST || allocation->kind == MEMORY_REGISTERED;
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *pdptr, void *p, unsigned int flags)
{
    _scope_ struct scope scope = scope_context();
    struct allocation found;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!pdptr || flags != 0 || !memory_find((uintptr_t)p, &found) || !is_page_locked(&found))
        return CUDA_ERROR_INVALID_VALUE;
    *pdptr = (uintptr_t)p;
    return CUDA_SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned int *pFlags, void *p)
{
    _scope_ struct scope scope = scope_context();
    struct allocation found;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!pFlags || !memory_find((uintptr_t)p, &found) || !is_page_locked(&found))
        return CUDA_ERROR_INVALID_VALUE;
    *pFlags = CU_MEMHOSTALLOC_DEVICEMAP;
    if (found.kind == MEMORY_HOST)
        *pFlags |= found.flags & (CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_WRITECOMBINED);
    return CUDA_SUCCESS;
}
