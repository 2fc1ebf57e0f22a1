/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults that may be the GPU's own: a GPU that falls off its bus fails kernels and kills workers
 * before anybody has asked NVML how it is. So NVML is asked first, and the VM is charged when it
 * has found nothing wrong, or has no answer. One sample at a time is asked for, for all that wait;
 * but any that comes meanwhile can clear the VM: a GPU may be well again at the next look.
 * Called by vm.c and conduct.c; else as fault_note().
 */
#ifndef VGPU_MEDIATOR_DOUBT_H
#define VGPU_MEDIATOR_DOUBT_H

#include <stdint.h>

#include "mediator/fault.h"

struct mediator;

/* A fault of the VM while its work was on that GPU. May be noted at once, later, or not. */
void doubt_note(struct vm *vm, uint32_t gpu_id, enum fault_kind kind, const char *text);
/* A sample has been taken in, whoever asked for it. */
void doubt_sampled(struct mediator *mediator);
void doubt_release(struct mediator *mediator);

#endif
