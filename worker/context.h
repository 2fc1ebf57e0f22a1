/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contexts and what they own. The primary context is the worker's own from its start; a guest that
 * retains it gets a handle to it, and giving it up resets it.
 *
 * Objects of a context (streams, events, modules, functions, links) are in the handle tables and
 * name their context; when it goes, context_condemn() ends them all.
 */
#ifndef VGPU_WORKER_CONTEXT_H
#define VGPU_WORKER_CONTEXT_H

#include "worker/jit.h"
#include "worker/stream.h"

struct context {
    CUcontext cu;    /* NULL: a primary context that is not retained */
    uint32_t handle; /* 0: the guest has none */
    bool primary;
    bool closing;          /* being destroyed or reset; takes no calls */
    bool may_print;        /* a module may call printf */
    CUresult posted_error; /* first error of posted calls, not reported yet */
    CUresult sticky;       /* the driver's, once it has one */
    uint64_t local_bytes;  /* quota.h: for each thread, of stacks and of what functions spill */
    uint64_t printf_bytes, heap_bytes; /* as the guest set them; 0: it did not */
    uint64_t grown_bytes;              /* charged beside what each context costs */
    bool failure_counted;  /* the job that broke it counts as failed, those behind it do not */
    uint32_t helpers;      /* calls that run beside the consumer */
    uint32_t busy_streams; /* streams with something uncovered or with marks */
    uint64_t any_held_epoch, null_held_epoch, blocking_held_epoch; /* hold.h */
    struct stream null_stream;
    struct stream *streams;
    struct mark *spare_marks;
    struct written_entry *spare_written;
    struct context *next;
};

struct function;

struct module {
    CUmodule cu;
    uint32_t handle;
    struct context *context;
    uint64_t charged_bytes;
    struct function *functions;
};

struct function {
    CUfunction cu;
    uint32_t handle;
    struct module *module;
    struct function *next;
    uint32_t param_bytes;
    bool params_known;
    uint64_t estimate_ns; /* of one launch; 0: not measured yet */
};

/* A driver's event. A wait keeps the one that it looks at when the guest records anew. */
struct event_body {
    CUevent cu;
    struct context *context;
    uint32_t refs;
};

struct event {
    struct event_body *body;
    struct context *context;
    uint32_t handle;
    uint32_t flags;
    uint64_t held_epoch;
    uint64_t seq;            /* snapshot.h: of its last record */
    struct event_list *list; /* that it is in, or NULL */
    struct event *prev, *next;
};

struct link {
    CUlinkState cu;
    uint32_t handle;
    struct context *context;
    bool busy;   /* a call runs beside the consumer */
    bool doomed; /* destroyed by the guest meanwhile */
    void *image; /* the driver's, once complete */
    size_t image_bytes;
    struct jit jit;
    uint32_t info_bytes, error_bytes;
    char info_log[4096], error_log[4096];
};

/* An executable graph (exec_graph.c). */
struct graph;

/* Ends all graphs of a context, or of all contexts (NULL). */
void graphs_end(struct channel *channel, struct context *context);

void context_init(struct context *context, bool primary);

/* Makes it current in the consumer's thread, if it is not. */
CUresult context_enter(struct channel *channel, struct context *context);

/* Retains the primary context again after a reset. */
CUresult context_wake_primary(struct channel *channel);

/* Adds a context of the guest's. NULL: no memory. */
struct context *context_add(struct channel *channel, CUcontext cu);

/* Ends all handles of its objects, without touching the driver. */
void context_condemn(struct channel *channel, struct context *context);

/* Forgets what the driver destroyed with the context. It stays usable if primary, else is freed. */
void context_forget(struct channel *channel, struct context *context);

/* A function is freed, or all (NULL): what is in flight teaches it nothing any more. */
void context_unlearn(struct context *context, const struct function *function);

/* True if nothing of it is in the driver's hands. */
bool context_idle(const struct context *context);

/* Hangs the wait on all that is in flight in the context. */
CUresult context_attach(struct channel *channel, struct context *context, struct wait *wait);

/* Notes an error that a posted call met, and a sticky one. context may be NULL. */
void context_note_posted(struct channel *channel, struct context *context, CUresult result);
void context_note_sticky(struct channel *channel, struct context *context, CUresult result);
bool context_error_is_sticky(CUresult result);

/* Notes an error that work in flight met. */
void context_note_failed(struct channel *channel, struct context *context, CUresult result);

/* What a reporting call answers: its own result, or an earlier error that nobody has heard of. */
CUresult context_take_error(struct channel *channel, struct context *context, CUresult result);

struct event_body *event_body_new(struct channel *channel, struct context *context, uint32_t flags,
                                  CUresult *ret_result);
void event_body_unref(struct channel *channel, struct event_body *body);

#endif
