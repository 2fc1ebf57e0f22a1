/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/overflow.h"
#include "worker/limits.h"

/* Index of the first range that starts behind address. */
static size_t first_behind(const struct ledger *ledger, uint64_t address)
{
    size_t low = 0;
    size_t high = ledger->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (ledger->ranges[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int make_room(struct ledger *ledger)
{
    size_t room = ledger->room ? ledger->room * 2 : 64;
    struct ledger_range *ranges;

    if (ledger->count < ledger->room)
        return 0;
    if (ledger->count >= WORKER_MAX_ALLOCATIONS)
        return -ENOSPC;
    ranges = realloc(ledger->ranges, room * sizeof(*ranges));
    if (!ranges)
        return -ENOSPC;
    ledger->ranges = ranges;
    ledger->room = room;
    return 0;
}

uint64_t ledger_counted(const struct ledger_range *range)
{
    uint64_t bytes = range->bytes;

    vgpu_align_u64(range->bytes, VGPU_ALLOCATION_GRAIN, &bytes);
    return bytes;
}

int ledger_add(struct ledger *ledger, const struct ledger_range *range)
{
    size_t at = first_behind(ledger, range->address);
    uint64_t end;

    if (range->bytes == 0 || !vgpu_add_u64(range->address, range->bytes, &end))
        return -EINVAL;
    if (at > 0 && ledger->ranges[at - 1].address + ledger->ranges[at - 1].bytes > range->address)
        return -EEXIST;
    if (at < ledger->count && ledger->ranges[at].address < end)
        return -EEXIST;
    if (make_room(ledger) < 0)
        return -ENOSPC;
    memmove(&ledger->ranges[at + 1], &ledger->ranges[at],
            (ledger->count - at) * sizeof(*ledger->ranges));
    ledger->ranges[at] = *range;
    ledger->count++;
    return 0;
}

/* True if the mappings from index on lie side by side and hold [address, address + bytes). */
static bool spans(const struct ledger *ledger, size_t index, uint64_t address, uint64_t bytes)
{
    const struct ledger_range *range = &ledger->ranges[index];
    uint64_t end, at;

    if (!vgpu_add_u64(address, bytes, &end) || address - range->address >= range->bytes)
        return false;
    at = range->address;
    for (; index < ledger->count && at < end; index++, range++) {
        if (range->kind != RANGE_MAPPED || range->address != at)
            return false;
        at += range->bytes;
    }
    return at >= end;
}

const struct ledger_range *ledger_find(const struct ledger *ledger, uint64_t address,
                                       uint64_t bytes)
{
    size_t at = first_behind(ledger, address);
    const struct ledger_range *range;

    if (at == 0)
        return NULL;
    range = &ledger->ranges[at - 1];
    if (vgpu_range_within(address - range->address, bytes, range->bytes))
        return range;
    return range->kind == RANGE_MAPPED && spans(ledger, at - 1, address, bytes) ? range : NULL;
}

bool ledger_touches(const struct ledger *ledger, uint64_t address, uint64_t bytes)
{
    size_t at = first_behind(ledger, address);

    if (at > 0 && address - ledger->ranges[at - 1].address < ledger->ranges[at - 1].bytes)
        return true;
    return at < ledger->count && ledger->ranges[at].address - address < bytes;
}

bool ledger_remove(struct ledger *ledger, uint64_t address, enum range_kind kind,
                   struct ledger_range *ret_range)
{
    size_t at = first_behind(ledger, address);

    if (at == 0 || ledger->ranges[at - 1].address != address || ledger->ranges[at - 1].kind != kind)
        return false;
    ledger->removals++;
    *ret_range = ledger->ranges[at - 1];
    memmove(&ledger->ranges[at - 1], &ledger->ranges[at],
            (ledger->count - at) * sizeof(*ledger->ranges));
    ledger->count--;
    return true;
}

uint64_t ledger_remove_owner(struct ledger *ledger, const void *owner)
{
    uint64_t bytes = 0;
    size_t kept = 0;

    ledger->removals++;
    for (size_t i = 0; i < ledger->count; i++) {
        const struct ledger_range *range = &ledger->ranges[i];

        if (range->owner != owner || range->kind == RANGE_POOL)
            ledger->ranges[kept++] = *range;
        else if (range->kind == RANGE_ALLOCATION)
            bytes += ledger_counted(range);
    }
    ledger->count = kept;
    return bytes;
}

void ledger_free(struct ledger *ledger)
{
    free(ledger->ranges);
}
