/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "common/cleanup.h"
#include "common/clock.h"

extern char **environ;

/* What is read of a running child. */
struct reading {
    const struct child *child;
    struct child_result *result;
    pid_t pid;
    int output, errors; /* -1: at its end */
    size_t errors_used;
    uint64_t end_ns;
};

static int spawn(const struct child *child, int output, int errors, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    int rc;

    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    if (errors >= 0)
        posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    rc = posix_spawnp(ret_pid, child->argv[0], &actions, &attributes,
                      (char *const *)(uintptr_t)child->argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

static int start(struct reading *reading, struct vgpu_err *err)
{
    const struct child *child = reading->child;
    _cleanup_close_ int output_end = -1;
    _cleanup_close_ int errors_end = -1;
    int output[2], errors[2], rc;

    if (pipe2(output, O_CLOEXEC) < 0)
        return vgpu_err_set(err, errno, "cannot make a pipe: %s", strerror(errno));
    reading->output = output[0];
    output_end = output[1];
    if (child->take_errors) {
        if (pipe2(errors, O_CLOEXEC) < 0)
            return vgpu_err_set(err, errno, "cannot make a pipe: %s", strerror(errno));
        reading->errors = errors[0];
        errors_end = errors[1];
    }
    rc = spawn(child, output_end, errors_end, &reading->pid);
    if (rc != 0)
        return vgpu_err_set(err, rc, "cannot start %s: %s", child->argv[0], strerror(rc));
    return 0;
}

static int read_text(struct reading *reading, struct vgpu_err *err)
{
    struct child_result *result = reading->result;
    size_t room = reading->child->most_bytes;
    ssize_t got = read(reading->output, result->text + result->size, room + 1 - result->size);

    if (got < 0)
        return errno == EINTR ? 0
                              : vgpu_err_set(err, errno, "cannot read from %s: %s",
                                             reading->child->name, strerror(errno));
    if (got == 0)
        vgpu_close(&reading->output);
    result->size += (size_t)got;
    if (result->size > room)
        return vgpu_err_set(err, E2BIG, "%s printed more than %zu bytes", reading->child->name,
                            room);
    return 0;
}

/* What does not fit is read and forgotten. */
static void read_errors(struct reading *reading)
{
    struct child_result *result = reading->result;
    char buffer[CHILD_ERRORS_BYTES];
    ssize_t got = read(reading->errors, buffer, sizeof(buffer));

    if (got == 0 || (got < 0 && errno != EINTR))
        vgpu_close(&reading->errors);
    for (ssize_t i = 0; i < got && reading->errors_used + 1 < sizeof(result->errors); i++) {
        char c = buffer[i];

        result->errors[reading->errors_used++] = (unsigned char)c < 0x20 || c == 0x7f ? ' ' : c;
    }
}

static int read_all(struct reading *reading, struct vgpu_err *err)
{
    while (reading->output >= 0 || reading->errors >= 0) {
        struct pollfd ends[] = {{.fd = reading->output, .events = POLLIN},
                                {.fd = reading->errors, .events = POLLIN}};
        uint64_t now = vgpu_clock_ns();
        int left = now < reading->end_ns ? (int)((reading->end_ns - now) / VGPU_NS_PER_MS) + 1 : 0;
        int ready = poll(ends, VGPU_ARRAY_SIZE(ends), left), rc;

        if (ready == 0)
            return vgpu_err_set(err, ETIMEDOUT, "%s did not end within %u s", reading->child->name,
                                reading->child->timeout_s);
        if (ready > 0 && ends[0].revents && (rc = read_text(reading, err)) < 0)
            return rc;
        if (ready > 0 && ends[1].revents)
            read_errors(reading);
    }
    return 0;
}

static int reap(const struct reading *reading, struct vgpu_err *err)
{
    int status;

    while (waitpid(reading->pid, &status, 0) < 0)
        if (errno != EINTR)
            return vgpu_err_set(err, errno, "cannot wait for %s: %s", reading->child->name,
                                strerror(errno));
    reading->result->status =
        WIFEXITED(status) ? WEXITSTATUS(status) : CHILD_SIGNALLED + WTERMSIG(status);
    return 0;
}

static int run(struct reading *reading, struct vgpu_err *err)
{
    int rc = start(reading, err);

    if (rc < 0)
        return rc;
    rc = read_all(reading, err);
    if (rc < 0) {
        kill(reading->pid, SIGKILL);
        reap(reading, NULL);
        return rc;
    }
    return reap(reading, err);
}

int child_run(const struct child *child, struct child_result *ret_result, struct vgpu_err *err)
{
    struct child_result result = {.text = malloc(child->most_bytes + 2)};
    struct reading reading = {.child = child,
                              .result = &result,
                              .output = -1,
                              .errors = -1,
                              .end_ns =
                                  vgpu_clock_ns() + child->timeout_s * (uint64_t)VGPU_NS_PER_S};
    int rc = result.text ? run(&reading, err) : vgpu_err_set(err, ENOMEM, "out of memory");

    vgpu_close(&reading.output);
    vgpu_close(&reading.errors);
    if (rc < 0) {
        free(result.text);
        return rc;
    }
    result.text[result.size] = '\0';
    while (reading.errors_used > 0 && result.errors[reading.errors_used - 1] == ' ')
        result.errors[--reading.errors_used] = '\0';
    *ret_result = result;
    return 0;
}
