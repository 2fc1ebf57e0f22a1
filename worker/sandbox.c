/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/sandbox.h"

#include <cap-ng.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "worker/landlock.h"

/* What the worker itself and a driver on the CPU need. */
static const int computing[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(lseek),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(close),
    SCMP_SYS(ppoll),
    SCMP_SYS(poll),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mprotect),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(getcpu),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(tgkill),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(getrandom),
    SCMP_SYS(membarrier),
    SCMP_SYS(sysinfo),
    SCMP_SYS(uname),
    SCMP_SYS(prctl),
    SCMP_SYS(fcntl),
};

/* What NVIDIA's driver needs besides, lazily. Landlock says which files. */
static const int with_device[] = {
    SCMP_SYS(ioctl),
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(stat),
    SCMP_SYS(lstat),
    SCMP_SYS(statx),
    SCMP_SYS(statfs),
    SCMP_SYS(fstatfs),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(getdents64),
    SCMP_SYS(getcwd),
    SCMP_SYS(memfd_create),
    SCMP_SYS(fallocate),
    SCMP_SYS(fadvise64),
    SCMP_SYS(dup),
    SCMP_SYS(dup2),
    SCMP_SYS(dup3),
    SCMP_SYS(pipe2),
    SCMP_SYS(eventfd2),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(mincore),
    SCMP_SYS(mlock),
    SCMP_SYS(munlock),
    SCMP_SYS(msync),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(getppid),
    SCMP_SYS(getrlimit),
    SCMP_SYS(prlimit64),
    SCMP_SYS(getrusage),
    SCMP_SYS(sched_setaffinity),
    SCMP_SYS(sched_getparam),
    SCMP_SYS(sched_getscheduler),
    SCMP_SYS(sched_get_priority_max),
    SCMP_SYS(sched_get_priority_min),
    SCMP_SYS(get_mempolicy),
    SCMP_SYS(set_mempolicy),
    SCMP_SYS(mbind),
    SCMP_SYS(timer_create),
    SCMP_SYS(timer_settime),
    SCMP_SYS(timer_delete),
};

/* Asked for by library code that copes with a refusal: not worth a death. */
static const int refused[] = {
    SCMP_SYS(open),      SCMP_SYS(openat),   SCMP_SYS(access),
    SCMP_SYS(faccessat), SCMP_SYS(readlink), SCMP_SYS(stat),
    SCMP_SYS(lstat),     SCMP_SYS(statx),    SCMP_SYS(sched_setaffinity),
    SCMP_SYS(prlimit64), SCMP_SYS(mlock),    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
};

void sandbox_close_from(int first_fd)
{
    DIR *dir;
    struct dirent *entry;

    if (syscall(SYS_close_range, (unsigned)first_fd, ~0u, 0) == 0)
        return;
    dir = opendir("/proc/self/fd");
    while (dir && (entry = readdir(dir))) {
        int fd = atoi(entry->d_name);

        if (fd >= first_fd && fd != dirfd(dir))
            close(fd);
    }
    if (dir)
        closedir(dir);
}

/* True if the driver holds a GPU's device file. */
static bool holds_device(void)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    bool found = false;

    while (dir && !found && (entry = readdir(dir))) {
        char target[PATH_MAX];
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);

        if (n > 0) {
            target[n] = 0;
            found = strncmp(target, "/dev/nvidia", 11) == 0;
        }
    }
    if (dir)
        closedir(dir);
    return found;
}

static char *put_number(char *end, unsigned long value)
{
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return end;
}

/* Only calls that are safe in a handler. */
static void on_refused_call(int signal, siginfo_t *info, void *argument)
{
    static const char prefix[] = "vgpu-worker sandbox: system call ";
    ucontext_t *context = argument;
    char line[sizeof(prefix) + 24];
    char digits[24];
    char *end = digits + sizeof(digits);
    char *start = put_number(end, (unsigned long)(unsigned)info->si_syscall);
    size_t bytes = (size_t)(end - start);
    ssize_t n;

    memcpy(line, prefix, sizeof(prefix) - 1);
    memcpy(line + sizeof(prefix) - 1, start, bytes);
    line[sizeof(prefix) - 1 + bytes] = '\n';
    n = write(STDERR_FILENO, line, sizeof(prefix) + bytes);
    (void)n;
#if defined(__x86_64__)
    context->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
#elif defined(__aarch64__)
    context->uc_mcontext.regs[0] = (unsigned long long)-ENOSYS;
#endif
}

static int handle_refused_calls(void)
{
    struct sigaction action = {.sa_sigaction = on_refused_call,
                               .sa_flags = SA_SIGINFO | SA_NODEFER};

    return sigaction(SIGSYS, &action, NULL) < 0 ? -errno : 0;
}

static int allow(scmp_filter_ctx filter, const int *calls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);

        if (status < 0 && status != -EEXIST)
            return status;
    }
    return 0;
}

static int refuse(scmp_filter_ctx filter, const int *calls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), calls[i], 0);

        if (status < 0 && status != -EEXIST)
            return status;
    }
    return 0;
}

/* A driver without a device asks for no ioctl that it needs; the worker may need one. */
static int restrict_ioctl(scmp_filter_ctx filter, unsigned long notify_request)
{
    const scmp_datum_t low = UINT32_MAX; /* the kernel looks at no more of it */
    int status;

    if (notify_request == 0)
        return seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(ioctl), 0);
    status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                              SCMP_A1(SCMP_CMP_MASKED_EQ, low, notify_request));
    if (status == 0)
        status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(ioctl), 1,
                                  SCMP_A1(SCMP_CMP_NE, notify_request));
    return status;
}

/* Threads, but no processes: clone3's flags lie in memory, so the C library must use clone. */
static int add_rules(scmp_filter_ctx filter, bool device, unsigned long notify_request)
{
    int status = allow(filter, computing, sizeof(computing) / sizeof(computing[0]));

    if (status == 0 && device)
        status = allow(filter, with_device, sizeof(with_device) / sizeof(with_device[0]));
    else if (status == 0)
        status = refuse(filter, refused, sizeof(refused) / sizeof(refused[0]));
    if (status == 0 && !device)
        status = restrict_ioctl(filter, notify_request);
    if (status == 0)
        status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (status == 0)
        status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    if (status == 0 && device)
        status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 0);
    return status;
}

static int filter_calls(enum sandbox_mode mode, bool device, unsigned long notify_request)
{
    scmp_filter_ctx filter =
        seccomp_init(mode == SANDBOX_LOG ? SCMP_ACT_TRAP : SCMP_ACT_KILL_PROCESS);
    int status = filter ? 0 : -ENOMEM;

    if (status == 0)
        status = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (status == 0)
        status = add_rules(filter, device, notify_request);
    if (status == 0 && mode == SANDBOX_LOG)
        status = handle_refused_calls();
    if (status == 0)
        status = seccomp_load(filter);
    if (filter)
        seccomp_release(filter);
    return status;
}

int sandbox_enter(enum sandbox_mode mode, unsigned long notify_request, const char **ret_applied,
                  struct vgpu_err *err)
{
    bool device = holds_device();
    bool files;
    int status;

    if (mode == SANDBOX_OFF) {
        *ret_applied = "none";
        return 0;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return vgpu_err_set(err, errno, "cannot renounce new privileges: %m");
    files = landlock_restrict(device) == 0;
    capng_clear(CAPNG_SELECT_BOTH);
    /* The bounding set needs a capability to change; without it, it does not matter. */
    if (capng_apply(CAPNG_SELECT_BOTH) < 0 && capng_apply(CAPNG_SELECT_CAPS) < 0)
        return vgpu_err_set(err, EPERM, "cannot drop capabilities");
    status = filter_calls(mode, device, notify_request);
    if (status < 0)
        return vgpu_err_set(err, -status, "cannot filter system calls: %s", strerror(-status));
    if (files)
        *ret_applied = device ? "seccomp-device,landlock,no-capabilities"
                              : "seccomp-compute,landlock,no-capabilities";
    else
        *ret_applied =
            device ? "seccomp-device,no-capabilities" : "seccomp-compute,no-capabilities";
    return 0;
}
