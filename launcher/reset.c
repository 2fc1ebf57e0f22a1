/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/reset.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

void reset_init(struct reset *reset)
{
    *reset = (struct reset){.output = -1, .told = true};
}

static void __attribute__((format(printf, 4, 5)))
finish(struct reset *reset, const char *gpu_uuid, int error, const char *format, ...)
{
    char quoted[2 * sizeof(reset->done.text)];
    va_list args;

    reset->done = (struct vgpu_launch_reset_done){
        .head = {sizeof(reset->done), VGPU_LAUNCH_RESET_DONE}, .result = error};
    memcpy(reset->done.gpu_uuid, gpu_uuid, sizeof(reset->done.gpu_uuid));
    va_start(args, format);
    vsnprintf(reset->done.text, sizeof(reset->done.text), format, args);
    va_end(args);
    reset->told = false;
    vgpu_log(error ? VGPU_LOG_WARN : VGPU_LOG_INFO, "gpu-reset", "gpu=%s errno=%d text=%s",
             reset->done.gpu_uuid, error, vgpu_log_quote(quoted, sizeof(quoted), reset->done.text));
}

static void __attribute__((noreturn))
child_run(const char *program, const char *gpu_uuid, int output)
{
    static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", language[] = "LC_ALL=C";
    char *const env[] = {path, language, NULL};
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    sigset_t none;

    /* dup2 clears CLOEXEC, which all other descriptors have. */
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
        dup2(output, STDERR_FILENO) < 0)
        _exit(127);
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    execle(program, program, "--gpu-reset", "-i", gpu_uuid, (char *)NULL, env);
    dprintf(STDERR_FILENO, "cannot run %s: %s", program, strerror(errno));
    _exit(127);
}

void reset_start(struct reset *reset, const char *program, const struct vgpu_launch_reset *ask,
                 uint64_t now_ns)
{
    _cleanup_close_ int output = -1;
    pid_t pid;

    if (!program) {
        finish(reset, ask->gpu_uuid, EOPNOTSUPP, "vgpu-launcher has no --reset-program");
        return;
    }
    if (reset->pid) {
        finish(reset, ask->gpu_uuid, EBUSY, "another GPU is being reset");
        return;
    }
    output = memfd_create("vgpu-reset", MFD_CLOEXEC);
    pid = output < 0 ? -1 : fork();
    if (pid == 0)
        child_run(program, ask->gpu_uuid, output);
    if (pid < 0) {
        finish(reset, ask->gpu_uuid, errno, "cannot start it: %s", strerror(errno));
        return;
    }
    vgpu_log(VGPU_LOG_INFO, "gpu-reset-start", "gpu=%s pid=%d", ask->gpu_uuid, (int)pid);
    memcpy(reset->gpu_uuid, ask->gpu_uuid, sizeof(reset->gpu_uuid));
    reset->pid = pid;
    reset->output = vgpu_steal_fd(&output);
    reset->due_ns = now_ns + RESET_LIMIT_NS;
}

/* The first line that it wrote, cleaned. */
static void read_output(const struct reset *reset, char *text, size_t size)
{
    ssize_t n = pread(reset->output, text, size - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f)
            *c = '?';
}

void reset_ended(struct reset *reset, int status)
{
    char said[100];

    read_output(reset, said, sizeof(said));
    reset->pid = 0;
    vgpu_close(&reset->output);
    if (WIFSIGNALED(status))
        finish(reset, reset->gpu_uuid, ETIMEDOUT, "it was killed by signal %d: %.80s",
               WTERMSIG(status), said);
    else if (WEXITSTATUS(status) != 0)
        finish(reset, reset->gpu_uuid, EIO, "it ended with %d: %.80s", WEXITSTATUS(status), said);
    else
        finish(reset, reset->gpu_uuid, 0, "%s", said);
}

uint64_t reset_tend(const struct reset *reset, uint64_t now_ns)
{
    if (!reset->pid)
        return UINT64_MAX;
    if (now_ns < reset->due_ns)
        return reset->due_ns;
    kill(reset->pid, SIGKILL);
    return UINT64_MAX; /* its end comes by a signal */
}

void reset_release(struct reset *reset)
{
    if (reset->pid) {
        kill(reset->pid, SIGKILL);
        waitpid(reset->pid, NULL, 0);
    }
    vgpu_close(&reset->output);
    reset_init(reset);
}
