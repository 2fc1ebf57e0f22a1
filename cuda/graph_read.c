/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what a program passes to struct graph_params, and back to the calls that a node stands for;
 * see graph_api.h. Functions are asked for their parameters through the driver API itself.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_api.h"
#include "cuda/exports.h"
#include "cuda/graph_api.h"
#include "cuda/launch_extra.h"
#include "cuda/library.h"

/* The function's parameters: their number, and the size of all. */
static CUresult measure(CUfunction function, uint32_t *ret_count, uint32_t *ret_bytes)
{
    size_t offset, size, bytes = 0;
    uint32_t count = 0;
    CUresult result;

    while ((result = cuFuncGetParamInfo(function, count, &offset, &size)) == CUDA_SUCCESS) {
        if (count == VGPU_FUNCTION_MAX_PARAMS || offset > VGPU_LAUNCH_PARAM_BYTES ||
            size > VGPU_LAUNCH_PARAM_BYTES - offset)
            return CUDA_ERROR_NOT_SUPPORTED;
        if (offset + size > bytes)
            bytes = offset + size;
        count++;
    }
    if (result != CUDA_ERROR_INVALID_VALUE)
        return result;
    *ret_count = count;
    *ret_bytes = (uint32_t)bytes;
    return CUDA_SUCCESS;
}

static CUresult fill_params(struct graph_kernel *kernel, void **params, void **extra)
{
    const void *buffer;
    size_t offset, size;
    CUresult result;

    for (uint32_t i = 0; i < kernel->params_count; i++) {
        result = cuFuncGetParamInfo(kernel->function, i, &offset, &size);
        if (result != CUDA_SUCCESS)
            return result;
        kernel->pointers[i] = kernel->params + offset;
        if (params && !params[i])
            return CUDA_ERROR_INVALID_VALUE;
        if (params)
            memcpy(kernel->pointers[i], params[i], size);
    }
    if (params || !extra)
        return CUDA_SUCCESS;
    result = launch_extra_read(extra, &buffer, &size);
    if (result == CUDA_SUCCESS &&
        (size > kernel->params_bytes || (size == 0 && kernel->params_bytes > 0)))
        return CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS && size > 0)
        memcpy(kernel->params, buffer, size);
    return result;
}

/* What a launch would refuse whatever the device; the rest is refused at instantiation. */
static CUresult check_shape(const struct graph_kernel *kernel)
{
    uint64_t threads = (uint64_t)kernel->block[0] * kernel->block[1] * kernel->block[2];
    int most;
    CUresult result;

    for (int i = 0; i < 3; i++)
        if (kernel->grid[i] == 0 || kernel->block[i] == 0)
            return CUDA_ERROR_INVALID_VALUE;
    result = cuFuncGetAttribute(&most, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, kernel->function);
    if (result != CUDA_SUCCESS)
        return result;
    if (kernel->block[0] > 1024 || kernel->block[1] > 1024 || threads > (uint64_t)most)
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

/* A kernel of a library is the function that it stands for now. */
static CUresult function_of(const CUDA_KERNEL_NODE_PARAMS *from, CUfunction *ret)
{
    if (!from->func && from->kern)
        return library_function(from->kern, ret);
    *ret = from->func;
    return CUDA_SUCCESS;
}

CUresult graph_read_kernel(CUcontext context, const CUDA_KERNEL_NODE_PARAMS *from,
                           struct graph_params *ret)
{
    struct graph_kernel kernel;
    CUresult result;

    if (!from || (from->kernelParams && from->extra))
        return CUDA_ERROR_INVALID_VALUE;
    kernel = (struct graph_kernel){
        .grid = {from->gridDimX, from->gridDimY, from->gridDimZ},
        .block = {from->blockDimX, from->blockDimY, from->blockDimZ},
        .shared_bytes = from->sharedMemBytes,
    };
    result = function_of(from, &kernel.function);
    if (result == CUDA_SUCCESS)
        result = measure(kernel.function, &kernel.params_count, &kernel.params_bytes);
    if (result == CUDA_SUCCESS)
        result = check_shape(&kernel);
    if (result == CUDA_SUCCESS && kernel.params_count > 0 && !from->kernelParams && !from->extra)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS)
        return result;
    kernel.params = calloc(1, kernel.params_bytes + 1u);
    kernel.pointers = calloc(kernel.params_count + 1u, sizeof(void *));
    result = kernel.params && kernel.pointers
                 ? fill_params(&kernel, from->kernelParams, from->extra)
                 : CUDA_ERROR_OUT_OF_MEMORY;
    *ret = (struct graph_params){.type = CU_GRAPH_NODE_TYPE_KERNEL,
                                 .context = from->ctx ? from->ctx : context,
                                 .kernel = kernel};
    if (result != CUDA_SUCCESS)
        graph_params_release(ret);
    return result;
}

static bool fits(size_t offset, size_t size, size_t all)
{
    return size <= all && offset <= all - size;
}

/* A side may leave pitch and height out where only one row, or one slice, is copied. */
static CUresult check_side(CUmemorytype type, size_t x, size_t y, size_t pitch, size_t height,
                           const CUDA_MEMCPY3D *copy)
{
    if (type == CU_MEMORYTYPE_ARRAY)
        return cuda_unsupported("a graph's copy of a CUDA array");
    if (type != CU_MEMORYTYPE_HOST && type != CU_MEMORYTYPE_DEVICE && type != CU_MEMORYTYPE_UNIFIED)
        return CUDA_ERROR_INVALID_VALUE;
    if ((pitch || copy->Height > 1 || copy->Depth > 1) && !fits(x, copy->WidthInBytes, pitch))
        return CUDA_ERROR_INVALID_VALUE;
    if ((height || copy->Depth > 1) && !fits(y, copy->Height, height))
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

CUresult graph_read_copy(CUcontext context, const CUDA_MEMCPY3D *from, struct graph_params *ret)
{
    CUresult result;

    if (!from || from->WidthInBytes == 0 || from->Height == 0 || from->Depth == 0 || from->srcLOD ||
        from->dstLOD || from->reserved0 || from->reserved1)
        return CUDA_ERROR_INVALID_VALUE;
    result = check_side(from->srcMemoryType, from->srcXInBytes, from->srcY, from->srcPitch,
                        from->srcHeight, from);
    if (result == CUDA_SUCCESS)
        result = check_side(from->dstMemoryType, from->dstXInBytes, from->dstY, from->dstPitch,
                            from->dstHeight, from);
    if (result == CUDA_SUCCESS)
        *ret = (struct graph_params){
            .type = CU_GRAPH_NODE_TYPE_MEMCPY, .context = context, .copy = *from};
    return result;
}

CUresult graph_read_fill(CUcontext context, const CUDA_MEMSET_NODE_PARAMS *from,
                         struct graph_params *ret)
{
    size_t row;

    if (!from || !from->dst || from->width == 0 || from->height == 0 ||
        (from->elementSize != 1 && from->elementSize != 2 && from->elementSize != 4) ||
        from->dst % from->elementSize)
        return CUDA_ERROR_INVALID_VALUE;
    if (__builtin_mul_overflow(from->width, (size_t)from->elementSize, &row) ||
        (from->height > 1 && (from->pitch < row || from->pitch % from->elementSize)))
        return CUDA_ERROR_INVALID_VALUE;
    *ret =
        (struct graph_params){.type = CU_GRAPH_NODE_TYPE_MEMSET, .context = context, .fill = *from};
    return CUDA_SUCCESS;
}

CUresult graph_read_host(CUcontext context, const CUDA_HOST_NODE_PARAMS *from,
                         struct graph_params *ret)
{
    if (!from || !from->fn)
        return CUDA_ERROR_INVALID_VALUE;
    *ret =
        (struct graph_params){.type = CU_GRAPH_NODE_TYPE_HOST, .context = context, .host = *from};
    return CUDA_SUCCESS;
}

CUresult graph_query_event(CUevent event)
{
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    CUresult result = cuThreadExchangeStreamCaptureMode(&mode);

    if (result != CUDA_SUCCESS)
        return result;
    result = cuEventQuery(event);
    cuThreadExchangeStreamCaptureMode(&mode);
    return result;
}

CUresult graph_read_event(CUcontext context, CUgraphNodeType type, CUevent event,
                          struct graph_params *ret)
{
    CUresult result = event ? graph_query_event(event) : CUDA_ERROR_INVALID_VALUE;

    if (result != CUDA_SUCCESS && result != CUDA_ERROR_NOT_READY)
        return result;
    *ret = (struct graph_params){.type = type, .context = context, .event = event};
    return CUDA_SUCCESS;
}

CUresult graph_read_child(CUcontext context, CUgraph child, struct graph_params *ret)
{
    const struct graph *graph = graph_of(child);
    struct graph *clone;
    CUresult result = graph ? graph_clone(graph, &clone) : CUDA_ERROR_INVALID_VALUE;

    if (result == CUDA_SUCCESS)
        *ret = (struct graph_params){
            .type = CU_GRAPH_NODE_TYPE_GRAPH, .context = context, .child = clone};
    return result;
}

CUresult graph_read_node(CUcontext context, const CUgraphNodeParams *from, struct graph_params *ret)
{
    if (!from || from->reserved2 || from->reserved0[0] || from->reserved0[1] || from->reserved0[2])
        return CUDA_ERROR_INVALID_VALUE;
    switch (from->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        return graph_read_kernel(context, &from->kernel, ret);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        return graph_read_copy(from->memcpy.copyCtx ? from->memcpy.copyCtx : context,
                               &from->memcpy.copyParams, ret);
    case CU_GRAPH_NODE_TYPE_MEMSET:
        return graph_read_fill(from->memset.ctx ? from->memset.ctx : context, &from->memset.params,
                               ret);
    case CU_GRAPH_NODE_TYPE_HOST:
        return graph_read_host(context, &from->host, ret);
    case CU_GRAPH_NODE_TYPE_GRAPH:
        if (from->graph.ownership != CU_GRAPH_CHILD_GRAPH_OWNERSHIP_CLONE)
            return cuda_unsupported("a child graph that is moved");
        return graph_read_child(context, from->graph.graph, ret);
    case CU_GRAPH_NODE_TYPE_EMPTY:
        *ret = (struct graph_params){.type = CU_GRAPH_NODE_TYPE_EMPTY, .context = context};
        return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
        return graph_read_event(context, from->type, from->eventWait.event, ret);
    case CU_GRAPH_NODE_TYPE_EXT_SEMAS_SIGNAL:
    case CU_GRAPH_NODE_TYPE_EXT_SEMAS_WAIT:
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
    case CU_GRAPH_NODE_TYPE_MEM_FREE:
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
    case CU_GRAPH_NODE_TYPE_CONDITIONAL:
        return cuda_unsupported("cuGraphAddNode of a kind that is not carried");
    }
    return CUDA_ERROR_INVALID_VALUE;
}

/* A node runs as a part of its graph: what speaks of a stream is for launches alone. */
bool graph_attribute_known(CUkernelNodeAttrID id)
{
    return (unsigned)id < 32 && (VGPU_LAUNCH_ATTRIBUTES & (1u << id)) &&
           id != CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
}

CUresult graph_read_attribute(CUkernelNodeAttrID id, const CUkernelNodeAttrValue *value,
                              struct graph_kernel *kernel)
{
    CUresult result;

    /* A capture passes on what a launch was given; each kernel of a graph may wait for its end. */
    if (id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION)
        return CUDA_SUCCESS;
    result = launch_attribute_read(id, value, &kernel->attributes);
    return result == LAUNCH_NOT_CARRIED
               ? cuda_unsupported("a kernel node with an attribute that is not carried")
               : result;
}

static CUresult run_kernel(const struct graph_kernel *kernel, CUstream stream)
{
    size_t bytes = kernel->params_bytes;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, kernel->params, CU_LAUNCH_PARAM_BUFFER_SIZE,
                     &bytes, CU_LAUNCH_PARAM_END};
    CUlaunchAttribute attributes[LAUNCH_MAX_ATTRIBUTES];
    CUlaunchConfig config = {
        .gridDimX = kernel->grid[0],
        .gridDimY = kernel->grid[1],
        .gridDimZ = kernel->grid[2],
        .blockDimX = kernel->block[0],
        .blockDimY = kernel->block[1],
        .blockDimZ = kernel->block[2],
        .sharedMemBytes = kernel->shared_bytes,
        .hStream = stream,
        .attrs = attributes,
        .numAttrs = launch_attributes_write(&kernel->attributes, attributes),
    };

    return cuLaunchKernelEx(&config, kernel->function, NULL, bytes > 0 ? extra : NULL);
}

static CUresult run_fill(const CUDA_MEMSET_NODE_PARAMS *fill, CUstream stream)
{
    size_t pitch = fill->height > 1 ? fill->pitch : fill->width * fill->elementSize;

    if (fill->elementSize == 1)
        return cuMemsetD2D8Async(fill->dst, pitch, (unsigned char)fill->value, fill->width,
                                 fill->height, stream);
    if (fill->elementSize == 2)
        return cuMemsetD2D16Async(fill->dst, pitch, (unsigned short)fill->value, fill->width,
                                  fill->height, stream);
    return cuMemsetD2D32Async(fill->dst, pitch, fill->value, fill->width, fill->height, stream);
}

CUresult graph_run_node(const struct graph_node *node, CUstream stream)
{
    const struct graph_params *params = &node->params;

    if (!node->enabled)
        return CUDA_SUCCESS;
    switch (params->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        return run_kernel(&params->kernel, stream);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        return cuMemcpy3DAsync_v2(&params->copy, stream);
    case CU_GRAPH_NODE_TYPE_MEMSET:
        return run_fill(&params->fill, stream);
    case CU_GRAPH_NODE_TYPE_HOST:
        return cuLaunchHostFunc(stream, params->host.fn, params->host.userData);
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
        return cuStreamWaitEvent(stream, params->event, CU_EVENT_WAIT_DEFAULT);
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
        return cuEventRecord(params->event, stream);
    default:
        return CUDA_SUCCESS;
    }
}
