/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mediator's one event loop: descriptors by epoll, timers by one timerfd. Single-threaded.
 *
 * The clock is injected, so that timers can be tested in virtual time. A callback may remove any
 * watch or timer, its own included, and free what contains it. With no timer set and no descriptor
 * ready nothing wakes the process.
 */
#ifndef VGPU_MEDIATOR_LOOP_H
#define VGPU_MEDIATOR_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "common/err.h"

struct loop;

typedef uint64_t loop_clock_fn(void *context);

/* clock: NULL for CLOCK_MONOTONIC. NULL with err set on failure. */
struct loop *loop_new(loop_clock_fn *clock, void *context, struct vgpu_err *err);
/* Watches and timers must have been removed. NULL is allowed. */
void loop_free(struct loop *loop);

uint64_t loop_now(const struct loop *loop);

/* A descriptor that is watched; the descriptor stays the caller's. Zero is "not watched". */
struct loop_watch {
    void (*ready)(void *context, uint32_t events);
    void *context;
    int fd;
    uint32_t events;
    bool active;
};

int loop_watch_add(struct loop *loop, struct loop_watch *watch, int fd, uint32_t events,
                   void (*ready)(void *context, uint32_t events), void *context);
void loop_watch_modify(struct loop *loop, struct loop_watch *watch, uint32_t events);
/* Before the descriptor is closed. Does nothing if the watch is not active. */
void loop_watch_remove(struct loop *loop, struct loop_watch *watch);

/* A timer that fires once. Zero with `fire` set is "not set". */
struct loop_timer {
    void (*fire)(void *context);
    void *context;
    uint64_t due_ns;
    unsigned place; /* in the heap, from 1; 0: not set */
};

/* due_ns: absolute, on the loop's clock. Sets or moves it. -ENOMEM: it is not set. */
int loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t due_ns);
void loop_timer_clear(struct loop *loop, struct loop_timer *timer);
/* When the first timer is due; UINT64_MAX: none. */
uint64_t loop_next_due(const struct loop *loop);

/* Calls turned after each turn of the loop, with the time that it took. NULL: no more. */
void loop_measure(struct loop *loop, void (*turned)(void *context, uint64_t took_ns),
                  void *context);

/* Handles what is ready; waits for something if wait is set. 0 or -errno. */
int loop_turn(struct loop *loop, bool wait);

#endif
