/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of softgpu in this process, and how a call of the driver API enters it.
 *
 * gpu.lock guards everything but the map of allocations (memory.h has its own lock, taken after
 * this one). It is not held while kernels, copies or host functions run. Each API function opens a
 * scope: it holds the lock, and a reference to the current context, until the function returns.
 */
#ifndef SOFTGPU_GPU_H
#define SOFTGPU_GPU_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "cuda/cuda_api.h"
#include "softgpu/identity.h"
#include "softgpu/ptx/ptx.h"

struct arena;
struct context;
struct pool;
struct usage;

struct device {
    CUdevice ordinal; /* in this process */
    unsigned index;   /* on this machine */
    uint64_t memory_bytes;
    uint64_t used_bytes;     /* by this process */
    struct arena *arena;     /* from the first context on, to the end of the process */
    struct pool *pools;      /* all of them */
    struct pool *pool;       /* the current one; NULL: the default one */
    struct context *primary; /* made at first use, then kept, active or not */
};

struct gpu {
    pthread_mutex_t lock;
    bool ready; /* cuInit has succeeded, and this is not a forked child */
    bool verbose;
    int n_devices;
    struct device devices[SOFTGPU_MAX_DEVICES];
    unsigned threads; /* SOFTGPU_THREADS; 0: one for each CPU */
    int n_processors;
    struct ptx_pool *pool; /* from the first context on */
    struct usage *usage;   /* what other processes see; NULL without SOFTGPU_STATE_DIR */
    uint64_t next_id;      /* of contexts, streams and allocations */
};

extern struct gpu gpu;

/* A call of the API: until it ends, the lock is held if result is CUDA_SUCCESS. */
struct scope {
    CUresult result;
    struct context *context; /* the current one, with a reference; NULL in scope_gpu */
};

/* Enters; fails if cuInit has not been called or this is a host function. */
struct scope scope_gpu(void);

/* The same, and needs a current context that is alive and free of a sticky error. */
struct scope scope_context(void);

/* The same, but with a sticky error the scope is entered all the same: to clean up. */
struct scope scope_context_any(void);

void scope_leave(struct scope *scope);

#define _scope_ _cleanup_(scope_leave)

/* The device of an ordinal, or NULL. */
struct device *gpu_device(CUdevice ordinal);

/* Makes the thread pool and the device's arena, so that later calls open no file. */
CUresult gpu_prepare(struct device *device);

/* What a device has left for this process, and in all. Lock held. */
uint64_t gpu_free_bytes(const struct device *device);

/* Changes what this process uses of the device. Lock held. */
void gpu_charge(struct device *device, int64_t bytes);

#endif
