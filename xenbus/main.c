/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-xenbus: the backend of vgpu devices on Xen. Options, what is opened as root, the loop;
 * man/vgpu-xenbus.8 describes it. Exit status: 0, 1 failed, 2 usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "xenbus/sandbox.h"
#include "xenbus/server.h"
#include "xenbus/store_xen.h"
#include "xenbus/toolstack.h"

#define EXIT_USAGE     2
#define TURN_MS        200
#define DETACH_WAIT_MS 10000

static const char usage[] =
    "usage: vgpu-xenbus [OPTION]...\n"
    "       vgpu-xenbus [OPTION]... attach DOMID VM\n"
    "       vgpu-xenbus [OPTION]... detach DOMID\n"
    "The backend of vgpu devices on Xen; makes and removes devices for a toolstack.\n"
    "  --run-dir DIR        vgpu-mediator's (default /run/vgpu)\n"
    "  --backend-domid N    the domain that this runs in (default: what xenstore says, or 0)\n"
    "  --uid N              the user to become; needed when started as root\n"
    "  --gid N              the group to become (default: as --uid)\n"
    "  --same-uid           stay root, for tests\n"
    "  --grant-device PATH  Xen's device of grants (default /dev/xen/gntdev)\n"
    "  --event-device PATH  Xen's device of event channels (default /dev/xen/evtchn)\n"
    "  --devid N            attach, detach: the number of the device (default 0)\n"
    "  --verbose            log more\n"
    "  --help, --version\n";

struct cli {
    const char *run_dir, *grant_device, *event_device;
    uint32_t domid, uid, gid, devid;
    bool has_domid, has_uid, has_gid, same_uid, verbose;
};

enum {
    OPTION_RUN_DIR = 256,
    OPTION_BACKEND_DOMID,
    OPTION_UID,
    OPTION_GID,
    OPTION_SAME_UID,
    OPTION_GRANT_DEVICE,
    OPTION_EVENT_DEVICE,
    OPTION_DEVID,
    OPTION_VERBOSE,
    OPTION_HELP,
    OPTION_VERSION
};

static const struct option options[] = {
    {"run-dir", required_argument, NULL, OPTION_RUN_DIR},
    {"backend-domid", required_argument, NULL, OPTION_BACKEND_DOMID},
    {"uid", required_argument, NULL, OPTION_UID},
    {"gid", required_argument, NULL, OPTION_GID},
    {"same-uid", no_argument, NULL, OPTION_SAME_UID},
    {"grant-device", required_argument, NULL, OPTION_GRANT_DEVICE},
    {"event-device", required_argument, NULL, OPTION_EVENT_DEVICE},
    {"devid", required_argument, NULL, OPTION_DEVID},
    {"verbose", no_argument, NULL, OPTION_VERBOSE},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL},
};

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    stopped = 1;
}

static bool number(const char *what, const char *text, uint32_t most, uint32_t *ret, bool *ret_has)
{
    if (!store_number(text, most, ret)) {
        fprintf(stderr, "vgpu-xenbus: %s must be a number from 0 to %" PRIu32 "\n", what, most);
        return false;
    }
    *ret_has = true;
    return true;
}

/* -1: go on; otherwise the exit status. */
static int take_option(struct cli *cli, int option, const char *value)
{
    bool unused, ok = true;

    switch (option) {
    case OPTION_RUN_DIR:
        cli->run_dir = value;
        break;
    case OPTION_GRANT_DEVICE:
        cli->grant_device = value;
        break;
    case OPTION_EVENT_DEVICE:
        cli->event_device = value;
        break;
    case OPTION_BACKEND_DOMID:
        ok = number("--backend-domid", value, VGPU_DOMAIN_FIRST_RESERVED - 1, &cli->domid,
                    &cli->has_domid);
        break;
    case OPTION_UID:
        ok = number("--uid", value, UINT32_MAX - 1, &cli->uid, &cli->has_uid);
        break;
    case OPTION_GID:
        ok = number("--gid", value, UINT32_MAX - 1, &cli->gid, &cli->has_gid);
        break;
    case OPTION_DEVID:
        ok = number("--devid", value, VGPU_XEN_CONTROL_MAX - 1, &cli->devid, &unused);
        break;
    case OPTION_SAME_UID:
        cli->same_uid = true;
        break;
    case OPTION_VERBOSE:
        cli->verbose = true;
        break;
    case OPTION_HELP:
        fputs(usage, stdout);
        return EXIT_SUCCESS;
    case OPTION_VERSION:
        puts("vgpu-xenbus " VGPU_PROGRAM_VERSION);
        return EXIT_SUCCESS;
    default:
        return EXIT_USAGE;
    }
    return ok ? -1 : EXIT_USAGE;
}

static int failed(const struct vgpu_err *err)
{
    fprintf(stderr, "vgpu-xenbus: %s\n", err->text);
    return EXIT_FAILURE;
}

static uint32_t own_domid(const struct cli *cli, struct store *store)
{
    char value[STORE_VALUE_BYTES];
    uint32_t domid;

    if (cli->has_domid)
        return cli->domid;
    if (store_xen_ops.read(store, "domid", value) == 0 &&
        store_number(value, VGPU_DOMAIN_FIRST_RESERVED - 1, &domid))
        return domid;
    return 0;
}

/* While it may: Xen's devices. */
static int open_devices(const struct cli *cli, struct backend *backend, struct vgpu_err *err)
{
    backend->memory = grant_ops.open_memory(cli->grant_device);
    if (backend->memory < 0)
        return vgpu_err_set(err, -backend->memory, "cannot open '%s': %s", cli->grant_device,
                            strerror(-backend->memory));
    backend->events = grant_ops.open_events(cli->event_device, 0);
    if (backend->events < 0)
        return vgpu_err_set(err, -backend->events, "cannot open '%s': %s", cli->event_device,
                            strerror(-backend->events));
    return 0;
}

static int give_up_rights(const struct cli *cli, struct vgpu_err *err)
{
    int rc = 0;

    if (geteuid() == 0 && !cli->same_uid)
        rc = sandbox_become(cli->uid, cli->has_gid ? cli->gid : cli->uid, err);
    return rc < 0 ? rc : sandbox_enter(err);
}

static int serve(const struct cli *cli, struct backend *backend)
{
    static struct server server;
    struct vgpu_err err;
    int rc = 0;

    if (geteuid() == 0 && !cli->has_uid && !cli->same_uid) {
        fputs("vgpu-xenbus: started as root it needs --uid (or --same-uid, for tests)\n", stderr);
        return EXIT_FAILURE;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    /* An arena for libxenstore's thread would make malloc look how many processors there are. */
    mallopt(M_ARENA_MAX, 1);
    /* The first line of the log would read the time zone's file, which the sandbox does not allow.
     */
    tzset();
    /* The first watch starts libxenstore's thread: before the sandbox. */
    if (open_devices(cli, backend, &err) < 0 || server_init(&server, backend, &err) < 0 ||
        give_up_rights(cli, &err) < 0)
        return failed(&err);
    vgpu_log(VGPU_LOG_INFO, "start", "backend_domid=%" PRIu32 " run_dir=%s", backend->domid,
             backend->run_dir);
    while (!stopped && rc == 0)
        rc = server_turn(&server, TURN_MS);
    server_release(&server);
    if (rc < 0)
        vgpu_log(VGPU_LOG_ERROR, "stop", "errno=%d", -rc);
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run(const struct cli *cli, int argc, char **argv)
{
    struct backend backend = {
        .store_ops = &store_xen_ops, .grants = &grant_ops, .run_dir = cli->run_dir};
    bool attach = argc == 3 && strcmp(argv[0], "attach") == 0;
    bool detach = argc == 2 && strcmp(argv[0], "detach") == 0;
    struct vgpu_err err;
    uint32_t domid = 0;
    bool has_domid = false;
    int rc;

    if ((argc > 0 && !attach && !detach)) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (argc > 0 && !number("DOMID", argv[1], VGPU_DOMAIN_FIRST_RESERVED - 1, &domid, &has_domid))
        return EXIT_USAGE;
    if (store_xen_open(&backend.store, &err) < 0)
        return failed(&err);
    backend.domid = own_domid(cli, backend.store);
    if (argc == 0)
        return serve(cli, &backend);
    rc = attach ? toolstack_attach(&backend, domid, cli->devid, argv[2], &err)
                : toolstack_detach(&backend, domid, cli->devid, DETACH_WAIT_MS, &err);
    store_xen_close(backend.store);
    return rc < 0 ? failed(&err) : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct cli cli = {.run_dir = "/run/vgpu",
                      .grant_device = "/dev/xen/gntdev",
                      .event_device = "/dev/xen/evtchn"};
    int option, status;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        if ((status = take_option(&cli, option, optarg)) >= 0)
            return status;
    vgpu_log_open("vgpu-xenbus", cli.verbose ? VGPU_LOG_DEBUG : VGPU_LOG_INFO);
    return run(&cli, argc - optind, argv + optind);
}
