/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuLaunch*: a launch is checked and its parameters are copied when it is submitted; the engine
 * runs it in its stream, and a fault becomes the context's error.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "cuda/capture.h"
#include "cuda/launch_attributes.h"
#include "cuda/launch_extra.h"
#include "softgpu/context.h"
#include "softgpu/capability.h"
#include "softgpu/memory.h"
#include "softgpu/module.h"
#include "softgpu/occupancy.h"
#include "softgpu/stream.h"
#include "softgpu/usage.h"

#define GRID_WORKSPACE_BYTES 64

struct launch {
    struct op op;
    struct ptx_launch ptx;
    uint64_t workspace; /* device memory that goes with the launch; 0: none */
    uint64_t busy_ns;
    unsigned device_index;
    uint8_t params[];
};

static CUresult result_of(enum ptx_fault_kind kind)
{
    switch (kind) {
    case PTX_FAULT_NONE:
        return CUDA_SUCCESS;
    case PTX_FAULT_ADDRESS:
    case PTX_FAULT_READ_ONLY:
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    case PTX_FAULT_MISALIGNED:
        return CUDA_ERROR_MISALIGNED_ADDRESS;
    case PTX_FAULT_PC:
        return CUDA_ERROR_INVALID_PC;
    case PTX_FAULT_STACK:
        return CUDA_ERROR_HARDWARE_STACK_ERROR;
    case PTX_FAULT_ASSERT:
        return CUDA_ERROR_ASSERT;
    case PTX_FAULT_NO_MEMORY:
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    case PTX_FAULT_LIMIT:
        return CUDA_ERROR_LAUNCH_TIMEOUT;
    case PTX_FAULT_TRAP:
    case PTX_FAULT_BARRIER:
    case PTX_FAULT_STOPPED:
    case PTX_FAULT_LAUNCH:
        return CUDA_ERROR_LAUNCH_FAILED;
    }
    return CUDA_ERROR_UNKNOWN;
}

/* The engine has one way out for printf and for assertions; CUDA prints the latter on stderr. */
static void launch_print(void *context, const char *text, size_t size_bytes)
{
    static const char mark[] = "` failed.\n";
    size_t mark_bytes = sizeof(mark) - 1;

    if (size_bytes > mark_bytes && memcmp(text + size_bytes - mark_bytes, mark, mark_bytes) == 0)
        fwrite(text, 1, size_bytes, stderr);
    else
        context_print(context, text, size_bytes);
}

static CUresult launch_run(struct op *op, struct context *context, CUresult status)
{
    struct launch *launch = (struct launch *)op;
    uint64_t start_ns = vgpu_clock_ns();
    enum ptx_fault_kind kind;
    struct ptx_fault fault;

    (void)context;
    (void)status;
    kind = ptx_run(gpu.pool, &launch->ptx, &fault, NULL);
    launch->busy_ns = vgpu_clock_ns() - start_ns;
    if (kind != PTX_FAULT_NONE && gpu.verbose)
        fprintf(stderr, "softgpu: %s\n", fault.text);
    return result_of(kind);
}

static void launch_free(struct op *op)
{
    struct launch *launch = (struct launch *)op;

    usage_add_busy(gpu.usage, launch->device_index, launch->busy_ns);
    if (launch->workspace)
        memory_remove(launch->workspace);
    free(launch);
}

/* What a program asked for. */
struct request {
    CUfunction function;
    unsigned grid[3], block[3];
    unsigned shared_bytes;
    CUstream stream;
    void **params, **extra;
    struct vgpu_launch_attributes attributes;
};

static CUresult check_shape(const struct function *function, const struct request *request)
{
    const struct ptx_function_info *info = &function->info;
    uint64_t threads = 1;

    for (int i = 0; i < 3; i++) {
        if (request->grid[i] == 0 || request->block[i] == 0)
            return CUDA_ERROR_INVALID_VALUE;
        if (info->required_block[0] && info->required_block[i] != request->block[i])
            return CUDA_ERROR_INVALID_VALUE;
    }
    if (request->grid[0] > LIMIT_GRID_X || request->grid[1] > LIMIT_GRID_YZ ||
        request->grid[2] > LIMIT_GRID_YZ || request->block[0] > LIMIT_BLOCK_X ||
        request->block[1] > LIMIT_BLOCK_Y || request->block[2] > LIMIT_BLOCK_Z)
        return CUDA_ERROR_INVALID_VALUE;
    threads = (uint64_t)request->block[0] * request->block[1] * request->block[2];
    if (threads > LIMIT_BLOCK_THREADS || threads > info->max_threads)
        return CUDA_ERROR_INVALID_VALUE;
    if (request->shared_bytes > function->max_dynamic_shared)
        return CUDA_ERROR_INVALID_VALUE;
    if (occupancy_blocks(function, (unsigned)threads, request->shared_bytes) == 0)
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    return CUDA_SUCCESS;
}

/* Blocks of a cooperative launch wait for each other, so all of them must fit at once. */
static CUresult check_cooperative(const struct function *function, const struct request *request)
{
    uint64_t threads = (uint64_t)request->block[0] * request->block[1] * request->block[2];
    unsigned __int128 blocks =
        (unsigned __int128)request->grid[0] * request->grid[1] * request->grid[2];
    uint64_t fit = (uint64_t)occupancy_blocks(function, (unsigned)threads, request->shared_bytes) *
                   (uint64_t)gpu.n_processors;

    return blocks > fit || blocks * threads > PTX_MAX_COOPERATIVE
               ? CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE
               : CUDA_SUCCESS;
}

/* Copies the parameters to where the engine wants them. */
static CUresult copy_params(const struct function *function, const struct request *request,
                            uint8_t *ret_params)
{
    const struct ptx_function_info *info = &function->info;
    const void *buffer;
    CUresult result;
    size_t size;

    if (request->params && request->extra)
        return CUDA_ERROR_INVALID_VALUE;
    if (request->extra) {
        result = launch_extra_read(request->extra, &buffer, &size);
        if (result != CUDA_SUCCESS)
            return result;
        if (info->params_bytes > 0 && size == 0)
            return CUDA_ERROR_INVALID_VALUE;
        if (size > info->params_bytes)
            return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
        if (size > 0)
            memcpy(ret_params, buffer, size); /* what is missing stays zero */
        return CUDA_SUCCESS;
    }
    for (uint32_t i = 0; i < info->n_params; i++) {
        struct ptx_param param;

        if (!request->params || !request->params[i] ||
            !ptx_function_param(function->ptx, i, &param))
            return CUDA_ERROR_INVALID_VALUE;
        memcpy(ret_params + param.offset_bytes, request->params[i], param.size_bytes);
    }
    return CUDA_SUCCESS;
}

static CUresult add_workspace(struct context *context, struct launch *launch)
{
    struct allocation allocation;
    CUresult result =
        memory_new_device(context, MEMORY_VARIABLE, GRID_WORKSPACE_BYTES, 1, false, &allocation);

    if (result != CUDA_SUCCESS)
        return result;
    memset(allocation.host, 0, GRID_WORKSPACE_BYTES);
    launch->workspace = launch->ptx.grid_workspace = allocation.base;
    return CUDA_SUCCESS;
}

/* Makes the operation of a request that has been checked. */
static CUresult launch_new(struct function *function, const struct request *request,
                           struct launch **ret_launch)
{
    const struct ptx_function_info *info = &function->info;
    struct context *context = function->module->context;
    struct launch *launch = calloc(1, sizeof(*launch) + info->params_bytes);
    CUresult result;

    if (!launch)
        return CUDA_ERROR_OUT_OF_MEMORY;
    launch->op.run = launch_run;
    launch->op.free = launch_free;
    launch->device_index = context->device->index;
    launch->ptx = (struct ptx_launch){
        .program = function->module->program,
        .function = function->ptx,
        .grid = {request->grid[0], request->grid[1], request->grid[2]},
        .block = {request->block[0], request->block[1], request->block[2]},
        .dynamic_shared_bytes = request->shared_bytes,
        .params = launch->params,
        .params_bytes = info->params_bytes,
        .variable_addresses = function->module->variables,
        .memory = memory_engine(context),
        .print = launch_print,
        .print_ctx = context,
        .stack_bytes = (uint32_t)context->stack_bytes,
        .cooperative = request->attributes.cooperative,
        .grid_id = gpu.next_id++,
    };
    result = copy_params(function, request, launch->params);
    if (result == CUDA_SUCCESS && request->attributes.cooperative)
        result = add_workspace(context, launch);
    if (result != CUDA_SUCCESS) {
        free(launch);
        return result;
    }
    *ret_launch = launch;
    return CUDA_SUCCESS;
}

static CUresult capture_launch(const struct request *request)
{
    CUlaunchAttribute attributes[LAUNCH_MAX_ATTRIBUTES];
    const CUlaunchConfig config = {
        .gridDimX = request->grid[0],
        .gridDimY = request->grid[1],
        .gridDimZ = request->grid[2],
        .blockDimX = request->block[0],
        .blockDimY = request->block[1],
        .blockDimZ = request->block[2],
        .sharedMemBytes = request->shared_bytes,
        .hStream = request->stream,
        .attrs = attributes,
        .numAttrs = launch_attributes_write(&request->attributes, attributes),
    };

    return capture_kernel(&config, request->function, request->params, request->extra);
}

static CUresult launch(const struct request *request)
{
    CAPTURED(capture_launch(request));
    _scope_ struct scope scope = scope_context();
    struct function *function;
    struct launch *launch;
    struct stream *stream;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    result = function_get_launched(request->function, &function);
    if (result == CUDA_SUCCESS)
        result = stream_resolve(scope.context, request->stream, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    if (function->module->context != stream->context)
        return CUDA_ERROR_INVALID_HANDLE;
    result = check_shape(function, request);
    if (result == CUDA_SUCCESS && request->attributes.cooperative)
        result = check_cooperative(function, request);
    if (result == CUDA_SUCCESS)
        result = launch_new(function, request, &launch);
    return result == CUDA_SUCCESS ? stream_submit(stream, &launch->op) : result;
}

CUresult cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                        unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
                        unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream,
                        void **kernelParams, void **extra)
{
    return launch(&(struct request){
        .function = f,
        .grid = {gridDimX, gridDimY, gridDimZ},
        .block = {blockDimX, blockDimY, blockDimZ},
        .shared_bytes = sharedMemBytes,
        .stream = hStream,
        .params = kernelParams,
        .extra = extra,
    });
}

CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                                   unsigned int gridDimZ, unsigned int blockDimX,
                                   unsigned int blockDimY, unsigned int blockDimZ,
                                   unsigned int sharedMemBytes, CUstream hStream,
                                   void **kernelParams)
{
    return launch(&(struct request){
        .function = f,
        .grid = {gridDimX, gridDimY, gridDimZ},
        .block = {blockDimX, blockDimY, blockDimZ},
        .shared_bytes = sharedMemBytes,
        .stream = hStream,
        .params = kernelParams,
        .attributes = {.given = VGPU_LAUNCH_COOPERATIVE, .cooperative = 1},
    });
}

/*
 * The interpreter has no clusters: one block each is all there can be. Hints, and permissions to
 * overlap that need not be used, are without effect.
 */
static CUresult read_attribute(const CUlaunchAttribute *attribute, struct request *request)
{
    CUresult result = launch_attribute_read(attribute->id, &attribute->value, &request->attributes);

    if (result == CUDA_SUCCESS && launch_cluster_blocks(&request->attributes) > 1)
        return CUDA_ERROR_NOT_SUPPORTED;
    return result;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **kernelParams,
                          void **extra)
{
    struct request request;

    if (!config || config->numAttrs > LIMIT_LAUNCH_ATTRIBUTES ||
        (config->numAttrs > 0 && !config->attrs))
        return CUDA_ERROR_INVALID_VALUE;
    request = (struct request){
        .function = f,
        .grid = {config->gridDimX, config->gridDimY, config->gridDimZ},
        .block = {config->blockDimX, config->blockDimY, config->blockDimZ},
        .shared_bytes = config->sharedMemBytes,
        .stream = config->hStream,
        .params = kernelParams,
        .extra = extra,
    };
    for (unsigned i = 0; i < config->numAttrs; i++) {
        CUresult result = read_attribute(&config->attrs[i], &request);

        if (result != CUDA_SUCCESS)
            return result;
    }
    return launch(&request);
}
