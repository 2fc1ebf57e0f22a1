/* SPDX-License-Identifier: Apache-2.0 */
/* Placement of a channel; see place.h. */
#include "sched/place.h"

#include <errno.h>

#define SAME_LOAD_PPM 50000

static bool fits(const struct place_gpu *gpu, uint64_t need_bytes)
{
    return gpu->usable && gpu->free_bytes >= need_bytes;
}

static bool better(const struct place_gpu *a, const struct place_gpu *b)
{
    if (a->weight != b->weight)
        return a->weight < b->weight;
    if (a->free_bytes != b->free_bytes)
        return a->free_bytes > b->free_bytes;
    return a->channels < b->channels;
}

int place_channel(const struct place_gpu *gpus, uint32_t n, uint64_t need_bytes,
                  uint32_t *ret_index)
{
    uint64_t least = UINT64_MAX;
    uint32_t best = n;
    bool usable = false;

    for (uint32_t i = 0; i < n; i++) {
        usable = usable || gpus[i].usable;
        if (fits(&gpus[i], need_bytes) && gpus[i].load_ppm < least)
            least = gpus[i].load_ppm;
    }
    if (least == UINT64_MAX)
        return usable ? -ENOSPC : -ENODEV;
    for (uint32_t i = 0; i < n; i++) {
        if (!fits(&gpus[i], need_bytes) || gpus[i].load_ppm > least + SAME_LOAD_PPM)
            continue;
        if (best == n || better(&gpus[i], &gpus[best]))
            best = i;
    }
    *ret_index = best;
    return 0;
}
