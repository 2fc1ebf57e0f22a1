/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where `vgpu-admin top` gets its models from: a thread that asks the mediator again and again, so
 * that one that hangs or restarts never stops the keys. Everything else of top is one thread.
 */
#ifndef VGPU_ADMIN_TOP_FEED_H
#define VGPU_ADMIN_TOP_FEED_H

#include <pthread.h>

#include "admin/client.h"

#define TOP_NOTE_BYTES (VGPU_ERR_TEXT_BYTES + 32)

struct top_feed {
    const struct invocation *invocation;
    int event; /* an eventfd: there is news */
    /* The thread's own. */
    struct client client;
    bool connected, has_health, has_metrics;
    json_t *earlier;
    double offline_since; /* s since 1970; 0: a mediator answers */
    /* Both threads', under the mutex. */
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool started, stop;
    double interval_s;
    json_t *model;
    double answered_s; /* when that was, by the monotonic clock */
    char note[TOP_NOTE_BYTES];
};

int top_feed_init(struct top_feed *feed, const struct invocation *invocation, double interval_s,
                  struct vgpu_err *err);
/* Ends the thread, even one that waits for an answer. */
void top_feed_release(struct top_feed *feed);

/* Asks once, from the caller's thread, before there is another. */
int top_feed_look(struct top_feed *feed, struct vgpu_err *err);

/* From now on asks at the interval. Signals are the caller's: it has blocked them. */
int top_feed_start(struct top_feed *feed, struct vgpu_err *err);
void top_feed_set_interval(struct top_feed *feed, double interval_s);

/*
 * The latest model, the caller's to release, or NULL where there is no other than the one before;
 * and what is wrong, or "".
 */
json_t *top_feed_take(struct top_feed *feed, char note[TOP_NOTE_BYTES]);

#endif
