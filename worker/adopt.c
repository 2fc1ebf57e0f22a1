/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/adopt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fdpass.h"

#define STATUS_BYTES 4096

/* Ambient capabilities go with the inheritable ones. */
int adopt_prepare(struct vgpu_err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

    if (syscall(SYS_capget, &head, data) < 0)
        return vgpu_err_set(err, errno, "cannot read capabilities: %m");
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        data[i].inheritable = 0;
    if (syscall(SYS_capset, &head, data) < 0)
        return vgpu_err_set(err, errno, "cannot lower capabilities: %m");
    return 0;
}

static int place(const int *fds, int first_fd, struct vgpu_err *err)
{
    for (int i = 0; i < VGPU_CHANNEL_FDS; i++) {
        /* What arrived lies above: the numbers were held free for this. */
        if (fds[i] < first_fd + VGPU_CHANNEL_FDS || dup2(fds[i], first_fd + i) < 0)
            return vgpu_err_set(err, errno ? errno : EBADF, "cannot place the descriptors");
        close(fds[i]);
    }
    return 0;
}

int adopt_wait(int sock, int first_fd, struct vgpu_launch_adopt *ret_adopt, struct vgpu_err *err)
{
    const struct vgpu_launch ready = {sizeof(ready), VGPU_LAUNCH_READY};
    int fds[VGPU_CHANNEL_FDS];
    size_t n_fds;
    ssize_t got = vgpu_fdpass_send(sock, &ready, sizeof(ready), NULL, 0);

    if (got == sizeof(ready))
        got = vgpu_fdpass_recv(sock, ret_adopt, sizeof(*ret_adopt), fds, VGPU_CHANNEL_FDS, &n_fds);
    if (got <= 0)
        return vgpu_err_set(err, ENOTCONN, "the launcher is gone");
    if (got != sizeof(*ret_adopt) || ret_adopt->head.size_bytes != sizeof(*ret_adopt) ||
        ret_adopt->head.type != VGPU_LAUNCH_ADOPT || n_fds != VGPU_CHANNEL_FDS)
        return vgpu_err_set(err, EPROTO, "the launcher's word is not understood");
    errno = 0;
    return place(fds, first_fd, err);
}

/* True if the line that starts with name says this of each of n numbers. */
static bool line_is(const char *text, const char *name, unsigned long long value, int n, int base)
{
    const char *at = strstr(text, name);

    if (!at)
        return false;
    at += strlen(name);
    for (int i = 0; i < n; i++) {
        char *end;

        if (strtoull(at, &end, base) != value || end == at)
            return false;
        at = end;
    }
    return true;
}

static bool thread_is_bare(int tasks, const char *name, uid_t uid)
{
    static const char *const capabilities[] = {"\nCapInh:", "\nCapPrm:", "\nCapEff:", "\nCapAmb:"};
    char path[280], text[STATUS_BYTES + 1];
    _cleanup_close_ int fd = -1;
    ssize_t n;

    snprintf(path, sizeof(path), "%s/status", name);
    fd = openat(tasks, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT; /* it ended meanwhile */
    n = read(fd, text, STATUS_BYTES);
    if (n <= 0)
        return n < 0 && errno == ESRCH;
    text[n] = 0;
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(capabilities); i++)
        if (!line_is(text, capabilities[i], 0, 1, 16))
            return false;
    return line_is(text, "\nUid:", uid, 4, 10) && line_is(text, "\nGid:", uid, 4, 10);
}

/* The C library changes the threads that it knows; the kernel knows all. */
static bool all_threads_are_bare(uid_t uid)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    bool bare = tasks != NULL;

    while (bare && (entry = readdir(tasks)))
        if (entry->d_name[0] != '.')
            bare = thread_is_bare(dirfd(tasks), entry->d_name, uid);
    if (tasks)
        closedir(tasks);
    return bare;
}

/* Before Linux 5.5, in a PV domain, a mapping needs a device that its own process has opened. */
static int reopen(const struct grant_ops *grants, int memory, struct vgpu_err *err)
{
    _cleanup_close_ int own = -1;
    int opened = grants ? grants->own_memory(memory) : memory;

    if (opened == memory)
        return 0;
    own = opened;
    if (dup3(own, memory, O_CLOEXEC) < 0)
        return vgpu_err_set(err, errno, "cannot place the grant device: %m");
    return 0;
}

int adopt_user(const struct vgpu_launch_adopt *adopt, const struct grant_ops *grants, int memory,
               struct vgpu_err *err)
{
    uid_t uid = adopt->uid;
    int rc;

    if (!adopt->own_user)
        return reopen(grants, memory, err);
    if (uid == 0)
        return vgpu_err_set(err, EPERM, "a worker does not become root");
    /* By way of root: leaving it is what takes each thread's capabilities. */
    if (setresgid(uid, uid, uid) < 0 || setresuid(0, 0, 0) < 0)
        return vgpu_err_set(err, errno, "cannot become the channel's user: %m");
    rc = reopen(grants, memory, err);
    if (rc < 0)
        return rc;
    if (setresuid(uid, uid, uid) < 0)
        return vgpu_err_set(err, errno, "cannot become the channel's user: %m");
    /* A change of user clears the first and takes the second. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 1) < 0)
        return vgpu_err_set(err, errno, "cannot follow the launcher: %m");
    if (!all_threads_are_bare(uid))
        return vgpu_err_set(err, EPERM, "a thread kept rights of the launcher");
    return 0;
}
