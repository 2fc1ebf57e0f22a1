/* SPDX-License-Identifier: Apache-2.0 */
/* The answer to `status` (docs/spec/admin.md), and what NVML samples add to it. */
#ifndef VGPU_MEDIATOR_STATUS_H
#define VGPU_MEDIATOR_STATUS_H

#include <stdint.h>

#include <jansson.h>

struct mediator;

/* All but "vms". NULL when out of memory. */
json_t *status_head(struct mediator *mediator);
/* Those of "vms" after that id, in the order of their ids; none: there are no more. */
json_t *status_vms(struct mediator *mediator, uint32_t after_vm_id, unsigned limit);

/* "live" of show-vm: what is so at this moment. NULL: no such VM, or out of memory. */
json_t *status_vm_live(struct mediator *mediator, uint32_t vm_id);

/* A line of the NVML helper with samples. */
void status_take_sample(struct mediator *mediator, const json_t *line);

#endif
