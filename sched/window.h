/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sum over a sliding window of time, in buckets: GPU time and entitlement of one VM.
 * Used by sched/ for its statistics. Zero-initialised state is empty.
 */
#ifndef VGPU_SCHED_WINDOW_H
#define VGPU_SCHED_WINDOW_H

#include <stdint.h>

#include "sched/sched.h"

struct window {
    uint64_t newest;    /* number of the newest bucket: time / SCHED_WINDOW_BUCKET_NS */
    uint64_t newest_ns; /* its beginning */
    uint32_t slot;      /* its place */
    uint64_t buckets[SCHED_WINDOW_BUCKETS];
};

/* Where the times are not both in the newest bucket. */
void window_spread(struct window *window, uint64_t from_ns, uint64_t to_ns, uint64_t amount);

/* Spreads amount evenly over [from_ns, to_ns]; what lies before the window is forgotten. */
static inline void window_add(struct window *window, uint64_t from_ns, uint64_t to_ns,
                              uint64_t amount)
{
    if (from_ns >= window->newest_ns && to_ns - window->newest_ns < SCHED_WINDOW_BUCKET_NS)
        window->buckets[window->slot] += amount;
    else
        window_spread(window, from_ns, to_ns, amount);
}

/* Sum over the window that ends at now_ns. */
uint64_t window_sum(const struct window *window, uint64_t now_ns);

#endif
