/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/patience.h"

#include "common/clock.h"

/*
 * How long before the mean polling begins, and how long behind it it ends: a part of the mean,
 * within bounds. A sleep with an end is late by its timer's slack (50 us) and by the waking.
 */
#define LEAD_PART   8
#define LEAD_MIN_NS (150 * VGPU_NS_PER_US)
#define LEAD_MAX_NS (500 * VGPU_NS_PER_US)

/* Shorter sleeps are not worth their calls. */
#define SLEEP_MIN_NS (50 * VGPU_NS_PER_US)

/* Waits that differ more than polling covers are slept for, until one would have been met again. */
#define MISSES_MOST 4

#define MEAN_PART 4

static uint64_t lead_ns(const struct patience *patience)
{
    uint64_t lead = patience->mean_ns / LEAD_PART;

    if (lead < LEAD_MIN_NS)
        return LEAD_MIN_NS;
    return lead < LEAD_MAX_NS ? lead : LEAD_MAX_NS;
}

uint64_t patience_rest_ns(const struct patience *patience, uint64_t elapsed_ns)
{
    uint64_t lead = lead_ns(patience);

    if (patience->mean_ns == 0 || patience->misses >= MISSES_MOST ||
        elapsed_ns >= patience->mean_ns + lead)
        return PATIENCE_FOREVER;
    if (elapsed_ns + lead + SLEEP_MIN_NS >= patience->mean_ns)
        return 0;
    return patience->mean_ns - lead - elapsed_ns;
}

void patience_learn(struct patience *patience, uint64_t waited_ns)
{
    uint64_t mean = patience->mean_ns, lead = lead_ns(patience);

    if (mean == 0) {
        patience->mean_ns = waited_ns;
        return;
    }
    if (waited_ns > mean + lead)
        patience->misses += patience->misses < MISSES_MOST;
    else if (waited_ns + lead >= mean)
        patience->misses = 0;
    patience->mean_ns = mean - mean / MEAN_PART + waited_ns / MEAN_PART;
}
