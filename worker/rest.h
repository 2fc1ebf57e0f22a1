/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the consumer does when a round found nothing to do: polls for a while if it has the turn,
 * then sleeps. With nothing in flight it sleeps until it is kicked, and uses no processor; while
 * something is, for times that follow from how long that takes.
 */
#ifndef VGPU_WORKER_REST_H
#define VGPU_WORKER_REST_H

#include <stdint.h>

struct channel;

/* Called by the consumer; returns when another round is worth it. */
void rest(struct channel *channel);

/*
 * How long to sleep at now_ns while something is in flight; 0: poll instead. progress_ns: when
 * something was last issued or done; due_ns: when what somebody waits for should be done, or
 * UINT64_MAX.
 */
uint64_t rest_ns(uint64_t progress_ns, uint64_t now_ns, uint64_t due_ns);

#endif
