/* SPDX-License-Identifier: Apache-2.0 */
/* The driver API: copies. Arguments are brought into one form, struct copy_box. */
#include <string.h>

#include "cuda/capture.h"
#include "cuda/cuda_api.h"
#include "cuda/exports.h"
#include "guest/libvgpu/copy.h"
#include "guest/libvgpu/lookup.h"

enum direction { HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE, UNIFIED };

static CUresult copy_bytes(enum direction direction, CUdeviceptr target, CUdeviceptr source,
                           size_t bytes, CUstream stream, bool async)
{
    CAPTURED(async ? capture_bytes(direction == UNIFIED          ? CU_MEMORYTYPE_UNIFIED
                                   : direction == DEVICE_TO_HOST ? CU_MEMORYTYPE_HOST
                                                                 : CU_MEMORYTYPE_DEVICE,
                                   target,
                                   direction == UNIFIED          ? CU_MEMORYTYPE_UNIFIED
                                   : direction == HOST_TO_DEVICE ? CU_MEMORYTYPE_HOST
                                                                 : CU_MEMORYTYPE_DEVICE,
                                   source, bytes, stream)
                   : capture_refuse_stream(stream));
    struct guest_thread *thread;
    struct copy_box box = {.width = bytes, .height = 1, .depth = 1, .async = async};
    CUresult result = guest_enter_context(&thread);

    if (result == CUDA_SUCCESS)
        result = lookup_stream(thread, stream, &box.stream);
    if (result != CUDA_SUCCESS || bytes == 0)
        return result;
    if (!target || !source)
        return CUDA_ERROR_INVALID_VALUE;
    if (direction == UNIFIED) {
        box.target = copy_side_unified(target);
        box.source = copy_side_unified(source);
    } else {
        box.target = direction == DEVICE_TO_HOST ? copy_side_host((const void *)(uintptr_t)target)
                                                 : copy_side_device(target);
        box.source = direction == HOST_TO_DEVICE ? copy_side_host((const void *)(uintptr_t)source)
                                                 : copy_side_device(source);
    }
    return copy_run(&box);
}

static CUdeviceptr host_value(const void *address)
{
    return (CUdeviceptr)(uintptr_t)address;
}

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount)
{
    return copy_bytes(UNIFIED, dst, src, ByteCount, NULL, false);
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount)
{
    return copy_bytes(HOST_TO_DEVICE, dstDevice, host_value(srcHost), ByteCount, NULL, false);
}

CUresult cuMemcpyDtoH_v2(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount)
{
    return copy_bytes(DEVICE_TO_HOST, host_value(dstHost), srcDevice, ByteCount, NULL, false);
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount)
{
    return copy_bytes(DEVICE_TO_DEVICE, dstDevice, srcDevice, ByteCount, NULL, false);
}

CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream)
{
    return copy_bytes(UNIFIED, dst, src, ByteCount, hStream, true);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount,
                              CUstream hStream)
{
    return copy_bytes(HOST_TO_DEVICE, dstDevice, host_value(srcHost), ByteCount, hStream, true);
}

CUresult cuMemcpyDtoHAsync_v2(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount,
                              CUstream hStream)
{
    return copy_bytes(DEVICE_TO_HOST, host_value(dstHost), srcDevice, ByteCount, hStream, true);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount,
                              CUstream hStream)
{
    return copy_bytes(DEVICE_TO_DEVICE, dstDevice, srcDevice, ByteCount, hStream, true);
}

/* One side of a 2D or 3D copy, as CUDA's structures have it. */
struct strided {
    CUmemorytype type;
    const void *host;
    CUdeviceptr device;
    uint64_t x, y, z;
    uint64_t pitch, rows; /* 0: as many as the copy touches */
};

/* Only a copy of one row, or one slice, may leave pitch or rows out. */
static CUresult complete(struct strided *side, const struct copy_box *box)
{
    if (side->pitch == 0 && box->height == 1 && box->depth == 1 && side->y == 0 && side->z == 0)
        side->pitch = side->x + box->width;
    if (side->rows == 0 && box->depth == 1 && side->z == 0)
        side->rows = side->y + box->height;
    if (side->pitch < side->x || side->pitch - side->x < box->width)
        return CUDA_ERROR_INVALID_VALUE;
    if (side->rows < side->y || side->rows - side->y < box->height)
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

static CUresult place_side(struct strided *side, const struct copy_box *box, struct copy_side *ret)
{
    CUdeviceptr base = side->type == CU_MEMORYTYPE_HOST ? host_value(side->host) : side->device;
    uint64_t rows, bytes;
    CUresult result = complete(side, box);

    if (result != CUDA_SUCCESS)
        return result;
    if (__builtin_mul_overflow(side->z, side->rows, &rows) ||
        __builtin_add_overflow(rows, side->y, &rows) ||
        __builtin_mul_overflow(rows, side->pitch, &bytes) ||
        __builtin_add_overflow(bytes, side->x, &bytes) ||
        __builtin_add_overflow(bytes, base, &bytes) || !base)
        return CUDA_ERROR_INVALID_VALUE;
    if (side->type == CU_MEMORYTYPE_HOST)
        *ret = copy_side_host((const void *)(uintptr_t)bytes);
    else if (side->type == CU_MEMORYTYPE_DEVICE)
        *ret = copy_side_device(bytes);
    else if (side->type == CU_MEMORYTYPE_UNIFIED)
        *ret = copy_side_unified(bytes);
    else if (side->type == CU_MEMORYTYPE_ARRAY)
        return cuda_unsupported("a copy of a CUDA array");
    else
        return CUDA_ERROR_INVALID_VALUE;
    ret->pitch = side->pitch;
    ret->slice_rows = side->rows;
    return CUDA_SUCCESS;
}

static CUresult copy_strided(struct guest_thread *thread, struct copy_box *box,
                             struct strided *target, struct strided *source, CUstream stream)
{
    CUresult result = lookup_stream(thread, stream, &box->stream);

    if (result != CUDA_SUCCESS)
        return result;
    if (box->width == 0 || box->height == 0 || box->depth == 0)
        return CUDA_SUCCESS;
    result = place_side(target, box, &box->target);
    if (result == CUDA_SUCCESS)
        result = place_side(source, box, &box->source);
    return result == CUDA_SUCCESS ? copy_run(box) : result;
}

static bool pitch_too_large(const CUDA_MEMCPY2D *copy)
{
    int most = guest_attribute(CU_DEVICE_ATTRIBUTE_MAX_PITCH);

    return most > 0 && (copy->srcPitch > (size_t)most || copy->dstPitch > (size_t)most);
}

static CUresult copy_2d(const CUDA_MEMCPY2D *copy, CUstream stream, bool async, bool aligned)
{
    CAPTURED(async ? capture_rows(copy, stream) : capture_refuse_stream(stream));
    struct guest_thread *thread;
    struct copy_box box = {.depth = 1, .async = async};
    struct strided target, source;
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!copy)
        return CUDA_ERROR_INVALID_VALUE;
    if (aligned && copy->WidthInBytes && copy->Height && pitch_too_large(copy))
        return CUDA_ERROR_INVALID_VALUE;
    box.width = copy->WidthInBytes;
    box.height = copy->Height;
    target = (struct strided){.type = copy->dstMemoryType,
                              .host = copy->dstHost,
                              .device = copy->dstDevice,
                              .x = copy->dstXInBytes,
                              .y = copy->dstY,
                              .pitch = copy->dstPitch};
    source = (struct strided){.type = copy->srcMemoryType,
                              .host = copy->srcHost,
                              .device = copy->srcDevice,
                              .x = copy->srcXInBytes,
                              .y = copy->srcY,
                              .pitch = copy->srcPitch};
    return copy_strided(thread, &box, &target, &source, stream);
}

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *pCopy)
{
    return copy_2d(pCopy, NULL, false, true);
}

CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *pCopy)
{
    return copy_2d(pCopy, NULL, false, false);
}

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *pCopy, CUstream hStream)
{
    return copy_2d(pCopy, hStream, true, true);
}

static CUresult copy_3d(const CUDA_MEMCPY3D *copy, CUstream stream, bool async)
{
    CAPTURED(async ? capture_copy(copy, stream) : capture_refuse_stream(stream));
    struct guest_thread *thread;
    struct copy_box box = {.async = async};
    struct strided target, source;
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!copy || copy->srcLOD || copy->dstLOD || copy->reserved0 || copy->reserved1)
        return CUDA_ERROR_INVALID_VALUE;
    box.width = copy->WidthInBytes;
    box.height = copy->Height;
    box.depth = copy->Depth;
    target = (struct strided){.type = copy->dstMemoryType,
                              .host = copy->dstHost,
                              .device = copy->dstDevice,
                              .x = copy->dstXInBytes,
                              .y = copy->dstY,
                              .z = copy->dstZ,
                              .pitch = copy->dstPitch,
                              .rows = copy->dstHeight};
    source = (struct strided){.type = copy->srcMemoryType,
                              .host = copy->srcHost,
                              .device = copy->srcDevice,
                              .x = copy->srcXInBytes,
                              .y = copy->srcY,
                              .z = copy->srcZ,
                              .pitch = copy->srcPitch,
                              .rows = copy->srcHeight};
    return copy_strided(thread, &box, &target, &source, stream);
}

CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D *pCopy)
{
    return copy_3d(pCopy, NULL, false);
}

CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *pCopy, CUstream hStream)
{
    return copy_3d(pCopy, hStream, true);
}
