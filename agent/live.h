/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is so now: two threads follow the mediator, one asks for `status`, one waits in `events`.
 * What they learn is kept here for the streams of server-sent events (stream.c), for /history and
 * for /healthz.
 *
 * Invariants: everything is under `lock`; texts are shared by streams and counted; a ring of events
 * is bounded, so that a slow reader misses some and is told so.
 */
#ifndef VGPU_AGENT_LIVE_H
#define VGPU_AGENT_LIVE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "agent/history.h"
#include "common/err.h"

#define LIVE_EVENTS_KEPT 512
#define LIVE_ID_BYTES    48
#define LIVE_STREAMS_MAX 32

/* A text that several streams send; under live's lock. */
struct live_text {
    unsigned users;
    size_t size;
    char data[];
};

struct live_event {
    char id[LIVE_ID_BYTES]; /* BOOT:SEQ */
    struct live_text *text;
};

struct stream;
struct agent;

struct live {
    struct agent *agent;
    pthread_mutex_t lock;
    pthread_cond_t wake;  /* of the sampling thread */
    pthread_cond_t ended; /* stopping was set */
    bool stopping, up;
    bool wanted;        /* a stream that has just begun wants the state at once */
    bool hurried;       /* something has happened: the state may be another by now */
    json_t *status;     /* the last; NULL: none yet */
    char *shown;        /* it, without what changes by itself, to see whether it changed */
    uint64_t state_seq; /* of the last state; 0: none yet */
    struct live_text *state;
    uint64_t event_seq; /* of the last event here; events[seq % LIVE_EVENTS_KEPT] */
    struct live_event events[LIVE_EVENTS_KEPT];
    struct stream *streams;
    unsigned n_streams, n_state_streams;
    struct history history;
    pthread_t threads[2];
    unsigned n_threads;
};

void live_init(struct live *live, struct agent *agent);
int live_start(struct live *live, struct vgpu_err *err);
/* Streams end, and what was suspended is resumed; before the servers of connections stop. */
void live_stop(struct live *live);
void live_release(struct live *live);

bool live_is_up(struct live *live);
/* A copy, the caller's; NULL: there was none yet. */
json_t *live_last_status(struct live *live);

/* Under the lock. */
struct live_text *live_text_use(struct live_text *text);
void live_text_drop(struct live_text *text);

#endif
