/* SPDX-License-Identifier: Apache-2.0 */
/* The driver API: what is known of a pointer. All from the tables of ranges. */
#include <string.h>

#include "cuda/cuda_api.h"
#include "guest/libvgpu/lookup.h"

static bool find(CUdeviceptr ptr, struct range *ret)
{
    const struct range *range;

    guest_lock();
    range = ranges_find(&guest.device, ptr);
    if (!range)
        range = ranges_find(&guest.host, ptr);
    if (range)
        *ret = *range;
    guest_unlock();
    return range != NULL;
}

static bool is_host(const struct range *range)
{
    return range->what != RANGE_MEMORY && range->what != RANGE_GLOBAL &&
           range->what != RANGE_MAPPED;
}

static CUresult put(void *data, const void *value, size_t bytes)
{
    memcpy(data, value, bytes);
    return CUDA_SUCCESS;
}

static CUresult put_int(void *data, int value)
{
    return put(data, &value, sizeof(value));
}

static CUresult put_flag(void *data, bool value)
{
    return put(data, &value, sizeof(value));
}

static CUresult put_u64(void *data, uint64_t value)
{
    return put(data, &value, sizeof(value));
}

/* The address of the same byte on the other side; 0 if there is none. */
static uint64_t device_address(const struct range *range, CUdeviceptr ptr)
{
    if (range_is_pinned(range))
        return range->other ? range->other + (ptr - range->start) : 0;
    return range->what == RANGE_REGISTERED ? 0 : ptr;
}

static uint64_t host_address(const struct range *range, CUdeviceptr ptr)
{
    if (range->what == RANGE_HOST_VIEW)
        return range->other + (ptr - range->start);
    return is_host(range) ? ptr : 0;
}

static CUresult answer_address(void *data, uint64_t address)
{
    return address ? put_u64(data, address) : CUDA_ERROR_INVALID_VALUE;
}

static CUresult answer(void *data, CUpointer_attribute attribute, const struct range *range,
                       CUdeviceptr ptr)
{
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
        return put_u64(data, range->context);
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        return put_int(data, is_host(range) && !range->managed ? CU_MEMORYTYPE_HOST
                                                               : CU_MEMORYTYPE_DEVICE);
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        return answer_address(data, device_address(range, ptr));
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        return answer_address(data, host_address(range, ptr));
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
    case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
        return put_u64(data, range->id);
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
        if (range->what == RANGE_MAPPED)
            return put_int(data, (int)range->flags);
        return put_int(data, device_address(range, ptr) ? CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE
                                                        : CU_POINTER_ATTRIBUTE_ACCESS_FLAG_NONE);
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        return put_flag(data, range->managed);
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
    case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
        return put_flag(data, false);
    case CU_POINTER_ATTRIBUTE_MAPPED:
        return put_flag(data, device_address(range, ptr) != 0);
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        return put_int(data, 0);
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
        return put_u64(data, range->start);
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
        return put_u64(data, range->bytes);
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
        return put_u64(data, 0);
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
        return put_u64(data, range->pool);
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr)
{
    struct range range;
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!data || !find(ptr, &range))
        return CUDA_ERROR_INVALID_VALUE;
    return answer(data, attribute, &range, ptr);
}

/* What an unknown pointer is told in a list: nothing at all, without an error. */
static void answer_unknown(void *data, CUpointer_attribute attribute)
{
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
        put_int(data, 0);
        break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        put_int(data, -2);
        break;
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
    case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
    case CU_POINTER_ATTRIBUTE_MAPPED:
        put_flag(data, false);
        break;
    default:
        put_u64(data, 0);
        break;
    }
}

static bool attribute_known(CUpointer_attribute attribute)
{
    struct range range = {.what = RANGE_MEMORY, .start = 1, .bytes = 1};
    uint64_t data;
    CUresult result = answer(&data, attribute, &range, 1);

    return result == CUDA_SUCCESS || attribute == CU_POINTER_ATTRIBUTE_HOST_POINTER;
}

CUresult cuPointerGetAttributes(unsigned int numAttributes, CUpointer_attribute *attributes,
                                void **data, CUdeviceptr ptr)
{
    struct range range;
    bool found;
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (numAttributes == 0 || !attributes || !data)
        return CUDA_ERROR_INVALID_VALUE;
    found = find(ptr, &range);
    for (unsigned int i = 0; i < numAttributes; i++) {
        if (!data[i] || !attribute_known(attributes[i]))
            return CUDA_ERROR_INVALID_VALUE;
        if (!found || answer(data[i], attributes[i], &range, ptr) != CUDA_SUCCESS)
            answer_unknown(data[i], attributes[i]);
    }
    return CUDA_SUCCESS;
}
