/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rate limit of one VM, a token bucket whose tokens are granted to channels ahead of time, and
 * the division of a budget among channels.
 *
 * The mediator takes jobs out of the bucket and grants them to a channel, which spends them by
 * itself. What is granted and not spent still counts as in the bucket: bucket and grants together
 * never hold more than a burst, so that over any time t at most burst + rate * t jobs pass, however
 * many channels there are. Pure: time is an argument, nothing is allocated. Called by
 * mediator/budget.c.
 */
#ifndef VGPU_SCHED_LIMITS_H
#define VGPU_SCHED_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#define LIMITS_RATE_MAX  1000000000U /* jobs per second */
#define LIMITS_BURST_MAX 1000000000U /* jobs */

/* rate_per_s 0: no limit. burst is needed (1 or more) where there is a rate. */
struct limits_config {
    uint32_t rate_per_s;
    uint32_t burst;
};

struct limits {
    struct limits_config config;
    uint64_t refilled_ns; /* when tokens was brought up to date */
    uint64_t tokens;      /* in 1e-9 jobs */
    uint64_t held;        /* jobs granted and not spent; at most burst, but for a smaller new one */
    uint64_t owed; /* in 1e-9 jobs: spent beyond the grants; paid before anything is granted */
};

/* -EINVAL: out of range, or a rate without a burst. */
int limits_config_check(const struct limits_config *config);
/* The bucket starts full. config must have passed the check. */
void limits_init(struct limits *limits, const struct limits_config *config, uint64_t now_ns);
/* Live: tokens above the new burst are lost; what was granted stays granted. */
void limits_configure(struct limits *limits, const struct limits_config *config, uint64_t now_ns);
/* An empty bucket, with so many jobs granted and not spent: after a restart of the mediator. */
void limits_adopt(struct limits *limits, uint64_t now_ns, uint64_t held);

/* Takes up to want jobs to be granted; returns how many. Without a rate: all of them. */
uint64_t limits_take(struct limits *limits, uint64_t now_ns, uint64_t want);
/* So many jobs were spent. More than are held are owed. */
void limits_spend(struct limits *limits, uint64_t now_ns, uint64_t jobs);
/* So many were granted and will not be spent: they are back in the bucket. Clamped to held. */
void limits_untake(struct limits *limits, uint64_t now_ns, uint64_t jobs);
/* From now until so many jobs, at most a burst, can be taken if nobody takes or spends any. */
uint64_t limits_wait_ns(const struct limits *limits, uint64_t now_ns, uint64_t jobs);

/*
 * Splits total among n channels by max-min fairness: none gets more than it wants, what one leaves
 * goes to the others. first (any number) says where the odd units go, so that turns can be taken.
 * The sum of ret[] is min(total, sum of want[]).
 */
void limits_split(uint64_t total, const uint64_t *want, uint64_t *ret, uint32_t n, uint32_t first);

#endif
