/* SPDX-License-Identifier: Apache-2.0 */
/* The answer to `status` (docs/spec/admin.md), and what NVML samples add to it. */
#ifndef VGPU_MEDIATOR_STATUS_H
#define VGPU_MEDIATOR_STATUS_H

#include <jansson.h>

struct mediator;

/* NULL when out of memory. Brings charges up to now first. */
json_t *status_json(struct mediator *mediator);

/* A line of the NVML helper with samples. */
void status_take_sample(struct mediator *mediator, const json_t *line);

#endif
