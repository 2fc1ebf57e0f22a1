/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launcher proper: one listening socket, one mediator at a time, the workers. main.c makes one,
 * runs it, and releases it, which leaves no worker, socket or cgroup behind.
 *
 * A mediator can break nothing but its own connection: what is malformed drops it, the workers run
 * on, and the next mediator finds them with LIST.
 */
#ifndef VGPU_LAUNCHER_SERVER_H
#define VGPU_LAUNCHER_SERVER_H

#include "common/err.h"
#include "launcher/devices.h"
#include "launcher/spawn.h"

struct server_settings {
    const char *socket;
    const char *cgroup;
    const char *reset_program; /* NULL: no GPU is reset */
    uid_t mediator_uid;
    uint64_t memory_bytes; /* of a worker, where SPAWN does not say; 0: no limit */
    unsigned max_workers;
    struct devices devices;
    struct spawn_settings spawn;
};

struct server;

/* Blocks SIGCHLD, SIGTERM and SIGINT, which then come by the loop. settings outlive the server. */
int server_new(const struct server_settings *settings, struct server **ret_server,
               struct vgpu_err *err);
/* Until SIGTERM or SIGINT. 0, or -errno if the loop itself fails. */
int server_run(struct server *server);
/* Kills and reaps all workers first. NULL is allowed. */
void server_free(struct server *server);

#endif
