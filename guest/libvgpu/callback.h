/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host functions: kept under a token until the worker says that their stream got there, run one
 * after the other on a thread of their own, which is made at the first use.
 */
#ifndef VGPU_LIBVGPU_CALLBACK_H
#define VGPU_LIBVGPU_CALLBACK_H

#include "guest/libvgpu/channel.h"

struct callback {
    CUhostFn function;            /* one of these two */
    CUstreamCallback with_status; /* told of errors, too */
    CUstream stream;
    void *user_data;
    void (*drop)(void *user_data); /* called instead if it never runs; may be NULL */
};

/* Keeps a callback and makes the thread. CUDA_ERROR_OUT_OF_MEMORY if either cannot be. */
CUresult callback_add(struct sender *sender, const struct callback *callback, uint64_t *ret_token);

/* Forgets one whose record could not be sent. */
void callback_drop(struct sender *sender, uint64_t token);

/* True while any callback has not run to its end. */
bool callback_any(struct sender *sender);

/* From receive.c, with wait_lock held. Unknown tokens are ignored. */
void callback_due_locked(struct sender *sender, uint64_t token, CUresult result);
void callback_fail_locked(struct sender *sender, CUresult result);

/* Ends the thread. Not to be called from a callback. */
void callback_stop(struct sender *sender);

#endif
