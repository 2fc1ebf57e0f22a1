/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the program's handles stand for. The guest names its objects: index and generation under the
 * named maximum of cuda.spec; a CUDA handle is the wire's handle, cast to a pointer.
 *
 * All functions are called with the guest's lock held (guest.h), unless they say otherwise. An
 * object's memory stays where it is for ever, so that a program that races with its own destroy
 * reads a dead object, never freed memory.
 */
#ifndef VGPU_LIBVGPU_OBJECTS_H
#define VGPU_LIBVGPU_OBJECTS_H

#include <stdbool.h>
#include <stdint.h>

#include "cuda/cuda_abi.h"
#include "cuda/cuda_ops.h"
#include "cuda/stream_attributes.h"

/* Opens each object. */
struct object {
    uint32_t handle;
    uint32_t context; /* handle of the context that it belongs to and dies with */
};

struct context_object {
    struct object head;
    uint64_t id;
    unsigned flags;
    bool primary;
    CUfunc_cache cache_config;
    CUsharedconfig shared_config;
    struct stream_attributes null_attributes; /* of its legacy default stream */
    int null_priority;
};

/* A variable that was asked for before. */
struct module_global {
    struct module_global *next;
    uint64_t address, bytes;
    char name[];
};

struct module_object {
    struct object head;
    struct module_global *globals;
};

/* The last launch in clusters that the device was found to take; bytes of it are compared. */
struct proved_launch {
    uint32_t grid[3], block[3];
    uint32_t shared_bytes;
    uint32_t known;
    struct vgpu_launch_attributes attributes;
};

struct function_object {
    struct object head;
    uint32_t module;
    char *name;
    struct cuda_function_info info;
    struct cuda_param_info *params;
    struct proved_launch proved;
};

struct stream_object {
    struct object head;
    unsigned flags;
    int priority;
    uint64_t id;
    struct stream_attributes attributes;
};

struct event_object {
    struct object head;
    unsigned flags;
    /* Both are read and raised without the lock. seq: of its last record, or of its creation. */
    uint32_t recorded; /* flag */
    uint64_t seq;
};

struct pool_object {
    struct object head; /* of no context */
    bool is_default;
};

/* Memory of cuMemCreate. It lives while the program holds it or it is mapped. */
struct memory_object {
    struct object head; /* of no context */
    uint64_t bytes;
    uint32_t refs, maps;
    bool given_up; /* its release is on its way */
};

/* Where a caller wants what the JIT says. */
struct jit_logs {
    char *info, *error;
    uint32_t info_bytes, error_bytes;
    void **info_size_value, **error_size_value; /* in the caller's options; NULL: not asked for */
    void **wall_time_value;
};

struct link_object {
    struct object head;
    struct jit_logs logs;
    void *image; /* from cuLinkComplete; lives as long as the link */
};

/* A new object, zeroed but for its handle; NULL if the maximum is reached or memory is out. */
void *object_new(enum cuda_kind kind, uint32_t context);

/*
 * The live object behind a value that the program gave, or NULL. Without the lock too, for members
 * that do not change, or are flags.
 */
void *object_find(enum cuda_kind kind, const void *value);
void *object_at(enum cuda_kind kind, uint32_t handle);

/* The handle is dead from now on; frees what the object owns. */
void object_drop(enum cuda_kind kind, uint32_t handle);

/*
 * The primary context keeps its handle: dead from now on, until it is revived. The index is not
 * used for another object meanwhile.
 */
void object_suspend(enum cuda_kind kind, uint32_t handle);
void object_revive(enum cuda_kind kind, uint32_t handle);

/* Suspends all of a kind: nobody knows whether the worker has ended the very last ones too. */
void objects_suspend_all(enum cuda_kind kind);

/* Drops all objects of a context, the context itself excepted. */
void objects_drop_context(uint32_t context);

/* Drops the functions of a module. */
void objects_drop_module(uint32_t module);

/* The live function of that name in a module, or NULL. */
struct function_object *object_function(uint32_t module, const char *name);

/*
 * How many times a context has ended so far. One that was live at a count is live as long as the
 * count is the same; may be called without the lock.
 */
uint32_t objects_contexts_ended(void);

/* Drops everything; generations go on, so that old handles stay dead. */
void objects_reset(void);

static inline void *object_handle(const void *object)
{
    return (void *)(uintptr_t)((const struct object *)object)->handle;
}

#endif
