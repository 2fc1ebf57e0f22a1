/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VM does on all GPUs together: its seats, added up. Read by status.c and metrics.c. Brings
 * charges up to now.
 */
#ifndef VGPU_MEDIATOR_SUM_H
#define VGPU_MEDIATOR_SUM_H

#include "mediator/mediator.h"

struct vm_sum {
    struct seat_totals totals;
    bool has_seat, waiting, running;
    int gpu_id; /* where it waits or runs; -1 */
    uint64_t charged_ns, window_ns, all_ns, switches;
    double entitled_ns;
};

void vm_sum(struct mediator *mediator, uint32_t vm_id, struct vm_sum *ret);

/* Of the GPU time in the window: what it had, and what it was entitled to. */
double vm_sum_share(const struct vm_sum *sum);
double vm_sum_entitlement(const struct vm_sum *sum);

#endif
