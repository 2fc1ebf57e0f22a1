/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"

#define WORKER_NOFILE  4096
#define FIRST_FD       3
#define SAVED_FDS_FROM 64 /* above every descriptor that the worker gets */
#define N_ARGS         13
#define ARG_BYTES      64
#define N_OWN_ENV      4

/* What the child was doing when it failed; NETWORK alone is a warning. */
enum stage {
    STAGE_DESCRIPTORS,
    STAGE_CGROUP,
    STAGE_LIMITS,
    STAGE_NETWORK,
    STAGE_USER,
    STAGE_PARENT,
    STAGE_EXEC
};

static const char *const stage_texts[] = {
    [STAGE_DESCRIPTORS] = "place its descriptors",
    [STAGE_CGROUP] = "enter its cgroup",
    [STAGE_LIMITS] = "set its limits",
    [STAGE_NETWORK] = "leave the network",
    [STAGE_USER] = "become its user",
    [STAGE_PARENT] = "find its parent alive",
    [STAGE_EXEC] = "execute the worker program",
};

struct failure {
    int stage, error;
};

/* All that the child needs, made before the fork: afterwards only async-signal-safe calls. */
struct plan {
    const struct spawn_settings *settings;
    uid_t uid;
    bool spare;
    bool changes_user; /* the worker itself, later: as a spare, or by way of a device of root's */
    uint32_t vm;       /* none for a spare */
    pid_t parent;
    int fds[VGPU_CHANNEL_FDS + 1]; /* the channel's, then the launcher socket */
    int null, cgroup_procs, status;
    char numbers[N_ARGS][ARG_BYTES];
    char *argv[N_ARGS + 3];
    char *envp[SPAWN_ENV_MAX + N_OWN_ENV + 1];
    char visible[VGPU_GPU_UUID_BYTES + 32];
    char fault_plan[PATH_MAX + 32], fault_vm[32];
};

int spawn_uid(const struct spawn_settings *settings, uint32_t vm_id, uid_t *ret_uid)
{
    uint64_t uid = (uint64_t)settings->base_uid + vm_id;

    if (uid == 0 || uid >= SPAWN_SPARE_UIDS)
        return -ERANGE;
    *ret_uid = (uid_t)uid;
    return 0;
}

static void report(const struct plan *plan, enum stage stage, int error)
{
    struct failure failure = {(int)stage, error};
    ssize_t written = write(plan->status, &failure, sizeof(failure));

    (void)written;
}

static void __attribute__((noreturn)) fail(const struct plan *plan, enum stage stage)
{
    report(plan, stage, errno);
    _exit(127);
}

static int lift(int fd)
{
    return fd < 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, SAVED_FDS_FROM);
}

/* Moves all out of the way first, since a source may have a number that is another's target. */
static void child_descriptors(struct plan *plan)
{
    int null, n = VGPU_CHANNEL_FDS + 1;

    plan->status = lift(plan->status);
    plan->cgroup_procs = lift(plan->cgroup_procs);
    null = lift(plan->null);
    if (plan->status < 0 || null < 0)
        fail(plan, STAGE_DESCRIPTORS);
    /* So that nothing else of a spare gets the numbers that its channel will need. */
    for (int i = 0; plan->spare && i < VGPU_CHANNEL_FDS; i++)
        plan->fds[i] = null;
    for (int i = 0; i < n; i++)
        if ((plan->fds[i] = lift(plan->fds[i])) < 0)
            fail(plan, STAGE_DESCRIPTORS);
    for (int i = 0; i < n; i++)
        if (dup2(plan->fds[i], FIRST_FD + i) < 0)
            fail(plan, STAGE_DESCRIPTORS);
    if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
        fail(plan, STAGE_DESCRIPTORS);
#ifdef SYS_close_range
    /* All are CLOEXEC from birth; this is for what a library might open otherwise. */
    syscall(SYS_close_range, SPAWN_WORKER_SOCKET_FD + 1, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
#endif
}

static void child_limits(const struct plan *plan)
{
    const struct rlimit core = {0, 0};
    struct rlimit files;

    if (setrlimit(RLIMIT_CORE, &core) < 0 || getrlimit(RLIMIT_NOFILE, &files) < 0)
        fail(plan, STAGE_LIMITS);
    if (files.rlim_max > WORKER_NOFILE)
        files.rlim_max = WORKER_NOFILE;
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) < 0)
        fail(plan, STAGE_LIMITS);
}

/* Only what a later change of user needs; execve keeps what is ambient. */
static bool keep_capabilities(void)
{
    const struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    const uint32_t kept = 1u << CAP_SETUID | 1u << CAP_SETGID;
    const struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
        {.effective = kept, .permitted = kept, .inheritable = kept}};

    return syscall(SYS_capset, &head, data) == 0 &&
           prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SETUID, 0, 0) == 0 &&
           prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SETGID, 0, 0) == 0;
}

static void child_user(const struct plan *plan)
{
    const struct spawn_settings *settings = plan->settings;
    gid_t gid = (gid_t)plan->uid;

    if (!settings->own_uid)
        return;
    if (plan->changes_user && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        fail(plan, STAGE_USER);
    if (setgroups(settings->has_gpu_gid ? 1 : 0, &settings->gpu_gid) < 0 ||
        setresgid(gid, gid, gid) < 0 || setresuid(plan->uid, plan->uid, plan->uid) < 0)
        fail(plan, STAGE_USER);
    if (plan->changes_user && !keep_capabilities())
        fail(plan, STAGE_USER);
}

static void __attribute__((noreturn)) child_run(struct plan *plan)
{
    sigset_t none;

    child_descriptors(plan);
    if (plan->cgroup_procs >= 0 && write(plan->cgroup_procs, "0", 1) < 0)
        fail(plan, STAGE_CGROUP);
    setsid();
    child_limits(plan);
    if (plan->settings->own_network && unshare(CLONE_NEWNET) < 0)
        report(plan, STAGE_NETWORK, errno);
    child_user(plan);
    /* After the change of user, which clears it. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        fail(plan, STAGE_USER);
    if (getppid() != plan->parent)
        fail(plan, STAGE_PARENT);
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(plan->settings->worker, plan->argv, plan->envp);
    fail(plan, STAGE_EXEC);
}

static void __attribute__((format(printf, 3, 4)))
add_arg(struct plan *plan, int *n, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(plan->numbers[*n], ARG_BYTES, format, args);
    va_end(args);
    plan->argv[1 + *n] = plan->numbers[*n];
    (*n)++;
}

static void make_args(struct plan *plan, const struct vgpu_launch_spawn *spawn, char *driver_arg)
{
    const struct vgpu_channel_geometry *g = &spawn->geometry;
    int n = 0;

    plan->argv[0] = (char *)(uintptr_t)plan->settings->worker;
    add_arg(plan, &n, "--channel=%" PRIu32, spawn->channel);
    add_arg(plan, &n, "--gpu=%.*s", (int)VGPU_GPU_UUID_BYTES - 1, spawn->gpu_uuid);
    add_arg(plan, &n, "--sub-granules=%" PRIu32, g->sub_granules);
    add_arg(plan, &n, "--comp-granules=%" PRIu32, g->comp_granules);
    add_arg(plan, &n, "--sub-offset=%" PRIu64, g->sub_offset);
    add_arg(plan, &n, "--comp-offset=%" PRIu64, g->comp_offset);
    add_arg(plan, &n, "--data-offset=%" PRIu64, g->data_offset);
    add_arg(plan, &n, "--data-bytes=%" PRIu64, g->data_bytes);
    add_arg(plan, &n, "--total-bytes=%" PRIu64, g->total_bytes);
    if (spawn->grant.domid) {
        add_arg(plan, &n, "--grant-domid=%" PRIu32, spawn->grant.domid);
        add_arg(plan, &n, "--grant-directory=%" PRIu32, spawn->grant.directory);
        add_arg(plan, &n, "--grant-port=%" PRIu32, spawn->grant.event_port);
        if (plan->changes_user)
            add_arg(plan, &n, "--grant-user=%" PRIu32, (uint32_t)plan->uid);
    }
    plan->argv[1 + n] = driver_arg;
    plan->argv[2 + n] = NULL;
}

/* What fault/layer.c reads; returns how many there are. */
static unsigned fault_env(struct plan *plan, char **envp)
{
    unsigned n = 0;

    if (!plan->settings->faults)
        return 0;
    snprintf(plan->fault_plan, sizeof(plan->fault_plan), "VGPU_FAULT_PLAN=%s",
             plan->settings->faults);
    envp[n++] = plan->fault_plan;
    if (!plan->spare) {
        snprintf(plan->fault_vm, sizeof(plan->fault_vm), "VGPU_FAULT_VM=%" PRIu32, plan->vm);
        envp[n++] = plan->fault_vm;
    }
    return n;
}

static void make_env(struct plan *plan, const char *gpu_uuid)
{
    static char path[] = "PATH=/usr/bin:/bin";
    unsigned n = 0;

    snprintf(plan->visible, sizeof(plan->visible), "CUDA_VISIBLE_DEVICES=%.*s",
             (int)VGPU_GPU_UUID_BYTES - 1, gpu_uuid);
    plan->envp[n++] = path;
    plan->envp[n++] = plan->visible;
    n += fault_env(plan, &plan->envp[n]);
    for (unsigned i = 0; i < plan->settings->n_env; i++)
        plan->envp[n++] = (char *)(uintptr_t)plan->settings->env[i];
    plan->envp[n] = NULL;
}

/*
 * Reads what the child reported until exec closed the pipe, and reaps a child that failed.
 */
static int child_outcome(int status, pid_t pid, int *ret_network, struct vgpu_err *err)
{
    struct failure failure, last = {-1, 0};
    ssize_t got;

    while ((got = read(status, &failure, sizeof(failure))) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got != sizeof(failure))
            break;
        if (failure.stage == STAGE_NETWORK)
            *ret_network = failure.error;
        else
            last = failure;
    }
    if (last.stage < 0)
        return 0;
    waitpid(pid, NULL, 0);
    return vgpu_err_set(err, last.error, "the worker could not %s: %s", stage_texts[last.stage],
                        strerror(last.error));
}

static int fork_child(struct plan *plan, pid_t *ret_pid, int *ret_network, struct vgpu_err *err)
{
    _cleanup_close_ int reader = -1, writer = -1;
    int ends[2];
    pid_t pid;
    int rc;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return vgpu_err_set(err, errno, "cannot make a pipe: %s", strerror(errno));
    reader = ends[0];
    writer = ends[1];
    plan->status = writer;
    plan->parent = getpid();
    pid = fork();
    if (pid < 0)
        return vgpu_err_set(err, errno, "cannot fork: %s", strerror(errno));
    if (pid == 0)
        child_run(plan);
    vgpu_close(&writer);
    *ret_network = 0;
    rc = child_outcome(reader, pid, ret_network, err);
    if (rc == 0)
        *ret_pid = pid;
    return rc;
}

int spawn_read_only(int fd, int *ret_fd, struct vgpu_err *err)
{
    char path[40];
    int opened;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    opened = open(path, O_RDONLY | O_CLOEXEC);
    if (opened < 0)
        return vgpu_err_set(err, errno, "cannot open the lease page read-only: %s",
                            strerror(errno));
    *ret_fd = opened;
    return 0;
}

/* What a worker and a spare have in common. */
static int run_plan(struct plan *plan, const char *gpu_uuid, pid_t *ret_pid, int *ret_network,
                    struct vgpu_err *err)
{
    _cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0)
        return vgpu_err_set(err, errno, "cannot open /dev/null: %s", strerror(errno));
    plan->null = null;
    make_env(plan, gpu_uuid);
    return fork_child(plan, ret_pid, ret_network, err);
}

int spawn_worker(const struct spawn_settings *settings, const struct vgpu_launch_spawn *spawn,
                 const int *fds, int sock, int cgroup_procs, pid_t *ret_pid, int *ret_network,
                 struct vgpu_err *err)
{
    struct plan plan = {
        .settings = settings, .vm = spawn->keep.vm_id, .cgroup_procs = cgroup_procs};
    _cleanup_close_ int lease = -1;
    _cleanup_free_ char *driver_arg = NULL;
    int rc;

    if (settings->own_uid && spawn_uid(settings, spawn->keep.vm_id, &plan.uid) < 0)
        return vgpu_err_set(err, ERANGE, "VM %" PRIu32 " has no user id above --base-uid",
                            spawn->keep.vm_id);
    rc = spawn_read_only(fds[VGPU_FD_LEASE], &lease, err);
    if (rc < 0)
        return rc;
    if (asprintf(&driver_arg, "--driver=%s", settings->driver) < 0)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    plan.changes_user = settings->own_uid && spawn->grant.domid;
    memcpy(plan.fds, fds, VGPU_CHANNEL_FDS * sizeof(int));
    plan.fds[VGPU_FD_LEASE] = lease;
    plan.fds[VGPU_CHANNEL_FDS] = sock;
    make_args(&plan, spawn, driver_arg);
    return run_plan(&plan, spawn->gpu_uuid, ret_pid, ret_network, err);
}

int spawn_spare(const struct spawn_settings *settings, const char *gpu_uuid, uint32_t number,
                int sock, int cgroup_procs, pid_t *ret_pid, int *ret_network, struct vgpu_err *err)
{
    struct plan plan = {.settings = settings,
                        .spare = true,
                        .changes_user = true,
                        .uid = SPAWN_SPARE_UIDS + number % SPAWN_N_SPARE_UIDS,
                        .cgroup_procs = cgroup_procs};
    _cleanup_free_ char *driver_arg = NULL;
    int n = 0;

    if (asprintf(&driver_arg, "--driver=%s", settings->driver) < 0)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    plan.fds[VGPU_CHANNEL_FDS] = sock;
    plan.argv[0] = (char *)(uintptr_t)settings->worker;
    add_arg(&plan, &n, "--spare");
    add_arg(&plan, &n, "--gpu=%.*s", (int)VGPU_GPU_UUID_BYTES - 1, gpu_uuid);
    plan.argv[1 + n] = driver_arg;
    return run_plan(&plan, gpu_uuid, ret_pid, ret_network, err);
}

int spawn_adopt(const struct spawn_settings *settings, const struct vgpu_launch_spawn *spawn,
                struct vgpu_launch_adopt *ret_adopt)
{
    uid_t uid = 0;

    if (settings->own_uid && spawn_uid(settings, spawn->keep.vm_id, &uid) < 0)
        return -ERANGE;
    *ret_adopt = (struct vgpu_launch_adopt){
        .head = {sizeof(*ret_adopt), VGPU_LAUNCH_ADOPT},
        .channel = spawn->channel,
        .own_user = settings->own_uid,
        .uid = uid,
        .geometry = spawn->geometry,
        .grant = spawn->grant,
    };
    return 0;
}
