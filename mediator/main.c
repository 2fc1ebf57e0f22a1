/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-mediator: options, the lock of the run directory, signals, the loop. What it does is in
 * mediator.c; man/vgpu-mediator.8 describes it.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "mediator/mediator.h"

#define EXIT_USAGE      2
#define MIB             (UINT64_C(1) << 20)
#define GRANT_PAGES_MAX (UINT64_C(1) << 24)
#define MEMORY_MIB_MAX  (UINT64_C(16) << 20)

static const char usage[] =
    "usage: vgpu-mediator [OPTION]...\n"
    "Admits, schedules and watches the VMs that share this host's GPUs.\n"
    "  --run-dir DIR          for admin.sock, vm/ID.sock and mediator.pid (default /run/vgpu)\n"
    "  --database PATH        the configuration (default /var/lib/vgpu/vgpu.db)\n"
    "  --create-database      make a new one if there is none\n"
    "  --launcher-socket PATH where vgpu-launcher listens (default launcher.sock in the run-dir)\n"
    "  --helper-dir DIR       where vgpu-store and vgpu-nvml are\n"
    "  --nvml PATH            the NVML library; without it there is no scan-gpus\n"
    "  --driver-name TEXT     what workers load, as status shows it\n"
    "  --spares N             workers started ahead of time, of each GPU (default 1; 0: none)\n"
    "  --max-data-mib N       the largest data area of a channel (default 16384)\n"
    "  --grant-pages N        pages that a Xen guest may have mapped by grants (default 16384)\n"
    "  --context-memory-mib N what a context counts as in a VM's memory quota (default 0)\n"
    "  --memory-margin-mib N  what NVML may show beyond a worker's grant (default 1024)\n"
    "  --memory-grace-ms N    for so long, before the kill (default 3000; 0: never)\n"
    "  --job-timeout-ms N     the longest that a job may run (default 30000)\n"
    "  --drain-ms N           for a worker to give the GPU back (default 2000)\n"
    "  --overrun-ms N         past a turn, while another overruns, before the kill (default 2000)\n"
    "  --stray-samples N      of NVML's, busy without the turn, before the kill (default 3; 0: "
    "never)\n"
    "  --health-ms N          from one look at the GPUs' health to the next (default 1000; 0: "
    "never)\n"
    "  --resume-ms N          for guests to come back after a restart (default 5000)\n"
    "  --stop-ms N            for a worker to end by itself (default 2000)\n"
    "  --ready-ms N           for a worker to start (default 60000)\n"
    "  --handshake-ms N       for a guest to say hello (default 5000)\n"
    "  --guest-uid UID[,UID]  users beside root and its own that may connect for a VM\n"
    "  --device-dir DIR       devices that listen have ID.sock there; they are connected to\n"
    "  --agent-uid UID        the user of vgpu-agent, which may name whom it asks for\n"
    "  --xenbus-uid UID       the user of vgpu-xenbus, which says which Xen domain is which VM\n"
    "  --verbose              log more\n"
    "  --help, --version\n"
    "SIGTERM ends it and all workers; SIGHUP ends it alone, for a restart.\n";

struct cli {
    struct mediator_settings settings;
    bool verbose;
};

enum {
    OPTION_RUN_DIR = 256,
    OPTION_DATABASE,
    OPTION_CREATE_DATABASE,
    OPTION_LAUNCHER_SOCKET,
    OPTION_HELPER_DIR,
    OPTION_NVML,
    OPTION_DRIVER_NAME,
    OPTION_SPARES,
    OPTION_MAX_DATA,
    OPTION_GRANT_PAGES,
    OPTION_CONTEXT_MEMORY,
    OPTION_MEMORY_MARGIN,
    OPTION_MEMORY_GRACE,
    OPTION_JOB_TIMEOUT,
    OPTION_DRAIN,
    OPTION_OVERRUN,
    OPTION_STRAY,
    OPTION_HEALTH,
    OPTION_RESUME,
    OPTION_STOP,
    OPTION_READY,
    OPTION_HANDSHAKE,
    OPTION_GUEST_UID,
    OPTION_DEVICE_DIR,
    OPTION_AGENT_UID,
    OPTION_XENBUS_UID,
    OPTION_VERBOSE,
    OPTION_HELP,
    OPTION_VERSION
};

static const struct option options[] = {
    {"run-dir", required_argument, NULL, OPTION_RUN_DIR},
    {"database", required_argument, NULL, OPTION_DATABASE},
    {"create-database", no_argument, NULL, OPTION_CREATE_DATABASE},
    {"launcher-socket", required_argument, NULL, OPTION_LAUNCHER_SOCKET},
    {"helper-dir", required_argument, NULL, OPTION_HELPER_DIR},
    {"nvml", required_argument, NULL, OPTION_NVML},
    {"driver-name", required_argument, NULL, OPTION_DRIVER_NAME},
    {"spares", required_argument, NULL, OPTION_SPARES},
    {"max-data-mib", required_argument, NULL, OPTION_MAX_DATA},
    {"grant-pages", required_argument, NULL, OPTION_GRANT_PAGES},
    {"context-memory-mib", required_argument, NULL, OPTION_CONTEXT_MEMORY},
    {"memory-margin-mib", required_argument, NULL, OPTION_MEMORY_MARGIN},
    {"memory-grace-ms", required_argument, NULL, OPTION_MEMORY_GRACE},
    {"job-timeout-ms", required_argument, NULL, OPTION_JOB_TIMEOUT},
    {"drain-ms", required_argument, NULL, OPTION_DRAIN},
    {"overrun-ms", required_argument, NULL, OPTION_OVERRUN},
    {"stray-samples", required_argument, NULL, OPTION_STRAY},
    {"health-ms", required_argument, NULL, OPTION_HEALTH},
    {"resume-ms", required_argument, NULL, OPTION_RESUME},
    {"stop-ms", required_argument, NULL, OPTION_STOP},
    {"ready-ms", required_argument, NULL, OPTION_READY},
    {"handshake-ms", required_argument, NULL, OPTION_HANDSHAKE},
    {"guest-uid", required_argument, NULL, OPTION_GUEST_UID},
    {"device-dir", required_argument, NULL, OPTION_DEVICE_DIR},
    {"agent-uid", required_argument, NULL, OPTION_AGENT_UID},
    {"xenbus-uid", required_argument, NULL, OPTION_XENBUS_UID},
    {"verbose", no_argument, NULL, OPTION_VERBOSE},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL},
};

static bool number_from(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    char *end;
    uint64_t value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || text[0] < '0' || text[0] > '9' || *end != '\0' || value < min || value > max) {
        fprintf(stderr, "vgpu-mediator: '%s' is not a number from %" PRIu64 " to %" PRIu64 "\n",
                text, min, max);
        return false;
    }
    *ret = value;
    return true;
}

static bool number(const char *text, uint64_t max, uint64_t *ret)
{
    return number_from(text, 1, max, ret);
}

static uint64_t *time_of(struct mediator_settings *settings, int option)
{
    switch (option) {
    case OPTION_JOB_TIMEOUT:
        return &settings->lease.job_timeout_ns;
    case OPTION_DRAIN:
        return &settings->lease.drain_ns;
    case OPTION_OVERRUN:
        return &settings->lease.overrun_ns;
    case OPTION_RESUME:
        return &settings->resume_ns;
    case OPTION_STOP:
        return &settings->stop_ns;
    case OPTION_READY:
        return &settings->ready_ns;
    default:
        return &settings->handshake_ns;
    }
}

static bool numeric_option(struct mediator_settings *settings, int option, const char *value)
{
    uint64_t n;

    if (option == OPTION_MAX_DATA) {
        if (!number(value, VGPU_DATA_MAX_BYTES / MIB, &n))
            return false;
        settings->max_data_bytes = n * MIB;
        if (settings->default_data_bytes > settings->max_data_bytes)
            settings->default_data_bytes = settings->max_data_bytes;
        return true;
    }
    if (option == OPTION_GRANT_PAGES)
        return number_from(value, 0, GRANT_PAGES_MAX, &settings->grant_pages);
    if (option == OPTION_SPARES) {
        if (!number_from(value, 0, VGPU_LAUNCH_MAX_SPARES, &n))
            return false;
        settings->spares = (unsigned)n;
        return true;
    }
    if (option == OPTION_STRAY) {
        if (!number_from(value, 0, STRAY_SAMPLES_MAX, &n))
            return false;
        settings->stray_samples = (unsigned)n;
        return true;
    }
    if (option == OPTION_HEALTH) {
        if (!number_from(value, 0, CHECKUP_MAX_MS, &n))
            return false;
        settings->health_ns = n * VGPU_NS_PER_MS;
        return true;
    }
    if (option == OPTION_CONTEXT_MEMORY || option == OPTION_MEMORY_MARGIN) {
        if (!number_from(value, 0, MEMORY_MIB_MAX, &n))
            return false;
        *(option == OPTION_MEMORY_MARGIN ? &settings->memory.margin_bytes
                                         : &settings->memory.context_bytes) = n * MIB;
        return true;
    }
    if (option == OPTION_MEMORY_GRACE) {
        if (!number_from(value, 0, UINT64_C(86400000), &n))
            return false;
        settings->memory.grace_ns = n * VGPU_NS_PER_MS;
        return true;
    }
    if (!number(value, UINT64_C(86400000), &n))
        return false;
    *time_of(settings, option) = n * VGPU_NS_PER_MS;
    return true;
}

static const char **text_of(struct mediator_settings *settings, int option)
{
    switch (option) {
    case OPTION_RUN_DIR:
        return &settings->run_dir;
    case OPTION_DATABASE:
        return &settings->database;
    case OPTION_LAUNCHER_SOCKET:
        return &settings->launcher_socket;
    case OPTION_HELPER_DIR:
        return &settings->helper_dir;
    case OPTION_NVML:
        return &settings->nvml;
    case OPTION_DRIVER_NAME:
        return &settings->driver;
    case OPTION_DEVICE_DIR:
        return &settings->device_dir;
    default:
        return NULL;
    }
}

/* A list of user ids; the option may come again. */
static bool take_uids(struct mediator_settings *settings, const char *list)
{
    char text[16];

    for (const char *at = list;; at++) {
        size_t length = strcspn(at, ",");
        uint64_t uid;

        if (settings->n_guest_uids == MEDIATOR_GUEST_UIDS_MAX) {
            fprintf(stderr, "vgpu-mediator: more than %d users in --guest-uid\n",
                    MEDIATOR_GUEST_UIDS_MAX);
            return false;
        }
        snprintf(text, sizeof(text), "%.*s", (int)(length < 15 ? length : 15), at);
        if (!number(text, UINT32_MAX - 1, &uid))
            return false;
        settings->guest_uids[settings->n_guest_uids++] = (uid_t)uid;
        at += length;
        if (!*at)
            return true;
    }
}

static bool take_uid(const char *text, uid_t *ret_uid, bool *ret_has)
{
    uint64_t uid;

    if (!number_from(text, 0, UINT32_MAX - 1, &uid))
        return false;
    *ret_uid = (uid_t)uid;
    *ret_has = true;
    return true;
}

/* -1: go on; otherwise the exit status. */
static int take_option(struct cli *cli, int option, const char *value)
{
    const char **text = text_of(&cli->settings, option);

    if (text) {
        *text = value;
        return -1;
    }
    switch (option) {
    case OPTION_CREATE_DATABASE:
        cli->settings.create_database = true;
        return -1;
    case OPTION_GUEST_UID:
        return take_uids(&cli->settings, value) ? -1 : EXIT_USAGE;
    case OPTION_AGENT_UID:
        return take_uid(value, &cli->settings.agent_uid, &cli->settings.has_agent_uid) ? -1
                                                                                       : EXIT_USAGE;
    case OPTION_XENBUS_UID:
        return take_uid(value, &cli->settings.xenbus_uid, &cli->settings.has_xenbus_uid)
                   ? -1
                   : EXIT_USAGE;
    case OPTION_VERBOSE:
        cli->verbose = true;
        return -1;
    case OPTION_HELP:
        fputs(usage, stdout);
        return EXIT_SUCCESS;
    case OPTION_VERSION:
        puts("vgpu-mediator " VGPU_PROGRAM_VERSION);
        return EXIT_SUCCESS;
    case '?':
        return EXIT_USAGE;
    default:
        return numeric_option(&cli->settings, option, value) ? -1 : EXIT_USAGE;
    }
}

static int parse_options(int argc, char **argv, struct cli *cli)
{
    int option, status;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        if ((status = take_option(cli, option, optarg)) >= 0)
            return status;
    if (optind == argc)
        return -1;
    fputs(usage, stderr);
    return EXIT_USAGE;
}

static int open_lock(const char *run_dir, const char *path)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int error, fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

    if (fd >= 0 && fcntl(fd, F_SETLK, &lock) == 0)
        return fd;
    error = errno;
    if (fd >= 0 && (error == EAGAIN || error == EACCES))
        fprintf(stderr, "vgpu-mediator: another mediator runs in '%s'; end it first\n", run_dir);
    else
        fprintf(stderr, "vgpu-mediator: cannot lock '%s': %s\n", path, strerror(error));
    vgpu_close(&fd);
    return -error;
}

/* Held until the process ends, whatever ends it. Returns the descriptor or -errno. */
static int lock_run_dir(const char *run_dir, char *path, size_t size)
{
    struct stat status;
    char text[32];
    int fd, length;

    if (mkdir(run_dir, 0755) < 0 && errno != EEXIST) {
        fprintf(stderr, "vgpu-mediator: cannot make '%s': %s\n", run_dir, strerror(errno));
        return -errno;
    }
    snprintf(path, size, "%s/mediator.pid", run_dir);
    /* A mediator that ends removes its file: a lock on one that is gone locks nobody out. */
    while ((fd = open_lock(run_dir, path)) >= 0 && fstat(fd, &status) == 0 && status.st_nlink == 0)
        close(fd);
    if (fd < 0)
        return fd;
    length = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)length, 0) != length)
        fprintf(stderr, "vgpu-mediator: cannot write '%s': %s\n", path, strerror(errno));
    return fd;
}

/* Each channel takes a few descriptors here; as many as the system lets this process have. */
static void raise_file_limit(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

struct signals {
    struct mediator *mediator;
    int fd;
    struct loop_watch watch;
};

static void signalled(void *context, uint32_t events)
{
    struct signals *signals = context;
    struct signalfd_siginfo info;

    while (read(signals->fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGCHLD) {
            mediator_reap(signals->mediator);
            continue;
        }
        vgpu_log(VGPU_LOG_INFO, "signal", "signal=%u", info.ssi_signo);
        if (info.ssi_signo == SIGHUP)
            mediator_leave(signals->mediator);
        else
            mediator_stop(signals->mediator);
    }
}

static int watch_signals(struct signals *signals, struct loop *loop)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signals->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals->fd < 0)
        return -errno;
    return loop_watch_add(loop, &signals->watch, signals->fd, EPOLLIN, signalled, signals);
}

static void kill_hook(void *context, struct channel *channel, enum fault_kind kind,
                      enum vgpu_status status, const char *text)
{
    vm_fault_channel(channel, kind, status, text);
}

static int run(const struct mediator_settings *settings)
{
    struct mediator *mediator = calloc(1, sizeof(*mediator));
    struct signals signals = {.mediator = mediator, .fd = -1};
    struct vgpu_err err = {.text = "out of memory"};
    struct loop *loop = loop_new(NULL, NULL, &err);
    int status = EXIT_FAILURE;

    if (!mediator || !loop || watch_signals(&signals, loop) < 0) {
        fprintf(stderr, "vgpu-mediator: %s\n", err.text);
        goto out;
    }
    if (mediator_init(mediator, settings, loop, &err) == 0) {
        vgpu_log(VGPU_LOG_INFO, "start", "run_dir=%s", settings->run_dir);
        while (!mediator->stopped && loop_turn(loop, true) == 0)
            continue;
        status = mediator->exit_status;
    } else {
        fprintf(stderr, "vgpu-mediator: %s\n", err.text);
    }
    mediator_release(mediator);
    loop_watch_remove(loop, &signals.watch);
out:
    vgpu_close(&signals.fd);
    loop_free(loop);
    free(mediator);
    return status;
}

int main(int argc, char **argv)
{
    struct cli cli = {.settings = {
                          .run_dir = "/run/vgpu",
                          .database = "/var/lib/vgpu/vgpu.db",
                          .helper_dir = VGPU_HELPER_DIR,
                          .max_data_bytes = 16384 * MIB,
                          .default_data_bytes = 4096 * MIB,
                          .grant_pages = 16384,
                          .resume_ns = 5 * VGPU_NS_PER_S,
                          .stop_ns = 2 * VGPU_NS_PER_S,
                          .ready_ns = 60 * VGPU_NS_PER_S,
                          .handshake_ns = 5 * VGPU_NS_PER_S,
                          .spares = 1,
                          .stray_samples = STRAY_SAMPLES_DEFAULT,
                          .health_ns = CHECKUP_DEFAULT_MS * VGPU_NS_PER_MS,
                          .lease = {.job_timeout_ns = 30 * VGPU_NS_PER_S,
                                    .drain_ns = 2 * VGPU_NS_PER_S,
                                    .overrun_ns = 2 * VGPU_NS_PER_S,
                                    .kill = kill_hook},
                          .memory = {.margin_bytes = 1024 * MIB,
                                     .grace_ns = 3 * VGPU_NS_PER_S,
                                     .check_ns = VGPU_NS_PER_S},
                      }};
    char pid_path[512], launcher_path[512];
    int lock, status = parse_options(argc, argv, &cli);

    if (status >= 0)
        return status;
    snprintf(launcher_path, sizeof(launcher_path), "%s/launcher.sock", cli.settings.run_dir);
    if (!cli.settings.launcher_socket)
        cli.settings.launcher_socket = launcher_path;
    vgpu_log_open("vgpu-mediator", cli.verbose ? VGPU_LOG_DEBUG : VGPU_LOG_INFO);
    raise_file_limit();
    lock = lock_run_dir(cli.settings.run_dir, pid_path, sizeof(pid_path));
    if (lock < 0)
        return EXIT_FAILURE;
    status = run(&cli.settings);
    unlink(pid_path);
    close(lock);
    return status;
}
