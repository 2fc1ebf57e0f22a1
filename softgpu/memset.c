/* SPDX-License-Identifier: Apache-2.0 */
/* Every cuMemset*, and single writes: checked at once, run in the stream. */
#include <stdlib.h>
#include <string.h>

#include "common/overflow.h"
#include "cuda/capture.h"
#include "softgpu/context.h"
#include "softgpu/memory.h"
#include "softgpu/stream.h"

struct fill {
    uint64_t value;
    uint32_t unit_bytes; /* 1, 2 or 4; 8: a single write */
    uint64_t address;
    uint64_t pitch;
    uint64_t width; /* units in a row */
    uint64_t height;
};

struct fill_op {
    struct op op;
    struct fill fill;
    uint8_t *host;
};

static void fill_row(uint8_t *row, const struct fill *fill)
{
    uint32_t *row32 = (uint32_t *)(void *)row;
    uint16_t *row16 = (uint16_t *)(void *)row;
    uint64_t *row64 = (uint64_t *)(void *)row;

    switch (fill->unit_bytes) {
    case 1:
        memset(row, (int)fill->value, fill->width);
        break;
    case 2:
        for (uint64_t i = 0; i < fill->width; i++)
            row16[i] = (uint16_t)fill->value;
        break;
    case 8:
        row64[0] = fill->value;
        break;
    default:
        for (uint64_t i = 0; i < fill->width; i++)
            row32[i] = (uint32_t)fill->value;
    }
}

static CUresult fill_run(struct op *op, struct context *context, CUresult status)
{
    struct fill_op *fill_op = (struct fill_op *)op;

    (void)context;
    (void)status;
    for (uint64_t y = 0; y < fill_op->fill.height; y++)
        fill_row(fill_op->host + y * fill_op->fill.pitch, &fill_op->fill);
    return CUDA_SUCCESS;
}

static void fill_free(struct op *op)
{
    free(op);
}

static bool valid(const struct fill *fill, uint64_t *ret_span)
{
    uint64_t row, rows;

    return fill->address % fill->unit_bytes == 0 &&
           vgpu_mul_u64(fill->width, fill->unit_bytes, &row) &&
           (fill->height == 1 || (fill->pitch >= row && fill->pitch % fill->unit_bytes == 0)) &&
           vgpu_mul_u64(fill->pitch, fill->height - 1, &rows) && vgpu_add_u64(rows, row, ret_span);
}

static CUresult fill(const struct fill *fill, CUstream handle, bool asynchronous)
{
    CAPTURED(capture_fill(&(CUDA_MEMSET_NODE_PARAMS){fill->address, fill->pitch,
                                                     (unsigned int)fill->value, fill->unit_bytes,
                                                     fill->width, fill->height},
                          handle));
    _scope_ struct scope scope = scope_context();
    struct fill_op *op;
    struct stream *stream;
    enum memory_place place;
    uint64_t span;
    CUresult result;
    void *host;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    result = stream_resolve(scope.context, handle, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    if (fill->width == 0 || fill->height == 0)
        return CUDA_SUCCESS;
    if (!valid(fill, &span) || !memory_resolve(fill->address, span, &host, &place) ||
        place == MEMORY_AT_HOST)
        return CUDA_ERROR_INVALID_VALUE;
    op = calloc(1, sizeof(*op));
    if (!op)
        return CUDA_ERROR_OUT_OF_MEMORY;
    op->op.run = fill_run;
    op->op.free = fill_free;
    op->fill = *fill;
    op->host = host;
    if (asynchronous || place == MEMORY_AT_DEVICE)
        return stream_submit(stream, &op->op);
    return stream_submit_wait(stream, &op->op);
}

static CUresult fill_1d(uint64_t address, uint32_t value, uint32_t unit_bytes, size_t n,
                        CUstream handle, bool asynchronous)
{
    return fill(&(struct fill){value, unit_bytes, address, 0, n, 1}, handle, asynchronous);
}

CUresult cuMemsetD8_v2(CUdeviceptr dstDevice, unsigned char uc, size_t N)
{
    return fill_1d(dstDevice, uc, 1, N, NULL, false);
}

CUresult cuMemsetD16_v2(CUdeviceptr dstDevice, unsigned short us, size_t N)
{
    return fill_1d(dstDevice, us, 2, N, NULL, false);
}

CUresult cuMemsetD32_v2(CUdeviceptr dstDevice, unsigned int ui, size_t N)
{
    return fill_1d(dstDevice, ui, 4, N, NULL, false);
}

CUresult cuMemsetD8Async(CUdeviceptr dstDevice, unsigned char uc, size_t N, CUstream hStream)
{
    return fill_1d(dstDevice, uc, 1, N, hStream, true);
}

CUresult cuMemsetD16Async(CUdeviceptr dstDevice, unsigned short us, size_t N, CUstream hStream)
{
    return fill_1d(dstDevice, us, 2, N, hStream, true);
}

CUresult cuMemsetD32Async(CUdeviceptr dstDevice, unsigned int ui, size_t N, CUstream hStream)
{
    return fill_1d(dstDevice, ui, 4, N, hStream, true);
}

CUresult cuMemsetD2D8_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width,
                         size_t Height)
{
    return fill(&(struct fill){uc, 1, dstDevice, dstPitch, Width, Height}, NULL, false);
}

CUresult cuMemsetD2D16_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width,
                          size_t Height)
{
    return fill(&(struct fill){us, 2, dstDevice, dstPitch, Width, Height}, NULL, false);
}

CUresult cuMemsetD2D32_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width,
                          size_t Height)
{
    return fill(&(struct fill){ui, 4, dstDevice, dstPitch, Width, Height}, NULL, false);
}

CUresult cuMemsetD2D8Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width,
                           size_t Height, CUstream hStream)
{
    return fill(&(struct fill){uc, 1, dstDevice, dstPitch, Width, Height}, hStream, true);
}

CUresult cuMemsetD2D16Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width,
                            size_t Height, CUstream hStream)
{
    return fill(&(struct fill){us, 2, dstDevice, dstPitch, Width, Height}, hStream, true);
}

CUresult cuMemsetD2D32Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width,
                            size_t Height, CUstream hStream)
{
    return fill(&(struct fill){ui, 4, dstDevice, dstPitch, Width, Height}, hStream, true);
}

static CUresult write_value(CUstream stream, CUdeviceptr address, uint64_t value, uint32_t bytes,
                            unsigned int flags)
{
    CAPTURED(capture_refuse_stream(stream));
    if (flags & ~(unsigned)CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER)
        return CUDA_ERROR_INVALID_VALUE;
    return fill(&(struct fill){value, bytes, address, 0, 1, 1}, stream, true);
}

CUresult cuStreamWriteValue32_v2(CUstream stream, CUdeviceptr addr, cuuint32_t value,
                                 unsigned int flags)
{
    return write_value(stream, addr, value, 4, flags);
}

CUresult cuStreamWriteValue64_v2(CUstream stream, CUdeviceptr addr, cuuint64_t value,
                                 unsigned int flags)
{
    return write_value(stream, addr, value, 8, flags);
}
