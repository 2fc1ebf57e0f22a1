/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A wait for an event belongs behind the event's records that were submitted before it, and behind
 * nothing else. While records are kept in the backlog, because the turn is elsewhere or enough is
 * in flight, a wait is not kept behind them: it starts as soon as those that record its event have
 * been issued. Called by the consumer as it fills and empties the backlog.
 *
 * Where the backlog holds anything that may make, end or record an event in another way (a graph,
 * the end of a context), the wait is kept in order like all else.
 */
#ifndef VGPU_WORKER_EARLY_H
#define VGPU_WORKER_EARLY_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/backlog.h"

struct channel;
struct early_wait;

struct early {
    struct early_wait *waits; /* those that are not started */
    uint32_t *records;        /* in the backlog, by the index of the event that they record */
    uint32_t others;          /* records in the backlog that nothing may overtake */
};

int early_init(struct early *early);
void early_free(struct early *early);

/* False: the record is kept in the backlog, and was counted. True: it is a wait, and is not. */
bool early_take(struct channel *channel, const struct taken *taken);
/* The record has left the backlog, to be issued next. */
void early_popped(struct channel *channel, const struct taken *taken);
/* The record has been issued. Waits that may start now are made records again, one at a time. */
void early_issued(struct channel *channel, const struct taken *taken);
bool early_next(struct channel *channel, struct taken *ret_taken);

#endif
