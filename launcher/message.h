/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves a packet from the mediator (<vgpu/launch.h>) before anything else reads it: size, type,
 * reserved fields, geometry, identifiers. Called by server.c for each packet; pure, so it is
 * fuzzed.
 */
#ifndef VGPU_LAUNCHER_MESSAGE_H
#define VGPU_LAUNCHER_MESSAGE_H

#include <stddef.h>
#include <vgpu/launch.h>

#include "common/err.h"

#define MESSAGE_VM_ID_MAX         2147483647u
#define MESSAGE_HOST_MEMORY_BYTES (UINT64_C(1) << 44) /* the most that a cgroup is asked for */

struct message {
    enum vgpu_launch_type type; /* HELLO, SPAWN, KILL, LIST, SPARES or RESET */
    uint32_t channel;           /* KILL: the channel; SPAWN: likewise */
    struct vgpu_launch_spawn spawn;
    struct vgpu_launch_spares spares;
    struct vgpu_launch_reset reset;
};

/*
 * n_fds: how many descriptors came with the packet. Returns 0; -EPROTONOSUPPORT: a HELLO of another
 * major version; -EPROTO: malformed.
 */
int message_parse(const void *packet, size_t size, size_t n_fds, struct message *ret,
                  struct vgpu_err *err);

#endif
