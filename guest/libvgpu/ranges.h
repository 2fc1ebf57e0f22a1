/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address ranges that the program holds: a sorted table, by which pointers are judged without
 * asking the worker. Two of them: device addresses, and host addresses (guest.h, whose lock guards
 * both).
 */
#ifndef VGPU_LIBVGPU_RANGES_H
#define VGPU_LIBVGPU_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum range_what {
    RANGE_MEMORY,     /* device: cuMemAlloc, cuMemAllocAsync */
    RANGE_MAPPED,     /* device: cuMemMap; several side by side are one for whoever uses them */
    RANGE_GLOBAL,     /* device: a module's variable */
    RANGE_HOST_VIEW,  /* device: page-locked host memory as the device sees it */
    RANGE_HOST,       /* host: page-locked, in the data area */
    RANGE_MOVED,      /* host: the program's own memory, moved onto the data area */
    RANGE_REGISTERED, /* host: the program's own memory, staged when copied */
};

struct range {
    uint64_t start, bytes;
    enum range_what what;
    uint32_t context; /* it dies with it */
    uint32_t module;  /* of a RANGE_GLOBAL */
    uint32_t memory;  /* of a RANGE_MAPPED: handle of what is mapped; flags is its access */
    uint32_t pool;    /* handle of the pool that a RANGE_MEMORY came from, or 0 */
    unsigned flags;   /* as the program gave them */
    uint64_t other;   /* RANGE_HOST, _MOVED: the device's address; RANGE_HOST_VIEW: the host's */
    uint64_t area;    /* RANGE_HOST, _MOVED: offset in the data area */
    bool managed;     /* RANGE_HOST and its view: cuMemAllocManaged */
    unsigned advice;  /* of managed memory: CUDA_MANAGED_* */
    uint64_t id;      /* never used twice in a process */
};

struct ranges {
    struct range *at;
    size_t count, room;
};

/* True for host memory that lies in the data area. */
static inline bool range_is_pinned(const struct range *range)
{
    return range->what == RANGE_HOST || range->what == RANGE_MOVED;
}

/* False if memory is out. A range with the same start is replaced. */
bool ranges_add(struct ranges *ranges, const struct range *range);

/* The range that holds address, or NULL. Valid until the table changes. */
const struct range *ranges_find(const struct ranges *ranges, uint64_t address);

/* The range that holds all of [address, address + bytes), or the first of several RANGE_MAPPED side
 * by side; else NULL. */
const struct range *ranges_cover(const struct ranges *ranges, uint64_t address, uint64_t bytes);

/* True if any byte of [address, address + bytes) is in the table. */
bool ranges_touch(const struct ranges *ranges, uint64_t address, uint64_t bytes);

/* Where the first range behind address starts; UINT64_MAX if there is none. */
uint64_t ranges_next(const struct ranges *ranges, uint64_t address);

void ranges_drop(struct ranges *ranges, uint64_t start);

/* Drops what matches, after telling `drop` (may be NULL) of each. */
void ranges_drop_if(struct ranges *ranges, bool (*match)(const struct range *range, uint32_t key),
                    uint32_t key, void (*drop)(const struct range *range));

void ranges_release(struct ranges *ranges);

#endif
