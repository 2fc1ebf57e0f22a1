/* SPDX-License-Identifier: Apache-2.0 */
/* Executions: launches. */
#include <string.h>

#include "worker/channel.h"

/* What a kernel counts for in flight until it was measured. */
#define UNMEASURED_NS VGPU_NS_PER_MS

static CUresult launch_with_attributes(struct channel *channel, const struct cuda_in_launch *in,
                                       CUstream stream, void **extra)
{
    CUlaunchAttribute attributes[2];
    CUlaunchConfig config = {.gridDimX = in->grid_x,
                             .gridDimY = in->grid_y,
                             .gridDimZ = in->grid_z,
                             .blockDimX = in->block_x,
                             .blockDimY = in->block_y,
                             .blockDimZ = in->block_z,
                             .sharedMemBytes = in->shared_bytes,
                             .hStream = stream,
                             .attrs = attributes};

    memset(attributes, 0, sizeof(attributes));
    if (in->cooperative) {
        attributes[config.numAttrs].id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
        attributes[config.numAttrs++].value.cooperative = 1;
    }
    if (in->priority) {
        attributes[config.numAttrs].id = CU_LAUNCH_ATTRIBUTE_PRIORITY;
        attributes[config.numAttrs++].value.priority = in->priority;
    }
    return channel->cu->cuLaunchKernelEx(&config, in->function, NULL, extra);
}

CUresult exec_launch(struct channel *channel, const struct cuda_call *call,
                     const struct cuda_in_launch *in)
{
    struct item *item = item_of(call);
    struct function *function = item->function;
    size_t bytes = in->params_bytes;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, (void *)(uintptr_t)in->params,
                     CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
    CUstream stream = item->stream->cu;
    CUresult result;

    if (function->module->context != item->context)
        return CUDA_ERROR_INVALID_HANDLE;
    /* The driver reads as much as the function takes. */
    if (function->params_known && bytes != function->param_bytes)
        return CUDA_ERROR_INVALID_VALUE;
    stages_note(&channel->stages, &channel->stages.sum.issue_ns);
    if (in->cooperative || in->priority)
        result = launch_with_attributes(channel, in, stream, extra);
    else
        result = channel->cu->cuLaunchKernel(in->function, in->grid_x, in->grid_y, in->grid_z,
                                             in->block_x, in->block_y, in->block_z,
                                             in->shared_bytes, stream, NULL, extra);
    stages_note(&channel->stages, &channel->stages.sum.driver_ns);
    if (result != CUDA_SUCCESS)
        return result;
    item->batched = true;
    stream_add_unit(channel, item->stream, function, 0,
                    function->estimate_ns ? function->estimate_ns : UNMEASURED_NS, true);
    return CUDA_SUCCESS;
}
