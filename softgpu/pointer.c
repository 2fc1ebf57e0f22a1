/* SPDX-License-Identifier: Apache-2.0 */
/* cuPointerGetAttribute(s): what is known of an address. */
#include <string.h>

#include "softgpu/context.h"
#include "softgpu/memory.h"
#include "softgpu/pool.h"
#include "softgpu/virtual.h"

#define NO_ORDINAL (-2)

/* How many bytes of each attribute are written; 0: there is no such attribute. */
static const uint8_t sizes[] = {
    [CU_POINTER_ATTRIBUTE_CONTEXT] = 8,
    [CU_POINTER_ATTRIBUTE_MEMORY_TYPE] = 4,
    [CU_POINTER_ATTRIBUTE_DEVICE_POINTER] = 8,
    [CU_POINTER_ATTRIBUTE_HOST_POINTER] = 8,
    [CU_POINTER_ATTRIBUTE_SYNC_MEMOPS] = 4,
    [CU_POINTER_ATTRIBUTE_BUFFER_ID] = 8,
    [CU_POINTER_ATTRIBUTE_IS_MANAGED] = 4,
    [CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL] = 4,
    [CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE] = 4,
    [CU_POINTER_ATTRIBUTE_RANGE_START_ADDR] = 8,
    [CU_POINTER_ATTRIBUTE_RANGE_SIZE] = 8,
    [CU_POINTER_ATTRIBUTE_MAPPED] = 4,
    [CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES] = 8,
    [CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE] = 4,
    [CU_POINTER_ATTRIBUTE_ACCESS_FLAGS] = 4,
    [CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE] = 8,
    [CU_POINTER_ATTRIBUTE_MAPPING_SIZE] = 8,
    [CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR] = 8,
    [CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID] = 8,
    [CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE] = 4,
};

static size_t size_of(CUpointer_attribute attribute)
{
    return (size_t)attribute < VGPU_ARRAY_SIZE(sizes) ? sizes[attribute] : 0;
}

/* The value of an attribute of an address within an allocation. */
static uint64_t value_of(const struct allocation *allocation, CUpointer_attribute attribute,
                         uint64_t address)
{
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
        return allocation->context ? (uintptr_t)allocation->context->handle : 0;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        return allocation->kind == MEMORY_HOST || allocation->kind == MEMORY_REGISTERED
                   ? CU_MEMORYTYPE_HOST
                   : CU_MEMORYTYPE_DEVICE;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        return allocation->kind == MEMORY_MANAGED;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        return address;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
    case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
        return allocation->id;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        return (uint64_t)(allocation->block ? allocation->block->device
                                            : allocation->context->device)
            ->ordinal;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
        return allocation->base;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
        return allocation->size_bytes;
    case CU_POINTER_ATTRIBUTE_MAPPED:
        return 1;
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
        return allocation->pool ? (uintptr_t)allocation->pool->handle : 0;
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
        return allocation->read_only ? CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READ
                                     : CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE;
    default:
        return 0;
    }
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr)
{
    _scope_ struct scope scope = scope_gpu();
    struct allocation found;
    uint64_t value;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!data || size_of(attribute) == 0 || !memory_find(ptr, &found) ||
        (attribute == CU_POINTER_ATTRIBUTE_HOST_POINTER && found.kind < MEMORY_HOST))
        return CUDA_ERROR_INVALID_VALUE;
    value = value_of(&found, attribute, ptr);
    memcpy(data, &value, size_of(attribute));
    return CUDA_SUCCESS;
}

/* What cuPointerGetAttributes stores where there is no answer. */
static uint64_t value_of_unknown(CUpointer_attribute attribute, uint64_t address)
{
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        return address;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        return (uint64_t)NO_ORDINAL;
    default:
        return 0;
    }
}

CUresult cuPointerGetAttributes(unsigned int numAttributes, CUpointer_attribute *attributes,
                                void **data, CUdeviceptr ptr)
{
    _scope_ struct scope scope = scope_gpu();
    struct allocation found;
    bool known;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (numAttributes == 0 || !attributes || !data)
        return CUDA_ERROR_INVALID_VALUE;
    known = memory_find(ptr, &found);
    for (unsigned i = 0; i < numAttributes; i++) {
        uint64_t value =
            known ? value_of(&found, attributes[i], ptr) : value_of_unknown(attributes[i], ptr);

        if (!data[i] || size_of(attributes[i]) == 0)
            return CUDA_ERROR_INVALID_VALUE;
        if (known && attributes[i] == CU_POINTER_ATTRIBUTE_HOST_POINTER && found.kind < MEMORY_HOST)
            value = 0;
        memcpy(data[i], &value, size_of(attributes[i]));
    }
    return CUDA_SUCCESS;
}
