/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pools of one GPU: which of the configuration's pools its scheduler knows, at which weights,
 * and the scheduling that they ask for together. Used by lease.c.
 *
 * A pool that the GPU no longer serves stays as long as a VM has its seat in it. Weights are
 * in force only where the GPU serves two pools or more and each has one; a pool that merely stays
 * has the least weight then.
 */
#ifndef VGPU_MEDIATOR_POOL_H
#define VGPU_MEDIATOR_POOL_H

#include "mediator/config.h"
#include "sched/sched.h"

struct gpu;

struct pool {
    struct pool *next;
    uint32_t id; /* sched's */
    bool served; /* by the GPU, as configured */
    uint32_t seats;
    uint32_t configured_milli, weight_milli; /* 0: none; the second as sched has it */
    char name[CONFIG_NAME_BYTES];
};

/*
 * What the pools that the GPU serves ask for, on top of base: strict if any of them says so, and
 * the smallest slice, grace, longest wait and urgency that any names.
 */
void pool_merge(const struct config *config, uint32_t gpu_id, const struct sched_config *base,
                struct sched_config *ret_config);

/* Makes the GPU's pools those of the configuration. */
void pool_configure(struct gpu *gpu, const struct config *config);
/* The pool for a VM's seat, made if need be; counts the seat. NULL when out of memory or pools. */
struct pool *pool_take(struct gpu *gpu, const char *name);
/* A seat less; the pool goes if nothing keeps it. */
void pool_put(struct gpu *gpu, struct pool *pool);
/* NULL: the GPU does not serve it. */
struct pool *pool_find_served(const struct gpu *gpu, const char *name);
/* All of them, seats or not. The scheduler's are its own. */
void pool_free_all(struct gpu *gpu);

#endif
