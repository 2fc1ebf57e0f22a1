/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each process uses of each device, in a file that all softgpu processes of a machine map
 * (SOFTGPU_STATE_DIR/usage). It is for information: nothing is enforced by it, and no reader trusts
 * it. A process holds a slot, and with it a lock on one byte of the file, which ends with the
 * process however it dies: so slots of the dead are found and reused.
 */
#ifndef SOFTGPU_USAGE_H
#define SOFTGPU_USAGE_H

#include <stdint.h>

#include "softgpu/identity.h"

#define USAGE_MAGIC 0x75677366u
#define USAGE_SLOTS 256

struct usage_slot {
    uint32_t pid; /* 0: free */
    uint32_t reserved;
    uint64_t memory_bytes[SOFTGPU_MAX_DEVICES];
    uint64_t busy_ns[SOFTGPU_MAX_DEVICES]; /* time in kernels since the process began */
};

struct usage_file {
    uint32_t magic;
    uint32_t n_slots;
    uint64_t ended_busy_ns[SOFTGPU_MAX_DEVICES]; /* of processes that have ended */
    struct usage_slot slots[USAGE_SLOTS];
};

struct usage;

/*
 * Opens the file in dir, makes it if need be, clears slots of the dead, and takes a slot. NULL if
 * dir is NULL, the file is not to be had, or all slots are taken: then nothing is shared.
 * The file stays open, for the lock.
 */
struct usage *usage_open(const char *dir);

/* The same for a reader, which takes no slot. */
struct usage *usage_open_reader(const char *dir);

void usage_close(struct usage *usage);

/* All of the following take NULL, and do nothing then. */
void usage_set(struct usage *usage, unsigned device, uint64_t memory_bytes);
void usage_add_busy(struct usage *usage, unsigned device, uint64_t busy_ns);

/* Memory that other processes say they use. */
uint64_t usage_of_others(const struct usage *usage, unsigned device);

/* Clears slots of processes that have died. */
void usage_sweep(struct usage *usage);

/* The shared contents, for a reader; NULL if usage is NULL. */
const struct usage_file *usage_contents(const struct usage *usage);

#endif
