/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A memory cgroup per worker, below one directory that belongs to the launcher: version 2 where it
 * was delegated, version 1's memory controller where that is what exists. Called by server.c.
 */
#ifndef VGPU_LAUNCHER_CGROUP_H
#define VGPU_LAUNCHER_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define CGROUP_NAME_BYTES 32

struct cgroup {
    int dir; /* the directory; -1: no limits are set */
    bool unified;
    bool made; /* the directory is ours to remove */
    char path[512];
};

/* path: made if it does not exist. On error cgroup is as one without limits. */
int cgroup_init(struct cgroup *cgroup, const char *path, struct vgpu_err *err);
void cgroup_release(struct cgroup *cgroup);

/*
 * Makes the group of a worker, with a limit of bytes. *ret_procs: the open cgroup.procs, to which
 * the worker writes "0"; -1 if there are no limits.
 */
int cgroup_make(const struct cgroup *cgroup, const char *name, uint64_t bytes, int *ret_procs,
                struct vgpu_err *err);
/* Gives a group that has a worker already another limit; 0 leaves it. */
int cgroup_limit(const struct cgroup *cgroup, const char *name, uint64_t bytes);
/* After the worker was reaped. */
int cgroup_remove(const struct cgroup *cgroup, const char *name);

#endif
