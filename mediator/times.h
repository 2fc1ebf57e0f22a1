/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a VM's jobs took, by kind: what its workers count behind their report pages
 * (vgpu/times.h), added up, and the quantiles of lately.
 *
 * The pages are hostile. What they say is only ever added to their own VM's numbers, and no more of
 * it than there was time for: the rest is dropped, and counted. Called by metrics.c.
 */
#ifndef VGPU_MEDIATOR_TIMES_H
#define VGPU_MEDIATOR_TIMES_H

#include <vgpu/times.h>

#include "mediator/lately.h"

/* No worker ends jobs faster than one in this time. */
#define TIMES_JOB_NS 10
/* Beyond that, for pages that are read shortly after each other. */
#define TIMES_SLACK 1024

/* What a page said when it was last read. */
struct times_seen {
    uint64_t sums_ns, counts_ns;      /* when its sums and its counts were read */
    uint64_t counted[VGPU_JOB_KINDS]; /* jobs, when its counts were read */
    uint64_t jobs[VGPU_JOB_KINDS], wait_ns[VGPU_JOB_KINDS], run_ns[VGPU_JOB_KINDS];
    uint32_t *blocks[VGPU_JOB_KINDS][VGPU_TIMES][VGPU_TIMES_BLOCKS]; /* NULL: all 0 */
};

/* Zero-initialised: nothing was counted. */
struct times {
    uint64_t jobs[VGPU_JOB_KINDS], wait_ns[VGPU_JOB_KINDS], run_ns[VGPU_JOB_KINDS];
    uint64_t dropped;
    struct lately lately[VGPU_JOB_KINDS][VGPU_TIMES];
};

/* Of a channel that begins now, with a page of zeroes. NULL when out of memory. */
struct times_seen *times_seen_new(uint64_t now_ns);
/* NULL is allowed. */
void times_seen_free(struct times_seen *seen);

/*
 * Adds what the page says more than it did: how many jobs and their times summed, which is quickly
 * done; and how many took how long. times NULL: only notes it.
 */
void times_add_sums(struct times *times, struct times_seen *seen,
                    const struct vgpu_times_page *page, uint64_t now_ns);
void times_add_counts(struct times *times, struct times_seen *seen,
                      const struct vgpu_times_page *page, uint64_t now_ns);
void times_release(struct times *times);

#endif
