/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts a worker: its own user, session, network namespace, limits and environment; descriptors
 * 3..9 are the channel's in the order of enum vgpu_channel_fd, 10 is its launcher socket. Called by
 * server.c only.
 */
#ifndef VGPU_LAUNCHER_SPAWN_H
#define VGPU_LAUNCHER_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>
#include <vgpu/launch.h>

#include "common/err.h"

#define SPAWN_WORKER_SOCKET_FD 10
#define SPAWN_ENV_MAX          32

struct spawn_settings {
    const char *worker; /* path of the program */
    const char *driver; /* path of the CUDA driver library that it loads */
    bool own_uid;       /* VM v gets user and group base_uid + v; otherwise the launcher's */
    uid_t base_uid;
    bool has_gpu_gid; /* gpu_gid: the group that may open the GPU's device files */
    gid_t gpu_gid;
    bool own_network;               /* a network namespace of its own */
    const char *env[SPAWN_ENV_MAX]; /* NAME=VALUE, further environment of each worker */
    unsigned n_env;
};

/* The user of a VM, or -ERANGE if there is none of that number. */
int spawn_uid(const struct spawn_settings *settings, uint32_t vm_id, uid_t *ret_uid);

/*
 * fds: the channel's; the lease page is given to the worker read-only. sock: the worker's end of
 * its launcher socket. cgroup_procs: -1 or where the worker enters its cgroup. All stay the
 * caller's. *ret_network: 0, or the errno for which the worker runs without a network namespace of
 * its own.
 */
int spawn_worker(const struct spawn_settings *settings, const struct vgpu_launch_spawn *spawn,
                 const int *fds, int sock, int cgroup_procs, pid_t *ret_pid, int *ret_network,
                 struct vgpu_err *err);

#endif
