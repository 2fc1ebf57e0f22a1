/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What belongs to a thread: its stack of contexts, its default streams, whether it is inside of a
 * host function, whether the call under way is a per-thread-default-stream twin.
 */
#ifndef SOFTGPU_THREAD_H
#define SOFTGPU_THREAD_H

#include "softgpu/gpu.h"

#define THREAD_MAX_CONTEXTS 256 /* in the stack */

struct stream;

struct thread_stream {
    struct thread_stream *next;
    CUcontext context;
    struct stream *stream; /* a reference */
};

struct thread {
    CUcontext contexts[THREAD_MAX_CONTEXTS];
    unsigned n_contexts;
    struct thread_stream *streams; /* one per context in which it was asked for; gpu.lock */
    bool in_host_function;
    bool per_thread; /* stream 0 is this thread's */
};

/* This thread's; NULL if there is no memory. */
struct thread *thread_self(void);

/* True in a host function or stream callback. */
bool thread_in_host_function(void);

/* The current context's handle, or NULL. */
CUcontext thread_current(void);

#endif
