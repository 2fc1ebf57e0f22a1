/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the library keeps for each of the program's threads: its number on the wire, its stack of
 * contexts, and the place where its answers arrive. Made at a thread's first call; when the thread
 * ends, the worker is told and the number becomes free.
 */
#ifndef VGPU_LIBVGPU_THREAD_H
#define VGPU_LIBVGPU_THREAD_H

#include "cuda/sender.h"
#include "cuda/stream_attributes.h"
#include "guest/libvgpu/channel.h"
#include "guest/libvgpu/snapshot.h"

struct guest_thread {
    uint32_t number;  /* from 1; 0: has submitted nothing yet */
    uint32_t session; /* the one that the contexts are of */
    bool per_thread;  /* between cuda_per_thread_enter and _leave */
    bool in_callback;
    uint32_t *contexts; /* handles, the current one last */
    size_t context_count, context_room;
    uint32_t live_context; /* was live when so many contexts had ended */
    uint32_t live_ended;
    struct stream_attributes attributes; /* of its default stream in one context */
    int priority;
    uint32_t attributes_context;
    uint32_t context_override; /* for one record: another context than the current; 0: none */

    struct waiter waiter;
    struct ticket ticket;    /* of the call in which the thread waits */
    struct ticket *deferred; /* takes the next answer instead, and nobody waits here */
    struct vgpu_slice blobs[SENDER_MAX_BLOBS];
    uint32_t n_blobs;
    uint8_t *answer;
    uint64_t last_seq; /* of what it submitted last */
    struct snapshot_asked asked[SNAPSHOT_ASKED];
    unsigned untimed; /* records, for stages.h */
};

/* The calling thread's; NULL if memory is out. */
struct guest_thread *thread_self(void);

/* The same without making one. */
struct guest_thread *thread_peek(void);

/* The handle that is current, or 0. */
uint32_t thread_context(const struct guest_thread *thread);

/* Pushes a context; false if memory is out. */
bool thread_push(struct guest_thread *thread, uint32_t context);

/* Gives the thread a number if it has none. */
void thread_number(struct guest_thread *thread);

#endif
