/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver API: batches of copies, made of the library's other calls, part of every library that
 * implements it. CUDA leaves the order within a batch open; here it is that of the array.
 */
#include <stdbool.h>

#include "cuda/cuda_api.h"

static bool order_is_valid(CUmemcpySrcAccessOrder order)
{
    return order == CU_MEMCPY_SRC_ACCESS_ORDER_STREAM ||
           order == CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL ||
           order == CU_MEMCPY_SRC_ACCESS_ORDER_ANY;
}

/* What must be done with the sources before the call returns. */
static CUresult settle(CUresult result, bool sources_end, CUstream stream)
{
    return result == CUDA_SUCCESS && sources_end ? cuStreamSynchronize(stream) : result;
}

static bool attributes_are_valid(const CUmemcpyAttributes *attributes, const size_t *from,
                                 size_t count, size_t copies)
{
    if (!attributes || !from || count == 0 || count > copies || from[0] != 0)
        return false;
    for (size_t i = 0; i < count; i++)
        if (from[i] >= copies || (i > 0 && from[i] <= from[i - 1]) ||
            !order_is_valid(attributes[i].srcAccessOrder) ||
            (attributes[i].flags & ~(unsigned)CU_MEMCPY_FLAG_PREFER_OVERLAP_WITH_COMPUTE))
            return false;
    return true;
}

static bool any_source_ends(const CUmemcpyAttributes *attributes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (attributes[i].srcAccessOrder == CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL)
            return true;
    return false;
}

/* *ret_failed: the copy that is at fault; SIZE_MAX: none of them. */
static CUresult copy_batch(const CUdeviceptr *targets, const CUdeviceptr *sources,
                           const size_t *sizes, size_t count, const CUmemcpyAttributes *attributes,
                           const size_t *from, size_t attribute_count, size_t *ret_failed,
                           CUstream stream)
{
    CUresult result = CUDA_SUCCESS;

    *ret_failed = SIZE_MAX;
    if (!targets || !sources || !sizes || count == 0 || stream == CU_STREAM_LEGACY ||
        !attributes_are_valid(attributes, from, attribute_count, count))
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count && result == CUDA_SUCCESS; i++) {
        result = sizes[i] == 0 ? CUDA_ERROR_INVALID_VALUE
                               : cuMemcpyAsync(targets[i], sources[i], sizes[i], stream);
        if (result != CUDA_SUCCESS)
            *ret_failed = i;
    }
    return settle(result, any_source_ends(attributes, attribute_count), stream);
}

CUresult cuMemcpyBatchAsync_v2(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count,
                               CUmemcpyAttributes *attrs, size_t *attrsIdxs, size_t numAttrs,
                               CUstream hStream)
{
    size_t failed;

    return copy_batch(dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs, &failed, hStream);
}

CUresult cuMemcpyBatchAsync(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count,
                            CUmemcpyAttributes *attrs, size_t *attrsIdxs, size_t numAttrs,
                            size_t *failIdx, CUstream hStream)
{
    size_t failed;
    CUresult result =
        copy_batch(dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs, &failed, hStream);

    if (result != CUDA_SUCCESS && failIdx)
        *failIdx = failed;
    return result;
}

/* 0 means packed; else it is at least what is copied. */
static bool length_of(size_t given, size_t copied, size_t *ret_length)
{
    *ret_length = given ? given : copied;
    return *ret_length >= copied;
}

static CUresult copy_one_3d(const CUDA_MEMCPY3D_BATCH_OP *op, CUstream stream)
{
    CUDA_MEMCPY3D copy = {
        .srcMemoryType = CU_MEMORYTYPE_UNIFIED,
        .srcDevice = op->src.op.ptr.ptr,
        .dstMemoryType = CU_MEMORYTYPE_UNIFIED,
        .dstDevice = op->dst.op.ptr.ptr,
        .WidthInBytes = op->extent.width,
        .Height = op->extent.height,
        .Depth = op->extent.depth,
    };

    if (op->src.type != CU_MEMCPY_OPERAND_TYPE_POINTER ||
        op->dst.type != CU_MEMCPY_OPERAND_TYPE_POINTER)
        return CUDA_ERROR_NOT_SUPPORTED; /* there are no arrays */
    if (!order_is_valid(op->srcAccessOrder) ||
        (op->flags & ~(unsigned)CU_MEMCPY_FLAG_PREFER_OVERLAP_WITH_COMPUTE) ||
        op->extent.width == 0 || op->extent.height == 0 || op->extent.depth == 0 ||
        !length_of(op->src.op.ptr.rowLength, op->extent.width, &copy.srcPitch) ||
        !length_of(op->dst.op.ptr.rowLength, op->extent.width, &copy.dstPitch) ||
        !length_of(op->src.op.ptr.layerHeight, op->extent.height, &copy.srcHeight) ||
        !length_of(op->dst.op.ptr.layerHeight, op->extent.height, &copy.dstHeight))
        return CUDA_ERROR_INVALID_VALUE;
    return cuMemcpy3DAsync_v2(&copy, stream);
}

static CUresult copy_batch_3d(const CUDA_MEMCPY3D_BATCH_OP *ops, size_t count,
                              unsigned long long flags, size_t *ret_failed, CUstream stream)
{
    CUresult result = CUDA_SUCCESS;
    bool sources_end = false;

    *ret_failed = SIZE_MAX;
    if (!ops || count == 0 || flags || stream == CU_STREAM_LEGACY)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count && result == CUDA_SUCCESS; i++) {
        sources_end |= ops[i].srcAccessOrder == CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL;
        result = copy_one_3d(&ops[i], stream);
        if (result != CUDA_SUCCESS)
            *ret_failed = i;
    }
    return settle(result, sources_end, stream);
}

CUresult cuMemcpy3DBatchAsync_v2(size_t numOps, CUDA_MEMCPY3D_BATCH_OP *opList,
                                 unsigned long long flags, CUstream hStream)
{
    size_t failed;

    return copy_batch_3d(opList, numOps, flags, &failed, hStream);
}

CUresult cuMemcpy3DBatchAsync(size_t numOps, CUDA_MEMCPY3D_BATCH_OP *opList, size_t *failIdx,
                              unsigned long long flags, CUstream hStream)
{
    size_t failed;
    CUresult result = copy_batch_3d(opList, numOps, flags, &failed, hStream);

    if (result != CUDA_SUCCESS && failIdx)
        *failIdx = failed;
    return result;
}
