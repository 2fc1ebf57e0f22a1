/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/spare.h"

#include <string.h>

void spare_pool_count(const struct spare_pool *pool, unsigned *ret_starting, unsigned *ret_ready)
{
    *ret_starting = *ret_ready = 0;
    for (unsigned i = 0; i < VGPU_LAUNCH_MAX_SPARES; i++) {
        const struct spare *spare = &pool->spares[i];

        *ret_starting += spare->state == SPARE_STARTING && !spare->unwanted;
        *ret_ready += spare->state == SPARE_READY && !spare->unwanted;
    }
}

static bool empty(const struct spare_pool *pool)
{
    for (unsigned i = 0; i < VGPU_LAUNCH_MAX_SPARES; i++)
        if (pool->spares[i].state != SPARE_NONE)
            return false;
    return true;
}

struct spare_pool *spares_pool(struct spares *spares, const char *gpu_uuid)
{
    for (unsigned i = 0; i < VGPU_LAUNCH_MAX_GPUS; i++)
        if (gpu_uuid[0] && strncmp(spares->pools[i].gpu_uuid, gpu_uuid, VGPU_GPU_UUID_BYTES) == 0)
            return &spares->pools[i];
    return NULL;
}

/* Pools of GPUs that went may still be emptying; with as many new ones, the last wait. */
static struct spare_pool *unused_pool(struct spares *spares)
{
    for (unsigned i = 0; i < VGPU_LAUNCH_MAX_GPUS; i++) {
        struct spare_pool *pool = &spares->pools[i];

        if (pool->wanted == 0 && empty(pool)) {
            memset(pool, 0, sizeof(*pool));
            return pool;
        }
    }
    return NULL;
}

void spares_want(struct spares *spares, const struct vgpu_launch_spares *wish)
{
    for (unsigned i = 0; i < VGPU_LAUNCH_MAX_GPUS; i++)
        spares->pools[i].wanted = 0;
    for (unsigned i = 0; i < wish->n_gpus && wish->spares > 0; i++) {
        struct spare_pool *pool = spares_pool(spares, wish->gpu_uuid[i]);

        if (!pool && (pool = unused_pool(spares)))
            memcpy(pool->gpu_uuid, wish->gpu_uuid[i], VGPU_GPU_UUID_BYTES);
        if (!pool)
            continue;
        pool->wanted = wish->spares;
        pool->changed = true;
    }
}

struct spare *spares_find(struct spares *spares, uint32_t number, struct spare_pool **ret_pool)
{
    for (unsigned i = 0; i < VGPU_LAUNCH_MAX_GPUS; i++) {
        for (unsigned k = 0; k < VGPU_LAUNCH_MAX_SPARES; k++) {
            struct spare *spare = &spares->pools[i].spares[k];

            if (spare->state == SPARE_NONE || spare->number != number)
                continue;
            *ret_pool = &spares->pools[i];
            return spare;
        }
    }
    return NULL;
}

struct spare *spares_find_pid(struct spares *spares, pid_t pid, struct spare_pool **ret_pool)
{
    for (unsigned i = 0; i < VGPU_LAUNCH_MAX_GPUS; i++) {
        for (unsigned k = 0; k < VGPU_LAUNCH_MAX_SPARES; k++) {
            struct spare *spare = &spares->pools[i].spares[k];

            if (spare->state == SPARE_NONE || spare->pid != pid)
                continue;
            *ret_pool = &spares->pools[i];
            return spare;
        }
    }
    return NULL;
}

struct spare *spare_pool_room(struct spare_pool *pool, uint64_t now_ns)
{
    unsigned starting, ready;

    spare_pool_count(pool, &starting, &ready);
    if (starting + ready >= pool->wanted || now_ns < pool->retry_ns)
        return NULL;
    for (unsigned i = 0; i < VGPU_LAUNCH_MAX_SPARES; i++)
        if (pool->spares[i].state == SPARE_NONE)
            return &pool->spares[i];
    return NULL;
}

struct spare *spare_pool_excess(struct spare_pool *pool, uint64_t now_ns)
{
    unsigned starting, ready;

    spare_pool_count(pool, &starting, &ready);
    for (unsigned i = 0; i < VGPU_LAUNCH_MAX_SPARES; i++) {
        struct spare *spare = &pool->spares[i];

        if (spare->state == SPARE_NONE || spare->unwanted)
            continue;
        if (starting + ready > pool->wanted) {
            spare->unwanted = true;
            pool->changed = true;
            return spare;
        }
        if (spare->state == SPARE_STARTING && spare->sock >= 0 &&
            now_ns >= spare->started_ns + SPARE_START_NS)
            return spare;
    }
    return NULL;
}

struct spare *spare_pool_ready(struct spare_pool *pool)
{
    for (unsigned i = 0; i < VGPU_LAUNCH_MAX_SPARES; i++) {
        struct spare *spare = &pool->spares[i];

        if (spare->state == SPARE_READY && spare->sock >= 0 && !spare->unwanted)
            return spare;
    }
    return NULL;
}

void spare_pool_failed(struct spare_pool *pool, uint64_t now_ns)
{
    uint64_t backoff = SPARE_BACKOFF_MAX_NS;

    if (pool->failures < 6)
        backoff = SPARE_BACKOFF_NS << pool->failures;
    if (pool->failures < UINT32_MAX)
        pool->failures++;
    pool->retry_ns = now_ns + backoff;
    pool->changed = true;
}

void spare_leave(struct spare_pool *pool, struct spare *spare, bool adopted)
{
    if (adopted) {
        pool->failures = 0;
        pool->adopted++;
    }
    *spare = (struct spare){.state = SPARE_NONE, .sock = -1};
    pool->changed = true;
}

static void sooner(uint64_t *next_ns, uint64_t at_ns)
{
    if (at_ns < *next_ns)
        *next_ns = at_ns;
}

uint64_t spares_next_ns(const struct spares *spares)
{
    uint64_t next_ns = UINT64_MAX;

    for (unsigned i = 0; i < VGPU_LAUNCH_MAX_GPUS; i++) {
        const struct spare_pool *pool = &spares->pools[i];
        unsigned starting, ready;

        spare_pool_count(pool, &starting, &ready);
        if (starting + ready < pool->wanted)
            sooner(&next_ns, pool->retry_ns);
        for (unsigned k = 0; k < VGPU_LAUNCH_MAX_SPARES; k++) {
            const struct spare *spare = &pool->spares[k];

            if (spare->state == SPARE_STARTING && spare->sock >= 0)
                sooner(&next_ns, spare->started_ns + SPARE_START_NS);
        }
    }
    return next_ns;
}
