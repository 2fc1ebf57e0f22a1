/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Admission limits of one VM: rate of jobs (token bucket), depth, bytes in flight, quarantine.
 *
 * The mediator asks limits_admit() for each explicit job, and limits_take() for the budgets that it
 * grants to channels for posted calls; limits_done() gives depth and bytes back. Pure: time is an
 * argument, nothing is allocated. Either everything that was asked for is taken or nothing.
 */
#ifndef VGPU_SCHED_LIMITS_H
#define VGPU_SCHED_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#define LIMITS_RATE_MAX  1000000000U /* jobs per second */
#define LIMITS_BURST_MAX 1000000000U /* jobs */

enum limits_verdict {
    LIMITS_OK,
    LIMITS_BUSY,        /* may be tried again after the hint */
    LIMITS_TOO_LARGE,   /* more than the limits ever allow at once: final */
    LIMITS_QUARANTINED, /* final until an administrator clears it */
};

/* What limit a refusal came from, for counters by reason. */
enum limits_reason {
    LIMITS_BY_NONE,
    LIMITS_BY_RATE,
    LIMITS_BY_DEPTH,
    LIMITS_BY_BYTES,
    LIMITS_BY_QUARANTINE,
    LIMITS_N_REASONS,
};

/* 0 in a field means: no such limit. burst is needed (1 or more) where there is a rate. */
struct limits_config {
    uint32_t rate_per_s;
    uint32_t burst;
    uint32_t depth_max;
    uint64_t bytes_max;
};

struct limits {
    struct limits_config config;
    bool quarantined;
    uint64_t refilled_ns; /* when tokens was brought up to date */
    uint64_t tokens;      /* in 1e-9 jobs */
    uint32_t depth;       /* jobs taken and not done */
    uint64_t bytes;       /* of those jobs */
    uint64_t done_ns;     /* last completion */
    uint64_t gap_ns;      /* moving mean of the time between completions */
    uint64_t refused[LIMITS_N_REASONS];
};

struct limits_answer {
    enum limits_verdict verdict;
    enum limits_reason reason;
    uint64_t retry_ns; /* BUSY: a hint, when it may succeed, from now */
};

/* -EINVAL: out of range, or a rate without a burst. */
int limits_config_check(const struct limits_config *config);
/* The bucket starts full. config must have passed the check. */
void limits_init(struct limits *limits, const struct limits_config *config, uint64_t now_ns);
/* Live: tokens above the new burst are lost; jobs in flight above a new depth stay in flight. */
void limits_configure(struct limits *limits, const struct limits_config *config, uint64_t now_ns);
void limits_set_quarantine(struct limits *limits, bool quarantined);

struct limits_answer limits_admit(struct limits *limits, uint64_t now_ns, uint32_t jobs,
                                  uint64_t bytes);
/* Jobs that are done, in whatever way; clamped to what is in flight. */
void limits_done(struct limits *limits, uint64_t now_ns, uint32_t jobs, uint64_t bytes);

/*
 * Budgets: takes up to want jobs out of rate and depth at once for a channel to spend by itself;
 * returns how many (0 in quarantine). limits_untake() returns what the channel did not spend.
 */
uint32_t limits_take(struct limits *limits, uint64_t now_ns, uint32_t want);
void limits_untake(struct limits *limits, uint64_t now_ns, uint32_t jobs);

/*
 * Splits total among n channels by max-min fairness: none gets more than it wants, what one leaves
 * goes to the others. first (any number) says where the odd units go, so that turns can be taken.
 * The sum of ret[] is min(total, sum of want[]).
 */
void limits_split(uint64_t total, const uint64_t *want, uint64_t *ret, uint32_t n, uint32_t first);

#endif
