/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happened lately, for administrators: the answer to `events` (docs/spec/admin.md).
 *
 * Noted by the mediator's parts where it happens, kept in a ring of fixed size, read by admin.c. A
 * note costs a copy of its text; what guests cause is limited for each VM by its own limit, so that
 * one of them crowds nobody else's out at will.
 */
#ifndef VGPU_MEDIATOR_EVENTS_H
#define VGPU_MEDIATOR_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "mediator/loop.h"

#define EVENTS_KEPT        4096
#define EVENTS_LIMIT_MAX   256
#define EVENTS_WAIT_MAX_MS 30000
#define EVENT_TEXT_BYTES   256
#define EVENT_NO_GPU       UINT32_MAX

enum event_kind {
    EVENT_CONFIG_CHANGED,
    EVENT_VM_CONNECTED,
    EVENT_VM_DISCONNECTED,
    EVENT_VM_QUARANTINED,
    EVENT_VM_RELEASED,
    EVENT_CHANNEL_REFUSED,
    EVENT_FAULT,
    EVENT_GPU_MISSING,
    EVENT_GPU_RETURNED,
    EVENT_GPU_HEALTH,
    EVENT_GPU_DRAINED,
    EVENT_GPU_RESUMED,
    EVENT_MEDIATOR_STARTED,
    EVENT_HELPER_LOST,
    EVENT_HELPER_BACK,
    EVENT_NOT_STORED,
    EVENT_N_KINDS
};

enum event_severity { EVENT_INFO, EVENT_WARNING, EVENT_ERROR };

struct event {
    enum event_kind kind;
    enum event_severity severity;
    uint32_t vm_id;   /* 0: none */
    uint32_t gpu_id;  /* EVENT_NO_GPU: none */
    const char *pool; /* NULL: none */
    const char *text; /* cut to EVENT_TEXT_BYTES, NUL included */
};

struct events;

/* Somebody who wants to hear of the next event; ready and context must be set. */
struct event_waiter {
    struct event_waiter *next;
    struct events *events;
    struct loop_timer late;
    void (*ready)(void *context); /* from the loop; it waits no longer then */
    void *context;
};

struct mediator;
struct event_kept;
struct vm;

struct events {
    struct loop *loop;
    struct event_kept *kept; /* EVENTS_KEPT of them; seq n lies at n % EVENTS_KEPT */
    uint64_t last;           /* seq of the last; 0: there was none */
    char boot[17];           /* another one for each start */
    struct event_waiter *waiters;
    struct event_waiter *waking; /* those that are still to be told of what came */
    struct loop_timer wake;
};

int events_init(struct events *events, struct loop *loop);
/* Whoever waits must have been told to stop. */
void events_release(struct events *events);

void events_add(struct mediator *mediator, const struct event *event);
/* The same for what a guest causes; vm_id is the VM's. */
void events_add_guest(struct vm *vm, enum event_kind kind, enum event_severity severity,
                      const char *text);
/* What the store's answer to a change says of it. */
void events_add_changes(struct mediator *mediator, const json_t *answer);

/* The oldest of those after `after`, at most limit. NULL when out of memory. */
json_t *events_list(const struct events *events, uint64_t after, unsigned limit);

/* -ENOMEM: it does not wait. */
int events_wait(struct events *events, struct event_waiter *waiter, uint64_t wait_ns);
/* Does nothing if it does not wait. */
void events_forget(struct events *events, struct event_waiter *waiter);

/* "vm-connected", ... */
const char *event_kind_name(enum event_kind kind);

#endif
