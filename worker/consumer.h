/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The consumer: takes records in order, checks them, and issues them; answers what is done; keeps
 * the turn; sleeps when there is nothing to do. It never blocks in a call that synchronises.
 */
#ifndef VGPU_WORKER_CONSUMER_H
#define VGPU_WORKER_CONSUMER_H

#include <stdbool.h>

struct channel;
struct item;

/* Serves the channel until it ends; channel->end_status says why. */
void consumer_run(struct channel *channel);

/* One round without sleeping, for tests and fuzzing. True if anything was done. */
bool consumer_round(struct channel *channel);

/* Issues a checked item that nothing holds. */
void consumer_issue(struct channel *channel, struct item *item);

/* True unless the item is a job that the turn or its limits hold back. */
bool consumer_may_issue(struct channel *channel, const struct item *item);

#endif
