/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads for calls that may block inside the driver. They are made on demand, run only the
 * execution (driver calls and the item's own fields), and hand the item back; the consumer wakes by
 * an eventfd and settles the result.
 */
#ifndef VGPU_WORKER_HELPER_H
#define VGPU_WORKER_HELPER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "worker/limits.h"

struct channel;
struct item;

struct helper {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake;
    struct item *todo, **todo_end;
    struct item *done, **done_end;
    pthread_t threads[WORKER_MAX_HELPERS];
    uint32_t count, idle;
    bool stop;
    int event; /* eventfd: something is done */
};

int helper_init(struct helper *helper);

/* Stops the threads; calls that still run are waited for. */
void helper_free(struct channel *channel);

/* Hands the item over. -EAGAIN: no thread could be made. */
int helper_submit(struct channel *channel, struct item *item);

/* The next item that is done, or NULL. */
struct item *helper_collect(struct channel *channel);

/* Runs the call in the calling thread; used by the helpers and where nothing can block. */
void helper_execute(struct channel *channel, struct item *item);

#endif
