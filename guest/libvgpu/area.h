/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which parts of a channel's data area are free: first fit, from either end, over a sorted list of
 * free extents. What comes and goes is taken from the front, where memory is touched and
 * page-locked already; what stays, from the back. Called by data.c, which locks. Giving back never
 * allocates memory.
 */
#ifndef VGPU_LIBVGPU_AREA_H
#define VGPU_LIBVGPU_AREA_H

#include <stddef.h>
#include <stdint.h>

#define AREA_UNIT 64u /* sizes are rounded up to it */

struct area_extent {
    uint64_t offset;
    uint64_t bytes;
};

struct area {
    struct area_extent *free; /* sorted, never adjacent */
    size_t count, room;
    size_t taken; /* parts given out: at most taken + 1 extents are ever free */
};

int area_init(struct area *area, uint64_t bytes);
void area_release(struct area *area);

enum area_end { AREA_FIRST, AREA_LAST };

/* align: a power of two. Returns 0, -ENOSPC if no extent is large enough now, or -ENOMEM. */
int area_take(struct area *area, uint64_t bytes, uint64_t align, enum area_end end,
              uint64_t *ret_offset);

/* offset and bytes as they were taken. */
void area_give(struct area *area, uint64_t offset, uint64_t bytes);

#endif
