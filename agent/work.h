/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads that wait for the mediator, so that the threads that serve connections never do. Each
 * has a connection to the mediator of its own; the queue is bounded.
 */
#ifndef VGPU_AGENT_WORK_H
#define VGPU_AGENT_WORK_H

#include <pthread.h>
#include <stdbool.h>

#include "agent/backend.h"
#include "common/err.h"

#define WORK_THREADS   4
#define WORK_QUEUE_MAX 128

struct work_item {
    struct work_item *next;
    void (*run)(struct work_item *item, struct backend *backend);
};

struct work {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct work_item *first, **last;
    unsigned n;
    bool stopping;
    const char *admin_socket;
    pthread_t threads[WORK_THREADS];
    unsigned n_threads;
};

int work_start(struct work *work, const char *admin_socket, struct vgpu_err *err);
/* Runs what is queued, then ends the threads. */
void work_stop(struct work *work);

/* False: the queue is full, or ends. */
bool work_submit(struct work *work, struct work_item *item);

#endif
