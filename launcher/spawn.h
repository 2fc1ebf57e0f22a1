/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts a worker: its own user, session, network namespace, limits and environment; descriptors
 * 3..9 are the channel's in the order of enum vgpu_channel_fd (by grants: the first three are Xen's
 * devices), 10 is its launcher socket. A spare has nothing behind 3..9 yet. Called by server.c.
 *
 * A worker starts with no capability, but a spare and one by grants keep the two that a change of
 * user takes: they use them before the first byte of a guest is read, and drop them
 * (worker/adopt.h).
 */
#ifndef VGPU_LAUNCHER_SPAWN_H
#define VGPU_LAUNCHER_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>
#include <vgpu/launch.h>

#include "common/err.h"

#define SPAWN_WORKER_SOCKET_FD 10
#define SPAWN_ENV_MAX          32
/* Users of spares, which no VM gets. */
#define SPAWN_SPARE_UIDS   0xfffe0000u
#define SPAWN_N_SPARE_UIDS 65536u

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
    const char *faults; /* for tests: the plan of faults that the driver is to read; or NULL */
};

/* The user of a VM, or -ERANGE if there is none of that number. */
int spawn_uid(const struct spawn_settings *settings, uint32_t vm_id, uid_t *ret_uid);

/* What a spare must be told to become: the user of this VM. -ERANGE as above. */
int spawn_adopt(const struct spawn_settings *settings, const struct vgpu_launch_spawn *spawn,
                struct vgpu_launch_adopt *ret_adopt);

/* A descriptor of a channel's lease page that cannot be written through. */
int spawn_read_only(int fd, int *ret_fd, struct vgpu_err *err);

/*
 * A worker without a channel, as a user of its own, with no right but to become another: its GPU
 * driver knows processes by the user that they had when they came, and two spares must not be one.
 */
int spawn_spare(const struct spawn_settings *settings, const char *gpu_uuid, uint32_t number,
                int sock, int cgroup_procs, pid_t *ret_pid, int *ret_network, struct vgpu_err *err);

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
