/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An executable graph of the guest's: the driver's, and what its nodes refer to. Functions and
 * addresses are proved when it is made, and again when it is launched after something of the
 * channel's memory or modules went.
 */
#ifndef VGPU_WORKER_GRAPH_H
#define VGPU_WORKER_GRAPH_H

#include "worker/context.h"

struct graph_range {
    uint64_t address, bytes; /* bytes 0: none */
};

struct graph_slot {
    CUgraphNode cu;
    uint32_t type;
    uint32_t enabled;
    uint32_t function; /* handle */
    struct function *kernel;
    struct graph_range ranges[2];
};

struct graph {
    uint32_t handle;
    struct context *context;
    struct graph *next; /* in the channel */
    CUgraph template;
    CUgraphExec exec;
    struct graph_slot *slots;
    uint32_t count;
    uint64_t proved_removals; /* the ledger's, when all was in order last */
    uint64_t held_epoch;      /* hold.h */
    struct function meter;    /* learns what one launch takes */
};

/* Of one launch; 0: not measured yet. graph may be NULL. */
static inline uint64_t graph_estimate(const struct graph *graph)
{
    return graph ? graph->meter.estimate_ns : 0;
}

#endif
