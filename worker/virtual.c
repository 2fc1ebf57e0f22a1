/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/virtual.h"

#include <errno.h>
#include <stdlib.h>

#include "common/overflow.h"
#include "worker/channel.h"
#include "worker/exec.h"

static void drop_memory(struct channel *channel, struct memory *memory)
{
    struct memory **at = &channel->virtual.memories;

    if (!memory->released || memory->maps > 0)
        return;
    while (*at != memory)
        at = &(*at)->next;
    *at = memory->next;
    channel_add_memory(channel, -(int64_t)memory->bytes);
    free(memory);
}

/*
 * The range is made of whole mappings. *ret_first is the index of the first of them, and their
 * number is returned; 0 if it is not so.
 */
static size_t find_mapped(const struct channel *channel, uint64_t address, uint64_t bytes,
                          size_t *ret_first)
{
    const struct ledger *mapped = &channel->virtual.mapped;
    const struct ledger_range *first = ledger_find(mapped, address, 1);
    uint64_t at = address;
    uint64_t end;
    size_t count = 0;

    if (!first || !vgpu_add_u64(address, bytes, &end))
        return 0;
    *ret_first = (size_t)(first - mapped->ranges);
    while (*ret_first + count < mapped->count && at < end && first[count].address == at)
        at += first[count++].bytes;
    return at == end ? count : 0;
}

/* Takes what is mapped in the range out of the ledger of accessible addresses. */
static void hide(struct channel *channel, uint64_t address, uint64_t bytes)
{
    const struct ledger *mapped = &channel->virtual.mapped;
    struct ledger_range range;
    size_t first;
    size_t count = find_mapped(channel, address, bytes, &first);

    for (size_t i = first; i < first + count; i++)
        ledger_remove(&channel->ledger, mapped->ranges[i].address, RANGE_MAPPED, &range);
}

void virtual_hide(struct channel *channel, const struct item *item)
{
    hide(channel, item->in.memory_unmap.address, item->in.memory_unmap.bytes);
}

static CUmemAllocationProp properties(const struct channel *channel)
{
    return (CUmemAllocationProp){.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                 .location = {CU_MEM_LOCATION_TYPE_DEVICE, channel->device}};
}

CUresult exec_memory_granularity(struct channel *channel, const struct cuda_call *call,
                                 struct cuda_out_memory_granularity *out)
{
    const CUmemAllocationProp props = properties(channel);
    size_t minimum = 0;
    size_t recommended = 0;
    CUresult result = channel->cu->cuMemGetAllocationGranularity(&minimum, &props,
                                                                 CU_MEM_ALLOC_GRANULARITY_MINIMUM);

    if (result == CUDA_SUCCESS)
        result = channel->cu->cuMemGetAllocationGranularity(&recommended, &props,
                                                            CU_MEM_ALLOC_GRANULARITY_RECOMMENDED);
    out->minimum_bytes = minimum;
    out->recommended_bytes = recommended;
    return result;
}

CUresult exec_memory_create(struct channel *channel, const struct cuda_call *call,
                            const struct cuda_in_memory_create *in)
{
    const CUmemAllocationProp props = properties(channel);
    struct memory *memory;
    CUresult result = quota_want(channel, item_of(call), in->bytes);

    if (result != CUDA_SUCCESS)
        return result;
    memory = calloc(1, sizeof(*memory));
    if (!memory)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = channel->cu->cuMemCreate(&memory->cu, in->bytes, &props, 0);
    if (result == CUDA_SUCCESS && handle_put(channel->handles, in->memory_handle, memory) < 0) {
        channel->cu->cuMemRelease(memory->cu);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (result != CUDA_SUCCESS) {
        free(memory);
        return result;
    }
    memory->handle = in->memory_handle;
    memory->bytes = in->bytes;
    memory->next = channel->virtual.memories;
    channel->virtual.memories = memory;
    channel_add_memory(channel, (int64_t)in->bytes);
    return CUDA_SUCCESS;
}

CUresult exec_memory_release(struct channel *channel, const struct cuda_call *call,
                             const struct cuda_in_memory_release *in)
{
    struct memory *memory = item_of(call)->memory;

    item_of(call)->memory = NULL;
    memory->released = true;
    drop_memory(channel, memory);
    return channel->cu->cuMemRelease(in->memory);
}

CUresult exec_address_reserve(struct channel *channel, const struct cuda_call *call,
                              const struct cuda_in_address_reserve *in,
                              struct cuda_out_address_reserve *out)
{
    CUdeviceptr address = 0;
    CUresult result = channel->cu->cuMemAddressReserve(&address, in->bytes, in->align, in->hint, 0);
    const struct ledger_range range = {
        .address = address, .bytes = in->bytes, .kind = RANGE_MAPPED};

    if (result != CUDA_SUCCESS)
        return result;
    if (ledger_add(&channel->virtual.reserved, &range) < 0) {
        channel->cu->cuMemAddressFree(address, in->bytes);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    out->address = address;
    return CUDA_SUCCESS;
}

CUresult exec_address_free(struct channel *channel, const struct cuda_call *call,
                           const struct cuda_in_address_free *in)
{
    const struct ledger_range *found = ledger_find(&channel->virtual.reserved, in->address, 1);
    struct ledger_range range;

    if (!found || found->address != in->address || found->bytes != in->bytes ||
        ledger_touches(&channel->virtual.mapped, in->address, in->bytes))
        return CUDA_ERROR_INVALID_VALUE;
    ledger_remove(&channel->virtual.reserved, in->address, RANGE_MAPPED, &range);
    return channel->cu->cuMemAddressFree(in->address, in->bytes);
}

CUresult exec_memory_map(struct channel *channel, const struct cuda_call *call,
                         const struct cuda_in_memory_map *in)
{
    struct memory *memory = item_of(call)->memory;
    const struct ledger_range range = {
        .address = in->address, .bytes = in->bytes, .kind = RANGE_MAPPED, .owner = memory};
    struct ledger_range removed;
    CUresult result;

    if (!ledger_find(&channel->virtual.reserved, in->address, 1))
        return CUDA_ERROR_INVALID_VALUE;
    /* No driver maps parts: the answer does not depend on it. */
    if (in->offset != 0 || in->bytes != memory->bytes)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!ledger_find(&channel->virtual.reserved, in->address, in->bytes))
        return CUDA_ERROR_INVALID_VALUE;
    switch (ledger_add(&channel->virtual.mapped, &range)) {
    case 0:
        break;
    case -ENOSPC:
        return CUDA_ERROR_OUT_OF_MEMORY;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = channel->cu->cuMemMap(in->address, in->bytes, 0, in->memory, 0);
    if (result == CUDA_SUCCESS)
        memory->maps++;
    else
        ledger_remove(&channel->virtual.mapped, in->address, RANGE_MAPPED, &removed);
    return result;
}

/* A mapping of the range is in the hands of a call that runs beside the consumer. */
static bool is_busy(const struct channel *channel, size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++)
        if (channel->virtual.mapped.ranges[i].busy)
            return true;
    return false;
}

static void set_busy(struct channel *channel, uint64_t address, uint64_t bytes, bool busy)
{
    size_t first = 0;
    size_t count = find_mapped(channel, address, bytes, &first);

    for (size_t i = first; i < first + count; i++)
        channel->virtual.mapped.ranges[i].busy = busy;
}

/* Both calls: nobody else changes the mappings until they are settled. */
static CUresult prepare(struct channel *channel, uint64_t address, uint64_t bytes, bool keep)
{
    size_t first = 0;
    size_t count = find_mapped(channel, address, bytes, &first);

    if (count == 0 || is_busy(channel, first, count))
        return CUDA_ERROR_INVALID_VALUE;
    if (!keep)
        hide(channel, address, bytes);
    set_busy(channel, address, bytes, true);
    return CUDA_SUCCESS;
}

CUresult prepare_memory_unmap(struct channel *channel, struct item *item)
{
    const struct cuda_in_memory_unmap *in = &item->in.memory_unmap;

    return prepare(channel, in->address, in->bytes, false);
}

CUresult exec_memory_unmap(struct channel *channel, const struct cuda_call *call,
                           const struct cuda_in_memory_unmap *in)
{
    return channel->cu->cuMemUnmap(in->address, in->bytes);
}

/* Should the driver have refused, the addresses stay taken and out of reach. */
void settle_memory_unmap(struct channel *channel, struct item *item)
{
    const struct cuda_in_memory_unmap *in = &item->in.memory_unmap;
    size_t first = 0;
    size_t count = find_mapped(channel, in->address, in->bytes, &first);
    struct ledger_range range;

    set_busy(channel, in->address, in->bytes, false);
    if (item->result != CUDA_SUCCESS)
        return;
    for (; count > 0; count--) {
        struct memory *memory;

        range = channel->virtual.mapped.ranges[first];
        memory = (struct memory *)(uintptr_t)range.owner;
        ledger_remove(&channel->virtual.mapped, range.address, RANGE_MAPPED, &range);
        memory->maps--;
        drop_memory(channel, memory);
    }
}

CUresult prepare_memory_set_access(struct channel *channel, struct item *item)
{
    const struct cuda_in_memory_set_access *in = &item->in.memory_set_access;

    return prepare(channel, in->address, in->bytes, in->flags != CU_MEM_ACCESS_FLAGS_PROT_NONE);
}

CUresult exec_memory_set_access(struct channel *channel, const struct cuda_call *call,
                                const struct cuda_in_memory_set_access *in)
{
    const CUmemAccessDesc access = {.location = {CU_MEM_LOCATION_TYPE_DEVICE, channel->device},
                                    .flags = (CUmemAccess_flags)in->flags};

    return channel->cu->cuMemSetAccess(in->address, in->bytes, &access, 1);
}

void settle_memory_set_access(struct channel *channel, struct item *item)
{
    const struct cuda_in_memory_set_access *in = &item->in.memory_set_access;
    size_t first = 0;
    size_t count = find_mapped(channel, in->address, in->bytes, &first);

    set_busy(channel, in->address, in->bytes, false);
    if (item->result != CUDA_SUCCESS || in->flags == CU_MEM_ACCESS_FLAGS_PROT_NONE)
        return;
    for (size_t i = first; i < first + count; i++) {
        const struct ledger_range *mapping = &channel->virtual.mapped.ranges[i];

        /* There already, if only the kind of access changed. */
        if (ledger_add(&channel->ledger, mapping) == -ENOSPC)
            item->result = CUDA_ERROR_OUT_OF_MEMORY;
    }
}

bool virtual_busy(const struct channel *channel)
{
    return is_busy(channel, 0, channel->virtual.mapped.count);
}

void virtual_end(struct channel *channel)
{
    struct virtual *virtual = &channel->virtual;
    const struct cuda_driver *cu = channel->cu;
    struct ledger_range range;

    while (virtual->mapped.count > 0) {
        range = virtual->mapped.ranges[virtual->mapped.count - 1];
        hide(channel, range.address, range.bytes);
        cu->cuMemUnmap(range.address, range.bytes);
        ledger_remove(&virtual->mapped, range.address, RANGE_MAPPED, &range);
        ((struct memory *)(uintptr_t)range.owner)->maps--;
    }
    while (virtual->reserved.count > 0) {
        range = virtual->reserved.ranges[virtual->reserved.count - 1];
        cu->cuMemAddressFree(range.address, range.bytes);
        ledger_remove(&virtual->reserved, range.address, RANGE_MAPPED, &range);
    }
    while (virtual->memories) {
        struct memory *memory = virtual->memories;

        if (!memory->released) {
            handle_drop(channel->handles, memory->handle);
            cu->cuMemRelease(memory->cu);
        }
        memory->released = true;
        drop_memory(channel, memory);
    }
}

void virtual_free(struct channel *channel)
{
    struct virtual *virtual = &channel->virtual;

    while (virtual->memories) {
        struct memory *memory = virtual->memories;

        virtual->memories = memory->next;
        free(memory);
    }
    ledger_free(&virtual->mapped);
    ledger_free(&virtual->reserved);
}
