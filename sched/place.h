/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chooses the GPU of a pool on which a VM's new channel is opened. A pure function of what the
 * mediator knows; a channel stays where it was placed.
 */
#ifndef VGPU_SCHED_PLACE_H
#define VGPU_SCHED_PLACE_H

#include <stdbool.h>
#include <stdint.h>

struct place_gpu {
    bool usable;       /* healthy, in the pool, not being emptied */
    uint32_t load_ppm; /* busy share over the last seconds */
    uint64_t weight;   /* sum of the shares (multiplier x weight) of the VMs with channels on it */
    uint32_t channels; /* open on it */
    uint64_t free_bytes; /* of its memory, less what is promised */
};

/*
 * Among the usable GPUs that have need_bytes free: the least loaded, loads being equal within 5 %
 * the one with the smallest weight, then the most free memory, then the fewest channels, then the
 * first. 0 and *ret_index, -ENODEV (none usable) or -ENOSPC (none with the memory).
 */
int place_channel(const struct place_gpu *gpus, uint32_t n, uint64_t need_bytes,
                  uint32_t *ret_index);

#endif
