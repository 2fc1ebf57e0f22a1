/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/capture.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"

extern char **environ;

/* Starts the program with its output on a pipe, whose end for reading is *ret_fd. */
static int start(const char *const *argv, pid_t *ret_pid, int *ret_fd, struct vgpu_err *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults, none;
    int ends[2], rc;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return vgpu_err_set(err, errno, "cannot make a pipe: %s", strerror(errno));
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    rc = posix_spawnp(ret_pid, argv[0], &actions, &attributes, (char *const *)(uintptr_t)argv,
                      environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (rc != 0) {
        close(ends[0]);
        return vgpu_err_set(err, rc, "cannot start %s: %s", argv[0], strerror(rc));
    }
    *ret_fd = ends[0];
    return 0;
}

/* Reads until end of file into text, which has room for limits->bytes and one more. */
static int read_output(int fd, const char *name, const struct capture_limits *limits, char *text,
                       size_t *ret_size, struct vgpu_err *err)
{
    uint64_t end = vgpu_clock_ns() + limits->time_ns;
    size_t used = 0;

    for (;;) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        uint64_t now = vgpu_clock_ns();
        int ready = poll(&readable, 1, now < end ? (int)((end - now) / VGPU_NS_PER_MS) + 1 : 0);
        ssize_t got;

        if (ready == 0)
            return vgpu_err_set(err, ETIMEDOUT, "%s did not end within %g s", name,
                                (double)limits->time_ns / (double)VGPU_NS_PER_S);
        got = ready < 0 ? -1 : read(fd, text + used, limits->bytes + 1 - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return vgpu_err_set(err, errno, "cannot read from %s: %s", name, strerror(errno));
        if (got == 0)
            break;
        used += (size_t)got;
        if (used > limits->bytes)
            return vgpu_err_set(err, E2BIG, "%s printed more than %zu bytes", name, limits->bytes);
    }
    *ret_size = used;
    return 0;
}

static int reap(pid_t pid, const char *name, struct vgpu_err *err)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return vgpu_err_set(err, errno, "cannot wait for %s: %s", name, strerror(errno));
    if (WIFSIGNALED(status))
        return vgpu_err_set(err, EIO, "%s failed (signal %d)", name, WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        return vgpu_err_set(err, EIO, "%s failed (exit status %d)", name, WEXITSTATUS(status));
    return 0;
}

int capture(const char *const *argv, const struct capture_limits *limits, char **ret_text,
            size_t *ret_size, struct vgpu_err *err)
{
    _cleanup_free_ char *text = malloc(limits->bytes + 2);
    _cleanup_close_ int fd = -1;
    size_t size = 0;
    pid_t pid;
    int rc;

    if (!text)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    if ((rc = start(argv, &pid, &fd, err)) < 0)
        return rc;
    rc = read_output(fd, argv[0], limits, text, &size, err);
    if (rc < 0) {
        kill(pid, SIGKILL);
        reap(pid, argv[0], NULL);
        return rc;
    }
    if ((rc = reap(pid, argv[0], err)) < 0)
        return rc;
    text[size] = '\0';
    *ret_text = vgpu_steal_ptr(&text);
    *ret_size = size;
    return 0;
}
