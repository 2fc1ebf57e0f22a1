/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver API: calls that are made of its other calls alone, part of every library that
 * implements it. Peers: no device reaches another's memory (cuDeviceCanAccessPeer answers 0), so
 * that there is nothing to enable; copies between contexts work, as all addresses of a process
 * differ. Pools by location are those of devices.
 */
#include <stdbool.h>
#include <string.h>

#include "cuda/cuda_api.h"
#include "cuda/exports.h"

static CUresult check_context(CUcontext context)
{
    unsigned version;

    return context ? cuCtxGetApiVersion(context, &version) : CUDA_ERROR_INVALID_CONTEXT;
}

/* The current context and a peer, as both calls of peer access want them. */
static CUresult check_peer(CUcontext peer)
{
    CUcontext current = NULL;
    CUresult result = cuCtxGetCurrent(&current);

    if (result == CUDA_SUCCESS)
        result = check_context(current);
    if (result == CUDA_SUCCESS)
        result = check_context(peer);
    return result;
}

CUresult cuCtxEnablePeerAccess(CUcontext peerContext, unsigned int Flags)
{
    CUresult result = check_peer(peerContext);

    if (result != CUDA_SUCCESS)
        return result;
    return Flags == 0 ? CUDA_ERROR_PEER_ACCESS_UNSUPPORTED : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuCtxDisablePeerAccess(CUcontext peerContext)
{
    CUresult result = check_peer(peerContext);

    return result == CUDA_SUCCESS ? CUDA_ERROR_PEER_ACCESS_NOT_ENABLED : result;
}

CUresult cuDeviceGetP2PAttribute(int *value, CUdevice_P2PAttribute attrib, CUdevice srcDevice,
                                 CUdevice dstDevice)
{
    int count;
    CUresult result = cuDeviceGetCount(&count);

    if (result != CUDA_SUCCESS)
        return result;
    if (!value || (int)attrib < CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK ||
        (int)attrib > CU_DEVICE_P2P_ATTRIBUTE_ONLY_PARTIAL_NATIVE_ATOMIC_SUPPORTED)
        return CUDA_ERROR_INVALID_VALUE;
    if (srcDevice < 0 || srcDevice >= count || dstDevice < 0 || dstDevice >= count ||
        srcDevice == dstDevice)
        return CUDA_ERROR_INVALID_DEVICE;
    *value = 0;
    return CUDA_SUCCESS;
}

/* Both contexts, one after the other; NULL: there is none on that side. */
static CUresult settle(CUcontext target, CUcontext source)
{
    CUresult result = target ? cuCtxSynchronize_v2(target) : CUDA_SUCCESS;

    if (result == CUDA_SUCCESS && source && source != target)
        result = cuCtxSynchronize_v2(source);
    return result;
}

/* Addresses say where they are: NVIDIA's driver takes a copy without contexts, too. */
static CUresult check_side(CUcontext context)
{
    return context ? check_context(context) : CUDA_SUCCESS;
}

static CUresult check_contexts(CUcontext target, CUcontext source)
{
    CUresult result = check_side(target);

    return result == CUDA_SUCCESS ? check_side(source) : result;
}

/* Serialised with the work of both contexts and of the current one, whose stream it runs in. */
CUresult cuMemcpyPeer(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice,
                      CUcontext srcContext, size_t ByteCount)
{
    CUresult result = check_contexts(dstContext, srcContext);

    if (result == CUDA_SUCCESS)
        result = settle(dstContext, srcContext);
    if (result == CUDA_SUCCESS)
        result = cuMemcpyDtoD_v2(dstDevice, srcDevice, ByteCount);
    return result == CUDA_SUCCESS ? cuCtxSynchronize() : result;
}

CUresult cuMemcpyPeerAsync(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice,
                           CUcontext srcContext, size_t ByteCount, CUstream hStream)
{
    CUresult result = check_contexts(dstContext, srcContext);

    return result == CUDA_SUCCESS ? cuMemcpyDtoDAsync_v2(dstDevice, srcDevice, ByteCount, hStream)
                                  : result;
}

static bool has_context(CUmemorytype type)
{
    return type == CU_MEMORYTYPE_DEVICE || type == CU_MEMORYTYPE_UNIFIED;
}

/* The same copy without the contexts, which are checked. */
static CUresult plain_copy(const CUDA_MEMCPY3D_PEER *copy, CUDA_MEMCPY3D *ret)
{
    CUresult result = CUDA_SUCCESS;

    if (!copy)
        return CUDA_ERROR_INVALID_VALUE;
    if (has_context(copy->dstMemoryType))
        result = check_side(copy->dstContext);
    if (result == CUDA_SUCCESS && has_context(copy->srcMemoryType))
        result = check_side(copy->srcContext);
    if (result != CUDA_SUCCESS)
        return result;
    _Static_assert(sizeof(*ret) == sizeof(*copy), "they differ in the two contexts' names alone");
    memcpy(ret, copy, sizeof(*ret));
    ret->reserved0 = NULL;
    ret->reserved1 = NULL;
    return CUDA_SUCCESS;
}

CUresult cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER *pCopy)
{
    CUDA_MEMCPY3D copy;
    CUresult result = plain_copy(pCopy, &copy);

    if (result == CUDA_SUCCESS)
        result = settle(has_context(pCopy->dstMemoryType) ? pCopy->dstContext : NULL,
                        has_context(pCopy->srcMemoryType) ? pCopy->srcContext : NULL);
    if (result == CUDA_SUCCESS)
        result = cuMemcpy3D_v2(&copy);
    return result == CUDA_SUCCESS ? cuCtxSynchronize() : result;
}

CUresult cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER *pCopy, CUstream hStream)
{
    CUDA_MEMCPY3D copy;
    CUresult result = plain_copy(pCopy, &copy);

    return result == CUDA_SUCCESS ? cuMemcpy3DAsync_v2(&copy, hStream) : result;
}

/*
 * Only SYNC_MEMOPS can be set. It is for those who reach the device's memory past the driver, which
 * nobody does here: memory operations stay as asynchronous as they are.
 */
CUresult cuPointerSetAttribute(const void *value, CUpointer_attribute attribute, CUdeviceptr ptr)
{
    unsigned type, set;
    CUresult result = cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, ptr);

    if (result != CUDA_SUCCESS)
        return result;
    if (!value || attribute != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS || type != CU_MEMORYTYPE_DEVICE)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(&set, value, sizeof(set));
    return set ? cuda_unsupported("cuPointerSetAttribute of SYNC_MEMOPS") : CUDA_SUCCESS;
}

/* A function is loaded with its module: the worker's driver loads it when the guest asks for it. */
CUresult cuFuncLoad(CUfunction function)
{
    CUmodule module;

    return cuFuncGetModule(&module, function);
}

CUresult cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction function)
{
    CUmodule module;
    CUresult result = cuFuncGetModule(&module, function);

    if (result != CUDA_SUCCESS)
        return result;
    if (!state)
        return CUDA_ERROR_INVALID_VALUE;
    *state = CU_FUNCTION_LOADING_STATE_LOADED;
    return CUDA_SUCCESS;
}

/* Access windows are hints, and without effect here: no line of the cache persists. */
CUresult cuCtxResetPersistingL2Cache(void)
{
    CUcontext current = NULL;
    CUresult result = cuCtxGetCurrent(&current);

    return result == CUDA_SUCCESS ? check_context(current) : result;
}

/* The multiprocessors of a context can be limited under NVIDIA's MPS alone. */
CUresult cuDeviceGetExecAffinitySupport(int *pi, CUexecAffinityType type, CUdevice dev)
{
    int warp;
    CUresult result = cuDeviceGetAttribute(&warp, CU_DEVICE_ATTRIBUTE_WARP_SIZE, dev);

    if (result != CUDA_SUCCESS)
        return result;
    if (!pi || type != CU_EXEC_AFFINITY_TYPE_SM_COUNT)
        return CUDA_ERROR_INVALID_VALUE;
    *pi = 0;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetExecAffinity(CUexecAffinityParam *pExecAffinity, CUexecAffinityType type)
{
    CUcontext current = NULL;
    CUresult result = cuCtxGetCurrent(&current);

    if (result == CUDA_SUCCESS)
        result = check_context(current);
    if (result != CUDA_SUCCESS)
        return result;
    return pExecAffinity && type == CU_EXEC_AFFINITY_TYPE_SM_COUNT
               ? CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY
               : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuStreamGetDevice(CUstream hStream, CUdevice *device)
{
    CUcontext context;
    CUresult result = cuStreamGetCtx(hStream, &context);

    if (result != CUDA_SUCCESS)
        return result;
    return device ? cuCtxGetDevice_v2(device, context) : CUDA_ERROR_INVALID_VALUE;
}

/* There are no green contexts. */
CUresult cuStreamGetCtx_v2(CUstream hStream, CUcontext *pCtx, CUgreenCtx *pGreenCtx)
{
    CUcontext context;
    CUresult result = cuStreamGetCtx(hStream, &context);

    if (result != CUDA_SUCCESS)
        return result;
    if (!pCtx)
        return CUDA_ERROR_INVALID_VALUE;
    *pCtx = context;
    if (pGreenCtx)
        *pGreenCtx = NULL;
    return CUDA_SUCCESS;
}

/*
 * Variables that host and device share need one address space, so there are none; one of that name
 * that is on the device alone is not found, as with NVIDIA's driver.
 */
CUresult cuLibraryGetManaged(CUdeviceptr *dptr, size_t *bytes, CUlibrary library, const char *name)
{
    CUmodule module;
    CUresult result = cuLibraryGetModule(&module, library);

    if (result != CUDA_SUCCESS)
        return result;
    return name && (dptr || bytes) ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_VALUE;
}

/* As on devices whose CU_DEVICE_ATTRIBUTE_UNIFIED_FUNCTION_POINTERS is 0. */
CUresult cuLibraryGetUnifiedFunction(void **fptr, CUlibrary library, const char *symbol)
{
    CUmodule module;
    CUresult result = cuLibraryGetModule(&module, library);

    if (result != CUDA_SUCCESS)
        return result;
    return CUDA_ERROR_INVALID_VALUE;
}

/* The calls by location know devices' pinned memory only. */
static CUresult check_location(const CUmemLocation *location, CUmemAllocationType type)
{
    if (!location)
        return CUDA_ERROR_INVALID_VALUE;
    return location->type == CU_MEM_LOCATION_TYPE_DEVICE && type == CU_MEM_ALLOCATION_TYPE_PINNED
               ? CUDA_SUCCESS
               : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuMemGetDefaultMemPool(CUmemoryPool *pool_out, CUmemLocation *location,
                                CUmemAllocationType type)
{
    CUresult result = check_location(location, type);

    return result == CUDA_SUCCESS ? cuDeviceGetDefaultMemPool(pool_out, location->id) : result;
}

CUresult cuMemGetMemPool(CUmemoryPool *pool, CUmemLocation *location, CUmemAllocationType type)
{
    CUresult result = check_location(location, type);

    return result == CUDA_SUCCESS ? cuDeviceGetMemPool(pool, location->id) : result;
}

CUresult cuMemSetMemPool(CUmemLocation *location, CUmemAllocationType type, CUmemoryPool pool)
{
    CUresult result = check_location(location, type);

    return result == CUDA_SUCCESS ? cuDeviceSetMemPool(location->id, pool) : result;
}
