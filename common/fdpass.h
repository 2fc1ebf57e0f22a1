/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends and receives bytes with file descriptors over Unix sockets (SCM_RIGHTS).
 *
 * Descriptors that arrive without being asked for are closed here; all arrive CLOEXEC.
 */
#ifndef VGPU_COMMON_FDPASS_H
#define VGPU_COMMON_FDPASS_H

#include <stddef.h>
#include <sys/types.h>

#define VGPU_FDPASS_MAX 16

/*
 * Sends up to size bytes, with n_fds descriptors attached to the first of them; the descriptors
 * stay the caller's. Returns the bytes sent, or -errno (-EAGAIN: nothing was sent).
 */
ssize_t vgpu_fdpass_send(int sock, const void *data, size_t size, const int *fds, size_t n_fds);

/*
 * Receives up to size bytes and up to max_fds descriptors (at most VGPU_FDPASS_MAX), which become
 * the caller's. *ret_n_fds is set in each case. More descriptors than max_fds: all are closed and
 * the answer is -EPROTO. Returns the bytes received, 0 at end of file, or -errno.
 */
ssize_t vgpu_fdpass_recv(int sock, void *data, size_t size, int *fds, size_t max_fds,
                         size_t *ret_n_fds);

#endif
