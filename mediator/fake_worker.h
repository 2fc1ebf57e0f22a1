/* SPDX-License-Identifier: Apache-2.0 */
/* Orders that a test gives a fake worker at the start of the channel's data area. */
#ifndef VGPU_MEDIATOR_FAKE_WORKER_H
#define VGPU_MEDIATOR_FAKE_WORKER_H

#include <stdint.h>

enum fake_mode {
    FAKE_OBEY = 0,   /* runs `jobs` jobs of job_us each, under the turn */
    FAKE_KEEP = 1,   /* the same, but never gives a turn back, and claims to be idle */
    FAKE_HANG = 2,   /* its first job never ends */
    FAKE_DEAF = 3,   /* obeys, but does not end when told to stop */
    FAKE_ABORT = 4,  /* ends with a reason in its report page */
    FAKE_CRASH = 5,  /* dies of a signal */
    FAKE_FAULT = 6,  /* obeys, and says of each job that a kernel failed */
    FAKE_GREEDY = 7, /* obeys, but goes by no limit on its jobs */
    FAKE_DEEP = 8,   /* says that it took in more at once than it was granted */
    FAKE_LIAR = 9,   /* counts more jobs done than taken */
    FAKE_FRESH = 10  /* its first job never ends, and it says that a new one has just begun */
};

struct fake_orders {
    uint32_t mode, job_us;
    uint64_t jobs;                  /* to be done in all */
    uint64_t memory_bytes, process; /* to be reported */
    /* Written by the worker. */
    uint64_t done, granted, kicks;
    uint64_t allowed, taken_at_ns; /* of the lease page; when it was last changed */
    uint32_t flags;                /* of the lease page */
};

#endif
