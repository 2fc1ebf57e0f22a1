/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A helper process of the mediator (vgpu-store, vgpu-nvml): started with a socket on descriptors 0
 * and 1, spoken to in JSON lines, started anew when it ends. The loop never waits for it.
 *
 * Requests are answered in order of arrival; each has a deadline, after which its asker is told
 * that the helper is unavailable, and the late answer still reaches `heard`.
 */
#ifndef VGPU_MEDIATOR_HELPER_H
#define VGPU_MEDIATOR_HELPER_H

#include <sys/types.h>

#include <jansson.h>

#include "mediator/loop.h"
#include "mediator/stream.h"

#define HELPER_ARGS_MAX    8
#define HELPER_REPLY_BYTES (16 * 1024 * 1024)
#define HELPER_PENDING_MAX 64
#define HELPER_DEADLINE_NS (UINT64_C(10) * 1000000000)
#define HELPER_BACKOFF_NS  (UINT64_C(100) * 1000000)
#define HELPER_BACKOFF_MAX (UINT64_C(5) * 1000000000)

/* reply: the helper's line, the caller's to borrow; NULL: unavailable. */
typedef void helper_reply_fn(void *context, json_t *reply);

struct helper_pending;

struct helper {
    const char *name; /* for the log */
    struct loop *loop;
    const char *argv[HELPER_ARGS_MAX];
    /* Each line that answers no request (the first one, say), and each answer before its asker. */
    void (*heard)(void *context, json_t *line);
    /* It has ended; it is started again after a while unless helper_stop() is called. May be NULL.
     */
    void (*ended)(void *context, int status);
    void *context;

    pid_t pid; /* 0: not running */
    bool stopping;
    struct stream stream;
    struct loop_timer restart, deadline;
    uint64_t backoff_ns, next_id;
    struct helper_pending *pending;
    unsigned n_pending;
    uint64_t starts; /* of the process */
};

/* name, argv, heard, ended and context must be set. Starts the process. */
int helper_start(struct helper *helper, struct loop *loop, struct vgpu_err *err);

/* Takes request over, adds its id. The reply never comes from within this call. -EAGAIN: down. */
int helper_ask(struct helper *helper, json_t *request, helper_reply_fn *reply, void *context);
/* It runs, and its socket is open. */
bool helper_is_up(const struct helper *helper);
/* Forgets an asker that is going away. */
void helper_forget(struct helper *helper, void *context);

/* Closes its socket, upon which it ends by itself. */
void helper_stop(struct helper *helper);
/* A child was reaped. True if it was this helper. */
bool helper_reaped(struct helper *helper, pid_t pid, int status);
/* After its end: releases what is left. */
void helper_release(struct helper *helper);

#endif
