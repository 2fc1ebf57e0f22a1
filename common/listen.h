/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening Unix sockets at a path, for the programs.
 *
 * A socket file that nobody listens on any more is replaced; one in use by a living process, or a
 * path that is something else, is an error. The descriptor is CLOEXEC and does not block.
 */
#ifndef VGPU_COMMON_LISTEN_H
#define VGPU_COMMON_LISTEN_H

#include <sys/types.h>

#include "common/err.h"

/*
 * type: SOCK_STREAM or SOCK_SEQPACKET. mode: of the socket file, from its birth. Returns 0, or
 * -EADDRINUSE (somebody listens there), -ENAMETOOLONG, -EEXIST (not a socket), or -errno.
 */
int vgpu_listen(const char *path, int type, mode_t mode, int *ret_fd, struct vgpu_err *err);

#endif
