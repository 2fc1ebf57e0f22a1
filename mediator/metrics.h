/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the mediator keeps to answer `metrics` with, and the answer, page by page (metrics/page.h,
 * docs/spec/metrics.md).
 *
 * Most numbers are read where they are when they are asked for. Kept here is what would be lost
 * with a channel, what is about lately, and what is counted for metrics only. A VM with a channel
 * is looked at every two seconds; one without costs nothing. Counters begin with the mediator,
 * except those that the accounts page keeps.
 */
#ifndef VGPU_MEDIATOR_METRICS_H
#define VGPU_MEDIATOR_METRICS_H

#include "mediator/channel.h"
#include "mediator/fault.h"
#include "mediator/loop.h"
#include "mediator/times.h"
#include "metrics/text.h"

struct mediator;
struct vm_sum;

#define METRICS_SAMPLE_NS (2 * VGPU_NS_PER_S)
#define METRICS_WINDOW_NS (10 * VGPU_NS_PER_S)
#define METRICS_SAMPLES   7
/* A page ends early, so that the loop waits for it no longer than about this. */
#define METRICS_PAGE_NS (500 * VGPU_NS_PER_US)

enum worker_end { WORKER_CLOSED, WORKER_KILLED, WORKER_FAILED, WORKER_ENDS };

/* What a VM had done at a time, for means over the window. */
struct vm_sample {
    uint64_t at_ns, taken, over, gpu_ns;
};

struct vm_metrics {
    struct channel_counts ended; /* of channels that have ended */
    uint64_t lost;               /* jobs that ended channels had taken, and never finished */
    uint64_t starts, ends[WORKER_ENDS], faults[FAULT_N_KINDS];
    struct times times;
    struct vm_sample samples[METRICS_SAMPLES]; /* at_ns 0: none */
    unsigned next;                             /* the oldest of them */
    struct loop_timer timer;
};

struct mediator_metrics {
    uint64_t turns;
    uint64_t busy_ns;
    struct lately lag;
};

struct vm_rate {
    double jobs_per_s;
    bool mean_known;
    uint64_t mean_job_ns;
};

void metrics_init(struct mediator *mediator);
void metrics_release(struct mediator *mediator);
void metrics_init_vm(struct vm *vm);
void metrics_release_vm(struct vm *vm);

/* A worker was started; one that outlived a mediator was adopted; one is gone. */
void metrics_channel_started(struct channel *channel);
void metrics_channel_adopted(struct channel *channel);
void metrics_channel_ended(struct channel *channel);

/* Jobs that were ever taken in, as of sum. */
uint64_t metrics_taken(const struct vm *vm, const struct vm_sum *sum);
/* Takes up how many jobs its workers have counted since; how long they took is at most two seconds
 * old. */
void metrics_look(struct vm *vm);
/* Over the last ten seconds, or as long as it is looked at; sum is of now. */
void metrics_rate(const struct vm *vm, const struct vm_sum *sum, struct vm_rate *ret);

/* Writes the page of VMs after that id, at most limit of them. */
void metrics_page(struct mediator *mediator, uint32_t after_vm, unsigned limit,
                  struct metrics_text *text);

#endif
