/* SPDX-License-Identifier: Apache-2.0 */
/* The driver API: occupancy. How many blocks fit, the driver says; the best size is sought here. */
#include "cuda/cuda_api.h"
#include "cuda/cuda_send.h"
#include "cuda/exports.h"
#include "cuda/launch_attributes.h"
#include "guest/libvgpu/lookup.h"
#include "guest/libvgpu/occupancy.h"

static CUresult ask_blocks(uint32_t function, int block_size, size_t dynamic_bytes, unsigned flags,
                           int *ret_blocks)
{
    struct cuda_out_occupancy_blocks out;
    CUresult result = cuda_send_occupancy_blocks(
        guest_sender(),
        &(struct cuda_args_occupancy_blocks){.function = function,
                                             .block_size = block_size,
                                             .flags = flags,
                                             .dynamic_shared_bytes = dynamic_bytes},
        &out);

    if (result == CUDA_SUCCESS)
        *ret_blocks = out.blocks;
    return result;
}

static CUresult enter_function(CUfunction func, bool arguments, unsigned flags,
                               struct function_object *ret)
{
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    if (!arguments || (flags & ~(unsigned)CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE))
        return CUDA_ERROR_INVALID_VALUE;
    return lookup_launched(func, ret);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *numBlocks, CUfunction func,
                                                              int blockSize, size_t dynamicSMemSize,
                                                              unsigned int flags)
{
    struct function_object function;
    CUresult result = enter_function(func, numBlocks && blockSize > 0, flags, &function);

    if (result != CUDA_SUCCESS)
        return result;
    return ask_blocks(function.head.handle, blockSize, dynamicSMemSize, flags, numBlocks);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *numBlocks, CUfunction func, int blockSize,
                                                     size_t dynamicSMemSize)
{
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(numBlocks, func, blockSize,
                                                                dynamicSMemSize, 0);
}

/* The largest block that function, device and caller allow. */
static int block_limit(const struct function_object *function, int asked)
{
    int most = guest_attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
    int own = function->info.attributes[CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK];

    if (own > 0 && own < most)
        most = own;
    return asked > 0 && asked < most ? asked : most;
}

/* Most threads at a time win; among equals the larger block, which needs fewer of them. */
CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int *minGridSize, int *blockSize,
                                                   CUfunction func,
                                                   CUoccupancyB2DSize blockSizeToDynamicSMemSize,
                                                   size_t dynamicSMemSize, int blockSizeLimit,
                                                   unsigned int flags)
{
    struct function_object function;
    CUresult result = enter_function(func, minGridSize && blockSize, flags, &function);
    int warp = guest_attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE);
    int best_size = 0, best_blocks = 0;
    int limit;

    if (result != CUDA_SUCCESS)
        return result;
    limit = block_limit(&function, blockSizeLimit);
    if (warp <= 0)
        return CUDA_ERROR_UNKNOWN;
    for (int size = (limit + warp - 1) / warp * warp; size > 0; size -= warp) {
        int tried = size < limit ? size : limit;
        size_t dynamic_bytes =
            blockSizeToDynamicSMemSize ? blockSizeToDynamicSMemSize(tried) : dynamicSMemSize;
        int blocks = 0;

        result = ask_blocks(function.head.handle, tried, dynamic_bytes, flags, &blocks);
        if (result != CUDA_SUCCESS)
            return result;
        if (tried * blocks > best_size * best_blocks) {
            best_size = tried;
            best_blocks = blocks;
        }
        if (best_size * best_blocks >=
            guest_attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR))
            break;
    }
    *blockSize = best_size;
    *minGridSize = best_blocks * guest_attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxPotentialBlockSize(int *minGridSize, int *blockSize, CUfunction func,
                                          CUoccupancyB2DSize blockSizeToDynamicSMemSize,
                                          size_t dynamicSMemSize, int blockSizeLimit)
{
    return cuOccupancyMaxPotentialBlockSizeWithFlags(minGridSize, blockSize, func,
                                                     blockSizeToDynamicSMemSize, dynamicSMemSize,
                                                     blockSizeLimit, 0);
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t *dynamicSmemSize, CUfunction func,
                                                 int numBlocks, int blockSize)
{
    struct function_object function;
    struct cuda_out_occupancy_shared out;
    CUresult result =
        enter_function(func, dynamicSmemSize && numBlocks > 0 && blockSize > 0, 0, &function);

    if (result != CUDA_SUCCESS)
        return result;
    result = cuda_send_occupancy_shared(
        guest_sender(),
        &(struct cuda_args_occupancy_shared){
            .function = function.head.handle, .blocks = numBlocks, .block_size = blockSize},
        &out);
    if (result == CUDA_SUCCESS)
        *dynamicSmemSize = out.dynamic_shared_bytes;
    return result;
}

CUresult occupancy_ask_clusters(uint32_t function, const struct proved_launch *launch, bool largest,
                                struct cuda_out_occupancy_clusters *ret)
{
    return cuda_send_occupancy_clusters(
        guest_sender(),
        &(struct cuda_args_occupancy_clusters){.function = function,
                                               .largest = largest,
                                               .grid_x = launch->grid[0],
                                               .grid_y = launch->grid[1],
                                               .grid_z = launch->grid[2],
                                               .block_x = launch->block[0],
                                               .block_y = launch->block[1],
                                               .block_z = launch->block[2],
                                               .shared_bytes = launch->shared_bytes,
                                               .attributes = &launch->attributes,
                                               .attributes_bytes = sizeof(launch->attributes)},
        ret);
}

static CUresult ask_clusters(int *count, CUfunction func, const CUlaunchConfig *config,
                             bool largest)
{
    struct cuda_out_occupancy_clusters out;
    struct function_object function;
    struct proved_launch launch;
    CUresult result = enter_function(
        func, count && config && (config->numAttrs == 0 || config->attrs), 0, &function);

    if (result != CUDA_SUCCESS)
        return result;
    if (guest_attribute(CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH) <= 0)
        return cuda_unsupported("occupancy of clusters on this device");
    launch = (struct proved_launch){
        .grid = {config->gridDimX, config->gridDimY, config->gridDimZ},
        .block = {config->blockDimX, config->blockDimY, config->blockDimZ},
        .shared_bytes = config->sharedMemBytes,
    };
    for (unsigned int i = 0; i < config->numAttrs && result == CUDA_SUCCESS; i++)
        result =
            launch_attribute_read(config->attrs[i].id, &config->attrs[i].value, &launch.attributes);
    if (result == CUDA_SUCCESS)
        result = occupancy_ask_clusters(function.head.handle, &launch, largest, &out);
    if (result == CUDA_SUCCESS)
        *count = out.clusters;
    return result;
}

CUresult cuOccupancyMaxActiveClusters(int *numClusters, CUfunction func,
                                      const CUlaunchConfig *config)
{
    return ask_clusters(numClusters, func, config, false);
}

CUresult cuOccupancyMaxPotentialClusterSize(int *clusterSize, CUfunction func,
                                            const CUlaunchConfig *config)
{
    return ask_clusters(clusterSize, func, config, true);
}
