/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile client: turns commands of 32 bytes, random or mutated, into records that are nearly
 * right. Shared by the fuzz target (driver double, in process) and the process test (softgpu).
 */
#ifndef VGPU_WORKER_TEST_HOSTILE_CLIENT_H
#define VGPU_WORKER_TEST_HOSTILE_CLIENT_H

#include "worker/test_client.h"

#define HOSTILE_ADDRESSES 32

struct hostile_command {
    uint8_t kind; /* what is done; most are records */
    uint8_t op;
    uint8_t flags;
    uint8_t spoil; /* which part of the record is overwritten, if any */
    uint32_t words[7];
};

struct hostile {
    struct client *client;
    uint64_t addresses[HOSTILE_ADDRESSES]; /* the channel's own, as answers gave them */
    unsigned count;
    uint64_t foreign[HOSTILE_ADDRESSES]; /* of the worker's heap, ring, stack, other ranges */
    unsigned foreign_count;
    uint64_t sent, dropped;
    bool gentle;               /* keeps to the form, so that a channel lives long */
    uint32_t next[CUDA_KINDS]; /* indices that a gentle client has used */
};

/* PTX of a kernel `add_one(u32 *)`. */
extern const char hostile_ptx[];

/* Sends one record, or does what else a client can do to the shared memory. Never waits. */
void hostile_do(struct hostile *hostile, const struct hostile_command *command);

/* Learns addresses from the answers that have come, and forgets the answers. */
void hostile_learn(struct hostile *hostile);

#endif
