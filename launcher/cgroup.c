/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

static int write_text(int dir, const char *name, const char *text)
{
    _cleanup_close_ int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        return -errno;
    return 0;
}

/* Whose files are there says which version it is. */
static int find_version(struct cgroup *cgroup, int dir, struct vgpu_err *err)
{
    int rc;

    if (faccessat(dir, "cgroup.controllers", F_OK, 0) == 0) {
        rc = write_text(dir, "cgroup.subtree_control", "+memory");
        if (rc < 0)
            return vgpu_err_set(err, -rc, "cannot enable the memory controller in '%s': %s",
                                cgroup->path, strerror(-rc));
        cgroup->unified = true;
        return 0;
    }
    if (faccessat(dir, "memory.limit_in_bytes", F_OK, 0) == 0)
        return 0;
    return vgpu_err_set(err, EINVAL, "'%s' has no memory controller", cgroup->path);
}

int cgroup_init(struct cgroup *cgroup, const char *path, struct vgpu_err *err)
{
    _cleanup_close_ int dir = -1;
    int rc;

    *cgroup = (struct cgroup){.dir = -1};
    if (!path)
        return 0;
    if (strlen(path) >= sizeof(cgroup->path))
        return vgpu_err_set(err, ENAMETOOLONG, "the cgroup's path is too long");
    memcpy(cgroup->path, path, strlen(path) + 1);
    cgroup->made = mkdir(path, 0755) == 0;
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return vgpu_err_set(err, errno, "cannot open cgroup '%s': %s", path, strerror(errno));
    rc = find_version(cgroup, dir, err);
    if (rc < 0) {
        if (cgroup->made)
            rmdir(path);
        return rc;
    }
    cgroup->dir = vgpu_steal_fd(&dir);
    return 0;
}

void cgroup_release(struct cgroup *cgroup)
{
    vgpu_close(&cgroup->dir);
    if (cgroup->made)
        rmdir(cgroup->path);
    cgroup->made = false;
}

static int set_limit(int dir, bool unified, uint64_t bytes)
{
    char text[32];

    if (bytes == 0)
        return 0;
    snprintf(text, sizeof(text), "%" PRIu64, bytes);
    if (!unified)
        return write_text(dir, "memory.limit_in_bytes", text);
    /* Where swap is not accounted the file does not exist. */
    write_text(dir, "memory.swap.max", "0");
    return write_text(dir, "memory.max", text);
}

int cgroup_make(const struct cgroup *cgroup, const char *name, uint64_t bytes, int *ret_procs,
                struct vgpu_err *err)
{
    _cleanup_close_ int dir = -1;
    int procs, rc;

    *ret_procs = -1;
    if (cgroup->dir < 0)
        return 0;
    /* One that a launcher left that was killed is empty: its workers died with it. */
    if (mkdirat(cgroup->dir, name, 0755) < 0 && errno != EEXIST)
        return vgpu_err_set(err, errno, "cannot make cgroup '%s/%s': %s", cgroup->path, name,
                            strerror(errno));
    dir = openat(cgroup->dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rc = dir < 0 ? -errno : set_limit(dir, cgroup->unified, bytes);
    if (rc < 0) {
        cgroup_remove(cgroup, name);
        return vgpu_err_set(err, -rc, "cannot limit cgroup '%s/%s': %s", cgroup->path, name,
                            strerror(-rc));
    }
    procs = openat(dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    if (procs < 0) {
        rc = errno;
        cgroup_remove(cgroup, name);
        return vgpu_err_set(err, rc, "cannot open cgroup '%s/%s': %s", cgroup->path, name,
                            strerror(rc));
    }
    *ret_procs = procs;
    return 0;
}

int cgroup_limit(const struct cgroup *cgroup, const char *name, uint64_t bytes)
{
    _cleanup_close_ int dir = -1;

    if (cgroup->dir < 0)
        return 0;
    dir = openat(cgroup->dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dir < 0 ? -errno : set_limit(dir, cgroup->unified, bytes);
}

int cgroup_remove(const struct cgroup *cgroup, const char *name)
{
    if (cgroup->dir < 0)
        return 0;
    return unlinkat(cgroup->dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}
