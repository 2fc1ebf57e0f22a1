/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One record after its check: the call, its proved arguments, and the worker's objects that they
 * name. Items come from a pool; item_finish() answers and gives the item back.
 *
 * Life: made by the consumer, then issued at once, or held behind a host function, or run beside
 * the consumer, or parked on a wait; finished once.
 */
#ifndef VGPU_WORKER_ITEM_H
#define VGPU_WORKER_ITEM_H

#include "cuda/cuda_in.h"
#include "worker/context.h"

/* More chunks are to come when the limits allow. */
#define CUDA_CALL_AGAIN ((CUresult)0x7fff0002)
/* The call goes to a helper. */
#define CUDA_CALL_BESIDE ((CUresult)0x7fff0003)

#define ITEM_SMALL_BYTES 1024u

struct item {
    struct cuda_call call; /* first: checks and executions get only this */
    struct item *next;
    struct context *context;
    struct stream *stream;
    struct event *event, *second_event;
    struct function *function;
    struct module *module;
    struct link *link;
    struct graph *graph;
    struct pool *pool;
    struct memory *memory;
    struct event_body *body; /* what an event_sync looks at */
    union cuda_out *out;
    struct wait wait;
    uint64_t progress;      /* bytes or rows of a copy that were issued */
    void *made;             /* by an execution beside the consumer */
    uint64_t made_bytes;    /* e.g. what a freed allocation gives back */
    CUresult result;        /* of that execution */
    CUresult lost;          /* held, and what it named is gone: its answer */
    uint64_t want_bytes;    /* quota.h: what it was parked for */
    bool may_print;         /* of a module that is being loaded */
    bool answered, refused; /* quota.h: there was an answer, and it was no */
    bool counted;           /* in the channel's depth */
    bool batched;           /* its job ends with a batch */
    bool delayed;           /* a copy that was allowed to begin, and had to wait for bytes */
    uint32_t small_used;
    uint64_t owned_bytes; /* of blobs that are not in `small` */
    /* From here on a new item is not cleared: all is written before it is read. */
    uint64_t blob_bytes[4];                       /* of those `owned`: mapped; 0: from malloc */
    union cuda_in in;                             /* whole once a check has let the call run */
    _Alignas(16) uint8_t small[ITEM_SMALL_BYTES]; /* blobs that fit */
};

static inline struct item *item_of(const struct cuda_call *call)
{
    return (struct item *)(uintptr_t)call;
}

struct item *item_new(struct channel *channel);

/* Room for the call's results, zeroed as far as the op has any. False: no memory. */
bool item_make_out(struct channel *channel, struct item *item);

/* Answers, or notes the error of a posted call; gives the item back. */
void item_finish(struct channel *channel, struct item *item, CUresult result);

/* The same with a status of its own. */
void item_refuse(struct channel *channel, struct item *item, uint16_t status, CUresult result);

/* Gives back without an answer. */
void item_free(struct channel *channel, struct item *item);

/* Parks the item until its marks are done, then finishes it; `then` may take another way. */
void item_wait_init(struct item *item,
                    void (*then)(struct channel *channel, struct item *item, CUresult result));

/* Parked: call when all marks are attached. Finishes at once if there were none. */
CUresult item_wait_begin(struct channel *channel, struct item *item);

#endif
