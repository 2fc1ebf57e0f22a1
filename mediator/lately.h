/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long something took lately: quantiles by HdrHistogram with two significant digits, from 64 ns
 * to 73 minutes.
 *
 * What is counted goes into a histogram that is emptied each minute. Read is the present minute
 * once half of it is over, or there was none before; until then the minute before it, of which the
 * quantiles were kept. A second histogram would make that smoother, for twice the memory, and
 * memory is what this costs: 31 KB for each. Where nothing is counted there is none. Called by
 * times.c and metrics.c.
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

struct lately_quantiles {
    bool known;
    uint64_t ns[METRIC_QUANTILES];
};

/* Zero-initialised: nothing was counted. */
struct lately {
    struct hdr_histogram *counts;        /* NULL: none */
    uint64_t began_ns;                   /* the present minute */
    struct lately_quantiles before, now; /* now.known: they are those of what is counted */
};

/* Counts the value so many times. Without memory for it, it is left out. */
void lately_count(struct lately *lately, uint64_t now_ns, uint64_t value_ns, uint64_t times);
/* False: nothing was counted lately. */
bool lately_read(struct lately *lately, uint64_t now_ns, uint64_t ret[METRIC_QUANTILES]);
void lately_release(struct lately *lately);

#endif
