/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handles that a program holds (contexts, modules, functions, streams, events, link states,
 * pools, memory).
 * A handle is index and generation of a slot, never an address: any value that a program passes
 * is looked up, and one that was freed stays invalid. All functions are called with gpu.lock held.
 */
#ifndef SOFTGPU_HANDLE_H
#define SOFTGPU_HANDLE_H

enum handle_kind {
    HANDLE_CONTEXT = 1,
    HANDLE_MODULE,
    HANDLE_FUNCTION,
    HANDLE_STREAM,
    HANDLE_EVENT,
    HANDLE_LINK,
    HANDLE_POOL,
    HANDLE_MEMORY,
};

#define HANDLE_MAX (1u << 24) /* live handles of all kinds */

/* A new handle for object, or NULL if there is no memory or HANDLE_MAX are live. */
void *handle_new(enum handle_kind kind, void *object);

/* The object of a live handle of that kind, or NULL. */
void *handle_get(enum handle_kind kind, const void *handle);

/* Ends a handle that handle_new gave. NULL is allowed. */
void handle_free(const void *handle);

#endif
