/* SPDX-License-Identifier: Apache-2.0 */
/* How often somebody may ask, by address and by token; and how often with a token that is none. */
#ifndef VGPU_AGENT_GUARD_H
#define VGPU_AGENT_GUARD_H

#include <pthread.h>

#include "agent/limit.h"

struct guard {
    pthread_mutex_t lock;
    struct limit by_address, by_token, refused;
};

void guard_init(struct guard *guard, unsigned rate_per_s);
void guard_release(struct guard *guard);

/* False: too often; *ret_wait_s: when to come again. */
bool guard_address(struct guard *guard, const char *address, unsigned *ret_wait_s);
bool guard_token(struct guard *guard, const char *name, unsigned *ret_wait_s);
bool guard_refused(struct guard *guard, const char *address, unsigned *ret_wait_s);

#endif
