/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/area.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/overflow.h"

int area_init(struct area *area, uint64_t bytes)
{
    *area = (struct area){.room = 16};
    area->free = calloc(area->room, sizeof(*area->free));
    if (!area->free)
        return -ENOMEM;
    if (bytes > 0)
        area->free[area->count++] = (struct area_extent){.offset = 0, .bytes = bytes};
    return 0;
}

void area_release(struct area *area)
{
    free(area->free);
    *area = (struct area){0};
}

/* Room for as many extents as can be free with one more part taken. */
static int make_room(struct area *area)
{
    struct area_extent *larger;

    if (area->taken + 3 <= area->room)
        return 0;
    larger = reallocarray(area->free, area->room * 2, sizeof(*larger));
    if (!larger)
        return -ENOMEM;
    area->free = larger;
    area->room *= 2;
    return 0;
}

static void insert(struct area *area, size_t at, struct area_extent extent)
{
    assert(area->count < area->room);
    memmove(&area->free[at + 1], &area->free[at], (area->count - at) * sizeof(*area->free));
    area->free[at] = extent;
    area->count++;
}

static void erase(struct area *area, size_t at)
{
    area->count--;
    memmove(&area->free[at], &area->free[at + 1], (area->count - at) * sizeof(*area->free));
}

/* Cuts [offset, offset + bytes) out of the free extent number `at`. */
static void cut(struct area *area, size_t at, uint64_t offset, uint64_t bytes)
{
    struct area_extent *extent = &area->free[at];
    uint64_t end = extent->offset + extent->bytes;
    struct area_extent rest = {.offset = offset + bytes, .bytes = end - offset - bytes};

    extent->bytes = offset - extent->offset;
    if (extent->bytes > 0 && rest.bytes > 0)
        insert(area, at + 1, rest);
    else if (rest.bytes > 0)
        *extent = rest;
    else if (extent->bytes == 0)
        erase(area, at);
}

/* Where a part of that size fits into the extent; false: nowhere. */
static bool fit_first(const struct area_extent *extent, uint64_t size, uint64_t align,
                      uint64_t *ret_start)
{
    uint64_t start = (extent->offset + align - 1) & ~(align - 1);
    uint64_t skipped = start - extent->offset;

    *ret_start = start;
    return skipped <= extent->bytes && extent->bytes - skipped >= size;
}

static bool fit_last(const struct area_extent *extent, uint64_t size, uint64_t align,
                     uint64_t *ret_start)
{
    if (extent->bytes < size)
        return false;
    *ret_start = (extent->offset + extent->bytes - size) & ~(align - 1);
    return *ret_start >= extent->offset;
}

int area_take(struct area *area, uint64_t bytes, uint64_t align, enum area_end end,
              uint64_t *ret_offset)
{
    uint64_t size;

    if (!vgpu_align_u64(bytes ? bytes : 1, AREA_UNIT, &size))
        return -ENOSPC;
    if (make_room(area) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < area->count; i++) {
        size_t at = end == AREA_FIRST ? i : area->count - 1 - i;
        uint64_t start;

        if (end == AREA_FIRST ? !fit_first(&area->free[at], size, align, &start)
                              : !fit_last(&area->free[at], size, align, &start))
            continue;
        cut(area, at, start, size);
        area->taken++;
        *ret_offset = start;
        return 0;
    }
    return -ENOSPC;
}

void area_give(struct area *area, uint64_t offset, uint64_t bytes)
{
    uint64_t size = ((bytes ? bytes : 1) + AREA_UNIT - 1) & ~(uint64_t)(AREA_UNIT - 1);
    size_t at = 0;

    assert(area->taken > 0);
    area->taken--;
    while (at < area->count && area->free[at].offset < offset)
        at++;
    assert(at == area->count || offset + size <= area->free[at].offset);
    assert(at == 0 || area->free[at - 1].offset + area->free[at - 1].bytes <= offset);
    if (at > 0 && area->free[at - 1].offset + area->free[at - 1].bytes == offset) {
        area->free[--at].bytes += size;
    } else {
        insert(area, at, (struct area_extent){.offset = offset, .bytes = size});
    }
    if (at + 1 < area->count &&
        area->free[at].offset + area->free[at].bytes == area->free[at + 1].offset) {
        area->free[at].bytes += area->free[at + 1].bytes;
        erase(area, at + 1);
    }
}
