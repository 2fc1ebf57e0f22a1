/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream: an in-order queue of operations, run by the executor's threads.
 *
 * The n-th operation submitted has sequence number n; `completed` is that of the last one done.
 * An operation may depend on points (stream, sequence number) of other streams; as these are
 * always points submitted earlier, the graph has no cycle. Event waits and the legacy default
 * stream's rule (it waits for all blocking streams of its context, and they for it) are such
 * dependencies. All functions are called with gpu.lock held.
 */
#ifndef SOFTGPU_STREAM_H
#define SOFTGPU_STREAM_H

#include "cuda/stream_attributes.h"
#include "softgpu/gpu.h"

#define STREAM_LEAST_PRIORITY    0
#define STREAM_GREATEST_PRIORITY (-5)

struct op;
struct thread;

/* A point in a stream's order; holds a reference. stream NULL: already passed. */
struct point {
    struct stream *stream;
    uint64_t sequence;
};

struct op {
    struct op *next;
    uint64_t sequence;
    struct point *needs; /* from malloc */
    size_t n_needs;
    bool always; /* run even if the context has an error: status tells */
    /* Runs without the lock; what it returns becomes the context's sticky error. */
    CUresult (*run)(struct op *op, struct context *context, CUresult status);
    void (*free)(struct op *op); /* with the lock */
};

enum stream_state {
    STREAM_IDLE,    /* nothing queued */
    STREAM_BLOCKED, /* the first operation has unmet dependencies */
    STREAM_READY,   /* waits for an executor */
    STREAM_RUNNING, /* an executor or a caller has it */
};

struct stream {
    CUstream handle; /* NULL for default streams and after destruction */
    unsigned refs;
    struct context *context; /* a reference; NULL once the stream is off its context's list */
    struct stream *next;     /* in the context's list */
    struct stream *next_queued, *previous_queued; /* ready or blocked */
    unsigned flags;
    int priority;
    struct stream_attributes attributes;
    uint64_t id;
    bool is_legacy;
    bool is_per_thread;
    bool retired; /* goes when it is drained */
    enum stream_state state;
    uint64_t submitted, completed;
    struct op *first, *last;
    pthread_cond_t moved; /* completed has grown */
    unsigned waiters;
};

/* A stream of the context, with the context's reference; without a handle. NULL: no memory. */
struct stream *stream_new(struct context *context, unsigned flags, int priority);

struct stream *stream_ref(struct stream *stream);
void stream_unref(struct stream *stream);

/* The owner is done with it: the handle ends now, the stream when it is drained. */
void stream_retire(struct stream *stream);

/* Takes a drained stream off its context's list. */
void stream_detach(struct stream *stream);

/* The stream that a handle means in the current context; INVALID_HANDLE if none. */
CUresult stream_resolve(struct context *current, CUstream handle, struct stream **ret_stream);

/* Queues op, which is the stream's from now on. OUT_OF_MEMORY: op has been freed. */
CUresult stream_submit(struct stream *stream, struct op *op);

/*
 * Queues op and waits until it is done, running it on this thread if nothing is in its way.
 * Returns the context's error state afterwards.
 */
CUresult stream_submit_wait(struct stream *stream, struct op *op);

/* Adds a dependency to an operation that is not yet submitted. */
CUresult op_need(struct op *op, struct stream *stream, uint64_t sequence);

/* Waits until completed >= sequence. The lock is released meanwhile. */
void stream_wait(struct stream *stream, uint64_t sequence);

/* Waits for all that is now submitted to the streams of a context. */
CUresult stream_wait_all(struct context *context);

/* The same, without the streams created with CU_STREAM_NON_BLOCKING. */
CUresult stream_wait_blocking(struct context *context);

/* True if work is pending; the legacy default stream speaks for all blocking streams. */
bool stream_is_busy(const struct stream *stream);

/* --- For the executor. --- */

/* The first operation is done: wakes waiters and streams that depended on it. */
void stream_complete_first(struct stream *stream);

/* Runs the first operation. The lock is released meanwhile; state is STREAM_RUNNING. */
void stream_run_first(struct stream *stream);

/* True if the first operation exists and has no unmet dependency. */
bool stream_can_run(const struct stream *stream);

/* Gives a stream that nobody runs its next state. */
void stream_settle(struct stream *stream);

#endif
