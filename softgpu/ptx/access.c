/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One lane's access to memory, with every check: the slow way of loads and stores, and what
 * vprintf and atomics use. All faults on memory are found here.
 */
#include "softgpu/ptx/exec.h"

#include <string.h>

const struct ptx_range *access_range(struct warp *w, unsigned slot, uint64_t address)
{
    const struct ptx_memory *memory = &w->grid->launch.memory;
    struct ptx_range range;

    if (address < PTX_DEVICE_BASE || !memory->find || !memory->find(memory->ctx, address, &range))
        return NULL;
    if (address < range.base || address - range.base >= range.size_bytes)
        return NULL;
    w->worker->ranges[slot] = range;
    return &w->worker->ranges[slot];
}

/* Host address of [address, address + size) in device memory, or NULL and the kind of fault. */
static uint8_t *device_pointer(struct warp *w, uint64_t address, uint32_t size, bool write,
                               enum ptx_fault_kind *ret_kind)
{
    unsigned slot = (unsigned)(address >> 16) % RANGE_SLOTS;
    const struct ptx_range *range;

    *ret_kind = PTX_FAULT_ADDRESS;
    range = &w->worker->ranges[slot];
    if (!(range->size_bytes >= size && address >= range->base &&
          address - range->base <= range->size_bytes - size))
        range = access_range(w, slot, address);
    if (!range || range->size_bytes < size || address - range->base > range->size_bytes - size)
        return NULL;
    if (write && (range->flags & PTX_RANGE_READ_ONLY)) {
        *ret_kind = PTX_FAULT_READ_ONLY;
        return NULL;
    }
    *ret_kind = PTX_FAULT_NONE;
    return (uint8_t *)range->host + (address - range->base);
}

/* From a generic address to a space and the offset in it. */
static enum space classify(uint64_t *address)
{
    if (*address - PTX_SHARED_BASE < PTX_WINDOW_BYTES) {
        *address -= PTX_SHARED_BASE;
        return SP_SHARED;
    }
    if (*address - PTX_LOCAL_BASE < PTX_WINDOW_BYTES) {
        *address -= PTX_LOCAL_BASE;
        return SP_LOCAL;
    }
    if (*address - PTX_PARAM_BASE < PTX_WINDOW_BYTES) {
        *address -= PTX_PARAM_BASE;
        return SP_PARAM;
    }
    return SP_GLOBAL;
}

static bool within(uint64_t address, uint32_t size, uint64_t limit)
{
    return address <= limit && size <= limit - address;
}

/* Host address in any space but local; NULL and PTX_FAULT_NONE for local memory in bounds. */
static uint8_t *any_pointer(struct warp *w, enum space space, uint64_t *address, uint32_t size,
                            bool write, enum ptx_fault_kind *ret_kind)
{
    if (space == SP_GENERIC)
        space = classify(address);
    *ret_kind = PTX_FAULT_ADDRESS;
    switch (space) {
    case SP_SHARED:
        if (!within(*address, size, w->grid->shared_bytes))
            return NULL;
        *ret_kind = PTX_FAULT_NONE;
        return w->block->shared + *address;
    case SP_LOCAL:
        if (within(*address, size, w->grid->stack_bytes))
            *ret_kind = PTX_FAULT_NONE;
        return NULL;
    case SP_PARAM:
        if (!within(*address, size, w->grid->function->params_bytes))
            return NULL;
        *ret_kind = write ? PTX_FAULT_READ_ONLY : PTX_FAULT_NONE;
        return write ? NULL : w->grid->params + *address;
    default:
        return device_pointer(w, *address, size, write, ret_kind);
    }
}

static uint8_t *local_byte(struct warp *w, unsigned lane, uint64_t offset)
{
    return w->local + ((offset >> 2) * LANES + lane) * 4 + (offset & 3);
}

/* Accesses are powers of two, save for bytes that a copy leaves out. */
static bool misaligned(uint64_t address, uint32_t size)
{
    return (size & (size - 1)) == 0 && (address & (size - 1));
}

bool access_read(struct warp *w, enum space space, unsigned lane, uint64_t address, uint32_t size,
                 void *data, enum ptx_fault_kind *ret_kind)
{
    uint8_t *at;

    if (misaligned(address, size)) {
        *ret_kind = PTX_FAULT_MISALIGNED;
        return false;
    }
    at = any_pointer(w, space, &address, size, false, ret_kind);
    if (at) {
        memcpy(data, at, size);
        return true;
    }
    if (*ret_kind != PTX_FAULT_NONE)
        return false;
    for (uint32_t i = 0; i < size; i++)
        ((uint8_t *)data)[i] = *local_byte(w, lane, address + i);
    return true;
}

bool access_write(struct warp *w, enum space space, unsigned lane, uint64_t address, uint32_t size,
                  const void *data, enum ptx_fault_kind *ret_kind)
{
    uint8_t *at;

    if (misaligned(address, size)) {
        *ret_kind = PTX_FAULT_MISALIGNED;
        return false;
    }
    at = any_pointer(w, space, &address, size, true, ret_kind);
    if (at) {
        memcpy(at, data, size);
        return true;
    }
    if (*ret_kind != PTX_FAULT_NONE)
        return false;
    for (uint32_t i = 0; i < size; i++)
        *local_byte(w, lane, address + i) = ((const uint8_t *)data)[i];
    return true;
}

void *access_pointer(struct warp *w, enum space space, unsigned lane, uint64_t address,
                     uint32_t size, enum ptx_fault_kind *ret_kind)
{
    if (address & (size - 1)) {
        *ret_kind = PTX_FAULT_MISALIGNED;
        return NULL;
    }
    (void)lane;
    return any_pointer(w, space, &address, size, true, ret_kind);
}
