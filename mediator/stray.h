/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work on a GPU without the turn, as NVML sees it: a worker may say that it has given its turn back
 * and go on. Its process is then busy on the GPU in samples in which it had no turn for a while.
 *
 * NVML is asked while several VMs have channels on a GPU: seldom, and each second once a process
 * looks suspicious or two VMs want a GPU. What is busy while it has the turn, or had it shortly
 * before, is never held against anybody. Called by status.c with each sample, by vm.c and lease.c.
 */
#ifndef VGPU_MEDIATOR_STRAY_H
#define VGPU_MEDIATOR_STRAY_H

#include <jansson.h>
#include <stdint.h>

struct channel;
struct mediator;

#define STRAY_SAMPLES_DEFAULT 3
#define STRAY_SAMPLES_MAX     1000

/* Of a channel. */
struct stray {
    uint64_t off_ns;     /* since when it has no turn; while it has one this means nothing */
    uint64_t counted_ns; /* when it was last counted */
    unsigned times;      /* in a row */
};

void stray_init(struct mediator *mediator);
void stray_release(struct mediator *mediator);

/* One GPU of the NVML helper's answer. May ask for a worker's end. */
void stray_sampled(struct mediator *mediator, uint32_t gpu_id, const json_t *gpu);
/* A channel has opened: NVML may have to be asked from now on. */
void stray_watch(struct mediator *mediator);

#endif
