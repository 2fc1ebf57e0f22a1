/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long jobs waited, ran and took, counted for the mediator (vgpu/times.h).
 *
 * A job that went into the driver is noted with the batch that it ends with, and counted when that
 * is done: jobs that share their times share the note. One that never reached the driver is counted
 * where it ends. Nothing is allocated: no more jobs than WORKER_MAX_UNITS are in flight, and what
 * would be beyond that is counted at once, with the time that it waited.
 */
#ifndef VGPU_WORKER_TIMES_H
#define VGPU_WORKER_TIMES_H

#include <vgpu/times.h>

#include "worker/limits.h"

struct channel;
struct item;
struct batch;

struct times_note {
    struct times_note *next;
    uint64_t taken_ns, issued_ns;
    uint32_t kind, jobs;
};

struct times {
    struct times_note *spare;
    uint32_t used; /* of the notes, those that were ever taken */
    struct times_note notes[WORKER_MAX_UNITS];
};

/* The item's job ends with the batch; called before the unit is counted in the batch. */
void times_add(struct channel *channel, struct batch *batch, const struct item *item);

/* The batch's jobs are over, now. */
void times_done(struct channel *channel, const struct batch *batch);

/* The item's job is over, and never reached the driver, or not whole. */
void times_over(struct channel *channel, const struct item *item);

#endif
