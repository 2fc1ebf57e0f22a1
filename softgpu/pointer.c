/* SPDX-License-Identifier: Apache-2.0 */
/* cuPointerGetAttribute(s): what is known of an address. */
#include <string.h>

#include "softgpu/context.h"
#include "softgpu/memory.h"

#define ACCESS_READ_WRITE 3

/* An attribute's value and how many bytes of it are written. */
struct value {
    uint64_t bits;
    size_t size_bytes; /* 0: this attribute has no value here */
};

#define VALUE(type, v) ((struct value){(uint64_t)(type)(v), sizeof(type)})

/* Returns false if the attribute is unknown. */
static bool value_of(const struct allocation *allocation, CUpointer_attribute attribute,
                     uint64_t address, struct value *ret)
{
    bool on_host = allocation->kind >= MEMORY_HOST;
    struct value none = {0};

    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
        *ret = VALUE(uintptr_t, allocation->context->handle);
        return true;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *ret = VALUE(uint32_t, on_host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE);
        return true;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        *ret = VALUE(uint64_t, address);
        return true;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        *ret = on_host ? VALUE(uint64_t, address) : none;
        return true;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
    case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
        *ret = VALUE(uint64_t, allocation->id);
        return true;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *ret = VALUE(uint32_t, allocation->context->device->ordinal);
        return true;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
        *ret = VALUE(uint64_t, allocation->base);
        return true;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
        *ret = VALUE(uint64_t, allocation->size_bytes);
        return true;
    case CU_POINTER_ATTRIBUTE_MAPPED:
        *ret = VALUE(uint32_t, 1);
        return true;
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
    case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
        *ret = VALUE(uint32_t, 0);
        return true;
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
        *ret = VALUE(uint32_t, ACCESS_READ_WRITE);
        return true;
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
        *ret = VALUE(uint64_t, 0);
        return true;
    case CU_POINTER_ATTRIBUTE_P2P_TOKENS:
        *ret = none;
        return true;
    }
    return false;
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr)
{
    _scope_ struct scope scope = scope_gpu();
    struct allocation found;
    struct value value;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!data || !memory_find(ptr, &found) || !value_of(&found, attribute, ptr, &value) ||
        value.size_bytes == 0)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(data, &value.bits, value.size_bytes);
    return CUDA_SUCCESS;
}

/* What cuPointerGetAttributes stores for an address that is not known. */
static struct value value_of_unknown(CUpointer_attribute attribute, uint64_t address)
{
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        return VALUE(uint64_t, address);
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        return VALUE(uint32_t, -2);
    default: {
        struct allocation none = {0};
        struct context context = {0};
        struct device device = {0};
        struct value value = {0};

        context.device = &device;
        none.context = &context;
        value_of(&none, attribute, 0, &value);
        value.bits = 0;
        return value;
    }
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
        struct value value = value_of_unknown(attributes[i], ptr);

        if (!data[i] || (known && !value_of(&found, attributes[i], ptr, &value)))
            return CUDA_ERROR_INVALID_VALUE;
        memcpy(data[i], &value.bits, value.size_bytes);
    }
    return CUDA_SUCCESS;
}
