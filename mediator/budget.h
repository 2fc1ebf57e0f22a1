/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limits of one VM on jobs, divided among its channels and granted on their lease pages: rate,
 * depth, bytes of copies. docs/spec/scheduling.md, "Admission limits".
 *
 * A VM without limits is granted everything once and never looked at again: no timer is set. What
 * workers report decides how a VM's budget is divided among its own channels, and never how much
 * it is. Called by vm.c; what is told of a channel that breaks its word is vm.c's too.
 */
#ifndef VGPU_MEDIATOR_BUDGET_H
#define VGPU_MEDIATOR_BUDGET_H

#include "mediator/channel.h"
#include "mediator/loop.h"
#include "sched/limits.h"

/* 0: no such limit. */
struct budget_limits {
    struct limits_config rate;
    uint32_t depth;
    uint64_t bytes;
};

struct budget {
    struct loop *loop;
    struct budget_limits limits;
    struct limits rate;
    struct channel *channels; /* by budget_next */
    unsigned n_channels;
    struct loop_timer timer;
    uint64_t audit_ns; /* when all channels are to be looked at next */
    uint64_t woken_ns; /* when channels that sleep were last given a job each */
    uint32_t first;    /* whose turn it is to have what cannot be divided */
    void (*audit)(struct channel *channel);
};

/* audit: looks at a channel of a limited VM, now and then; it may not take it out of the budget. */
void budget_init(struct budget *budget, struct loop *loop, void (*audit)(struct channel *channel));
void budget_release(struct budget *budget);

/* Live: granted before this returns. limits must have passed limits_config_check(). */
void budget_configure(struct budget *budget, const struct budget_limits *limits);

/* A channel that begins, one that outlived a mediator, one whose worker is gone. */
void budget_add(struct budget *budget, struct channel *channel);
void budget_adopt(struct budget *budget, struct channel *channel);
void budget_remove(struct budget *budget, struct channel *channel);

/* The worker kicked. */
void budget_reported(struct budget *budget, struct channel *channel);

#endif
