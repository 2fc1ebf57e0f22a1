/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver API: launches and host functions. A launch's shape is proved here against the device's
 * and the function's attributes, its parameters are packed as the function lays them out, and the
 * record is posted.
 */
#include <string.h>

#include "cuda/capture.h"
#include "cuda/cuda_api.h"
#include "cuda/cuda_send.h"
#include "cuda/exports.h"
#include "cuda/launch_attributes.h"
#include "cuda/launch_extra.h"
#include "guest/libvgpu/callback.h"
#include "guest/libvgpu/lookup.h"
#include "guest/libvgpu/occupancy.h"

struct launch {
    uint32_t grid[3], block[3];
    uint32_t shared_bytes;
    struct vgpu_launch_attributes attributes;
};

static bool within(const uint32_t size[3], CUdevice_attribute first)
{
    for (int i = 0; i < 3; i++) {
        int most = guest_attribute((CUdevice_attribute)((int)first + i));

        if (size[i] == 0 || (most > 0 && size[i] > (uint32_t)most))
            return false;
    }
    return true;
}

static uint64_t threads_of(const struct launch *launch)
{
    return (uint64_t)launch->block[0] * launch->block[1] * launch->block[2];
}

/*
 * A function's own limit of threads is the source's .maxntid, or what its registers leave room for:
 * the two have different errors. Registers are given out to warps of 32 threads, 8 a thread at a
 * time.
 */
static bool bounded_by_registers(const struct function_object *function)
{
    int registers = (function->info.attributes[CU_FUNC_ATTRIBUTE_NUM_REGS] + 7) / 8 * 8;
    int file = guest_attribute(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK);

    if (registers <= 0 || file <= 0)
        return false;
    return function->info.attributes[CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK] >=
           file / registers / 32 * 32;
}

static CUresult check_shape(const struct launch *launch, const struct function_object *function)
{
    const int32_t *attributes = function->info.attributes;
    int most = guest_attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
    int own = attributes[CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK];
    int dynamic = attributes[CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES];

    if (!within(launch->grid, CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X) ||
        !within(launch->block, CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X))
        return CUDA_ERROR_INVALID_VALUE;
    if (most > 0 && threads_of(launch) > (uint64_t)most)
        return CUDA_ERROR_INVALID_VALUE;
    if (dynamic >= 0 && launch->shared_bytes > (uint32_t)dynamic)
        return CUDA_ERROR_INVALID_VALUE;
    if (own > 0 && threads_of(launch) > (uint64_t)own)
        return bounded_by_registers(function) ? CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES
                                              : CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

/* All blocks of a cooperative launch must be on the device at once. */
static CUresult check_cooperative(const struct launch *launch, uint32_t function)
{
    struct cuda_out_occupancy_blocks out;
    uint64_t blocks = (uint64_t)launch->grid[0] * launch->grid[1] * launch->grid[2];
    CUresult result;

    if (guest_attribute(CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH) <= 0)
        return CUDA_ERROR_NOT_SUPPORTED;
    result = cuda_send_occupancy_blocks(
        guest_sender(),
        &(struct cuda_args_occupancy_blocks){.function = function,
                                             .block_size = (int32_t)threads_of(launch),
                                             .dynamic_shared_bytes = launch->shared_bytes},
        &out);
    if (result != CUDA_SUCCESS)
        return result;
    if (blocks >
        (uint64_t)out.blocks * (uint64_t)guest_attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT))
        return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
    return CUDA_SUCCESS;
}

static void note_proved(uint32_t handle, const struct proved_launch *proved)
{
    struct function_object *function;

    guest_lock();
    function = object_at(CUDA_KIND_FUNCTION, handle);
    if (function)
        function->proved = *proved;
    guest_unlock();
}

/*
 * The driver says whether clusters of that size and shape can run; a loop that launches the same
 * again is not kept waiting.
 */
static CUresult check_clusters(const struct launch *launch, const struct function_object *function)
{
    struct proved_launch proved = {.shared_bytes = launch->shared_bytes, .known = 1};
    struct cuda_out_occupancy_clusters out;
    uint64_t blocks = launch_cluster_blocks(&launch->attributes);
    CUresult result;

    if (blocks == 1)
        return CUDA_SUCCESS;
    if (guest_attribute(CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH) <= 0)
        return cuda_unsupported("cuLaunchKernelEx with clusters on this device");
    for (int i = 0; i < 3; i++)
        if (launch->grid[i] % launch->attributes.cluster[i])
            return CUDA_ERROR_INVALID_CLUSTER_SIZE;
    memcpy(proved.grid, launch->grid, sizeof(proved.grid));
    memcpy(proved.block, launch->block, sizeof(proved.block));
    proved.attributes = launch->attributes;
    if (memcmp(&proved, &function->proved, sizeof(proved)) == 0)
        return CUDA_SUCCESS;
    result = occupancy_ask_clusters(function->head.handle, &proved, false, &out);
    if (result == CUDA_SUCCESS && out.clusters <= 0)
        return CUDA_ERROR_INVALID_CLUSTER_SIZE;
    if (result == CUDA_SUCCESS)
        note_proved(function->head.handle, &proved);
    return result;
}

/* Packs kernelParams, or takes `extra`, into buffer, of VGPU_LAUNCH_PARAM_BYTES. */
static CUresult pack(const struct function_object *function, void **params, void **extra,
                     uint8_t *buffer, uint32_t *ret_bytes)
{
    const struct cuda_function_info *info = &function->info;
    const void *given;
    size_t bytes;
    CUresult result;

    if (params && extra)
        return CUDA_ERROR_INVALID_VALUE;
    if (extra) {
        result = launch_extra_read(extra, &given, &bytes);
        if (result != CUDA_SUCCESS)
            return result;
        if (info->params_known && info->param_bytes > 0 && bytes == 0)
            return CUDA_ERROR_INVALID_VALUE;
        if (info->params_known && bytes > info->param_bytes)
            return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
        if (bytes > 0)
            memcpy(buffer, given, bytes);
        /* What a shorter buffer leaves out is zero. */
        if (info->params_known)
            memset(buffer + bytes, 0, info->param_bytes - bytes);
        *ret_bytes = info->params_known ? info->param_bytes : (uint32_t)bytes;
        return CUDA_SUCCESS;
    }
    if (!info->params_known && params)
        return cuda_unsupported("kernelParams of a function whose parameters the host cannot tell");
    if (info->param_count > 0 && !params)
        return CUDA_ERROR_INVALID_VALUE;
    memset(buffer, 0, info->param_bytes);
    for (uint32_t i = 0; i < info->param_count; i++) {
        if (!params[i])
            return CUDA_ERROR_INVALID_VALUE;
        memcpy(buffer + function->params[i].offset, params[i], function->params[i].size);
    }
    *ret_bytes = info->param_bytes;
    return CUDA_SUCCESS;
}

static CUresult capture_launch(const struct launch *launch, CUfunction f, CUstream stream,
                               void **params, void **extra)
{
    CUlaunchAttribute attributes[LAUNCH_MAX_ATTRIBUTES];
    const CUlaunchConfig config = {
        .gridDimX = launch->grid[0],
        .gridDimY = launch->grid[1],
        .gridDimZ = launch->grid[2],
        .blockDimX = launch->block[0],
        .blockDimY = launch->block[1],
        .blockDimZ = launch->block[2],
        .sharedMemBytes = launch->shared_bytes,
        .hStream = stream,
        .attrs = attributes,
        .numAttrs = launch_attributes_write(&launch->attributes, attributes),
    };

    return capture_kernel(&config, f, params, extra);
}

/* What plain and cooperative launches need goes in the smaller record. */
static bool is_plain(const struct vgpu_launch_attributes *attributes)
{
    return !(attributes->given & ~(VGPU_LAUNCH_COOPERATIVE | VGPU_LAUNCH_PRIORITY)) &&
           (!(attributes->given & VGPU_LAUNCH_PRIORITY) || attributes->priority != 0);
}

static CUresult send_launch(const struct launch *launch, uint32_t function, uint32_t stream,
                            const void *params, uint32_t params_bytes)
{
    if (is_plain(&launch->attributes))
        return cuda_send_launch(guest_sender(), 0,
                                &(struct cuda_args_launch){
                                    .function = function,
                                    .stream = stream,
                                    .grid_x = launch->grid[0],
                                    .grid_y = launch->grid[1],
                                    .grid_z = launch->grid[2],
                                    .block_x = launch->block[0],
                                    .block_y = launch->block[1],
                                    .block_z = launch->block[2],
                                    .shared_bytes = launch->shared_bytes,
                                    .cooperative = launch->attributes.cooperative,
                                    .priority = launch->attributes.priority,
                                    .params = params,
                                    .params_bytes = params_bytes,
                                });
    return cuda_send_launch_ex(guest_sender(), 0,
                               &(struct cuda_args_launch_ex){
                                   .function = function,
                                   .stream = stream,
                                   .grid_x = launch->grid[0],
                                   .grid_y = launch->grid[1],
                                   .grid_z = launch->grid[2],
                                   .block_x = launch->block[0],
                                   .block_y = launch->block[1],
                                   .block_z = launch->block[2],
                                   .shared_bytes = launch->shared_bytes,
                                   .attributes = &launch->attributes,
                                   .attributes_bytes = sizeof(launch->attributes),
                                   .params = params,
                                   .params_bytes = params_bytes,
                               });
}

static CUresult launch_function(const struct launch *launch, CUfunction f, CUstream stream,
                                void **params, void **extra)
{
    CAPTURED(capture_launch(launch, f, stream, params, extra));
    _Alignas(16) uint8_t buffer[VGPU_LAUNCH_PARAM_BYTES];
    struct guest_thread *thread;
    struct function_object function;
    uint32_t stream_handle, bytes = 0;
    CUresult result = guest_enter_context(&thread);

    if (result == CUDA_SUCCESS)
        result = lookup_launched(f, &function);
    if (result == CUDA_SUCCESS && function.head.context != thread_context(thread))
        result = CUDA_ERROR_INVALID_HANDLE;
    if (result == CUDA_SUCCESS)
        result = lookup_stream(thread, stream, &stream_handle);
    if (result == CUDA_SUCCESS)
        result = check_shape(launch, &function);
    if (result == CUDA_SUCCESS)
        result = pack(&function, params, extra, buffer, &bytes);
    if (result == CUDA_SUCCESS && launch->attributes.cooperative)
        result = check_cooperative(launch, function.head.handle);
    if (result == CUDA_SUCCESS)
        result = check_clusters(launch, &function);
    if (result != CUDA_SUCCESS)
        return result;
    return send_launch(launch, function.head.handle, stream_handle, buffer, bytes);
}

CUresult cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                        unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
                        unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream,
                        void **kernelParams, void **extra)
{
    const struct launch launch = {
        .grid = {gridDimX, gridDimY, gridDimZ},
        .block = {blockDimX, blockDimY, blockDimZ},
        .shared_bytes = sharedMemBytes,
    };

    return launch_function(&launch, f, hStream, kernelParams, extra);
}

CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                                   unsigned int gridDimZ, unsigned int blockDimX,
                                   unsigned int blockDimY, unsigned int blockDimZ,
                                   unsigned int sharedMemBytes, CUstream hStream,
                                   void **kernelParams)
{
    const struct launch launch = {
        .grid = {gridDimX, gridDimY, gridDimZ},
        .block = {blockDimX, blockDimY, blockDimZ},
        .shared_bytes = sharedMemBytes,
        .attributes = {.given = VGPU_LAUNCH_COOPERATIVE, .cooperative = 1},
    };

    return launch_function(&launch, f, hStream, kernelParams, NULL);
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **kernelParams,
                          void **extra)
{
    struct launch launch;
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!config || (config->numAttrs > 0 && !config->attrs))
        return CUDA_ERROR_INVALID_VALUE;
    launch = (struct launch){
        .grid = {config->gridDimX, config->gridDimY, config->gridDimZ},
        .block = {config->blockDimX, config->blockDimY, config->blockDimZ},
        .shared_bytes = config->sharedMemBytes,
    };
    for (unsigned int i = 0; i < config->numAttrs && result == CUDA_SUCCESS; i++)
        result =
            launch_attribute_read(config->attrs[i].id, &config->attrs[i].value, &launch.attributes);
    if (result == LAUNCH_NOT_CARRIED)
        return cuda_unsupported("cuLaunchKernelEx with an attribute that is not carried");
    if (result != CUDA_SUCCESS)
        return result;
    return launch_function(&launch, f, config->hStream, kernelParams, extra);
}

static CUresult post_callback(CUstream stream, const struct callback *callback)
{
    CAPTURED(callback->with_status ? capture_refuse_stream(stream)
                                   : capture_host(callback->function, callback->user_data, stream));
    struct guest_thread *thread;
    struct cuda_args_host_function args;
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!callback->function && !callback->with_status)
        return CUDA_ERROR_INVALID_VALUE;
    result = lookup_stream(thread, stream, &args.stream);
    if (result == CUDA_SUCCESS)
        result = callback_add(guest_sender(), callback, &args.token);
    if (result != CUDA_SUCCESS)
        return result;
    result = cuda_send_host_function(guest_sender(), &args);
    if (result != CUDA_SUCCESS)
        callback_drop(guest_sender(), args.token);
    return result;
}

CUresult cuLaunchHostFunc(CUstream hStream, CUhostFn fn, void *userData)
{
    return post_callback(hStream, &(struct callback){.function = fn, .user_data = userData});
}

CUresult cuStreamAddCallback(CUstream hStream, CUstreamCallback callback, void *userData,
                             unsigned int flags)
{
    if (flags != 0) {
        CUresult result = guest_enter_context(NULL);

        return result == CUDA_SUCCESS ? CUDA_ERROR_INVALID_VALUE : result;
    }
    return post_callback(
        hStream,
        &(struct callback){.with_status = callback, .stream = hStream, .user_data = userData});
}
