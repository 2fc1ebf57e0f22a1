/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The quota of device memory. What the channel holds is memory_bytes (allocations, memory of
 * cuMemCreate, what pools keep) and what is predicted beside it (charges). It may hold its grant, a
 * part of its VM's quota; a call that needs more is parked, and the mediator asked by the report
 * page (docs/spec/wire.md). Other calls go on meanwhile, and no thread blocks.
 *
 * An execution or a prepare step asks with quota_want() before it takes anything: parked, it is run
 * anew from its start once there is an answer. So it must not have changed anything before.
 */
#ifndef VGPU_WORKER_QUOTA_H
#define VGPU_WORKER_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

#include "cuda/cuda_abi.h"

struct channel;
struct context;
struct item;

/* What is predicted; the driver takes it without being asked for it in bytes. */
enum charge { CHARGE_CONTEXT, CHARGE_MODULE, CHARGE_GRAPH, CHARGE_KINDS };

struct quota {
    uint64_t limit, grant; /* as they were last seen; UINT64_MAX: none */
    uint64_t change, bound;
    uint64_t charged[CHARGE_KINDS];
    uint64_t context_bytes;
    uint64_t resident_threads; /* of the whole device; 0: not asked yet */
    struct item *waits;        /* parked; the first is asked for */
    uint64_t ask;
};

/* The channel has its pages, and its first context. */
void quota_init(struct channel *channel);

/* Loads the grant, and tells the bound that follows from it. */
void quota_look(struct channel *channel);

/* The most that it could ever hold; UINT64_MAX: there is no quota. */
uint64_t quota_limit(const struct channel *channel);
uint64_t quota_held(const struct channel *channel);

/*
 * May the call take so many bytes more? OUT_OF_MEMORY; or CUDA_CALL_LATER: it was parked, and its
 * execution must return that.
 */
CUresult quota_want(struct channel *channel, struct item *item, uint64_t bytes);

/* The same where the answer is wanted as it is now: after the driver took more than was said. */
bool quota_fits(struct channel *channel);

/* What the call's process could hold, as of a moment ago. Parks as quota_want() does. */
CUresult quota_ceiling(struct channel *channel, struct item *item, uint64_t *ret_bytes);

void quota_charge(struct channel *channel, enum charge kind, uint64_t bytes);
void quota_uncharge(struct channel *channel, enum charge kind, uint64_t bytes);

/*
 * What a context takes for each thread that the device can hold grows to that many bytes; returns
 * by how much in all, 0 where it has them. Nothing is charged yet.
 */
uint64_t quota_local_growth(struct channel *channel, const struct context *context,
                            uint64_t thread_bytes);

/* Issues calls whose answer has come; true if any was. */
bool quota_poll(struct channel *channel);

/* A stream, pool or module goes: parked calls that name it end with INVALID_HANDLE. */
void quota_lose(struct channel *channel, const void *object);

#endif
