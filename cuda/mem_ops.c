/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver API: batches of memory operations, made of its single writes; part of every library
 * that implements it. Waits are refused, and before anything of the batch is done: a stream behind
 * a wait on memory may never drain.
 */
#include <stdbool.h>

#include "cuda/capture.h"
#include "cuda/cuda_api.h"
#include "cuda/exports.h"

#define MAX_OPS 256u

static CUresult check(const CUstreamBatchMemOpParams *op)
{
    switch (op->operation) {
    case CU_STREAM_MEM_OP_WRITE_VALUE_32:
    case CU_STREAM_MEM_OP_WRITE_VALUE_64:
        return op->writeValue.flags & ~(unsigned)CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER
                   ? CUDA_ERROR_INVALID_VALUE
                   : CUDA_SUCCESS;
    case CU_STREAM_MEM_OP_BARRIER:
        return op->memoryBarrier.flags > CU_STREAM_MEMORY_BARRIER_TYPE_GPU
                   ? CUDA_ERROR_INVALID_VALUE
                   : CUDA_SUCCESS;
    case CU_STREAM_MEM_OP_WAIT_VALUE_32:
    case CU_STREAM_MEM_OP_WAIT_VALUE_64:
    case CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES:
        return cuda_unsupported("cuStreamBatchMemOp with a wait or a flush of remote writes");
    }
    return CUDA_ERROR_INVALID_VALUE;
}

/* A barrier orders the writes that follow it: the next one carries it. */
static CUresult write(CUstream stream, const CUstreamBatchMemOpParams *op, bool after_barrier)
{
    unsigned int flags = after_barrier ? CU_STREAM_WRITE_VALUE_DEFAULT : op->writeValue.flags;

    if (op->operation == CU_STREAM_MEM_OP_WRITE_VALUE_32)
        return cuStreamWriteValue32_v2(stream, op->writeValue.address, op->writeValue.value, flags);
    return cuStreamWriteValue64_v2(stream, op->writeValue.address, op->writeValue.value64, flags);
}

CUresult cuStreamBatchMemOp_v2(CUstream stream, unsigned int count,
                               CUstreamBatchMemOpParams *paramArray, unsigned int flags)
{
    CAPTURED(capture_refuse_stream(stream));
    unsigned int stream_flags;
    bool after_barrier = false;
    CUresult result = cuStreamGetFlags(stream, &stream_flags);

    if (result != CUDA_SUCCESS)
        return result;
    if (count > MAX_OPS || (count > 0 && !paramArray) || flags)
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned int i = 0; i < count && result == CUDA_SUCCESS; i++)
        result = check(&paramArray[i]);
    for (unsigned int i = 0; i < count && result == CUDA_SUCCESS; i++) {
        bool barrier = paramArray[i].operation == CU_STREAM_MEM_OP_BARRIER;

        if (!barrier)
            result = write(stream, &paramArray[i], after_barrier);
        after_barrier = barrier;
    }
    return result;
}
