/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executions: maps of tensors. Pure arithmetic of the driver's: it looks at no memory of the
 * device, and what a kernel does with the address in a map it could do with any number.
 */
#include <string.h>

#include "worker/channel.h"

static CUresult encode(const struct cuda_driver *cu, const struct vgpu_tensor *tensor,
                       CUtensorMap *map)
{
    void *address = (void *)(uintptr_t)tensor->address;
    CUtensorMapDataType type = (CUtensorMapDataType)tensor->data_type;
    CUtensorMapInterleave interleave = (CUtensorMapInterleave)tensor->interleave;
    CUtensorMapSwizzle swizzle = (CUtensorMapSwizzle)tensor->swizzle;
    CUtensorMapL2promotion l2 = (CUtensorMapL2promotion)tensor->l2_promotion;
    CUtensorMapFloatOOBfill fill = (CUtensorMapFloatOOBfill)tensor->oob_fill;

    switch (tensor->kind) {
    case VGPU_TENSOR_TILED:
        return cu->cuTensorMapEncodeTiled(map, type, tensor->rank, address, tensor->dims,
                                          tensor->strides, tensor->box, tensor->element_strides,
                                          interleave, swizzle, l2, fill);
    case VGPU_TENSOR_IM2COL:
        return cu->cuTensorMapEncodeIm2col(map, type, tensor->rank, address, tensor->dims,
                                           tensor->strides, tensor->lower, tensor->upper,
                                           tensor->channels, tensor->pixels,
                                           tensor->element_strides, interleave, swizzle, l2, fill);
    default:
        return cu->cuTensorMapEncodeIm2colWide(
            map, type, tensor->rank, address, tensor->dims, tensor->strides, tensor->lower[0],
            tensor->upper[0], tensor->channels, tensor->pixels, tensor->element_strides, interleave,
            (CUtensorMapIm2ColWideMode)tensor->mode, swizzle, l2, fill);
    }
}

CUresult exec_tensor_map_encode(struct channel *channel, const struct cuda_call *call,
                                const struct cuda_in_tensor_map_encode *in,
                                struct cuda_out_tensor_map_encode *out)
{
    struct vgpu_tensor tensor;
    CUtensorMap map;
    CUresult result;

    memset(&map, 0, sizeof(map));
    if (in->tensor_bytes != sizeof(tensor)) {
        border_malformed(channel, "tensor_map_encode", "tensor");
        return CUDA_ERROR_INVALID_VALUE;
    }
    memcpy(&tensor, in->tensor, sizeof(tensor));
    /* The driver reads as many dimensions as the rank says: the arrays have these. */
    if (tensor.rank == 0 || tensor.rank > VGPU_TENSOR_MAX_RANK ||
        tensor.kind > VGPU_TENSOR_IM2COL_WIDE) {
        border_malformed(channel, "tensor_map_encode", "rank or kind");
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = encode(channel->cu, &tensor, &map);
    if (result != CUDA_SUCCESS)
        return result;
    out->map_bytes = sizeof(map);
    memcpy(out->map, &map, sizeof(map));
    return CUDA_SUCCESS;
}

CUresult exec_tensor_map_replace(struct channel *channel, const struct cuda_call *call,
                                 const struct cuda_in_tensor_map_replace *in,
                                 struct cuda_out_tensor_map_replace *out)
{
    CUtensorMap map;
    CUresult result;

    if (in->map_bytes != sizeof(map)) {
        border_malformed(channel, "tensor_map_replace", "map");
        return CUDA_ERROR_INVALID_VALUE;
    }
    memcpy(&map, in->map, sizeof(map));
    result = channel->cu->cuTensorMapReplaceAddress(&map, (void *)(uintptr_t)in->address);
    if (result != CUDA_SUCCESS)
        return result;
    out->changed_bytes = sizeof(map);
    memcpy(out->changed, &map, sizeof(map));
    return CUDA_SUCCESS;
}
