/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver API: memset, and single writes in a stream. All variants are one record, and
 * asynchronous to the host as in CUDA: but memsets without a stream wait when they set page-locked
 * or managed memory, which the program reads.
 */
#include "cuda/capture.h"
#include "cuda/cuda_api.h"
#include "cuda/cuda_send.h"
#include "cuda/extent.h"
#include "guest/libvgpu/lookup.h"

enum when { ANY_TIME, DONE_IF_HOST };

static CUresult fill(CUdeviceptr target, size_t pitch, uint32_t element_bytes, uint32_t value,
                     size_t width, size_t height, CUstream stream, enum when when)
{
    CAPTURED(capture_fill(
        &(CUDA_MEMSET_NODE_PARAMS){target, pitch, value, element_bytes, width, height}, stream));
    struct guest_thread *thread;
    struct cuda_args_fill args = {
        .target = target,
        .pitch_bytes = pitch,
        .width = width,
        .height = height,
        .element_bytes = element_bytes,
        .value = value,
    };
    CUresult result = guest_enter_context(&thread);
    enum range_what what;
    uint16_t flags = 0;

    if (result == CUDA_SUCCESS)
        result = lookup_stream(thread, stream, &args.stream);
    if (result != CUDA_SUCCESS || width == 0 || height == 0)
        return result;
    if (target % element_bytes || (height > 1 && pitch % element_bytes))
        return CUDA_ERROR_INVALID_VALUE;
    if (height == 1)
        args.pitch_bytes = cuda_saturated_mul(width, element_bytes);
    result = lookup_device_range(
        target, cuda_extent_2d(args.pitch_bytes, width, element_bytes, height), &what);
    if (result != CUDA_SUCCESS)
        return result;
    if (when == DONE_IF_HOST && what == RANGE_HOST_VIEW)
        flags = VGPU_RECORD_WAIT;
    return cuda_send_fill(guest_sender(), flags, &args);
}

CUresult cuMemsetD8_v2(CUdeviceptr dstDevice, unsigned char uc, size_t N)
{
    return fill(dstDevice, 0, 1, uc, N, 1, NULL, DONE_IF_HOST);
}

CUresult cuMemsetD16_v2(CUdeviceptr dstDevice, unsigned short us, size_t N)
{
    return fill(dstDevice, 0, 2, us, N, 1, NULL, DONE_IF_HOST);
}

CUresult cuMemsetD32_v2(CUdeviceptr dstDevice, unsigned int ui, size_t N)
{
    return fill(dstDevice, 0, 4, ui, N, 1, NULL, DONE_IF_HOST);
}

CUresult cuMemsetD2D8_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width,
                         size_t Height)
{
    return fill(dstDevice, dstPitch, 1, uc, Width, Height, NULL, DONE_IF_HOST);
}

CUresult cuMemsetD2D16_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width,
                          size_t Height)
{
    return fill(dstDevice, dstPitch, 2, us, Width, Height, NULL, DONE_IF_HOST);
}

CUresult cuMemsetD2D32_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width,
                          size_t Height)
{
    return fill(dstDevice, dstPitch, 4, ui, Width, Height, NULL, DONE_IF_HOST);
}

CUresult cuMemsetD8Async(CUdeviceptr dstDevice, unsigned char uc, size_t N, CUstream hStream)
{
    return fill(dstDevice, 0, 1, uc, N, 1, hStream, ANY_TIME);
}

CUresult cuMemsetD16Async(CUdeviceptr dstDevice, unsigned short us, size_t N, CUstream hStream)
{
    return fill(dstDevice, 0, 2, us, N, 1, hStream, ANY_TIME);
}

CUresult cuMemsetD32Async(CUdeviceptr dstDevice, unsigned int ui, size_t N, CUstream hStream)
{
    return fill(dstDevice, 0, 4, ui, N, 1, hStream, ANY_TIME);
}

CUresult cuMemsetD2D8Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width,
                           size_t Height, CUstream hStream)
{
    return fill(dstDevice, dstPitch, 1, uc, Width, Height, hStream, ANY_TIME);
}

CUresult cuMemsetD2D16Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width,
                            size_t Height, CUstream hStream)
{
    return fill(dstDevice, dstPitch, 2, us, Width, Height, hStream, ANY_TIME);
}

CUresult cuMemsetD2D32Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width,
                            size_t Height, CUstream hStream)
{
    return fill(dstDevice, dstPitch, 4, ui, Width, Height, hStream, ANY_TIME);
}

/* NO_MEMORY_BARRIER permits what need not be: not every driver takes it. */
static CUresult write_value(CUstream stream, CUdeviceptr address, uint64_t value, uint32_t bytes,
                            unsigned int flags)
{
    CAPTURED(capture_refuse_stream(stream));
    struct guest_thread *thread;
    struct cuda_args_stream_write_value args = {.address = address, .value = value, .bytes = bytes};
    CUresult result = guest_enter_context(&thread);

    if (result == CUDA_SUCCESS)
        result = lookup_stream(thread, stream, &args.stream);
    if (result != CUDA_SUCCESS)
        return result;
    if ((flags & ~(unsigned)CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER) || address % bytes)
        return CUDA_ERROR_INVALID_VALUE;
    result = lookup_device_range(address, bytes, NULL);
    return result == CUDA_SUCCESS ? cuda_send_stream_write_value(guest_sender(), 0, &args) : result;
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
