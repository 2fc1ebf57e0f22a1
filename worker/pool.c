/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/pool.h"

#include <stdlib.h>

#include "common/overflow.h"
#include "ring/pages.h"
#include "worker/channel.h"
#include "worker/exec.h"

/* What pools keep and nobody has. */
static void tell_spare(struct channel *channel)
{
    const struct pool *own = &channel->default_pool;
    uint64_t bytes = own->counted_bytes - own->live_bytes;

    for (const struct pool *pool = channel->pools; pool; pool = pool->next)
        bytes += pool->counted_bytes - pool->live_bytes;
    page_store_u64(&channel->map.report->memory_spare_bytes, bytes);
}

static void count(struct channel *channel, struct pool *pool)
{
    uint64_t bytes = 0;

    if (pool->destroyed ||
        channel->cu->cuMemPoolGetAttribute(pool->cu, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT,
                                           &bytes) != CUDA_SUCCESS ||
        bytes < pool->live_bytes)
        bytes = pool->live_bytes;
    channel_add_memory(channel, (int64_t)(bytes - pool->counted_bytes));
    pool->counted_bytes = bytes;
    tell_spare(channel);
}

CUresult pool_default(struct channel *channel, struct pool **ret_pool)
{
    struct pool *pool = &channel->default_pool;

    *ret_pool = pool;
    return pool->cu ? CUDA_SUCCESS
                    : channel->cu->cuDeviceGetDefaultMemPool(&pool->cu, channel->device);
}

/*
 * NVIDIA's driver gives back what it has seen to be free, and it looks when it synchronises. Where
 * nothing is in flight that does not block.
 */
static void see_frees_of(struct channel *channel, struct context *context)
{
    if (context->cu && context->sticky == CUDA_SUCCESS && context_idle(context) &&
        context_enter(channel, context) == CUDA_SUCCESS)
        channel->cu->cuCtxSynchronize();
}

static void see_frees(struct channel *channel)
{
    see_frees_of(channel, &channel->primary);
    for (struct context *context = channel->contexts; context; context = context->next)
        see_frees_of(channel, context);
}

static CUresult trim(struct channel *channel, struct pool *pool, uint64_t keep_bytes)
{
    CUresult result;

    if (!pool->cu)
        return CUDA_SUCCESS;
    see_frees(channel);
    result = channel->cu->cuMemPoolTrimTo(pool->cu, keep_bytes);
    count(channel, pool);
    return result;
}

static bool contexts_idle(const struct channel *channel)
{
    bool idle = context_idle(&channel->primary);

    for (const struct context *context = channel->contexts; context; context = context->next)
        idle &= context_idle(context);
    return idle;
}

static void settle(struct channel *channel, struct pool *pool)
{
    if (!pool->freed)
        return;
    if (pool->counted_bytes > pool->threshold_bytes)
        trim(channel, pool, pool->threshold_bytes);
    /* While work is in flight, a free may be among it: once more later. */
    pool->freed = pool->counted_bytes > pool->threshold_bytes && !contexts_idle(channel);
    channel->pools_freed |= pool->freed;
}

void pools_settle(struct channel *channel)
{
    if (!channel->pools_freed)
        return;
    channel->pools_freed = false;
    settle(channel, &channel->default_pool);
    for (struct pool *pool = channel->pools; pool; pool = pool->next)
        settle(channel, pool);
}

static void trim_all(struct channel *channel)
{
    trim(channel, &channel->default_pool, 0);
    for (struct pool *pool = channel->pools; pool; pool = pool->next)
        trim(channel, pool, 0);
}

static void drop(struct channel *channel, struct pool *pool)
{
    struct pool **at = &channel->pools;

    while (*at != pool)
        at = &(*at)->next;
    *at = pool->next;
    free(pool);
}

/* An allocation is back with the driver, or is about to be in its stream's order. */
static void given_back(struct channel *channel, struct pool *pool, uint64_t bytes)
{
    pool->live--;
    pool->live_bytes -= bytes;
    pool->freed = true;
    channel->pools_freed = true;
    tell_spare(channel);
    if (!pool->destroyed)
        return;
    count(channel, pool);
    if (pool->live == 0)
        drop(channel, pool);
}

void pools_end_context(struct channel *channel, struct context *context)
{
    struct ledger_range range;
    size_t i = 0;

    if (!context->cu || !context_idle(context))
        return;
    while (i < channel->ledger.count) {
        range = channel->ledger.ranges[i];
        if (range.kind != RANGE_POOL || range.owner != context) {
            i++;
            continue;
        }
        ledger_remove(&channel->ledger, range.address, RANGE_POOL, &range);
        channel->cu->cuMemFree(range.address);
        given_back(channel, range.pool, range.bytes);
    }
}

void pools_forget_default(struct channel *channel)
{
    channel->default_pool.cu = NULL;
}

void pools_free(struct channel *channel)
{
    while (channel->pools)
        drop(channel, channel->pools);
}

/* Has the quota room for bytes more, of which the pool may hold some already? */
static CUresult want(struct channel *channel, struct item *item, uint64_t bytes)
{
    const struct pool *pool = item->pool;
    uint64_t unused = pool->counted_bytes - pool->live_bytes;
    uint64_t more = bytes > unused ? bytes - unused : 0;

    if (more > 0 && more < item->want_bytes) /* asked for when it was known how the pool grows */
        more = item->want_bytes;
    return quota_want(channel, item, more);
}

/* The same, after the VM's pools have given back what they can spare. */
static CUresult make_room(struct channel *channel, struct item *item, uint64_t bytes)
{
    CUresult result = want(channel, item, bytes);

    if (result != CUDA_ERROR_OUT_OF_MEMORY)
        return result;
    trim_all(channel);
    return want(channel, item, bytes);
}

/* Enters what the driver gave, unless the pool grew over the quota for it. */
static CUresult keep(struct channel *channel, struct item *item, CUdeviceptr address,
                     uint64_t bytes)
{
    struct pool *pool = item->pool;
    struct ledger_range range = {.address = address,
                                 .bytes = bytes,
                                 .kind = RANGE_POOL,
                                 .owner = item->context,
                                 .pool = pool};
    bool kept = ledger_add(&channel->ledger, &range) == 0;
    uint64_t before = quota_held(channel), grown;

    pool->live++;
    pool->live_bytes += bytes;
    count(channel, pool);
    grown = quota_held(channel) - before;
    if (kept && !quota_fits(channel)) {
        trim_all(channel);
        kept = quota_fits(channel);
        if (!kept)
            ledger_remove(&channel->ledger, address, RANGE_POOL, &range);
    }
    if (kept)
        return CUDA_SUCCESS;
    channel->cu->cuMemFreeAsync(address, item->stream->cu);
    stream_add_op(channel, item->stream);
    given_back(channel, pool, bytes);
    pools_settle(channel);
    /* The driver took more than was asked for: perhaps the VM has that as well. */
    return grown > item->want_bytes ? quota_want(channel, item, grown) : CUDA_ERROR_OUT_OF_MEMORY;
}

/*
 * Not held with its stream: the driver's stream may be ahead of what the guest put into it by this
 * much, as only the memory's end must keep the order, and ends are held.
 */
CUresult exec_pool_alloc(struct channel *channel, const struct cuda_call *call,
                         const struct cuda_in_pool_alloc *in, struct cuda_out_pool_alloc *out)
{
    struct item *item = item_of(call);
    CUdeviceptr address = 0;
    uint64_t bytes;
    CUresult result;

    if (!vgpu_align_u64(in->bytes, VGPU_ALLOCATION_GRAIN, &bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = make_room(channel, item, bytes);
    if (result != CUDA_SUCCESS)
        return result;
    result = channel->cu->cuMemAllocFromPoolAsync(&address, in->bytes, in->pool, item->stream->cu);
    if (result == CUDA_SUCCESS)
        result = keep(channel, item, address, in->bytes);
    if (result == CUDA_SUCCESS)
        out->address = address;
    return result;
}

static CUresult free_in(struct channel *channel, struct item *item, CUstream stream)
{
    const struct ledger_range range = {.address = item->in.pool_free.address,
                                       .bytes = item->made_bytes,
                                       .kind = RANGE_POOL,
                                       .owner = item->context,
                                       .pool = item->pool};
    CUresult result = channel->cu->cuMemFreeAsync(range.address, stream);

    if (result == CUDA_SUCCESS)
        given_back(channel, item->pool, item->made_bytes);
    else
        ledger_add(&channel->ledger, &range);
    return result;
}

/* All that was in the context when the hold ended is done. */
static void free_late(struct channel *channel, struct item *item, CUresult result)
{
    CUresult entered = context_enter(channel, item->context);

    if (entered == CUDA_SUCCESS)
        entered = free_in(channel, item, item->context->null_stream.cu);
    item_finish(channel, item, result == CUDA_SUCCESS ? entered : result);
}

CUresult exec_pool_free(struct channel *channel, const struct cuda_call *call,
                        const struct cuda_in_pool_free *in)
{
    struct item *item = item_of(call);
    CUresult result;

    if (item->stream) {
        result = free_in(channel, item, item->stream->cu);
        if (result == CUDA_SUCCESS)
            stream_add_op(channel, item->stream);
        return result;
    }
    /* It was held, and its stream may be gone: after everything instead. */
    item_wait_init(item, free_late);
    result = context_attach(channel, item->context, &item->wait);
    if (item->wait.result == CUDA_SUCCESS)
        item->wait.result = result;
    return item_wait_begin(channel, item);
}

void settle_pool_memory_free(struct channel *channel, struct item *item)
{
    given_back(channel, item->pool, item->made_bytes);
}

CUresult exec_pool_create(struct channel *channel, const struct cuda_call *call,
                          const struct cuda_in_pool_create *in)
{
    const CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                                  .location = {CU_MEM_LOCATION_TYPE_DEVICE, channel->device},
                                  .maxSize = in->max_bytes};
    struct pool *pool = calloc(1, sizeof(*pool));
    CUresult result;

    if (!pool)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = channel->cu->cuMemPoolCreate(&pool->cu, &props);
    if (result == CUDA_SUCCESS && handle_put(channel->handles, in->pool_handle, pool) < 0) {
        channel->cu->cuMemPoolDestroy(pool->cu);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (result != CUDA_SUCCESS) {
        free(pool);
        return result;
    }
    pool->handle = in->pool_handle;
    pool->next = channel->pools;
    channel->pools = pool;
    return CUDA_SUCCESS;
}

CUresult exec_pool_destroy(struct channel *channel, const struct cuda_call *call,
                           const struct cuda_in_pool_destroy *in)
{
    struct pool *pool = item_of(call)->pool;
    CUresult result = channel->cu->cuMemPoolDestroy(in->pool);

    quota_lose(channel, pool);
    item_of(call)->pool = NULL;
    pool->destroyed = true;
    pool->cu = NULL;
    count(channel, pool);
    if (pool->live == 0)
        drop(channel, pool);
    return result;
}

static bool is_int(uint32_t attribute)
{
    return attribute <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES;
}

CUresult exec_pool_set_attribute(struct channel *channel, const struct cuda_call *call,
                                 const struct cuda_in_pool_set_attribute *in)
{
    struct pool *pool = item_of(call)->pool;
    uint64_t value = in->value;
    int number = (int)in->value;
    CUresult result =
        channel->cu->cuMemPoolSetAttribute(in->pool, (CUmemPool_attribute)in->attribute,
                                           is_int(in->attribute) ? (void *)&number : &value);

    if (result == CUDA_SUCCESS && in->attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
        pool->threshold_bytes = value;
    return result;
}

CUresult exec_pool_get_attribute(struct channel *channel, const struct cuda_call *call,
                                 const struct cuda_in_pool_get_attribute *in,
                                 struct cuda_out_pool_get_attribute *out)
{
    uint64_t value = 0;
    int number = 0;
    CUresult result;

    pools_settle(channel);
    result = channel->cu->cuMemPoolGetAttribute(in->pool, (CUmemPool_attribute)in->attribute,
                                                is_int(in->attribute) ? (void *)&number : &value);
    out->value = is_int(in->attribute) ? (uint32_t)number : value;
    return result;
}

CUresult exec_pool_trim(struct channel *channel, const struct cuda_call *call,
                        const struct cuda_in_pool_trim *in)
{
    return trim(channel, item_of(call)->pool, in->keep_bytes);
}
