/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile client: turns commands of 32 bytes, random or mutated, into records that are nearly
 * right. Shared by the fuzz target (driver double, in process) and the process test (softgpu).
 */
#ifndef VGPU_WORKER_TEST_HOSTILE_CLIENT_H
#define VGPU_WORKER_TEST_HOSTILE_CLIENT_H

#include "worker/test_client.h"

#define HOSTILE_ADDRESSES 32
#define HOSTILE_OPS       2048 /* whose sequence numbers are remembered */
#define HOSTILE_LIVE      8
#define HOSTILE_FIELDS    16 /* of a record */
#define HOSTILE_CHOICES   8  /* of a field that takes some values only */

/* What cuda.spec says of one field: its kind, and what a number may be. Made by shapes.py. */
struct hostile_rule {
    char what; /* z reserved, 4 and 8 numbers, h and d a live handle, d one that ends, n a new one,
                * others as in a shape */
    uint8_t kind; /* of a handle */
    bool null;    /* a handle may be 0 */
    uint8_t ones;
    uint64_t min, max, mask;
    uint64_t one[HOSTILE_CHOICES];
};

struct hostile_rules {
    uint16_t code;
    const char *name;
    unsigned count;
    struct hostile_rule rules[HOSTILE_FIELDS];
};

extern const struct hostile_rules hostile_rules[];
extern const size_t hostile_rules_count;

/* How a record of an op is made; a letter for each field (test_hostile_client.c). */
struct hostile_shape {
    uint16_t code;
    const char *fields;
};

extern const struct hostile_shape hostile_shapes[];
extern const size_t hostile_shapes_count;

struct hostile_command {
    uint8_t kind; /* what is done; most are records */
    uint8_t op;
    uint8_t flags;
    uint8_t spoil; /* which part of the record is overwritten, if any */
    uint32_t words[7];
};

/* Handles of a kind that are there, as far as a client knows. */
struct hostile_live {
    uint32_t handles[HOSTILE_LIVE];
    unsigned count;
};

struct hostile {
    struct client *client;
    uint64_t addresses[HOSTILE_ADDRESSES]; /* the channel's own, as answers gave them */
    unsigned count;
    uint64_t foreign[HOSTILE_ADDRESSES]; /* of the worker's heap, ring, stack, other ranges */
    unsigned foreign_count;
    uint64_t sent, dropped;
    uint16_t ops[HOSTILE_OPS];    /* of the last records, by sequence number */
    uint32_t made[HOSTILE_OPS];   /* the new handles in them, or 0 */
    uint32_t used[HOSTILE_OPS];   /* handles that they name, or 0 */
    uint64_t asked;               /* records that want an answer */
    uint64_t answered, succeeded; /* answers, and those of calls that worked */
    uint32_t *succeeded_of;       /* by shape, or NULL */
    bool gentle;                  /* keeps to the form, so that a channel lives long */
    uint32_t next[CUDA_KINDS];    /* indices that a gentle client has used */
    struct hostile_live live[CUDA_KINDS];
    uint64_t reserved[HOSTILE_LIVE], tokens[HOSTILE_LIVE];
    unsigned reserved_count, token_count;
};

/* PTX of a kernel `add_one(u32 *)`. */
extern const char hostile_ptx[];

/* Sends one record, or does what else a client can do to the shared memory. Never waits. */
void hostile_do(struct hostile *hostile, const struct hostile_command *command);

/* Learns addresses from the answers that have come, and forgets the answers. */
void hostile_learn(struct hostile *hostile);

#endif
