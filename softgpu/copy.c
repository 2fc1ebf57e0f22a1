/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every cuMemcpy*. A copy is checked and translated to host addresses when it is submitted; it
 * runs in its stream. Host memory that is not pinned is read before the call returns (copied to a
 * staging buffer if small, else by waiting) and written before the call returns, as CUDA does.
 */
#include <stdlib.h>
#include <string.h>

#include "common/overflow.h"
#include "cuda/capture.h"
#include "softgpu/context.h"
#include "softgpu/capability.h"
#include "softgpu/memory.h"
#include "softgpu/stream.h"

#define STAGE_MAX_BYTES 65536

/* One side of a copy: height rows, pitch apart, depth slices, slice apart. */
struct side {
    uint64_t address;
    uint64_t pitch, slice;
    bool must_be_device;
    void *host;
    enum memory_place place;
};

struct box {
    struct side dst, src;
    size_t width, height, depth;
};

struct copy {
    struct op op;
    struct box box;
    void *stage; /* freed with the copy; NULL: none */
};

/* Bytes from the first to the last of a side; false if they leave the address space. */
static bool side_span(const struct side *side, const struct box *box, uint64_t *ret_span)
{
    uint64_t rows, slices, span, end;

    if (!vgpu_mul_u64(side->pitch, box->height - 1, &rows) ||
        !vgpu_mul_u64(side->slice, box->depth - 1, &slices) || !vgpu_add_u64(rows, slices, &span) ||
        !vgpu_add_u64(span, box->width, &span) || !vgpu_add_u64(side->address, span, &end))
        return false;
    *ret_span = span;
    return true;
}

static bool side_resolve(struct side *side, const struct box *box)
{
    uint64_t span;

    return side_span(side, box, &span) &&
           memory_resolve(side->address, span, &side->host, &side->place) &&
           (side->place != MEMORY_AT_HOST || (!side->must_be_device && side->address));
}

static void copy_rows(const struct box *box)
{
    for (size_t z = 0; z < box->depth; z++) {
        uint8_t *dst = (uint8_t *)box->dst.host + z * box->dst.slice;
        const uint8_t *src = (const uint8_t *)box->src.host + z * box->src.slice;

        for (size_t y = 0; y < box->height; y++)
            memmove(dst + y * box->dst.pitch, src + y * box->src.pitch, box->width);
    }
}

static CUresult copy_run(struct op *op, struct context *context, CUresult status)
{
    (void)context;
    (void)status;
    copy_rows(&((struct copy *)op)->box);
    return CUDA_SUCCESS;
}

static void copy_free(struct op *op)
{
    struct copy *copy = (struct copy *)op;

    free(copy->stage);
    free(copy);
}

/* Reads the source now. Its rows lie packed in the stage. */
static bool stage(struct copy *copy)
{
    struct box box = copy->box;
    size_t size = box.width * box.height * box.depth;

    copy->stage = malloc(size);
    if (!copy->stage)
        return false;
    box.dst.host = copy->stage;
    box.dst.pitch = box.width;
    box.dst.slice = box.width * box.height;
    copy_rows(&box);
    copy->box.src = box.dst;
    return true;
}

/* Queues a copy that has been checked. */
static CUresult submit(struct stream *stream, const struct box *box, bool asynchronous)
{
    struct copy *copy = calloc(1, sizeof(*copy));
    bool wait =
        !asynchronous && (box->src.place != MEMORY_AT_DEVICE || box->dst.place != MEMORY_AT_DEVICE);

    if (!copy)
        return CUDA_ERROR_OUT_OF_MEMORY;
    copy->op.run = copy_run;
    copy->op.free = copy_free;
    copy->box = *box;
    if (box->dst.place == MEMORY_AT_HOST)
        wait = true;
    if (!wait && box->src.place == MEMORY_AT_HOST)
        wait = box->width * box->height * box->depth > STAGE_MAX_BYTES || !stage(copy);
    if (!wait)
        return stream_submit(stream, &copy->op);
    return stream_submit_wait(stream, &copy->op);
}

static CUresult copy(struct box *box, CUstream handle, bool asynchronous)
{
    _scope_ struct scope scope = scope_context();
    struct stream *stream;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    result = stream_resolve(scope.context, handle, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    if (box->width == 0 || box->height == 0 || box->depth == 0)
        return CUDA_SUCCESS;
    if (!side_resolve(&box->dst, box) || !side_resolve(&box->src, box))
        return CUDA_ERROR_INVALID_VALUE;
    result = submit(stream, box, asynchronous);
    if (!asynchronous)
        context_flush(scope.context);
    return result;
}

static CUresult copy_1d(uint64_t dst, bool dst_device, uint64_t src, bool src_device, size_t size,
                        CUstream handle, bool asynchronous)
{
    CAPTURED(asynchronous
                 ? capture_bytes(dst_device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_UNIFIED, dst,
                                 src_device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_UNIFIED, src,
                                 size, handle)
                 : capture_refuse_stream(handle));
    struct box box = {
        .dst = {.address = dst, .must_be_device = dst_device},
        .src = {.address = src, .must_be_device = src_device},
        .width = size,
        .height = 1,
        .depth = 1,
    };
    return copy(&box, handle, asynchronous);
}

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount)
{
    return copy_1d(dst, false, src, false, ByteCount, NULL, false);
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount)
{
    return copy_1d(dstDevice, true, (uintptr_t)srcHost, false, ByteCount, NULL, false);
}

CUresult cuMemcpyDtoH_v2(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount)
{
    return copy_1d((uintptr_t)dstHost, false, srcDevice, true, ByteCount, NULL, false);
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount)
{
    return copy_1d(dstDevice, true, srcDevice, true, ByteCount, NULL, false);
}

CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream)
{
    return copy_1d(dst, false, src, false, ByteCount, hStream, true);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount,
                              CUstream hStream)
{
    return copy_1d(dstDevice, true, (uintptr_t)srcHost, false, ByteCount, hStream, true);
}

CUresult cuMemcpyDtoHAsync_v2(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount,
                              CUstream hStream)
{
    return copy_1d((uintptr_t)dstHost, false, srcDevice, true, ByteCount, hStream, true);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount,
                              CUstream hStream)
{
    return copy_1d(dstDevice, true, srcDevice, true, ByteCount, hStream, true);
}

/* The offsets of a side in a 2D or 3D copy. */
struct origin {
    CUmemorytype type;
    const void *host;
    CUdeviceptr device;
    size_t x, y, z, pitch, rows;
};

static CUresult side_from(const struct origin *origin, const struct box *box, struct side *ret)
{
    uint64_t row_end, rows_end, pitch, rows, slice, offset_y, offset_z, address;

    switch (origin->type) {
    case CU_MEMORYTYPE_HOST:
        ret->address = (uintptr_t)origin->host;
        break;
    case CU_MEMORYTYPE_DEVICE:
        ret->address = origin->device;
        ret->must_be_device = true;
        break;
    case CU_MEMORYTYPE_UNIFIED:
        ret->address = origin->device;
        break;
    default: /* there are no arrays */
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!vgpu_add_u64(origin->x, box->width, &row_end) ||
        !vgpu_add_u64(origin->y, box->height, &rows_end))
        return CUDA_ERROR_INVALID_VALUE;
    pitch = origin->pitch ? origin->pitch : row_end; /* 0: packed */
    rows = origin->rows ? origin->rows : rows_end;
    if (pitch > LIMIT_PITCH_BYTES || row_end > pitch || rows_end > rows ||
        !vgpu_mul_u64(pitch, rows, &slice))
        return CUDA_ERROR_INVALID_VALUE;
    if (!vgpu_mul_u64(pitch, origin->y, &offset_y) || !vgpu_mul_u64(slice, origin->z, &offset_z) ||
        !vgpu_add_u64(ret->address, origin->x, &address) ||
        !vgpu_add_u64(address, offset_y, &address) || !vgpu_add_u64(address, offset_z, &address))
        return CUDA_ERROR_INVALID_VALUE;
    ret->address = address;
    ret->pitch = pitch;
    ret->slice = slice;
    return CUDA_SUCCESS;
}

static CUresult copy_between(const struct origin *dst, const struct origin *src, struct box *box,
                             CUstream handle, bool asynchronous)
{
    CUresult result;

    if (box->width == 0 || box->height == 0 || box->depth == 0)
        return copy(box, handle, asynchronous);
    result = side_from(dst, box, &box->dst);
    if (result == CUDA_SUCCESS)
        result = side_from(src, box, &box->src);
    if (result != CUDA_SUCCESS) {
        _scope_ struct scope scope = scope_context(); /* its errors come first */

        return scope.result != CUDA_SUCCESS ? scope.result : result;
    }
    return copy(box, handle, asynchronous);
}

static CUresult copy_2d(const CUDA_MEMCPY2D *c, CUstream handle, bool asynchronous)
{
    CAPTURED(asynchronous ? capture_rows(c, handle) : capture_refuse_stream(handle));
    struct box box = {.depth = 1};
    struct origin dst, src;

    if (!c)
        return CUDA_ERROR_INVALID_VALUE;
    box.width = c->WidthInBytes;
    box.height = c->Height;
    dst = (struct origin){c->dstMemoryType, c->dstHost, c->dstDevice, c->dstXInBytes,
                          c->dstY,          0,          c->dstPitch,  0};
    src = (struct origin){c->srcMemoryType, c->srcHost, c->srcDevice, c->srcXInBytes,
                          c->srcY,          0,          c->srcPitch,  0};
    return copy_between(&dst, &src, &box, handle, asynchronous);
}

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *pCopy)
{
    return copy_2d(pCopy, NULL, false);
}

CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *pCopy)
{
    return copy_2d(pCopy, NULL, false);
}

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *pCopy, CUstream hStream)
{
    return copy_2d(pCopy, hStream, true);
}

static CUresult copy_3d(const CUDA_MEMCPY3D *c, CUstream handle, bool asynchronous)
{
    CAPTURED(asynchronous ? capture_copy(c, handle) : capture_refuse_stream(handle));
    struct origin dst, src;
    struct box box = {0};

    if (!c || c->srcLOD != 0 || c->dstLOD != 0)
        return CUDA_ERROR_INVALID_VALUE;
    box.width = c->WidthInBytes;
    box.height = c->Height;
    box.depth = c->Depth;
    dst = (struct origin){c->dstMemoryType, c->dstHost, c->dstDevice, c->dstXInBytes,
                          c->dstY,          c->dstZ,    c->dstPitch,  c->dstHeight};
    src = (struct origin){c->srcMemoryType, c->srcHost, c->srcDevice, c->srcXInBytes,
                          c->srcY,          c->srcZ,    c->srcPitch,  c->srcHeight};
    return copy_between(&dst, &src, &box, handle, asynchronous);
}

CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D *pCopy)
{
    return copy_3d(pCopy, NULL, false);
}

CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *pCopy, CUstream hStream)
{
    return copy_3d(pCopy, hStream, true);
}
