/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which spare workers there are, and which there should be: for each GPU a pool of those that were
 * started ahead of time. Time is an argument, nothing here does I/O; server.c starts, adopts and
 * reaps.
 *
 * Invariants: a spare holds nothing of any guest; one that is adopted leaves its pool at once. A
 * pool whose spares end by themselves is refilled ever more slowly.
 */
#ifndef VGPU_LAUNCHER_SPARE_H
#define VGPU_LAUNCHER_SPARE_H

#include <stdbool.h>
#include <sys/types.h>
#include <vgpu/launch.h>

#include "launcher/cgroup.h"

#define SPARE_BACKOFF_NS     (1000000000ull) /* after the first failure; doubles */
#define SPARE_BACKOFF_MAX_NS (64 * SPARE_BACKOFF_NS)
#define SPARE_START_NS       (60 * SPARE_BACKOFF_NS) /* to be ready, or be killed */

enum spare_state { SPARE_NONE, SPARE_STARTING, SPARE_READY };

struct spare {
    enum spare_state state;
    uint32_t number; /* of all spares ever; names user and cgroup */
    pid_t pid;
    int sock;      /* -1: closed, because it is being killed */
    bool unwanted; /* killed on purpose: its end is no failure */
    uint64_t started_ns;
    char group[CGROUP_NAME_BYTES];
};

struct spare_pool {
    char gpu_uuid[VGPU_GPU_UUID_BYTES]; /* empty: not in use */
    unsigned wanted;
    uint32_t failures;
    uint64_t adopted;
    uint64_t retry_ns; /* none is started before */
    bool changed;      /* since the mediator was told */
    struct spare spares[VGPU_LAUNCH_MAX_SPARES];
};

struct spares {
    uint32_t last_number;
    struct spare_pool pools[VGPU_LAUNCH_MAX_GPUS];
};

/* Pools that are not named any more want nothing; one is free once it is empty. */
void spares_want(struct spares *spares, const struct vgpu_launch_spares *wish);

/* The pool of a GPU, or NULL. */
struct spare_pool *spares_pool(struct spares *spares, const char *gpu_uuid);
/* By number or by process; NULL. *ret_pool: where it is. */
struct spare *spares_find(struct spares *spares, uint32_t number, struct spare_pool **ret_pool);
struct spare *spares_find_pid(struct spares *spares, pid_t pid, struct spare_pool **ret_pool);

/* A place for one more, if the pool wants one now; NULL otherwise. */
struct spare *spare_pool_room(struct spare_pool *pool, uint64_t now_ns);
/* One that must end: it is one too many, or was not ready in time. */
struct spare *spare_pool_excess(struct spare_pool *pool, uint64_t now_ns);
/* One that can be adopted. */
struct spare *spare_pool_ready(struct spare_pool *pool);

/* Without those that must end. */
void spare_pool_count(const struct spare_pool *pool, unsigned *ret_starting, unsigned *ret_ready);

/* One ended by itself, or could not be started. */
void spare_pool_failed(struct spare_pool *pool, uint64_t now_ns);
/* It left the pool: with a channel (adopted), or dead. */
void spare_leave(struct spare_pool *pool, struct spare *spare, bool adopted);

/* When room or excess may change by time alone; UINT64_MAX: never. */
uint64_t spares_next_ns(const struct spares *spares);

#endif
