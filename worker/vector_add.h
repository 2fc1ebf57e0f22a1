/* SPDX-License-Identifier: Apache-2.0 */
/* The explicit job: adds two vectors with the worker's own kernel, in a stream of its own. */
#ifndef VGPU_WORKER_VECTOR_ADD_H
#define VGPU_WORKER_VECTOR_ADD_H

#include <stdbool.h>
#include <stdint.h>

#include "cuda/cuda_abi.h"

#define VECTOR_ADD_SLOTS 16u

struct channel;
struct stream;

struct vector_add_slot {
    uint8_t *host; /* page-locked: a, b, sum */
    CUdeviceptr device;
    bool busy;
};

struct vector_add {
    CUmodule module;
    CUfunction function;
    struct stream *stream;
    struct vector_add_slot slots[VECTOR_ADD_SLOTS];
};

/* True if a job of this kind finds a place. */
bool vector_add_has_slot(const struct channel *channel);

/* Runs one job to its end, with the results checked: the warm-up before the sandbox. */
CUresult vector_add_warm_up(struct channel *channel);

/* The primary context was reset. */
void vector_add_forget(struct channel *channel);

#endif
