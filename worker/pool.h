/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory pools: the guest's own and the device's default one. What a pool keeps of the device
 * counts against the quota, used or not, as far as the driver tells. The worker makes no
 * synchronising call where it could block, at which the driver would let unused memory go: it trims
 * in their place.
 *
 * A pool that the guest destroyed lives on until its last allocation is freed.
 */
#ifndef VGPU_WORKER_POOL_H
#define VGPU_WORKER_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "cuda/cuda_abi.h"

struct channel;
struct context;

struct pool {
    struct pool *next;
    CUmemoryPool cu; /* NULL: not asked for yet, or destroyed */
    uint32_t handle; /* 0: the default pool's */
    bool destroyed;
    bool freed;    /* something was freed since the last trim */
    uint32_t live; /* allocations */
    uint64_t live_bytes;
    uint64_t counted_bytes; /* in the channel's memory_bytes */
    uint64_t threshold_bytes;
};

/* The device's default pool, ready for use. */
CUresult pool_default(struct channel *channel, struct pool **ret_pool);

/* Where a synchronisation is answered, or nothing is going on: gives unused memory back. */
void pools_settle(struct channel *channel);

/* Frees what came from pools through this context, once that is idle. */
void pools_end_context(struct channel *channel, struct context *context);

/* The driver was reset: asks it anew for the default pool. */
void pools_forget_default(struct channel *channel);

/* Frees the worker's own memory. */
void pools_free(struct channel *channel);

#endif
