/* SPDX-License-Identifier: Apache-2.0 */
/* How long jobs wait and run, for `vgpu-admin top`, out of the mediator's metrics. */
#ifndef VGPU_ADMIN_TOP_LATENCY_H
#define VGPU_ADMIN_TOP_LATENCY_H

#include "admin/client.h"
#include "metrics/page.h"

/* As struct top_answers has it; NULL: out of memory. */
json_t *top_latency(const struct metrics_snapshot *snapshot);

/* The same of a mediator; *ret_latency is the caller's. -EOPNOTSUPP: it has no metrics. */
int top_latency_ask(struct client *client, json_t **ret_latency, struct vgpu_err *err);

#endif
