/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VM has queued, for the scheduler: how many jobs, and since when the oldest of them waits.
 * Read by lease.c from the workers' report pages where it decides anyway, so it wakes nobody up.
 *
 * A job's arrival is when the mediator first saw its worker speak of it, so a worker cannot claim
 * one in the past; if it lies about what it took or did, its VM gains BACKLOG_ARRIVAL_NS within its
 * priority at most, and what the scheduler allows for depth.
 */
#ifndef VGPU_MEDIATOR_BACKLOG_H
#define VGPU_MEDIATOR_BACKLOG_H

#include <stdint.h>

#include "common/clock.h"

#define BACKLOG_MARKS      16
#define BACKLOG_ARRIVAL_NS VGPU_NS_PER_S

/* When how many jobs of a channel had been taken, oldest first. Zero-initialised: none. */
struct backlog {
    struct {
        uint64_t taken, seen_ns;
    } marks[BACKLOG_MARKS];
    unsigned count;
};

/*
 * Notes at now_ns that so many jobs have been taken and done, ever. Returns when the oldest that is
 * not done was first seen; 0: all are done. Where there are too many distinct times between, what
 * came last counts as seen now.
 */
uint64_t backlog_note(struct backlog *backlog, uint64_t taken, uint64_t done, uint64_t now_ns);

#endif
