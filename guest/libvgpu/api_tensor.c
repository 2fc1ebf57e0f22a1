/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver API: maps of tensors. What is in a map only the driver knows, so it makes them; it
 * needs no context for that, and reads no memory of the device.
 */
#include <string.h>

#include "cuda/cuda_api.h"
#include "cuda/cuda_send.h"
#include "cuda/exports.h"
#include "guest/libvgpu/lookup.h"

/* What all kinds have. The pointers are read only as far as the rank says. */
static CUresult describe(struct vgpu_tensor *tensor, const CUtensorMap *map, cuuint32_t rank,
                         const cuuint64_t *dims, const cuuint64_t *strides,
                         const cuuint32_t *element_strides)
{
    if (!map || rank == 0 || rank > VGPU_TENSOR_MAX_RANK || !dims || (rank > 1 && !strides) ||
        !element_strides)
        return CUDA_ERROR_INVALID_VALUE;
    tensor->rank = rank;
    memcpy(tensor->dims, dims, rank * sizeof(*dims));
    if (rank > 1)
        memcpy(tensor->strides, strides, (rank - 1) * sizeof(*strides));
    memcpy(tensor->element_strides, element_strides, rank * sizeof(*element_strides));
    return CUDA_SUCCESS;
}

static CUresult enter_maps(void)
{
    CUresult result = guest_enter(NULL);

    if (result == CUDA_SUCCESS &&
        guest_attribute(CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED) <= 0)
        return cuda_unsupported("maps of tensors on this device");
    return result;
}

static CUresult encode(const struct vgpu_tensor *tensor, CUtensorMap *map)
{
    struct cuda_out_tensor_map_encode out;
    CUresult result = cuda_send_tensor_map_encode(
        guest_sender(),
        &(struct cuda_args_tensor_map_encode){.tensor = tensor, .tensor_bytes = sizeof(*tensor)},
        &out);

    if (result == CUDA_SUCCESS && out.map_bytes != sizeof(*map))
        return CUDA_ERROR_UNKNOWN;
    if (result == CUDA_SUCCESS)
        memcpy(map, out.map, sizeof(*map));
    return result;
}

CUresult cuTensorMapEncodeTiled(CUtensorMap *tensorMap, CUtensorMapDataType tensorDataType,
                                cuuint32_t tensorRank, void *globalAddress,
                                const cuuint64_t *globalDim, const cuuint64_t *globalStrides,
                                const cuuint32_t *boxDim, const cuuint32_t *elementStrides,
                                CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion l2Promotion, CUtensorMapFloatOOBfill oobFill)
{
    struct vgpu_tensor tensor = {.kind = VGPU_TENSOR_TILED,
                                 .data_type = (uint32_t)tensorDataType,
                                 .interleave = (uint32_t)interleave,
                                 .swizzle = (uint32_t)swizzle,
                                 .l2_promotion = (uint32_t)l2Promotion,
                                 .oob_fill = (uint32_t)oobFill,
                                 .address = (uintptr_t)globalAddress};
    CUresult result = enter_maps();

    if (result == CUDA_SUCCESS)
        result = describe(&tensor, tensorMap, tensorRank, globalDim, globalStrides, elementStrides);
    if (result != CUDA_SUCCESS)
        return result;
    if (!boxDim)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(tensor.box, boxDim, tensorRank * sizeof(*boxDim));
    return encode(&tensor, tensorMap);
}

CUresult cuTensorMapEncodeIm2col(CUtensorMap *tensorMap, CUtensorMapDataType tensorDataType,
                                 cuuint32_t tensorRank, void *globalAddress,
                                 const cuuint64_t *globalDim, const cuuint64_t *globalStrides,
                                 const int *pixelBoxLowerCorner, const int *pixelBoxUpperCorner,
                                 cuuint32_t channelsPerPixel, cuuint32_t pixelsPerColumn,
                                 const cuuint32_t *elementStrides, CUtensorMapInterleave interleave,
                                 CUtensorMapSwizzle swizzle, CUtensorMapL2promotion l2Promotion,
                                 CUtensorMapFloatOOBfill oobFill)
{
    struct vgpu_tensor tensor = {.kind = VGPU_TENSOR_IM2COL,
                                 .data_type = (uint32_t)tensorDataType,
                                 .interleave = (uint32_t)interleave,
                                 .swizzle = (uint32_t)swizzle,
                                 .l2_promotion = (uint32_t)l2Promotion,
                                 .oob_fill = (uint32_t)oobFill,
                                 .address = (uintptr_t)globalAddress,
                                 .channels = channelsPerPixel,
                                 .pixels = pixelsPerColumn};
    CUresult result = enter_maps();

    if (result == CUDA_SUCCESS)
        result = describe(&tensor, tensorMap, tensorRank, globalDim, globalStrides, elementStrides);
    if (result != CUDA_SUCCESS)
        return result;
    /* The corners are of the dimensions between the outermost and the channels. */
    if (tensorRank < 3 || !pixelBoxLowerCorner || !pixelBoxUpperCorner)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(tensor.lower, pixelBoxLowerCorner, (tensorRank - 2) * sizeof(int));
    memcpy(tensor.upper, pixelBoxUpperCorner, (tensorRank - 2) * sizeof(int));
    return encode(&tensor, tensorMap);
}

CUresult cuTensorMapEncodeIm2colWide(
    CUtensorMap *tensorMap, CUtensorMapDataType tensorDataType, cuuint32_t tensorRank,
    void *globalAddress, const cuuint64_t *globalDim, const cuuint64_t *globalStrides,
    int pixelBoxLowerCornerWidth, int pixelBoxUpperCornerWidth, cuuint32_t channelsPerPixel,
    cuuint32_t pixelsPerColumn, const cuuint32_t *elementStrides, CUtensorMapInterleave interleave,
    CUtensorMapIm2ColWideMode mode, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion l2Promotion,
    CUtensorMapFloatOOBfill oobFill)
{
    struct vgpu_tensor tensor = {.kind = VGPU_TENSOR_IM2COL_WIDE,
                                 .data_type = (uint32_t)tensorDataType,
                                 .interleave = (uint32_t)interleave,
                                 .swizzle = (uint32_t)swizzle,
                                 .l2_promotion = (uint32_t)l2Promotion,
                                 .oob_fill = (uint32_t)oobFill,
                                 .mode = (uint32_t)mode,
                                 .address = (uintptr_t)globalAddress,
                                 .lower = {pixelBoxLowerCornerWidth},
                                 .upper = {pixelBoxUpperCornerWidth},
                                 .channels = channelsPerPixel,
                                 .pixels = pixelsPerColumn};
    CUresult result = enter_maps();

    if (result == CUDA_SUCCESS)
        result = describe(&tensor, tensorMap, tensorRank, globalDim, globalStrides, elementStrides);
    return result == CUDA_SUCCESS ? encode(&tensor, tensorMap) : result;
}

CUresult cuTensorMapReplaceAddress(CUtensorMap *tensorMap, void *globalAddress)
{
    struct cuda_out_tensor_map_replace out;
    CUresult result = enter_maps();

    if (result != CUDA_SUCCESS)
        return result;
    if (!tensorMap)
        return CUDA_ERROR_INVALID_VALUE;
    result = cuda_send_tensor_map_replace(
        guest_sender(),
        &(struct cuda_args_tensor_map_replace){
            .address = (uintptr_t)globalAddress, .map = tensorMap, .map_bytes = sizeof(*tensorMap)},
        &out);
    if (result == CUDA_SUCCESS && out.changed_bytes != sizeof(*tensorMap))
        return CUDA_ERROR_UNKNOWN;
    if (result == CUDA_SUCCESS)
        memcpy(tensorMap, out.changed, sizeof(*tensorMap));
    return result;
}
