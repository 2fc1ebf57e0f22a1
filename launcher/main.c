/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-launcher: the parent of all workers. Options here, work in server.c; man/vgpu-launcher.8
 * describes both.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "carrier/grant_ops.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "launcher/server.h"

#define EXIT_USAGE           2
#define FAULT_ENV            "VGPU_FAULT_"
#define DEFAULT_MEMORY_BYTES (UINT64_C(8) << 30)

static const char usage[] =
    "usage: vgpu-launcher --socket PATH --worker PATH --driver PATH [OPTION]...\n"
    "The parent of all vgpu workers; serves one vgpu-mediator.\n"
    "  --socket PATH        where the mediator connects\n"
    "  --worker PATH        the vgpu-worker program\n"
    "  --driver PATH        the CUDA driver library that workers load\n"
    "  --mediator-uid N     the user that the mediator runs as (default: the launcher's)\n"
    "  --base-uid N         VM v gets user and group N + v; needed when started as root\n"
    "  --same-uid           workers keep the launcher's user, even if that is root\n"
    "  --gpu-gid N          the group that may open the GPU's device files\n"
    "  --cgroup PATH        a cgroup directory for the workers' memory limits\n"
    "  --memory-bytes N     the memory limit of a worker (default 8 GiB; 0: none)\n"
    "  --max-workers N      at most that many workers (default and maximum 1024)\n"
    "  --env NAME=VALUE     a further environment variable for workers; may be repeated\n"
    "  --reset-program PATH what resets a GPU: nvidia-smi (default: nothing)\n"
    "  --grant-device PATH  Xen's device of grants (default /dev/xen/gntdev)\n"
    "  --event-device PATH  Xen's device of event channels (default /dev/xen/evtchn)\n"
    "  --testing-faults PLAN  for tests only: what goes wrong in the driver, which must be\n"
    "                       libvgpu-fault.so\n"
    "  --verbose            log more\n"
    "  --help, --version\n";

struct cli {
    struct server_settings server;
    bool same_uid, has_base_uid, verbose;
};

enum {
    OPTION_SOCKET = 256,
    OPTION_WORKER,
    OPTION_DRIVER,
    OPTION_MEDIATOR_UID,
    OPTION_BASE_UID,
    OPTION_SAME_UID,
    OPTION_GPU_GID,
    OPTION_CGROUP,
    OPTION_MEMORY,
    OPTION_MAX_WORKERS,
    OPTION_ENV,
    OPTION_RESET_PROGRAM,
    OPTION_GRANT_DEVICE,
    OPTION_EVENT_DEVICE,
    OPTION_TESTING_FAULTS,
    OPTION_VERBOSE,
    OPTION_HELP,
    OPTION_VERSION
};

static const struct option options[] = {
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"worker", required_argument, NULL, OPTION_WORKER},
    {"driver", required_argument, NULL, OPTION_DRIVER},
    {"mediator-uid", required_argument, NULL, OPTION_MEDIATOR_UID},
    {"base-uid", required_argument, NULL, OPTION_BASE_UID},
    {"same-uid", no_argument, NULL, OPTION_SAME_UID},
    {"gpu-gid", required_argument, NULL, OPTION_GPU_GID},
    {"cgroup", required_argument, NULL, OPTION_CGROUP},
    {"memory-bytes", required_argument, NULL, OPTION_MEMORY},
    {"max-workers", required_argument, NULL, OPTION_MAX_WORKERS},
    {"env", required_argument, NULL, OPTION_ENV},
    {"reset-program", required_argument, NULL, OPTION_RESET_PROGRAM},
    {"grant-device", required_argument, NULL, OPTION_GRANT_DEVICE},
    {"event-device", required_argument, NULL, OPTION_EVENT_DEVICE},
    {"testing-faults", required_argument, NULL, OPTION_TESTING_FAULTS},
    {"verbose", no_argument, NULL, OPTION_VERBOSE},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL},
};

/* A whole decimal number in [min, max], or a complaint and false. */
static bool number(const char *option, const char *text, uint64_t min, uint64_t max,
                   uint64_t *ret_number)
{
    char *end;
    uint64_t value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || text[0] < '0' || text[0] > '9' || *end != '\0' || value < min || value > max) {
        fprintf(stderr, "vgpu-launcher: --%s must be a number from %" PRIu64 " to %" PRIu64 "\n",
                option, min, max);
        return false;
    }
    *ret_number = value;
    return true;
}

static bool add_env(struct spawn_settings *spawn, const char *pair)
{
    const char *equals = strchr(pair, '=');

    if (!equals || equals == pair || spawn->n_env >= SPAWN_ENV_MAX) {
        fprintf(stderr, "vgpu-launcher: --env takes NAME=VALUE, at most %d times\n", SPAWN_ENV_MAX);
        return false;
    }
    if (strncmp(pair, FAULT_ENV, strlen(FAULT_ENV)) == 0) {
        fputs("vgpu-launcher: faults are asked for by --testing-faults, not by --env\n", stderr);
        return false;
    }
    spawn->env[spawn->n_env++] = pair;
    return true;
}

static bool numeric_option(struct cli *cli, int option, const char *value)
{
    uint64_t n = 0;
    bool ok;

    switch (option) {
    case OPTION_MEDIATOR_UID:
        ok = number("mediator-uid", value, 0, UINT32_MAX - 1, &n);
        cli->server.mediator_uid = (uid_t)n;
        break;
    case OPTION_BASE_UID:
        ok = number("base-uid", value, 1, UINT32_MAX - 1, &n);
        cli->server.spawn.base_uid = (uid_t)n;
        cli->has_base_uid = true;
        break;
    case OPTION_GPU_GID:
        ok = number("gpu-gid", value, 0, UINT32_MAX - 1, &n);
        cli->server.spawn.gpu_gid = (gid_t)n;
        cli->server.spawn.has_gpu_gid = true;
        break;
    case OPTION_MEMORY:
        ok = number("memory-bytes", value, 0, UINT64_C(1) << 44, &n);
        cli->server.memory_bytes = n;
        break;
    default:
        ok = number("max-workers", value, 1, VGPU_LAUNCH_MAX_WORKERS, &n);
        cli->server.max_workers = (unsigned)n;
        break;
    }
    return ok;
}

/* -1: go on; otherwise the exit status. */
static int take_option(struct cli *cli, int option, const char *value)
{
    switch (option) {
    case OPTION_SOCKET:
        cli->server.socket = value;
        return -1;
    case OPTION_WORKER:
        cli->server.spawn.worker = value;
        return -1;
    case OPTION_DRIVER:
        cli->server.spawn.driver = value;
        return -1;
    case OPTION_RESET_PROGRAM:
        cli->server.reset_program = value;
        return -1;
    case OPTION_GRANT_DEVICE:
        cli->server.devices.memory_path = value;
        return -1;
    case OPTION_EVENT_DEVICE:
        cli->server.devices.events_path = value;
        return -1;
    case OPTION_TESTING_FAULTS:
        cli->server.spawn.faults = value;
        return -1;
    case OPTION_CGROUP:
        cli->server.cgroup = value;
        return -1;
    case OPTION_SAME_UID:
        cli->same_uid = true;
        return -1;
    case OPTION_VERBOSE:
        cli->verbose = true;
        return -1;
    case OPTION_ENV:
        return add_env(&cli->server.spawn, value) ? -1 : EXIT_USAGE;
    case OPTION_HELP:
        fputs(usage, stdout);
        return EXIT_SUCCESS;
    case OPTION_VERSION:
        puts("vgpu-launcher " VGPU_PROGRAM_VERSION);
        return EXIT_SUCCESS;
    case '?':
        return EXIT_USAGE;
    default:
        return numeric_option(cli, option, value) ? -1 : EXIT_USAGE;
    }
}

static int parse_options(int argc, char **argv, struct cli *cli)
{
    int option, status;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        if ((status = take_option(cli, option, optarg)) >= 0)
            return status;
    if (!cli->server.socket || !cli->server.spawn.worker || !cli->server.spawn.driver ||
        optind != argc) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    return -1;
}

static int check_program(const char *what, const char *path, int mode)
{
    if (access(path, mode) == 0)
        return 0;
    fprintf(stderr, "vgpu-launcher: cannot use %s '%s': %s\n", what, path, strerror(errno));
    return -errno;
}

/* Which user workers get, and what is said where they are not separated. */
static int choose_users(struct cli *cli)
{
    struct spawn_settings *spawn = &cli->server.spawn;
    bool root = geteuid() == 0;

    if (root && !cli->has_base_uid && !cli->same_uid) {
        fputs("vgpu-launcher: started as root it needs --base-uid (or --same-uid, for tests)\n",
              stderr);
        return -EINVAL;
    }
    spawn->own_uid = root && !cli->same_uid;
    spawn->own_network = root;
    if (!spawn->own_uid)
        vgpu_log(VGPU_LOG_WARN, "degraded", "what=\"workers run as the launcher's user\" uid=%d",
                 (int)geteuid());
    return 0;
}

/* Nobody is to have this on by accident. */
static int check_faults(const struct spawn_settings *spawn)
{
    if (!spawn->faults)
        return 0;
    if (spawn->faults[0] != '/' || strlen(spawn->faults) >= PATH_MAX) {
        fputs("vgpu-launcher: --testing-faults takes the absolute path of a plan\n", stderr);
        return -EINVAL;
    }
    vgpu_log(VGPU_LOG_WARN, "degraded", "what=\"faults are injected into the driver, for tests\"");
    return check_program("plan of faults", spawn->faults, R_OK);
}

int main(int argc, char **argv)
{
    struct cli cli = {.server = {.mediator_uid = geteuid(),
                                 .memory_bytes = DEFAULT_MEMORY_BYTES,
                                 .devices = {.ops = &grant_ops,
                                             .memory_path = "/dev/xen/gntdev",
                                             .events_path = "/dev/xen/evtchn"},
                                 .max_workers = VGPU_LAUNCH_MAX_WORKERS}};
    struct server *server = NULL;
    struct vgpu_err err;
    int rc = parse_options(argc, argv, &cli);

    if (rc >= 0)
        return rc;
    vgpu_log_open("vgpu-launcher", cli.verbose ? VGPU_LOG_DEBUG : VGPU_LOG_INFO);
    if (check_program("worker", cli.server.spawn.worker, X_OK) < 0 ||
        check_program("driver", cli.server.spawn.driver, R_OK) < 0 ||
        (cli.server.reset_program &&
         check_program("reset program", cli.server.reset_program, X_OK) < 0) ||
        choose_users(&cli) < 0 || check_faults(&cli.server.spawn) < 0)
        return EXIT_FAILURE;
    if (server_new(&cli.server, &server, &err) < 0) {
        fprintf(stderr, "vgpu-launcher: %s\n", err.text);
        return EXIT_FAILURE;
    }
    vgpu_log(VGPU_LOG_INFO, "start", "max_workers=%u", cli.server.max_workers);
    rc = server_run(server);
    server_free(server);
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
