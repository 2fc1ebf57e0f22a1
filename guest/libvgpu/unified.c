/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/unified.h"

#include <sys/mman.h>

#include "common/flag.h"
#include "common/overflow.h"
#include "cuda/cuda_send.h"
#include "guest/libvgpu/ranges.h"

#define PAGE_BYTES UINT64_C(4096)

static struct unified {
    uint32_t holds; /* flag */
    pthread_mutex_t lock;
    struct ranges reserved; /* whole pages; neighbours are one range */
} unified = {.lock = PTHREAD_MUTEX_INITIALIZER};

bool unified_holds(void)
{
    return vgpu_flag_get(&unified.holds);
}

static bool within_band(uint64_t address, uint64_t bytes)
{
    return address % PAGE_BYTES == 0 && address >= VGPU_BAND_START && address < VGPU_BAND_END &&
           bytes <= VGPU_BAND_END - address;
}

void unified_begin(struct sender *sender)
{
    struct cuda_out_data_area out;

    if (sender->mirror || cuda_send_data_area(sender, &out) != CUDA_SUCCESS)
        return;
    if (within_band(out.address, sender->map.geometry.data_bytes) &&
        channel_mapping_move_data(&sender->map, out.address) == 0)
        vgpu_flag_set(&unified.holds, 1);
}

void unified_end(void)
{
    pthread_mutex_lock(&unified.lock);
    vgpu_flag_set(&unified.holds, 0);
    for (size_t i = 0; i < unified.reserved.count; i++)
        munmap((void *)(uintptr_t)unified.reserved.at[i].start, unified.reserved.at[i].bytes);
    ranges_release(&unified.reserved);
    pthread_mutex_unlock(&unified.lock);
}

/* Pages that are not reserved yet. Called with the lock. */
static bool reserve_pages(uint64_t start, uint64_t bytes)
{
    const struct range *before = ranges_find(&unified.reserved, start - 1);
    struct range range = {.start = start, .bytes = bytes};

    if (!mapping_take_free(start, bytes))
        return false;
    if (before) {
        range.start = before->start;
        range.bytes = before->bytes + bytes;
    }
    if (ranges_add(&unified.reserved, &range))
        return true;
    munmap((void *)(uintptr_t)start, bytes);
    return false;
}

bool unified_reserve(uint64_t address, uint64_t bytes)
{
    uint64_t at = address & ~(PAGE_BYTES - 1);
    uint64_t end;
    bool good;

    if (!unified_holds())
        return true;
    if (!vgpu_add_u64(address, bytes, &end) || !vgpu_align_u64(end, PAGE_BYTES, &end))
        return false;
    pthread_mutex_lock(&unified.lock);
    for (good = true; good && at < end;) {
        const struct range *range = ranges_find(&unified.reserved, at);
        uint64_t next = ranges_next(&unified.reserved, at);

        if (range) {
            at = range->start + range->bytes;
            continue;
        }
        next = next < end ? next : end;
        good = reserve_pages(at, next - at);
        at = next;
    }
    pthread_mutex_unlock(&unified.lock);
    return good;
}
