/* SPDX-License-Identifier: Apache-2.0 */
/* Sliding window; see window.h. */
#include "sched/window.h"

static void roll(struct window *window, uint64_t bucket)
{
    uint64_t steps = bucket > window->newest ? bucket - window->newest : 0;

    if (steps > SCHED_WINDOW_BUCKETS)
        steps = SCHED_WINDOW_BUCKETS;
    for (uint64_t i = 0; i < steps; i++)
        window->buckets[(bucket - i) % SCHED_WINDOW_BUCKETS] = 0;
    if (bucket <= window->newest)
        return;
    window->newest = bucket;
    window->newest_ns = bucket * SCHED_WINDOW_BUCKET_NS;
    window->slot = (uint32_t)(bucket % SCHED_WINDOW_BUCKETS);
}

void window_spread(struct window *window, uint64_t from_ns, uint64_t to_ns, uint64_t amount)
{
    uint64_t last = to_ns / SCHED_WINDOW_BUCKET_NS, first = from_ns / SCHED_WINDOW_BUCKET_NS;
    uint64_t rest = amount;

    roll(window, last);
    if (window->newest - last >= SCHED_WINDOW_BUCKETS)
        return;
    for (uint64_t b = last; b > first && last - b < SCHED_WINDOW_BUCKETS - 1; b--) {
        uint64_t start = b * SCHED_WINDOW_BUCKET_NS;
        uint64_t end = b == last ? to_ns : start + SCHED_WINDOW_BUCKET_NS;
        uint64_t part = (uint64_t)((unsigned __int128)amount * (end - start) / (to_ns - from_ns));

        if (window->newest - b < SCHED_WINDOW_BUCKETS)
            window->buckets[b % SCHED_WINDOW_BUCKETS] += part;
        rest -= part;
    }
    if (last - first < SCHED_WINDOW_BUCKETS && window->newest - first < SCHED_WINDOW_BUCKETS)
        window->buckets[first % SCHED_WINDOW_BUCKETS] += rest;
}

uint64_t window_sum(const struct window *window, uint64_t now_ns)
{
    uint64_t now = now_ns / SCHED_WINDOW_BUCKET_NS, sum = 0;

    for (uint64_t i = 0; i < SCHED_WINDOW_BUCKETS && i <= window->newest; i++) {
        if (now < window->newest - i + SCHED_WINDOW_BUCKETS)
            sum += window->buckets[(window->newest - i) % SCHED_WINDOW_BUCKETS];
    }
    return sum;
}
