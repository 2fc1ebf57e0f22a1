/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams: those that the guest made, a context's legacy default stream, the default stream of a
 * guest thread (a real blocking stream), and the worker's own for explicit jobs.
 *
 * A stream is freed when it was destroyed, its marks are done and nobody refers to it.
 */
#ifndef VGPU_WORKER_STREAM_H
#define VGPU_WORKER_STREAM_H

#include "worker/batch.h"
#include "worker/snapshot.h"

enum stream_kind { STREAM_GUEST, STREAM_NULL, STREAM_THREAD, STREAM_INTERNAL };

enum stream_gate {
    GATE_OPEN,
    GATE_REACHING, /* the host function's mark is not done yet */
    GATE_WAITING   /* the guest runs the host function */
};

struct stream {
    CUstream cu;
    enum stream_kind kind;
    bool blocking; /* orders with the legacy default stream */
    bool dead;     /* destroyed in the driver; goes when its marks are done */
    bool listed;   /* in the channel's list of streams to poll */
    uint32_t thread;
    uint64_t held_epoch; /* hold.h */
    enum stream_gate gate;
    uint64_t token;
    struct stream *next_gate;
    struct context *context;
    struct stream *next;        /* in the context */
    struct stream *next_active; /* in the channel */
    struct batch open;
    struct mark *marks, **marks_end;
    struct event_list events; /* snapshot.h */
    uint64_t last_event;      /* its record, if that is the last call */
    uint64_t done_event;      /* the last that is known to be done */
    uint64_t done_ns;         /* when its last mark was seen done */
};

struct stream *stream_new(struct context *context, enum stream_kind kind, CUstream cu,
                          bool blocking);

/* Destroys the stream in the driver, once what it holds is covered. */
CUresult stream_destroy(struct channel *channel, struct stream *stream);

/* The default stream of a guest thread in a context, made if it is not there. */
CUresult stream_of_thread(struct channel *channel, struct context *context, uint32_t thread,
                          struct stream **ret_stream);

/*
 * Counts work that was just handed to the driver. function may be NULL; ends is the item whose job
 * ends with it, or NULL.
 */
void stream_add_unit(struct channel *channel, struct stream *stream, struct function *function,
                     uint64_t copy_bytes, uint64_t estimate_ns, const struct item *ends);
void stream_add_op(struct channel *channel, struct stream *stream);

/* The function's estimate, or any (NULL), is not learnt from what is in the stream. */
void stream_unlearn(struct stream *stream, const struct function *function);

/* True if the driver may still be busy with something in this stream. */
bool stream_busy(const struct stream *stream);

/* Records a mark behind all that is not covered yet. */
CUresult stream_cover(struct channel *channel, struct stream *stream);

/* Hangs the wait on the stream's last mark, after covering it. */
CUresult stream_attach(struct channel *channel, struct stream *stream, struct wait *wait);

/* Covers the open batches that hold jobs, in all streams. */
void streams_cover(struct channel *channel);

/* Looks which marks are done; true if any was. */
bool streams_poll(struct channel *channel);

/*
 * When the first mark that somebody waits for, or that holds a job back, should be done by the
 * estimates; UINT64_MAX: nothing waits.
 */
uint64_t streams_due_ns(const struct channel *channel);

/* When all that is in flight should be done by the estimates; UINT64_MAX: there is none. */
uint64_t streams_end_ns(const struct channel *channel);

/* When the oldest unit in flight was issued; 0: nothing is in flight. */
uint64_t streams_oldest_ns(const struct channel *channel);

#endif
