/* SPDX-License-Identifier: Apache-2.0 */
/* Orders that a test gives a fake worker at the start of the channel's data area. */
#ifndef VGPU_MEDIATOR_FAKE_WORKER_H
#define VGPU_MEDIATOR_FAKE_WORKER_H

#include <stdint.h>

enum fake_mode {
    FAKE_OBEY = 0, /* runs `jobs` jobs of job_us each, under the turn */
    FAKE_KEEP = 1, /* the same, but never gives a turn back, and claims to be idle */
    FAKE_HANG = 2, /* its first job never ends */
    FAKE_DEAF = 3, /* obeys, but does not end when told to stop */
    FAKE_ABORT = 4 /* ends with a reason in its report page */
};

struct fake_orders {
    uint32_t mode, job_us;
    uint64_t jobs;                  /* to be done in all */
    uint64_t memory_bytes, process; /* to be reported */
    /* Written by the worker. */
    uint64_t done, granted, kicks;
};

#endif
