/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * How long a channel's jobs took, by kind: the second part of the object whose first part is the
 * report page (lease.h). The worker counts, the mediator reads; to the mediator it is as hostile as
 * the report page. The sealed object is all there from the start, and takes memory as far as it was
 * written to.
 *
 * Counts are free running and go up only. They are kept in blocks of 128; a block that was never
 * counted in need not be looked at.
 */
#ifndef VGPU_TIMES_H
#define VGPU_TIMES_H

#include "lease.h"

enum vgpu_job_kind {
    VGPU_JOB_EXPLICIT = 0, /* asked for as a job of its own: the job window, vgpu-client */
    VGPU_JOB_LAUNCH = 1,
    VGPU_JOB_GRAPH = 2,
    VGPU_JOB_COPY = 3,
    VGPU_JOB_MEMSET = 4,
    VGPU_JOB_OTHER = 5,
    VGPU_JOB_KINDS = 6
};

/* The times of a completion (ring.h): until it was handed to the driver, until its end was seen. */
enum vgpu_job_time { VGPU_TIME_WAIT = 0, VGPU_TIME_RUN = 1, VGPU_TIME_TOTAL = 2, VGPU_TIMES = 3 };

/*
 * Values are counted in units of 64 ns, each to within 1/128: the first block pair holds 0 to 255
 * units one by one, each further block twice the range of the one before in 128 steps. What is
 * longer than 73 minutes is counted as that.
 */
#define VGPU_TIMES_UNIT_SHIFT   6u
#define VGPU_TIMES_BLOCK_SHIFT  7u
#define VGPU_TIMES_BLOCK_COUNTS (1u << VGPU_TIMES_BLOCK_SHIFT)
#define VGPU_TIMES_BLOCKS       30u
#define VGPU_TIMES_COUNTS       (VGPU_TIMES_BLOCKS * VGPU_TIMES_BLOCK_COUNTS)
#define VGPU_TIMES_UNITS_MAX    ((1ull << 36) - 1)
#define VGPU_TIMES_HIGHEST_NS   ((1ull << 42) - 1)
#define VGPU_TIMES_OFFSET       4096u /* in the object, behind the report page */

struct vgpu_times_head {
    uint64_t jobs;               /* stored after what it counts */
    uint64_t wait_ns, run_ns;    /* summed; the total is their sum */
    uint32_t blocks[VGPU_TIMES]; /* a bit per block that was counted in */
    uint32_t reserved[7];
};
VGPU_ASSERT_SIZE(struct vgpu_times_head, 64);

struct vgpu_times_page {
    struct vgpu_times_head heads[VGPU_JOB_KINDS];
    uint8_t reserved[4096 - VGPU_JOB_KINDS * 64];
    uint32_t counts[VGPU_JOB_KINDS][VGPU_TIMES][VGPU_TIMES_COUNTS];
    uint8_t reserved_end[2048];
};
VGPU_ASSERT_SIZE(struct vgpu_times_page, 282624);

#define VGPU_REPORT_BYTES (VGPU_TIMES_OFFSET + (uint32_t)sizeof(struct vgpu_times_page))

/* Where a time is counted. */
static inline uint32_t vgpu_times_index(uint64_t ns)
{
    uint64_t units = ns >> VGPU_TIMES_UNIT_SHIFT;
    uint32_t shift;

    if (units > VGPU_TIMES_UNITS_MAX)
        units = VGPU_TIMES_UNITS_MAX;
    shift = 56u - (uint32_t)__builtin_clzll(units | (2 * VGPU_TIMES_BLOCK_COUNTS - 1));
    return (shift << VGPU_TIMES_BLOCK_SHIFT) + (uint32_t)(units >> shift);
}

/* The least time that is counted there. */
static inline uint64_t vgpu_times_lowest_ns(uint32_t index)
{
    uint32_t block = index >> VGPU_TIMES_BLOCK_SHIFT;
    uint32_t shift = block > 1 ? block - 1 : 0;

    return (uint64_t)(index - (shift << VGPU_TIMES_BLOCK_SHIFT)) << (shift + VGPU_TIMES_UNIT_SHIFT);
}

#endif
