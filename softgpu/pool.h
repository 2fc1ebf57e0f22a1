/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory pools: what stream-ordered allocations take from. A pool's memory is charged to the
 * device from the allocation on; what was freed (when the stream got there) stays with the pool
 * until the next synchronisation, or for longer below the release threshold. Only the charge
 * stays: addresses come from the arena and go back to it. All functions need gpu.lock.
 */
#ifndef SOFTGPU_POOL_H
#define SOFTGPU_POOL_H

#include "softgpu/gpu.h"

struct pool {
    struct pool *next; /* of the device */
    CUmemoryPool handle;
    struct device *device;
    bool is_default;
    uint64_t blocks; /* allocations that live; the pool lives as long */
    uint64_t used_bytes, used_high_bytes;
    uint64_t unused_bytes; /* charged, and free */
    uint64_t reserved_high_bytes;
    uint64_t threshold_bytes, max_bytes;
    int reuse[3]; /* CU_MEMPOOL_ATTR_REUSE_*: kept, and without effect */
};

/* The device's current pool, and its default one; NULL: no memory. */
struct pool *pool_current(struct device *device);
struct pool *pool_default(struct device *device);

/* A pool of its own; NULL: no memory. */
struct pool *pool_new(struct device *device);

/* Its handle ends now. */
void pool_destroy(struct pool *pool);

/* Gives unused memory back to the device until keep_bytes or what is used are left. */
void pool_trim(struct pool *pool, uint64_t keep_bytes);

/* Takes span_bytes for an allocation; OUT_OF_MEMORY if pool or device have no room. */
CUresult pool_take(struct pool *pool, uint64_t span_bytes);

/* An allocation is over. The pool goes with the last one once it was destroyed. */
void pool_give(struct pool *pool, uint64_t span_bytes);

/* At a synchronisation: gives back to the device what pools hold above their thresholds. */
void pools_release(struct device *device);

#endif
