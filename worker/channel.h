/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One channel, which is all that a worker process serves. The consumer's thread owns everything
 * here but the helpers' queue (helper.h) and the page-locked segments (data.h), which have locks.
 */
#ifndef VGPU_WORKER_CHANNEL_H
#define VGPU_WORKER_CHANNEL_H

#include <vgpu/launch.h>
#include <vgpu/lease.h>
#include <vgpu/ring.h>

#include "common/clock.h"
#include "common/err.h"
#include "cuda/cuda_driver.h"
#include "ring/ring.h"
#include "worker/backlog.h"
#include "worker/context.h"
#include "worker/data.h"
#include "worker/early.h"
#include "worker/granted.h"
#include "worker/graph.h"
#include "worker/handles.h"
#include "worker/helper.h"
#include "worker/hold.h"
#include "worker/item.h"
#include "worker/ledger.h"
#include "worker/limits.h"
#include "worker/mapping.h"
#include "worker/pool.h"
#include "worker/print.h"
#include "worker/quota.h"
#include "worker/reply.h"
#include "worker/snapshot.h"
#include "worker/stages.h"
#include "worker/times.h"
#include "worker/turn.h"
#include "worker/vector_add.h"
#include "worker/virtual.h"
#include "worker/written.h"

/* Room and credit that were given to the guest since it last was not, or was, woken for them. */
struct gain {
    uint32_t granules;
    uint64_t credit;
};

struct channel {
    const struct cuda_driver *cu;
    CUdevice device;
    struct mapping map;
    int fds[VGPU_CHANNEL_FDS];
    struct granted granted;
    int lifeline; /* -1: none */
    int epoll;

    struct ring_consumer submission;
    struct gain gain; /* what the guest got and was not woken for */
    struct stages stages;
    uint64_t next_seq;
    struct early early;
    struct taken current; /* the next record to issue; current.row is NULL if there is none */
    struct backlog backlog;
    struct replies replies;
    struct item *partial; /* a copy with chunks still to come; nothing else is issued meanwhile */
    struct item *spare_items;
    union cuda_out *spare_out;
    struct wait_link *spare_links;
    uint64_t blob_bytes; /* of private copies that live */

    struct handle_table handles[CUDA_KINDS];
    struct ledger ledger;
    struct data_area data;
    uint64_t memory_bytes; /* device memory that the guest holds */
    struct quota quota;
    struct pool default_pool;
    struct pool *pools; /* the others */
    bool pools_freed;   /* pools_settle has something to look at */
    struct virtual virtual;

    struct context primary;
    struct context *contexts; /* the others */
    CUcontext entered;        /* current in the consumer's thread */
    CUresult posted_error;    /* of posted calls without a living context */
    uint32_t thread_streams;
    uint32_t gpu_faults; /* contexts that the guest's work has spoilt */

    struct stream *active; /* streams with something uncovered or with marks */
    struct graph *graphs;  /* executable ones */
    uint32_t graph_nodes;  /* in all of them */
    struct item *event_waits;
    struct item *closing; /* calls that wait until their context is idle */
    struct hold hold;
    struct helper helper;
    struct turn turn;
    struct times times;
    struct print print;
    struct vector_add vector_add;
    struct written written;
    struct snapshot snapshot;

    uint64_t now_ns;  /* as of this round, and of the last few records */
    unsigned untimed; /* records since the clock was read */
    uint64_t progress_ns;
    uint64_t issued_told;
    uint64_t credit_told;
    bool stopping;
    bool ended;
    enum vgpu_status end_status;
    char end_text[VGPU_STATUS_TEXT_BYTES];
};

struct channel_config {
    struct vgpu_channel_geometry geometry;
    const int *fds; /* VGPU_CHANNEL_FDS; stay the caller's, but for memory by grants */
    const struct grant_ops *grants; /* NULL: its memory is an object */
    struct vgpu_launch_grant grant; /* with grants: where it is */
    int lifeline;                   /* -1: none */
    const struct cuda_driver *driver;
};

/*
 * channel_new() in two steps, so that channel_start() can come between them: a spare worker has a
 * driver but no channel yet. Where attaching fails the process is of no use any more.
 */
struct channel *channel_prepare(const struct cuda_driver *driver, struct vgpu_err *err);
int channel_attach(struct channel *channel, const struct channel_config *config,
                   struct vgpu_err *err);

/* Maps and validates; touches no GPU. Returns NULL with err set. */
struct channel *channel_new(const struct channel_config *config, struct vgpu_err *err);
void channel_free(struct channel *channel);

/* Gives back all items that wait for something, unanswered (consumer.c). */
void channel_release_items(struct channel *channel);

/* cuInit, the primary context, and a first job, so that the driver has opened what it needs. */
int channel_start(struct channel *channel, struct vgpu_err *err);

/* Tells mediator and guest that the channel takes records. */
void channel_announce(struct channel *channel);

/* The channel is over, for this reason. The first one counts. */
void channel_end(struct channel *channel, enum vgpu_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Writes the reason to the report page and the notice, and wakes both readers. */
void channel_tell_end(struct channel *channel);

/* The same of a channel that could not be attached; its descriptors are the worker's still. */
void channel_tell_not_attached(const int *fds, enum vgpu_status status, const char *text);

/* Writes 1 to an eventfd. */
void channel_kick(int fd);
/* The guest, by whatever wakes it. */
void channel_kick_guest(const struct channel *channel);

/* Accounts device memory that the guest got or gave back. */
void channel_add_memory(struct channel *channel, int64_t bytes);

#endif
