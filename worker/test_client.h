/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A raw client for tests: makes a channel's shared objects itself, writes records by hand, and
 * plays mediator on the lease page. The worker is either a core in this process, driven round by
 * round (deterministic), or a vgpu-worker process.
 */
#ifndef VGPU_WORKER_TEST_CLIENT_H
#define VGPU_WORKER_TEST_CLIENT_H

#include <sys/types.h>

#include "cuda/cuda_ops.h"
#include "worker/channel.h"

#define CLIENT_DATA_BYTES (8u << 20)
#define CLIENT_REPLIES    4096

struct client_reply {
    struct client_reply *next;
    uint64_t seq;
    uint16_t kind, status;
    int32_t result;
    uint32_t size;
    uint8_t bytes[];
};

struct client_options {
    uint32_t sub_granules, comp_granules; /* 0: 1024 */
    uint64_t data_bytes;                  /* 0: CLIENT_DATA_BYTES */
    const char *worker, *driver;          /* a process; NULL: in this process */
    const char *sandbox;
    bool spare;   /* a process that was there before the channel */
    bool no_turn; /* starts without the turn */
    bool no_context;
    bool mirrored;                                     /* VGPU_CHANNEL_MIRRORED */
    bool threaded;                                     /* the core runs in a thread of its own */
    void (*change_driver)(struct cuda_driver *driver); /* puts calls of its own into the double */
};

struct client {
    struct vgpu_channel_geometry geometry;
    int fds[VGPU_CHANNEL_FDS];
    int lifeline[2];
    pid_t pid;
    struct cuda_driver driver;
    struct channel *channel; /* in this process */
    pthread_t consumer;
    bool threaded;
    uint8_t *base;
    struct vgpu_channel_page *page;
    uint8_t *data;
    struct vgpu_lease_page *lease;
    struct vgpu_report_page *report;
    struct ring_producer submission;
    struct ring_consumer completion;
    uint64_t seq;
    uint32_t thread;
    uint32_t context;
    struct client_reply *replies;
    bool drains;       /* takes completions from the ring */
    int patience_ms;   /* how long one client_run waits for a worker process */
    uint64_t lendable; /* what an ask for device memory is granted up to */
    bool silent;       /* asks get no answer */
};

/* The objects and the worker; the primary context is retained as handle CLIENT_CONTEXT. */
#define CLIENT_CONTEXT VGPU_HANDLE(CUDA_KIND_CONTEXT, 1, 0)
struct client *client_open(const struct client_options *options);
void client_close(struct client *client);

/* Fills the head in and publishes. Returns the sequence number. */
uint64_t client_send(struct client *client, uint16_t op, uint16_t flags, void *record, size_t size);

/* Appends bytes to a record under construction and returns the blob for it. */
struct vgpu_blob client_blob(void *record, size_t *size, const void *bytes, size_t count);

/* Publishes what may be malformed; nothing is filled in. */
void client_send_raw(struct client *client, const void *record, size_t size);

/* Lets the worker go on until it has nothing to do, and takes completions. */
void client_run(struct client *client);

/* The answer of a record, or NULL while there is none. It stays the client's. */
const struct client_reply *client_reply(struct client *client, uint64_t seq);

/* Waits for it; fails the test after some seconds. */
const struct client_reply *client_await(struct client *client, uint64_t seq);

/* Waits until the worker has ended the channel. Returns its reason. */
uint32_t client_await_end(struct client *client);

/* Sends with WAIT and returns the result. */
CUresult client_call(struct client *client, uint16_t op, void *record, size_t size);

/* The mediator's part. */
void client_grant(struct client *client);
void client_revoke(struct client *client);
void client_kick_lease(struct client *client);

/*
 * A quota of device memory, of which nothing is granted yet; asks are answered by client_run(), up
 * to `lendable`, which is the quota at first.
 */
void client_quota(struct client *client, uint64_t bytes);
void client_grant_memory(struct client *client, uint64_t bytes);

/* Shorthands. */
CUresult client_retain(struct client *client, uint32_t context);
uint64_t client_alloc(struct client *client, uint64_t bytes);
CUresult client_module(struct client *client, uint32_t module, const char *ptx);
CUresult client_function(struct client *client, uint32_t module, uint32_t function,
                         const char *name);
uint64_t client_launch(struct client *client, uint32_t function, uint32_t stream);
uint64_t client_launch_with(struct client *client, uint32_t function, uint32_t stream,
                            const void *params, size_t bytes);
uint64_t client_stream(struct client *client, uint32_t stream);
uint64_t client_event(struct client *client, uint32_t event);
uint64_t client_record(struct client *client, uint32_t event, uint32_t stream);
uint64_t client_sync_stream(struct client *client, uint32_t stream);
uint64_t client_sync_context(struct client *client);
uint64_t client_copy(struct client *client, uint16_t flags, struct vgpu_place target,
                     struct vgpu_place source, uint64_t bytes, uint32_t stream);

static inline struct vgpu_place client_device(uint64_t address)
{
    return (struct vgpu_place){.address = address, .place = VGPU_PLACE_DEVICE};
}

static inline struct vgpu_place client_data(uint64_t offset)
{
    return (struct vgpu_place){.address = offset, .place = VGPU_PLACE_DATA};
}

#endif
