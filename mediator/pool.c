/* SPDX-License-Identifier: Apache-2.0 */
/* The pools of a GPU; see pool.h. */
#include "mediator/pool.h"

#include <stdlib.h>
#include <string.h>

#include "mediator/lease.h"

#define NS_PER_US 1000u

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* b, where it is named (not 0) and either smaller than a or the first. */
static uint64_t least_named(uint64_t a, uint64_t b)
{
    return b && (!a || b < a) ? b : a;
}

static bool serves(const struct config_pool *pool, uint32_t gpu_id)
{
    return pool->gpus >> gpu_id & 1;
}

/* A first turn is never longer than by default, and a slice stretches to four for whole jobs. */
static void set_slice(struct sched_config *config, uint64_t slice_ns)
{
    config->slice_min_ns = least(config->slice_min_ns, slice_ns / 5);
    if (config->slice_min_ns < SCHED_SLICE_LIMIT_MIN_NS)
        config->slice_min_ns = SCHED_SLICE_LIMIT_MIN_NS;
    config->slice_max_ns = least(slice_ns * 4, SCHED_SLICE_LIMIT_MAX_NS);
    config->slice_ns = slice_ns;
}

void pool_merge(const struct config *config, uint32_t gpu_id, const struct sched_config *base,
                struct sched_config *ret_config)
{
    uint64_t slice_ns = 0, grace_ns = 0, max_wait_ns = 0, urgency_ns = 0;
    bool strict = false;

    for (unsigned i = 0; i < config->n_pools; i++) {
        const struct config_pool *pool = &config->pools[i];

        if (!serves(pool, gpu_id))
            continue;
        strict = strict || pool->strict;
        slice_ns = least_named(slice_ns, (uint64_t)pool->slice_us * NS_PER_US);
        grace_ns = least_named(grace_ns, (uint64_t)pool->grace_us * NS_PER_US);
        max_wait_ns = least_named(max_wait_ns, (uint64_t)pool->max_wait_ms * 1000 * NS_PER_US);
        urgency_ns = least_named(urgency_ns, (uint64_t)pool->urgency_us * NS_PER_US);
    }
    *ret_config = *base;
    ret_config->policy = strict ? SCHED_POLICY_STRICT : SCHED_POLICY_WFQ;
    if (slice_ns)
        set_slice(ret_config, slice_ns);
    if (grace_ns)
        ret_config->grace_ns = grace_ns;
    if (urgency_ns)
        ret_config->urgency_ns = urgency_ns;
    if (max_wait_ns) {
        ret_config->max_wait_ns = max_wait_ns;
        ret_config->aging_ns = max_wait_ns / 2; /* two levels up: at once */
    }
}

static struct pool *find(const struct gpu *gpu, const char *name)
{
    for (struct pool *pool = gpu->pools; pool; pool = pool->next)
        if (strcmp(pool->name, name) == 0)
            return pool;
    return NULL;
}

static struct pool *make(struct gpu *gpu, const char *name)
{
    struct pool *pool = calloc(1, sizeof(*pool));
    struct sched_actions actions;

    if (!pool)
        return NULL;
    pool->id = ++gpu->last_pool;
    strcpy(pool->name, name);
    if (sched_pool_add(gpu->sched, pool->id, 0, loop_now(gpu->loop), &actions) < 0) {
        free(pool);
        return NULL;
    }
    gpu_carry_out(gpu, &actions);
    pool->next = gpu->pools;
    gpu->pools = pool;
    return pool;
}

static void drop(struct gpu *gpu, struct pool *pool)
{
    struct pool **at = &gpu->pools;
    struct sched_actions actions;

    while (*at != pool)
        at = &(*at)->next;
    *at = pool->next;
    if (sched_pool_remove(gpu->sched, pool->id, loop_now(gpu->loop), &actions) == 0)
        gpu_carry_out(gpu, &actions);
    free(pool);
}

static bool weights_count(const struct gpu *gpu)
{
    unsigned served = 0;

    for (const struct pool *pool = gpu->pools; pool; pool = pool->next) {
        if (!pool->served)
            continue;
        if (!pool->configured_milli)
            return false;
        served++;
    }
    return served >= 2;
}

/* Tells sched what differs from what it knows. */
static void settle(struct gpu *gpu)
{
    bool count = weights_count(gpu);
    struct sched_actions actions;

    for (struct pool *pool = gpu->pools; pool; pool = pool->next) {
        uint32_t weight = pool->served ? pool->configured_milli : SCHED_WEIGHT_MIN;

        if (!count)
            weight = 0;
        if (weight == pool->weight_milli)
            continue;
        pool->weight_milli = weight;
        if (sched_pool_set_weight(gpu->sched, pool->id, weight, loop_now(gpu->loop), &actions) == 0)
            gpu_carry_out(gpu, &actions);
    }
}

static void collect(struct gpu *gpu)
{
    struct pool *next;

    for (struct pool *pool = gpu->pools; pool; pool = next) {
        next = pool->next;
        if (!pool->served && !pool->seats)
            drop(gpu, pool);
    }
}

void pool_configure(struct gpu *gpu, const struct config *config)
{
    for (struct pool *pool = gpu->pools; pool; pool = pool->next)
        pool->served = false;
    for (unsigned i = 0; i < config->n_pools; i++) {
        const struct config_pool *wanted = &config->pools[i];
        struct pool *pool;

        if (!serves(wanted, gpu->id))
            continue;
        pool = find(gpu, wanted->name);
        if (!pool)
            pool = make(gpu, wanted->name);
        if (!pool)
            continue; /* out of memory: its VMs are refused until the next change */
        pool->served = true;
        pool->configured_milli = wanted->weight_hundredths * 10;
    }
    collect(gpu);
    settle(gpu);
}

struct pool *pool_take(struct gpu *gpu, const char *name)
{
    struct pool *pool = find(gpu, name);

    if (!pool) {
        pool = make(gpu, name);
        if (pool)
            settle(gpu);
    }
    if (pool)
        pool->seats++;
    return pool;
}

void pool_put(struct gpu *gpu, struct pool *pool)
{
    if (--pool->seats > 0 || pool->served)
        return;
    drop(gpu, pool);
    settle(gpu);
}

struct pool *pool_find_served(const struct gpu *gpu, const char *name)
{
    struct pool *pool = find(gpu, name);

    return pool && pool->served ? pool : NULL;
}

void pool_free_all(struct gpu *gpu)
{
    struct pool *next;

    for (struct pool *pool = gpu->pools; pool; pool = next) {
        next = pool->next;
        free(pool);
    }
    gpu->pools = NULL;
}
