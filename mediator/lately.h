/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long something took lately: the quantiles of the last one to two minutes, by HdrHistogram
 * with two significant digits, from 64 ns to 73 minutes.
 *
 * What is counted goes into two histograms; each minute the older one is emptied and becomes the
 * younger, so that what is read is never about less than a minute, once there was one. Without
 * anything counted there is no memory. Called by times.c and metrics.c.
 */
#ifndef VGPU_MEDIATOR_LATELY_H
#define VGPU_MEDIATOR_LATELY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/clock.h"
#include "metrics/table.h"

#define LATELY_TURN_NS (60 * VGPU_NS_PER_S)
#define LATELY_DIGITS  2

struct hdr_histogram;

/* Zero-initialised: nothing was counted. */
struct lately {
    struct hdr_histogram *older, *younger;
    uint64_t turn_ns; /* when they change places */
    uint64_t quantiles[METRIC_QUANTILES];
    bool fresh; /* they are those of what is counted now */
};

/* Counts the value so many times. Without memory for it, it is left out. */
void lately_count(struct lately *lately, uint64_t now_ns, uint64_t value_ns, uint64_t times);
/* False: nothing was counted lately. */
bool lately_read(struct lately *lately, uint64_t now_ns, uint64_t ret[METRIC_QUANTILES]);
void lately_release(struct lately *lately);

#endif
