/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work that was handed to the driver and how the worker learns that it is done.
 *
 * What goes into a stream is first counted in its open batch. stream_cover() closes the batch with
 * a mark, an event recorded behind it; marks are polled in order. Waits hang on marks, so that the
 * consumer never blocks in the driver.
 */
#ifndef VGPU_WORKER_BATCH_H
#define VGPU_WORKER_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "cuda/cuda_abi.h"

struct channel;
struct context;
struct function;
struct item;
struct stream;
struct times_note;

struct batch {
    uint32_t units; /* pieces of GPU work: launches, fills, chunks of copies */
    uint32_t jobs;  /* jobs that end with this batch */
    uint32_t ops;   /* anything else that takes its place in the stream */
    uint64_t estimate_ns;
    uint64_t first_ns; /* when the first unit was issued */
    uint64_t copy_bytes;
    struct times_note *times;  /* of the jobs */
    struct function *function; /* of all units, if they are launches of one function */
    bool mixed;
};

/* A call that is answered, or goes on, when `remaining` marks are done. */
struct wait {
    struct item *item;
    uint32_t remaining;
    CUresult result; /* first error of the marks */
    void (*then)(struct channel *channel, struct item *item, CUresult result);
};

struct wait_link {
    struct wait *wait;
    struct wait_link *next;
};

struct mark {
    CUevent event;
    struct batch batch;
    struct wait_link *links;
    struct mark *next;
};

#endif
