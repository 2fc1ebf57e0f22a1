/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What asks or waits for what was submitted before it, and need not queue behind the rest. While
 * records are kept in the backlog, because the turn is elsewhere or enough is in flight:
 *
 * - a wait for an event starts as soon as those that record its event have been issued;
 * - a query of an event or a stream is answered at once: NOT_READY if work of it is kept.
 *
 * Where the backlog holds anything that may make, end or record an event or a stream in another way
 * (a graph, the end of a context), they are kept in order like all else. Called by the consumer as
 * it fills and empties the backlog.
 */
#ifndef VGPU_WORKER_EARLY_H
#define VGPU_WORKER_EARLY_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/backlog.h"

struct channel;
struct early_call;

struct early {
    struct early_call *calls; /* those that are not issued yet */
    uint32_t *records;        /* in the backlog, by the index of the event that they record */
    uint32_t *streams;        /* in the backlog, by the index of their stream; last: the default */
    uint32_t others;          /* in the backlog, and nothing may overtake them */
};

int early_init(struct early *early);
void early_free(struct early *early);

/* False: the record is kept in the backlog, and was counted. True: it is one of ours. */
bool early_take(struct channel *channel, const struct taken *taken);
/* The record has left the backlog, to be issued next. */
void early_popped(struct channel *channel, const struct taken *taken);
/* The record has been issued. */
void early_issued(struct channel *channel, const struct taken *taken);
/* A call whose time has come, as a record again. *ret_not_ready: what it asks about is kept. */
bool early_next(struct channel *channel, struct taken *ret_taken, bool *ret_not_ready);

#endif
