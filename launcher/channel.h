/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A channel as the launcher keeps it: the worker's process, the descriptors that must outlive the
 * mediator, and what the mediator wants to be told about it again.
 *
 * Invariant: a channel is in the table from a successful spawn until its worker is reaped and a
 * mediator has been told so.
 */
#ifndef VGPU_LAUNCHER_CHANNEL_H
#define VGPU_LAUNCHER_CHANNEL_H

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <vgpu/launch.h>

#include "common/err.h"
#include "launcher/cgroup.h"

struct channel {
    uint32_t number;
    pid_t pid;
    bool kill_asked;
    bool known;                          /* the mediator of the present connection knows of it */
    bool exited;                         /* reaped; `end` is valid, `pid` is not */
    char group[CGROUP_NAME_BYTES];       /* the worker's cgroup */
    char spare_gpu[VGPU_GPU_UUID_BYTES]; /* the pool of spares it came from, if it did */
    int sock; /* this side of the worker's launcher socket; -1 once it is at its end */
    int fds[VGPU_CHANNEL_FDS];
    struct vgpu_channel_geometry geometry;
    struct vgpu_launch_keep keep;
    struct vgpu_launch_exited end;
};

struct channel_table {
    unsigned count, max;
    struct channel *items[VGPU_LAUNCH_MAX_WORKERS];
};

/* Takes over the descriptors in fds. NULL if there is no memory; fds are then the caller's. */
struct channel *channel_new(const struct vgpu_launch_spawn *spawn, const int *fds);
/* Closes all descriptors. NULL is allowed. */
void channel_free(struct channel *channel);

/*
 * Checks the descriptors of a SPAWN (-1: not of this channel): sealed memory objects of the right
 * sizes, nobody else may write the lease page, eventfds. 0 or -EINVAL with the reason.
 */
int channel_check_fds(const int *fds, const struct vgpu_channel_geometry *geometry,
                      struct vgpu_err *err);

/* Its worker was reaped: `end` is what a mediator is to be told. */
void channel_ended(struct channel *channel, int status, const struct rusage *usage);

struct channel *channel_find(struct channel_table *table, uint32_t number);
struct channel *channel_find_pid(struct channel_table *table, pid_t pid);
/* False if the table is full. */
bool channel_add(struct channel_table *table, struct channel *channel);
/* Takes it out of the table and frees it. */
void channel_drop(struct channel_table *table, struct channel *channel);

#endif
