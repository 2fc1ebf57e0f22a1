/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/window.h"

#include <assert.h>
#include <stddef.h>

#include "common/overflow.h"

#define UNIT_BYTES     4096u
#define SHARES         8u
#define MIN_DATA_BYTES (UINT64_C(1) << 20)

/* One of the parts that lie in the way; NULL: none does. */
static const struct window_part *in_the_way(const struct window_part *taken, unsigned n,
                                            uint64_t offset, uint64_t end)
{
    for (unsigned i = 0; i < n; i++)
        if (taken[i].offset < end && offset < taken[i].offset + taken[i].bytes)
            return &taken[i];
    return NULL;
}

bool window_place(uint64_t window_bytes, const struct window_part *taken, unsigned n,
                  uint64_t bytes, uint64_t *ret_offset)
{
    const struct window_part *part;
    uint64_t offset = 0, end;

    /* Each step goes past one part for good: n of them at most. */
    for (;;) {
        if (bytes == 0 || !vgpu_add_u64(offset, bytes, &end) || end > window_bytes)
            return false;
        part = in_the_way(taken, n, offset, end);
        if (!part)
            break;
        if (!vgpu_align_u64(part->offset + part->bytes, WINDOW_STEP_BYTES, &offset))
            return false;
    }
    *ret_offset = offset;
    return true;
}

uint64_t window_default_data_bytes(uint64_t window_bytes, uint64_t head_bytes, uint64_t most)
{
    uint64_t share = window_bytes / SHARES, least = 0, bytes;

    /* Rings have a maximum, so this fits. */
    vgpu_align_u64(head_bytes + MIN_DATA_BYTES, WINDOW_STEP_BYTES, &least);
    if (share < least)
        share = least;
    bytes = share - head_bytes;
    return bytes < most ? bytes : most;
}

uint32_t window_encode(uint64_t offset)
{
    assert(offset % UNIT_BYTES == 0 && offset / UNIT_BYTES < UINT32_MAX);
    return (uint32_t)(offset / UNIT_BYTES) + 1;
}

uint64_t window_decode(uint32_t window)
{
    assert(window != 0);
    return (uint64_t)(window - 1) * UNIT_BYTES;
}
