/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long to wait before the next attempt after a retryable refusal: exponential from 100 ms to
 * 5 s, not before the host's hint, five attempts in all. Pure; the caller sleeps.
 */
#ifndef VGPU_GUEST_CLIENT_BACKOFF_H
#define VGPU_GUEST_CLIENT_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

#define BACKOFF_ATTEMPTS 5
#define BACKOFF_FIRST_NS UINT64_C(100000000)
#define BACKOFF_MOST_NS  UINT64_C(5000000000)
#define BACKOFF_FACTOR   3

struct backoff {
    unsigned attempts; /* that were made */
    uint64_t wait_ns;
};

/* After a failed attempt: false if it was the last, else *ret_wait_ns. */
bool backoff_next(struct backoff *backoff, uint64_t hint_ns, uint64_t *ret_wait_ns);

#endif
