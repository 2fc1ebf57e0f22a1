/* SPDX-License-Identifier: Apache-2.0 */
/* cuOccupancy*; see occupancy.h. */
#include "softgpu/occupancy.h"

#include "softgpu/context.h"
#include "softgpu/capability.h"

#define SHARED_UNIT_BYTES 128

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

int occupancy_blocks(const struct function *function, unsigned block_threads,
                     uint64_t dynamic_shared_bytes)
{
    uint64_t warps = (block_threads + LIMIT_WARP - 1) / LIMIT_WARP;
    uint64_t warp_registers = (uint64_t)function->info.n_registers * LIMIT_WARP;
    uint64_t shared = function->info.static_shared_bytes + LIMIT_RESERVED_SHARED_BYTES;
    uint64_t blocks = LIMIT_SM_BLOCKS;

    if (block_threads > function->info.max_threads ||
        dynamic_shared_bytes > function->max_dynamic_shared)
        return 0;
    warp_registers = (warp_registers + LIMIT_WARP_REGISTERS_UNIT - 1) / LIMIT_WARP_REGISTERS_UNIT *
                     LIMIT_WARP_REGISTERS_UNIT;
    shared = (shared + dynamic_shared_bytes + SHARED_UNIT_BYTES - 1) / SHARED_UNIT_BYTES *
             SHARED_UNIT_BYTES;
    blocks = min_u64(blocks, LIMIT_SM_THREADS / LIMIT_WARP / warps);
    blocks = min_u64(blocks, LIMIT_SM_SHARED_BYTES / shared);
    if (warp_registers > 0)
        blocks = min_u64(blocks, LIMIT_SM_REGISTERS / (warp_registers * warps));
    return (int)blocks;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *numBlocks, CUfunction func,
                                                              int blockSize, size_t dynamicSMemSize,
                                                              unsigned int flags)
{
    _scope_ struct scope scope = scope_context();
    struct function *function;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!numBlocks || blockSize <= 0 || (flags & ~(unsigned)CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE))
        return CUDA_ERROR_INVALID_VALUE;
    result = function_get_launched(func, &function);
    if (result == CUDA_SUCCESS)
        *numBlocks = occupancy_blocks(function, (unsigned)blockSize, dynamicSMemSize);
    return result;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *numBlocks, CUfunction func, int blockSize,
                                                     size_t dynamicSMemSize)
{
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(numBlocks, func, blockSize,
                                                                dynamicSMemSize, 0);
}

/* The largest block size among those with the most threads resident. */
static int best_block(const struct function *function, unsigned limit, CUoccupancyB2DSize shared_of,
                      size_t shared_bytes, int *ret_blocks)
{
    unsigned best = 0, best_threads = 0;

    for (unsigned size = limit; size > 0; size = (size - 1) / LIMIT_WARP * LIMIT_WARP) {
        int blocks =
            occupancy_blocks(function, size, shared_of ? shared_of((int)size) : shared_bytes);

        if ((unsigned)blocks * size > best_threads) {
            best_threads = (unsigned)blocks * size;
            best = size;
            *ret_blocks = blocks;
        }
    }
    return (int)best;
}

CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int *minGridSize, int *blockSize,
                                                   CUfunction func,
                                                   CUoccupancyB2DSize blockSizeToDynamicSMemSize,
                                                   size_t dynamicSMemSize, int blockSizeLimit,
                                                   unsigned int flags)
{
    _scope_ struct scope scope = scope_context();
    struct function *function, copy;
    CUresult result;
    unsigned limit;
    int blocks = 0;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!minGridSize || !blockSize || blockSizeLimit < 0 ||
        (flags & ~(unsigned)CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE))
        return CUDA_ERROR_INVALID_VALUE;
    result = function_get_launched(func, &function);
    if (result != CUDA_SUCCESS)
        return result;
    limit = function->info.max_threads;
    if (blockSizeLimit > 0 && (unsigned)blockSizeLimit < limit)
        limit = (unsigned)blockSizeLimit;
    copy = *function;
    pthread_mutex_unlock(&gpu.lock); /* the program's own function may call the API */
    *blockSize = best_block(&copy, limit, blockSizeToDynamicSMemSize, dynamicSMemSize, &blocks);
    pthread_mutex_lock(&gpu.lock);
    *minGridSize = blocks * gpu.n_processors;
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
    _scope_ struct scope scope = scope_context();
    struct function *function;
    uint64_t each, used;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!dynamicSmemSize || numBlocks <= 0 || blockSize <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    result = function_get_launched(func, &function);
    if (result != CUDA_SUCCESS)
        return result;
    if (occupancy_blocks(function, (unsigned)blockSize, 0) < numBlocks)
        return CUDA_ERROR_INVALID_VALUE;
    each = LIMIT_SM_SHARED_BYTES / (unsigned)numBlocks / SHARED_UNIT_BYTES * SHARED_UNIT_BYTES;
    each = min_u64(each, LIMIT_BLOCK_SHARED_OPTIN + LIMIT_RESERVED_SHARED_BYTES);
    used = function->info.static_shared_bytes + LIMIT_RESERVED_SHARED_BYTES;
    *dynamicSmemSize = each > used ? min_u64(each - used, function->max_dynamic_shared) : 0;
    return CUDA_SUCCESS;
}

/* The attribute CLUSTER_LAUNCH says that there are none. */
static CUresult refuse_clusters(const int *count, CUfunction func, const CUlaunchConfig *config)
{
    _scope_ struct scope scope = scope_context();
    struct function *function;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!count || !config)
        return CUDA_ERROR_INVALID_VALUE;
    result = function_get_launched(func, &function);
    return result == CUDA_SUCCESS ? CUDA_ERROR_NOT_SUPPORTED : result;
}

CUresult cuOccupancyMaxActiveClusters(int *numClusters, CUfunction func,
                                      const CUlaunchConfig *config)
{
    return refuse_clusters(numClusters, func, config);
}

CUresult cuOccupancyMaxPotentialClusterSize(int *clusterSize, CUfunction func,
                                            const CUlaunchConfig *config)
{
    return refuse_clusters(clusterSize, func, config);
}
