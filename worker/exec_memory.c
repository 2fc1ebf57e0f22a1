/* SPDX-License-Identifier: Apache-2.0 */
/* Executions: device memory and page-locked memory. */
#include <string.h>

#include "common/overflow.h"
#include "worker/channel.h"
#include "worker/exec.h"

static CUresult want(struct channel *channel, struct item *item, uint64_t bytes)
{
    uint64_t rounded;

    if (!vgpu_align_u64(bytes, VGPU_ALLOCATION_GRAIN, &rounded))
        return CUDA_ERROR_OUT_OF_MEMORY;
    return quota_want(channel, item, rounded);
}

/* Enters what the driver gave; gives it back if that cannot be. */
static CUresult keep(struct channel *channel, struct context *context, CUdeviceptr address,
                     uint64_t bytes)
{
    struct ledger_range range = {
        .address = address, .bytes = bytes, .kind = RANGE_ALLOCATION, .owner = context};

    if (ledger_add(&channel->ledger, &range) < 0) {
        channel->cu->cuMemFree(address);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    channel_add_memory(channel, (int64_t)ledger_counted(&range));
    return CUDA_SUCCESS;
}

CUresult exec_memory_alloc(struct channel *channel, const struct cuda_call *call,
                           const struct cuda_in_memory_alloc *in, struct cuda_out_memory_alloc *out)
{
    CUdeviceptr address = 0;
    CUresult result = want(channel, item_of(call), in->bytes);

    if (result == CUDA_SUCCESS)
        result = channel->cu->cuMemAlloc(&address, in->bytes);
    if (result == CUDA_SUCCESS)
        result = keep(channel, item_of(call)->context, address, in->bytes);
    if (result == CUDA_SUCCESS)
        out->address = address;
    return result;
}

CUresult exec_memory_alloc_pitch(struct channel *channel, const struct cuda_call *call,
                                 const struct cuda_in_memory_alloc_pitch *in,
                                 struct cuda_out_memory_alloc_pitch *out)
{
    struct item *item = item_of(call);
    CUdeviceptr address = 0;
    uint64_t bytes = 0;
    size_t pitch = 0;
    CUresult result;

    if (!vgpu_mul_u64(in->width_bytes, in->height, &bytes))
        return CUDA_ERROR_INVALID_VALUE;
    if (bytes < item->want_bytes) /* asked for when the pitch was known */
        bytes = item->want_bytes;
    result = want(channel, item, bytes);
    if (result == CUDA_SUCCESS)
        result = channel->cu->cuMemAllocPitch(&address, &pitch, in->width_bytes, in->height,
                                              in->element_bytes);
    if (result != CUDA_SUCCESS)
        return result;
    /* Only now is it known what the rows take. */
    result = vgpu_mul_u64(pitch, in->height, &bytes) ? want(channel, item, bytes)
                                                     : CUDA_ERROR_OUT_OF_MEMORY;
    if (result != CUDA_SUCCESS) {
        channel->cu->cuMemFree(address);
        return result;
    }
    result = keep(channel, item->context, address, bytes);
    if (result == CUDA_SUCCESS) {
        out->address = address;
        out->pitch_bytes = pitch;
    }
    return result;
}

CUresult prepare_memory_free(struct channel *channel, struct item *item)
{
    struct ledger_range range;

    if (!ledger_remove(&channel->ledger, item->in.memory_free.address, RANGE_ALLOCATION, &range) &&
        !ledger_remove(&channel->ledger, item->in.memory_free.address, RANGE_POOL, &range))
        return CUDA_ERROR_INVALID_VALUE;
    item->pool = range.pool;
    /* An allocation is its context's, whichever is current. */
    item->context = (struct context *)(uintptr_t)range.owner;
    /* What a pool gave is counted as it was asked for, within what the pool keeps. */
    item->made_bytes = range.kind == RANGE_POOL ? range.bytes : ledger_counted(&range);
    return CUDA_SUCCESS;
}

CUresult exec_memory_free(struct channel *channel, const struct cuda_call *call,
                          const struct cuda_in_memory_free *in)
{
    return channel->cu->cuMemFree(in->address);
}

void settle_memory_free(struct channel *channel, struct item *item)
{
    if (item->pool)
        settle_pool_memory_free(channel, item);
    else
        channel_add_memory(channel, -(int64_t)item->made_bytes);
}

CUresult exec_memory_info(struct channel *channel, const struct cuda_call *call,
                          struct cuda_out_memory_info *out)
{
    uint64_t limit = quota_limit(channel);
    uint64_t ceiling, held, left;
    size_t free_bytes = 0;
    size_t total = 0;
    CUresult result = quota_ceiling(channel, item_of(call), &ceiling);

    if (result != CUDA_SUCCESS)
        return result;
    pools_settle(channel);
    held = quota_held(channel);
    left = ceiling > held ? ceiling - held : 0;
    result = channel->cu->cuMemGetInfo(&free_bytes, &total);
    out->free_bytes = free_bytes < left ? free_bytes : left;
    out->total_bytes = total < limit ? total : limit;
    return result;
}

CUresult exec_host_register(struct channel *channel, const struct cuda_call *call,
                            const struct cuda_in_host_register *in,
                            struct cuda_out_host_register *out)
{
    CUdeviceptr address = 0;
    CUresult result;

    if (channel->written.mirrored) {
        /* The device would see another memory than the guest does. */
        if (in->flags & CU_MEMHOSTREGISTER_DEVICEMAP)
            return CUDA_ERROR_NOT_SUPPORTED;
        data_lock(channel, in->area_offset, in->area_bytes);
        return CUDA_SUCCESS;
    }
    result = data_map(channel, in->area_offset, in->area_bytes, &address);
    out->address = address;
    return result;
}

void settle_host_register(struct channel *channel, struct item *item)
{
    struct ledger_range range = {.address = item->out->host_register.address,
                                 .bytes = item->in.host_register.area_bytes,
                                 .kind = RANGE_HOST,
                                 .owner = item->context};

    if (item->result != CUDA_SUCCESS || channel->written.mirrored)
        return;
    if (ledger_add(&channel->ledger, &range) < 0)
        item->result = CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
}

/* Registered memory has the same address for the device. */
static bool is_unified(const struct channel *channel)
{
    static const CUdevice_attribute needed[] = {
        CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING,
        CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY,
        CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM,
    };

    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        int value = 0;

        if (channel->cu->cuDeviceGetAttribute(&value, needed[i], channel->device) != CUDA_SUCCESS ||
            value == 0)
            return false;
    }
    return true;
}

CUresult exec_data_area(struct channel *channel, const struct cuda_call *call,
                        struct cuda_out_data_area *out)
{
    if (!channel->written.mirrored && mapping_is_placed(&channel->map) && is_unified(channel))
        out->address = (uintptr_t)channel->map.data;
    return CUDA_SUCCESS;
}

/* The segments stay locked for copies; what ends is that the device address is the guest's. */
CUresult prepare_host_unregister(struct channel *channel, struct item *item)
{
    const struct cuda_in_host_unregister *in = &item->in.host_unregister;
    const struct ledger_range *found;
    struct ledger_range range;
    CUdeviceptr address = 0;

    if (channel->written.mirrored) /* nothing is known of it but what serves copies */
        return CUDA_SUCCESS;
    if (in->area_bytes == 0 ||
        channel->cu->cuMemHostGetDevicePointer(&address, in->area, 0) != CUDA_SUCCESS)
        return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
    found = ledger_find(&channel->ledger, address, in->area_bytes);
    if (!found || found->kind != RANGE_HOST || found->address != address ||
        found->bytes != in->area_bytes)
        return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
    ledger_remove(&channel->ledger, address, RANGE_HOST, &range);
    return CUDA_SUCCESS;
}

CUresult exec_host_unregister(struct channel *channel, const struct cuda_call *call,
                              const struct cuda_in_host_unregister *in)
{
    return CUDA_SUCCESS;
}
