/* SPDX-License-Identifier: Apache-2.0 */
#include "common/listen.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "common/cleanup.h"

#define BACKLOG 64

/* Removes what lies at the address if it is a socket that nobody listens on. */
static int remove_stale(const struct sockaddr_un *address, int type, struct vgpu_err *err)
{
    _cleanup_close_ int probe = -1;
    struct stat status;

    if (lstat(address->sun_path, &status) < 0)
        return errno == ENOENT ? 0
                               : vgpu_err_set(err, errno, "cannot look at '%s': %s",
                                              address->sun_path, strerror(errno));
    if (!S_ISSOCK(status.st_mode))
        return vgpu_err_set(err, EEXIST, "'%s' exists and is not a socket", address->sun_path);
    probe = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return vgpu_err_set(err, errno, "cannot make a socket: %s", strerror(errno));
    if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
        (errno != ECONNREFUSED && errno != ENOENT))
        return vgpu_err_set(err, EADDRINUSE, "socket '%s' is in use by another process",
                            address->sun_path);
    if (unlink(address->sun_path) < 0 && errno != ENOENT)
        return vgpu_err_set(err, errno, "cannot remove the stale socket '%s': %s",
                            address->sun_path, strerror(errno));
    return 0;
}

int vgpu_listen(const char *path, int type, mode_t mode, int *ret_fd, struct vgpu_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _cleanup_close_ int fd = -1;
    mode_t mask;
    int bound, rc;

    if (strlen(path) >= sizeof(address.sun_path))
        return vgpu_err_set(err, ENAMETOOLONG, "socket path '%s' is longer than %zu bytes", path,
                            sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, path, strlen(path));
    rc = remove_stale(&address, type, err);
    if (rc < 0)
        return rc;
    fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return vgpu_err_set(err, errno, "cannot make a socket: %s", strerror(errno));
    mask = umask(~mode & 0777);
    bound = bind(fd, (const struct sockaddr *)&address, sizeof(address));
    rc = errno;
    umask(mask);
    if (bound < 0)
        return vgpu_err_set(err, rc, "cannot bind socket '%s': %s", path, strerror(rc));
    if (listen(fd, BACKLOG) < 0) {
        rc = errno;
        unlink(path);
        return vgpu_err_set(err, rc, "cannot listen on '%s': %s", path, strerror(rc));
    }
    *ret_fd = vgpu_steal_fd(&fd);
    return 0;
}
