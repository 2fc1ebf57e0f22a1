/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guard.h"

#include "common/clock.h"

#define BURST_S         2 /* of the rate may come at once */
#define REFUSED_PER_S   5
#define REFUSED_AT_ONCE 20

void guard_init(struct guard *guard, unsigned rate_per_s)
{
    pthread_mutex_init(&guard->lock, NULL);
    limit_init(&guard->by_address, rate_per_s, rate_per_s * BURST_S);
    limit_init(&guard->by_token, rate_per_s, rate_per_s * BURST_S);
    limit_init(&guard->refused, REFUSED_PER_S, REFUSED_AT_ONCE);
}

void guard_release(struct guard *guard)
{
    pthread_mutex_destroy(&guard->lock);
}

static bool take(struct guard *guard, struct limit *limit, const char *key, unsigned *ret_wait_s)
{
    bool may;

    pthread_mutex_lock(&guard->lock);
    may = limit_take(limit, key, vgpu_clock_ns(), ret_wait_s);
    pthread_mutex_unlock(&guard->lock);
    return may;
}

bool guard_address(struct guard *guard, const char *address, unsigned *ret_wait_s)
{
    return take(guard, &guard->by_address, address, ret_wait_s);
}

bool guard_token(struct guard *guard, const char *name, unsigned *ret_wait_s)
{
    return take(guard, &guard->by_token, name, ret_wait_s);
}

bool guard_refused(struct guard *guard, const char *address, unsigned *ret_wait_s)
{
    return take(guard, &guard->refused, address, ret_wait_s);
}
