/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A context: it owns streams, events, modules, link states and allocations, and once a kernel has
 * faulted it answers that error to every call. A context that has ended keeps its memory until the
 * last reference goes (calls that were waiting in it hold one). The device's primary context is
 * made once and may end and live again under the same handle. Functions need gpu.lock.
 */
#ifndef SOFTGPU_CONTEXT_H
#define SOFTGPU_CONTEXT_H

#include "softgpu/gpu.h"

struct event;
struct link_state;
struct module;
struct stream;

struct context {
    CUcontext handle;
    unsigned refs;
    struct context *next; /* in the list of all */
    struct device *device;
    bool alive;
    bool ending;       /* alive no more, but work is still being drained */
    unsigned retained; /* a primary context lives while this is not 0 */
    unsigned flags;
    unsigned api_version;
    uint64_t id;
    CUresult error; /* sticky */
    size_t stack_bytes, printf_bytes, heap_bytes, pending_launches, l2_fetch_bytes;
    CUfunc_cache cache_config;
    CUsharedconfig shared_config;
    struct stream *legacy;
    struct stream *streams;
    struct event *events;
    struct module *modules;
    struct link_state *links;
    pthread_mutex_t print_lock; /* guards the three below; taken last */
    char *print_text;
    size_t print_used, print_size;
};

/* The context of a handle if it is alive, or NULL. */
struct context *context_get(CUcontext handle);

struct context *context_ref(struct context *context);
void context_unref(struct context *context);

/* A context that is not alive yet, with the caller's reference; NULL without memory. */
struct context *context_new(struct device *device);

/* Brings a context to life with default limits. */
CUresult context_start(struct context *context, unsigned flags);

/* Waits for the context's work, then frees all that it owns. The lock is released meanwhile. */
void context_end(struct context *context);

/* Waits for all work of this process. */
CUresult context_wait_everything(void);

/* True if these are flags that a context can be created with. */
bool context_flags_valid(unsigned flags);

/* Appends to what kernels have printed; called by the engine, without gpu.lock. */
void context_print(void *context, const char *text, size_t size_bytes);

/* Sets how much may be printed between two flushes; what is there now is kept if it fits. */
void context_set_printf(struct context *context, size_t size_bytes);

/* At a synchronisation: writes what kernels have printed to standard output, and lets pools give
 * back what they need not keep. The lock is released meanwhile. */
void context_flush(struct context *context);

#endif
