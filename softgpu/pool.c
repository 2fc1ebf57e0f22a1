/* SPDX-License-Identifier: Apache-2.0 */
/* Memory pools; see pool.h. The calls that programs make are in pool_calls.c. */
#include "softgpu/pool.h"

#include <stdlib.h>

#include "softgpu/handle.h"

static uint64_t reserved(const struct pool *pool)
{
    return pool->used_bytes + pool->unused_bytes;
}

void pool_trim(struct pool *pool, uint64_t keep_bytes)
{
    uint64_t over = reserved(pool) > keep_bytes ? reserved(pool) - keep_bytes : 0;

    if (over > pool->unused_bytes)
        over = pool->unused_bytes;
    pool->unused_bytes -= over;
    if (over > 0)
        gpu_charge(pool->device, -(int64_t)over);
}

struct pool *pool_new(struct device *device)
{
    struct pool *pool = calloc(1, sizeof(*pool));

    if (!pool)
        return NULL;
    pool->handle = handle_new(HANDLE_POOL, pool);
    if (!pool->handle) {
        free(pool);
        return NULL;
    }
    pool->device = device;
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(pool->reuse); i++)
        pool->reuse[i] = 1;
    pool->next = device->pools;
    device->pools = pool;
    return pool;
}

/* Without a handle, and the last block is back. */
static void end(struct pool *pool)
{
    struct pool **at = &pool->device->pools;

    pool_trim(pool, 0);
    while (*at != pool)
        at = &(*at)->next;
    *at = pool->next;
    free(pool);
}

void pool_destroy(struct pool *pool)
{
    if (pool->device->pool == pool)
        pool->device->pool = NULL;
    handle_free(pool->handle);
    pool->handle = NULL;
    if (pool->blocks == 0)
        end(pool);
}

struct pool *pool_default(struct device *device)
{
    struct pool *pool = device->pools;

    while (pool && !pool->is_default)
        pool = pool->next;
    if (pool)
        return pool;
    pool = pool_new(device);
    if (pool)
        pool->is_default = true;
    return pool;
}

struct pool *pool_current(struct device *device)
{
    return device->pool ? device->pool : pool_default(device);
}

CUresult pool_take(struct pool *pool, uint64_t span_bytes)
{
    uint64_t reused = span_bytes < pool->unused_bytes ? span_bytes : pool->unused_bytes;
    uint64_t more = span_bytes - reused;

    if (pool->max_bytes &&
        (reserved(pool) > pool->max_bytes || more > pool->max_bytes - reserved(pool)))
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (more > gpu_free_bytes(pool->device)) {
        for (struct pool *other = pool->device->pools; other; other = other->next)
            if (other != pool)
                pool_trim(other, 0);
    }
    if (more > gpu_free_bytes(pool->device))
        return CUDA_ERROR_OUT_OF_MEMORY;
    gpu_charge(pool->device, (int64_t)more);
    pool->unused_bytes -= reused;
    pool->used_bytes += span_bytes;
    pool->blocks++;
    if (pool->used_bytes > pool->used_high_bytes)
        pool->used_high_bytes = pool->used_bytes;
    if (reserved(pool) > pool->reserved_high_bytes)
        pool->reserved_high_bytes = reserved(pool);
    return CUDA_SUCCESS;
}

void pool_give(struct pool *pool, uint64_t span_bytes)
{
    pool->used_bytes -= span_bytes;
    pool->unused_bytes += span_bytes;
    pool->blocks--;
    if (!pool->handle && pool->blocks == 0)
        end(pool);
}

void pools_release(struct device *device)
{
    for (struct pool *pool = device->pools; pool; pool = pool->next)
        pool_trim(pool, pool->threshold_bytes);
}
