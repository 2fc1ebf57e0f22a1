/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/ranges.h"

#include <stdlib.h>
#include <string.h>

/* Index of the first range that starts beyond address. */
static size_t upper(const struct ranges *ranges, uint64_t address)
{
    size_t low = 0;
    size_t high = ranges->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (ranges->at[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool ranges_add(struct ranges *ranges, const struct range *range)
{
    size_t at = upper(ranges, range->start);

    if (at > 0 && ranges->at[at - 1].start == range->start) {
        ranges->at[at - 1] = *range;
        return true;
    }
    if (ranges->count == ranges->room) {
        size_t room = ranges->room ? ranges->room * 2 : 64;
        struct range *larger = reallocarray(ranges->at, room, sizeof(*larger));

        if (!larger)
            return false;
        ranges->at = larger;
        ranges->room = room;
    }
    memmove(&ranges->at[at + 1], &ranges->at[at], (ranges->count - at) * sizeof(*ranges->at));
    ranges->at[at] = *range;
    ranges->count++;
    return true;
}

const struct range *ranges_find(const struct ranges *ranges, uint64_t address)
{
    size_t at = upper(ranges, address);

    if (at == 0 || address - ranges->at[at - 1].start >= ranges->at[at - 1].bytes)
        return NULL;
    return &ranges->at[at - 1];
}

const struct range *ranges_cover(const struct ranges *ranges, uint64_t address, uint64_t bytes)
{
    const struct range *range = ranges_find(ranges, address);
    const struct range *next = range;
    const struct range *end = ranges->at + ranges->count;

    if (!range || __builtin_add_overflow(bytes, address - range->start, &bytes))
        return NULL;
    /* Counted from the start of `next` from here on. */
    while (bytes > next->bytes) {
        bytes -= next->bytes;
        if (next->what != RANGE_MAPPED || next + 1 == end || next[1].what != RANGE_MAPPED ||
            next[1].start != next->start + next->bytes)
            return NULL;
        next++;
    }
    return range;
}

bool ranges_touch(const struct ranges *ranges, uint64_t address, uint64_t bytes)
{
    size_t at = upper(ranges, address);

    if (ranges_find(ranges, address))
        return true;
    return at < ranges->count && ranges->at[at].start - address < bytes;
}

uint64_t ranges_next(const struct ranges *ranges, uint64_t address)
{
    size_t at = upper(ranges, address);

    return at < ranges->count ? ranges->at[at].start : UINT64_MAX;
}

static void erase(struct ranges *ranges, size_t at)
{
    ranges->count--;
    memmove(&ranges->at[at], &ranges->at[at + 1], (ranges->count - at) * sizeof(*ranges->at));
}

void ranges_drop(struct ranges *ranges, uint64_t start)
{
    size_t at = upper(ranges, start);

    if (at > 0 && ranges->at[at - 1].start == start)
        erase(ranges, at - 1);
}

void ranges_drop_if(struct ranges *ranges, bool (*match)(const struct range *range, uint32_t key),
                    uint32_t key, void (*drop)(const struct range *range))
{
    size_t kept = 0;

    for (size_t i = 0; i < ranges->count; i++) {
        if (match(&ranges->at[i], key)) {
            if (drop)
                drop(&ranges->at[i]);
        } else {
            ranges->at[kept++] = ranges->at[i];
        }
    }
    ranges->count = kept;
}

void ranges_release(struct ranges *ranges)
{
    free(ranges->at);
    *ranges = (struct ranges){0};
}
