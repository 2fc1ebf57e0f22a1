/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver API: managed memory after its allocation. Part of every library that implements it. It
 * lies in memory of the host that the device reads and writes in place, as on a device whose
 * CONCURRENT_MANAGED_ACCESS is 0: nothing moves, so that prefetching to the device is refused as
 * there, attaching to a stream has no effect, and advice is kept to be told again.
 */
#include <stdbool.h>
#include <string.h>

#include "cuda/cuda_api.h"
#include "cuda/exports.h"

#define DEVICE_CPU     (-1)
#define DEVICE_INVALID (-2)

/* All of [ptr, ptr + count) is one allocation's. */
static CUresult find_range(CUdeviceptr ptr, size_t count, struct cuda_managed *ret)
{
    int devices;
    CUresult result = cuDeviceGetCount(&devices);

    if (result != CUDA_SUCCESS)
        return result;
    if (count == 0 || !cuda_managed_find(ptr, ret) || count > ret->bytes - (ptr - ret->start))
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

/* The older calls name a device, or the host as device -1. */
static CUmemLocation location_of(CUdevice device)
{
    if (device == DEVICE_CPU)
        return (CUmemLocation){.type = CU_MEM_LOCATION_TYPE_HOST};
    return (CUmemLocation){.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device};
}

/* No device has concurrent access to managed memory: it can be neither target nor user. */
static CUresult check_host(CUmemLocation location)
{
    switch (location.type) {
    case CU_MEM_LOCATION_TYPE_HOST:
    case CU_MEM_LOCATION_TYPE_HOST_NUMA:
    case CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT:
        return CUDA_SUCCESS;
    case CU_MEM_LOCATION_TYPE_DEVICE:
        return CUDA_ERROR_INVALID_DEVICE;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

static CUresult advise(CUdeviceptr ptr, size_t count, CUmem_advise advice, CUmemLocation location)
{
    struct cuda_managed range;
    unsigned set = 0, clear = 0;
    CUresult result = find_range(ptr, count, &range);

    if (result != CUDA_SUCCESS)
        return result;
    switch (advice) {
    case CU_MEM_ADVISE_SET_READ_MOSTLY:
        set = CUDA_MANAGED_READ_MOSTLY;
        break;
    case CU_MEM_ADVISE_UNSET_READ_MOSTLY:
        clear = CUDA_MANAGED_READ_MOSTLY;
        break;
    case CU_MEM_ADVISE_SET_PREFERRED_LOCATION:
        result = check_host(location);
        set = CUDA_MANAGED_PREFERRED_HOST;
        break;
    case CU_MEM_ADVISE_UNSET_PREFERRED_LOCATION:
        clear = CUDA_MANAGED_PREFERRED_HOST;
        break;
    case CU_MEM_ADVISE_SET_ACCESSED_BY:
        result = check_host(location);
        set = CUDA_MANAGED_ACCESSED_BY_HOST;
        break;
    case CU_MEM_ADVISE_UNSET_ACCESSED_BY:
        result = check_host(location);
        clear = CUDA_MANAGED_ACCESSED_BY_HOST;
        break;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
    /* Kept for whole allocations; for a part of one it is taken and forgotten, as advice may be. */
    if (result == CUDA_SUCCESS && ptr == range.start && count == range.bytes)
        cuda_managed_advise(ptr, set, clear);
    return result;
}

CUresult cuMemAdvise_v2(CUdeviceptr devPtr, size_t count, CUmem_advise advice,
                        CUmemLocation location)
{
    return advise(devPtr, count, advice, location);
}

CUresult cuMemAdvise(CUdeviceptr devPtr, size_t count, CUmem_advise advice, CUdevice device)
{
    return advise(devPtr, count, advice, location_of(device));
}

/* Also to the host: the stream's device would have to take part. */
static CUresult prefetch(CUdeviceptr ptr, size_t count, CUmemLocation location, unsigned flags,
                         CUstream stream)
{
    struct cuda_managed range;
    unsigned stream_flags;
    CUresult result = find_range(ptr, count, &range);

    if (result == CUDA_SUCCESS)
        result = cuStreamGetFlags(stream, &stream_flags);
    if (result == CUDA_SUCCESS && (flags != 0 || location.type == CU_MEM_LOCATION_TYPE_INVALID))
        result = CUDA_ERROR_INVALID_VALUE;
    return result == CUDA_SUCCESS ? CUDA_ERROR_INVALID_DEVICE : result;
}

CUresult cuMemPrefetchAsync_v2(CUdeviceptr devPtr, size_t count, CUmemLocation location,
                               unsigned int flags, CUstream hStream)
{
    return prefetch(devPtr, count, location, flags, hStream);
}

CUresult cuMemPrefetchAsync(CUdeviceptr devPtr, size_t count, CUdevice dstDevice, CUstream hStream)
{
    return prefetch(devPtr, count, location_of(dstDevice), 0, hStream);
}

static int value_of(const struct cuda_managed *range, CUmem_range_attribute attribute)
{
    bool preferred = range->advice & CUDA_MANAGED_PREFERRED_HOST;

    switch (attribute) {
    case CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY:
        return (range->advice & CUDA_MANAGED_READ_MOSTLY) != 0;
    case CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION:
        return preferred ? DEVICE_CPU : DEVICE_INVALID;
    case CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION_TYPE:
        return preferred ? CU_MEM_LOCATION_TYPE_HOST : CU_MEM_LOCATION_TYPE_INVALID;
    case CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION:
        return DEVICE_INVALID;
    default:
        return 0; /* an id without a meaning, or CU_MEM_LOCATION_TYPE_INVALID */
    }
}

/* The host, if it was named, and then nobody. */
static void put_users(int *data, size_t count, const struct cuda_managed *range)
{
    for (size_t i = 0; i < count; i++)
        data[i] =
            i == 0 && (range->advice & CUDA_MANAGED_ACCESSED_BY_HOST) ? DEVICE_CPU : DEVICE_INVALID;
}

static CUresult put_attribute(void *data, size_t bytes, CUmem_range_attribute attribute,
                              const struct cuda_managed *range)
{
    int value;

    if (!data || bytes == 0 || bytes % sizeof(value) != 0 ||
        (int)attribute < CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY ||
        (int)attribute > CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION_ID)
        return CUDA_ERROR_INVALID_VALUE;
    if (attribute == CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY) {
        put_users(data, bytes / sizeof(value), range);
        return CUDA_SUCCESS;
    }
    if (bytes != sizeof(value))
        return CUDA_ERROR_INVALID_VALUE;
    value = value_of(range, attribute);
    memcpy(data, &value, sizeof(value));
    return CUDA_SUCCESS;
}

CUresult cuMemRangeGetAttribute(void *data, size_t dataSize, CUmem_range_attribute attribute,
                                CUdeviceptr devPtr, size_t count)
{
    struct cuda_managed range;
    CUresult result = find_range(devPtr, count, &range);

    return result == CUDA_SUCCESS ? put_attribute(data, dataSize, attribute, &range) : result;
}

CUresult cuMemRangeGetAttributes(void **data, size_t *dataSizes, CUmem_range_attribute *attributes,
                                 size_t numAttributes, CUdeviceptr devPtr, size_t count)
{
    struct cuda_managed range;
    CUresult result = find_range(devPtr, count, &range);

    if (result == CUDA_SUCCESS && (!data || !dataSizes || !attributes || numAttributes == 0))
        result = CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; result == CUDA_SUCCESS && i < numAttributes; i++)
        result = put_attribute(data[i], dataSizes[i], attributes[i], &range);
    return result;
}

CUresult cuStreamAttachMemAsync(CUstream hStream, CUdeviceptr dptr, size_t length,
                                unsigned int flags)
{
    struct cuda_managed range;
    unsigned stream_flags;
    CUresult result = cuStreamGetFlags(hStream, &stream_flags);

    if (result != CUDA_SUCCESS)
        return result;
    if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST &&
        flags != CU_MEM_ATTACH_SINGLE)
        return CUDA_ERROR_INVALID_VALUE;
    /* The default stream is of all. */
    if (flags == CU_MEM_ATTACH_SINGLE && !hStream)
        return CUDA_ERROR_INVALID_VALUE;
    if (!cuda_managed_find(dptr, &range) || dptr != range.start ||
        (length != 0 && length != range.bytes))
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}
