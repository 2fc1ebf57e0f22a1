/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/nvml_helper.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "store/store.h"

/* A driver that is loaded by the first query takes seconds; one that takes longer hangs. */
#define SCAN_TIMEOUT_NS (30 * VGPU_NS_PER_S)

extern char **environ;

static int find_helper(char path[PATH_MAX], struct vgpu_err *err)
{
    static const char *const places[] = {"vgpu-nvml", "../libexec/vgpu/vgpu-nvml"};
    char program[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", program, sizeof(program) - 1);
    char *slash;

    program[size > 0 ? size : 0] = '\0';
    slash = strrchr(program, '/');
    for (size_t i = 0; slash && i < VGPU_ARRAY_SIZE(places); i++) {
        int used = snprintf(path, PATH_MAX, "%.*s/%s", (int)(slash - program), program, places[i]);

        if (used < PATH_MAX && access(path, X_OK) == 0)
            return 0;
    }
    return vgpu_err_set(err, ENOENT,
                        "no mediator runs, and the program vgpu-nvml, which could scan without "
                        "one, is not installed; start the mediator");
}

/* Starts the helper with its output on a pipe, whose end for reading is *ret_fd. */
static int start(const char *path, pid_t *ret_pid, int *ret_fd, struct vgpu_err *err)
{
    char *argv[] = {(char *)(uintptr_t)path, (char[]){"--scan"}, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    int ends[2], rc;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return vgpu_err_set(err, errno, "cannot make a pipe: %s", strerror(errno));
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    rc = posix_spawn(ret_pid, path, &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (rc != 0) {
        close(ends[0]);
        return vgpu_err_set(err, rc, "cannot start %s: %s", path, strerror(rc));
    }
    *ret_fd = ends[0];
    return 0;
}

/* Reads until end of file; *ret_size is the number of bytes in text, which has one more for NUL. */
static int read_output(int fd, char *text, size_t room, size_t *ret_size, struct vgpu_err *err)
{
    uint64_t end = vgpu_clock_ns() + SCAN_TIMEOUT_NS;
    size_t used = 0;

    for (;;) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        uint64_t now = vgpu_clock_ns();
        int left = now < end ? (int)((end - now) / VGPU_NS_PER_MS) + 1 : 0;
        int ready = poll(&readable, 1, left);
        ssize_t got;

        if (ready == 0)
            return vgpu_err_set(err, ETIMEDOUT,
                                "vgpu-nvml did not end within %d s; does the "
                                "driver hang?",
                                (int)(SCAN_TIMEOUT_NS / VGPU_NS_PER_S));
        got = ready < 0 ? -1 : read(fd, text + used, room - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return vgpu_err_set(err, errno, "cannot read from vgpu-nvml: %s", strerror(errno));
        if (got == 0)
            break;
        used += (size_t)got;
        if (used == room)
            return vgpu_err_set(err, E2BIG, "vgpu-nvml printed more than %zu bytes", room);
    }
    *ret_size = used;
    return 0;
}

static int reap(pid_t pid, struct vgpu_err *err)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return vgpu_err_set(err, errno, "cannot wait for vgpu-nvml: %s", strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return vgpu_err_set(err, EIO, "vgpu-nvml failed (%s %d)",
                            WIFEXITED(status) ? "exit status" : "signal",
                            WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    return 0;
}

int nvml_helper_scan(const char *path, json_t **ret_gpus, struct vgpu_err *err)
{
    _cleanup_free_ char *text = malloc(STORE_REQUEST_BYTES_MAX);
    _cleanup_close_ int fd = -1;
    char found[PATH_MAX];
    size_t size = 0;
    json_t *gpus;
    pid_t pid;
    int rc;

    if (!text)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    if (!path && (rc = find_helper(found, err)) < 0)
        return rc;
    if ((rc = start(path ? path : found, &pid, &fd, err)) < 0)
        return rc;
    rc = read_output(fd, text, STORE_REQUEST_BYTES_MAX, &size, err);
    if (rc < 0) {
        kill(pid, SIGKILL);
        reap(pid, NULL);
        return rc;
    }
    if ((rc = reap(pid, err)) < 0)
        return rc;
    gpus = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_array(gpus)) {
        json_decref(gpus);
        return vgpu_err_set(err, EPROTO, "vgpu-nvml did not print a JSON array");
    }
    *ret_gpus = gpus;
    return 0;
}
