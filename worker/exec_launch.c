/* SPDX-License-Identifier: Apache-2.0 */
/* Executions: launches, and what the driver says of launches in clusters. */
#include <string.h>

#include "cuda/launch_attributes.h"
#include "worker/channel.h"

/* What a kernel counts for in flight until it was measured. */
#define UNMEASURED_NS VGPU_NS_PER_MS

/* What a record asks for, with its attributes checked. */
struct request {
    CUlaunchConfig config;
    CUfunction function;
    const void *params;
    size_t params_bytes;
    struct vgpu_launch_attributes attributes;
};

static CUresult hand_over(const struct cuda_driver *cu, struct request *request)
{
    CUlaunchConfig *config = &request->config;
    CUlaunchAttribute attributes[LAUNCH_MAX_ATTRIBUTES];
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, (void *)(uintptr_t)request->params,
                     CU_LAUNCH_PARAM_BUFFER_SIZE, &request->params_bytes, CU_LAUNCH_PARAM_END};

    if (!request->attributes.given)
        return cu->cuLaunchKernel(request->function, config->gridDimX, config->gridDimY,
                                  config->gridDimZ, config->blockDimX, config->blockDimY,
                                  config->blockDimZ, config->sharedMemBytes, config->hStream, NULL,
                                  extra);
    config->attrs = attributes;
    config->numAttrs = launch_attributes_write(&request->attributes, attributes);
    return cu->cuLaunchKernelEx(config, request->function, NULL, extra);
}

static CUresult launch(struct channel *channel, struct item *item, struct request *request)
{
    struct function *function = item->function;
    CUresult result;

    if (function->module->context != item->context)
        return CUDA_ERROR_INVALID_HANDLE;
    /* The driver reads as much as the function takes. */
    if (function->params_known && request->params_bytes != function->param_bytes)
        return CUDA_ERROR_INVALID_VALUE;
    request->config.hStream = item->stream->cu;
    stages_note(&channel->stages, &channel->stages.sum.issue_ns);
    result = hand_over(channel->cu, request);
    stages_note(&channel->stages, &channel->stages.sum.driver_ns);
    if (result != CUDA_SUCCESS)
        return result;
    item->batched = true;
    stream_add_unit(channel, item->stream, function, 0,
                    function->estimate_ns ? function->estimate_ns : UNMEASURED_NS, item);
    return CUDA_SUCCESS;
}

/* From any record that has a launch's fields. */
#define REQUEST(in)                                                                                \
    {                                                                                              \
        .config = {.gridDimX = (in)->grid_x,                                                       \
                   .gridDimY = (in)->grid_y,                                                       \
                   .gridDimZ = (in)->grid_z,                                                       \
                   .blockDimX = (in)->block_x,                                                     \
                   .blockDimY = (in)->block_y,                                                     \
                   .blockDimZ = (in)->block_z,                                                     \
                   .sharedMemBytes = (in)->shared_bytes},                                          \
        .function = (in)->function                                                                 \
    }

CUresult exec_launch(struct channel *channel, const struct cuda_call *call,
                     const struct cuda_in_launch *in)
{
    struct request request = REQUEST(in);

    request.params = in->params;
    request.params_bytes = in->params_bytes;
    if (in->cooperative) {
        request.attributes.given |= VGPU_LAUNCH_COOPERATIVE;
        request.attributes.cooperative = 1;
    }
    if (in->priority) {
        request.attributes.given |= VGPU_LAUNCH_PRIORITY;
        request.attributes.priority = in->priority;
    }
    return launch(channel, item_of(call), &request);
}

/* False if the guest's bytes are no attributes; nothing was done then. */
static bool take_attributes(struct channel *channel, const char *op, const void *bytes, size_t size,
                            struct vgpu_launch_attributes *ret)
{
    if (size == sizeof(*ret)) {
        memcpy(ret, bytes, sizeof(*ret));
        if (launch_attributes_valid(ret))
            return true;
    }
    border_malformed(channel, op, "attributes");
    return false;
}

CUresult exec_launch_ex(struct channel *channel, const struct cuda_call *call,
                        const struct cuda_in_launch_ex *in)
{
    struct request request = REQUEST(in);

    request.params = in->params;
    request.params_bytes = in->params_bytes;
    if (!take_attributes(channel, "launch_ex", in->attributes, in->attributes_bytes,
                         &request.attributes))
        return CUDA_ERROR_INVALID_VALUE;
    return launch(channel, item_of(call), &request);
}

CUresult exec_occupancy_clusters(struct channel *channel, const struct cuda_call *call,
                                 const struct cuda_in_occupancy_clusters *in,
                                 struct cuda_out_occupancy_clusters *out)
{
    struct request request = REQUEST(in);
    CUlaunchAttribute attributes[LAUNCH_MAX_ATTRIBUTES];

    if (!take_attributes(channel, "occupancy_clusters", in->attributes, in->attributes_bytes,
                         &request.attributes))
        return CUDA_ERROR_INVALID_VALUE;
    request.config.attrs = attributes;
    request.config.numAttrs = launch_attributes_write(&request.attributes, attributes);
    if (in->largest)
        return channel->cu->cuOccupancyMaxPotentialClusterSize(&out->clusters, in->function,
                                                               &request.config);
    return channel->cu->cuOccupancyMaxActiveClusters(&out->clusters, in->function, &request.config);
}
