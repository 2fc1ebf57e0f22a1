/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GPU memory: a VM's quota split among its channels, and what NVML says of each worker compared
 * with what it was given. vm.c and mediator.c tell what happens; the lease pages carry it out.
 *
 * The sum of what a VM's channels may hold never exceeds its quota. A grant that was lowered counts
 * as it was until the worker has acknowledged it (memory_seen): so what one gives up is another's
 * only then. A worker that lies of it can hurt its own VM only, up to what NVML shows.
 *
 * A VM's quota is for all of its channels together, on whichever GPUs. Without one there are no
 * asks, and nothing here is done.
 */
#ifndef VGPU_MEDIATOR_MEMORY_H
#define VGPU_MEDIATOR_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "common/err.h"

struct channel;
struct channel_report;
struct mediator;
struct vm;

struct memory_settings {
    uint64_t context_bytes; /* what each context is counted as; 0: contexts are free */
    uint64_t margin_bytes;  /* what a worker may hold beyond its grant, by NVML's word */
    uint64_t grace_ns;      /* for that long; 0: nobody is ended for it */
    uint64_t check_ns;      /* how often NVML is asked while a VM has a quota */
};

/* A channel's part; what it holds is in its report page. */
struct memory_part {
    uint64_t grant; /* as the lease page says; UINT64_MAX: no quota */
    uint64_t peak;  /* the most that it may hold, as far as it has acknowledged */
    uint64_t change;
    uint64_t ask, order, asked_ns; /* the last ask, its place among those of the VM */
    bool asking;
    uint64_t kept_bytes, kept_ns; /* what it was granted last, and until when that stays its own */
    bool nvml_known;
    uint64_t nvml_bytes;
    uint64_t shown_bytes;   /* the least that NVML has shown since the grant fell */
    uint64_t over_since_ns; /* NVML shows more than it was given; 0: it does not */
};

/* What a VM holds, for status; the unexplained rest is NVML's word less all of these. */
struct memory_sum {
    uint64_t quota, granted;
    uint64_t held;  /* the ledger, by the words of the workers */
    uint64_t spare; /* of it, what pools keep and is not in use */
    uint64_t contexts, modules, graphs;
    bool nvml_known; /* of all workers */
    uint64_t nvml;
};

/* 0; -ENOMEM with the cause: the VM has no room for another context. */
int memory_admit(const struct vm *vm, struct vgpu_err *err);

/* The channel is in its VM's list: its first part, or that of the mediator before. */
void memory_join(struct channel *channel);
void memory_adopt(struct channel *channel);

/* All that ran before this mediator is adopted: it is in charge. */
void memory_adopted(struct mediator *mediator);

/* Its worker kicked. */
void memory_reported(struct channel *channel);

/* Its worker is gone, and what it held. */
void memory_gone(struct vm *vm);

/* The VM's quotas may have changed. */
void memory_update(struct vm *vm);

/* The most that the VM's processes may hold together, and each of them; 0: no limit. */
uint64_t memory_quota(const struct vm *vm);

/* What a worker says that it holds, with what is predicted. */
uint64_t memory_held(const struct channel_report *report);

void memory_sum(const struct vm *vm, struct memory_sum *ret);

/* NVML's word of a GPU: "processes" of the helper's answer. Ends who holds too much. */
void memory_sampled(struct mediator *mediator, uint32_t gpu_id, const json_t *gpu);

void memory_init_vm(struct vm *vm);

/* Sets the timer by which NVML is asked, where a VM with a quota runs; the mediator has the loop.
 */
void memory_init(struct mediator *mediator);
void memory_watch(struct mediator *mediator);
void memory_release(struct mediator *mediator);

#endif
