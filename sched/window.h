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
    uint64_t newest; /* number of the newest bucket: time / SCHED_WINDOW_BUCKET_NS */
    uint64_t buckets[SCHED_WINDOW_BUCKETS];
};

/* Spreads amount evenly over [from_ns, to_ns]; what lies before the window is forgotten. */
void window_add(struct window *window, uint64_t from_ns, uint64_t to_ns, uint64_t amount);
/* Sum over the window that ends at now_ns. */
uint64_t window_sum(const struct window *window, uint64_t now_ns);

#endif
